//! Programs of the system that know what no file says: whether a firewall lets a port pass, whether the clock is kept.

use std::process::Stdio;
use std::time::Duration;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The most that is read of what it says, in bytes.
const MOST: usize = 4 * 1024 * 1024;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// It said this, and ended well.
    Said(String),
    /// It ended badly: without the right to look, say.
    Refused,
    /// There is no such program.
    Absent,
}

/// Runs a program that only looks.
pub(super) async fn run(name: &str, args: &[&str]) -> Ran {
    #[expect(clippy::disallowed_methods, reason = "the lint is for tests; these are the system's own programs")]
    let mut command = tokio::process::Command::new(name);
    command.args(args).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() && output.stdout.len() <= MOST => {
            Ran::Said(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ran::Absent,
        _ => Ran::Refused,
    }
}
