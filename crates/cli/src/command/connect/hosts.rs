//! The hosts that this machine is paired with.

use couplet_client::{CredentialStore, Credentials, StoreError};
use couplet_protocol::{Code, Endpoint};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::named;
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};
use crate::select::{self, Pick};
use crate::{table, time};

impl Pick for Credentials {
    fn id(&self) -> String {
        Credentials::id(self).as_str().to_owned()
    }

    fn name(&self) -> &str {
        &self.host_name
    }
}

/// `--list`.
pub(super) fn list(store: &dyn CredentialStore, json: bool) -> anyhow::Result<()> {
    let hosts = known(store)?;
    if json {
        let hosts: Vec<Value> = hosts.iter().map(as_json).collect();
        return Ok(output::json(&json!({ "hosts": hosts }))?);
    }
    if hosts.is_empty() {
        output::message("This machine is not paired with a host yet. Next: couplet connect LINK");
        return Ok(());
    }
    Ok(output::line(&as_table(&hosts))?)
}

/// `--forget`.
pub(super) fn forget(store: &dyn CredentialStore, wanted: &str, json: bool) -> anyhow::Result<()> {
    let hosts = known(store)?;
    let host = select::pick(&hosts, wanted, Code::NoSuchHost)?;
    store.remove(&Credentials::id(host)).map_err(|error| unusable(&error))?;
    if json {
        let mut told = named(host);
        told["forgotten"] = true.into();
        return Ok(output::json(&told)?);
    }
    output::message(&format!(
        "{} is forgotten here. Its owner still sees this device, and can revoke it.",
        plain(&host.host_name)
    ));
    Ok(())
}

/// Whether this machine is paired with nobody.
pub(super) fn none_known(store: &dyn CredentialStore) -> Result<bool, Failure> {
    store.list().map(|listing| listing.hosts.is_empty()).map_err(|error| unusable(&error))
}

/// The host of this name or id; without one, the only one.
pub(super) fn find(store: &dyn CredentialStore, wanted: Option<&str>) -> Result<Credentials, Failure> {
    let hosts = known(store)?;
    match (wanted, hosts.as_slice()) {
        (_, []) => {
            let next = "It is not paired with any yet. Ask a host's owner for a link (couplet pair), then: couplet \
                        connect LINK.";
            Err(Failure::of(Code::NoSuchHost, next))
        }
        (Some(wanted), hosts) => select::pick(hosts, wanted, Code::NoSuchHost).cloned(),
        (None, [only]) => Ok(only.clone()),
        (None, several) => Err(Failure::new(
            Exit::Usage,
            format!("This machine is paired with {} hosts", several.len()),
            format!("Name the one that you mean, as in couplet connect {}\n\n{}", several[0].id(), as_table(several)),
        )),
    }
}

/// Each known host once. What cannot be read is said and left out.
fn known(store: &dyn CredentialStore) -> Result<Vec<Credentials>, Failure> {
    let listing = store.list().map_err(|error| unusable(&error))?;
    for error in &listing.unusable {
        output::message(&format!("warning: {}", unusable(error)));
    }
    let mut hosts: Vec<Credentials> = Vec::new();
    for host in listing.hosts {
        // Of one host there may be finished and unfinished credentials.
        match hosts.iter_mut().find(|known| known.keys.host_key == host.keys.host_key) {
            Some(known) if host.is_paired() => *known = host,
            Some(_) => {}
            None => hosts.push(host),
        }
    }
    Ok(hosts)
}

/// What a store's error means for a command.
pub(super) fn unusable(error: &StoreError) -> Failure {
    Failure::of(Code::CredentialsUnusable, format!("{error}.\n{}", error.next_step()))
}

fn as_json(host: &Credentials) -> Value {
    let mut told = named(host);
    told["paired_at"] = paired_at(host).map(|at| at.to_string()).into();
    told["endpoints"] = host.endpoints.iter().map(shown).collect();
    told
}

fn as_table(hosts: &[Credentials]) -> String {
    let row = |host: &Credentials| {
        [
            plain(&host.host_name),
            Pick::id(host),
            paired_at(host).map_or_else(|| "not finished".to_owned(), |at| time::day(&at.to_string())),
            host.endpoints.iter().map(shown).collect::<Vec<_>>().join(", "),
        ]
    };
    let rows: Vec<_> = hosts.iter().map(row).collect();
    table::render(["NAME", "ID", "PAIRED", "ADDRESSES"], &rows)
}

fn paired_at(host: &Credentials) -> Option<Timestamp> {
    host.paired_at.and_then(|at| Timestamp::try_from(at).ok())
}

fn shown(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Lan(address) => address.to_string(),
        Endpoint::Relay(name) => format!("relay {name}"),
    }
}
