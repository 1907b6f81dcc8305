//! The door's messages and its refusals. Pure.

use couplet_protocol::secret::SecretText;
use couplet_protocol::{CredentialHash, RoomId};
use serde::{Deserialize, Serialize};

use super::Outgoing;
use crate::account::AccountError;
use crate::record::Fault;
use crate::registry::{JoinError, RegisterError};
use crate::room::{Credential, Hint};

/// What one end tells the other of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hints {
    pub(super) public_key: Hint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_nonce: Option<Hint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ephemeral_key: Option<Hint>,
}

/// A host's message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromHost {
    RegisterRoom {
        room_id: RoomId,
        secret_hash: CredentialHash,
        pairing_token_hash: Option<CredentialHash>,
        account: Option<SecretText>,
        #[serde(flatten)]
        hints: Hints,
    },
}

/// A device's message.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromDevice {
    JoinRoom {
        room_id: RoomId,
        pairing_token_hash: Option<CredentialHash>,
        secret_hash: Option<CredentialHash>,
        account: Option<SecretText>,
        #[serde(flatten)]
        hints: Hints,
    },
}

/// What the two hashes of `join_room` come to.
pub(super) fn credential(token: Option<CredentialHash>, secret: Option<CredentialHash>) -> Credential {
    match (token, secret) {
        (Some(token), None) => Credential::Token(token),
        (None, Some(secret)) => Credential::Secret(secret),
        (Some(token), Some(secret)) => Credential::Both(token, secret),
        (None, None) => Credential::Nothing,
    }
}

/// The door's own messages.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Reply<'a> {
    RoomRegistered {
        room_id: RoomId,
    },
    RoomJoined {
        room_id: RoomId,
        #[serde(flatten)]
        hints: &'a Hints,
    },
    PeerJoined {
        room_id: RoomId,
        #[serde(flatten)]
        hints: &'a Hints,
    },
    Error {
        code: &'static str,
        message: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        mac_email: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ios_email: Option<&'a str>,
    },
}

impl Reply<'_> {
    /// As a text message.
    pub(super) fn to_message(&self) -> Outgoing {
        // Strings and ids always are JSON.
        Outgoing::Text(serde_json::to_string(self).unwrap_or_default())
    }
}

/// Why a socket ends.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Wrong credential or no such room, or a room of another host's.
    Credentials,
    TokenUsed,
    TooManyAttempts,
    AccountMismatch {
        host_email: Option<String>,
        device_email: Option<String>,
    },
    AccountInvalid,
    /// No message that is taken here, or not now.
    Message,
    TooLarge,
    /// It said nothing for too long.
    Silent,
    HostOffline,
    TooManyRooms,
    Unavailable,
    /// The device joins more often than it may.
    TooOften,
    /// A newer socket took the place.
    Replaced,
    /// The other end has left.
    PeerLeft,
    /// The room was removed, the host revoked, or the relay stops.
    RoomClosed,
}

impl Refusal {
    /// Code and message of the error that is sent before the end; some ends need none.
    fn error(&self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Refusal::Credentials => ("AUTH_FAILED", "Invalid credentials"),
            Refusal::TokenUsed => ("AUTH_FAILED", "Pairing token already used"),
            Refusal::TooManyAttempts => ("AUTH_FAILED", "Too many failed attempts"),
            Refusal::AccountMismatch { .. } => (
                "ACCOUNT_MISMATCH",
                "This Mac is registered under a different account. Please sign in with the same account on both devices.",
            ),
            Refusal::AccountInvalid => ("ACCOUNT_INVALID", "The account token is not valid. Sign in again."),
            Refusal::Message => ("INVALID_MESSAGE", "Not a message that is taken here, or not now"),
            Refusal::TooLarge => ("INVALID_MESSAGE", "The message is too large"),
            Refusal::Silent => ("INVALID_MESSAGE", "No room was named in time"),
            Refusal::HostOffline => ("HOST_OFFLINE", "The Mac is not connected. Try again later."),
            Refusal::TooManyRooms => ("TOO_MANY_ROOMS", "Too many rooms are open"),
            Refusal::Unavailable => ("UNAVAILABLE", "The relay cannot do this right now. Try again later."),
            Refusal::TooOften => ("TOO_MANY_REQUESTS", "Asked too often. Try again in a second."),
            Refusal::Replaced | Refusal::PeerLeft | Refusal::RoomClosed => return None,
        })
    }

    /// The close code and its reason.
    fn close(&self) -> (u16, &'static str) {
        match self {
            Refusal::Credentials => (4003, "auth failed"),
            Refusal::TokenUsed => (4003, "pairing token already used"),
            Refusal::TooManyAttempts => (4003, "too many auth failures"),
            Refusal::AccountMismatch { .. } => (4004, "account mismatch"),
            Refusal::AccountInvalid => (4004, "account not valid"),
            Refusal::Message => (1008, "invalid message"),
            Refusal::TooLarge => (1009, "message too large"),
            Refusal::Silent => (1008, "no room named in time"),
            Refusal::HostOffline => (1013, "host offline"),
            Refusal::TooManyRooms => (1013, "too many rooms"),
            Refusal::Unavailable => (1013, "try again later"),
            Refusal::TooOften => (1013, "asked too often"),
            Refusal::Replaced => (1000, "replaced"),
            Refusal::PeerLeft => (1001, "the other end has left"),
            Refusal::RoomClosed => (1001, "room closed"),
        }
    }

    /// The last messages of the socket.
    pub(super) fn to_messages(&self) -> Vec<Outgoing> {
        let (code, reason) = self.close();
        let error = self.error().map(|(code, message)| {
            let (mac_email, ios_email) = match self {
                Refusal::AccountMismatch { host_email, device_email } => {
                    (host_email.as_deref(), device_email.as_deref())
                }
                _ => (None, None),
            };
            Reply::Error { code, message, mac_email, ios_email }.to_message()
        });
        error.into_iter().chain([Outgoing::Close { code, reason }]).collect()
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        tracing::error!(target: "couplet::relay", %fault, "the rooms' door could not use the store");
        Refusal::Unavailable
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Invalid => Refusal::Credentials,
            JoinError::TokenUsed => Refusal::TokenUsed,
            JoinError::Locked { .. } | JoinError::TooMany { .. } => Refusal::TooManyAttempts,
            JoinError::AccountMismatch { host_email, device_email } => {
                Refusal::AccountMismatch { host_email, device_email }
            }
            JoinError::Fault(fault) => fault.into(),
        }
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::NotYours | RegisterError::NotEnrolled => Refusal::Credentials,
            RegisterError::TooManyRooms => Refusal::TooManyRooms,
            RegisterError::TooOften { .. } => Refusal::Unavailable,
            RegisterError::NoCredential => Refusal::Message,
            RegisterError::Fault(fault) => fault.into(),
        }
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Invalid | AccountError::Expired => Refusal::AccountInvalid,
            AccountError::Unavailable => Refusal::Unavailable,
        }
    }
}
