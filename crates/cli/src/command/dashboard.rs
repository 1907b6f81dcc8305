//! `couplet dashboard`.

use couplet_protocol::api::LoginLinks;
use reqwest::Method;

use super::Global;
use crate::args::Json;
use crate::output;

/// Prints a one-time link to the dashboard, at each address where it is served.
pub(super) async fn run(global: &Global, json: Json) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    let links: LoginLinks = client.json(Method::POST, "/api/owner/links", None::<&()>).await?;
    if json.json {
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

/// Ends every session of the dashboard.
pub(super) async fn sign_out(global: &Global) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    client.done(Method::DELETE, "/api/owner/sessions").await?;
    output::message("Every browser is signed out, and links that nobody has opened yet have ended.");
    Ok(())
}
