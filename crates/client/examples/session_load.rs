//! The device's end of `bench/session.sh`: what a session costs beside plain HTTP, and many sessions that are held open.
//!
//! ```text
//! session_load speed LINK GATEWAY TOKEN REQUESTS ROUNDS   small requests and a download, both ways in turn
//! session_load hold                                       a session for each link on stdin, until stdin ends
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use couplet_client::{Client, CredentialStore, FileStore, PairRequest, pair};
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

const SMALL: &str = "/";
const LARGE: &str = "/large";

async fn connect(link: &str, folder: &std::path::Path) -> Client {
    let store: Arc<dyn CredentialStore> = Arc::new(FileStore::new(folder));
    let request = PairRequest {
        name: "Bench".into(),
        model: None,
        platform: None,
        kind: "desktop".into(),
        another_host: true,
        relay_ca: None,
        account: None,
    };
    let credentials = pair(link, request, &store, |_| ()).await.unwrap();
    Client::connect(credentials.id(), store).await.unwrap()
}

/// Reads a body and forgets it; its length.
async fn drain<B: hyper::body::Body + Unpin>(mut body: B) -> usize
where
    B::Error: std::fmt::Debug,
    B::Data: bytes::Buf,
{
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            bytes += bytes::Buf::remaining(&data);
        }
    }
    bytes
}

async fn sealed(client: &Client, path: &str) -> usize {
    let request = Request::get(format!("http://app{path}")).body(Empty::<Bytes>::new()).unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    drain(answer.into_body()).await
}

/// Plain HTTP with a bearer credential over one kept connection, which the gateway may close while it rests.
struct Plain<'a> {
    gateway: SocketAddr,
    token: &'a str,
    connection: SendRequest<Empty<Bytes>>,
}

impl<'a> Plain<'a> {
    async fn open(gateway: SocketAddr, token: &'a str) -> Self {
        Plain { gateway, token, connection: Self::dial(gateway).await }
    }

    async fn dial(gateway: SocketAddr) -> SendRequest<Empty<Bytes>> {
        let (connection, driver) = handshake(TokioIo::new(TcpStream::connect(gateway).await.unwrap())).await.unwrap();
        tokio::spawn(driver);
        connection
    }

    async fn wake(&mut self) {
        if self.connection.ready().await.is_err() {
            self.connection = Self::dial(self.gateway).await;
        }
    }

    async fn ask(&mut self, path: &str) -> usize {
        let request = Request::get(path)
            .header(header::HOST, "app")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        self.connection.ready().await.unwrap();
        let answer = self.connection.send_request(request.body(Empty::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        drain(answer.into_body()).await
    }
}

async fn speed(link: &str, gateway: SocketAddr, token: &str, requests: usize, rounds: usize) {
    let folder = std::env::temp_dir().join(format!("couplet-bench-{}", std::process::id()));
    let client = connect(link, &folder).await;
    let mut direct = Plain::open(gateway, token).await;
    for round in 0..=rounds {
        let (mut by_session, mut by_plain) = (Vec::new(), Vec::new());
        direct.wake().await;
        for _ in 0..requests {
            let began = Instant::now();
            sealed(&client, SMALL).await;
            by_session.push(began.elapsed().as_micros());
            let began = Instant::now();
            direct.ask(SMALL).await;
            by_plain.push(began.elapsed().as_micros());
        }
        let began = Instant::now();
        let bytes = sealed(&client, LARGE).await;
        let session_time = began.elapsed().as_secs_f64();
        direct.wake().await;
        let began = Instant::now();
        assert_eq!(direct.ask(LARGE).await, bytes);
        let plain_time = began.elapsed().as_secs_f64();
        // The first round warms up.
        if round > 0 {
            let median = |times: &mut Vec<u128>| {
                times.sort_unstable();
                times[times.len() / 2]
            };
            let mib = bytes as f64 / f64::from(1 << 20);
            println!(
                "{} {} {:.1} {:.1}",
                median(&mut by_session),
                median(&mut by_plain),
                mib / session_time,
                mib / plain_time
            );
        }
    }
    client.close().await;
    std::fs::remove_dir_all(folder).unwrap();
}

async fn hold() {
    let folder = std::env::temp_dir().join(format!("couplet-bench-{}", std::process::id()));
    let mut links = BufReader::new(tokio::io::stdin()).lines();
    let mut clients = Vec::new();
    while let Some(link) = links.next_line().await.unwrap() {
        // A store for each: they are devices of one host.
        let client = connect(&link, &folder.join(clients.len().to_string())).await;
        sealed(&client, SMALL).await;
        clients.push(client);
        println!("open {}", clients.len());
    }
    drop(clients);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["speed", link, gateway, token, requests, rounds] => {
            let (requests, rounds) = (requests.parse().unwrap(), rounds.parse().unwrap());
            speed(link, gateway.parse().unwrap(), token, requests, rounds).await;
        }
        ["hold"] => hold().await,
        _ => std::process::exit(2),
    }
}
