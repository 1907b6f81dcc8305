//! `couplet completions`.

use clap::CommandFactory;

use crate::args::Cli;
use crate::output;

/// Prints the completions for `shell`.
pub(super) fn run(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "couplet", &mut script);
    Ok(output::bytes(&script)?)
}
