//! A program that runs: its lines are kept as they come, every wait is bounded, and dropping it ends the program
//! and everything that it started.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::watch;

/// A program that runs, in a process group of its own.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: u32,
    /// What it reads, when somebody types.
    stdin: Option<ChildStdin>,
    /// What it has written to its standard output.
    pub stdout: Lines,
    /// What it has written to its standard error.
    pub stderr: Lines,
}

impl Running {
    /// Starts it, with nothing to read.
    #[must_use]
    pub fn start(command: Command) -> Self {
        Self::start_reading(command, Stdio::null())
    }

    /// Starts it with somebody who types ([`Self::type_line`]).
    #[must_use]
    pub fn start_typing(command: Command) -> Self {
        Self::start_reading(command, Stdio::piped())
    }

    fn start_reading(mut command: Command, stdin: Stdio) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let pid = child.id().expect("it has just started");
        // Waiting for its end would close it.
        let stdin = child.stdin.take();
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        Running { name, child, pid, stdin, stdout, stderr }
    }

    /// Types a line.
    pub async fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was started with somebody who types");
        stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The most memory that it has had resident so far, in KiB.
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells the peak");
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends it a signal: `TERM`, `INT`, `WINCH`.
    pub fn signal(&self, signal: &str) {
        send(signal, &self.pid.to_string());
    }

    /// Kills it as a power cut would: no handler runs. What it started itself lives on until the drop.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end.
    pub async fn wait(&mut self, timeout: Duration) -> ExitStatus {
        match tokio::time::timeout(timeout, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{} still runs after {timeout:?}\n{}", self.name, self.written()),
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end and for all that it wrote. Panics unless it ended well.
    pub async fn succeeds(&mut self, timeout: Duration) -> String {
        let status = self.wait(timeout).await;
        self.stdout.end(timeout).await;
        self.stderr.end(timeout).await;
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.written());
        self.stdout.text()
    }

    /// Waits for its end and for all that it wrote: exit code, standard output, standard error.
    pub async fn ended(&mut self, timeout: Duration) -> (i32, String, String) {
        let status = self.wait(timeout).await;
        self.stdout.end(timeout).await;
        self.stderr.end(timeout).await;
        let code = status.code().unwrap_or_else(|| panic!("{} was ended by a signal\n{}", self.name, self.written()));
        (code, self.stdout.text(), self.stderr.text())
    }

    /// Waits for a line on its standard output.
    pub async fn wait_for_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> String {
        match self.stdout.wait_for(timeout, wanted).await {
            Some(line) => line,
            None => panic!("{} did not print the line within {timeout:?}\n{}", self.name, self.written()),
        }
    }

    /// Waits for a line on its standard error.
    pub async fn wait_for_error_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> String {
        match self.stderr.wait_for(timeout, wanted).await {
            Some(line) => line,
            None => panic!("{} did not report the line within {timeout:?}\n{}", self.name, self.written()),
        }
    }

    /// Everything that it wrote so far, for a person.
    #[must_use]
    pub fn written(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}---", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group, so that nothing that a script started outlives the test.
        send("KILL", &format!("-{}", self.pid));
    }
}

fn send(signal: &str, target: &str) {
    // Fails when nothing is left to signal, which is as well.
    let _ = crate::program("kill").args(["-s", signal, "--", target]).output();
}

/// The lines of one stream, growing.
#[derive(Clone, Debug)]
pub struct Lines(watch::Receiver<Captured>);

#[derive(Debug, Default)]
struct Captured {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(Captured::default());
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).await.is_ok_and(|n| n > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
                sender.send_modify(|captured| captured.lines.push(line));
                bytes.clear();
            }
            sender.send_modify(|captured| captured.ended = true);
        });
        Lines(receiver)
    }

    /// The first line, of those written and those to come, that is wanted; `None` when the stream ends or time runs out.
    pub async fn wait_for(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        self.wait_from(0, timeout, wanted).await.map(|(_, line)| line)
    }

    /// The same, leaving out the lines before number `start`; with the number of the line.
    pub async fn wait_from(
        &self,
        start: usize,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(usize, String)> {
        let found =
            |captured: &Captured| (start..captured.lines.len()).find(|number| wanted(captured.lines[*number].as_str()));
        let mut receiver = self.0.clone();
        let seen = receiver.wait_for(|captured| captured.ended || found(captured).is_some());
        let captured = tokio::time::timeout(timeout, seen).await.ok()?.ok()?;
        let number = found(&captured)?;
        Some((number, captured.lines[number].clone()))
    }

    /// Waits until the stream has ended.
    pub async fn end(&self, timeout: Duration) {
        let mut receiver = self.0.clone();
        let _ = tokio::time::timeout(timeout, receiver.wait_for(|captured| captured.ended)).await;
    }

    /// How many lines there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().lines.len()
    }

    /// The lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.borrow().lines.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn bash(script: &str) -> Running {
        let mut command = crate::program("bash");
        command.args(["-c", script]);
        Running::start(command)
    }

    #[tokio::test]
    async fn lines_are_kept_and_waited_for() {
        let mut child = bash("echo one; echo bad >&2; sleep 0.1; echo two; exec sleep 60");
        assert_eq!(child.wait_for_line(SOON, |line| line.starts_with("tw")).await, "two");
        assert_eq!(child.wait_for_line(SOON, |line| line == "one").await, "one");
        assert_eq!(child.wait_for_error_line(SOON, |_| true).await, "bad");
        assert_eq!((child.stdout.text().as_str(), child.stdout.count()), ("one\ntwo\n", 2));
        assert_eq!(child.stdout.wait_from(1, SOON, |_| true).await.unwrap(), (1, "two".to_owned()));
        child.signal("TERM");
        assert!(!child.wait(SOON).await.success());
    }

    #[tokio::test]
    async fn a_wait_ends_with_time_and_with_the_stream() {
        let child = bash("echo one");
        assert_eq!(child.stdout.wait_for(SOON, |line| line == "never").await, None);
        let child = bash("exec sleep 60");
        assert_eq!(child.stdout.wait_for(Duration::from_millis(50), |_| true).await, None);
    }

    #[tokio::test]
    async fn what_a_script_started_ends_with_it() {
        let child = bash("sleep 60 & echo $!; wait");
        let grandchild = child.wait_for_line(SOON, |_| true).await;
        let alive = format!("/proc/{grandchild}/status");
        let runs = || std::fs::read_to_string(&alive).is_ok_and(|status| !status.contains("State:\tZ"));
        assert!(runs());
        drop(child);
        crate::eventually("the grandchild ends", SOON, async || !runs()).await;
    }
}
