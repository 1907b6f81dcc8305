//! A TLS connection to a relay, and HTTP/1.1 on it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::RelayName;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt;

use super::failure::RelayFailure;
use super::trust::RelayTrust;

/// How long the name and all of its addresses together may take, and then TLS.
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a relay may take to answer a request.
const ANSWER: Duration = Duration::from_secs(8);
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 16 * 1024;
/// The port when a name has none.
const PORT: u16 = 443;

pub(super) type Tls = TlsStream<TcpStream>;

/// An open connection to a node of a relay. Dropping it closes it.
pub(super) struct Node {
    sender: SendRequest<Full<Bytes>>,
    _connection: AbortOnDropHandle<()>,
    pub(super) peer: SocketAddr,
    authority: HeaderValue,
}

/// Connects with the relay of this name.
pub(super) async fn dial(trust: &RelayTrust, relay: &RelayName) -> Result<Node, RelayFailure> {
    let connector = trust.connector().await?;
    let (host, stream) = connect(relay).await?;
    let peer = stream.peer_addr().map_err(RelayFailure::unreachable)?;
    let name = ServerName::try_from(host).map_err(RelayFailure::unreachable)?;
    let shaken = timeout(HANDSHAKE, connector.connect(name, stream)).await.map_err(|_| RelayFailure::silent())?;
    let tls = shaken.map_err(|error| RelayFailure::of_tls(&error))?;
    let (sender, connection) =
        Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(tls)).await.map_err(RelayFailure::unreachable)?;
    let connection = tokio::spawn(async move {
        // Who waits for an answer learns of its end.
        let _ = connection.with_upgrades().await;
    });
    let authority = HeaderValue::from_str(relay.as_str()).map_err(RelayFailure::unreachable)?;
    Ok(Node { sender, _connection: AbortOnDropHandle::new(connection), peer, authority })
}

/// Looks the name up and tries its addresses, both families side by side (RFC 8305).
async fn connect(relay: &RelayName) -> Result<(String, TcpStream), RelayFailure> {
    let (host, port) = match relay.as_str().split_once(':') {
        Some((host, port)) => (host, port.parse().map_err(RelayFailure::unreachable)?),
        None => (relay.as_str(), PORT),
    };
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    let place: Uri = format!("http://{host}:{port}").parse().map_err(RelayFailure::unreachable)?;
    let connected = timeout(CONNECT, connector.oneshot(place)).await.map_err(|_| RelayFailure::silent())?;
    let stream = connected.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        RelayFailure::unreachable(cause)
    })?;
    Ok((host.to_owned(), stream.into_inner()))
}

impl Node {
    /// Sends a request and waits for the head of its answer. None: the connection was over before anything was sent.
    pub(super) async fn send(
        &mut self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Option<Result<Response<Incoming>, RelayFailure>> {
        if self.sender.ready().await.is_err() {
            return None;
        }
        let request = request.header(header::HOST, self.authority.clone()).body(Full::new(body));
        let request: Request<Full<Bytes>> = match request {
            Ok(request) => request,
            Err(error) => return Some(Err(RelayFailure::unreachable(error))),
        };
        match timeout(ANSWER, self.sender.send_request(request)).await {
            Ok(Ok(answer)) => Some(Ok(answer)),
            Ok(Err(error)) if error.is_canceled() => None,
            Ok(Err(error)) if error.is_parse() => Some(Err(RelayFailure::broken("its head is no HTTP"))),
            Ok(Err(_)) => Some(Err(RelayFailure::unreachable("it hung up"))),
            Err(_) => Some(Err(RelayFailure::silent())),
        }
    }
}
