//! A relay that runs, and its peers over real TLS sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_relay::config::Config;
use couplet_relay::control::SOCKET;
use couplet_relay::{Ready, Relay};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the relays are, and peers unless they say otherwise.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub type Tls = TlsStream<TcpStream>;
pub type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Waits until it is so.
pub async fn eventually(what: &str, mut is: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A relay with a state folder of its own, on free ports.
pub struct TestRelay {
    pub folder: TempDir,
    configure: fn(&mut Config),
    pub ready: Ready,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl TestRelay {
    pub async fn start(configure: fn(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ready, stop, served) = serve(&folder, configure).await;
        TestRelay { folder, configure, ready, stop, served }
    }

    /// Ends it at once and starts it again, on other ports.
    pub async fn restart(&mut self) {
        self.served.abort();
        let _ = (&mut self.served).await;
        (self.ready, self.stop, self.served) = serve(&self.folder, self.configure).await;
    }

    /// Tells it to stop; it drains.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn stopped(self) {
        self.stop.cancel();
        within("stopping", self.served).await.unwrap();
    }

    pub fn ca(&self) -> String {
        std::fs::read_to_string(&self.ready.ca).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca().as_bytes()).unwrap()).unwrap();
        roots
    }

    pub async fn device_tls(&self) -> Tls {
        self.device_tls_from(LOCALHOST).await.unwrap()
    }

    /// A device that comes from this address of the machine.
    pub async fn device_tls_from(&self, source: IpAddr) -> std::io::Result<Tls> {
        shake_hands(self.device_config(), tcp(source, self.devices_port()).await?).await
    }

    pub fn device_config(&self) -> ClientConfig {
        builder().with_root_certificates(self.roots()).with_no_client_auth()
    }

    pub fn devices_port(&self) -> u16 {
        self.ready.bound.devices[0].port()
    }

    pub fn hosts_port(&self) -> u16 {
        self.ready.bound.hosts[0].port()
    }

    /// A request on a connection of its own to the devices' listener.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        request(self.device_tls().await, Method::POST, path, Some(body)).await
    }

    pub async fn pair(&self, body: &Value) -> Answer {
        self.post("/pair", body).await
    }

    /// What `couplet relay …` says to the running relay.
    pub async fn control(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let socket = UnixStream::connect(self.folder.path().join("state").join(SOCKET)).await.unwrap();
        request(socket, method, path, body).await
    }

    pub async fn invite(&self) -> String {
        let answer = self.control(Method::POST, "/invitations", Some(&json!({"valid_seconds": 60}))).await;
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// A device's end of a session.
    pub async fn device_end(&self, sid: &str) -> WebSocketStream<Tls> {
        let url = format!("wss://localhost/pair/relay/{sid}");
        let (socket, _) = tokio_tungstenite::client_async(url, self.device_tls().await).await.unwrap();
        socket
    }
}

async fn serve(folder: &TempDir, configure: fn(&mut Config)) -> (Ready, CancellationToken, JoinHandle<()>) {
    let mut config = Config::new(folder.path().join("state"));
    config.dev = true;
    config.listen = vec!["127.0.0.1:0".parse().unwrap()];
    config.hosts_listen = config.listen.clone();
    configure(&mut config);
    // A relay that was killed may hold the store a moment longer.
    let relay = within("starting", async {
        loop {
            match Relay::bind(config.clone()).await {
                Ok(relay) => return relay,
                Err(error) if error.code() == couplet_protocol::Code::AlreadyRunning => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    let (ready, stop) = (relay.ready(), CancellationToken::new());
    let served = relay.serve(stop.clone());
    (ready, stop, tokio::spawn(async move { served.await.unwrap() }))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap()
}

async fn connect(config: ClientConfig, port: u16) -> std::io::Result<Tls> {
    shake_hands(config, tcp(LOCALHOST, port).await?).await
}

/// A connection to this machine's port from one of its addresses.
pub async fn tcp(source: IpAddr, port: u16) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(SocketAddr::new(LOCALHOST, port)).await
}

pub async fn shake_hands(config: ClientConfig, stream: TcpStream) -> std::io::Result<Tls> {
    let name = ServerName::try_from("localhost").unwrap();
    within("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// Sends these bytes and reads until the other end closes.
pub async fn say(mut tls: Tls, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    let (mut reader, mut writer) = tokio::io::split(&mut tls);
    // Who is refused early takes no more.
    let _ =
        within("saying and hearing", async { tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer)) })
            .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn sid(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.body["sid"].as_str().unwrap().to_owned()
    }
}

pub async fn sender(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub async fn request(
    io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Answer {
    send(&mut sender(io).await, method, path, body).await
}

/// What asks for an upgrade: a device's, and a host's.
pub const WEBSOCKET: &[(&str, &str)] = &[
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];
pub const HOST_END: &[(&str, &str)] = &[("connection", "upgrade"), ("upgrade", "couplet-stream")];

/// A request for an upgrade that is refused, on a connection that is kept.
pub async fn upgrade(sender: &mut SendRequest<Full<Bytes>>, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(sender, request.body(Full::default()).unwrap()).await
}

/// A request on a connection that is kept.
pub async fn send(sender: &mut SendRequest<Full<Bytes>>, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(|body| serde_json::to_vec(body).unwrap()).unwrap_or_default();
    answer(sender, request.body(Full::new(Bytes::from(body))).unwrap()).await
}

async fn answer(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Answer {
    let sent = async {
        sender.ready().await?;
        sender.send_request(request).await
    };
    let (head, body) = within("an answer", sent).await.unwrap().into_parts();
    let body = within("a body", body.collect()).await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status: head.status, headers: head.headers, body }
}

/// What a host has after it was enrolled.
pub struct TestHost {
    pub id: String,
    pub key: KeyPair,
    pub certificate: String,
    pub config: ClientConfig,
}

pub fn csr(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

impl TestHost {
    pub async fn enroll(relay: &TestRelay) -> Self {
        let (token, key) = (relay.invite().await, KeyPair::generate().unwrap());
        let answer = relay.post("/enroll", &json!({"token": token, "csr": csr(&key)})).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let certificate = answer.body["certificate"].as_str().unwrap().to_owned();
        let id = answer.body["host_id"].as_str().unwrap().to_owned();
        let config = with_certificate(relay, &certificate, &key);
        TestHost { id, key, certificate, config }
    }

    pub async fn tls(&self, relay: &TestRelay) -> std::io::Result<Tls> {
        connect(self.config.clone(), relay.ready.bound.hosts[0].port()).await
    }

    pub async fn request(&self, relay: &TestRelay, method: Method, path: &str, body: Option<&Value>) -> Answer {
        request(self.tls(relay).await.unwrap(), method, path, body).await
    }

    /// Registers a room that this token opens, and another hash as its secret.
    pub async fn room(&self, relay: &TestRelay, room: &str, body: Value) {
        let answer = self.request(relay, Method::PUT, &format!("/host/rooms/{room}"), Some(&body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }

    pub async fn events(&self, relay: &TestRelay, last: Option<&str>) -> Events {
        let mut tls = self.tls(relay).await.unwrap();
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        tls.write_all(format!("GET /host/events HTTP/1.1\r\nhost: x\r\n{last}\r\n").as_bytes()).await.unwrap();
        let mut lines = BufReader::new(tls);
        let mut line = String::new();
        within("the stream's head", async {
            while line != ":\n" {
                line.clear();
                assert_ne!(lines.read_line(&mut line).await.unwrap(), 0, "the stream ended");
            }
        })
        .await;
        Events { lines }
    }

    /// The host's end of a session: raw bytes.
    pub async fn end(&self, relay: &TestRelay, sid: &str) -> Result<TokioIo<hyper::upgrade::Upgraded>, StatusCode> {
        let request = Request::get(format!("/pair/relay/{sid}"))
            .header("host", "localhost")
            .header("connection", "upgrade")
            .header("upgrade", "couplet-stream")
            .body(Full::default())
            .unwrap();
        let mut sender = sender(self.tls(relay).await.unwrap()).await;
        let answer = within("the upgrade", sender.send_request(request)).await.unwrap();
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(answer.status());
        }
        Ok(TokioIo::new(hyper::upgrade::on(answer).await.unwrap()))
    }

    /// The host's end as the server of the device's WebSocket.
    pub async fn socket(&self, relay: &TestRelay, sid: &str) -> Socket {
        WebSocketStream::from_raw_socket(self.end(relay, sid).await.unwrap(), Role::Server, None).await
    }
}

pub fn with_certificate(relay: &TestRelay, certificate: &str, key: &KeyPair) -> ClientConfig {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    builder().with_root_certificates(relay.roots()).with_client_auth_cert(chain, key).unwrap()
}

/// Whether a client with this certificate gets an answer from the hosts' listener.
pub async fn is_let_in(relay: &TestRelay, identity: Option<(&str, &KeyPair)>) -> bool {
    let config = match identity {
        Some((certificate, key)) => with_certificate(relay, certificate, key),
        None => builder().with_root_certificates(relay.roots()).with_no_client_auth(),
    };
    let Ok(mut tls) = connect(config, relay.ready.bound.hosts[0].port()).await else { return false };
    // In TLS 1.3 a client learns of its refusal when it reads.
    let request = b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let _ = tls.write_all(request).await;
    let mut answer = Vec::new();
    let _ = within("an end", tls.read_to_end(&mut answer)).await;
    answer.starts_with(b"HTTP/1.1 404")
}

/// A host's event stream.
pub struct Events {
    lines: BufReader<Tls>,
}

#[derive(Debug, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: String,
    pub data: Value,
}

impl Events {
    /// The next event, heartbeats left out; None when the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        within("an event", async {
            let (mut id, mut name, mut data) = (None, String::new(), Value::Null);
            loop {
                let mut line = String::new();
                if self.lines.read_line(&mut line).await.unwrap_or(0) == 0 {
                    return None;
                }
                match line.trim_end().split_once(':') {
                    Some(("id", value)) => id = Some(value.trim().to_owned()),
                    Some(("event", value)) => name = value.trim().to_owned(),
                    Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                    None if !name.is_empty() => return Some(Event { id, name, data }),
                    _ => {}
                }
            }
        })
        .await
    }
}

pub fn hex(byte: u8, len: usize) -> String {
    format!("{byte:02x}").repeat(len)
}

/// Rooms and credentials by a number.
pub fn room(n: u8) -> String {
    hex(n, 16)
}

pub fn by_token(n: u8) -> Value {
    json!({"pairing_token_hash": hex(n, 32), "public_key": "key"})
}

pub fn by_secret(n: u8) -> Value {
    json!({"secret_hash": hex(n, 32), "public_key": "key"})
}

pub fn ask_token(n: u8) -> Value {
    json!({"room_id": room(n), "pairing_token_hash": hex(n, 32)})
}

pub fn ask_secret(n: u8) -> Value {
    json!({"room_id": room(n), "secret_hash": hex(n, 32)})
}
