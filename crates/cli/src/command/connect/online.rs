//! While it runs: where it listens, and how things stand with the host.

use std::sync::Arc;
use std::time::SystemTime;

use couplet_client::{
    Attempt, AttemptError, Client, ConnectError, CredentialStore, HostId, Reason, RelayAccount, State,
};
use couplet_protocol::Code;
use http::HeaderValue;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use super::forward::{Forwarder, Names};
use super::hosts::unusable;
use super::place::Place;
use crate::failure::{Exit, Failure};
use crate::output;
use crate::signals::Signals;

/// Which host.
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) name: String,
}

/// Forwards until a signal comes or the host ends it, and tells how things stand.
pub(super) async fn run(
    host: Host,
    (store, account): (Arc<dyn CredentialStore>, Option<RelayAccount>),
    place: Place,
    app: Option<HeaderValue>,
    json: bool,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let client = Client::connect_as(host.id.clone(), store, account).await.map_err(|error| match error {
        ConnectError::Store(error) => unusable(&error),
        ConnectError::Unknown(_) => Failure::of(
            Code::NoSuchHost,
            format!("It was forgotten meanwhile: {error}.\nSee which there are: couplet connect --list."),
        ),
    })?;
    let client = Arc::new(client);
    let names = Names::of(&place)?;
    let url = names.url();
    let forwarder = Forwarder::new(client.clone(), app, names);
    let _forwarding = AbortOnDropHandle::new(tokio::spawn(forwarder.run(place.listener)));
    if json {
        output::json(&json!({"event": "ready", "url": url, "host": host.name, "host_id": host.id.as_str()}))?;
    } else {
        output::message(&format!("{} is at {url}", host.name));
    }
    let mut states = client.state();
    loop {
        let now = states.borrow_and_update().clone();
        match json {
            true => output::json(&line(&now))?,
            false => output::message(&sentence(&now, &host.name)),
        }
        if now.is_final() {
            return Err(over(&now, &host).into());
        }
        tokio::select! {
            changed = states.changed() => changed?,
            _ = signals.next() => {
                client.close().await;
                return Ok(());
            }
        }
    }
}

/// A state as a line of JSON.
fn line(state: &State) -> Value {
    let mut line = json!({"event": "state", "state": state.name()});
    match state {
        State::Direct { endpoint } => line["endpoint"] = endpoint.to_string().into(),
        State::Relay { relay } => line["relay"] = relay.as_str().into(),
        State::Offline { since, reason } => {
            line["since"] = time(*since).into();
            line["reason"] = reason.to_string().into();
            if let Some((_, failure)) = reason.relay() {
                line["code"] = failure.code().to_string().into();
            }
        }
        _ => {}
    }
    line
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A state as people read it.
fn sentence(state: &State, host: &str) -> String {
    match state {
        State::Connecting => format!("Connecting with {host}…"),
        State::Direct { endpoint } => format!("Connected with {host}, straight over this network ({endpoint})."),
        State::Relay { relay } => format!("Connected with {host} through the relay {relay}."),
        State::Offline { reason, .. } => {
            let reason = reason.to_string().replace('\n', "\n  ");
            format!("No connection with {host}: {reason}\nTrying again…{}{}", warning(state), relay_step(state))
        }
        State::Revoked | State::Expired => format!("{host} has ended this device's access."),
        other => format!("{host}: {}", other.name()),
    }
}

/// What a host without the pinned key can mean.
fn warning(state: &State) -> &'static str {
    match state {
        State::Offline { reason, .. } if reason.is_wrong_key() => {
            "\nWhat answers there does not have the key that this machine is paired with. Another machine may have the \
             address now, the host may have been set up anew, or someone pretends to be it (CPL-1604). Nothing was \
             sent to it. More: couplet explain CPL-1604"
        }
        State::Offline { reason: Reason::Unreachable(attempts), .. } if attempts.iter().any(is_refusal) => {
            "\nNothing proves that the host itself said this: another machine may have its address now, or it was set up \
             anew. The credentials are kept."
        }
        _ => "",
    }
}

/// What to do about the relay, when it is the last way that failed.
fn relay_step(state: &State) -> String {
    match state {
        State::Offline { reason, .. } => {
            reason.relay().map(|(relay, failure)| format!("\n{}", failure.next_step(relay))).unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn is_refusal(attempt: &Attempt) -> bool {
    matches!(attempt.failure, AttemptError::Refused(_))
}

/// Why there is nothing left to do.
fn over(state: &State, host: &Host) -> Failure {
    let detail = match state {
        State::Expired => format!("The time that {} gave this device is over. Its owner can give it more.", host.name),
        _ => format!(
            "The owner of {} revoked this device. To forget the host: couplet connect --forget {}",
            host.name, host.id
        ),
    };
    Failure { exit: Exit::Refused, ..Failure::of(Code::AccessOver, detail) }
}

#[cfg(test)]
mod tests {
    use couplet_protocol::frame::CloseCode;

    use super::*;

    #[test]
    fn states_are_lines_and_sentences() {
        let direct = State::Direct { endpoint: "192.168.1.2:7878".parse().unwrap() };
        assert_eq!(line(&direct), json!({"event": "state", "state": "direct", "endpoint": "192.168.1.2:7878"}));
        let relay = couplet_protocol::RelayName::parse("relay.example").unwrap();
        let relay = State::Relay { relay };
        assert_eq!(line(&relay), json!({"event": "state", "state": "relay", "relay": "relay.example"}));
        assert_eq!(sentence(&relay, "nas"), "Connected with nas through the relay relay.example.");
        let since = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let offline = State::Offline { since, reason: Reason::Closed(CloseCode::Leaving) };
        let expected =
            json!({"event": "state", "state": "offline", "since": "1970-01-01T00:00:01Z", "reason": "it stopped"});
        assert_eq!(line(&offline), expected);
        assert_eq!(sentence(&offline, "nas"), "No connection with nas: it stopped\nTrying again…");
    }
}
