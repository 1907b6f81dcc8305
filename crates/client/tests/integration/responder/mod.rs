//! A host to test against: the responder of `couplet-protocol` behind a WebSocket, and an HTTP/2 server in the session.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use couplet_client::sealed::{SealedStream, Side, config};
use couplet_client::{CredentialStore, FileStore, PairRequest};
use couplet_protocol::handshake::{Hello, Proof, Responder};
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::offer::{LinkForm, SUITE_1};
use couplet_protocol::secret::{Entropy, OfferSecret, Psk};
use couplet_protocol::{CheckCode, Endpoint, Offer, StaticSecret};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

/// What carries a WebSocket, whatever it is.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(crate) type Wire = Box<dyn Io>;
pub(crate) type Sealed = SealedStream<Wire>;

/// A device's key that a host knows, and the PSK of its pairing.
pub(crate) const PSK: [u8; 32] = [7; 32];
pub(crate) const PSK_ID: [u8; 8] = [8; 8];

/// What a host is.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) key: StaticSecret,
    pub(crate) offer: OfferSecret,
}

/// A session that a device has confirmed.
pub(crate) struct Session {
    pub(crate) stream: Sealed,
    pub(crate) code: Option<CheckCode>,
    /// Which of the connections it came on, from 1.
    pub(crate) number: usize,
}

impl Host {
    pub(crate) fn new(seed: u8) -> Self {
        Host {
            name: format!("Host {seed}"),
            key: StaticSecret::new([seed; 32]).unwrap(),
            offer: OfferSecret::new([9; 16]),
        }
    }

    pub(crate) fn offer(&self, addresses: &[SocketAddr]) -> Offer {
        Offer {
            suites: SUITE_1,
            expires_at: u32::MAX,
            secret: self.offer.clone(),
            host_key: self.key.public(),
            endpoints: addresses.iter().copied().map(Endpoint::Lan).collect(),
        }
    }

    pub(crate) fn link(&self, addresses: &[SocketAddr]) -> String {
        self.offer(addresses).to_link(LinkForm::App)
    }

    pub(crate) fn grant(&self, addresses: &[SocketAddr]) -> Control {
        Control::Grant(Grant {
            device_id: "3f2a0000-0000-4000-8000-000000000001".into(),
            device_token: "dev_canary".to_owned().into(),
            host_name: self.name.clone(),
            psk_id: PSK_ID,
            psk: Psk::new(PSK),
            room_secret: None,
            endpoints: addresses.iter().copied().map(Endpoint::Lan).collect(),
        })
    }

    /// The handshake of one connection, as the host.
    pub(crate) async fn accept(&self, stream: TcpStream, number: usize) -> Option<Session> {
        let stream: Wire = Box::new(stream);
        self.meet(accept_async_with_config(stream, Some(config(Side::Host))).await.ok()?, number).await
    }

    /// The handshake over an open WebSocket, as the host.
    pub(crate) async fn meet(&self, mut socket: WebSocketStream<Wire>, number: usize) -> Option<Session> {
        let m1 = binary(&mut socket).await?;
        let hello = Hello::parse(&m1).ok()?;
        let responder = match hello.mode() {
            couplet_protocol::handshake::Mode::Pair => {
                let keys = self.offer(&[]).keys().unwrap();
                Responder::pair(&hello, &self.key, &keys.psk, SUITE_1, fresh()).ok()
            }
            couplet_protocol::handshake::Mode::Reconnect => {
                // The tests have no need to remember each device's key: the one in M1 is taken for the paired one.
                self.reconnecting(&hello)
            }
        };
        let Some(responder) = responder else {
            refuse(socket, "CPL-1103").await;
            return None;
        };
        let (unconfirmed, m2) = responder.answer(&self.name, &fresh()).unwrap();
        socket.send(Message::binary(m2)).await.ok()?;
        let mut first = binary(&mut socket).await?.to_vec();
        let Proof { session, check_code: code, .. } = unconfirmed.confirm(&mut first).ok()?;
        let (stream, _, _) = SealedStream::new(socket, session, Side::Host);
        Some(Session { stream, code, number })
    }

    fn reconnecting(&self, hello: &Hello<'_>) -> Option<Responder> {
        let device = DEVICES.lock().unwrap().clone();
        device.iter().find_map(|key| Responder::reconnect(hello, &self.key, &Psk::new(PSK), SUITE_1, key, fresh()).ok())
    }
}

/// The keys of devices that were paired in this test process.
static DEVICES: std::sync::Mutex<Vec<couplet_protocol::PublicKey>> = std::sync::Mutex::new(Vec::new());

pub(crate) fn knows(credentials: &couplet_client::Credentials) {
    DEVICES.lock().unwrap().push(credentials.device_key.public());
}

fn fresh() -> Entropy {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    Entropy::new(bytes)
}

async fn binary(socket: &mut WebSocketStream<Wire>) -> Option<Bytes> {
    loop {
        match socket.next().await?.ok()? {
            Message::Binary(message) => return Some(message),
            Message::Ping(_) | Message::Pong(_) => {}
            _ => return None,
        }
    }
}

/// Says no before there are keys.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, code: &str) {
    let frame = CloseFrame { code: 4000.into(), reason: code.to_owned().into() };
    let _ = socket.close(Some(frame)).await;
}

/// A listener that hands each connection to a function, but those that ask for its health. Dropping it stops it and ends
/// what it began.
pub(crate) struct Listener {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Listener {
    /// One that has no page about its health.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::healthy("404 Not Found", "", serve).await
    }

    /// One whose `GET /health` is answered with this.
    pub(crate) async fn healthy<F>(
        status: &str,
        body: &str,
        serve: impl Fn(TcpStream, usize) -> F + Clone + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let health = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (serve, count, health) = (serve.clone(), count.clone(), health.clone());
                connections.spawn(async move {
                    let mut first = [0; 12];
                    if stream.peek(&mut first).await.is_ok() && first == *b"GET /health " {
                        let _ = stream.write_all(health.as_bytes()).await;
                        return;
                    }
                    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                    serve(stream, number).await;
                });
            }
        });
        Listener { address, accepted, task: task.abort_handle() }
    }

    /// A listener on which this host lives and does this with each session.
    pub(crate) async fn host<F>(host: &Host, with: impl Fn(Session) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let host = host.clone();
        Self::start(move |stream, number| {
            let (host, with) = (host.clone(), with.clone());
            async move {
                if let Some(session) = host.accept(stream, number).await {
                    with(session).await;
                }
            }
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A port where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Speaks HTTP/2 in a session; each stream goes to a function.
pub(crate) async fn http<F>(
    stream: Sealed,
    handle: impl Fn(http::Request<h2::RecvStream>, h2::server::SendResponse<Bytes>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol().max_concurrent_streams(64);
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    let mut streams = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        streams.spawn(handle(request, respond));
    }
}

pub(crate) fn request(name: &str) -> PairRequest {
    PairRequest {
        name: name.into(),
        model: None,
        platform: Some("Linux".into()),
        kind: "desktop".into(),
        another_host: false,
        relay_ca: None,
        account: None,
    }
}

/// A store in a folder of its own.
pub(crate) fn store() -> (tempfile::TempDir, Arc<dyn CredentialStore>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("hosts"));
    (folder, Arc::new(store))
}

/// Waits for what must come soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.unwrap_or_else(|_| panic!("waited in vain"))
}
