//! Couplet's host: pairing, the device store, the HTTP API, authentication for axum apps, and the gateway.

pub mod auth;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod problem;
mod random;
pub mod session;

pub use config::Config;
pub use session::{Device, Session};
