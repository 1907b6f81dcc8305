//! What the owner may set. The defaults are those of the documents; a configuration file may name no other keys.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use couplet_protocol::RelayName;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// The pairing listener's port when none is given.
pub const PAIRING_PORT: u16 = 7878;
/// The phone's client's port when none is given.
pub const PHONE_PORT: u16 = 7443;
/// The first app's port when none is given; the next apps follow.
pub const GATEWAY_PORT: u16 = 7879;

/// How one host runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The folder (0700) of the database, the owner's token and what the host remembers.
    pub state_dir: PathBuf,
    /// What devices and people see as this host's name.
    pub server_name: String,
    /// Where pairing is served. Empty: loopback and every private address, port [`PAIRING_PORT`].
    #[serde(default)]
    pub listen: Vec<SocketAddr>,
    /// Where the apps are served, in their order. Empty: the pairing addresses, from [`GATEWAY_PORT`] on.
    #[serde(default)]
    pub gateway: Vec<SocketAddr>,
    /// The apps behind the gateway; the first is the default one.
    #[serde(default)]
    pub apps: Vec<App>,
    /// When the owner is asked before a device is paired.
    #[serde(default)]
    pub approve: Approve,
    /// Whether anyone on the LAN may ask for a pairing URL.
    #[serde(default)]
    pub lan_pairing: LanPairing,
    /// Whether this host can be seen nearby (mDNS) while its owner pairs.
    #[serde(default = "seen")]
    pub discovery: bool,
    /// Names, besides its own addresses, under which this host may be called.
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Origins (`scheme://host[:port]`) whose pages may call the pairing API.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// Networks besides the private ones whose peers may pair: a tailnet, say.
    #[serde(default)]
    pub trusted_networks: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-*` counts.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// Whether to be reached through a relay as well.
    #[serde(default)]
    pub relay: RelayUse,
    /// The file with the token by which a relay with accounts knows this host's owner. Empty: none.
    #[serde(default)]
    pub relay_account_token_file: PathBuf,
    /// Under which name, `name[:port]`, phones' browsers reach the phone's client at this host. Empty: it is not served
    /// here.
    #[serde(default)]
    pub phone_name: String,
    /// Where it is served, over TLS. Empty: loopback and every private address, port [`PHONE_PORT`].
    #[serde(default)]
    pub phone_listen: Vec<SocketAddr>,
    /// Below which domain it shows apps. Empty: it shows none.
    #[serde(default)]
    pub phone_apps_domain: String,
    /// The certificate chain (PEM) for `phone_name` and every name below `phone_apps_domain`.
    #[serde(default)]
    pub phone_cert: PathBuf,
    /// Its private key (PEM).
    #[serde(default)]
    pub phone_key: PathBuf,
    /// How much and how long.
    #[serde(default)]
    pub limits: Limits,
}

fn seen() -> bool {
    true
}

/// One app behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Letters, digits and hyphens.
    pub name: String,
    /// Where it answers: `http://127.0.0.1:3000`.
    pub upstream: String,
    /// Headers that every request to it carries, so that it can tell our word from a forgery.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
}

/// When the owner is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approve {
    /// Only for doors that anyone on the LAN can open.
    Never,
    /// For those, and for devices that come through a relay.
    #[default]
    Relay,
    /// For every device.
    Always,
}

/// Who may ask for a pairing URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanPairing {
    /// The owner.
    #[default]
    Owner,
    /// Anyone on the LAN, with the owner's approval.
    Open,
}

/// Whether to be reached through a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayUse {
    /// Once this host is enrolled with one.
    #[default]
    Auto,
    /// No.
    Off,
    /// Yes: without an enrolment the host does not start.
    Required,
}

/// How much and how long. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Pairing tokens that may be made in a minute.
    pub generate_per_minute: u32,
    /// Exchanges, and open-door requests, of one source in a minute.
    pub exchange_per_minute: u32,
    /// Active devices.
    pub max_devices: u32,
    /// Offers open at once.
    pub max_offers: u32,
    /// Claims that may wait for approval at once.
    pub max_claims: u32,
    /// How long a one-time token lives.
    pub offer_seconds: u64,
    /// How long a link of sealed sessions lives.
    pub link_seconds: u64,
    /// How long a claim waits for the owner.
    pub claim_seconds: u64,
    /// How long a credential lives that its device has not used.
    pub unused_seconds: u64,
    /// Sealed sessions open at once.
    pub max_sessions: u32,
    /// How long a request's head may take.
    pub header_seconds: u64,
    /// How long a body may take on the pairing listener.
    pub body_seconds: u64,
    /// Connections on each listener.
    pub max_connections: usize,
    /// How long a client may take nothing of what is sent to it before its connection is closed.
    pub stalled_seconds: u64,
    /// How long connecting to an app may take.
    pub upstream_connect_seconds: u64,
    /// How long an app may take to begin its answer.
    pub upstream_answer_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            generate_per_minute: 5,
            exchange_per_minute: 10,
            max_devices: 64,
            max_offers: 8,
            max_claims: 32,
            offer_seconds: 60,
            link_seconds: 300,
            claim_seconds: 120,
            unused_seconds: 600,
            max_sessions: 4,
            header_seconds: 5,
            body_seconds: 30,
            max_connections: 1024,
            stalled_seconds: 60,
            upstream_connect_seconds: 5,
            upstream_answer_seconds: 120,
        }
    }
}

impl Limits {
    /// Each limit with the least and the most that it can be.
    fn checked(&self) -> Result<(), ConfigError> {
        let many = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        for (name, value, least, most) in [
            ("generate_per_minute", self.generate_per_minute.into(), 1, 100_000),
            ("exchange_per_minute", self.exchange_per_minute.into(), 1, 100_000),
            ("max_devices", self.max_devices.into(), 1, 100_000),
            ("max_offers", self.max_offers.into(), 1, 10_000),
            ("max_claims", self.max_claims.into(), 1, 10_000),
            ("offer_seconds", self.offer_seconds, 10, 600),
            ("link_seconds", self.link_seconds, 10, 600),
            ("claim_seconds", self.claim_seconds, 10, 3600),
            ("unused_seconds", self.unused_seconds, 10, 86_400),
            ("max_sessions", self.max_sessions.into(), 1, 1000),
            ("header_seconds", self.header_seconds, 1, 3600),
            ("body_seconds", self.body_seconds, 1, 3600),
            ("max_connections", many(self.max_connections), 1, 1_000_000),
            ("stalled_seconds", self.stalled_seconds, 1, 3600),
            ("upstream_connect_seconds", self.upstream_connect_seconds, 1, 3600),
            ("upstream_answer_seconds", self.upstream_answer_seconds, 1, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                return Err(ConfigError(format!("limits.{name} is {value}: write {least} to {most}")));
            }
        }
        Ok(())
    }

    pub(crate) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_seconds)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_seconds)
    }
}

/// A setting that cannot be used; the text says which and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// An app's address, checked.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The app's name.
    pub name: String,
    /// `host:port`.
    pub authority: String,
    /// Headers that every request to it carries.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Config {
    /// The defaults, for a host that keeps its state in `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, server_name: impl Into<String>) -> Self {
        Config {
            state_dir: state_dir.into(),
            server_name: server_name.into(),
            listen: Vec::new(),
            gateway: Vec::new(),
            apps: Vec::new(),
            approve: Approve::default(),
            lan_pairing: LanPairing::default(),
            discovery: seen(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            trusted_networks: Vec::new(),
            trusted_proxies: Vec::new(),
            relay: RelayUse::default(),
            relay_account_token_file: PathBuf::new(),
            phone_name: String::new(),
            phone_listen: Vec::new(),
            phone_apps_domain: String::new(),
            phone_cert: PathBuf::new(),
            phone_key: PathBuf::new(),
            limits: Limits::default(),
        }
    }

    /// Checks every setting; the apps as the gateway wants them.
    ///
    /// # Errors
    /// Names the setting and what to write instead.
    pub fn checked(&self) -> Result<Vec<Upstream>, ConfigError> {
        self.limits.checked()?;
        for host in &self.allowed_hosts {
            let named = host.trim_start_matches('[').trim_end_matches(']');
            let is_ip = named.parse::<std::net::IpAddr>().is_ok();
            let is_name = host.parse::<Authority>().is_ok_and(|a| a.port().is_none() && a.host() == host);
            if !is_ip && !is_name {
                return Err(ConfigError(format!(
                    "allowed_hosts: {host:?} is no name: write it as nas.home, without a port"
                )));
            }
        }
        for origin in &self.allowed_origins {
            let uri = origin.parse::<Uri>().ok().filter(|uri| uri.path() == "/" && uri.query().is_none());
            let written = uri.and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?)));
            if written.as_ref() != Some(origin) {
                let next = format!(
                    "allowed_origins: {origin:?} is no origin: write it as https://home.test:8443, without a path"
                );
                return Err(ConfigError(next));
            }
        }
        self.check_phone()?;
        self.upstreams()
    }

    /// Below which domain the phone's client shows apps, if it does.
    #[must_use]
    pub fn phone_apps(&self) -> Option<&str> {
        Some(self.phone_apps_domain.as_str()).filter(|domain| !domain.is_empty())
    }

    fn check_phone(&self) -> Result<(), ConfigError> {
        let files = [&self.phone_cert, &self.phone_key].map(|path| !path.as_os_str().is_empty());
        let domain = self.phone_apps();
        if self.phone_name.is_empty() {
            let is_set = !self.phone_listen.is_empty() || domain.is_some() || files.contains(&true);
            let wrong = || ConfigError("under which name is the phone's client served? Name it: phone_name".to_owned());
            return if is_set { Err(wrong()) } else { Ok(()) };
        }
        if RelayName::parse(&self.phone_name).is_none() {
            let next = "write it as home.example or home.example:7443, without https://";
            return Err(ConfigError(format!("phone_name: {:?} is no name: {next}", self.phone_name)));
        }
        if files != [true, true] {
            let next = "name its certificate and its key: phone_cert and phone_key";
            return Err(ConfigError(format!("browsers take the phone's client over TLS alone: {next}")));
        }
        let Some(domain) = domain else { return Ok(()) };
        couplet_phone::check_apps_domain(domain, [self.phone_name.as_str()])
            .map_err(|why| ConfigError(format!("phone_apps_domain: {why}")))
    }

    fn upstreams(&self) -> Result<Vec<Upstream>, ConfigError> {
        if !self.gateway.is_empty() && self.gateway.len() != self.apps.len() {
            return Err(ConfigError(format!(
                "{} gateway addresses for {} apps: give one for each app, in their order",
                self.gateway.len(),
                self.apps.len()
            )));
        }
        let upstreams: Vec<Upstream> = self.apps.iter().map(App::checked).collect::<Result<_, _>>()?;
        for (i, app) in upstreams.iter().enumerate() {
            if upstreams[..i].iter().any(|other| other.name == app.name) {
                return Err(ConfigError(format!(
                    "two apps are named {:?}: name them apart, as in web=http://…",
                    app.name
                )));
            }
        }
        Ok(upstreams)
    }
}

impl App {
    /// Reads `http://127.0.0.1:3000` or `name=http://127.0.0.1:3000`; an app without a name is called `app`.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn parse(text: &str) -> Result<App, ConfigError> {
        let (name, upstream) = match text.split_once('=') {
            Some((name, upstream)) if !name.contains("://") => (name, upstream),
            _ => ("app", text),
        };
        let app = App { name: name.to_owned(), upstream: upstream.to_owned(), headers: Default::default() };
        app.checked().map(|_| app)
    }

    fn checked(&self) -> Result<Upstream, ConfigError> {
        let bad = |why: &str| ConfigError(format!("app {:?} ({}): {why}", self.name, self.upstream));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.bytes().all(plain) {
            return Err(bad("a name is 1 to 32 letters, digits and hyphens"));
        }
        let uri: Uri = self.upstream.parse().map_err(|_| bad("write its address as http://127.0.0.1:3000"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("apps are reached over http:// on this machine; write http://127.0.0.1:3000"));
        }
        if !matches!(uri.path_and_query().map(http::uri::PathAndQuery::as_str), None | Some("/")) {
            return Err(bad("leave the path out: devices use the app's own paths"));
        }
        let authority = match uri.authority() {
            Some(a) if !a.as_str().contains('@') && a.port_u16().is_some() => a.to_string(),
            Some(a) if !a.as_str().contains('@') && !a.as_str().contains(':') => format!("{a}:80"),
            _ => return Err(bad("write its address as http://127.0.0.1:3000")),
        };
        let headers = self.headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad("a header's name is not one"))?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad("a header's value is not one"))?;
            value.set_sensitive(true);
            Ok((name, value))
        });
        Ok(Upstream { name: self.name.clone(), authority, headers: headers.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_read_with_and_without_a_name() {
        assert_eq!(App::parse("http://127.0.0.1:3000").unwrap().name, "app");
        let wiki = App::parse("wiki=http://localhost").unwrap();
        assert_eq!((wiki.name.as_str(), wiki.checked().unwrap().authority.as_str()), ("wiki", "localhost:80"));
        assert_eq!(App::parse("http://[::1]:80/").unwrap().checked().unwrap().authority, "[::1]:80");
    }

    #[test]
    fn settings_that_cannot_work_are_refused_at_the_start() {
        let config = || Config::new("/nowhere", "x");
        assert!(config().checked().is_ok());
        let refused = |change: &dyn Fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.checked().map(drop).unwrap_err().to_string()
        };
        assert!(refused(&|c| c.limits.max_connections = usize::MAX).contains("limits.max_connections"));
        assert!(refused(&|c| c.limits.offer_seconds = 5).contains("write 10 to 600"));
        for host in ["nas:7878", "http://nas", "", "a b", "u@nas"] {
            assert!(refused(&|c| c.allowed_hosts = vec![host.into()]).contains("without a port"), "{host}");
        }
        for origin in ["https://p/", "p", "https://p/x", "null", "https://p?x", "HTTPS://p"] {
            assert!(refused(&|c| c.allowed_origins = vec![origin.into()]).contains("no origin"), "{origin}");
        }
        assert!(refused(&|c| c.phone_apps_domain = "apps.home.example".into()).contains("phone_name"));
        assert!(refused(&|c| c.phone_name = "https://home.example".into()).contains("without https://"));
        assert!(refused(&|c| c.phone_name = "home.example".into()).contains("phone_cert and phone_key"));
        let served = |c: &mut Config, apps: &str| {
            (c.phone_name, c.phone_apps_domain) = ("home.example:7443".into(), apps.into());
            (c.phone_cert, c.phone_key) = ("c".into(), "k".into());
        };
        assert!(refused(&|c| served(c, "home.example")).contains("must not be below"));
        assert!(refused(&|c| served(c, "*.home.example")).contains("without *"));
        let mut fine = config();
        served(&mut fine, "apps.home.example");
        fine.allowed_hosts = ["nas", "nas.home.test", "192.168.1.1", "fd00::1", "[fd00::1]"].map(Into::into).into();
        fine.allowed_origins = ["https://p", "http://p:81", "http://[::1]:81"].map(Into::into).into();
        assert!(fine.checked().is_ok());
    }

    #[test]
    fn a_wrong_app_says_what_to_write() {
        for text in [
            "",
            "3000",
            "https://127.0.0.1:3000",
            "http://h:1/path",
            "http://u:p@h:1",
            "a b=http://h:1",
            "ftp://h",
            "http://",
        ] {
            let error = App::parse(text).unwrap_err().to_string();
            assert!(error.len() > 20, "{text}: {error}");
        }
    }
}
