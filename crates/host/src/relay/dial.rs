//! Connections to the relay: TCP, TLS, HTTP/1.1; each for a few requests, an event stream, or a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::{Code, Problem, RelayName};
use http::header::{CONNECTION, CONTENT_TYPE, DATE, HOST, UPGRADE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::fmt::rfc2822;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Timestamp;
use crate::tunnel::DeviceSocket;

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How many addresses of a name are tried.
const ADDRESSES: usize = 8;
/// How long looking up a name, the TLS handshake and an answer may take, each.
const STEP: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The stream beneath.
pub(super) type Tls = TlsStream<DeviceSocket>;

/// Why the relay could not be asked.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) detail: String,
    /// It ended the connection without a word, as it does with a host that it does not let in.
    pub(super) hung_up: bool,
}

impl Trouble {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Trouble { code, detail: detail.into(), hung_up: false }
    }

    fn hung_up(error: &dyn std::fmt::Display) -> Self {
        Trouble { hung_up: true, ..Trouble::new(Code::RelayUnreachable, format!("It ended the connection: {error}")) }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}). {}", self.code.title(), self.code, self.detail)
    }
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// What the relay says is wrong.
    pub(super) fn problem(&self) -> Option<(Code, String)> {
        let problem = serde_json::from_slice::<Problem>(&self.body).ok()?;
        Some((Code::parse(&problem.code)?, problem.detail))
    }

    /// How many seconds the relay's clock is ahead of this one.
    pub(super) fn ahead(&self, now: Timestamp) -> Option<i64> {
        let date = self.headers.get(DATE)?.to_str().ok()?;
        Some(rfc2822::parse(date).ok()?.timestamp().as_second() - now.millis() / 1000)
    }

    /// An answer that is neither what was asked for nor a problem that is known here.
    pub(super) fn trouble(&self, what: &str) -> Trouble {
        match self.problem() {
            Some((code, detail)) => Trouble::new(code, detail),
            None => {
                Trouble::new(Code::RelayBroken, format!("{what} was answered with status {}.", self.status.as_u16()))
            }
        }
    }
}

/// An HTTP connection. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    driver: AbortOnDropHandle<()>,
}

/// The host part of a relay's name, and the port.
pub(super) fn split(name: &RelayName) -> (&str, u16) {
    match name.as_str().split_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(443)),
        None => (name.as_str(), 443),
    }
}

impl Http {
    pub(super) async fn connect(tls: &Arc<ClientConfig>, at: &RelayName) -> Result<Self, Trouble> {
        let (host, port) = split(at);
        let stream = DeviceSocket::new(tcp(host, port).await?);
        let stream = secure(tls, host, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| Trouble::hung_up(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(target: "couplet::relay", %error, "a connection ended");
            }
        });
        Ok(Http { sender, authority: at.to_string(), driver: AbortOnDropHandle::new(driver) })
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, Trouble> {
        let internal = |error: &dyn std::fmt::Display| Trouble::new(Code::Internal, error.to_string());
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| internal(&error))?.unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| internal(&error))?;
        let answered = async {
            let (head, body) = self.send(request).await?.into_parts();
            let whole = Limited::new(body, ANSWER_MAX).collect().await;
            let body = whole.map_err(|error| Trouble::new(Code::RelayBroken, error.to_string()))?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(STEP, answered).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Opens an event stream: the answer, whose body goes on.
    pub(super) async fn stream(&mut self, path: &str, last: Option<&str>) -> Result<Response<Incoming>, Trouble> {
        let mut request = Request::get(path).header(HOST, &self.authority).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Full::default());
        let request = request.map_err(|error| Trouble::new(Code::Internal, error.to_string()))?;
        timeout(STEP, self.send(request)).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Asks for an upgrade: the stream from then on, and what was read ahead.
    pub(super) async fn upgrade(mut self, path: &str, protocol: &str) -> Result<(Tls, Bytes), Trouble> {
        let request = Request::get(path).header(HOST, &self.authority);
        let request = request.header(CONNECTION, "upgrade").header(UPGRADE, protocol).body(Full::default());
        let request = request.map_err(|error| Trouble::new(Code::Internal, error.to_string()))?;
        let upgraded = async {
            let answer = self.send(request).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                let status = answer.status().as_u16();
                return Err(Trouble::new(Code::RelayBroken, format!("The upgrade was answered with status {status}.")));
            }
            hyper::upgrade::on(answer).await.map_err(|error| Trouble::hung_up(&error))
        };
        let upgraded = timeout(STEP, upgraded).await.unwrap_or_else(|_| Err(silent()))?;
        let broken = |_| Trouble::new(Code::Internal, "an upgraded connection is of another type");
        let parts = upgraded.downcast::<TokioIo<Tls>>().map_err(broken)?;
        drop(self.driver);
        Ok((parts.io.into_inner(), parts.read_buf))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Trouble> {
        self.sender.send_request(request).await.map_err(|error| Trouble::hung_up(&error))
    }
}

fn silent() -> Trouble {
    Trouble::new(Code::RelayUnreachable, "It does not answer.")
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let unreachable = |why: String| Trouble::new(Code::RelayUnreachable, why);
    let found = timeout(STEP, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| unreachable(format!("The DNS does not answer for {host}.")))?;
    let found = found.map_err(|error| unreachable(format!("{host} is not known: {error}.")))?;
    let mut why = format!("{host} has no address");
    for address in found.take(ADDRESSES) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small frames must not wait for each other; that it cannot be set does no harm.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => why = format!("{address}: {error}"),
            Err(_) => why = format!("{address}: no answer"),
        }
    }
    Err(unreachable(format!("{why}.")))
}

async fn secure(tls: &Arc<ClientConfig>, host: &str, stream: DeviceSocket) -> Result<Tls, Trouble> {
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| Trouble::new(Code::RelayUntrusted, format!("{host} is no name for a certificate.")))?;
    match timeout(STEP, TlsConnector::from(Arc::clone(tls)).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Trouble::new(Code::RelayUnreachable, "TLS does not begin.")),
    }
}

/// Why TLS did not come about.
fn refused(error: &std::io::Error) -> Trouble {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                Trouble::new(Code::ClockDiffers, format!("By this machine's clock: {error}."))
            }
            _ => Trouble::new(Code::RelayUntrusted, format!("{error}.")),
        },
        Some(rustls::Error::AlertReceived(_)) => Trouble::hung_up(error),
        Some(_) => Trouble::new(Code::RelayUnreachable, format!("TLS fails: {error}.")),
        None => Trouble::hung_up(error),
    }
}
