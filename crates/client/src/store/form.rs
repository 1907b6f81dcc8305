//! How credentials are written down: one JSON object.

use std::time::{Duration, SystemTime};

use couplet_protocol::handshake::PairingKeys;
use couplet_protocol::offer::{ENDPOINTS_MAX, RelayName};
use couplet_protocol::secret::{Psk, RoomSecret};
use couplet_protocol::{Endpoint, PublicKey, StaticSecret};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::credentials::{Credentials, Keys, Token};
use crate::relay::RelayCa;

/// The form that is written.
const VERSION: u32 = 1;

/// It cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version of the form.
    Newer,
    /// Anything else.
    Damaged,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Bytes in base64url.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Text(String);

impl Drop for Text {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    host_name: String,
    host_key: Text,
    suites: u8,
    device_key: Text,
    device_id: String,
    device_token: Text,
    psk_id: Text,
    psk: Text,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    room_secret: Option<Text>,
    #[serde(default)]
    room_number: u32,
    /// PEM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    relay_ca: Option<String>,
    /// `lan ADDRESS:PORT`, `relay NAME`; other kinds are a newer version's, and left out.
    endpoints: Vec<String>,
    #[serde(default)]
    endpoints_serial: u64,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    paired_at: Option<u64>,
}

pub(super) fn write(credentials: &Credentials) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let form = Form {
        version: VERSION,
        host_name: credentials.host_name.clone(),
        host_key: text(credentials.keys.host_key.as_bytes()),
        suites: credentials.keys.suites,
        device_key: text(credentials.device_key.expose()),
        device_id: credentials.device_id.clone(),
        device_token: Text(credentials.device_token.expose().to_owned()),
        psk_id: text(&credentials.keys.psk_id),
        psk: text(credentials.keys.psk.expose()),
        room_secret: credentials.room_secret.as_ref().map(|secret| text(secret.expose())),
        room_number: credentials.room_number,
        relay_ca: credentials.relay_ca.as_ref().map(|ca| ca.as_pem().to_owned()),
        endpoints: credentials.endpoints.iter().map(place).collect(),
        endpoints_serial: credentials.endpoints_serial,
        paired_at: credentials
            .paired_at
            .map(|at| at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())),
    };
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let more = form.relay_ca.as_ref().map_or(0, |pem| 2 * pem.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024 + more));
    serde_json::to_writer_pretty(&mut *bytes, &form)?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn read(bytes: &[u8]) -> Result<Credentials, Unreadable> {
    let version: Version = serde_json::from_slice(bytes).map_err(|_| Unreadable::Damaged)?;
    if version.version > VERSION {
        return Err(Unreadable::Newer);
    }
    let form: Form = serde_json::from_slice(bytes).map_err(|_| Unreadable::Damaged)?;
    credentials(form).ok_or(Unreadable::Damaged)
}

fn credentials(form: Form) -> Option<Credentials> {
    let keys = PairingKeys {
        psk_id: *array(&form.psk_id)?,
        psk: Psk::new(*array(&form.psk)?),
        host_key: PublicKey::new(*array(&form.host_key)?),
        suites: form.suites,
    };
    let room_secret = match &form.room_secret {
        Some(secret) => Some(RoomSecret::new(*array(secret)?)),
        None => None,
    };
    let relay_ca = match &form.relay_ca {
        Some(pem) => Some(RelayCa::parse(pem).ok()?),
        None => None,
    };
    let mut endpoints = Vec::with_capacity(form.endpoints.len().min(ENDPOINTS_MAX));
    for place in form.endpoints.iter().take(ENDPOINTS_MAX) {
        match place.split_once(' ')? {
            ("lan", address) => endpoints.push(Endpoint::Lan(address.parse().ok()?)),
            ("relay", name) => endpoints.push(Endpoint::Relay(RelayName::parse(name)?)),
            _ => {}
        }
    }
    Some(Credentials {
        host_name: form.host_name,
        keys: Keys(keys),
        device_key: StaticSecret::new(*array(&form.device_key)?).ok()?,
        device_id: form.device_id,
        device_token: Token::new(Zeroizing::new(form.device_token.0.clone())),
        room_secret,
        room_number: form.room_number,
        relay_ca,
        endpoints,
        endpoints_serial: form.endpoints_serial,
        paired_at: form.paired_at.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
    })
}

fn place(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Lan(address) => format!("lan {address}"),
        Endpoint::Relay(name) => format!("relay {name}"),
    }
}

fn text(bytes: &[u8]) -> Text {
    Text(BASE64URL_NOPAD.encode(bytes))
}

fn array<const N: usize>(text: &Text) -> Option<Zeroizing<[u8; N]>> {
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.0.as_bytes()).ok()?);
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}
