//! `couplet connect` and the client library: pairing, the forward that programs use, and what becomes of both when the way fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod browser;
mod by_pin;
mod forward;
mod git;
mod network;
mod pairing;
mod relay;
mod websocket;
