//! The offer: what a QR code or a link carries (spec/protocol.md, 2).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::identity::PublicKey;
use crate::schedule::{DerivationFailed, OfferKeys};
use crate::secret::OfferSecret;

/// The most endpoints that an offer may name.
pub const ENDPOINTS_MAX: usize = 8;
/// The longest link that is looked at, in bytes: an offer of [`ENDPOINTS_MAX`] endpoints of 255 bytes, in base32.
const LINK_MAX: usize = 4096;

const VERSION: u8 = 1;
/// Versions that there may be one day: any other first byte is that of some text.
const NEWER: RangeInclusive<u8> = 2..=15;
/// Suite 1: `25519_ChaChaPoly_SHA256`.
pub const SUITE_1: u8 = 0b01;
/// What precedes the endpoints: version, suites, end, secret, host key.
const FIXED: usize = 1 + 1 + 4 + 16 + 32;
/// The longest endpoint.
const ENDPOINT_MAX: usize = 1 + 1 + 255;

const APP: &str = "COUPLET:";
const WEB: &str = "HTTPS://";
const WEB_PATH: &str = "/P#";

/// Why an offer cannot be read. The texts say which part is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Neither `COUPLET:…` nor `https://…/p#…`.
    #[error("this is no pairing link: it begins with COUPLET: or is https://RELAY/p#…")]
    NotALink,
    /// What stands behind the prefix is no offer: no base32, or bytes that no version begins with.
    #[error("the pairing link is damaged: copy it whole, or scan the code again")]
    Damaged,
    /// A newer format. What its first byte says is believed only of bytes that can be an offer.
    #[error("the offer is of version {0}, this program knows version {VERSION}: update it")]
    Version(u8),
    /// It ends within a field.
    #[error("the offer breaks off within {0}")]
    Short(&'static str),
    /// Bytes behind the last endpoint that are none.
    #[error("the offer has a trailing byte")]
    Trailing,
    /// No suite that this program knows.
    #[error("the offer allows no cipher suite that this program knows: update it")]
    NoSuite,
    /// An endpoint of a known kind with a wrong body.
    #[error("endpoint {0} of the offer is malformed")]
    Endpoint(usize),
    /// The same endpoint twice.
    #[error("the offer names an endpoint twice")]
    Duplicate,
    /// More than [`ENDPOINTS_MAX`].
    #[error("the offer names more than {ENDPOINTS_MAX} endpoints")]
    TooMany,
}

/// A relay's `name` or `name:port`: a DNS name of letters, digits, hyphens and dots, in lower case; at most 255 bytes.
/// It is always reached by TLS, at port 443 when none is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelayName(String);

impl RelayName {
    /// Checks the form and folds the case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        let port_is_one = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok());
        let whole = text.len() <= 255 && host.len() <= 253 && host.split('.').all(label) && port_is_one;
        whole.then(|| RelayName(text.to_ascii_lowercase()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a place of that relay's: its name or one below it, at whatever port.
    #[must_use]
    pub fn is_within(&self, relay: &RelayName) -> bool {
        let host = |name: &RelayName| name.0.split(':').next().unwrap_or_default().to_owned();
        let (named, relay) = (host(self), host(relay));
        named == relay || named.strip_suffix(&relay).is_some_and(|node| node.ends_with('.'))
    }
}

impl fmt::Display for RelayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a host can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Through a relay.
    Relay(RelayName),
    /// On the same network, at the pairing listener.
    Lan(SocketAddr),
}

impl Endpoint {
    /// `kind ‖ len ‖ body`.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20);
        self.encode(&mut bytes);
        bytes
    }

    /// One endpoint, exactly. `Ok(None)` is one of a kind that this version does not know.
    ///
    /// # Errors
    /// It is malformed; the number is 0.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, OfferError> {
        match bytes {
            [kind, len, body @ ..] if body.len() == usize::from(*len) => {
                Endpoint::decode(*kind, body).ok_or(OfferError::Endpoint(0))
            }
            _ => Err(OfferError::Endpoint(0)),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, parts: &[&[u8]]| {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            // Relay names are at most 255 bytes, addresses 18.
            out.extend([kind, u8::try_from(len).unwrap_or(u8::MAX)]);
            parts.iter().for_each(|part| out.extend_from_slice(part));
        };
        match self {
            Endpoint::Relay(name) => put(1, &[name.0.as_bytes()]),
            Endpoint::Lan(address) => {
                let port = address.port().to_be_bytes();
                match address.ip().to_canonical() {
                    IpAddr::V4(ip) => put(2, &[&ip.octets(), &port]),
                    IpAddr::V6(ip) => put(3, &[&ip.octets(), &port]),
                }
            }
        }
    }

    /// `None`: malformed. `Some(None)`: of an unknown kind.
    fn decode(kind: u8, body: &[u8]) -> Option<Option<Self>> {
        let lan = |ip: IpAddr, port: [u8; 2]| {
            let port = u16::from_be_bytes(port);
            (port != 0).then(|| Endpoint::Lan(SocketAddr::new(ip, port)))
        };
        match kind {
            1 => std::str::from_utf8(body).ok().and_then(RelayName::parse).map(|name| Some(Endpoint::Relay(name))),
            2 => {
                let body: &[u8; 6] = body.try_into().ok()?;
                let [a, b, c, d, port @ ..] = *body;
                lan(Ipv4Addr::new(a, b, c, d).into(), port).map(Some)
            }
            3 => {
                let body: &[u8; 18] = body.try_into().ok()?;
                let (ip, port) = body.split_at(16);
                let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?);
                // One address has one form.
                let plain = ip.to_ipv4_mapped().is_none();
                lan(ip.into(), port.try_into().ok()?).filter(|_| plain).map(Some)
            }
            _ => Some(None),
        }
    }
}

/// What a host offers to whoever scans it, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The cipher suites that the host takes, a bit each; bit 0 is [`SUITE_1`].
    pub suites: u8,
    /// When it ends, in seconds since 1970. For a device this is a hint: the host's clock decides.
    pub expires_at: u32,
    /// `K`.
    pub secret: OfferSecret,
    /// The host's static public key, which a paired device pins.
    pub host_key: PublicKey,
    /// Where the host is, at most [`ENDPOINTS_MAX`], those of unknown kinds left out.
    pub endpoints: Vec<Endpoint>,
}

/// How an offer is written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkForm {
    /// `HTTPS://RELAY/P#…`: opens in a browser; needs a relay endpoint.
    Web,
    /// `COUPLET:…`: opens in an app that knows the scheme.
    App,
}

impl Offer {
    /// What both ends derive from it.
    ///
    /// # Errors
    /// None that input can bring about.
    pub fn keys(&self) -> Result<OfferKeys, DerivationFailed> {
        OfferKeys::derive(&self.secret, &self.host_key, self.expires_at)
    }

    /// The binary form, with the first [`ENDPOINTS_MAX`] endpoints.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.encode(None)
    }

    fn encode(&self, without: Option<&Endpoint>) -> Zeroizing<Vec<u8>> {
        let endpoints = self.endpoints.iter().take(ENDPOINTS_MAX);
        // Made once in full length, so that no shorter copy with the secret is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(FIXED + ENDPOINTS_MAX * ENDPOINT_MAX));
        bytes.extend([VERSION, self.suites]);
        bytes.extend(self.expires_at.to_be_bytes());
        bytes.extend(self.secret.expose());
        bytes.extend(self.host_key.as_bytes());
        endpoints.filter(|e| Some(*e) != without).for_each(|endpoint| endpoint.encode(&mut bytes));
        bytes
    }

    /// The link, in upper case throughout, so that a QR code takes its alphanumeric mode. Without a relay endpoint
    /// [`LinkForm::Web`] falls back to [`LinkForm::App`].
    #[must_use]
    pub fn to_link(&self, form: LinkForm) -> String {
        let relay = self.endpoints.iter().take(ENDPOINTS_MAX).find_map(|endpoint| match endpoint {
            Endpoint::Relay(name) if form == LinkForm::Web => Some((endpoint, name)),
            _ => None,
        });
        match relay {
            Some((endpoint, name)) => {
                let offer = Zeroizing::new(BASE32_NOPAD.encode(&self.encode(Some(endpoint))));
                format!("{WEB}{}{WEB_PATH}{}", name.0.to_ascii_uppercase(), &*offer)
            }
            None => format!("{APP}{}", &*Zeroizing::new(BASE32_NOPAD.encode(&self.to_bytes()))),
        }
    }

    /// Reads a link in either form and any letter case; blanks around it are no matter.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn from_link(link: &str) -> Result<Self, OfferError> {
        let link = link.trim();
        if link.len() > LINK_MAX || !link.is_ascii() {
            return Err(OfferError::NotALink);
        }
        let link = Zeroizing::new(link.to_ascii_uppercase());
        let (relay, text) = match link.strip_prefix(APP) {
            Some(text) => (None, text),
            None => {
                let rest = link.strip_prefix(WEB).ok_or(OfferError::NotALink)?;
                let (authority, text) = rest.split_once(WEB_PATH).ok_or(OfferError::NotALink)?;
                (Some(RelayName::parse(authority).ok_or(OfferError::NotALink)?), text)
            }
        };
        let bytes = BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| OfferError::Damaged)?;
        Offer::decode(&Zeroizing::new(bytes), relay)
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OfferError> {
        Offer::decode(bytes, None)
    }

    fn decode(bytes: &[u8], relay: Option<RelayName>) -> Result<Self, OfferError> {
        let mut rest = bytes;
        let mut take = |len: usize, what: &'static str| {
            let (taken, after) = rest.split_at_checked(len).ok_or(OfferError::Short(what))?;
            rest = after;
            Ok(taken)
        };
        let version = take(1, "its version")?[0];
        if version != VERSION {
            let is_newer = NEWER.contains(&version) && bytes.len() >= FIXED;
            return Err(if is_newer { OfferError::Version(version) } else { OfferError::Damaged });
        }
        let suites = take(1, "its suites")?[0];
        let end = take(4, "its end")?;
        let expires_at = u32::from_be_bytes([end[0], end[1], end[2], end[3]]);
        let secret = OfferSecret::from_slice(take(16, "its secret")?).ok_or(OfferError::Short("its secret"))?;
        let key = PublicKey::from_slice(take(32, "the host's key")?).ok_or(OfferError::Short("the host's key"))?;
        if suites & SUITE_1 == 0 {
            return Err(OfferError::NoSuite);
        }
        let endpoints = decode_endpoints(rest, relay)?;
        Ok(Offer { suites, expires_at, secret, host_key: key, endpoints })
    }
}

fn decode_endpoints(mut rest: &[u8], relay: Option<RelayName>) -> Result<Vec<Endpoint>, OfferError> {
    let mut endpoints: Vec<Endpoint> = relay.into_iter().map(Endpoint::Relay).collect();
    let most = ENDPOINTS_MAX - endpoints.len();
    let mut seen: Vec<&[u8]> = Vec::new();
    while let [kind, more @ ..] = rest {
        let [len, more @ ..] = more else { return Err(OfferError::Trailing) };
        if seen.len() == most {
            return Err(OfferError::TooMany);
        }
        let number = seen.len();
        let (body, after) = more.split_at_checked(usize::from(*len)).ok_or(OfferError::Short("an endpoint"))?;
        let whole = &rest[..2 + body.len()];
        if seen.contains(&whole) {
            return Err(OfferError::Duplicate);
        }
        seen.push(whole);
        rest = after;
        if let Some(endpoint) = Endpoint::decode(*kind, body).ok_or(OfferError::Endpoint(number))? {
            if endpoints.contains(&endpoint) {
                return Err(OfferError::Duplicate);
            }
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}
