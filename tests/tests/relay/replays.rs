//! A relay that says everything twice, sends its host elsewhere, or tells it more than there is: the host follows each
//! command once, to nobody but its relay, and no more of them than it has places for.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use couplet_protocol::relay::HOST_UPGRADE;
use couplet_protocol::{RoomId, Sid};
use e2e::device::keys;
use e2e::host::PATIENCE;
use e2e::{Http2, Relay, TestApp, TestDevice, eventually};
use futures_util::StreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::task::AbortOnDropHandle;

type Body = BoxBody<Bytes, Infallible>;

/// An event stream that the host has opened.
struct Stream {
    /// The command that it says it knew last.
    last: Option<String>,
    events: mpsc::UnboundedSender<String>,
}

/// Stands in for the hosts' listener, with the relay's own key. Dropping it ends what it has open.
struct Double {
    url: String,
    streams: mpsc::UnboundedReceiver<Stream>,
    shared: Shared,
    _served: AbortOnDropHandle<()>,
}

/// What the double's connections share.
#[derive(Clone)]
struct Shared {
    streams: mpsc::UnboundedSender<Stream>,
    dials: Arc<Mutex<BTreeMap<String, u32>>>,
    open: Arc<Mutex<Open>>,
    /// Ends the sessions that are held.
    let_go: Arc<Notify>,
}

/// How many connections the host has open, and had at most.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    now: usize,
    most: usize,
}

/// One of them.
struct Counted(Arc<Mutex<Open>>);

impl Counted {
    fn new(open: &Arc<Mutex<Open>>) -> Arc<Self> {
        let mut counted = open.lock().unwrap();
        counted.now += 1;
        counted.most = counted.most.max(counted.now);
        Arc::new(Counted(Arc::clone(open)))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.lock().unwrap().now -= 1;
    }
}

fn tls(relay: &Relay) -> TlsAcceptor {
    let ca = std::fs::read_to_string(relay.ca()).unwrap();
    let ca_key = std::fs::read_to_string(relay.ca().with_file_name("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![params.signed_by(&key, &issuer).unwrap().der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key.into()).unwrap()))
}

fn answer(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(Full::new(body.into()).boxed()).unwrap()
}

impl Shared {
    async fn handle(self, mut request: Request<Incoming>, open: Arc<Counted>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path().to_owned();
        if path == "/host/events" {
            let (events, told) = mpsc::unbounded_channel::<String>();
            let last = request.headers().get("last-event-id").map(|last| last.to_str().unwrap().to_owned());
            self.streams.send(Stream { last, events }).unwrap();
            let body = StreamBody::new(UnboundedReceiverStream::new(told).map(|event| Ok(Frame::data(event.into()))));
            let answer = Response::builder().header("content-type", "text/event-stream");
            return Ok(answer.body(BodyExt::boxed(body)).unwrap());
        }
        if let Some(sid) = path.strip_prefix("/pair/relay/") {
            *self.dials.lock().unwrap().entry(sid.to_owned()).or_default() += 1;
            let upgrade = hyper::upgrade::on(&mut request);
            // Held until the host ends it, with no device behind it.
            tokio::spawn(async move {
                let _open = open;
                let (mut held, mut nowhere) = (TokioIo::new(upgrade.await.unwrap()), tokio::io::sink());
                tokio::select! {
                    () = self.let_go.notified() => {}
                    _ = tokio::io::copy(&mut held, &mut nowhere) => {}
                }
            });
            let mut switched = answer(101, "");
            switched.headers_mut().insert("connection", "upgrade".parse().unwrap());
            switched.headers_mut().insert("upgrade", HOST_UPGRADE.parse().unwrap());
            return Ok(switched);
        }
        Ok(answer(204, ""))
    }
}

impl Double {
    /// In place of a relay that has ended.
    async fn start(relay: &Relay) -> Self {
        let (acceptor, port) = (tls(relay), relay.hosts_port());
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (opened, streams) = mpsc::unbounded_channel();
        let shared = Shared { streams: opened, dials: Arc::default(), open: Arc::default(), let_go: Arc::default() };
        let own = shared.clone();
        let served = tokio::spawn(async move {
            loop {
                let (stream, acceptor, shared) = (listener.accept().await.unwrap().0, acceptor.clone(), own.clone());
                let open = Counted::new(&shared.open);
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| shared.clone().handle(request, Arc::clone(&open)));
                    let connection =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service);
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        let url = format!("https://localhost:{port}");
        Double { url, streams, shared, _served: AbortOnDropHandle::new(served) }
    }

    async fn stream(&mut self) -> Stream {
        tokio::time::timeout(PATIENCE, self.streams.recv()).await.expect("the host comes").unwrap()
    }

    fn command(&self, sid: &Sid) -> String {
        command(sid, &self.url)
    }

    fn dials(&self, sid: &Sid) -> u32 {
        self.shared.dials.lock().unwrap().get(&sid.to_hex()).copied().unwrap_or_default()
    }

    fn open(&self) -> Open {
        *self.shared.open.lock().unwrap()
    }

    async fn is_dialled(&self, sid: &Sid) {
        eventually("the host follows", PATIENCE, async || self.dials(sid) > 0).await;
    }
}

fn command(sid: &Sid, url: &str) -> String {
    let data = json!({"sid": sid.to_hex(), "room_id": RoomId::new([7; 16]).to_hex(), "mode": "reconnect",
        "relay_url": url, "remote_ip": "192.0.2.1", "expires_at": "2099-01-01T00:00:00Z"});
    format!("id: {}\nevent: pair-cmd\ndata: {data}\n\n", sid.to_hex())
}

fn sid(n: u8) -> Sid {
    Sid::new([n; 16])
}

#[tokio::test]
async fn what_a_relay_says_twice_is_done_once_and_what_leads_elsewhere_is_not_done() {
    let mut relay = Relay::start().await;
    let host = relay
        .host(|setup| {
            setup.env("COUPLET_APPROVE", "never");
        })
        .await;
    relay.kill().await;
    let mut double = Double::start(&relay).await;
    let stream = double.stream().await;
    assert_eq!(stream.last, None);
    let say = |stream: &Stream, event: String| stream.events.send(event).unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    say(&stream, double.command(&sid(1)).repeat(2));
    for (n, url) in [
        (2, format!("https://127.0.0.1:{port}")),
        (3, format!("http://localhost:{port}")),
        (4, format!("https://localhost.example:{port}")),
    ] {
        say(&stream, command(&sid(n), &url));
    }
    for broken in ["not JSON", "{}", r#"{"sid":"../../host/events"}"#] {
        say(&stream, format!("id: {broken}\nevent: pair-cmd\ndata: {broken}\n\n"));
    }
    say(&stream, double.command(&sid(5)));
    double.is_dialled(&sid(5)).await;

    // The stream ends, and the next one begins with all of it again.
    drop(stream);
    let stream = double.stream().await;
    assert_eq!(stream.last, Some(sid(5).to_hex()), "it says what it knew last");
    for n in [1, 5, 1, 5, 6] {
        say(&stream, double.command(&sid(n)));
    }
    double.is_dialled(&sid(6)).await;
    let dialled = double.shared.dials.lock().unwrap().clone();
    let expected = [1, 5, 6].map(|n| (sid(n).to_hex(), 1));
    assert_eq!(dialled, BTreeMap::from(expected));
    let went_elsewhere = tokio::time::timeout(std::time::Duration::ZERO, elsewhere.accept()).await;
    assert!(went_elsewhere.is_err(), "the host went elsewhere");

    // None of it has done harm.
    drop((stream, double));
    relay.restart().await;
    let (device, offer) = (TestDevice::new("Phone"), host.generate().await);
    let (room, token) = Relay::room_of(&offer.link);
    eventually("the host is back", PATIENCE, async || relay.ask(room, &token).await.status == 200).await;
    relay.pair(&device, &offer.link).await;
}

/// How many sessions the host may have.
const SESSIONS: usize = 4;
/// Besides, it may dial so many that it does not know yet, hold the link, and do a little beside that.
const SOCKETS: usize = SESSIONS + 8 + 4;
/// By how much the host may grow meanwhile, in KiB.
const GROWTH: u64 = 16 * 1024;

#[tokio::test]
async fn a_relay_that_floods_its_host_takes_little_of_it_and_is_left() {
    let (mut relay, app) = (Relay::start().await, TestApp::start().await);
    let host = relay
        .host(|setup| {
            setup.app(app.url()).env("COUPLET_APPROVE", "never");
            setup.env("COUPLET_LIMITS__MAX_SESSIONS", SESSIONS.to_string());
        })
        .await;
    let (device, link) = (TestDevice::new("Near"), host.generate().await.link);
    let (grant, sealed) = device.pair(host.pairing_url(), &link).await;
    let near = Http2::over(sealed).await;
    let works = async |near: &Http2| near.ask(Method::GET, "http://app/", &[]).await.status() == 200;
    assert!(works(&near).await);
    relay.kill().await;
    let mut double = Double::start(&relay).await;
    let count = |kind: &str| host.printed().matches(kind).count();
    let (memory, lines) = (host.peak_memory_kib(), host.logs().lines().count());
    let mut sids = (0_u128..).map(|n| Sid::new(n.to_be_bytes()));
    for flood in ["commands", "locks", "nonsense", "elsewhere", "one without an end"] {
        let (stream, lost) = (double.stream().await, count("relay.lost"));
        // What the host does not read stays here.
        for _ in 0..10_000 {
            let event = match flood {
                "commands" => double.command(&sids.next().unwrap()),
                "locks" => format!("event: room-locked\ndata: {{\"room_id\":\"{}\"}}\n\n", "07".repeat(16)),
                "nonsense" => "event: pair-cmd\ndata: {}\n\n".to_owned(),
                "elsewhere" => double.command(&sids.next().unwrap()).replace("https://", "https://elsewhere."),
                _ => format!("data: {}", "x".repeat(4096)),
            };
            if stream.events.send(event).is_err() {
                break;
            }
        }
        let left = tokio::time::timeout(PATIENCE, stream.events.closed()).await;
        assert!(left.is_ok(), "{flood}: the host listens on");
        eventually("it says so", PATIENCE, async || count("relay.lost") > lost).await;
        assert!(works(&near).await, "{flood}: who is near has gone on");
    }
    let open = double.open();
    assert!((SESSIONS..=SOCKETS).contains(&open.most), "{open:?}");
    let (logs, grown) = (host.logs(), host.peak_memory_kib() - memory);
    assert!(logs.contains("more events than there can be") && logs.contains("its events cannot be read"), "{logs}");
    assert!(logs.lines().count() < lines + 100, "{logs}");
    assert!(grown < GROWTH, "{grown} KiB");

    // It comes back all the same: to this one, if that mends its ways. Some of the events of a minute may still be used up.
    double.shared.let_go.notify_waiters();
    eventually("the sessions are over", PATIENCE, async || double.open().now <= 2).await;
    let sid = sids.next().unwrap();
    while double.dials(&sid) == 0 {
        let stream = double.stream().await;
        stream.events.send(double.command(&sid)).unwrap();
        tokio::select! {
            () = double.is_dialled(&sid) => {}
            () = stream.events.closed() => {}
        }
    }
    drop(near);
    Http2::over(device.reconnect(host.pairing_url(), &keys(&link, &grant)).await.unwrap()).await;
}
