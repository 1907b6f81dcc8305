//! The TypeScript SDK beside a real host, app and relay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod element;
mod scenarios;
