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
        None => only(&waiting, decision)?,
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

fn only(waiting: &[PairingInfo], decision: Decision) -> Result<&PairingInfo, Failure> {
    match waiting {
        [pairing] => Ok(pairing),
        [] => {
            Err(Failure::of(Code::NoSuchPairing, "No device waits for an answer. See who is paired: couplet devices."))
        }
        several => Err(Failure::new(
            Exit::Usage,
            format!("{} devices wait for an answer", several.len()),
            format!(
                "Name one, as in couplet {} {}\n\n{}",
                decision.verb(),
                select::short(several[0].id),
                list(several)
            ),
        )),
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
    fn one_waiting_device_needs_no_name_and_several_are_listed() {
        let two = [waiting(1 << 100, "iPad"), waiting(2 << 100, "Phone")];
        assert_eq!(only(&two[..1], Decision::Approve).unwrap().name(), "iPad");
        assert!(only(&[], Decision::Approve).unwrap_err().is(Code::NoSuchPairing));
        let failure = only(&two, Decision::Reject).unwrap_err();
        assert!(failure.detail.contains("couplet reject 00000010"), "{failure}");
        assert!(failure.detail.contains("00000020  Phone  -      192.168.1.7  2026-01-10"), "{failure}");
    }
}
