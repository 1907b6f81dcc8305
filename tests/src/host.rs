//! The real `couplet serve`, with a state folder of its own, on free ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use couplet_protocol::api::{DeviceCredential, GenerateAnswer};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::couplet;
use crate::{Running, eventually};

/// How long a start, a stop or an event may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How a host is started. [`TestHost::start`] hands it to the test to be changed.
#[derive(Debug, Default)]
pub struct Setup {
    apps: Vec<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    clock: Option<String>,
    state_dir: Option<PathBuf>,
}

impl Setup {
    /// Puts an app behind the gateway: `http://127.0.0.1:3000`, or `wiki=http://127.0.0.1:3000`.
    pub fn app(&mut self, app: impl Into<String>) -> &mut Self {
        self.apps.push(app.into());
        self
    }

    /// Adds an argument to `couplet serve`.
    pub fn arg(&mut self, arg: impl Into<String>) -> &mut Self {
        self.args.push(arg.into());
        self
    }

    /// Sets an environment variable: `COUPLET_APPROVE`, `RUST_LOG`.
    pub fn env(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Parks the thread that reaches this point, for ever; wait for it with [`TestHost::failpoint`], then
    /// [`TestHost::kill`]. Needs a binary with the feature `failpoints`.
    pub fn failpoint(&mut self, name: &str) -> &mut Self {
        self.env("COUPLET_FAILPOINT", name)
    }

    /// Keeps the state in this folder instead of one of its own.
    pub fn state_dir(&mut self, folder: impl Into<PathBuf>) -> &mut Self {
        self.state_dir = Some(folder.into());
        self
    }

    /// Lets [`TestHost::set_clock`] move the host's wall clock. Its steady clock goes on as it is.
    pub fn movable_clock(&mut self) -> &mut Self {
        self.clock("+0")
    }

    /// The same, and it is off by so much already when the host starts.
    pub fn clock(&mut self, offset: &str) -> &mut Self {
        self.clock = Some(offset.to_owned());
        self
    }
}

/// A running host. Dropping it kills it and removes its state folder.
#[derive(Debug)]
pub struct TestHost {
    setup: Setup,
    folder: TempDir,
    running: Running,
    ready: Value,
}

impl TestHost {
    /// Starts one and waits until it accepts connections.
    pub async fn start(configure: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        configure(&mut setup);
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(command(&setup, folder.path()));
        let ready = ready(&running).await;
        TestHost { setup, folder, running, ready }
    }

    /// Starts it again on the same state folder, stopping it first when it still runs. The ports are new.
    pub async fn restart(&mut self) {
        if !self.running.has_ended() {
            self.stop().await;
        }
        self.running = Running::start(command(&self.setup, self.folder.path()));
        self.ready = ready(&self.running).await;
    }

    /// The same, started in another way.
    pub async fn restart_with(&mut self, configure: impl FnOnce(&mut Setup)) {
        configure(&mut self.setup);
        self.restart().await;
    }

    /// Asks it to stop (SIGTERM), and expects exit code 0.
    pub async fn stop(&mut self) {
        self.running.signal("TERM");
        let status = self.running.wait(PATIENCE).await;
        assert_eq!(status.code(), Some(0), "the host did not stop in good order\n{}", self.running.written());
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Waits until the host stands at the point of [`Setup::failpoint`].
    pub async fn failpoint(&self, name: &str) {
        let line = format!("failpoint reached: {name}");
        self.running.wait_for_error_line(PATIENCE, |written| written == line).await;
    }

    /// No failpoint at the next start.
    pub fn without_failpoint(&mut self) {
        self.setup.env.remove("COUPLET_FAILPOINT");
    }

    /// Sets the wall clock off by so much from the machine's: `+90`, `-1d`, `+0`. Needs [`Setup::movable_clock`].
    pub fn set_clock(&self, offset: &str) {
        assert!(self.setup.clock.is_some(), "ask for movable_clock() at the start");
        set_clock(self.folder.path(), offset);
    }

    /// `http://127.0.0.1:port` of the pairing listener.
    #[must_use]
    pub fn pairing_url(&self) -> &str {
        self.ready["pairing"][0].as_str().expect("the ready line names a pairing address")
    }

    /// `http://127.0.0.1:port` of the app's gateway; an app without a name is called `app`.
    #[must_use]
    pub fn gateway_url(&self, name: &str) -> &str {
        let gateways = self.ready["gateway"].as_array().expect("the ready line names the gateways");
        let gateway = gateways.iter().find(|gateway| gateway["name"] == name);
        gateway
            .and_then(|gateway| gateway["url"].as_str())
            .unwrap_or_else(|| panic!("no gateway {name}: {}", self.ready))
    }

    /// The ready line.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        state_dir(&self.setup, self.folder.path())
    }

    /// A command of its owner on the same machine: `couplet pair`. Its clock is the host's.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = couplet();
        command.args(args).arg("--state-dir").arg(self.state_dir());
        at_home(&mut command, &self.setup, self.folder.path());
        command
    }

    /// The owner's token.
    #[must_use]
    pub fn admin_token(&self) -> String {
        std::fs::read_to_string(self.state_dir().join("admin-token")).unwrap().trim().to_owned()
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn logs(&self) -> String {
        self.running.stderr.text()
    }

    /// What it has printed so far: the ready line and the events.
    #[must_use]
    pub fn printed(&self) -> String {
        self.running.stdout.text()
    }

    /// Waits for the first event of this kind, such as `device.paired`, that `wanted` accepts.
    pub async fn event(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
        let is_it = |line: &str| parse(line).is_some_and(|event| event["event"] == kind && wanted(&event));
        parse(&self.running.wait_for_line(PATIENCE, is_it).await).expect("it has just been read")
    }

    /// Calls the pairing listener as its owner.
    #[must_use]
    pub fn owner(&self) -> Caller {
        Caller::new(self.pairing_url(), Some(&self.admin_token()))
    }

    /// Calls the pairing listener as a device.
    #[must_use]
    pub fn device(&self, token: &str) -> Caller {
        Caller::new(self.pairing_url(), Some(token))
    }

    /// Calls the pairing listener without a credential.
    #[must_use]
    pub fn anyone(&self) -> Caller {
        Caller::new(self.pairing_url(), None)
    }

    /// Calls an app through its gateway as a device.
    #[must_use]
    pub fn through_gateway(&self, app: &str, token: Option<&str>) -> Caller {
        Caller::new(self.gateway_url(app), token)
    }

    /// Opens a pairing offer, as `couplet pair` does. The host allows five a minute.
    pub async fn generate(&self) -> GenerateAnswer {
        self.owner().expect(Method::POST, "/api/pair/generate", 200, None).await
    }

    /// Pairs a device by token and exchange, as a phone does.
    pub async fn pair_device(&self, name: &str) -> DeviceCredential {
        let offer = self.generate().await;
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": name });
        self.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await
    }

    /// Adds a device by the owner's pre-fill, of which there is no limit in a minute.
    pub async fn add_device(&self, name: &str) -> DeviceCredential {
        self.owner().expect(Method::POST, "/api/pair/devices", 200, Some(json!({ "device_name": name }))).await
    }

    /// Revokes a device.
    pub async fn revoke(&self, credential: &DeviceCredential) {
        let path = format!("/api/pair/devices/{}", credential.device_id);
        let answer = self.owner().delete(&path).send().await.unwrap();
        assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
    }

    /// The most memory that the host has had resident so far, in KiB.
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        self.running.peak_memory_kib()
    }
}

/// Who calls what: a client with a base URL and a credential.
#[derive(Clone, Debug)]
pub struct Caller {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Caller {
    /// Calls `base` with this bearer credential. Neither proxies nor redirects are followed.
    #[must_use]
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .read_timeout(2 * PATIENCE);
        Caller {
            http: http.build().unwrap(),
            base: base.trim_end_matches('/').to_owned(),
            token: token.map(str::to_owned),
        }
    }

    /// A request for a path.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// `POST`, with a JSON body added by `.json(…)`.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// `PATCH`.
    pub fn patch(&self, path: &str) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// Sends a request, expects this status and reads the JSON answer.
    pub async fn expect<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        status: u16,
        body: Option<Value>,
    ) -> T {
        let request = self.request(method.clone(), path);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let answer = request.send().await.unwrap();
        let (got, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(got, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{method} {path}: {error}: {text}"))
    }
}

fn state_dir(setup: &Setup, folder: &Path) -> PathBuf {
    setup.state_dir.clone().unwrap_or_else(|| folder.join("state"))
}

fn command(setup: &Setup, folder: &Path) -> Command {
    let mut command = couplet();
    command.arg("serve").args(&setup.apps).args(["--json", "--no-input", "--listen", "127.0.0.1:0", "--state-dir"]);
    command.arg(state_dir(setup, folder));
    for _ in &setup.apps {
        command.args(["--gateway", "127.0.0.1:0"]);
    }
    command.args(&setup.args);
    at_home(&mut command, setup, folder);
    command.envs(&setup.env);
    command
}

/// Nothing of the developer's own configuration counts, and the clock is the test's.
fn at_home(command: &mut Command, setup: &Setup, folder: &Path) {
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder).env("XDG_STATE_HOME", folder).current_dir(folder);
    if let Some(offset) = &setup.clock {
        if !clock_file(folder).exists() {
            set_clock(folder, offset);
        }
        with_clock(command, folder);
    }
}

/// The program's clock is wrong by as much as `offset` says (`-5m`), as long as it runs. `folder` is the test's.
pub fn with_wrong_clock(command: &mut Command, folder: &Path, offset: &str) {
    set_clock(folder, offset);
    with_clock(command, folder);
}

pub(crate) fn with_clock(command: &mut Command, folder: &Path) {
    command.env("LD_PRELOAD", faketime_library()).env("FAKETIME_TIMESTAMP_FILE", clock_file(folder));
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
}

async fn ready(running: &Running) -> Value {
    let line = running.wait_for_line(PATIENCE, |_| true).await;
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("not a ready line ({error}): {line}"));
    assert_eq!(ready["event"], "ready", "the first line must say that the host is ready");
    ready
}

pub(crate) fn clock_file(folder: &Path) -> PathBuf {
    folder.join("clock")
}

pub(crate) fn set_clock(folder: &Path, offset: &str) {
    let draft = folder.join("clock.new");
    std::fs::write(&draft, format!("{offset}\n")).unwrap();
    std::fs::rename(draft, clock_file(folder)).unwrap();
}

/// The library that the program `faketime` loads into others.
fn faketime_library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().map(|place| place.unwrap().path());
    let library = places.map(|place| place.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file());
    library.expect("libfaketime is missing: run scripts/install-deps")
}

/// Waits until something accepts connections there.
pub async fn listens(address: &str) {
    eventually(&format!("{address} accepts connections"), PATIENCE, async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program;

    #[tokio::test]
    async fn the_clock_of_a_program_can_be_moved_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let year = async || {
            let mut date = program("date");
            date.args(["-u", "+%Y"]).env("LD_PRELOAD", faketime_library());
            date.env("FAKETIME_TIMESTAMP_FILE", clock_file(folder.path())).env("FAKETIME_NO_CACHE", "1");
            Running::start(date).succeeds(PATIENCE).await.trim().parse::<u32>().unwrap()
        };
        set_clock(folder.path(), "+0");
        let now = year().await;
        set_clock(folder.path(), "+800d");
        assert!((now + 2..=now + 3).contains(&year().await));
    }

    #[test]
    fn a_host_gets_one_gateway_for_each_app_and_no_settings_from_outside() {
        let mut setup = Setup::default();
        setup.app("a=http://127.0.0.1:1").app("b=http://127.0.0.1:2").arg("--approve").arg("always").failpoint("here");
        let folder = tempfile::tempdir().unwrap();
        let command = command(&setup, folder.path());
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(args.iter().filter(|arg| *arg == "--gateway").count(), 2);
        assert_eq!(
            (args[0].as_str(), args[1].as_str(), args.last().unwrap().as_str()),
            ("serve", "a=http://127.0.0.1:1", "always")
        );
        assert!(command.get_envs().any(|env| env == ("COUPLET_FAILPOINT".as_ref(), Some("here".as_ref()))));
    }
}
