//! Asking for a session, and taking this device's end of it.

use std::net::SocketAddr;

use bytes::Bytes;
use couplet_protocol::{Code, CredentialHash, RelayName, RoomId, Sid};
use http::{Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::account::AccountToken;
use super::answer::{CODES, joined};
use super::connection::{Answer, Connection};
use super::failure::RelayFailure;
use super::trust::RelayTrust;
use crate::path::{Io, Socket};
use crate::sealed;

/// What opens a room.
pub(super) enum Opens<'a> {
    /// The offer's token.
    Token(&'a CredentialHash),
    /// The secret of a pairing's rooms.
    Secret(&'a CredentialHash),
}

/// The body of `POST /pair`.
pub(super) fn body(room: &RoomId, opens: Opens<'_>, account: Option<&AccountToken>) -> Bytes {
    let (member, hash) = match opens {
        Opens::Token(hash) => ("pairing_token_hash", hash),
        Opens::Secret(hash) => ("secret_hash", hash),
    };
    let hash = hash.expose_hex();
    // Nothing in a token needs to be quoted.
    let account = account.map(|token| format!(r#","account":"{}""#, token.expose())).unwrap_or_default();
    Bytes::from(format!(r#"{{"room_id":"{}","{member}":"{}"{account}}}"#, room.to_hex(), &*hash))
}

/// A session that the relay has opened.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) sid: Sid,
    /// Which node of the relay holds the other end.
    pub(super) node: RelayName,
}

/// A device's connection to a node of a relay.
pub(super) type Node = Connection<TcpStream>;

/// Connects with the relay of this name.
pub(super) async fn dial(trust: &RelayTrust, relay: &RelayName) -> Result<Node, RelayFailure> {
    Connection::open(&trust.connector().await?, relay, |stream| stream).await
}

/// `POST /pair`.
pub(super) async fn ask(
    trust: &RelayTrust,
    relay: &RelayName,
    node: &mut Node,
    body: Bytes,
) -> Result<Joined, RelayFailure> {
    let request = || http::Request::post("/pair").header(header::CONTENT_TYPE, "application/json");
    let answer = match node.send(request(), body.clone()).await {
        Some(answer) => answer?,
        None => {
            *node = dial(trust, relay).await?;
            node.send(request(), body).await.unwrap_or_else(|| Err(hung_up()))?
        }
    };
    joined(relay, &Answer::read(answer).await)
}

/// `GET /pair/relay/{sid}` as a WebSocket: on the connection that there is, when it is the right node's.
pub(super) async fn upgrade(
    trust: &RelayTrust,
    relay: &RelayName,
    mut node: Node,
    to: &Joined,
) -> Result<(Socket, SocketAddr), RelayFailure> {
    let key = generate_key();
    let request = || {
        http::Request::get(to.sid.path())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
    };
    let mut answer = None;
    if to.node == *relay {
        answer = node.send(request(), Bytes::new()).await;
    }
    let answer = match answer {
        Some(answer) => answer?,
        None => {
            node = dial(trust, &to.node).await?;
            node.send(request(), Bytes::new()).await.unwrap_or_else(|| Err(hung_up()))?
        }
    };
    let peer = node.peer();
    let socket = switched(node, answer, &derive_accept_key(key.as_bytes())).await?;
    Ok((socket, peer))
}

fn hung_up() -> RelayFailure {
    RelayFailure::hung_up("before it could be asked")
}

/// The WebSocket that was agreed upon (RFC 6455, 4.1): no subprotocol, no extension.
async fn switched(node: Node, answer: Response<Incoming>, accept: &str) -> Result<Socket, RelayFailure> {
    let blocked = |why: String| RelayFailure::new(Code::UpgradeBlocked, why);
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let answer = Answer::read(answer).await;
        let failure = answer.refusal(CODES);
        return Err(match failure.code() {
            Code::RelayBroken => blocked(format!("the upgrade is answered with status {}", answer.status.as_u16())),
            _ => failure,
        });
    }
    let headers = answer.headers();
    let is = |name, wanted: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let agreed = is(header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_ACCEPT).is_some_and(|value| value == accept)
        && !headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
        && !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    if !agreed {
        return Err(blocked("the upgrade does not come back as it was asked for".to_owned()));
    }
    let (stream, ahead) = node.upgraded(answer).await?;
    let io: Box<dyn Io> = Box::new(stream);
    let config = Some(sealed::config(sealed::Side::Device));
    Ok(WebSocketStream::from_partially_read(io, ahead.to_vec(), Role::Client, config).await)
}

#[cfg(test)]
mod tests {
    use couplet_protocol::relay::PairRequest;
    use couplet_protocol::secret::SecretText;

    use super::*;

    #[test]
    fn a_body_is_what_a_relay_reads() {
        let (room, hash) = (RoomId::new([1; 16]), CredentialHash::new([2; 32]));
        let read = |opens, account| serde_json::from_slice::<PairRequest>(&body(&room, opens, account)).unwrap();
        let secret = read(Opens::Secret(&hash), None);
        assert_eq!((secret.room_id, secret.secret_hash.unwrap().at_rest()), (room, hash.at_rest()));
        assert!(secret.pairing_token_hash.is_none() && secret.account.is_none());
        let token = read(Opens::Token(&hash), Some(&AccountToken::parse("a.b-_.c").unwrap()));
        let account = token.account.as_ref().map(SecretText::expose);
        assert_eq!((token.secret_hash.is_none(), account), (true, Some("a.b-_.c")));
    }
}
