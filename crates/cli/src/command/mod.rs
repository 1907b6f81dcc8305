//! One file for each command.

mod approve;
mod asked;
mod audit;
mod completions;
mod config;
mod connect;
mod dashboard;
mod devices;
mod doctor;
mod enroll;
mod explain;
mod man;
mod pair;
mod relay;
mod serve;

use crate::args::{Cli, Command};
use crate::client::Client;

pub(crate) use connect::{app_name, loopback};

/// What a command needs besides its own arguments.
type Global = crate::args::Global;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> anyhow::Result<()> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => serve::run(&global, &args),
        Command::Pair(args) => short(pair::run(&global, &args)),
        Command::Devices(args) => short(devices::run(&global, args)),
        Command::Dashboard(args) => short(dashboard::run(&global, args)),
        Command::Approve(args) => short(approve::approve(&global, &args)),
        Command::Reject(args) => short(approve::reject(&global, &args)),
        Command::Enroll(args) => short(enroll::run(&global, &args)),
        Command::Connect(args) => connect::run(&global, args),
        Command::Relay(args) => relay::run(&global, args),
        Command::Explain(args) => explain::run(&args),
        Command::Audit(args) => short(audit::run(&global, &args)),
        Command::Doctor(args) => short(doctor::run(&global, &args)),
        Command::Config(args) => config::run(&global, args.command),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { dir } => man::run(dir.as_deref()),
    }
}

/// Runs what waits for the network more than it computes: one thread is enough, and starts sooner.
fn short(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// The running host that the options name.
async fn client(global: &Global) -> anyhow::Result<Client> {
    Ok(Client::open(&crate::config::state_dir(global)?).await?)
}
