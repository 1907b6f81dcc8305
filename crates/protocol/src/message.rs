//! What is said in CBOR: the payloads of the handshake's messages, and the CONTROL messages of a session
//! (spec/protocol.md, 3 and 4). Deterministic (RFC 8949, 4.2.1): what is not is refused, and so are duplicate keys
//! and trailing bytes. Unknown keys are ignored.

use zeroize::Zeroizing;

pub use crate::cbor::Malformed;
use crate::cbor::{Field, Map, encode};
use crate::offer::{ENDPOINTS_MAX, Endpoint};
use crate::secret::{Entropy, Psk, RoomSecret};

/// What a device says of itself when it claims an offer. None of it is checked but its size: the host does that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What its user calls it.
    pub name: String,
    /// Its model.
    pub model: Option<String>,
    /// Its system: `iOS 19`, `Linux`.
    pub platform: Option<String>,
    /// `mobile`, `desktop`, `browser`; anything else counts as another kind.
    pub kind: String,
}

/// The payload of M1 when pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClaimPayload {
    pub(crate) claim: Claim,
    /// H("couplet/1 commit" ‖ rP ‖ DS_pub).
    pub(crate) commit: [u8; 32],
}

/// The payload of M2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerPayload {
    pub(crate) host_name: String,
    pub(crate) nonce: [u8; 32],
}

/// What a paired device keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The device's id, a UUID.
    pub device_id: String,
    /// The bearer credential for plain HTTP: `dev_…`.
    pub device_token: Zeroizing<String>,
    /// What the owner calls the host.
    pub host_name: String,
    /// Names the pairing when reconnecting.
    pub psk_id: [u8; 8],
    /// The pairing PSK.
    pub psk: Psk,
    /// For the room at the relay, when the host has one.
    pub room_secret: Option<RoomSecret>,
    /// Where the host can be reached.
    pub endpoints: Vec<Endpoint>,
}

/// Which of its rooms at a relay a device comes by (spec/protocol.md, 6). A relay can lie to either end about that; this
/// is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomNumbers {
    /// The one that it has written down, from which on it asks.
    pub kept: u32,
    /// The one that opened, which it writes down when this session holds; the same where it came another way.
    pub opened: u32,
}

/// A CONTROL message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Device: the first frame. When pairing, with the nonce that it committed to.
    Confirm {
        /// rP.
        reveal: Option<Entropy>,
        /// When coming back: by which of its rooms at a relay.
        rooms: Option<RoomNumbers>,
    },
    /// Host: what the device keeps.
    Grant(Grant),
    /// Device: the grant is stored.
    Ack,
    /// Host: the device is paired.
    Paired,
    /// Host: it is not.
    Rejected {
        /// A stable code: `CPL-1208`.
        code: String,
    },
    /// Either: where it can be reached has changed.
    Endpoints {
        /// All of them.
        list: Vec<Endpoint>,
        /// Rises with each change; a lower one than known is old news.
        serial: u64,
    },
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

impl ClaimPayload {
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        encode(vec![
            ("name", Some(Field::Text(&self.claim.name))),
            ("model", self.claim.model.as_deref().map(Field::Text)),
            ("platform", self.claim.platform.as_deref().map(Field::Text)),
            ("kind", Some(Field::Text(&self.claim.kind))),
            ("commit", Some(Field::Bytes(&self.commit))),
        ])
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let map = Map::decode(payload)?;
        Ok(ClaimPayload {
            claim: Claim {
                name: map.text("name")?.to_owned(),
                model: map.optional("model", Map::text)?.map(str::to_owned),
                platform: map.optional("platform", Map::text)?.map(str::to_owned),
                kind: map.text("kind")?.to_owned(),
            },
            commit: map.array("commit")?,
        })
    }
}

impl AnswerPayload {
    pub(crate) fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        encode(vec![("host_name", Some(Field::Text(&self.host_name))), ("rH", Some(Field::Bytes(&self.nonce)))])
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let map = Map::decode(payload)?;
        Ok(AnswerPayload { host_name: map.text("host_name")?.to_owned(), nonce: map.array("rH")? })
    }
}

/// The payload of M1 when reconnecting: an empty map.
pub(crate) fn reconnect_payload() -> Result<Zeroizing<Vec<u8>>, Malformed> {
    encode(Vec::new())
}

/// Holds the payload of M1 when reconnecting to its form; what it may say is ignored.
pub(crate) fn check_reconnect_payload(payload: &[u8]) -> Result<(), Malformed> {
    Map::decode(payload).map(drop)
}

impl Control {
    /// The bytes of a CONTROL frame.
    ///
    /// # Errors
    /// A text is longer than any that a peer would take.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let t = |name: &'static str| ("t", Some(Field::Text(name)));
        match self {
            Control::Confirm { reveal, rooms } => encode(vec![
                t("confirm"),
                ("rP", reveal.as_ref().map(|nonce| Field::Bytes(nonce.expose()))),
                ("room", rooms.map(|rooms| Field::Number(rooms.kept.into()))),
                ("opened", rooms.filter(|it| it.opened != it.kept).map(|rooms| Field::Number(rooms.opened.into()))),
            ]),
            Control::Grant(grant) => grant.encode(),
            Control::Ack => encode(vec![t("ack")]),
            Control::Paired => encode(vec![t("paired")]),
            Control::Rejected { code } => encode(vec![t("rejected"), ("code", Some(Field::Text(code)))]),
            Control::Endpoints { list, serial } => encode(vec![
                t("endpoints"),
                ("list", Some(Field::List(&endpoints_to_bytes(list)))),
                ("serial", Some(Field::Number(*serial))),
            ]),
        }
    }

    /// Reads the bytes of a CONTROL frame. `None`: a message that this version does not know, to be ignored.
    ///
    /// # Errors
    /// It is not deterministic CBOR, or a field is missing or of a wrong type or size.
    pub fn decode(message: &[u8]) -> Result<Option<Self>, Malformed> {
        let map = Map::decode(message)?;
        Ok(Some(match map.text("t")? {
            "confirm" => Control::Confirm {
                reveal: map.optional("rP", Map::array)?.map(Entropy::new),
                rooms: RoomNumbers::decode(&map)?,
            },
            "grant" => Control::Grant(Grant::decode(&map)?),
            "ack" => Control::Ack,
            "paired" => Control::Paired,
            "rejected" => Control::Rejected { code: map.text("code")?.to_owned() },
            "endpoints" => Control::Endpoints { list: endpoints(&map, "list")?, serial: map.number("serial")? },
            _ => return Ok(None),
        }))
    }
}

impl RoomNumbers {
    fn decode(map: &Map<'_>) -> Result<Option<Self>, Malformed> {
        let number = |map: &Map<'_>, key| u32::try_from(map.number(key)?).map_err(|_| Malformed(key));
        let opened = map.optional("opened", number)?;
        let kept = map.optional("room", number)?;
        Ok(kept.map(|kept| RoomNumbers { kept, opened: opened.unwrap_or(kept) }))
    }
}

impl Grant {
    fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        encode(vec![
            ("t", Some(Field::Text("grant"))),
            ("device_id", Some(Field::Text(&self.device_id))),
            ("device_token", Some(Field::Text(&self.device_token))),
            ("host_name", Some(Field::Text(&self.host_name))),
            ("psk_id", Some(Field::Bytes(&self.psk_id))),
            ("psk", Some(Field::Bytes(self.psk.expose()))),
            ("room_secret", self.room_secret.as_ref().map(|secret| Field::Bytes(secret.expose()))),
            ("endpoints", Some(Field::List(&endpoints_to_bytes(&self.endpoints)))),
        ])
    }

    fn decode(map: &Map<'_>) -> Result<Self, Malformed> {
        let secret = |map: &Map<'_>, key| RoomSecret::from_slice(map.bytes(key)?).ok_or(Malformed(key));
        Ok(Grant {
            device_id: map.text("device_id")?.to_owned(),
            device_token: Zeroizing::new(map.text("device_token")?.to_owned()),
            host_name: map.text("host_name")?.to_owned(),
            psk_id: map.array("psk_id")?,
            psk: Psk::from_slice(map.bytes("psk")?).ok_or(Malformed("psk"))?,
            room_secret: map.optional("room_secret", secret)?,
            endpoints: endpoints(map, "endpoints")?,
        })
    }
}

fn endpoints_to_bytes(endpoints: &[Endpoint]) -> Vec<Vec<u8>> {
    endpoints.iter().take(ENDPOINTS_MAX).map(Endpoint::to_bytes).collect()
}

/// Those of unknown kinds are left out.
fn endpoints(map: &Map<'_>, key: &'static str) -> Result<Vec<Endpoint>, Malformed> {
    let list = map.list(key, ENDPOINTS_MAX)?;
    let decode = |bytes: &[u8]| Endpoint::from_bytes(bytes).map_err(|_| Malformed(key));
    list.into_iter().filter_map(|bytes| decode(bytes).transpose()).collect()
}

#[cfg(test)]
mod tests;
