//! The command line. Doc comments here are the help texts.

mod audit;
mod devices;
mod doctor;
mod relay;

use std::path::PathBuf;

use clap::builder::{FalseyValueParser, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use audit::Audit;
pub(crate) use devices::{Devices, DevicesCommand, List, ScopeArgs};
pub(crate) use doctor::Doctor;
pub(crate) use relay::{
    Check, Hosts, HostsCommand, Relay, RelayCommand, RelayConfig, RelayConfigCommand, RelayServe, RelaySettings,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failure
  2  the command line cannot be understood, or needs a terminal or --yes
  3  time ran out: the code or the claim expired
  4  refused: the owner said no to a device or revoked it, or you to a question
  5  no host, or no relay, is running on the state folder

Environment:
  COUPLET_*        each setting of `serve` has its variable; see `couplet config show --origin`
  COUPLET_RELAY_*  each setting of `relay serve`, too; see `couplet relay config show --origin`
  COUPLET_LOG      what is logged, else RUST_LOG, else couplet=info
  NO_COLOR         no colours in messages (QR codes keep theirs: readers need them)";

const EXAMPLES: &str = "\
Examples:
  couplet serve http://127.0.0.1:3000    put an app behind paired devices
  couplet pair                           show a QR code and wait for the phone
  couplet dashboard                      the same in a browser
  couplet devices                        who is paired
  couplet devices revoke 'Old phone'     end a device's access";

const CONNECT: &str = "\
A link pairs this machine first: the host's owner gets one from couplet pair. It is a secret until it is used; with -
it is read from stdin, where other users of this machine cannot see it. If the owner is asked, a check code is shown
for the owner to type. From then on no link is needed: name the host, or nothing if there is only one.

Without a link, name the address of a host in the same network, as couplet serve shows it: the host shows eight digits,
and they are asked for here; or the owner lets this machine in there. Then the host asks for the check code that is shown
here, and you are asked whether it took it: without somebody to answer, as with --no-input, pair with a link. Only
addresses of the local network are taken.
With --nearby, and with nothing at all on a machine that is paired with nobody, hosts whose owner pairs at this moment
are listed, and you are asked which one you mean.

Programs of this machine then use the app at the address that is shown; web pages of other sites cannot. On Linux each
app of each host has an address of its own, so that a browser keeps their cookies and pages apart; it stays the same
while this machine is paired. With --listen it is where you say, and what else is at that address is not kept apart.

The credentials of each host are a file in $XDG_DATA_HOME/couplet/hosts, ~/.local/share/couplet/hosts by default, for
this user's eyes only; whoever has one is this device. --state-dir and --config belong to a host and are refused.

With --json the first line says that it is ready and where, then each change of the connection is a line.
SIGTERM and Ctrl-C end it with exit code 0. It ends with 4 when the owner revokes this device.

Examples:
  couplet connect 'COUPLET:…'                   pair, then forward
  couplet connect - < link                      the same, where others use this machine too: arguments can be seen
  couplet connect http://192.168.1.42:7878      pair by the PIN that this host shows
  couplet connect --nearby                      the same, and the host is looked for
  couplet connect                               go on later
  couplet connect nas --app wiki --listen 127.0.0.1:8080
  couplet connect --list
  couplet connect --forget nas";

const DOCTOR: &str = "\
A running host is asked to look at itself, and the flags of serve are not looked at. Where none runs, what a start with
these flags would meet is looked at. Nothing is changed by looking. Of other machines, only the relay that this host is
enrolled with and its apps are asked anything.

Each line begins with ok, warn, FAIL or skip. The exit code is 1 when something fails; warnings leave it 0.

Examples:
  couplet doctor
  couplet doctor --only relay --only clock
  couplet doctor --json | jq -r '.findings[] | select(.state == \"failed\") | .found'";

const DASHBOARD: &str = "\
The dashboard does in a browser what pair, devices, approve and reject do here. The link is a secret until it is used,
and ends after ten minutes; a browser stays signed in for twelve hours, or until nobody has used it for an hour. Between
machines the dashboard is plain HTTP: use it on networks that you trust, or at 127.0.0.1 on the host itself.

Examples:
  couplet dashboard                    sign a browser in
  couplet dashboard --list             which browsers are signed in
  couplet dashboard --sign-out 3f2a    end one: its id, the beginning of that, or its name
  couplet dashboard --sign-out         end all of them";

/// Pair phones, watches, editors and other clients with a server that you own.
#[derive(Debug, Parser)]
#[command(name = "couplet", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// The folder of the host's key, database and owner's token [env: COUPLET_STATE_DIR] [default: $XDG_STATE_HOME/couplet or ~/.local/state/couplet]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The configuration file [env: COUPLET_CONFIG] [default: $XDG_CONFIG_HOME/couplet/config.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Never ask a question, never wait for a key
    #[arg(long, global = true, env = "COUPLET_NO_INPUT", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    pub(crate) no_input: bool,
}

/// `--json`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Json {
    /// Print JSON on stdout
    #[arg(long, env = "COUPLET_JSON", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the host: pairing, and your apps behind device authentication
    #[command(after_help = "\
Examples:
  couplet serve                                   pairing only
  couplet serve http://127.0.0.1:3000             one app
  couplet serve web=http://127.0.0.1:3000 wiki=http://127.0.0.1:8080
  couplet serve --listen 127.0.0.1:0 --json       for scripts: the first line says where it listens

Settings come from the flag, else COUPLET_*, else the configuration file, else the default.
SIGTERM and Ctrl-C let requests finish and end with exit code 0; a second one ends at once.")]
    Serve(Serve),
    /// Pair a device: show a QR code and wait
    #[command(after_help = "\
Keys: [R] makes a new code, [Q] or Ctrl-C cancels. An expired code is replaced by itself, five times.
A device in a sealed session is let in by the six digits that it shows: type them when it asks.
Without a terminal, or with --no-input, the link alone is printed on stdout, and when it expires the exit code is 3.
With --json each code is a line, then each event; the last line is device.paired. With --no-input too, the first
code is the only one.")]
    Pair(Pair),
    /// List, add, rename, limit and revoke devices
    Devices(Devices),
    /// Print a link that signs you in to the dashboard, once
    #[command(after_help = DASHBOARD)]
    Dashboard(Dashboard),
    /// Let a waiting device in
    #[command(after_help = "\
A device in a sealed session shows six digits, the check code. Type them here: so you let in the device in your hand, and
no other one that saw the code. One that asks by PIN shows three digits, which tell it from others of its name.

Examples:
  couplet approve                 who waits? asks, on a terminal
  couplet approve ipad 123456
  couplet approve ipad 471        by its number, without the PIN")]
    Approve(Approve),
    /// Turn a waiting device away
    #[command(after_help = "\
An address that was turned away waits a minute before it may ask to pair by PIN again.

Examples:
  couplet reject                  who waits? asks, on a terminal
  couplet reject ipad
  couplet reject --all            everybody who waits")]
    Reject(Reject),
    /// Enrol this host with a relay, so that devices reach it from anywhere
    #[command(after_help = "\
The relay's operator prints a token with couplet relay invite. It is a secret until it is used: with - or nothing it is
read from stdin, where other users of this machine cannot see it. The relay's own certificate authority is checked
against the token, and relay.json in the state folder says from then on which relay this host is enrolled with.
couplet serve uses it from its next start.

Examples:
  couplet enroll enr_…
  couplet enroll - < token                    where others use this machine too: arguments can be seen
  couplet enroll - --relay-ca ca.pem < token  a relay whose certificate is of a private CA")]
    Enroll(Enroll),
    /// Be a device: pair this machine with a host, and use its apps at an address of this machine
    #[command(after_help = CONNECT)]
    Connect(Connect),
    /// Run a relay, by which devices and hosts meet that share no network; invite and list its hosts
    Relay(Relay),
    /// Show what an error code means and what to do, offline; without a code, list them
    Explain(Explain),
    /// Show who did what: the audit log
    Audit(Audit),
    /// Look for what stands in the way of pairing and use: ports, addresses, firewall, apps, relay, clock, database, disk
    #[command(after_help = DOCTOR)]
    Doctor(Doctor),
    /// Show the settings in effect
    Config(Config),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  couplet completions bash > ~/.local/share/bash-completion/completions/couplet")]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write a page for every command into this folder instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// `couplet serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What the command line may set of a host's configuration. Absent here is decided elsewhere, so nothing has a
/// default and clap does not read the environment: `config.rs` does both and remembers where a value came from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Settings {
    /// Apps behind the gateway: http://127.0.0.1:3000 or name=http://127.0.0.1:3000 [env: COUPLET_APPS]
    #[arg(value_name = "APP")]
    pub(crate) apps: Vec<String>,
    /// Where to serve pairing; may repeat; port 0 takes a free one [env: COUPLET_LISTEN] [default: loopback and every private address, port 7878]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Vec<String>,
    /// Where to serve the apps, in their order; may repeat [env: COUPLET_GATEWAY] [default: the pairing addresses, from port 7879]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) gateway: Vec<String>,
    /// When to ask the owner before a device is paired [env: COUPLET_APPROVE] [default: relay]
    #[arg(long, value_name = "WHEN", value_parser = PossibleValuesParser::new(["never", "relay", "always"]))]
    pub(crate) approve: Option<String>,
    /// Who may ask for a pairing URL [env: COUPLET_LAN_PAIRING] [default: owner]
    #[arg(long, value_name = "WHO", value_parser = PossibleValuesParser::new(["owner", "open"]))]
    pub(crate) lan_pairing: Option<String>,
    /// Start only with a relay; without the flag a relay is used once this host is enrolled [env: COUPLET_RELAY=auto, off, required] [default: auto]
    #[arg(long, conflicts_with = "no_relay")]
    pub(crate) relay: bool,
    /// Use no relay
    #[arg(long)]
    pub(crate) no_relay: bool,
    /// For a relay with accounts: a file with your identity provider's token, read anew at every use [env: COUPLET_RELAY_ACCOUNT_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_account_token_file: Option<String>,
    /// What devices see as this host's name [env: COUPLET_NAME] [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// `couplet pair`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pair {
    /// How long a code lives, 10 to 600 [default: 300, with --link lan 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(10..=600))]
    pub(crate) timeout: Option<u64>,
    /// What the code carries
    #[arg(long, value_name = "FORM", value_enum)]
    #[arg(help = "What the code carries [default: web with a relay, else app]")]
    pub(crate) link: Option<Link>,
    /// Show the link alone, no QR code
    #[arg(long)]
    pub(crate) link_only: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// What `couplet pair` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// https://RELAY/p#…, for sealed sessions from anywhere; any camera opens it
    Web,
    /// COUPLET:…, for sealed sessions: `couplet connect` and apps with the SDK
    App,
    /// couplet://…, for apps that speak plain HTTP on the LAN
    Lan,
}

/// `couplet dashboard`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Dashboard {
    /// List the browsers that are signed in instead
    #[arg(long)]
    pub(crate) list: bool,
    /// Sign a browser out instead; without naming one every browser, and end the links that nobody has opened yet
    #[arg(long, value_name = "BROWSER", num_args = 0..=1, conflicts_with_all = ["list", "json"])]
    pub(crate) sign_out: Option<Option<String>>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `couplet approve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    pub(crate) decide: Decide,
    /// The six digits that the device shows, or the three of one that asks by PIN; without them you are asked
    #[arg(value_name = "CODE", requires = "pairing")]
    pub(crate) shown: Option<String>,
}

/// `couplet reject`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reject {
    #[command(flatten)]
    pub(crate) decide: Decide,
    /// Turn away everybody who waits
    #[arg(long, conflicts_with = "pairing")]
    pub(crate) all: bool,
}

/// What `couplet approve` and `couplet reject` take.
#[derive(Clone, Debug, Args)]
pub(crate) struct Decide {
    /// Which waiting device: its name, its pairing's id, or the beginning of that. Without it, those that wait are
    /// listed, and you are asked about a single one
    #[arg(value_name = "DEVICE")]
    pub(crate) pairing: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `couplet connect`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connect {
    /// A pairing link, - to read one from stdin, http://ADDRESS:PORT of a host nearby, or the name or id of a host that
    /// this machine is paired with
    #[arg(value_name = "LINK|HOST")]
    pub(crate) target: Option<String>,
    /// What the host calls this device, when it is paired [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Which of the host's apps [default: its first]
    #[arg(long, value_name = "NAME", value_parser = crate::command::app_name)]
    pub(crate) app: Option<http::HeaderValue>,
    /// Where programs of this machine find it [default: port 7890 of an address for this app alone]
    #[arg(long, value_name = "127.0.0.1:PORT", value_parser = crate::command::loopback)]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Pair although a host of this name or address is known under another key: it is another host
    #[arg(long)]
    pub(crate) another_host: bool,
    /// Certificates (PEM) of the authority behind a relay's own certificate; kept with the pairing
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    /// For a relay with accounts: a file with your identity provider's token, read anew at every try [env: COUPLET_RELAY_ACCOUNT_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_account_token_file: Option<PathBuf>,
    /// The relay that the token is for, as links name it; no other is shown it [env: COUPLET_RELAY_ACCOUNT_AT]
    #[arg(long, value_name = "RELAY")]
    pub(crate) relay_account_at: Option<String>,
    /// Look for hosts of the local network whose owner pairs, and pair with one of them by PIN; with --json list them
    #[arg(long, conflicts_with = "target")]
    pub(crate) nearby: bool,
    /// List the hosts that this machine is paired with
    #[arg(long, conflicts_with_all = ["target", "nearby", "name", "app", "listen", "another_host", "relay_ca", "relay_account_token_file", "relay_account_at"])]
    pub(crate) list: bool,
    /// Forget a host: this machine's credentials for it are removed
    #[arg(long, value_name = "HOST", conflicts_with_all = ["target", "nearby", "name", "app", "listen", "another_host", "relay_ca", "relay_account_token_file", "relay_account_at", "list"])]
    pub(crate) forget: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `couplet enroll`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Enroll {
    /// The enrolment token; with - or nothing it is read from stdin
    pub(crate) token: Option<String>,
    /// Certificates in PEM to trust the relay by, besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `couplet explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Explain {
    /// The code: CPL-1203, or 1203
    pub(crate) code: Option<String>,
}

/// `couplet config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// The commands of `couplet config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting in effect; takes the flags of `serve`, to try them
    Show {
        #[command(flatten)]
        settings: Settings,
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        json: Json,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_apps_and_repeated_addresses() {
        let cli = parse(
            "couplet serve web=http://h:1 --listen 127.0.0.1:0 --listen [::1]:0 --approve always --state-dir /s --json",
        );
        let Command::Serve(serve) = cli.unwrap().command else { panic!("not serve") };
        assert_eq!(serve.settings.apps, ["web=http://h:1"]);
        assert_eq!(serve.settings.listen, ["127.0.0.1:0", "[::1]:0"]);
        assert_eq!(serve.settings.approve.as_deref(), Some("always"));
        assert!(serve.json.json && serve.settings.name.is_none());
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["couplet --state-dir /s pair", "couplet pair --state-dir /s"] {
            assert_eq!(parse(line).unwrap().global.state_dir, Some("/s".into()), "{line}");
        }
    }

    #[test]
    fn devices_without_a_command_lists() {
        let Command::Devices(devices) = parse("couplet devices --json").unwrap().command else { panic!() };
        assert!(devices.command.is_none() && devices.list.json.json);
    }

    #[test]
    fn contradictions_and_nonsense_are_usage_errors() {
        for line in [
            "couplet pair --timeout 5",
            "couplet pair --timeout 601",
            "couplet serve --approve sometimes",
            "couplet devices scope x",
            "couplet devices scope x --read-only --read-write",
            "couplet devices scope x --path /a --all-paths",
            "couplet devices scope x --until 2027-01-01T00:00:00Z --for 7d",
            "couplet devices scope x --for 7y",
            "couplet devices scope x --until tomorrow",
            "couplet completions ksh",
            "couplet nonsense",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn help_names_the_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for word in ["3  time ran out", "5  no host", "couplet pair", "NO_COLOR"] {
            assert!(help.contains(word), "{word}");
        }
    }
}
