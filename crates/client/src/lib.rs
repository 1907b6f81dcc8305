//! The device's side of Couplet, and the sealed stream that both ends share.
//!
//! [`pair()`] turns a link into [`Credentials`], a [`CredentialStore`] keeps them, and a [`Client`] holds a session
//! with the host: over it go requests, WebSockets and other upgrades, to the apps behind the host.

mod attempt;
mod backoff;
mod connect;
mod credentials;
mod error;
mod greet;
mod http;
mod pair;
mod path;
mod pin;
mod plain;
mod race;
mod random;
pub mod relay;
mod route;
pub mod sealed;
mod state;
pub mod store;
mod websocket;

pub use attempt::{Attempt, AttemptError, Hint};
pub use backoff::{Backoff, jitter};
pub use connect::Client;
pub use credentials::{Credentials, HostId, Keys, Token};
pub use error::{ConnectError, OtherKey, PairError, RequestError};
pub use http::{Body, BodyError, Upgrade, Upgraded};
pub use pair::{Meeting, PairRequest, pair, pair_invited};
pub use pin::{PinAnswer, PinError, PinPairing};
pub use random::NoRandomness;
pub use relay::{AccountFile, RelayAccount, RelayCa, RelayCaError, RelayFailure, RelayTrust};
pub use state::{Reason, State};
pub use store::{CredentialStore, FileStore, Listing, StoreError};
pub use websocket::WebSocketError;

/// Runs what may block, a disk's work, where it holds nobody up.
async fn unblock<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(StoreError::Io { path: std::path::PathBuf::new(), error: std::io::Error::other(error) })
    })
}
