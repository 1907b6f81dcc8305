//! The relay between a real host and real devices: what it carries, what it sees, and what it cannot do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod accounts;
mod certificates;
mod cli;
mod faults;
mod host;
mod killed;
mod network;
mod replays;
mod rooms;
mod sees;
mod siege;
mod signed_in;
