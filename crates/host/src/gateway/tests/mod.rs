//! The gateway between raw sockets: what the client writes and what the app reads are told byte for byte.

mod bodies;
mod connections;
mod endings;
mod heads;
mod refusals;
mod upgrades;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::{DeviceModel, DeviceName, Scope};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::auth::Authenticator;
use crate::config::{Limits, Upstream};
use crate::session::{Device, Session};

const TOKEN: &str = "dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const AUTH: &str = "Authorization: Bearer dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";

/// Everything here happens at once or never.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it never happened")
}

/// How the gateway under test differs from the default.
#[derive(Default)]
struct Setup {
    scope: Scope,
    limits: Limits,
    trusted: Vec<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
}

/// A gateway, its app's end, and the session of the one device that it knows.
struct World {
    app: TcpListener,
    gateway: Gateway,
    address: SocketAddr,
    session: Arc<Session>,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl World {
    async fn new() -> World {
        World::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> World {
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let device = Device {
            device_id: uuid::Uuid::from_u128(7),
            device_name: DeviceName::parse("Ada's phone").unwrap(),
            device_model: Some(DeviceModel::parse("Pixel").unwrap()),
        };
        let session = Arc::new(Session::new(device, setup.scope, None));
        let auth = Authenticator::fixed([(TOKEN.to_owned(), session.clone())]);
        let upstream = Upstream {
            name: "web".to_owned(),
            authority: app.local_addr().unwrap().to_string(),
            headers: setup.headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect(),
        };
        let trusted = setup.trusted.iter().map(|net| net.parse().unwrap()).collect();
        // One thread, so that every client finds the same idle connections.
        let gateway = Gateway::with_workers(1, upstream, auth, &setup.limits, trusted);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = Some(tokio::spawn(gateway.serve(listener, shutdown.clone())));
        World { app, gateway, address, session, shutdown, serving }
    }

    async fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// A client whose kernel takes a few thousand bytes before somebody reads them.
    async fn small_client(&self) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        Wire::new(socket.connect(self.address).await.unwrap())
    }

    /// Waits until the gateway has let go of every client.
    async fn all_connections_are_gone(&self) {
        let workers = self.gateway.0.workers.lock().unwrap().upgrade().expect("it serves");
        soon(async {
            while workers.load() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// A client that has sent this, with `{auth}` filled in.
    async fn sends(&self, text: &str) -> Wire {
        let mut client = self.client().await;
        client.send(text.replace("{auth}", AUTH)).await;
        client
    }

    async fn accept(&self) -> Wire {
        Wire::new(soon(self.app.accept()).await.unwrap().0)
    }

    /// What the app reads of a bodiless request, which it answers with 204.
    async fn head_at_app(&self, request: &str) -> String {
        let mut client = self.sends(request).await;
        let mut app = self.accept().await;
        let head = app.head().await;
        app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204"));
        head
    }

    /// What the client reads of a head when the app answers `GET` with this.
    async fn head_at_client(&self, answer: &str) -> String {
        let mut client = self.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
        let mut app = self.accept().await;
        app.head().await;
        app.send(answer).await;
        client.head().await
    }

    fn idle_connections(&self) -> usize {
        let workers = self.gateway.0.workers.lock().unwrap().upgrade().expect("it serves");
        workers.first().pool.len()
    }

    fn app_is_untouched(&self) -> bool {
        let waker = std::task::Waker::noop();
        self.app.poll_accept(&mut std::task::Context::from_waker(waker)).is_pending()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// One end of a connection.
struct Wire(BufReader<TcpStream>);

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Wire(BufReader::new(stream))
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.get_mut().write_all(bytes.as_ref())).await.unwrap();
    }

    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let byte = soon(self.0.read_u8()).await;
            text.push(byte.unwrap_or_else(|e| panic!("{e} after {:?}", String::from_utf8_lossy(&text))));
        }
        String::from_utf8(text).unwrap()
    }

    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    async fn exact(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        soon(self.0.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// All that follows; the error, if it ends in one.
    async fn rest(&mut self) -> (String, Option<std::io::ErrorKind>) {
        let mut bytes = Vec::new();
        let error = soon(self.0.read_to_end(&mut bytes)).await.err().map(|e| e.kind());
        (String::from_utf8_lossy(&bytes).into_owned(), error)
    }

    /// Whether the other end is gone, cleanly or not, without another byte.
    async fn is_gone(&mut self) -> bool {
        self.rest().await.0.is_empty()
    }

    async fn finish(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }
}

fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
}
