//! `couplet audit`.

use clap::Args;
use jiff::Timestamp;

use super::Json;
use crate::time::parse_span;

/// `couplet audit`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
What: device.paired, device.revoked, pairing.approved, … or the word before the dot, for all of a family. The log keeps 400
days, and of what strangers and the host itself do the last 10,000 entries.

Examples:
  couplet audit
  couplet audit --since 7d --kind device
  couplet audit --device ipad --json
  couplet audit --follow")]
pub(crate) struct Audit {
    /// Only from then on: 7d (so long ago), or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "SPAN|RFC3339", value_parser = parse_since)]
    pub(crate) since: Option<Timestamp>,
    /// Only this: device.revoked, or the family device
    #[arg(long, value_name = "WHAT")]
    pub(crate) kind: Option<String>,
    /// Only about this device: its name, id, or the beginning of the id; it may be a revoked one
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) limit: u32,
    /// Only those older than the entry with this number: the next page
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<i64>,
    /// Show the newest last, and go on as more comes; Ctrl-C ends it
    #[arg(long, short, conflicts_with = "before")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let seconds = parse_span(text)?;
    let at = Timestamp::now().as_second().checked_sub(seconds);
    at.and_then(|second| Timestamp::from_second(second).ok()).ok_or_else(|| format!("{text:?} is before all time"))
}
