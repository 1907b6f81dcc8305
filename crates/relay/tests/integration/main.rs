//! The relay beside hosts and devices that know no session: what it takes, what it refuses, and under which load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
mod crowd;
mod doors;
mod floods;
mod hostile;
mod hosts;
mod sessions;
