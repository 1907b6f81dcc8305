//! Couplet's host: pairing, the device store, the HTTP API, authentication for axum apps, and the gateway.

pub mod auth;
pub mod clock;
pub mod config;
mod events;
mod failpoint;
mod net;
mod pairing;
pub mod problem;
mod random;
mod rate;
pub mod session;
mod start;
mod store;

pub use config::Config;
pub use pairing::Pairing;
pub use session::{Device, Session};
pub use start::StartError;
