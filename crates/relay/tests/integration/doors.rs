//! What else the listeners do: `/rooms`, pages of other origins, limits on connections, the operator's listener, draining.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::{TestHost, TestRelay, Tls, ask_secret, by_secret, eventually, hex, request, room, sender, within};
use couplet_relay::config::Config;
use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

async fn rooms(tls: Tls) -> WebSocketStream<Tls> {
    tokio_tungstenite::client_async("wss://localhost/rooms", tls).await.unwrap().0
}

async fn told(socket: &mut WebSocketStream<Tls>) -> Value {
    match within("a message", socket.next()).await.unwrap().unwrap() {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn hosts_and_devices_meet_in_rooms() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    let mut at_host = rooms(host.tls(&relay).await.unwrap()).await;
    let register = json!({"type": "register_room", "room_id": room(1), "secret_hash": hex(1, 32), "public_key": "hk"});
    at_host.send(Message::text(register.to_string())).await.unwrap();
    assert_eq!(told(&mut at_host).await["type"], "room_registered");
    let mut device = rooms(relay.device_tls().await).await;
    let join = json!({"type": "join_room", "room_id": room(1), "secret_hash": hex(1, 32), "public_key": "dk"});
    device.send(Message::text(join.to_string())).await.unwrap();
    let joined = told(&mut device).await;
    assert_eq!((&joined["type"], &joined["public_key"]), (&json!("room_joined"), &json!("hk")), "{joined}");
    assert_eq!(told(&mut at_host).await["type"], "peer_joined");
    let bytes = Message::binary(vec![5; 60_000]);
    device.send(bytes.clone()).await.unwrap();
    assert_eq!(within("there", at_host.next()).await.unwrap().unwrap(), bytes);
    at_host.send(bytes.clone()).await.unwrap();
    assert_eq!(within("back", device.next()).await.unwrap().unwrap(), bytes);
    // Removing the room at the other door ends this one too.
    host.request(&relay, Method::DELETE, &format!("/host/rooms/{}", room(1)), None).await;
    eventually("the device's end", async || !matches!(device.next().await, Some(Ok(_)))).await;

    let mut stranger = rooms(relay.device_tls().await).await;
    stranger.send(Message::text(join.to_string())).await.unwrap();
    assert_eq!(told(&mut stranger).await["code"], "AUTH_FAILED");
    let close = within("the close", stranger.next()).await.unwrap().unwrap();
    assert!(matches!(close, Message::Close(Some(frame)) if frame.code == CloseCode::from(4003)));
    let mut large = rooms(relay.device_tls().await).await;
    let _ = large.send(Message::binary(vec![0; 200_000])).await;
    let end = within("too large", async {
        loop {
            match large.next().await {
                Some(Ok(Message::Text(_))) => {}
                other => return other,
            }
        }
    })
    .await;
    assert!(matches!(end, Some(Ok(Message::Close(_)) | Err(_)) | None), "{end:?}");
}

#[tokio::test]
async fn pages_of_any_origin_may_ask_and_read_the_answer() {
    let relay = TestRelay::start(|_| {}).await;
    let preflight = request(relay.device_tls().await, Method::OPTIONS, "/pair", None).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.headers["access-control-allow-headers"], "content-type");
    for (method, path) in [(Method::OPTIONS, "/pair"), (Method::POST, "/pair"), (Method::GET, "/nowhere")] {
        let answer = request(relay.device_tls().await, method, path, Some(&json!({}))).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    for path in ["/p", "/p/phone.js"] {
        let page = request(relay.device_tls().await, Method::GET, path, None).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.headers["referrer-policy"], "no-referrer");
        assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    }
    let plain = request(relay.device_tls().await, Method::GET, "/check", None).await;
    assert_eq!((plain.status, plain.code()), (StatusCode::UPGRADE_REQUIRED, "CPL-1014"));
    assert_eq!(relay.post("/enroll", &json!({"csr": "x".repeat(20_000)})).await.code(), "CPL-1003");
}

/// An app that a phone shows is on an origin of its own, and its scripts are strangers': what a page there asks of the relay
/// itself is asked of an origin that has no such routes.
#[tokio::test]
async fn on_the_origin_of_an_app_there_is_the_phones_client_and_nothing_of_the_relay() {
    let relay = TestRelay::start(|_| {}).await;
    let label = "a2".repeat(13);
    let ask = async |method: Method, host: &str, path: &str| {
        let request = http::Request::builder().method(method).uri(path).header("host", host);
        let request = request.body(http_body_util::Full::default()).unwrap();
        within("an answer", sender(relay.device_tls().await).await.send_request(request)).await.unwrap()
    };
    let origin = format!("{label}.apps.localhost:{}", relay.devices_port());
    for (path, file) in [("/.couplet/keeper", "text/html"), ("/.couplet/shim.js", "text/javascript")] {
        let answer = ask(Method::GET, &origin, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(file));
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "for its own origin alone");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains(&format!("frame-ancestors {};", relay.ready.public)), "{policy}");
    }
    assert_eq!(ask(Method::GET, &origin, "/.couplet/worker.js").await.headers()["service-worker-allowed"], "/");
    for path in ["/", "/p", "/check", "/rooms", "/pair", "/lab/tree?x=1", "//.couplet/keeper"] {
        assert_eq!(ask(Method::GET, &origin, path).await.status(), StatusCode::NOT_FOUND, "{path}");
        let posted = ask(Method::POST, &origin, path).await;
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(!posted.headers().contains_key("access-control-allow-origin"));
    }
    for host in ["apps.localhost", "x.apps.localhost", &format!("a.{label}.apps.localhost")] {
        assert_eq!(
            ask(Method::GET, host, "/.couplet/keeper").await.status(),
            StatusCode::MISDIRECTED_REQUEST,
            "{host}"
        );
    }
    assert_eq!(ask(Method::GET, "localhost", "/.couplet/keeper").await.status(), StatusCode::NOT_FOUND);
    // The certificate is good for it.
    let stream = TcpStream::connect(("127.0.0.1", relay.devices_port())).await.unwrap();
    let name = format!("{label}.apps.localhost").try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(relay.device_config()));
    within("the handshake", connector.connect(name, stream)).await.unwrap();
}

#[tokio::test]
async fn rooms_drain_as_sessions_do_and_are_told_when_the_relay_stops() {
    fn brief(config: &mut Config) {
        config.limits.drain_seconds = 2;
    }
    let relay = TestRelay::start(brief).await;
    let host = TestHost::enroll(&relay).await;
    let mut at_host = rooms(host.tls(&relay).await.unwrap()).await;
    let register = json!({"type": "register_room", "room_id": room(1), "secret_hash": hex(1, 32), "public_key": "hk"});
    at_host.send(Message::text(register.to_string())).await.unwrap();
    assert_eq!(told(&mut at_host).await["type"], "room_registered");
    let mut device = rooms(relay.device_tls().await).await;
    let join = json!({"type": "join_room", "room_id": room(1), "secret_hash": hex(1, 32), "public_key": "dk"});
    device.send(Message::text(join.to_string())).await.unwrap();
    assert_eq!(told(&mut device).await["type"], "room_joined");
    assert_eq!(told(&mut at_host).await["type"], "peer_joined");

    relay.stop();
    eventually("new sockets are refused", async || {
        let answer = tokio_tungstenite::client_async("wss://localhost/rooms", relay.device_tls().await).await;
        matches!(answer, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 503)
    })
    .await;
    let at_hosts = tokio_tungstenite::client_async("wss://localhost/rooms", host.tls(&relay).await.unwrap()).await;
    assert!(matches!(at_hosts, Err(tokio_tungstenite::tungstenite::Error::Http(answer)) if answer.status() == 503));
    device.send(Message::text("{}").into_data().into()).await.unwrap();
    assert_eq!(within("it passes", at_host.next()).await.unwrap().unwrap(), Message::binary("{}"));
    for socket in [&mut device, &mut at_host] {
        let close = within("the close", socket.next()).await.unwrap().unwrap();
        assert!(matches!(&close, Message::Close(Some(frame)) if frame.code == CloseCode::Away), "{close:?}");
    }
    relay.stopped().await;
}

#[tokio::test]
async fn operators_connections_are_few_end_in_time_and_do_not_outlive_the_relay() {
    fn brief(config: &mut Config) {
        config.private = vec!["127.0.0.1:0".parse().unwrap()];
        config.limits.header_seconds = 2;
    }
    let mut relay = TestRelay::start(brief).await;
    let control = relay.folder.path().join("state").join(couplet_relay::control::SOCKET);
    let (mut silent, mut slow) =
        (UnixStream::connect(&control).await.unwrap(), TcpStream::connect(relay.ready.bound.private[0]).await.unwrap());
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nx-").await.unwrap();
    let mut rest = Vec::new();
    within("the control socket's end", silent.read_to_end(&mut rest)).await.unwrap();
    let _ = within("the private listener's end", slow.read_to_end(&mut rest)).await;
    // However many there are, those that mean it get their turn.
    let mut many = Vec::new();
    for _ in 0..100 {
        many.push(TcpStream::connect(relay.ready.bound.private[0]).await.unwrap());
    }
    let live = request(TcpStream::connect(relay.ready.bound.private[0]).await.unwrap(), Method::GET, "/livez", None);
    assert_eq!(live.await.status, StatusCode::OK);
    // Connections that are open when the relay ends do not keep its store.
    let mut open = UnixStream::connect(&control).await.unwrap();
    open.write_all(b"POST /invitations HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n").await.unwrap();
    relay.restart().await;
    let _ = within("the connection's end", open.read_to_end(&mut rest)).await;
    relay.invite().await;
}

#[tokio::test]
async fn a_certificate_that_no_device_would_take_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["other.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut config = Config::new(folder.path().join("state"));
    (config.tls_cert, config.tls_key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&config.tls_cert, certificate.pem()).unwrap();
    std::fs::write(&config.tls_key, key.serialize_pem()).unwrap();
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.hosts_listen = config.listen.clone();
    config.name = "relay.example".into();
    let error = couplet_relay::Relay::bind(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("chain.pem is for other names than relay.example") && error.contains("--name"), "{error}");
    config.name = "other.example:8442".into();
    couplet_relay::Relay::bind(config).await.unwrap();
}

/// Whether the relay still holds the connection.
async fn is_open(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn one_source_does_not_keep_others_out_and_slow_ones_are_dropped() {
    fn few(config: &mut Config) {
        config.listen = vec!["0.0.0.0:0".parse().unwrap()];
        config.limits.source_sockets = 8;
        config.limits.handshake_seconds = 2;
        config.limits.header_seconds = 2;
    }
    let relay = TestRelay::start(few).await;
    let port = relay.ready.bound.devices[0].port();
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    let mut ninth = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    eventually("the ninth is refused", async || !is_open(&mut ninth).await).await;
    // Another source is taken in meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    assert!(is_open(&mut other).await);
    eventually("the silent ones are dropped", async || !is_open(&mut silent[0]).await).await;
    drop(silent);
    // A head that never ends.
    let mut slow = relay.device_tls().await;
    slow.write_all(b"GET /p HTTP/1.1\r\nhost: x\r\nx-").await.unwrap();
    let mut rest = Vec::new();
    let _ = within("the slow head's end", slow.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn the_operator_sees_numbers_and_a_draining_relay_lets_sessions_end() {
    fn private(config: &mut Config) {
        config.private = vec!["127.0.0.1:0".parse().unwrap()];
    }
    let relay = TestRelay::start(private).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_secret(1)).await;
    let mut events = host.events(&relay, None).await;
    let sid = relay.pair(&ask_secret(1)).await.sid();
    events.next().await.unwrap();
    let (mut device, mut end) = (relay.device_end(&sid).await, host.socket(&relay, &sid).await);
    device.send(Message::binary(vec![0; 1000])).await.unwrap();
    within("there", end.next()).await.unwrap().unwrap();

    let at = relay.ready.bound.private[0];
    let numbers = async || {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = numbers().await;
    for line in [
        "couplet_relay_hosts_online 1",
        "couplet_relay_sessions 1",
        "couplet_relay_bridges 1",
        "couplet_relay_sessions_opened_total 1",
        "couplet_relay_certificates_total 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    let bytes = text.lines().find_map(|line| line.strip_prefix("couplet_relay_bytes_total ")).unwrap();
    assert!(bytes.parse::<u64>().unwrap() >= 1000, "{text}");
    let ready = async || request(TcpStream::connect(at).await.unwrap(), Method::GET, "/readyz", None).await.status;
    assert_eq!(ready().await, StatusCode::OK);

    relay.stop();
    let drain = events.next().await.unwrap();
    assert_eq!((drain.name.as_str(), drain.data), ("drain", json!({"relay_url": relay.ready.hosts})));
    assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    let refused = relay.pair(&ask_secret(1)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, "CPL-1808"));
    // What runs goes on, and when it has ended, so has the relay.
    device.send(Message::text("x")).await.unwrap();
    assert_eq!(within("it passes", end.next()).await.unwrap().unwrap(), Message::text("x"));
    drop(device);
    let start = Instant::now();
    relay.stopped().await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(events.next().await, None);
}
