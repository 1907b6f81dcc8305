//! `couplet relay serve`.

use anyhow::Context;
use couplet_relay::{Config, Ready, Relay, StartError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::args::{Global, RelayServe};
use crate::config::{Environment, Loaded, log_filter, relay};
use crate::failure::Failure;
use crate::output::{self, quoted};
use crate::signals::Signals;

/// Runs the relay until a signal ends it.
pub(super) fn run(global: &Global, args: &RelayServe) -> anyhow::Result<()> {
    let loaded = relay::load(global, &args.settings, &Environment::of_process()?)?;
    couplet_host::telemetry::init(&log_filter("couplet=info"), output::colour());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let next = next_step(global, &loaded);
    runtime.block_on(serve(loaded.config, &next, args.json.json))
}

/// The command that invites a host from another terminal.
fn next_step(global: &Global, loaded: &Loaded<Config>) -> String {
    let origin = loaded.origin("state_dir");
    let named_here = origin.starts_with("flag") || (origin.starts_with("file") && global.config.is_some());
    match named_here {
        true => format!("couplet relay invite --state-dir {}", quoted(&loaded.config.state_dir.to_string_lossy())),
        false => "couplet relay invite".to_owned(),
    }
}

async fn serve(config: Config, next: &str, json: bool) -> anyhow::Result<()> {
    let signals = Signals::without_hangup().context("cannot listen for signals")?;
    let (stop, dev) = (CancellationToken::new(), config.dev);
    let relay = Relay::bind(config).await.map_err(|error| failure(&error))?;
    let ready = relay.ready();
    let drain = stop.clone();
    let on_signal = tokio::spawn(drain_then_exit(signals, drain));
    let served = relay.serve(stop);
    if json {
        output::json(&line(&ready))?;
    } else {
        output::message(&banner(&ready, dev, next));
    }
    let served = served.await;
    on_signal.abort();
    Ok(served.map_err(|error| failure(&error))?)
}

async fn drain_then_exit(mut signals: Signals, drain: CancellationToken) {
    signals.next().await;
    drain.cancel();
    output::message("No session begins any more; those that run may end. Once more to end at once.");
    let number = signals.next().await;
    std::process::exit(128 + number);
}

fn failure(error: &StartError) -> Failure {
    Failure::of(error.code(), error.detail())
}

/// The first line of `--json`.
fn line(ready: &Ready) -> serde_json::Value {
    let private: Vec<String> = ready.bound.private.iter().map(|at| format!("http://{at}")).collect();
    json!({
        "event": "ready", "public": ready.public, "hosts": ready.hosts, "private": private,
        "ca": ready.ca.to_string_lossy(), "state_dir": ready.state_dir.to_string_lossy(),
    })
}

/// What people see when the relay has started.
fn banner(ready: &Ready, dev: bool, next: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("Couplet {version}, relay\n\n  devices  {}\n  hosts    {}\n", ready.public, ready.hosts);
    for address in &ready.bound.private {
        text += &format!("  private  http://{address}\n");
    }
    text += &format!("  state    {}\n", ready.state_dir.display());
    if dev {
        text += &format!(
            "\nThe certificate is of this relay's own CA: devices and hosts are told to trust it with\n--relay-ca {}\n",
            quoted(&ready.ca.to_string_lossy())
        );
    }
    text + &format!("\nNext, in another terminal: {next}")
}

#[cfg(test)]
mod tests {
    use couplet_relay::Bound;

    use super::*;

    fn ready() -> Ready {
        Ready {
            public: "https://localhost:8442".into(),
            hosts: "https://localhost:8443".into(),
            bound: Bound { private: vec!["127.0.0.1:9000".parse().unwrap()], ..Bound::default() },
            ca: "/s/ca.pem".into(),
            state_dir: "/s".into(),
        }
    }

    #[test]
    fn the_ready_line_is_the_documented_one() {
        assert_eq!(
            line(&ready()).to_string(),
            r#"{"event":"ready","public":"https://localhost:8442","hosts":"https://localhost:8443","private":["http://127.0.0.1:9000"],"ca":"/s/ca.pem","state_dir":"/s"}"#
        );
    }

    #[test]
    fn the_banner_names_the_listeners_the_ca_and_the_next_step() {
        let text = banner(&ready(), true, "couplet relay invite");
        for part in ["devices  https://localhost:8442", "hosts    https://localhost:8443", "--relay-ca /s/ca.pem"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.ends_with("couplet relay invite") && !banner(&ready(), false, "x").contains("--relay-ca"));
    }
}
