//! What the operator of a relay may set. A configuration file may name no other keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use couplet_protocol::RelayName;
use serde::{Deserialize, Serialize};

/// The devices' listener's port when none is given.
pub const DEVICES_PORT: u16 = 443;
/// The hosts' listener's port when none is given.
pub const HOSTS_PORT: u16 = 8443;
/// The devices' listener's port of a relay for development.
pub const DEV_PORT: u16 = 8442;

/// Where a relay for development shows apps: every name below `localhost` is the machine's own (RFC 6761, 6.3).
pub const DEV_APPS: &str = "apps.localhost";

/// How one relay runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder (0700) of the relay's own CA and of what it remembers.
    pub state_dir: PathBuf,
    /// Under which name devices and hosts reach the devices' listener: `name[:port]`. Empty: for development,
    /// `localhost` and its port.
    #[serde(default)]
    pub name: String,
    /// Under which name hosts reach the hosts' listener: `name[:port]`. Empty: the devices' name with the hosts'
    /// listener's port.
    #[serde(default)]
    pub hosts_name: String,
    /// Where devices are served. Empty: every address, port [`DEVICES_PORT`]; for development `127.0.0.1`, port
    /// [`DEV_PORT`].
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// Where hosts are served. Empty: the addresses of `listen`, or as it says when that is empty, port [`HOSTS_PORT`].
    #[serde(default)]
    pub hosts_listen: Vec<SocketAddr>,
    /// Where `/livez`, `/readyz` and `/metrics` are served, by plain HTTP. Empty: nowhere.
    #[serde(default)]
    pub private: Vec<SocketAddr>,
    /// Below which domain the phone's client shows apps, each under a label of its own, on the devices' listener. Empty:
    /// nowhere; for development [`DEV_APPS`].
    #[serde(default)]
    pub apps_domain: String,
    /// The certificate chain (PEM) for every label below `apps_domain`. Empty: that of the devices' listener.
    #[serde(default)]
    pub apps_cert: PathBuf,
    /// Its private key (PEM).
    #[serde(default)]
    pub apps_key: PathBuf,
    /// The certificate chain (PEM) of the devices' listener.
    #[serde(default)]
    pub tls_cert: PathBuf,
    /// Its private key (PEM).
    #[serde(default)]
    pub tls_key: PathBuf,
    /// The devices' listener's certificate is of the relay's own CA, which nobody trusts by themselves.
    #[serde(default)]
    pub dev: bool,
    /// The providers whose account tokens count, by their issuer URLs. Empty: accounts are off.
    #[serde(default)]
    pub account_issuers: Vec<String>,
    /// Whom an account token must be meant for.
    #[serde(default)]
    pub account_audience: String,
    /// Certificates (PEM) to trust besides the system's when a provider is asked for its keys.
    #[serde(default)]
    pub account_ca: PathBuf,
    /// How much and how long.
    #[serde(default)]
    pub limits: Limits,
}

/// How much and how long. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Sessions of one host that are open or coming to be at once.
    pub host_sessions: u32,
    /// Connections of one host at once.
    pub host_sockets: u32,
    /// Rooms of one host.
    pub rooms_per_host: usize,
    /// What one host's sessions carry in a second, in bytes; 0 is no limit.
    pub host_bytes_per_second: u64,
    /// What the devices of one source carry in a second, in bytes; 0 is no limit.
    pub source_bytes_per_second: u64,
    /// Connections of one source on the devices' listener, and of those on the hosts' listener that have not yet said
    /// who they are.
    pub source_sockets: u32,
    /// Connections on the devices' listener.
    pub max_devices: usize,
    /// Connections on the hosts' listener.
    pub max_hosts: usize,
    /// Rooms that are open at once at `/rooms`.
    pub max_rooms: usize,
    /// How long a TLS handshake may take.
    pub handshake_seconds: u64,
    /// How long a request's head, and how long its body, may take.
    pub header_seconds: u64,
    /// How long a peer may take nothing of what is sent to it before its connection is closed.
    pub stalled_seconds: u64,
    /// How long sessions may go on once the relay has been told to stop.
    pub drain_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // The four sessions of a host, and eight that come to be (spec/protocol.md, 6).
            host_sessions: 12,
            host_sockets: 16,
            rooms_per_host: 512,
            host_bytes_per_second: 0,
            source_bytes_per_second: 0,
            source_sockets: 256,
            max_devices: 16_384,
            max_hosts: 65_536,
            max_rooms: crate::rooms_door::ROOMS_MAX,
            handshake_seconds: 10,
            header_seconds: 10,
            stalled_seconds: 60,
            drain_seconds: 30,
        }
    }
}

impl Limits {
    /// Each limit with the least and the most that it can be.
    ///
    /// # Errors
    /// Names the first one that is out of its range.
    pub fn checked(&self) -> Result<(), ConfigError> {
        let many = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, value, least, most) in [
            ("host_sessions", self.host_sessions.into(), 1, 1000),
            ("host_sockets", self.host_sockets.into(), 2, 2000),
            ("rooms_per_host", many(self.rooms_per_host), 1, 10_000),
            ("host_bytes_per_second", self.host_bytes_per_second, 0, 1 << 40),
            ("source_bytes_per_second", self.source_bytes_per_second, 0, 1 << 40),
            ("source_sockets", self.source_sockets.into(), 1, 1_000_000),
            ("max_devices", many(self.max_devices), 1, 10_000_000),
            ("max_hosts", many(self.max_hosts), 1, 10_000_000),
            ("max_rooms", many(self.max_rooms), 1, 1_000_000),
            ("handshake_seconds", self.handshake_seconds, 1, 600),
            ("header_seconds", self.header_seconds, 1, 600),
            ("stalled_seconds", self.stalled_seconds, 1, 3600),
            ("drain_seconds", self.drain_seconds, 0, 3600),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError(format!("limits.{name} is {value}: write {least} to {most}")));
            }
        }
        Ok(())
    }

    pub(crate) fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_seconds)
    }

    pub(crate) fn header(&self) -> Duration {
        Duration::from_secs(self.header_seconds)
    }
}

/// A setting that cannot be used; the text says which and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// The defaults, for a relay that keeps its state in `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Config {
            state_dir: state_dir.into(),
            name: String::new(),
            hosts_name: String::new(),
            listen: Vec::new(),
            hosts_listen: Vec::new(),
            private: Vec::new(),
            apps_domain: String::new(),
            apps_cert: PathBuf::new(),
            apps_key: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            dev: false,
            account_issuers: Vec::new(),
            account_audience: String::new(),
            account_ca: PathBuf::new(),
            limits: Limits::default(),
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Names the setting and what to write instead.
    pub fn checked(&self) -> Result<(), ConfigError> {
        self.limits.checked()?;
        for (key, name) in [("name", &self.name), ("hosts_name", &self.hosts_name)] {
            if !name.is_empty() && RelayName::parse(name).is_none() {
                let next = "write it as relay.example or relay.example:8443, without https://";
                return Err(ConfigError(format!("{key}: {name:?} is no name of a relay: {next}")));
            }
        }
        self.check_tls()?;
        self.check_apps()?;
        if self.account_issuers.is_empty() != self.account_audience.is_empty() {
            let next = "name account_issuers and account_audience together, or neither";
            return Err(ConfigError(format!("accounts are half set up: {next}")));
        }
        Ok(())
    }

    /// Below which domain apps are shown, if they are.
    #[must_use]
    pub fn apps(&self) -> Option<&str> {
        match self.apps_domain.as_str() {
            "" if self.dev && self.name.is_empty() => Some(DEV_APPS),
            "" => None,
            named => Some(named),
        }
    }

    fn check_apps(&self) -> Result<(), ConfigError> {
        let (cert, key) = (!self.apps_cert.as_os_str().is_empty(), !self.apps_key.as_os_str().is_empty());
        if cert != key {
            return Err(ConfigError("--apps-cert and --apps-key belong together".to_owned()));
        }
        if cert && (self.dev || self.apps_domain.is_empty()) {
            return Err(ConfigError("--apps-cert is for --apps-domain, and not for --dev".to_owned()));
        }
        if self.apps_domain.is_empty() {
            return Ok(());
        }
        let names = [&self.name, &self.hosts_name].map(String::as_str);
        couplet_phone::check_apps_domain(&self.apps_domain, names)
            .map_err(|why| ConfigError(format!("apps_domain: {why}")))
    }

    fn check_tls(&self) -> Result<(), ConfigError> {
        let (cert, key) = (!self.tls_cert.as_os_str().is_empty(), !self.tls_key.as_os_str().is_empty());
        let wrong = match (self.dev, cert, key) {
            (false, true, true) if self.name.is_empty() => {
                "which name is the certificate for? Name it: --name relay.example"
            }
            (true, false, false) | (false, true, true) => return Ok(()),
            (true, _, _) => "--dev makes a certificate of its own: leave --tls-cert and --tls-key out",
            (false, false, false) => {
                "devices need a certificate that they trust: --tls-cert FILE --tls-key FILE, or --dev to try it out"
            }
            (false, _, _) => "--tls-cert and --tls-key belong together",
        };
        Err(ConfigError(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_at_the_start() {
        let refused = |change: &dyn Fn(&mut Config)| {
            let mut config = Config { dev: true, ..Config::new("/nowhere") };
            change(&mut config);
            config.checked().unwrap_err().to_string()
        };
        assert!(Config { dev: true, ..Config::new("/nowhere") }.checked().is_ok());
        assert!(refused(&|c| c.dev = false).contains("--tls-cert FILE"));
        assert!(refused(&|c| c.tls_cert = "c".into()).contains("leave"));
        assert!(refused(&|c| (c.dev, c.tls_cert) = (false, "c".into())).contains("together"));
        assert!(refused(&|c| (c.dev, c.tls_cert, c.tls_key) = (false, "c".into(), "k".into())).contains("--name"));
        assert!(refused(&|c| c.name = "https://relay".into()).contains("without https://"));
        assert!(refused(&|c| c.limits.host_sessions = 0).contains("write 1 to 1000"));
        assert!(refused(&|c| c.apps_domain = "*.apps.example".into()).contains("without *"));
        assert!(refused(&|c| c.apps_domain = "example".into()).contains("small letters"));
        for name in ["relay.example", "apps.relay.example:8443"] {
            let both = |c: &mut Config| (c.name, c.apps_domain) = (name.into(), "relay.example".into());
            assert!(refused(&both).contains("must not be below"), "{name}");
        }
        assert!(refused(&|c| c.apps_cert = "c".into()).contains("together"));
        assert!(refused(&|c| (c.apps_cert, c.apps_key) = ("c".into(), "k".into())).contains("not for --dev"));
        assert!(refused(&|c| c.account_audience = "me".into()).contains("half"));
    }
}
