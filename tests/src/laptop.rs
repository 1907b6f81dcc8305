//! A machine that is a device: `couplet connect`, with a home of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::host::{Caller, PATIENCE};
use crate::program::couplet;
use crate::{Running, TestHost};

/// A laptop. Its credentials are in a folder of its own, which vanishes with it.
#[derive(Debug)]
pub struct Laptop {
    home: TempDir,
}

/// A running `couplet connect --json`. Dropping it kills it.
#[derive(Debug)]
pub struct Forwarder {
    /// The process.
    pub running: Running,
    ready: Value,
    /// How many lines of its output were looked at for a state.
    read: usize,
}

impl Laptop {
    /// A new one, that is paired with nobody.
    #[must_use]
    pub fn new() -> Self {
        Laptop { home: tempfile::tempdir().unwrap() }
    }

    /// `couplet connect` with these arguments.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = couplet();
        command.arg("connect").args(args);
        self.at_home(&mut command);
        command
    }

    /// Makes a command one of this laptop.
    pub fn at_home(&self, command: &mut Command) {
        let home = self.home.path();
        command
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home)
            .current_dir(home);
    }

    /// Where its credentials are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.home.path().join("data/couplet/hosts")
    }

    /// Runs `couplet connect` to its end: exit code, stdout, stderr.
    pub async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut running = Running::start(self.command(args));
        let status = running.wait(PATIENCE).await;
        running.stdout.end(PATIENCE).await;
        running.stderr.end(PATIENCE).await;
        (status.code().expect("no signal"), running.stdout.text(), running.stderr.text())
    }

    /// Starts `couplet connect --json` on a free port and waits until it is ready.
    pub async fn connect(&self, args: &[&str]) -> Forwarder {
        Forwarder::ready(Running::start(self.command(&[args, &["--json", "--listen", "127.0.0.1:0"]].concat()))).await
    }

    /// Starts `couplet connect --json` at the app's own address and waits until it is ready.
    pub async fn connect_at_its_own(&self, args: &[&str]) -> Forwarder {
        Forwarder::ready(Running::start(self.command(&[args, &["--json"]].concat()))).await
    }

    /// Pairs with a host that asks nobody, and stays connected.
    pub async fn pair(&self, host: &TestHost) -> Forwarder {
        let mut forwarder = self.connect(&[&host.generate().await.link]).await;
        forwarder.state("direct").await;
        forwarder
    }
}

impl Default for Laptop {
    fn default() -> Self {
        Laptop::new()
    }
}

impl Forwarder {
    /// Waits until it is ready.
    pub async fn ready(running: Running) -> Self {
        let is_ready = |line: &str| parse(line).is_some_and(|line| line["event"] == "ready");
        let ready = running.wait_for_line(PATIENCE, is_ready).await;
        Forwarder { running, ready: parse(&ready).expect("it has just been read"), read: 0 }
    }

    /// `http://address:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.ready["url"].as_str().expect("the ready line names the address")
    }

    /// The ready line.
    #[must_use]
    pub fn line(&self) -> &Value {
        &self.ready
    }

    /// Calls the app as a program of this laptop does, without a credential.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::new(self.url(), None)
    }

    /// Waits for the next line that tells this state, behind the last one that was waited for.
    pub async fn state(&mut self, name: &str) -> Value {
        self.told(name, |state| state == name).await
    }

    /// Waits for the next line that tells of a session, direct or through a relay.
    pub async fn online(&mut self) -> Value {
        self.told("online", |state| state == "direct" || state == "relay").await
    }

    async fn told(&mut self, name: &str, is_it: impl Fn(&str) -> bool) -> Value {
        let tells = |line: &str| {
            let line = parse(line).filter(|line| line["event"] == "state");
            line.is_some_and(|line| line["state"].as_str().is_some_and(&is_it))
        };
        match self.running.stdout.wait_from(self.read, 2 * PATIENCE, tells).await {
            Some((number, line)) => {
                self.read = number + 1;
                parse(&line).expect("it has just been read")
            }
            None => panic!("it was never {name}\n{}", self.running.written()),
        }
    }

    /// The device's id at the host, where it has just been paired.
    #[must_use]
    pub fn device_id(&self) -> String {
        let text = self.running.stdout.text();
        let paired = text.lines().filter_map(parse).find(|line| line["event"] == "device.paired");
        paired.expect("it was paired by this very process")["device_id"].as_str().unwrap().to_owned()
    }

    /// Ends it with SIGTERM, and expects exit code 0.
    pub async fn stop(mut self) {
        self.running.signal("TERM");
        let status = self.running.wait(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "{}", self.running.written());
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

/// What `curl` is told so that it neither reads a configuration nor stays silent about failures.
#[must_use]
pub fn curl(args: &[&str]) -> Command {
    let mut curl = crate::program("curl");
    curl.args(["-q", "-sS", "--noproxy", "*"].map(OsString::from)).args(args);
    curl
}
