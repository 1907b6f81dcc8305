//! `couplet serve`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use couplet_host::{Host, Ready, StartError};
use couplet_protocol::Code;
use couplet_protocol::api::{Event, EventKind};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Global;
use super::asked::{Asked, about_pin};
use crate::args::Serve;
use crate::config::{self, Environment};
use crate::failure::Failure;
use crate::output::{self, quoted};
use crate::signals::Signals;

/// Runs the host until a signal ends it.
pub(super) fn run(global: &Global, args: &Serve) -> anyhow::Result<()> {
    let loaded = config::load(global, &args.settings, &Environment::of_process()?)?;
    couplet_host::telemetry::init(&config::log_filter("couplet=info"), output::colour());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let next = next_step(global, &loaded);
    runtime.block_on(serve(loaded.config, &next, args.json.json))
}

/// The command that finds this host from another terminal.
fn next_step(global: &Global, loaded: &config::Loaded) -> String {
    let origin = loaded.origin("state_dir");
    // Only this command line knows of the folder; the environment and the usual file count for the next one too.
    let named_here = origin.starts_with("flag") || (origin.starts_with("file") && global.config.is_some());
    match named_here {
        true => format!("couplet pair --state-dir {}", quoted(&loaded.config.state_dir.to_string_lossy())),
        false => "couplet pair".to_owned(),
    }
}

async fn serve(config: couplet_host::Config, next: &str, json: bool) -> anyhow::Result<()> {
    // Before anything is opened: from here on a signal means "drain".
    let signals = Signals::without_hangup().context("cannot listen for signals")?;
    let shutdown = CancellationToken::new();
    let has_apps = !config.apps.is_empty();
    let host = Host::bind(config).await.map_err(|error| failure(&error))?;
    let ready = host.ready();
    let mut events = host.events();
    // The link is a secret: not for a log.
    let login = if !json && output::is_seen() { host.login_links().into_iter().next() } else { None };

    let drain = shutdown.clone();
    let on_signal = tokio::spawn(async move { drain_then_exit(signals, &drain).await });
    let served = host.serve(shutdown.clone());
    tokio::pin!(served);
    if json {
        output::json(&Line::of(&ready))?;
    } else {
        output::message(&banner(&ready, login.as_deref(), has_apps, next));
    }
    tokio::select! {
        () = &mut served => {}
        told = tell(&mut events, json) => {
            // Nobody reads the events any more: the reader is gone, and so is the reason to run.
            shutdown.cancel();
            served.await;
            on_signal.abort();
            return told.map_err(Into::into);
        }
    }
    on_signal.abort();
    Ok(())
}

fn failure(error: &StartError) -> Failure {
    Failure::of(error.code(), error.detail())
}

/// Writes each event as a line; without `--json`, a message for those that the owner waits for at this terminal.
async fn tell(events: &mut Receiver<Arc<Event>>, json: bool) -> std::io::Result<()> {
    let mut asked = Asked::default();
    loop {
        match events.recv().await {
            // Nor is a line for programs a place for it: it ends in a service's log.
            Ok(event) if json => output::json(&Event { pin: None, ..Event::clone(&event) })?,
            Ok(event) => {
                about_relay(&event).iter().for_each(|text| output::message(text));
                let text = about_pin(&event, output::is_seen()).and_then(|text| asked.paced(text, Instant::now()));
                text.iter().for_each(|text| output::message(text));
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(target: "couplet::events", missed, "stdout is read too slowly; events were left out");
            }
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// What became of the link to the relay.
fn about_relay(event: &Event) -> Option<String> {
    let relay = event.relay.as_deref().unwrap_or("the relay");
    let code = event.code.as_deref().map(|code| format!(" ({code}; couplet explain {code})")).unwrap_or_default();
    match event.event {
        EventKind::RelayConnected => Some(format!("Linked to {relay}: devices reach this host from anywhere.")),
        EventKind::RelayLost => Some(format!("No link to {relay}{code}. It is tried again and again.")),
        EventKind::RelayRefused if is_of_account(event) => Some(format!(
            "{relay} does not take this host's account{code}. Devices that come through it already still do, others \
                 cannot until the file of --relay-account-token-file holds a token that counts. It is read anew every \
                 few seconds."
        )),
        EventKind::RelayRefused => {
            Some(format!("{relay} refuses this host{code}, and is not asked again. Enrol anew: couplet enroll TOKEN"))
        }
        _ => None,
    }
}

/// Whether the relay's no is to the token that says who the owner is.
fn is_of_account(event: &Event) -> bool {
    let codes = [Code::AccountInvalid, Code::AccountExpired, Code::AccountUnreadable, Code::AccountsUnavailable];
    event.code.as_deref().and_then(Code::parse).is_some_and(|code| codes.contains(&code))
}

/// The first signal drains, the second one ends the process.
async fn drain_then_exit(mut signals: Signals, drain: &CancellationToken) {
    signals.next().await;
    drain.cancel();
    output::message("Finishing open requests. Once more to end at once.");
    let number = signals.next().await;
    std::process::exit(128 + number);
}

/// The first line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    pairing: &'a [String],
    gateway: Vec<Gateway<'a>>,
    state_dir: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<&'a str>,
}

#[derive(Serialize)]
struct Gateway<'a> {
    name: &'a str,
    url: &'a str,
}

impl<'a> Line<'a> {
    fn of(ready: &'a Ready) -> Self {
        Line {
            event: "ready",
            pairing: &ready.pairing,
            gateway: ready.gateway.iter().map(|app| Gateway { name: &app.name, url: &app.url }).collect(),
            state_dir: ready.state_dir.to_string_lossy(),
            relay: ready.relay.as_deref(),
            phone: ready.phone.as_deref(),
        }
    }
}

/// What people see when the host has started.
fn banner(ready: &Ready, login: Option<&str>, has_apps: bool, next: &str) -> String {
    let mut text = format!("Couplet {}\n", env!("CARGO_PKG_VERSION"));
    let shown: Vec<&String> = match ready.reachable {
        true => ready.pairing.iter().filter(|url| !is_loopback(url)).collect(),
        false => ready.pairing.iter().collect(),
    };
    let width = ready
        .gateway
        .iter()
        .map(|app| app.name.len())
        .max()
        .unwrap_or(0)
        .max(if login.is_some() { "dashboard" } else { "pairing" }.len());
    for (at, url) in shown.iter().enumerate() {
        let label = if at == 0 { "pairing" } else { "" };
        text += &format!("\n  {label:width$}  {url}");
    }
    for app in &ready.gateway {
        text += &format!("\n  {:width$}  {}", app.name, app.url);
    }
    if let Some(login) = login {
        text += &format!("\n  {:width$}  {login}  (once, within 10 minutes)", "dashboard");
    }
    if let Some(relay) = &ready.relay {
        text += &format!("\n  {:width$}  {relay}, linking …", "relay");
    }
    if let Some(phone) = &ready.phone {
        text += &format!("\n  {:width$}  {phone}", "phones");
    }
    text += &format!("\n  {:width$}  {}\n", "state", ready.state_dir.display());
    if !ready.reachable {
        text += "\nOnly this machine can reach these addresses: no phone can.\nConnect it to a network (the default \
                 addresses follow), or name an address with --listen.\nMore: couplet explain CPL-1407\n";
    }
    if !has_apps {
        text += "\nNo app is behind the gateway yet: couplet serve http://127.0.0.1:3000\n";
    }
    text += &format!("\nNext, in another terminal: {next}");
    text
}

fn is_loopback(url: &str) -> bool {
    ["http://127.", "http://[::1]", "http://localhost"].iter().any(|prefix| url.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use couplet_host::GatewayUrl;

    use super::*;

    fn ready(pairing: &[&str], reachable: bool) -> Ready {
        Ready {
            pairing: pairing.iter().map(|url| (*url).to_owned()).collect(),
            gateway: vec![GatewayUrl { name: "web".into(), url: "http://192.168.1.42:7879".into() }],
            state_dir: "/s".into(),
            reachable,
            relay: None,
            phone: None,
        }
    }

    #[test]
    fn the_banner_names_what_a_phone_can_reach_and_the_next_step() {
        let text = banner(
            &ready(&["http://127.0.0.1:7878", "http://192.168.1.42:7878"], true),
            Some("http://192.168.1.42:7878/#login=log_A"),
            true,
            "couplet pair",
        );
        assert_eq!(
            text,
            format!(
                "Couplet {}\n\n  pairing    http://192.168.1.42:7878\n  web        http://192.168.1.42:7879\n  \
                 dashboard  http://192.168.1.42:7878/#login=log_A  (once, within 10 minutes)\n  state      /s\n\n\
                 Next, in another terminal: couplet pair",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn loopback_alone_is_shown_and_said_to_be_of_no_use_to_a_phone() {
        let text = banner(&ready(&["http://127.0.0.1:7878"], false), None, false, "couplet pair");
        assert!(text.contains("http://127.0.0.1:7878") && text.contains("no phone can"), "{text}");
        assert!(text.contains("No app is behind the gateway"), "{text}");
    }

    #[test]
    fn the_banner_names_the_relay_and_the_messages_say_how_it_is() {
        let ready = Ready { relay: Some("relay.example".into()), ..ready(&["http://192.168.1.42:7878"], true) };
        assert!(banner(&ready, None, true, "x").contains("\n  relay    relay.example, linking …\n"), "{ready:?}");
        assert!(serde_json::to_string(&Line::of(&ready)).unwrap().ends_with(r#","relay":"relay.example"}"#));
        let event = r#"{"id":1,"at":"","event":"relay.refused","relay":"relay.example","code":"CPL-1811"}"#;
        let said = about_relay(&serde_json::from_str(event).unwrap()).unwrap();
        assert!(said.contains("relay.example refuses this host (CPL-1811"), "{said}");
        let said = about_relay(&serde_json::from_str(&event.replace("1811", "1827")).unwrap()).unwrap();
        assert!(said.contains("this host's account (CPL-1827") && !said.contains("enroll"), "{said}");
    }

    #[test]
    fn the_ready_line_is_the_documented_one() {
        let line = serde_json::to_string(&Line::of(&ready(&["http://127.0.0.1:1"], false))).unwrap();
        assert_eq!(
            line,
            r#"{"event":"ready","pairing":["http://127.0.0.1:1"],"gateway":[{"name":"web","url":"http://192.168.1.42:7879"}],"state_dir":"/s"}"#
        );
    }
}
