//! `couplet enroll`.

use std::io::Read;

use couplet_host::Enrolled;
use serde_json::json;
use zeroize::Zeroizing;

use super::Global;
use crate::args::Enroll;
use crate::failure::{Exit, Failure};
use crate::{config, output};

/// The longest token that is read, in bytes.
const TOKEN_MAX: u64 = 4096;

/// Enrols the host of the state folder with a relay.
pub(super) async fn run(global: &Global, args: &Enroll) -> anyhow::Result<()> {
    let token = token(global, args)?;
    let folder = config::state_dir(global)?;
    let enrolled = couplet_host::enroll(&folder, &token, args.relay_ca.as_deref()).await;
    let enrolled = enrolled.map_err(|error| Failure::of(error.code(), error.detail()))?;
    if args.json.json {
        let relay = enrolled.relay.as_str();
        output::json(&json!({"relay": relay, "host_id": enrolled.host_id, "restart": enrolled.running}))?;
    }
    output::message(&said(&enrolled));
    Ok(())
}

fn said(enrolled: &Enrolled) -> String {
    let mut text = format!("Enrolled with the relay {} as host {}.", enrolled.relay, output::plain(&enrolled.host_id));
    if let Some(before) = &enrolled.before {
        text += &format!("\nThis takes the place of the enrolment with {before}.");
    }
    if let Some(ahead) = enrolled.clock_ahead {
        let (by, which) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
        text += &format!(
            "\nThe relay's clock is {by} s {which} this one: set the one that is wrong, or certificates fail."
        );
    }
    text + match enrolled.running {
        true => "\nNext: restart couplet serve, which uses the relay from then on.",
        false => "\nNext: couplet serve",
    }
}

/// From the command line, where others can see it until it is used; else from stdin.
fn token(global: &Global, args: &Enroll) -> anyhow::Result<Zeroizing<String>> {
    match args.token.as_deref() {
        Some(token) if token != "-" => Ok(Zeroizing::new(token.to_owned())),
        None if !global.no_input && output::can_ask() => {
            Ok(Zeroizing::new(output::ask("The enrolment token (couplet relay invite prints it):")?))
        }
        _ => {
            let mut text = Zeroizing::new(String::new());
            let read = std::io::stdin().lock().take(TOKEN_MAX).read_to_string(&mut text);
            match read {
                Ok(_) if !text.trim().is_empty() => Ok(text),
                _ => {
                    let next = "couplet enroll TOKEN, or couplet enroll - < file.";
                    Err(Failure::new(Exit::Usage, "There is no enrolment token on stdin", next).into())
                }
            }
        }
    }
}
