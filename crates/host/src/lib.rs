//! Couplet's host: pairing, the device store, the HTTP API, authentication for axum apps, and the gateway.

pub mod clock;
pub mod config;
pub mod host;
pub mod problem;
mod random;
pub mod session;
pub mod telemetry;

pub use config::Config;
pub use host::{GatewayUrl, Host, Ready, StartError};
pub use session::{Device, Session};
