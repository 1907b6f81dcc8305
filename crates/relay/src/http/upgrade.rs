//! Upgrades: the answer, and the connection behind it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use couplet_protocol::Code;
use http::header::{CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::bridge::End;
use crate::problem::Failure;
use crate::sockets::Socket;
use crate::wire::Wire;

/// How long the answer may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request for an upgrade, checked.
#[derive(Debug)]
pub(crate) struct Wanted {
    on: OnUpgrade,
    socket: Arc<Socket>,
    answer: Response,
}

/// Checks a request for a WebSocket (RFC 6455, 4.2.1).
pub(crate) fn websocket(request: &mut Request) -> Result<Wanted, Failure> {
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = key.filter(|_| version && asks_for(headers, "websocket")).ok_or_else(required)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(Failure::internal)?;
    let mut wanted = wanted(request, "websocket")?;
    wanted.answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(wanted)
}

/// Checks a request for another protocol.
pub(crate) fn to(request: &mut Request, protocol: &'static str) -> Result<Wanted, Failure> {
    if asks_for(request.headers(), protocol) { wanted(request, protocol) } else { Err(required()) }
}

fn wanted(request: &mut Request, protocol: &'static str) -> Result<Wanted, Failure> {
    // Its bytes would come before the session's.
    if !request.body().is_end_stream() {
        return Err(Failure::new(Code::MalformedBody, "Ask for an upgrade without a body."));
    }
    let on = request.extensions_mut().remove::<OnUpgrade>().ok_or_else(required)?;
    let socket = request.extensions().get::<Arc<Socket>>().cloned();
    let socket = socket.ok_or_else(|| Failure::internal("a connection without a place"))?;
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    Ok(Wanted { on, socket, answer })
}

impl Wanted {
    /// The peer has shown that it may come.
    pub(crate) fn known(&self) {
        self.socket.known();
    }

    /// The answer, and the connection, which is there once the answer has left.
    pub(crate) fn accept(self) -> (Response, impl Future<Output = Option<End>> + Send) {
        let Wanted { on, socket, answer } = self;
        (answer, async move {
            let upgraded = tokio::time::timeout(PATIENCE, on).await.ok()?.ok()?;
            let parts = upgraded.downcast::<TokioIo<Wire>>().ok()?;
            let (mut early, tls) = parts.io.into_inner().into_parts();
            early.splice(..0, parts.read_buf);
            Some(End { tls: Box::new(tls), early, _socket: socket })
        })
    }
}

fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, UPGRADE, protocol) && has_token(headers, CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|t| t.trim().eq_ignore_ascii_case(token))
}

pub(super) fn required() -> Failure {
    Failure::new(Code::UpgradeRequired, "Ask for the upgrade that the protocol names here: see spec/protocol.md, 6.")
}
