//! `couplet`: the one binary. Runs the host, and speaks with a running one for its owner.

mod args;
mod client;
mod command;
mod config;
mod failure;
mod nearest;
mod output;
mod qr;
mod select;
mod signals;
mod table;
mod terminal;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    if std::env::var_os("COUPLET_UNSEALED").is_some() {
        couplet_protocol::session::UNSEALED.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    match command::run(args::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // `couplet devices | head -1` is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error)),
    }
}

/// Says what went wrong, and returns the exit code.
fn report(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Failure>() {
        Some(failure) => {
            if !failure.title.is_empty() {
                output::message(&format!("error: {failure}"));
            }
            failure.exit as u8
        }
        None => {
            output::message(&format!("error: {error:#}"));
            failure::Exit::Failure as u8
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    error.chain().any(of_io)
}
