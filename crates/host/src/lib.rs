//! Couplet's host: pairing, the device store, the HTTP API, authentication for axum apps, and the gateway.
//!
//! [`Host`] is the whole of it, as `couplet serve` runs it. [`Pairing`] is the part that another axum app takes in:
//! [`Pairing::routes`], [`Pairing::require_device`], [`Pairing::serve`], and [`Device`] as an extractor.

pub mod auth;
pub mod clock;
pub mod config;
mod discovery;
pub mod doctor;
mod events;
mod failpoint;
pub mod gateway;
mod hasher;
mod host;
pub mod http;
mod library;
mod listen;
mod logins;
mod net;
mod pairing;
mod phone;
pub mod problem;
mod qr;
mod random;
mod rate;
mod relay;
pub mod session;
mod slots;
mod start;
mod store;
pub mod telemetry;
mod tunnel;
mod unsent;
mod until;

pub use config::Config;
pub use host::{GatewayUrl, Host, Ready};
pub use http::caller::DeviceSession;
pub use library::{RequireDevice, RequireDeviceService};
pub use pairing::Pairing;
pub use qr::{Qr, TooLong};
pub use relay::{Enrolled, enroll};
pub use session::{Device, Session};
pub use start::StartError;

/// Compiles and runs the README's Rust.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
