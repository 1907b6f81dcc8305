//! What devices, hosts and a relay say to each other over HTTP (spec/protocol.md, 6). Times are RFC 3339 in UTC.
//! Unknown members are ignored.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::room::{CredentialHash, NotHex, RoomId};
use crate::secret::SecretText;

/// The largest body that a relay takes, in bytes.
pub const BODY_MAX: usize = 16 * 1024;
/// The longest account token that a relay looks at, in bytes.
pub const ACCOUNT_MAX: usize = 8 * 1024;
/// How many of a device's bytes a relay holds until the host has dialled.
pub const EARLY_MAX: usize = 8 * 1024;
/// How long a sid waits for both of its ends, in seconds.
pub const SID_SECONDS: u64 = 30;
/// The protocol that a host asks for in `Upgrade`, for its end of a session.
pub const HOST_UPGRADE: &str = "couplet-stream";
/// How long a host's certificate is good for, in seconds: a week.
pub const CERTIFICATE_SECONDS: u64 = 7 * 24 * 3600;
/// With what the URI begins that names a host in its certificate; its UUID follows.
pub const HOST_URI: &str = "couplet:host:";

/// A session's way through a relay: 16 random bytes, written as 32 digits of lower-case hex, good once for each of its
/// two ends.
///
/// Who knows it can take an end. So it prints only its beginning; [`Sid::to_hex`] has it whole.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sid([u8; 16]);

impl Sid {
    /// Takes random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Sid(bytes)
    }

    /// Reads 32 digits of lower-case hex.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, NotHex> {
        let mut bytes = [0; 16];
        if text.len() != 32 {
            return Err(NotHex);
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| NotHex)?;
        Ok(Sid(bytes))
    }

    /// All of it, in lower-case hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Where each end goes for it: `/pair/relay/{sid}`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/pair/relay/{}", self.to_hex())
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

impl TryFrom<String> for Sid {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        Self::parse(&text)
    }
}

impl From<Sid> for String {
    fn from(sid: Sid) -> String {
        sid.to_hex()
    }
}

/// What a device came for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// To pair, by the offer's token.
    Pair,
    /// To come back, by the room's secret.
    Reconnect,
}

/// Body of `POST /enroll`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The whole enrolment token; a host that the relay knows by its key needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
    /// A certificate signing request in PEM, signed with the host's key (RFC 2986). Only its key counts.
    pub csr: String,
}

/// Answer of `POST /enroll`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Enrolled {
    /// The host's certificate, in PEM.
    pub certificate: String,
    /// The relay's own CA, in PEM.
    pub ca: String,
    /// Where the hosts' listener is: `https://name[:port]`.
    pub hosts_url: String,
    /// The host's id: the UUID in its certificate.
    pub host_id: String,
}

/// Body of `PUT /host/rooms/{room_id}`.
#[derive(Clone, Serialize)]
pub struct RoomBody<'a> {
    /// Lets a paired device in: 64 digits of lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_hash: Option<&'a str>,
    /// Lets a device in that has the offer: 64 digits of lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairing_token_hash: Option<&'a str>,
    /// When the offer ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairing_expires_at: Option<String>,
    /// Random for each room, 1 to 256 printable ASCII characters; neither the host's key nor a device's.
    pub public_key: &'a str,
    /// The account (a JWT) that a device must have as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
}

impl fmt::Debug for RoomBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomBody").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

/// Body of `POST /pair`: a room and what opens it, one of the two hashes.
#[derive(Clone, Debug, Deserialize)]
pub struct PairRequest {
    /// Which room.
    pub room_id: RoomId,
    /// To pair, by the offer's token.
    #[serde(default)]
    pub pairing_token_hash: Option<CredentialHash>,
    /// To come back, by the room's secret.
    #[serde(default)]
    pub secret_hash: Option<CredentialHash>,
    /// The account (a JWT) of the device's owner.
    #[serde(default)]
    pub account: Option<SecretText>,
}

/// Answer of `POST /pair`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairAnswer {
    /// The session's way through the relay.
    pub sid: Sid,
    /// The node that holds the other end: `https://name[:port]`; the device's end is at [`Sid::path`] there, by
    /// `wss`.
    pub relay_url: String,
    /// When the sid ends unless both ends have come.
    pub expires_at: String,
}

/// What the problem `CPL-1802` has besides (RFC 9457, 3.2): the address of either account, as far as it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Of the account that the room belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_email: Option<String>,
    /// Of the device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_email: Option<String>,
}

/// The event `pair-cmd` of `GET /host/events`: a device is there. Its event id is the sid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCommand {
    /// The session's way through the relay.
    pub sid: Sid,
    /// Which room the device has opened.
    pub room_id: RoomId,
    /// What the device came for.
    pub mode: Mode,
    /// The node that holds the device's end, its hosts' listener: `https://name[:port]`.
    pub relay_url: String,
    /// The address that the device came from, as the relay saw it.
    pub remote_ip: String,
    /// When the sid ends unless both ends have come.
    pub expires_at: String,
}

/// The event `room-locked` of `GET /host/events`: failed joins have locked a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLocked {
    /// Which.
    pub room_id: RoomId,
}

/// The event `drain` of `GET /host/events`: this node is about to stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Where to go instead, the hosts' listener of a node: `https://name[:port]`. May be the same name.
    pub relay_url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_printed_in_part_and_sent_whole() {
        let sid = Sid::new([0xab; 16]);
        assert_eq!(format!("{sid} {sid:?}"), "abababab… Sid(abababab…)");
        assert_eq!(sid.path(), format!("/pair/relay/{}", "ab".repeat(16)));
        assert_eq!(serde_json::to_string(&sid).unwrap(), format!("\"{}\"", "ab".repeat(16)));
        assert_eq!(Sid::parse(&sid.to_hex()), Ok(sid));
        assert_eq!(Sid::parse(&sid.to_hex().to_uppercase()), Err(NotHex));
    }

    #[test]
    fn bodies_do_not_print_what_opens_something() {
        let (hash, token) = ("c".repeat(64), "canary");
        let text = |token: &str| SecretText::new(token.to_owned());
        let enroll = EnrollRequest { token: Some(text(token)), csr: "csr".into() };
        assert_eq!(serde_json::to_string(&enroll).unwrap(), r#"{"token":"canary","csr":"csr"}"#);
        let body = format!(r#"{{"room_id":"{}","secret_hash":"{hash}","account":"{token}"}}"#, "0".repeat(32));
        let pair: PairRequest = serde_json::from_str(&body).unwrap();
        assert_eq!(pair.account.as_ref().unwrap().expose(), token);
        let room = RoomBody {
            secret_hash: Some(&hash),
            pairing_token_hash: Some(&hash),
            pairing_expires_at: None,
            public_key: "random",
            account: Some(token),
        };
        let printed = format!("{enroll:?} {pair:?} {room:?}");
        assert!(!printed.contains(token) && !printed.contains(&hash[..8]), "{printed}");
    }

    #[test]
    fn a_body_with_a_bad_hash_is_refused_without_quoting_it() {
        let body = |hash: &str| format!(r#"{{"room_id":"{}","secret_hash":"{hash}","more":1}}"#, "0".repeat(32));
        assert!(serde_json::from_str::<PairRequest>(&body(&"a".repeat(64))).is_ok());
        let error = serde_json::from_str::<PairRequest>(&body("canary")).unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
