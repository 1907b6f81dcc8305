//! What is written down is true: the documentation, the promises and `make demo`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod demo;
mod documentation;
mod promises;
