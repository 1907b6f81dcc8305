//! Hosts: who is enrolled, and how one comes to be.

use std::fmt;

use couplet_protocol::secret::EnrollmentSecret;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::record::Hash;

/// An enrolled host: the UUID in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(Uuid);

impl HostId {
    /// No host has it.
    pub(crate) const NOBODY: HostId = HostId(Uuid::nil());

    /// Takes the UUID.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        HostId(id)
    }

    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        HostId(Uuid::new_v4())
    }

    /// Reads the form with hyphens.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok())?;
        id.map(HostId)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// SHA-256 of a host's public key (DER, SubjectPublicKeyInfo): by it a host is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostKey(Hash);

impl HostKey {
    /// Takes the hash.
    #[must_use]
    pub const fn new(hash: [u8; 32]) -> Self {
        HostKey(Hash::new(hash))
    }

    pub(crate) fn key(&self) -> String {
        self.0.to_hex()
    }
}

/// A host as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its UUID.
    pub id: HostId,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last seen, to some minutes.
    pub seen_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A host as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostRow {
    pub(crate) enrolled_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seen_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at: Option<Timestamp>,
}

impl HostRow {
    pub(crate) fn new(now: Timestamp) -> Self {
        HostRow { enrolled_at: now, seen_at: None, revoked_at: None }
    }

    pub(crate) fn shown(&self, id: HostId) -> Host {
        Host { id, enrolled_at: self.enrolled_at, seen_at: self.seen_at, revoked_at: self.revoked_at }
    }
}

/// Which host has a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRow {
    pub(crate) host: HostId,
}

/// An invitation as it is stored. A used one stays until its end, so that it is answered as used, and so that a host
/// whose answer was lost comes through with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    pub(crate) expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<Use>,
}

/// By whom an invitation was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    pub(crate) key: Hash,
    pub(crate) host: HostId,
}

impl Invitation {
    pub(crate) fn used_by(&self, key: HostKey, host: HostId) -> Invitation {
        Invitation { used: Some(Use { key: key.0, host }), ..self.clone() }
    }

    /// Whether this key used it.
    pub(crate) fn host_of(&self, key: HostKey) -> Option<HostId> {
        self.used.as_ref().filter(|used| used.key == key.0).map(|used| used.host)
    }
}

/// Under which key an invitation is stored: a hash of its secret, which is nowhere else.
pub(crate) fn invitation_key(secret: &EnrollmentSecret) -> String {
    Hash::of_bytes(secret.expose()).to_hex()
}
