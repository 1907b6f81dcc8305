//! The dashboard in a real browser, beside a real host.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod browser;
mod doctor;
mod endings;
mod flows;
mod foreign;
mod keyboard;
mod login;
mod pins;
mod promised;
mod races;
mod sessions;
mod states;
mod watches;
