//! The ways to a host: what carries the WebSocket that carries the session.

use std::net::SocketAddr;
use std::time::Duration;

use couplet_protocol::{Endpoint, RelayName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::attempt::{AttemptError, Hint};
use crate::relay::{self, Account, Climbs, Door, RelayTrust};
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

/// A way to a host that is open as far as the handshake.
pub(crate) struct Opening {
    pub(crate) socket: Socket,
    /// The machine at the other end of the connection: the host, or its relay.
    pub(crate) peer: SocketAddr,
    /// Which of the pairing's rooms at the relay opened.
    pub(crate) room: Option<u32>,
}

/// What it takes to go any of the ways to one host.
pub(crate) struct Ways<'a> {
    pub(crate) trust: &'a RelayTrust,
    /// None: the host has no room at a relay for this device.
    pub(crate) door: Option<Door<'a>>,
    pub(crate) account: Account,
    /// Which of the pairing's rooms to ask for first.
    pub(crate) climbs: Climbs,
}

impl Ways<'_> {
    /// Whether this device can go there at all.
    pub(crate) fn lead_to(&self, endpoint: &Endpoint) -> bool {
        match endpoint {
            Endpoint::Lan(_) => true,
            Endpoint::Relay(_) => self.door.is_some(),
        }
    }

    /// Opens the WebSocket over which the handshake goes.
    pub(crate) async fn open(&self, endpoint: &Endpoint) -> Result<Opening, AttemptError> {
        match (endpoint, &self.door) {
            (Endpoint::Lan(address), _) => direct(*address).await,
            (Endpoint::Relay(name), Some(door)) => {
                let opened = relay::open(self.trust, name, (door, self.climbs.up(name)), &self.account).await;
                opened.map_err(|failure| AttemptError::Relay(Box::new(failure)))
            }
            (Endpoint::Relay(_), None) => Err(AttemptError::NoConnection("there is no room".to_owned())),
        }
    }
}

/// The relay of this endpoint, if it is one.
pub(crate) fn relay_of(endpoint: &Endpoint) -> Option<RelayName> {
    match endpoint {
        Endpoint::Relay(relay) => Some(relay.clone()),
        Endpoint::Lan(_) => None,
    }
}

/// `ws://ADDRESS/api/pair/tunnel` (spec/protocol.md, 7).
async fn direct(address: SocketAddr) -> Result<Opening, AttemptError> {
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
        Ok((socket, _)) => Ok(Opening { socket, peer: address, room: None }),
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
        Some(hint) if !hint.is_of_devices() && hint.code() != Some(couplet_protocol::Code::NoSuchRoute) => {
            AttemptError::Refused(hint)
        }
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
