//! `couplet relay`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Json;

/// `couplet relay`.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    #[command(subcommand)]
    pub(crate) command: RelayCommand,
}

/// The commands of `couplet relay`.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayCommand {
    /// Run a relay: it carries sealed sessions between devices and hosts, and reads none of them
    #[command(after_help = "\
Examples:
  couplet relay serve --dev                       on this machine, with a certificate of its own
  couplet relay serve --name relay.example --tls-cert fullchain.pem --tls-key privkey.pem
  couplet relay serve --dev --listen 127.0.0.1:0 --hosts-listen 127.0.0.1:0 --json
                                                  for scripts: the first line says where it listens

Settings come from the flag, else COUPLET_RELAY_*, else the configuration file relay.toml, else the default.
The certificate is read again when its files change, and on SIGHUP. SIGTERM and Ctrl-C let sessions end, for 30 seconds
at most, and end with exit code 0; a second one ends at once.")]
    Serve(RelayServe),
    /// Print an enrolment token for one host: its owner runs couplet enroll with it
    #[command(after_help = "\
The token is a secret until it is used. A host that was invited by mistake is ended with couplet relay hosts revoke.

Example:
  couplet relay invite --for 2h")]
    Invite {
        /// How long it can be used, 30 days at most: 30m, 12h, 7d
        #[arg(long = "for", value_name = "SPAN", default_value = "1h", value_parser = crate::time::parse_span)]
        span: i64,
        #[command(flatten)]
        json: Json,
    },
    /// List and revoke the hosts of this relay
    Hosts(Hosts),
    /// Check from outside whether a relay can be used: name, port, certificate, clock, WebSockets, latency
    #[command(after_help = "\
Hosts come by a listener of their own, which --hosts names. It shows a certificate of the relay's own CA: with --relay-ca,
which may hold several certificates, that is looked at as well.

Examples:
  couplet relay check relay.example
  couplet relay check relay.example --hosts relay.example:8443
  couplet relay check https://localhost:8442 --relay-ca ~/.local/state/couplet-relay/ca.pem")]
    Check(Check),
    /// The relay's settings
    Config(RelayConfig),
}

/// `couplet relay config`.
#[derive(Debug, Args)]
pub(crate) struct RelayConfig {
    #[command(subcommand)]
    pub(crate) command: RelayConfigCommand,
}

/// The commands of `couplet relay config`.
#[derive(Debug, Subcommand)]
pub(crate) enum RelayConfigCommand {
    /// Show every setting in effect; takes the flags of `relay serve`, to try them
    Show {
        #[command(flatten)]
        settings: RelaySettings,
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        json: Json,
    },
}

/// `couplet relay serve`.
#[derive(Debug, Args)]
pub(crate) struct RelayServe {
    #[command(flatten)]
    pub(crate) settings: RelaySettings,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What the command line may set of a relay's configuration.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RelaySettings {
    /// The name under which devices and hosts reach it [env: COUPLET_RELAY_NAME] [default: with --dev, localhost]
    #[arg(long, value_name = "NAME[:PORT]")]
    pub(crate) name: Option<String>,
    /// The name and port under which hosts reach their listener [env: COUPLET_RELAY_HOSTS_NAME] [default: the same name, with the port of --hosts-listen]
    #[arg(long, value_name = "NAME[:PORT]")]
    pub(crate) hosts_name: Option<String>,
    /// Where to serve devices; may repeat; port 0 takes a free one [env: COUPLET_RELAY_LISTEN] [default: every address, port 443; with --dev 127.0.0.1, port 8442]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,
    /// Where to serve hosts; may repeat [env: COUPLET_RELAY_HOSTS_LISTEN] [default: the addresses of --listen, port 8443]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) hosts_listen: Vec<String>,
    /// Where to serve /livez, /readyz and /metrics, by plain HTTP; may repeat [env: COUPLET_RELAY_PRIVATE] [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) private: Vec<String>,
    /// Below which domain phones see the apps in their browsers, each under a name of its own [env: COUPLET_RELAY_APPS_DOMAIN] [default: nowhere; with --dev alone apps.localhost]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) apps_domain: Option<String>,
    /// The certificate chain (PEM) for *.DOMAIN of the apps [env: COUPLET_RELAY_APPS_CERT] [default: --tls-cert]
    #[arg(long, value_name = "FILE")]
    pub(crate) apps_cert: Option<PathBuf>,
    /// Its private key (PEM) [env: COUPLET_RELAY_APPS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) apps_key: Option<PathBuf>,
    /// The certificate chain (PEM) that devices see [env: COUPLET_RELAY_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM) [env: COUPLET_RELAY_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Make the certificate that devices see from the relay's own CA, which they must be told to trust [env: COUPLET_RELAY_DEV]
    #[arg(long)]
    pub(crate) dev: bool,
}

/// `couplet relay hosts`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
A HOST is an id, or the beginning of one, as long as only one host matches.

Examples:
  couplet relay hosts
  couplet relay hosts revoke 3f2a --yes")]
pub(crate) struct Hosts {
    #[command(subcommand)]
    pub(crate) command: Option<HostsCommand>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// The commands of `couplet relay hosts`.
#[derive(Debug, Subcommand)]
pub(crate) enum HostsCommand {
    /// List the hosts
    List {
        #[command(flatten)]
        json: Json,
    },
    /// End a host's access at once: its connections, its rooms, its certificate
    Revoke {
        /// Which host
        host: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        json: Json,
    },
}

/// `couplet relay check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// The relay: relay.example, relay.example:8442 or https://relay.example
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Trust the certificates in this file (PEM) besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// Check the hosts' listener, too: relay.example:8443
    #[arg(long, value_name = "NAME:PORT")]
    pub(crate) hosts: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}
