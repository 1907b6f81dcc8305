//! `couplet connect`: this machine as a device.

mod by_pin;
mod digits;
mod forward;
mod hosts;
mod lines;
mod nearby;
mod online;
mod pairing;
mod place;
pub(super) mod relay_ca;

use std::cell::OnceCell;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use couplet_client::{AccountFile, CredentialStore, Credentials, FileStore, PinPairing, RelayAccount};
use couplet_protocol::Code;
use etcetera::BaseStrategy;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::Global;
use crate::args::Connect;
use crate::config::{ACCOUNT_AT_VARIABLE, ACCOUNT_TOKEN_VARIABLE};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::signals::Signals;

/// The longest text that is read from stdin, in bytes: a link is a few hundred.
const LINK_MAX: u64 = 4096;

/// Pairs if there is a link, then forwards until a signal ends it.
pub(super) fn run(global: &Global, args: Connect) -> anyhow::Result<()> {
    refuse_hosts_options(global)?;
    let store = store()?;
    if args.list {
        return hosts::list(&*store, args.json.json);
    }
    if let Some(wanted) = &args.forget {
        return hosts::forget(&*store, wanted, args.json.json);
    }
    if args.nearby && args.json.json {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(nearby::list());
    }
    couplet_host::telemetry::init(&crate::config::log_filter("couplet=warn"), output::colour());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(connect(args, store, !global.no_input))
}

/// Refuses the options of every command that name a host's files: a device has none of them.
fn refuse_hosts_options(global: &Global) -> Result<(), Failure> {
    let given = [("--state-dir", &global.state_dir), ("--config", &global.config)];
    match given.iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::new(
            Exit::Usage,
            format!("couplet connect takes no {option}"),
            "It is a device, and has no host's folder or settings. Leave it out; XDG_DATA_HOME names the folder that \
             its credentials are in.",
        )),
    }
}

async fn connect(args: Connect, store: Arc<dyn CredentialStore>, may_ask: bool) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let relay_ca = args.relay_ca.as_deref().map(relay_ca::read).transpose()?;
    // Before anything is paired: a port that is taken must not cost a link. An app's own address is never taken.
    let named = match args.listen {
        Some(at) => Some(place::named(at).await?),
        None => None,
    };
    let account = account(&args)?;
    // Who is paired with nobody yet, and sits at a terminal, is shown who is there.
    let looks = args.nearby
        || (args.target.is_none() && !args.json.json && may_ask && output::can_ask() && hosts::none_known(&*store)?);
    let target = args.target.as_deref().unwrap_or_default();
    let pairs = looks || target == "-" || is_link(target) || by_pin::is_address(target);
    let credentials = if pairs {
        let asked = OnceCell::new();
        let pairing = async {
            let (link, invited) = link(target, &args, (looks, may_ask), &asked).await?;
            pairing::pair(&link, &args, (relay_ca, account.clone()), &store, invited).await
        };
        tokio::select! {
            paired = pairing => paired?,
            _ = signals.next() => {
                if let Some(request) = asked.get() {
                    by_pin::withdraw(request).await;
                }
                output::message("Cancelled.");
                return Err(Failure::said(Exit::Failure).into());
            }
        }
    } else {
        let credentials = hosts::find(&*store, args.target.as_deref())?;
        if let Some(relay_ca) = relay_ca {
            relay_ca::keep(&*store, &credentials.id(), &relay_ca)?;
        }
        credentials
    };
    let place = match named {
        Some(named) => named,
        None => place::own(&credentials, args.app.as_ref()).await?,
    };
    let host = online::Host { id: credentials.id(), name: output::plain(&credentials.host_name) };
    online::run(host, (store, account), place, args.app, args.json.json, signals).await
}

/// Where the token is by which a relay knows this machine's owner, and which relay.
fn account(args: &Connect) -> Result<Option<RelayAccount>, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let file = args.relay_account_token_file.clone().or_else(|| variable(ACCOUNT_TOKEN_VARIABLE).map(PathBuf::from));
    let Some(file) = file else { return Ok(None) };
    let variable = || variable(ACCOUNT_AT_VARIABLE).map(|relay| relay.to_string_lossy().into_owned());
    let relay = args.relay_account_at.clone().or_else(variable);
    let next = "Name the relay that may see it: --relay-account-at RELAY, or COUPLET_RELAY_ACCOUNT_AT. A link can lead to \
                any relay, and one that was shown the token could use it elsewhere.";
    let nowhere = || Failure::new(Exit::Usage, "The account token is for no relay", next);
    let relay = super::relay::named(&relay.ok_or_else(nowhere)?)?;
    Ok(Some(RelayAccount { relay, file: AccountFile::new(file) }))
}

/// Where this user's credentials are.
fn store() -> Result<Arc<dyn CredentialStore>, Failure> {
    let base = etcetera::choose_base_strategy().map_err(|_| {
        Failure::of(Code::CredentialsUnusable, "There is no home folder to keep them in: set HOME or XDG_DATA_HOME.")
    })?;
    Ok(Arc::new(FileStore::new(base.data_dir().join("couplet").join("hosts"))))
}

/// Whether it is meant as a link: host names are not, whatever they are.
fn is_link(text: &str) -> bool {
    let text = text.trim_start();
    ["couplet:", "https://"].iter().any(|start| text.get(..start.len()).is_some_and(|t| t.eq_ignore_ascii_case(start)))
}

/// The link to pair by: it is the argument, or on stdin, or the host at this address gives one for its PIN, which a person
/// has to vouch for.
async fn link(
    target: &str,
    args: &Connect,
    (looks, may_ask): (bool, bool),
    asked: &OnceCell<PinPairing>,
) -> Result<(Zeroizing<String>, Option<by_pin::Invited>), Failure> {
    if target == "-" {
        return Ok((read_link()?, None));
    }
    if !looks && !by_pin::is_address(target) {
        return Ok((Zeroizing::new(target.to_owned()), None));
    }
    let named = if looks { None } else { Some(by_pin::address(target)?) };
    // One reader for all that is asked: each would take lines that are for the next one.
    let reader = || if may_ask { lines::Lines::read().ok() } else { None };
    let mut lines = reader();
    let at = match named {
        Some(at) => at,
        None => nearby::choose(lines.as_mut().filter(|_| output::can_ask())).await?,
    };
    let lines = lines.ok_or_else(by_pin::nobody_there)?;
    let (link, lines) = by_pin::link(at, &pairing::device_name(args), lines, args.json.json, asked).await?;
    Ok((link, Some(by_pin::Invited { at, lines })))
}

fn read_link() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(LINK_MAX).read_to_string(&mut text);
    match read {
        Ok(_) if !text.trim().is_empty() => Ok(text),
        _ => Err(Failure::of(Code::LinkUnusable, "There is none on stdin: couplet connect - < link.")),
    }
}

/// Reads `--app`: a name of an app, as the host's configuration has it.
pub(crate) fn app_name(text: &str) -> Result<HeaderValue, String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let name = HeaderValue::from_str(text).ok().filter(|_| is_name);
    name.ok_or_else(|| "this is no name of an app: see the host's couplet serve".to_owned())
}

/// Reads `--listen`. What listens there acts for this device, so it must not be open to other machines.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(_) => Err("other machines could use it as this device: name a loopback address, 127.0.0.1".to_owned()),
        Err(_) => Err("write an address and a port, as in 127.0.0.1:8080".to_owned()),
    }
}

/// The credentials' host in one line of JSON.
fn named(credentials: &Credentials) -> serde_json::Value {
    serde_json::json!({
        "host": credentials.host_name,
        "host_id": credentials.id().as_str(),
        "device_id": credentials.device_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_told_from_names_of_hosts() {
        for link in ["COUPLET:AEBA", "couplet:aeba", " couplet://192.168.1.2:7878?pair=otp_x", "HTTPS://R.EXAMPLE/P#A"]
        {
            assert!(is_link(link), "{link}");
        }
        for name in ["", "nas", "couplet", "https", "é", "https:/"] {
            assert!(!is_link(name), "{name}");
        }
    }

    #[test]
    fn it_listens_on_loopback_only() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        for other in ["0.0.0.0:8080", "192.168.1.2:80", "[::]:1", "8080", "localhost:80"] {
            assert!(loopback(other).is_err(), "{other}");
        }
        assert!(app_name("wiki").is_ok() && app_name("a b").is_err() && app_name("").is_err());
    }
}
