//! What a device keeps of a host that it is paired with.

use std::fmt;
use std::time::SystemTime;

use couplet_protocol::handshake::PairingKeys;
use couplet_protocol::message::Grant;
use couplet_protocol::offer::ENDPOINTS_MAX;
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{Endpoint, Offer, PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::path::Ways;
use crate::relay::{Account, Climbs, Door, RelayCa, RelayTrust};

/// Names a host among those that a device knows: its key's fingerprint in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(String);

impl HostId {
    /// The id of the host with this key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        HostId(key.fingerprint().to_ascii_lowercase())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The credentials of one pairing. Secrets are cleared when dropped and never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// What the host calls itself.
    pub host_name: String,
    /// What a session is opened with: the host's key, pinned when pairing, and the pairing's PSK.
    pub keys: Keys,
    /// This device's key for this host.
    pub device_key: StaticSecret,
    /// The device's id at the host.
    pub device_id: String,
    /// The bearer credential for plain HTTP.
    pub device_token: Token,
    /// For the room at a relay, when the host has one.
    pub room_secret: Option<RoomSecret>,
    /// Which of its rooms opened last.
    pub room_number: u32,
    /// Whose certificate counts for the relay besides those that the system trusts.
    pub relay_ca: Option<RelayCa>,
    /// Where the host is, at most [`ENDPOINTS_MAX`].
    pub endpoints: Vec<Endpoint>,
    /// Rises with each change of the endpoints.
    pub endpoints_serial: u64,
    /// When the pairing was finished. None: the host granted it and has not been heard of since; a session that opens
    /// finishes it.
    pub paired_at: Option<SystemTime>,
}

/// [`PairingKeys`] that can be compared.
#[derive(Clone, Debug)]
pub struct Keys(pub PairingKeys);

/// The device's bearer token, as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Credentials {
    /// What the host has granted, before it is known that both sides have it.
    #[must_use]
    pub(crate) fn granted(offer: &Offer, device_key: StaticSecret, grant: Grant, relay_ca: Option<RelayCa>) -> Self {
        let mut endpoints = grant.endpoints;
        // A host that names none can still be found where it was.
        if endpoints.is_empty() {
            endpoints.clone_from(&offer.endpoints);
        }
        endpoints.truncate(ENDPOINTS_MAX);
        let keys = PairingKeys { psk_id: grant.psk_id, psk: grant.psk, host_key: offer.host_key, suites: offer.suites };
        Credentials {
            host_name: grant.host_name,
            keys: Keys(keys),
            device_key,
            device_id: grant.device_id,
            device_token: Token(grant.device_token),
            room_secret: grant.room_secret,
            room_number: 0,
            relay_ca,
            endpoints,
            endpoints_serial: 0,
            paired_at: None,
        }
    }

    /// Takes the host's word on where it is. False when it is no news (spec/protocol.md, 4).
    pub(crate) fn learn_endpoints(&mut self, list: Vec<Endpoint>, serial: u64) -> bool {
        let is_news = serial > self.endpoints_serial && !list.is_empty();
        if is_news {
            (self.endpoints, self.endpoints_serial) = (list, serial);
        }
        is_news
    }

    /// The ways to the host, by these credentials.
    pub(crate) fn ways<'a>(&'a self, trust: &'a RelayTrust, (account, climbs): (Account, Climbs)) -> Ways<'a> {
        let door = self.room_secret.as_ref().map(|secret| Door::Paired(secret, self.room_number));
        Ways { trust, door, account, climbs }
    }

    /// Which host it is.
    #[must_use]
    pub fn id(&self) -> HostId {
        HostId::of(&self.keys.host_key)
    }

    /// Whether it is certain that the host, too, counts this device as paired.
    #[must_use]
    pub fn is_paired(&self) -> bool {
        self.paired_at.is_some()
    }
}

impl Token {
    /// Takes the text.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Self {
        Token(text)
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

impl std::ops::Deref for Keys {
    type Target = PairingKeys;

    fn deref(&self) -> &PairingKeys {
        &self.0
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        a.psk == b.psk && a.psk_id == b.psk_id && a.host_key == b.host_key && a.suites == b.suites
    }
}
impl Eq for Keys {}
