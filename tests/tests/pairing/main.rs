//! How a device is paired, looked after and revoked: by a code, a PIN or a key of its own, in the API and in the terminal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

mod cli;
mod cli_devices;
mod devices;
mod exchange;
mod nearby;
mod pins;
mod pins_crowd;
mod race;
mod watch_browser;
mod watches;
