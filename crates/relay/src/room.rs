//! A room: what the relay keeps of it, and who gets in. Pure; time comes in as an argument.

use std::time::Duration;

pub use couplet_protocol::relay::Mode;
use couplet_protocol::{CredentialHash, RoomId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use crate::account::Identity;
use crate::clock::after;
use crate::host::HostId;
use crate::record::Hash;

/// How long a token that was used, that expired or whose room was removed is answered as used, before it is
/// unknown.
pub const TOKEN_REMEMBERED: Duration = Duration::from_secs(3600);

/// A key or nonce that one end tells the other through the relay: 1 to 256 printable ASCII characters, never looked
/// into. The ends may compare it with what they know; it is no input to anything (spec/protocol.md, 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hint(String);

/// The text is no [`Hint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 1 to 256 printable ASCII characters")]
pub struct NotAHint;

impl Hint {
    /// The most characters.
    pub const MAX: usize = 256;

    /// Checks the form.
    ///
    /// # Errors
    /// It is empty, too long, or has other characters.
    pub fn parse(text: &str) -> Result<Self, NotAHint> {
        let fits = (1..=Self::MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Hint(text.to_owned())) } else { Err(NotAHint) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Hint {
    type Error = NotAHint;
    fn try_from(text: String) -> Result<Self, NotAHint> {
        Self::parse(&text)
    }
}

impl From<Hint> for String {
    fn from(hint: Hint) -> String {
        hint.0
    }
}

/// What a host registers a room with.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Lets a paired device in.
    pub secret_hash: Option<CredentialHash>,
    /// Lets a device in that has the offer.
    pub pairing_token_hash: Option<CredentialHash>,
    /// When the offer ends.
    pub pairing_expires_at: Option<Timestamp>,
    /// Random for each room; told to who joins.
    pub public_key: Hint,
    /// The account that a device must have as well.
    pub account: Option<Identity>,
}

/// What a device shows.
#[derive(Clone, Debug)]
pub enum Credential {
    /// `pairing_token_hash`.
    Token(CredentialHash),
    /// `secret_hash`.
    Secret(CredentialHash),
    /// Both: the token counts if the room has one, otherwise the secret.
    Both(CredentialHash, CredentialHash),
    /// Nothing, which is wrong everywhere.
    Nothing,
}

/// A room as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Room {
    pub(crate) host: HostId,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Hash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<Token>,
    /// Nothing once the room was removed: what is left answers its token only, and keeps the id for its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<Hint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<Identity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    hash: Hash,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<Timestamp>,
}

/// What a credential is to a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wrong,
    /// It was right once.
    Used,
    Right(Mode),
}

impl Room {
    /// A room as its host registers it. What the id was before to the same host still counts: a token that was used
    /// stays used, and stays known as such for a while.
    pub(crate) fn registered(host: HostId, wanted: &Registration, before: Option<&Room>, now: Timestamp) -> Room {
        let old = before.and_then(|room| room.token.as_ref());
        let token = match wanted.pairing_token_hash.as_ref().map(Hash::of) {
            Some(hash) => {
                let used_at = old.filter(|old| old.hash == hash).and_then(|old| old.used_at);
                Some(Token { hash, expires_at: wanted.pairing_expires_at, used_at })
            }
            None => old.filter(|old| old.used_at.is_some() && old.is_remembered(now)).cloned(),
        };
        Room {
            host,
            secret: wanted.secret_hash.as_ref().map(Hash::of),
            token,
            public_key: Some(wanted.public_key.clone()),
            account: wanted.account.clone(),
        }
    }

    /// What is left of a room that its host removed: its token, as a used one. `None` when it had no token.
    pub(crate) fn removed(&self, now: Timestamp) -> Option<Room> {
        let token = self.token.clone()?;
        let used_at = Some(token.used_at.unwrap_or(now));
        let token = Some(Token { used_at, ..token });
        Some(Room { host: self.host, secret: None, token, public_key: None, account: None })
    }

    /// The same room with its token used now.
    pub(crate) fn with_token_used(&self, now: Timestamp) -> Room {
        let mut room = self.clone();
        if let Some(token) = &mut room.token {
            token.used_at.get_or_insert(now);
        }
        room
    }

    /// A room that nobody has: looking into it takes as long as into another.
    pub(crate) fn decoy() -> Room {
        let token = Token { hash: Hash::UNMATCHED, expires_at: None, used_at: None };
        Room {
            host: HostId::NOBODY,
            secret: Some(Hash::UNMATCHED),
            token: Some(token),
            public_key: Some(Hint("x".repeat(44))),
            account: None,
        }
    }

    /// What lets in for this.
    pub(crate) fn opener(&self, mode: Mode) -> Option<Hash> {
        match mode {
            Mode::Pair => self.token.as_ref().map(|token| token.hash),
            Mode::Reconnect => self.secret,
        }
    }

    /// Whether this token lets in now.
    pub(crate) fn takes(&self, token: &Hash, now: Timestamp) -> bool {
        self.is_open() && self.token.as_ref().is_some_and(|own| own.hash == *token && own.is_usable(now))
    }

    /// Whether it takes devices; otherwise it only remembers a token.
    pub(crate) fn is_open(&self) -> bool {
        self.public_key.is_some()
    }

    /// Whether the row says nothing any more. A room with a secret stays until its host removes it.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.secret.is_none() && !self.token.as_ref().is_some_and(|token| token.is_remembered(now))
    }

    /// What the credential is to this room. Takes the same time whether it is wrong or there is none to compare with.
    pub(crate) fn judge(&self, credential: &Credential, now: Timestamp) -> Verdict {
        match (credential, &self.token) {
            (Credential::Token(shown), token) | (Credential::Both(shown, _), token @ Some(_)) => {
                let matches = is_same(shown, token.as_ref().map(|token| &token.hash));
                match token.as_ref().filter(|_| matches) {
                    Some(token) if token.is_usable(now) => Verdict::Right(Mode::Pair),
                    Some(token) if token.is_remembered(now) => Verdict::Used,
                    _ => Verdict::Wrong,
                }
            }
            (Credential::Secret(shown), _) | (Credential::Both(_, shown), None) => {
                if is_same(shown, self.secret.as_ref()) { Verdict::Right(Mode::Reconnect) } else { Verdict::Wrong }
            }
            (Credential::Nothing, _) => Verdict::Wrong,
        }
    }
}

fn is_same(shown: &CredentialHash, stored: Option<&Hash>) -> bool {
    let exists = Choice::from(u8::from(stored.is_some()));
    (stored.unwrap_or(&Hash::UNMATCHED).ct_eq(&Hash::of(shown)) & exists).into()
}

impl Token {
    fn is_usable(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    fn is_remembered(&self, now: Timestamp) -> bool {
        let end = [self.used_at, self.expires_at].into_iter().flatten().min();
        end.is_none_or(|end| now < after(end, TOKEN_REMEMBERED))
    }
}

/// Under which key a host's room stands in the index of its rooms.
pub(crate) fn owned_key(host: HostId, room: RoomId) -> String {
    format!("{host}.{}", room.to_hex())
}

/// The other way round.
pub(crate) fn read_owned_key(key: &str) -> Option<(HostId, RoomId)> {
    let (host, room) = key.split_once('.')?;
    Some((HostId::parse(host)?, RoomId::parse(room).ok()?))
}
