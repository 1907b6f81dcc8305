//! `couplet devices`.

use clap::{Args, Subcommand};

use super::Json;

/// `couplet devices`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
A DEVICE is a name, an id, or the beginning of an id, as long as only one device matches.

Examples:
  couplet devices
  couplet devices add 'My editor' --json
  couplet devices scope ipad --read-only --path /api --for 7d
  couplet devices revoke 3f2a --yes")]
pub(crate) struct Devices {
    #[command(subcommand)]
    pub(crate) command: Option<DevicesCommand>,
    #[command(flatten)]
    pub(crate) list: List,
}

/// `couplet devices list`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct List {
    /// Leave out revoked devices
    #[arg(long)]
    pub(crate) active: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// The commands of `couplet devices`.
#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// List the paired devices
    List(List),
    /// Make a credential for a client that cannot scan; it is shown this once
    Add {
        /// What the device will be called
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Give a device another name
    Rename {
        /// Which device
        device: String,
        /// Its new name
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Limit what a device may do in the apps, and for how long; what is not named stays as it is
    Scope(ScopeArgs),
    /// End a device's access at once
    #[command(after_help = "\
On a terminal it asks first, unless --yes. Without a terminal, or with --no-input, --yes is required.")]
    Revoke {
        /// Which device
        device: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        json: Json,
    },
}

/// `couplet devices scope`.
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("change").multiple(true).required(true)
    .args(["read_only", "read_write", "path", "all_paths", "until", "span", "forever"]))]
pub(crate) struct ScopeArgs {
    /// Which device
    pub(crate) device: String,
    /// Only GET, HEAD and OPTIONS
    #[arg(long, conflicts_with = "read_write")]
    pub(crate) read_only: bool,
    /// Every method
    #[arg(long)]
    pub(crate) read_write: bool,
    /// Only this path and what is below it; may repeat
    #[arg(long, value_name = "/PATH", conflicts_with = "all_paths")]
    pub(crate) path: Vec<String>,
    /// Every path
    #[arg(long)]
    pub(crate) all_paths: bool,
    /// Until this time, as in 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339", conflicts_with_all = ["span", "forever"])]
    pub(crate) until: Option<jiff::Timestamp>,
    /// For so long from now: 30m, 12h, 7d, 2w
    #[arg(long = "for", value_name = "SPAN", conflicts_with = "forever", value_parser = crate::time::parse_span)]
    pub(crate) span: Option<i64>,
    /// Without an end
    #[arg(long)]
    pub(crate) forever: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}
