//! The routes of the hosts' listener. Whoever gets here has shown a certificate of this relay's CA.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::routing::{get, put};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{Code, CredentialHash, RoomId};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::live::Connection;
use crate::problem::Failure;
use crate::registry::{RegisterError, Registered};
use crate::room::{Hint, Registration};
use crate::shared::Shared;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/host/rooms/{room_id}", put(register).delete(remove))
        .route("/host/events", get(super::events::answer))
        .route("/pair/relay/{sid}", get(super::pair::host_end))
        .route("/rooms", get(super::rooms::host))
        .fallback(super::no_such_route)
        .method_not_allowed_fallback(super::wrong_method)
        .with_state(shared)
}

/// Body of `PUT /host/rooms/{room_id}`.
#[derive(Deserialize)]
struct RoomBody {
    secret_hash: Option<CredentialHash>,
    pairing_token_hash: Option<CredentialHash>,
    pairing_expires_at: Option<Timestamp>,
    public_key: Hint,
    account: Option<SecretText>,
}

fn room(text: &str) -> Result<RoomId, Failure> {
    RoomId::parse(text).map_err(|_| Failure::new(Code::NoSuchRoute, "A room's id is 32 digits of lower-case hex."))
}

/// `PUT /host/rooms/{room_id}`: 201 when the room is new, else 204.
async fn register(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<StatusCode, Failure> {
    let id = room(&super::part(id))?;
    let body: RoomBody = super::body::json(request).await?;
    let account = super::pair::identity(&shared, body.account.as_ref()).await?;
    let wanted = Registration {
        secret_hash: body.secret_hash,
        pairing_token_hash: body.pairing_token_hash,
        pairing_expires_at: body.pairing_expires_at,
        public_key: body.public_key,
        account,
    };
    match shared.registry.register_room(connection.host, id, &wanted).await.map_err(refused)? {
        Registered::Created => Ok(StatusCode::CREATED),
        Registered::Updated | Registered::Unchanged => Ok(StatusCode::NO_CONTENT),
    }
}

/// `DELETE /host/rooms/{room_id}`: 204 whether or not there was one. What the room carries ends.
async fn remove(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let id = room(&super::part(id))?;
    shared.registry.remove_room(connection.host, id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: RegisterError) -> Failure {
    match error {
        RegisterError::NotYours => Failure::new(Code::RoomNotYours, "Make a new room: its id is random."),
        RegisterError::NotEnrolled => {
            Failure::new(Code::HostRevoked, "Ask the relay's operator. To come back, the host needs a new key.")
        }
        RegisterError::TooManyRooms => {
            Failure::new(Code::TooManyRooms, "Remove rooms that are not used, or ask the relay's operator for more.")
        }
        RegisterError::TooOften { retry_after } => {
            Failure::new(Code::AskedTooOften, "Wait as long as Retry-After says.").retry_after(retry_after)
        }
        RegisterError::NoCredential => {
            Failure::new(Code::MalformedBody, "Send secret_hash, pairing_token_hash, or both.")
        }
        RegisterError::Fault(fault) => fault.into(),
    }
}

#[cfg(test)]
mod tests {
    use couplet_protocol::relay;

    use super::*;

    #[test]
    fn what_a_host_writes_is_what_is_read() {
        let (secret, token) = ("ab".repeat(32), "cd".repeat(32));
        let written = relay::RoomBody {
            secret_hash: Some(&secret),
            pairing_token_hash: Some(&token),
            pairing_expires_at: Some("2026-11-26T08:00:00Z".to_owned()),
            public_key: "random",
            account: Some("a.b.c"),
        };
        let read = |written: &relay::RoomBody<'_>| -> RoomBody {
            serde_json::from_str(&serde_json::to_string(written).unwrap()).unwrap()
        };
        let body = read(&written);
        let text = |hash: Option<CredentialHash>| hash.map(|hash| hash.expose_hex().to_string());
        assert_eq!((text(body.secret_hash), text(body.pairing_token_hash)), (Some(secret), Some(token)));
        assert_eq!(body.pairing_expires_at, Some("2026-11-26T08:00:00Z".parse().unwrap()));
        let account = body.account.as_ref().map(SecretText::expose);
        assert_eq!((body.public_key, account), (Hint::parse("random").unwrap(), Some("a.b.c")));
        let least = read(&relay::RoomBody {
            secret_hash: None,
            pairing_token_hash: None,
            pairing_expires_at: None,
            public_key: "x",
            account: None,
        });
        assert!(least.secret_hash.is_none() && least.pairing_token_hash.is_none() && least.account.is_none());
        assert!(least.pairing_expires_at.is_none());
    }
}
