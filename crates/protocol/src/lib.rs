//! What Couplet says over the wire: names, credentials, scopes, error codes and the bodies of the HTTP API.
//!
//! Pure: no I/O, no clock, no async. Time and randomness come in as arguments, so that both ends of a
//! conversation can be tested on a desk. Parsing happens here, once, into types that cannot be wrong.

pub mod api;
pub mod credential;
pub mod error;
pub mod name;
pub mod scope;

pub use credential::{AdminToken, BearerToken, ClaimToken, DeviceToken, Digest, PairToken};
pub use error::{Code, Problem};
pub use name::{DeviceModel, DeviceName};
pub use scope::Scope;
