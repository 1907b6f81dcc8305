//! What is said in CBOR: the payloads of the handshake's messages, and the CONTROL messages of a session
//! (spec/protocol.md, 3 and 4). Deterministic (RFC 8949, 4.2.1): what is not is refused, and so are duplicate keys
//! and trailing bytes. Unknown keys are ignored.

use ciborium::Value;

use crate::offer::{ENDPOINTS_MAX, Endpoint};
use crate::secret::{Entropy, Psk, RoomSecret};

/// The longest text that a message may hold, in bytes.
const TEXT_MAX: usize = 512;
/// How deep CBOR may be nested: a map that holds a list.
const DEPTH: usize = 4;

/// The bytes are not the message that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(&'static str);

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The device's id, a UUID.
    pub device_id: String,
    /// The bearer credential for plain HTTP: `dev_…`.
    pub device_token: zeroize::Zeroizing<String>,
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

/// A CONTROL message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Device: the first frame. When pairing, with the nonce that it committed to.
    Confirm {
        /// rP.
        reveal: Option<Entropy>,
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

impl ClaimPayload {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        encode(vec![
            ("name", Some(Value::Text(self.claim.name.clone()))),
            ("model", text(&self.claim.model)),
            ("platform", text(&self.claim.platform)),
            ("kind", Some(Value::Text(self.claim.kind.clone()))),
            ("commit", Some(bytes(&self.commit))),
        ])
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut map = Map::decode(payload)?;
        Ok(ClaimPayload {
            claim: Claim {
                name: map.text("name")?,
                model: map.optional("model", Map::text)?,
                platform: map.optional("platform", Map::text)?,
                kind: map.text("kind")?,
            },
            commit: map.array("commit")?,
        })
    }
}

impl AnswerPayload {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Malformed> {
        encode(vec![("host_name", Some(Value::Text(self.host_name.clone()))), ("rH", Some(bytes(&self.nonce)))])
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Malformed> {
        let mut map = Map::decode(payload)?;
        Ok(AnswerPayload { host_name: map.text("host_name")?, nonce: map.array("rH")? })
    }
}

/// The payload of M1 when reconnecting: an empty map.
pub(crate) fn reconnect_payload() -> Result<Vec<u8>, Malformed> {
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
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        let t = |name: &str| ("t", Some(Value::Text(name.to_owned())));
        match self {
            Control::Confirm { reveal } => {
                encode(vec![t("confirm"), ("rP", reveal.as_ref().map(|nonce| bytes(nonce.expose())))])
            }
            Control::Grant(grant) => encode(vec![
                t("grant"),
                ("device_id", Some(Value::Text(grant.device_id.clone()))),
                ("device_token", Some(Value::Text(grant.device_token.to_string()))),
                ("host_name", Some(Value::Text(grant.host_name.clone()))),
                ("psk_id", Some(bytes(&grant.psk_id))),
                ("psk", Some(bytes(grant.psk.expose()))),
                ("room_secret", grant.room_secret.as_ref().map(|secret| bytes(secret.expose()))),
                ("endpoints", Some(list(&grant.endpoints))),
            ]),
            Control::Ack => encode(vec![t("ack")]),
            Control::Paired => encode(vec![t("paired")]),
            Control::Rejected { code } => encode(vec![t("rejected"), ("code", Some(Value::Text(code.clone())))]),
            Control::Endpoints { list: endpoints, serial } => {
                encode(vec![t("endpoints"), ("list", Some(list(endpoints))), ("serial", Some((*serial).into()))])
            }
        }
    }

    /// Reads the bytes of a CONTROL frame. `None`: a message that this version does not know, to be ignored.
    ///
    /// # Errors
    /// It is not deterministic CBOR, or a field is missing or of a wrong type or size.
    pub fn decode(message: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut map = Map::decode(message)?;
        Ok(Some(match map.text("t")?.as_str() {
            "confirm" => Control::Confirm { reveal: map.optional("rP", Map::array)?.map(Entropy::new) },
            "grant" => Control::Grant(Grant {
                device_id: map.text("device_id")?,
                device_token: map.text("device_token")?.into(),
                host_name: map.text("host_name")?,
                psk_id: map.array("psk_id")?,
                psk: Psk::new(map.array("psk")?),
                room_secret: map.optional("room_secret", Map::array)?.map(RoomSecret::new),
                endpoints: map.endpoints("endpoints")?,
            }),
            "ack" => Control::Ack,
            "paired" => Control::Paired,
            "rejected" => Control::Rejected { code: map.text("code")? },
            "endpoints" => Control::Endpoints { list: map.endpoints("list")?, serial: map.number("serial")? },
            _ => return Ok(None),
        }))
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

fn list(endpoints: &[Endpoint]) -> Value {
    Value::Array(endpoints.iter().map(|endpoint| Value::Bytes(endpoint.to_bytes())).collect())
}

/// A map in deterministic order: keys by their encoded bytes, which for short text is by length, then by letter.
fn encode(fields: Vec<(&str, Option<Value>)>) -> Result<Vec<u8>, Malformed> {
    let mut present: Vec<_> = fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    if present.iter().any(|(_, value)| value.as_text().is_some_and(|text| text.len() > TEXT_MAX)) {
        return Err(Malformed("a text is too long"));
    }
    present.sort_by_key(|(key, _)| (key.len(), *key));
    let map = Value::Map(present.into_iter().map(|(key, value)| (Value::Text(key.to_owned()), value)).collect());
    write(&map)
}

fn write(value: &Value) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(256);
    ciborium::into_writer(value, &mut out).map_err(|_| Malformed("it cannot be written"))?;
    Ok(out)
}

/// A decoded map, whose values are taken out one by one.
struct Map(Vec<(Value, Value)>);

impl Map {
    fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let value: Value =
            ciborium::de::from_reader_with_recursion_limit(message, DEPTH).map_err(|_| Malformed("it is not CBOR"))?;
        // What is written as it was read has shortest numbers, definite lengths and nothing behind it.
        if *zeroize::Zeroizing::new(write(&value)?) != *message {
            return Err(Malformed("its CBOR is not deterministic"));
        }
        let Value::Map(fields) = value else { return Err(Malformed("it is no map")) };
        let keys: Option<Vec<&str>> = fields.iter().map(|(key, _)| key.as_text()).collect();
        let keys = keys.ok_or(Malformed("a key is no text"))?;
        let ordered = keys.is_sorted_by(|a, b| (a.len(), *a) < (b.len(), *b));
        if ordered { Ok(Map(fields)) } else { Err(Malformed("its keys are out of order, or one stands twice")) }
    }

    fn take(&mut self, key: &'static str) -> Result<Value, Malformed> {
        let field = self.0.iter_mut().find(|(name, _)| name.as_text() == Some(key));
        field.map(|(_, value)| std::mem::replace(value, Value::Null)).ok_or(Malformed(key))
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        take: impl FnOnce(&mut Self, &'static str) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match self.0.iter().any(|(name, _)| name.as_text() == Some(key)) {
            true => take(self, key).map(Some),
            false => Ok(None),
        }
    }

    fn text(&mut self, key: &'static str) -> Result<String, Malformed> {
        match self.take(key)? {
            Value::Text(text) if text.len() <= TEXT_MAX => Ok(text),
            _ => Err(Malformed(key)),
        }
    }

    fn array<const N: usize>(&mut self, key: &'static str) -> Result<[u8; N], Malformed> {
        let Value::Bytes(bytes) = self.take(key)? else { return Err(Malformed(key)) };
        zeroize::Zeroizing::new(bytes).as_slice().try_into().map_err(|_| Malformed(key))
    }

    fn number(&mut self, key: &'static str) -> Result<u64, Malformed> {
        self.take(key)?.as_integer().and_then(|n| u64::try_from(n).ok()).ok_or(Malformed(key))
    }

    fn endpoints(&mut self, key: &'static str) -> Result<Vec<Endpoint>, Malformed> {
        let Value::Array(list) = self.take(key)? else { return Err(Malformed(key)) };
        if list.len() > ENDPOINTS_MAX {
            return Err(Malformed(key));
        }
        let decode = |value: &Value| match value {
            Value::Bytes(bytes) => Endpoint::from_bytes(bytes).map_err(|_| Malformed(key)),
            _ => Err(Malformed(key)),
        };
        list.iter().filter_map(|value| decode(value).transpose()).collect()
    }
}
