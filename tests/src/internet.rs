//! A relay between two machines that share no network: each has a cable to it and to nothing else, unless a test leaves
//! the cable between the two in its place.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::host::PATIENCE;
use crate::{Forwarder, Machines, Network, Running, program};

/// The relay's address, which is its name as well.
pub const RELAY: &str = "10.77.0.1";
/// The host's address on its way to the relay.
pub const HOST: &str = "10.77.1.2";

/// The two machines, and a relay that both can reach. Dropping it ends and removes all of it.
#[derive(Debug)]
pub struct Internet {
    relay: Option<Running>,
    /// The host and the laptop.
    pub machines: Machines,
    network: Network,
    folder: TempDir,
    recorded: bool,
}

impl Internet {
    /// Sets the networks up; nothing runs yet. `name` is unique among the tests, and short. The cable between host and
    /// laptop is there, until [`Internet::part`].
    pub async fn new(name: &str) -> Self {
        let machines = Machines::new(name).await;
        let network = Network::new(&format!("{name}-relay")).await;
        network.ip(&format!("address add {RELAY}/32 dev lo")).await;
        for (number, end) in [machines.near(), machines.far()].into_iter().enumerate() {
            let net = format!("10.77.{}", number + 1);
            end.ip(&format!("link add wan0 type veth peer name wan{number} netns {}", network.name())).await;
            network.ip(&format!("address add {net}.1/24 dev wan{number}")).await;
            network.ip(&format!("link set wan{number} up")).await;
            end.ip(&format!("address add {net}.2/24 dev wan0")).await;
            end.ip("link set wan0 up").await;
            end.ip(&format!("route add default via {net}.1")).await;
        }
        // What the two say to each other passes the relay's program or nothing.
        let deaf = network.exec(program("bash").get_program(), &["-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]);
        Running::start(deaf).succeeds(PATIENCE).await;
        // As behind a router that forwards no port: what somebody out there opens is never answered. Ports from 32768 on
        // are those of the host's own connections, and nothing listens there.
        for protocol in ["tcp", "udp"] {
            let rule = format!("rule add to 10.77.0.0/16 ipproto {protocol} sport 1-32767 blackhole");
            machines.near().ip(&rule).await;
        }
        Internet { relay: None, machines, network, folder: tempfile::tempdir().unwrap(), recorded: false }
    }

    /// The same, with no cable between host and laptop, a relay that runs, and a host that is enrolled there and serves
    /// these.
    pub async fn apart(name: &str, serve: &[&str]) -> Self {
        let mut internet = Internet::new(name).await;
        internet.part().await;
        internet.start_relay().await;
        internet.enroll().await;
        internet.machines.serve(serve).await;
        internet
    }

    /// Takes the cable between host and laptop away.
    pub async fn part(&self) {
        self.machines.far().ip("link delete lan0").await;
    }

    /// Nothing goes from the laptop over the cable to the host any more, and neither notices a change of its network.
    pub async fn block(&self) {
        self.nft("table ip away { chain out { type filter hook output priority 0; oifname lan0 drop; }; }").await;
    }

    /// Takes [`Internet::block`] back.
    pub async fn unblock(&self) {
        self.nft("delete table ip away").await;
    }

    async fn nft(&self, rules: &str) {
        let nft = self.machines.far().exec("nft".as_ref(), &[rules]);
        Running::start(nft).succeeds(PATIENCE).await;
    }

    /// Gives the laptop a mobile network, which leads to the relay and nowhere else. It is not there until
    /// [`Internet::leave_home`].
    pub async fn subscribe(&self) {
        let far = self.machines.far();
        far.ip(&format!("link add cell0 type veth peer name cell0 netns {}", self.network.name())).await;
        self.network.ip("address add 10.78.0.1/24 dev cell0").await;
        self.network.ip("link set cell0 up").await;
        far.ip("address add 10.78.0.2/24 dev cell0").await;
    }

    /// The laptop leaves the Wi-Fi, with its way to the host and to the relay, and is in its mobile network.
    pub async fn leave_home(&self) {
        self.roam(&["lan0", "wan0"], &["cell0"], "10.78.0.1").await;
    }

    /// It comes back.
    pub async fn come_home(&self) {
        self.roam(&["cell0"], &["lan0", "wan0"], "10.77.2.1").await;
    }

    async fn roam(&self, from: &[&str], to: &[&str], router: &str) {
        let far = self.machines.far();
        for (links, state) in [(from, "down"), (to, "up")] {
            for link in links {
                far.ip(&format!("link set {link} {state}")).await;
            }
        }
        far.ip(&format!("route add default via {router}")).await;
    }

    /// Has the relay keep everything that it reads and writes inside TLS, in [`Internet::recording`]. Needs a binary with
    /// the feature `failpoints`.
    pub fn record(&mut self) {
        self.recorded = true;
        std::fs::create_dir_all(self.recording()).unwrap();
    }

    /// Where that is.
    #[must_use]
    pub fn recording(&self) -> PathBuf {
        self.folder.path().join("recording")
    }

    /// Starts the relay, or starts it again, and waits until it is ready.
    pub async fn start_relay(&mut self) {
        self.relay = Some(self.another_relay(None).await);
    }

    /// A relay, once it is ready. It ends as by a power cut after so many steps: see `couplet_relay::failpoint`, which
    /// needs a binary with the feature `failpoints`.
    pub async fn another_relay(&self, steps: Option<usize>) -> Running {
        let listen = [format!("{RELAY}:443"), format!("{RELAY}:8443")];
        let args = ["serve", "--dev", "--name", RELAY, "--listen", &listen[0], "--hosts-listen", &listen[1], "--json"];
        let mut command = self.operator(&args);
        command.env("COUPLET_LOG", "couplet=debug");
        if self.recorded {
            command.env("COUPLET_RELAY_RECORDING", self.recording());
        }
        if let Some(steps) = steps {
            command.env("COUPLET_RELAY_STEPS", steps.to_string());
        }
        let relay = Running::start(command);
        relay.wait_for_line(PATIENCE, |line| line.contains("\"ready\"")).await;
        relay
    }

    /// Ends it as a power cut would.
    pub async fn kill_relay(&mut self) {
        self.relay().kill().await;
    }

    /// The relay's process.
    pub fn relay(&mut self) -> &mut Running {
        self.relay.as_mut().expect("it was started")
    }

    /// The relay's network, in which every address of 127.0.0.0/8 is a source of its own.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// `couplet relay` with these arguments, run by the relay's operator.
    fn operator(&self, args: &[&str]) -> std::process::Command {
        let args = [&["relay"], args].concat();
        let mut command = self.network.exec(program::couplet_path().as_os_str(), &args);
        command.arg("--state-dir").arg(self.state()).env("HOME", self.folder.path());
        command
    }

    /// Where the relay keeps what outlives it.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The certificate of the relay's CA, which neither machine trusts by itself.
    #[must_use]
    pub fn ca(&self) -> String {
        path(&self.state().join("ca.pem"))
    }

    /// Invites the host, which enrols.
    pub async fn enroll(&self) {
        let token = Running::start(self.operator(&["invite"])).succeeds(PATIENCE).await;
        let enroll = self.machines.owner(&["enroll", token.trim(), "--relay-ca", &self.ca()]);
        Running::start(enroll).succeeds(PATIENCE).await;
    }

    /// Pairs the laptop by link and check code through the relay, and waits until it is connected, at port 7890.
    pub async fn pair(&self) -> Forwarder {
        let mut forwarder = self.machines.pair_with(|args| self.connect(args)).await;
        forwarder.state("relay").await;
        forwarder
    }

    /// `couplet connect` with these arguments on the laptop, at port 7890.
    #[must_use]
    pub fn connect(&self, args: &[&str]) -> Running {
        self.machines.connect(&[args, &["--relay-ca", &self.ca()]].concat())
    }

    /// Whether the host's pairing listener at [`HOST`] answers who is in this network.
    pub async fn host_answers(&self, from: &Network) -> bool {
        let curl = program::path().join("curl");
        let url = format!("http://{HOST}:7878/livez");
        let mut curl = Running::start(from.exec(curl.as_os_str(), &["-q", "-sSf", "--max-time", "2", &url]));
        curl.wait(PATIENCE).await.success()
    }

    /// How many connections the host has with the relay.
    pub async fn connections_of_host(&self) -> usize {
        let ss =
            self.machines.near().exec(program("ss").get_program(), &["-Htn", "state", "established", "dst", RELAY]);
        Running::start(ss).succeeds(PATIENCE).await.lines().count()
    }

    /// Revokes a host at the relay.
    pub async fn revoke(&self, id: &str) {
        Running::start(self.operator(&["hosts", "revoke", id, "--yes"])).succeeds(PATIENCE).await;
    }

    /// What the relay has of its hosts.
    pub async fn hosts(&self) -> Value {
        let listed = Running::start(self.operator(&["hosts", "list", "--json"])).succeeds(PATIENCE).await;
        serde_json::from_str(&listed).unwrap()
    }
}

fn path(path: &Path) -> String {
    path.to_str().expect("tests have plain paths").to_owned()
}
