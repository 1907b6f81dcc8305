//! The forwarder against a host in memory: a sealed session, with HTTP/2 in it.

use std::io::ErrorKind;
use std::net::SocketAddr;

use couplet_client::sealed::{Link, SealedStream, Side, config};
use couplet_client::{HostId, State};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::handshake::{Hello, Initiator, PairingKeys, Responder};
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, Psk};
use couplet_protocol::{Session, StaticSecret};
use h2::server::SendResponse;
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::task::AbortOnDropHandle;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A request as it came to the host.
type Came = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// A forwarder, and the host that it leads to.
struct World {
    address: SocketAddr,
    came: mpsc::Receiver<Came>,
    host: Link,
    _tasks: [AbortOnDropHandle<()>; 2],
}

fn sessions() -> (Session, Session, HostId) {
    let entropy = |n| Entropy::new([n; 32]);
    let (host, device) = (StaticSecret::new([1; 32]).unwrap(), StaticSecret::new([2; 32]).unwrap());
    let keys = PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: host.public(), suites: SUITE_1 };
    let (initiator, m1) = Initiator::reconnect(&keys, &device, entropy(3)).unwrap();
    let hello = Hello::parse(&m1).unwrap();
    let responder = Responder::reconnect(&hello, &host, &keys.psk, SUITE_1, &device.public(), entropy(4)).unwrap();
    let (unconfirmed, m2) = responder.answer("Home", &entropy(5)).unwrap();
    let (device, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    (device, unconfirmed.confirm(&mut first).unwrap().session, HostId::of(&host.public()))
}

impl World {
    async fn new() -> Self {
        let (ours, theirs, id) = sessions();
        let (a, b) = duplex(64 * 1024);
        let device = WebSocketStream::from_raw_socket(a, Role::Client, Some(config(Side::Device))).await;
        let host = WebSocketStream::from_raw_socket(b, Role::Server, Some(config(Side::Host))).await;
        let (stream, link, heard) = SealedStream::new(host, theirs, Side::Host);
        let (say, came) = mpsc::channel(16);
        let hosting = tokio::spawn(async move {
            let _heard = heard;
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol().max_concurrent_streams(64);
            let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
            while let Some(Ok(request)) = connection.accept().await {
                say.send(request).await.unwrap();
            }
        });
        let state = State::Direct { endpoint: "192.0.2.1:7878".parse().unwrap() };
        let client = Client::over(id, SealedStream::new(device, ours, Side::Device), state).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Some(HeaderValue::from_static("wiki"));
        let forwarding =
            tokio::spawn(Forwarder::new(Arc::new(client), app, Names { address, localhost: false }).run(listener));
        World { address, came, host: link, _tasks: [hosting, forwarding].map(AbortOnDropHandle::new) }
    }

    /// A program that has sent this; `HOST` in it is the forwarder's.
    async fn program(&self, sent: &str) -> TcpStream {
        let mut program = TcpStream::connect(self.address).await.unwrap();
        program.write_all(sent.replace("HOST", &self.address.to_string()).as_bytes()).await.unwrap();
        program
    }

    async fn came(&mut self) -> Came {
        timeout(SOON, self.came.recv()).await.unwrap().unwrap()
    }
}

/// Reads until `end`.
async fn until(program: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let read = timeout(SOON, program.read_u8()).await.unwrap();
        text.push(read.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&text))));
    }
    String::from_utf8(text).unwrap()
}

fn head(status: u16, headers: &[(&'static str, &'static str)]) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    answer
}

#[tokio::test]
async fn a_request_and_its_answer_go_through_with_their_trailers() {
    let mut world = World::new().await;
    let mut program = world
        .program(
            "POST /a%2Fb?c=d HTTP/1.1\r\nHost: HOST\r\nCouplet-App: other\r\nConnection: x-hop, te\r\nX-Hop: 1\r\n\
             TE: trailers\r\nCookie: a=1\r\nCookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
        )
        .await;
    let (request, mut respond) = world.came().await;
    assert_eq!(request.uri().path_and_query().unwrap(), "/a%2Fb?c=d");
    assert_eq!(
        (request.method(), request.uri().authority().unwrap().as_str()),
        (&http::Method::POST, &*world.address.to_string())
    );
    let headers = request.headers();
    assert_eq!(headers.get_all(APP).iter().collect::<Vec<_>>(), ["wiki"]);
    assert!(["host", "x-hop", "connection", "transfer-encoding"].iter().all(|name| !headers.contains_key(*name)));
    assert_eq!(headers[header::TE], "trailers");
    assert_eq!(headers.get_all(header::COOKIE).iter().count(), 2);
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "abc");
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap()["x-sum"], "7");

    let answer = head(201, &[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("trailer", "x-end")]);
    let mut send = respond.send_response(answer, false).unwrap();
    send.send_data("hello".into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("9"));
    send.send_trailers(trailers).unwrap();
    let text = until(&mut program, "\r\n\r\n").await + &until(&mut program, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 201 Created\r\n"), "{text}");
    assert!(text.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"), "{text}");
    assert!(text.ends_with("5\r\nhello\r\n0\r\nx-end: 9\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_heads() {
    let mut world = World::new().await;
    let mut program = world.program("HEAD / HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    for status in [200, 304] {
        let (_, mut respond) = world.came().await;
        respond.send_response(head(status, &[("content-length", "1234"), ("etag", "x")]), true).unwrap();
        let text = until(&mut program, "\r\n\r\n").await;
        assert!(text.contains("etag: x"), "{text}");
        // A 304 may leave it out.
        assert!(status == 304 || text.contains("content-length: 1234\r\n"), "{text}");
        let next = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", world.address);
        program.write_all(next.as_bytes()).await.unwrap();
    }
    let (_, mut respond) = world.came().await;
    respond.send_response(head(204, &[]), true).unwrap();
    assert!(until(&mut program, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));
}

#[tokio::test]
async fn a_program_that_asks_may_continue_when_the_app_says_so() {
    let mut world = World::new().await;
    const ASKS: &str = "PUT / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut program = world.program(ASKS).await;
    let (request, mut respond) = world.came().await;
    assert_eq!(request.headers()[header::EXPECT], "100-continue");
    respond.send_informational(head(100, &[])).unwrap();
    assert_eq!(until(&mut program, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    program.write_all(b"abc").await.unwrap();
    assert_eq!(request.into_body().data().await.unwrap().unwrap(), "abc");
    respond.send_response(head(204, &[]), true).unwrap();
    assert!(until(&mut program, "\r\n\r\n").await.starts_with("HTTP/1.1 204"));

    let mut program = world.program(ASKS).await;
    let (_request, mut respond) = world.came().await;
    respond.send_response(head(413, &[]), true).unwrap();
    assert!(until(&mut program, "\r\n\r\n").await.starts_with("HTTP/1.1 413"), "and no 100 before it");
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_whole() {
    let mut world = World::new().await;
    for version in ["1.1", "1.0"] {
        let mut program = world.program(&format!("GET / HTTP/{version}\r\nHost: HOST\r\n\r\n")).await;
        let (_, mut respond) = world.came().await;
        let mut send = respond.send_response(head(200, &[]), false).unwrap();
        send.send_data("half".into(), false).unwrap();
        until(&mut program, if version == "1.1" { "half\r\n" } else { "half" }).await;
        // Which some take for an end.
        send.send_reset(h2::Reason::CANCEL);
        let mut rest = Vec::new();
        let error = timeout(SOON, program.read_to_end(&mut rest)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "HTTP/{version}");
        assert_eq!(rest, b"");
    }
}

#[tokio::test]
async fn a_program_that_leaves_ends_its_request() {
    let mut world = World::new().await;
    let program = world.program("GET /events HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    let (_, mut respond) = world.came().await;
    drop(program);
    timeout(SOON, poll_fn(|cx| respond.poll_reset(cx))).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_program_holds_the_app_back() {
    // What may lie between the app and a program that reads nothing: a stream's window, and the kernel's buffers at the
    // largest that Linux makes them by itself.
    const BETWEEN: usize = 16 << 20;
    let mut world = World::new().await;
    let program = world.program("GET /big HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    let (_, mut respond) = world.came().await;
    let mut send = respond.send_response(head(200, &[]), false).unwrap();
    let mut sent = 0;
    loop {
        send.reserve_capacity(1 << 16);
        let room = timeout(Duration::from_secs(1), poll_fn(|cx| send.poll_capacity(cx))).await;
        let Ok(room) = room else { break };
        let room = room.unwrap().unwrap();
        send.send_data(vec![0; room].into(), false).unwrap();
        sent += room;
        assert!(sent <= BETWEEN, "nobody is held back");
    }
    assert!(sent > 0, "the app was never let begin");
    drop(program);
}

#[tokio::test]
async fn upgrades_become_streams() {
    let mut world = World::new().await;
    let mut program = world
        .program(
            "GET /ws HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nahead",
        )
        .await;
    let (request, mut respond) = world.came().await;
    assert_eq!(request.method(), http::Method::CONNECT);
    assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "websocket");
    assert_eq!(
        (request.uri().path(), &request.headers()[header::SEC_WEBSOCKET_VERSION]),
        ("/ws", &"13".parse().unwrap())
    );
    assert!(["sec-websocket-key", "upgrade", "connection"].iter().all(|name| !request.headers().contains_key(*name)));
    let mut send = respond.send_response(head(200, &[("sec-websocket-protocol", "chat")]), false).unwrap();
    let text = until(&mut program, "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
    for line in
        ["upgrade: websocket", "sec-websocket-protocol: chat", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]
    {
        assert!(text.contains(&format!("{line}\r\n")), "{line}: {text}");
    }
    assert!(!text.contains("content-length") && !text.contains("transfer-encoding"), "{text}");
    let mut body = request.into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "ahead");
    send.send_data("pong".into(), false).unwrap();
    until(&mut program, "pong").await;
    // Each way ends on its own.
    program.shutdown().await.unwrap();
    while let Some(data) = body.data().await {
        assert_eq!(data.unwrap(), "");
    }
    send.send_data("bye".into(), true).unwrap();
    let mut rest = Vec::new();
    timeout(SOON, program.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn an_upgrade_that_breaks_resets_the_program_and_a_refusal_reaches_it() {
    let mut world = World::new().await;
    const ASKS: &str = "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut program = world.program(ASKS).await;
    let (request, mut respond) = world.came().await;
    assert_eq!(request.extensions().get::<h2::ext::Protocol>().unwrap().as_str(), "echo");
    let mut send = respond.send_response(head(200, &[]), false).unwrap();
    assert!(until(&mut program, "\r\n\r\n").await.contains("upgrade: echo\r\n"));
    send.send_reset(h2::Reason::INTERNAL_ERROR);
    let error = timeout(SOON, program.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);

    let mut program = world.program(ASKS).await;
    let (_request, mut respond) = world.came().await;
    let mut send = respond.send_response(head(403, &[("content-length", "2")]), false).unwrap();
    send.send_data("no".into(), true).unwrap();
    assert!(until(&mut program, "\r\n\r\nno").await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn web_pages_of_others_get_a_problem_and_the_host_hears_nothing() {
    let mut world = World::new().await;
    let cases = [
        ("Host: evil.example", 421, "CPL-1005"),
        ("Host: localhost", 421, "CPL-1005"),
        ("Host: HOST\r\nSec-Fetch-Site: cross-site", 403, "CPL-1609"),
        ("Host: HOST\r\nOrigin: http://evil.example", 403, "CPL-1609"),
    ];
    for (headers, status, code) in cases {
        let mut program = world.program(&format!("GET / HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n")).await;
        let mut text = String::new();
        timeout(SOON, program.read_to_string(&mut text)).await.unwrap().unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(text.contains("content-type: application/problem+json\r\n") && text.contains(code), "{text}");
    }
    assert!(world.came.try_recv().is_err());
}

#[tokio::test]
async fn a_revoked_device_is_cut_off_and_told() {
    let mut world = World::new().await;
    let mut program = world.program("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n").await;
    let (_, mut respond) = world.came().await;
    let mut send = respond.send_response(head(200, &[("content-length", "1000")]), false).unwrap();
    send.send_data("part".into(), false).unwrap();
    until(&mut program, "part").await;
    world.host.close(CloseCode::Revoked);
    let error = timeout(SOON, program.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let mut program = world.program("GET / HTTP/1.0\r\nHost: HOST\r\n\r\n").await;
    let mut text = String::new();
    timeout(SOON, program.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.0 403") && text.contains("CPL-1603"), "{text}");
}
