//! `couplet dashboard`: signs browsers in and out, and lists them.

use couplet_protocol::Code;
use couplet_protocol::api::{LoginLinks, OwnerSessionInfo, OwnerSessionList};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::Global;
use crate::args::Dashboard;
use crate::client::Client;
use crate::output::{self, plain};
use crate::select::{self, Pick};
use crate::{table, time};

const SESSIONS: &str = "/api/owner/sessions";

impl Pick for OwnerSessionInfo {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn name(&self) -> &str {
        self.browser.as_deref().unwrap_or("a browser")
    }
}

pub(super) async fn run(global: &Global, args: Dashboard) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    match args.sign_out {
        Some(Some(browser)) => sign_out(&client, &browser).await,
        Some(None) => sign_out_all(&client).await,
        None if args.list => list(&client, args.json.json).await,
        None => link(&client, args.json.json).await,
    }
}

/// Prints a one-time link to the dashboard, at each address where it is served.
async fn link(client: &Client, json: bool) -> anyhow::Result<()> {
    let links: LoginLinks = client.json(Method::POST, "/api/owner/links", None::<&()>).await?;
    if json {
        output::json(&links)?;
        return Ok(());
    }
    output::message(match links.urls.len() {
        1 => "Open this within 10 minutes. It signs one browser in, once:",
        _ => "Open one of these within 10 minutes. It signs one browser in, once; the last stays on this machine:",
    });
    for url in &links.urls {
        output::line(url)?;
    }
    Ok(())
}

/// Lists the browsers that are signed in.
async fn list(client: &Client, json: bool) -> anyhow::Result<()> {
    let answer: Value = client.get(SESSIONS).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let sessions = serde_json::from_value::<OwnerSessionList>(answer)?.sessions;
    if sessions.is_empty() {
        output::message("No browser is signed in. Next: couplet dashboard");
        return Ok(());
    }
    Ok(output::line(&as_table(&sessions, Timestamp::now()))?)
}

fn as_table(sessions: &[OwnerSessionInfo], now: Timestamp) -> String {
    let row = |session: &OwnerSessionInfo| {
        [
            select::short(session.id),
            plain(session.name()),
            plain(&session.network),
            time::ago(&session.created_at, now),
            time::ago(&session.last_used, now),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    table::render(["ID", "BROWSER", "ADDRESS", "SIGNED IN", "LAST USED"], &rows)
}

/// Ends one session of the dashboard.
async fn sign_out(client: &Client, wanted: &str) -> anyhow::Result<()> {
    let sessions = client.get::<OwnerSessionList>(SESSIONS).await?.sessions;
    let session = select::pick(&sessions, wanted, Code::NoSuchOwnerSession)?;
    client.done(Method::DELETE, &format!("{SESSIONS}/{}", session.id)).await?;
    output::message(&format!("{} at {} is signed out.", plain(session.name()), plain(&session.network)));
    Ok(())
}

/// Ends every session of the dashboard.
async fn sign_out_all(client: &Client) -> anyhow::Result<()> {
    client.done(Method::DELETE, SESSIONS).await?;
    output::message("Every browser is signed out, and links that nobody has opened yet have ended.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_table_tells_browsers_apart() {
        let now: Timestamp = "2026-01-10T14:32:00Z".parse().unwrap();
        let phone = OwnerSessionInfo {
            id: Uuid::from_u128(0x3f2a << 112),
            browser: Some("Firefox on Android".into()),
            network: "192.168.1.7".into(),
            created_at: "2026-01-10T12:00:00Z".into(),
            last_used: "2026-01-10T14:30:00Z".into(),
            expires_at: "2026-01-10T15:30:00Z".into(),
            current: false,
        };
        let script = OwnerSessionInfo { id: Uuid::from_u128(1 << 112), browser: None, ..phone.clone() };
        assert_eq!(
            as_table(&[phone, script], now),
            "\
ID        BROWSER             ADDRESS      SIGNED IN  LAST USED
3f2a0000  Firefox on Android  192.168.1.7  2 h ago    2 min ago
00010000  a browser           192.168.1.7  2 h ago    2 min ago"
        );
    }
}
