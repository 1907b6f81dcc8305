//! Programs of the system that know what no file says: whether a firewall lets a port pass, whether the clock is kept.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The most that is read of what it says, in bytes.
const MOST: u64 = 4 * 1024 * 1024;

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
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ran::Absent,
        Err(_) => return Ran::Refused,
    };
    let Some(stdout) = child.stdout.take() else { return Ran::Refused };
    let ran = async {
        let mut said = Vec::new();
        // One byte more tells that it is too much. Then, and when time runs out, the program is killed by its drop.
        stdout.take(MOST + 1).read_to_end(&mut said).await.ok()?;
        let is_whole = u64::try_from(said.len()).is_ok_and(|length| length <= MOST);
        (is_whole && child.wait().await.ok()?.success()).then_some(said)
    };
    match tokio::time::timeout(PATIENCE, ran).await {
        Ok(Some(said)) => Ran::Said(String::from_utf8_lossy(&said).into_owned()),
        _ => Ran::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_is_read_within_bounds() {
        assert_eq!(run("sh", &["-c", "echo yes"]).await, Ran::Said("yes\n".to_owned()));
        assert_eq!(run("sh", &["-c", "echo yes; exit 1"]).await, Ran::Refused);
        assert_eq!(run("no-such-program-of-couplet", &[]).await, Ran::Absent);
        let began = std::time::Instant::now();
        assert_eq!(run("sh", &["-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done"]).await, Ran::Refused);
        assert_eq!(run("sh", &["-c", "exec sleep 60"]).await, Ran::Refused);
        assert!(began.elapsed() < 4 * PATIENCE);
    }
}
