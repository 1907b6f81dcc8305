//! The sealed session: the handshake, HTTP inside it, and what hostile bytes do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod breaks;
mod crash;
mod flood;
mod handshake;
mod hostile;
mod http;
mod pairing;
mod sessions;
