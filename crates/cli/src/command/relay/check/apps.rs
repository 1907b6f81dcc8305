//! The origins of apps, as a phone's browser needs them: the wildcard name, its certificate, and the relay behind it.

use std::net::SocketAddr;

use couplet_client::RelayFailure;
use couplet_client::relay::{self, Answer, Connection};
use couplet_protocol::{Code, RelayName};
use http::{Request, StatusCode};
use serde_json::Value;
use tokio_rustls::TlsConnector;

use super::{Report, beneath};
use crate::failure::{Exit, Failure};

/// A name that a phone could have made for an app.
const LABEL: &str = "couplet234couplet234couple";

/// Goes there, where this relay shows apps. `addresses` are the relay's.
pub(super) async fn steps(
    name: &RelayName,
    addresses: &[SocketAddr],
    tls: &TlsConnector,
    report: &mut Report,
) -> Result<(), Failure> {
    let said = |_| Failure::said(Exit::Failure);
    let served = ask(name, addresses, tls, "/p/config.json").await.map_err(|failure| {
        beneath(&failure, "Is the address the relay's, at its devices' port, and are both of the same version?")
    })?;
    let Some(pattern) = served.as_ref().and_then(|config| config["apps"].as_str()) else {
        return report.ok("apps", "none in phones' browsers: --apps-domain would show them").map_err(said);
    };
    let named = pattern.strip_prefix("https://*.").and_then(|domain| RelayName::parse(&format!("{LABEL}.{domain}")));
    let Some(app) = named else {
        let failure = RelayFailure::broken("it names no domain for apps");
        return Err(beneath(&failure, "Is the address the relay's, and are both of the same version?"));
    };
    let client = origin(&app, addresses, tls).await.map_err(|failure| {
        let domain = app.as_str().trim_start_matches(LABEL);
        let domain = domain.split(':').next().unwrap_or_default();
        let next = match failure.code() {
            Code::RelayUntrusted => {
                format!("--apps-cert, or else --tls-cert, must be for *{domain}, and must not have expired.")
            }
            Code::RelayBroken => format!("Does *{domain} lead to this relay, and to its devices' port?"),
            _ => {
                format!("Phones open apps below that name: does the DNS have *{domain}, and does it lead to the relay?")
            }
        };
        beneath(&failure, &next)
    })?;
    let domain = app.as_str().trim_start_matches(LABEL);
    report.ok("apps", &format!("*{domain}, trusted, for the pages at {client}")).map_err(said)
}

/// Which pages may show apps there.
async fn origin(app: &RelayName, addresses: &[SocketAddr], tls: &TlsConnector) -> Result<String, RelayFailure> {
    // What is below `localhost` browsers take for this machine, and not every resolver does (RFC 6761, 6.3).
    let host = app.as_str().split(':').next().unwrap_or_default();
    let found = if host.ends_with(".localhost") { addresses.to_vec() } else { relay::lookup(app).await? };
    let config = ask(app, &found, tls, "/.couplet/config.json").await?;
    let client = config.as_ref().and_then(|config| config["client"].as_str());
    let named = client.and_then(|client| RelayName::parse(client.strip_prefix("https://")?));
    named
        .map(|name| format!("https://{name}"))
        .ok_or_else(|| RelayFailure::broken("something else than the relay answers there"))
}

/// What is there in JSON; None: nothing is there.
async fn ask(
    name: &RelayName,
    addresses: &[SocketAddr],
    tls: &TlsConnector,
    path: &'static str,
) -> Result<Option<Value>, RelayFailure> {
    let stream = relay::connect(name, addresses.to_vec()).await?;
    let at = stream.peer_addr().map_err(|error| RelayFailure::new(Code::RelayUnreachable, error.to_string()))?;
    let stream = relay::secure(tls, name, stream).await?;
    let mut connection = Connection::over(stream, name, at).await?;
    let answer = Answer::read(connection.request(Request::get(path), None).await?).await;
    let body = answer.body.filter(|_| answer.status == StatusCode::OK);
    Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
}
