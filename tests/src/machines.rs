//! A host and a laptop on two machines, as far as the kernel is concerned: each has a network of its own, and there is
//! a cable between the two.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::host::{PATIENCE, clock_file, set_clock, with_clock};
use crate::{Forwarder, Laptop, Network, Running, program};

/// The host's address at the cable.
pub const HOST: &str = "192.168.77.5";
/// The laptop's.
const LAPTOP: &str = "192.168.77.6";

/// Two machines and their cable. Dropping them ends the host and removes the networks.
#[derive(Debug)]
pub struct Machines {
    host: Option<Running>,
    near: Network,
    far: Network,
    folder: TempDir,
    laptop: Laptop,
    unsealed: bool,
}

impl Machines {
    /// Sets them up; nothing runs yet. `name` is unique among the tests, and short.
    pub async fn new(name: &str) -> Self {
        let near = Network::new(&format!("{name}-host")).await;
        let far = Network::new(&format!("{name}-laptop")).await;
        near.ip(&format!("link add lan0 type veth peer name lan0 netns {}", far.name())).await;
        for (network, address) in [(&near, HOST), (&far, LAPTOP)] {
            network.ip(&format!("address add {address}/24 dev lan0")).await;
            network.ip("link set lan0 up").await;
        }
        let (folder, laptop) = (tempfile::tempdir().unwrap(), Laptop::new());
        Machines { host: None, near, far, folder, laptop, unsealed: false }
    }

    /// Has all that is started from now on leave the sealing out. Needs a binary with the feature `failpoints`.
    pub fn unseal(&mut self) {
        self.unsealed = true;
    }

    /// Starts `couplet serve` with these arguments on the host, which asks for every pairing, and waits until it is
    /// ready.
    pub async fn serve(&mut self, args: &[&str]) {
        self.serve_unasked(&[args, &["--approve", "always"]].concat()).await;
    }

    /// The same, and these arguments say when it asks.
    pub async fn serve_unasked(&mut self, args: &[&str]) {
        let mut serve = self.owner(&[&["serve"], args, &["--json"]].concat());
        if clock_file(self.folder()).exists() {
            with_clock(&mut serve, self.folder());
        }
        let host = Running::start(serve);
        host.wait_for_line(PATIENCE, |line| line.contains("\"ready\"")).await;
        self.host = Some(host);
    }

    /// Sets the host's wall clock off by so much from the machine's (`+90`). What runs already must have been started
    /// behind such a call.
    pub fn set_clock(&self, offset: &str) {
        set_clock(self.folder(), offset);
    }

    /// The host's process.
    #[must_use]
    pub fn host(&self) -> &Running {
        self.host.as_ref().expect("it was started")
    }

    /// Ends the host as a power cut would.
    pub async fn kill_host(&mut self) {
        self.host.as_mut().expect("it was started").kill().await;
    }

    /// The host's network.
    #[must_use]
    pub fn near(&self) -> &Network {
        &self.near
    }

    /// The laptop's network.
    #[must_use]
    pub fn far(&self) -> &Network {
        &self.far
    }

    /// The laptop's credentials.
    #[must_use]
    pub fn laptop(&self) -> &Laptop {
        &self.laptop
    }

    /// Another laptop takes its place.
    pub fn replace_laptop(&mut self) {
        self.laptop = Laptop::new();
    }

    /// A folder on the host, which vanishes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `couplet` with these arguments, run by the host's owner on the host.
    #[must_use]
    pub fn owner(&self, args: &[&str]) -> Command {
        let mut command = self.near.exec(program::couplet_path().as_os_str(), args);
        let home = self.folder.path();
        command.arg("--state-dir").arg(home.join("state")).env("HOME", home).env("XDG_CONFIG_HOME", home);
        self.seal(command)
    }

    fn seal(&self, mut command: Command) -> Command {
        if self.unsealed {
            command.env("COUPLET_UNSEALED", "1");
        }
        command
    }

    /// `couplet connect` with these arguments on the laptop, at port 7890.
    #[must_use]
    pub fn connect(&self, args: &[&str]) -> Running {
        self.connect_at_its_own(&[args, &["--listen", "127.0.0.1:7890"]].concat())
    }

    fn connect_at_its_own(&self, args: &[&str]) -> Running {
        Running::start(self.device(&[args, &["--json"]].concat()))
    }

    /// `couplet connect` with just these arguments on the laptop.
    #[must_use]
    pub fn device(&self, args: &[&str]) -> Command {
        let mut command = self.far.exec(program::couplet_path().as_os_str(), &[&["connect"], args].concat());
        self.laptop.at_home(&mut command);
        self.seal(command)
    }

    /// Pairs the laptop as `Laptop`, with the code that it shows, and waits until it is connected, at port 7890.
    pub async fn pair(&self) -> Forwarder {
        let mut forwarder = self.pair_with(|args| self.connect(args)).await;
        forwarder.state("direct").await;
        forwarder
    }

    /// The same, at the app's own address.
    pub async fn pair_at_its_own(&self) -> Forwarder {
        let mut forwarder = self.pair_with(|args| self.connect_at_its_own(args)).await;
        forwarder.state("direct").await;
        forwarder
    }

    /// Pairs the laptop as `Laptop`, with the code that it shows, by what this starts.
    pub async fn pair_with(&self, connect: impl Fn(&[&str]) -> Running) -> Forwarder {
        let (_pair, link) = self.link().await;
        self.pair_by(&link, connect).await
    }

    /// A link, which is good while `couplet pair` runs.
    pub async fn link(&self) -> (Running, String) {
        let pair = Running::start(self.owner(&["pair", "--no-input"]));
        let is_link = |line: &str| line.starts_with("COUPLET:") || line.starts_with("HTTPS:");
        let link = pair.wait_for_line(PATIENCE, is_link).await;
        (pair, link)
    }

    /// Pairs the laptop by this link.
    pub async fn pair_by(&self, link: &str, connect: impl Fn(&[&str]) -> Running) -> Forwarder {
        let connect = connect(&[link, "--name", "Laptop"]);
        let line = connect.wait_for_line(PATIENCE, |line| line.contains("check_code")).await;
        let code = serde_json::from_str::<Value>(&line).unwrap()["check_code"].as_str().unwrap().to_owned();
        Running::start(self.owner(&["approve", "Laptop", &code])).succeeds(PATIENCE).await;
        Forwarder::ready(connect).await
    }

    /// Pulls the cable.
    pub async fn cut(&self) {
        self.near.ip("link set lan0 down").await;
    }

    /// Plugs it in again.
    pub async fn mend(&self) {
        self.near.ip("link set lan0 up").await;
    }
}
