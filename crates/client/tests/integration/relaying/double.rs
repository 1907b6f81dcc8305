//! A relay that answers as a test wishes, over real TLS.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use couplet_client::RelayCa;
use couplet_client::sealed::{Side, config};
use couplet_protocol::RelayName;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

pub(crate) type Tls = TlsStream<TcpStream>;

/// What a device asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST /pair`.
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
    /// On which of the connections, from 1.
    pub(crate) connection: usize,
}

/// What it is answered.
pub(crate) enum Reply {
    /// These bytes, and then the next request.
    Bytes(Vec<u8>),
    /// These bytes, over and over.
    Endless(Vec<u8>),
    /// Nothing at all.
    Silence,
    HangUp,
    /// The upgrade as it should be, and then the WebSocket goes to the double's other half.
    Switch,
}

impl Reply {
    /// An answer with a body of JSON.
    pub(crate) fn json(status: u16, more: &str, body: &str) -> Self {
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
        Reply::Bytes(format!("{head}{more}\r\n{body}").into())
    }

    pub(crate) fn problem(status: u16, more: &str, code: &str) -> Self {
        let body = format!(r#"{{"type":"x","title":"x","status":{status},"detail":"canary","code":"{code}"}}"#);
        Reply::json(status, more, &body)
    }

    /// What a relay of this name answers to who may come in.
    pub(crate) fn session(relay: &RelayName) -> Self {
        let sid = "ab".repeat(16);
        Reply::json(200, "", &format!(r#"{{"sid":"{sid}","relay_url":"https://{relay}","expires_at":"x"}}"#))
    }

    /// The same, and the upgrade as it should be.
    pub(crate) fn honest(relay: &RelayName, asked: &Asked) -> Self {
        if asked.line.starts_with("POST /pair ") { Reply::session(relay) } else { Reply::Switch }
    }
}

/// Such a relay. Dropping it ends it.
pub(crate) struct Double {
    pub(crate) name: RelayName,
    pub(crate) ca: RelayCa,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    task: AbortHandle,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    /// A relay that answers so, without a host.
    pub(crate) async fn start(reply: impl Fn(&RelayName, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(|_| {}, reply, |_| async {}).await
    }

    /// `certify` changes its certificate; `end` gets each device's WebSocket.
    pub(crate) async fn with<F>(
        certify: impl FnOnce(&mut CertificateParams),
        reply: impl Fn(&RelayName, &Asked) -> Reply + Send + Sync + 'static,
        end: impl Fn(WebSocketStream<Tls>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = RelayName::parse(&format!("127.0.0.1:{}", listener.local_addr().unwrap().port())).unwrap();
        let (ca, acceptor) = certificate(certify);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (to, told, count) = (name.clone(), asked.clone(), AtomicUsize::new(0));
        let (reply, end) = (Arc::new(reply), Arc::new(end));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = count.fetch_add(1, Ordering::Relaxed) + 1;
                let (acceptor, told, name) = (acceptor.clone(), told.clone(), to.clone());
                let (reply, end) = (reply.clone(), end.clone());
                connections.spawn(async move {
                    let Ok(tls) = acceptor.accept(stream).await else { return };
                    let answer = |asked: &Asked| {
                        told.lock().unwrap().push(asked.clone());
                        reply(&name, asked)
                    };
                    if let Some(socket) = serve(tls, connection, answer).await {
                        end(socket).await;
                    }
                });
            }
        });
        Double { name, ca, asked, task: task.abort_handle() }
    }

    /// How many requests with this beginning have come.
    pub(crate) fn count(&self, line: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.line.starts_with(line)).count()
    }
}

fn certificate(certify: impl FnOnce(&mut CertificateParams)) -> (RelayCa, TlsAcceptor) {
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    certify(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let ca = RelayCa::parse(&certificate.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (ca, TlsAcceptor::from(Arc::new(config)))
}

/// Answers requests until one of them is switched.
async fn serve(mut tls: Tls, connection: usize, reply: impl Fn(&Asked) -> Reply) -> Option<WebSocketStream<Tls>> {
    loop {
        let asked = request(&mut tls, connection).await?;
        match reply(&asked) {
            Reply::Bytes(bytes) => {
                tls.write_all(&bytes).await.ok()?;
                tls.flush().await.ok()?;
            }
            Reply::Endless(bytes) => loop {
                tls.write_all(&bytes).await.ok()?;
            },
            Reply::Silence => std::future::pending().await,
            Reply::HangUp => return None,
            Reply::Switch => {
                let accept = derive_accept_key(header(&asked.head, "sec-websocket-key").as_bytes());
                let head = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ";
                tls.write_all(format!("{head}{accept}\r\n\r\n").as_bytes()).await.ok()?;
                tls.flush().await.ok()?;
                return Some(WebSocketStream::from_raw_socket(tls, Role::Server, Some(config(Side::Host))).await);
            }
        }
    }
}

fn header(head: &str, name: &str) -> String {
    let value = head.lines().filter_map(|line| line.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name));
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

async fn request(tls: &mut Tls, connection: usize) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut body = vec![0; header(&head, "content-length").parse().unwrap_or(0)];
    tls.read_exact(&mut body).await.ok()?;
    let line = head.lines().next()?.to_owned();
    Some(Asked { line, head, body: String::from_utf8(body).ok()?, connection })
}
