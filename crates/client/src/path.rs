//! The ways to a host: what carries the WebSocket that carries the session.

use std::net::SocketAddr;
use std::time::Duration;

use couplet_protocol::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::attempt::{AttemptError, Hint};
use crate::sealed;

/// How long a host on the same network may take to accept a connection (spec/protocol.md, 7).
const CONNECT: Duration = Duration::from_secs(2);
/// How long it may take to answer the upgrade.
const UPGRADE: Duration = Duration::from_secs(5);
/// The longest error answer that is looked at, in bytes.
const ANSWER_MAX: usize = 8 * 1024;

/// What a WebSocket runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// An open WebSocket to a host, over whatever path.
pub(crate) type Socket = WebSocketStream<Box<dyn Io>>;

/// One way to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Straight to the pairing listener, on the same network.
    Direct(SocketAddr),
}

impl Path {
    /// The way to this endpoint, when this version knows one.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<Self> {
        match endpoint {
            Endpoint::Lan(address) => Some(Path::Direct(*address)),
            Endpoint::Relay(_) => None,
        }
    }

    /// The endpoint at its end.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Path::Direct(address) => Endpoint::Lan(*address),
        }
    }

    /// Opens the WebSocket over which the handshake goes.
    pub(crate) async fn open(&self) -> Result<Socket, AttemptError> {
        match self {
            Path::Direct(address) => direct(*address).await,
        }
    }
}

/// `ws://ADDRESS/api/pair/tunnel` (spec/protocol.md, 7).
async fn direct(address: SocketAddr) -> Result<Socket, AttemptError> {
    let connected = timeout(CONNECT, TcpStream::connect(address)).await.map_err(|_| AttemptError::TimedOut)?;
    let stream = connected.map_err(|error| AttemptError::NoConnection(error.to_string()))?;
    // Small frames must not wait for each other; that it cannot be set does no harm.
    let _ = stream.set_nodelay(true);
    let request = format!("ws://{address}/api/pair/tunnel").into_client_request();
    let request = request.map_err(|error| AttemptError::NoConnection(error.to_string()))?;
    let stream: Box<dyn Io> = Box::new(stream);
    let upgraded =
        timeout(UPGRADE, client_async_with_config(request, stream, Some(sealed::config(sealed::Side::Device)))).await;
    match upgraded.map_err(|_| AttemptError::TimedOut)? {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => Err(refusal(answer.status().as_u16(), answer.body().as_deref().unwrap_or(&[]))),
        Err(_) => Err(AttemptError::HungUp),
    }
}

/// What an answer without an upgrade says.
fn refusal(status: u16, body: &[u8]) -> AttemptError {
    let body = &body[..body.len().min(ANSWER_MAX)];
    let problem = serde_json::from_slice::<couplet_protocol::Problem>(body).ok();
    match problem.and_then(|problem| Hint::parse(&problem.code)) {
        // A host without sealed sessions has nothing at this path.
        Some(hint) if hint.code() != Some(couplet_protocol::Code::NoSuchRoute) => AttemptError::Refused(hint),
        _ => AttemptError::NotCouplet(status),
    }
}

#[cfg(test)]
mod tests {
    use couplet_protocol::{Code, Problem};

    use super::*;

    #[test]
    fn an_answer_without_an_upgrade_is_told_from_a_refusal() {
        let problem = |code| serde_json::to_vec(&Problem::new(code, "")).unwrap();
        let refused = refusal(403, &problem(Code::PeerNotPrivate));
        assert_eq!(refused, AttemptError::Refused(Hint::parse("CPL-1007").unwrap()));
        assert_eq!(refusal(404, &problem(Code::NoSuchRoute)), AttemptError::NotCouplet(404));
        assert_eq!(refusal(200, b"<html>"), AttemptError::NotCouplet(200));
    }
}
