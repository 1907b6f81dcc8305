//! `couplet approve` and `couplet reject`.

use couplet_protocol::Code;
use couplet_protocol::api::{PairingInfo, PairingList, PairingState};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::Global;
use crate::args::Decide;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};
use crate::select::{self, Pick};
use crate::{table, time};

/// The owner's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Let it in.
    Approve,
    /// Turn it away.
    Reject,
}

impl Decision {
    fn verb(self) -> &'static str {
        match self {
            Decision::Approve => "approve",
            Decision::Reject => "reject",
        }
    }
}

impl Pick for PairingInfo {
    fn id(&self) -> Uuid {
        self.id
    }

    fn name(&self) -> &str {
        self.device_name.as_deref().unwrap_or("")
    }
}

/// Decides about one waiting device.
pub(super) async fn run(global: &Global, args: &Decide, decision: Decision) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    let mut waiting: Vec<PairingInfo> = client.get::<PairingList>("/api/pair/pairings").await?.pairings;
    waiting.retain(|pairing| pairing.state == PairingState::Approval);
    let pairing = match &args.pairing {
        Some(wanted) => select::pick(&waiting, wanted, Code::NoSuchPairing)?,
        None => only(&waiting, decision, !global.no_input && output::can_ask())?,
    };
    decide(&client, pairing.id, decision).await?;
    if args.json.json {
        let done = json!({"pairing_id": pairing.id, "device_name": pairing.device_name, "decision": decision.verb()});
        output::json(&done)?;
    } else {
        let name = plain(pairing.name());
        output::message(&match decision {
            Decision::Approve => format!("{name} may come in; it is paired as soon as it collects its credential."),
            Decision::Reject => format!("{name} was turned away."),
        });
    }
    Ok(())
}

/// Tells the host.
pub(super) async fn decide(client: &Client, id: Uuid, decision: Decision) -> Result<(), Failure> {
    client.done(Method::POST, &format!("/api/pair/pairings/{id}/{}", decision.verb())).await
}

/// The one that waits, once the owner has seen who it is and said yes: anyone who reaches the host may be waiting.
fn only(waiting: &[PairingInfo], decision: Decision, may_ask: bool) -> anyhow::Result<&PairingInfo> {
    match waiting {
        [pairing] if may_ask => {
            output::message(&list(waiting));
            let question = match decision {
                Decision::Approve => "Let it in?",
                Decision::Reject => "Turn it away?",
            };
            let refused = || Failure::new(Exit::Refused, "Nothing was decided", "");
            if output::confirm(question)? { Ok(pairing) } else { Err(refused().into()) }
        }
        [] => {
            let next = "No device waits for an answer. See who is paired: couplet devices.";
            Err(Failure::of(Code::NoSuchPairing, next).into())
        }
        [first, others @ ..] => {
            let title = match others.len() {
                0 => "A device waits for an answer".to_owned(),
                n => format!("{} devices wait for an answer", n + 1),
            };
            let next =
                format!("Name it, as in couplet {} {}\n\n{}", decision.verb(), select::short(first.id), list(waiting));
            Err(Failure::new(Exit::Usage, title, next).into())
        }
    }
}

fn list(waiting: &[PairingInfo]) -> String {
    let now = Timestamp::now();
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let row = |pairing: &PairingInfo| {
        [
            select::short(pairing.id),
            text(&pairing.device_name),
            text(&pairing.device_model),
            text(&pairing.network),
            time::ago(&pairing.created_at, now),
        ]
    };
    table::render(["ID", "NAME", "MODEL", "FROM", "CAME"], &waiting.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use couplet_protocol::api::Door;

    use super::*;

    fn waiting(id: u128, name: &str) -> PairingInfo {
        PairingInfo {
            id: Uuid::from_u128(id),
            door: Door::Otp,
            state: PairingState::Approval,
            device_name: Some(name.into()),
            device_model: None,
            network: Some("192.168.1.7".into()),
            created_at: "2026-01-10T12:00:00Z".into(),
            expires_at: "2026-01-10T12:02:00Z".into(),
        }
    }

    #[test]
    fn nobody_is_let_in_unseen() {
        let two = [waiting(1 << 100, "iPad"), waiting(2 << 100, "Phone")];
        let failure = |waiting: &[PairingInfo], decision| -> Failure {
            only(waiting, decision, false).map(drop).unwrap_err().downcast().unwrap()
        };
        let one = failure(&two[..1], Decision::Approve);
        assert!(one.exit == Exit::Usage && one.detail.contains("192.168.1.7"), "{one}");
        assert!(failure(&[], Decision::Approve).is(Code::NoSuchPairing));
        let failure = failure(&two, Decision::Reject);
        assert!(failure.detail.contains("couplet reject 00000010"), "{failure}");
        assert!(failure.detail.contains("00000020  Phone  -      192.168.1.7  2026-01-10"), "{failure}");
    }
}
