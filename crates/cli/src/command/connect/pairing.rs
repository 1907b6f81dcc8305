//! Pairing, as people see it on the device.

use std::sync::Arc;

use couplet_client::{CredentialStore, Credentials, PairError, PairRequest, RelayAccount, RelayCa};
use couplet_protocol::CheckCode;
use serde_json::json;

use super::by_pin::Invited;
use super::{digits, named};
use crate::args::Connect;
use crate::failure::{Exit, Failure};
use crate::output::{self, plain, quoted};

/// Pairs with the host of this link, and keeps the credentials.
pub(super) async fn pair(
    link: &str,
    args: &Connect,
    (relay_ca, account): (Option<RelayCa>, Option<RelayAccount>),
    store: &Arc<dyn CredentialStore>,
    invited: Option<Invited>,
) -> anyhow::Result<Credentials> {
    let json = args.json.json;
    let name = device_name(args);
    let request = PairRequest {
        name: name.clone(),
        model: None,
        platform: Some(platform().to_owned()),
        kind: "desktop".to_owned(),
        another_host: args.another_host,
        relay_ca,
        account,
    };
    let on_code = |code: &CheckCode| {
        if json {
            // That nobody reads it shows at the next line.
            let _ = output::json(&json!({"event": "check_code", "check_code": code.show(), "device_name": name}));
        }
        output::message(&ask(code, &name, output::is_seen()));
    };
    let paired = match invited {
        None => couplet_client::pair(link, request, store, on_code).await,
        Some(invited) => {
            let link = (link, invited.at);
            couplet_client::pair_invited(link, request, store, on_code, |met| invited.confirm(met, json)).await
        }
    };
    let credentials = paired.map_err(|error| failure(&error))?;
    if !credentials.is_paired() {
        // The session that comes now finishes it.
        return Ok(credentials);
    }
    if json {
        let mut told = named(&credentials);
        told["event"] = "device.paired".into();
        output::json(&told)?;
    }
    output::message(&format!(
        "Paired with {}. From now on: couplet connect {}",
        plain(&credentials.host_name),
        quoted(&plain(&credentials.host_name))
    ));
    Ok(credentials)
}

/// What the device shows while the owner is asked.
fn ask(code: &CheckCode, name: &str, large: bool) -> String {
    let shown = code.show();
    let picture = if large { format!("\n{}\n", digits::large(&shown)) } else { String::new() };
    format!("{picture}\nType {shown} on the host: couplet approve {}\nWaiting for the owner…", quoted(&plain(name)))
}

/// What the host calls this device.
pub(super) fn device_name(args: &Connect) -> String {
    args.name.clone().unwrap_or_else(crate::config::machine_name)
}

/// What this machine's system is called.
pub(super) fn platform() -> &'static str {
    match std::env::consts::OS {
        "linux" => "Linux",
        "macos" => "macOS",
        other => other,
    }
}

/// What went wrong, on a command line.
fn failure(error: &PairError) -> Failure {
    let mut failure = Failure::of(error.code(), format!("{}.\n{}", sentence(error), error.next_step()));
    let is_late = matches!(
        error,
        PairError::NoAnswer { .. }
            | PairError::Unreachable { expired: true, .. }
            | PairError::Refused { expired: true, .. }
            | PairError::Relay { expired: true, .. }
    );
    if is_late {
        failure.exit = Exit::Expired;
    }
    failure
}

/// The error as a sentence. Names in it are the host's own: they must not draw on this terminal.
fn sentence(error: &PairError) -> String {
    let text = error.to_string();
    let lines: Vec<String> = text.lines().map(plain).collect();
    let text = lines.join("\n");
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use couplet_client::HostId;
    use couplet_client::OtherKey;
    use couplet_protocol::StaticSecret;

    use super::*;

    #[test]
    fn the_code_is_large_on_a_terminal_and_the_command_can_be_pasted() {
        let code = CheckCode::parse("123456").unwrap();
        let text = ask(&code, "Anna's laptop", true);
        assert!(text.contains("███") && text.contains("Type 123 456 on the host"), "{text}");
        assert!(text.contains(r"couplet approve 'Anna'\''s laptop'"), "{text}");
        assert!(!ask(&code, "x", false).contains('█'));
    }

    #[test]
    fn another_key_shows_both_fingerprints_and_what_it_can_mean() {
        let key = StaticSecret::new([1; 32]).unwrap().public();
        let other = OtherKey {
            host: HostId::of(&key),
            host_name: "nas\x1b[2J".into(),
            pinned: "AAAA-AAAA".into(),
            offered: "BBBB-BBBB".into(),
        };
        let failure = failure(&PairError::OtherKey(other));
        let text = failure.to_string();
        for part in ["CPL-1604", "AAAA-AAAA", "BBBB-BBBB", "set up anew", "pretends to be it", "--another-host"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\x1b'));
        assert_eq!(failure.exit, Exit::Failure);
    }

    #[test]
    fn a_link_that_came_too_late_says_so() {
        let error = PairError::Unreachable { tried: vec![], expired: true };
        assert_eq!(failure(&error).exit, Exit::Expired);
    }
}
