//! `couplet relay`.

mod check;
mod control;
mod hosts;
mod invite;
mod serve;

use couplet_protocol::Code;

use super::Global;
use crate::args::{Relay, RelayCommand, RelayConfig, RelayConfigCommand};
use crate::config::{Environment, relay};
use crate::failure::Failure;

pub(super) use check::named;

/// Runs one of the commands.
pub(super) fn run(global: &Global, args: Relay) -> anyhow::Result<()> {
    match args.command {
        RelayCommand::Serve(args) => serve::run(global, &args),
        RelayCommand::Invite { span, json } => super::short(invite::run(global, span, json.json)),
        RelayCommand::Hosts(args) => super::short(hosts::run(global, args)),
        RelayCommand::Check(args) => super::short(check::run(&args)),
        RelayCommand::Config(RelayConfig { command: RelayConfigCommand::Show { settings, origin, json } }) => {
            let loaded = relay::load(global, &settings, &Environment::of_process()?)?;
            // What only `serve` needs, a certificate say, need not be there yet.
            let checked = loaded.config.limits.checked();
            checked.map_err(|error| Failure::of(Code::ConfigInvalid, format!("{error}.")))?;
            Ok(super::config::show(&loaded, origin, json.json)?)
        }
    }
}

/// The running relay on the state folder.
fn running(global: &Global) -> Result<control::Control, Failure> {
    Ok(control::Control::of(&relay::state_dir(global)?))
}
