//! What Couplet says over the wire: names, credentials, scopes, error codes, the bodies of the HTTP API; offers, the
//! handshake and the sealed sessions that follow.
//!
//! Pure: no I/O, no clock, no async. Time and randomness come in as arguments, so that both ends of a
//! conversation can be tested on a desk. Parsing happens here, once, into types that cannot be wrong.

pub mod alike;
pub mod api;
mod cbor;
pub mod check_code;
pub mod credential;
mod digits;
pub mod enrollment;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod identity;
pub mod message;
pub mod name;
mod noise;
pub mod offer;
pub mod pin;
pub mod relay;
pub mod room;
mod schedule;
pub mod scope;
pub mod secret;
pub mod session;
pub mod signature;
#[cfg(test)]
mod vectors;

pub use check_code::CheckCode;
pub use credential::{
    AdminToken, BearerToken, ClaimToken, DeviceToken, Digest, LoginToken, PageKey, PairToken, SessionToken,
};
pub use enrollment::EnrollmentToken;
pub use error::{Code, Problem};
pub use identity::{PublicKey, StaticSecret};
pub use name::{DeviceModel, DeviceName, DevicePlatform};
pub use offer::{Endpoint, Offer, RelayName};
pub use pin::{MatchNumber, Pin};
pub use relay::Sid;
pub use room::{CredentialHash, RoomId};
pub use schedule::{DerivationFailed, OfferKeys};
pub use scope::Scope;
pub use session::Session;

/// The DNS-SD service type, in mDNS' domain, by which a host is found nearby while its owner pairs (spec/protocol.md, 7).
pub const SERVICE_TYPE: &str = "_couplet._tcp.local.";
