//! The client beside hosts and relays that are made up here, honest and evil.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod evil_relay;
mod pairing;
mod reconnecting;
mod relayed;
mod relaying;
mod responder;
mod round_trips;
mod sealed;
mod store;
