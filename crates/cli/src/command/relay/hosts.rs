//! `couplet relay hosts`.

use couplet_protocol::Code;
use couplet_relay::control::{Hosts as Listed, ListedHost};
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::control::Control;
use crate::args::{Global, Hosts, HostsCommand};
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};
use crate::select::{self, Pick};
use crate::{table, time};

impl Pick for ListedHost {
    fn id(&self) -> String {
        self.host_id.clone()
    }

    fn name(&self) -> &str {
        &self.host_id
    }
}

/// Lists or revokes.
pub(super) async fn run(global: &Global, args: Hosts) -> anyhow::Result<()> {
    let relay = super::running(global)?;
    match args.command.unwrap_or(HostsCommand::List { json: args.json }) {
        HostsCommand::List { json } => list(&relay, json.json).await,
        HostsCommand::Revoke { host, yes, json } => {
            let may_ask = !global.no_input && output::can_ask();
            revoke(&relay, &host, yes, may_ask, json.json).await
        }
    }
}

async fn all(relay: &Control) -> Result<Vec<ListedHost>, Failure> {
    Ok(relay.json::<Listed>(Method::GET, "/hosts", None::<&()>).await?.hosts)
}

async fn list(relay: &Control, json: bool) -> anyhow::Result<()> {
    let hosts = all(relay).await?;
    if json {
        return Ok(output::json(&Listed { hosts })?);
    }
    if hosts.is_empty() {
        output::message("No host is enrolled yet. Next: couplet relay invite");
        return Ok(());
    }
    Ok(output::line(&as_table(&hosts, Timestamp::now()))?)
}

fn as_table(hosts: &[ListedHost], now: Timestamp) -> String {
    let row = |host: &ListedHost| {
        let state = match (&host.revoked_at, host.online) {
            (Some(at), _) => format!("revoked {}", time::day(at)),
            (None, true) => "online".to_owned(),
            (None, false) => "offline".to_owned(),
        };
        let seen = host.last_seen.as_ref().map_or_else(|| "never".to_owned(), |at| time::ago(at, now));
        [plain(&host.host_id), time::day(&host.enrolled_at), seen, state]
    };
    table::render(["ID", "ENROLLED", "LAST SEEN", "STATE"], &hosts.iter().map(row).collect::<Vec<_>>())
}

async fn revoke(relay: &Control, wanted: &str, yes: bool, may_ask: bool, json: bool) -> anyhow::Result<()> {
    if !yes && !may_ask {
        let detail = "There is nobody to ask. If you mean it, add --yes.";
        return Err(Failure::new(Exit::Usage, "Revoking needs a confirmation", detail).into());
    }
    let hosts = all(relay).await?;
    let host = select::pick(&hosts, wanted, Code::NotEnrolledHere)?;
    let id = plain(&host.host_id);
    let question = format!("Revoke {id}, enrolled {}? Its connections end at once.", time::day(&host.enrolled_at));
    if !yes && !output::confirm(&question)? {
        return Err(Failure::new(Exit::Refused, "Nothing was revoked", "").into());
    }
    relay.json::<Value>(Method::POST, &format!("/hosts/{}/revoke", host.host_id), None::<&()>).await?;
    if json {
        output::json(&json!({"host_id": host.host_id, "revoked": true}))?;
    } else {
        output::message(&format!("{id} is revoked."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_who_is_there() {
        let host = |revoked: Option<&str>, online| ListedHost {
            host_id: "3f2a0000-0000-4000-8000-000000000001".into(),
            enrolled_at: "2026-11-01T10:00:00Z".into(),
            last_seen: Some("2026-11-25T09:00:00Z".into()),
            revoked_at: revoked.map(Into::into),
            online,
        };
        let hosts = [host(None, true), host(None, false), host(Some("2026-11-20T00:00:00Z"), false)];
        let text = as_table(&hosts, "2026-11-25T10:00:00Z".parse().unwrap());
        let states: Vec<&str> = text.lines().skip(1).map(|line| line.rsplit("  ").next().unwrap()).collect();
        assert_eq!(states, ["online", "offline", "revoked 2026-11-20"], "{text}");
    }
}
