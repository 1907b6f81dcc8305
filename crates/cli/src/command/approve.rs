//! `couplet approve` and `couplet reject`.

use couplet_protocol::api::{ApproveRequest, Door, PairingInfo, PairingList, PairingState, PinRequest, PinRequestList};
use couplet_protocol::{Code, MatchNumber, Pin};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::Global;
use crate::args::{Approve, Decide, Reject};
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

/// What is answered about a device that does not wait any more.
const OVER: [Code; 3] = [Code::NoSuchPairing, Code::AlreadyDecided, Code::ClaimExpired];

/// A device that waits.
#[derive(Debug)]
struct Waiting {
    pairing: PairingInfo,
    /// What can be typed on the device instead, when it asks to pair by PIN.
    pin: Option<Pin>,
    /// What it shows meanwhile.
    number: Option<MatchNumber>,
    /// Whether it has asked for a token, which passes by plain HTTP, and not for a sealed session.
    is_plain: bool,
}

impl From<PinRequest> for Waiting {
    fn from(request: PinRequest) -> Self {
        let pairing = PairingInfo {
            id: request.id,
            door: Door::Pin,
            state: PairingState::Approval,
            device_name: Some(request.device_name),
            device_model: request.device_model,
            platform: request.platform,
            network: request.network,
            relay: None,
            check_code: false,
            created_at: request.created_at,
            expires_at: request.expires_at,
        };
        let (pin, number) = (Some(request.pin), Some(request.match_number));
        Waiting { pairing, pin, number, is_plain: !request.sealed }
    }
}

impl Waiting {
    fn without_pin(pairing: PairingInfo) -> Self {
        Waiting { pairing, pin: None, number: None, is_plain: false }
    }

    /// Whether it may be the device that shows this.
    fn may_show(&self, shown: &ApproveRequest) -> bool {
        let number = self.number.map(|number| number.to_string());
        (shown.check_code.is_none() || self.pairing.check_code)
            && (shown.match_number.is_none() || shown.match_number == number)
    }

    /// What its owner must know before letting it in.
    fn warning(&self) -> &'static str {
        if self.is_plain {
            "It pairs without encryption: others on the network can read what it is given.\n"
        } else {
            ""
        }
    }
}

impl Pick for Waiting {
    fn id(&self) -> String {
        self.pairing.id.to_string()
    }

    fn name(&self) -> &str {
        self.pairing.device_name.as_deref().unwrap_or("")
    }
}

/// What the owner has read off the device: the check code of one in a sealed session, or the number of one that asks by
/// PIN. Only such a device is meant.
fn shown(typed: &str) -> ApproveRequest {
    match MatchNumber::try_from(typed.trim().to_owned()) {
        Ok(_) => ApproveRequest { match_number: Some(typed.trim().to_owned()), check_code: None },
        Err(_) => of_code(typed),
    }
}

/// Lets one waiting device in.
pub(super) async fn approve(global: &Global, args: &Approve) -> anyhow::Result<()> {
    run(global, &args.decide, Decision::Approve, args.shown.as_deref().map(shown).unwrap_or_default()).await
}

/// Turns one waiting device away, or all.
pub(super) async fn reject(global: &Global, args: &Reject) -> anyhow::Result<()> {
    if args.all {
        reject_all(global, &args.decide).await
    } else {
        run(global, &args.decide, Decision::Reject, ApproveRequest::default()).await
    }
}

/// Turns everybody away who waits now. What has ended by itself meanwhile needs no answer.
async fn reject_all(global: &Global, args: &Decide) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    let mut rejected = Vec::new();
    for Waiting { pairing, .. } in waiting(&client).await? {
        match decide(&client, pairing.id, Decision::Reject, &ApproveRequest::default()).await {
            Ok(()) => rejected.push(pairing),
            Err(failure) if OVER.iter().any(|code| failure.is(*code)) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    if args.json.json {
        let one = |pairing: &PairingInfo| json!({"pairing_id": pairing.id, "device_name": pairing.device_name});
        let done = json!({"decision": "reject", "pairings": rejected.iter().map(one).collect::<Vec<_>>()});
        output::json(&done)?;
    } else {
        output::message(&match rejected.len() {
            0 => "No device waits for an answer.".to_owned(),
            1 => "One device was turned away.".to_owned(),
            n => format!("{n} devices were turned away."),
        });
    }
    Ok(())
}

async fn run(global: &Global, args: &Decide, decision: Decision, shown: ApproveRequest) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    let waiting = waiting(&client).await?;
    // Of several of one name the one that shows what was typed is meant; where none does, the host says so.
    let (fitting, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| waiting.may_show(&shown));
    let chosen = match &args.pairing {
        Some(wanted) => match select::pick(&fitting, wanted, Code::NoSuchPairing) {
            Err(none) if none.is(Code::NoSuchPairing) => select::pick(&others, wanted, Code::NoSuchPairing)?,
            picked => picked?,
        },
        None => only(&fitting, decision, !global.no_input && output::can_ask())?,
    };
    let pairing = &chosen.pairing;
    let may_ask = !global.no_input && output::can_ask();
    match (decision, chosen.number) {
        (Decision::Approve, _) if pairing.check_code && shows_nothing(&shown) && may_ask => {
            ask_code(&client, pairing).await?;
        }
        (Decision::Approve, Some(number)) if args.pairing.is_some() && shows_nothing(&shown) && may_ask => {
            compare(chosen, number)?;
            decide(&client, pairing.id, decision, &shown).await?;
        }
        _ => decide(&client, pairing.id, decision, &shown).await?,
    }
    if args.json.json {
        let done = json!({"pairing_id": pairing.id, "device_name": pairing.device_name, "decision": decision.verb()});
        output::json(&done)?;
    } else {
        let name = plain(chosen.name());
        output::message(&match decision {
            Decision::Approve => format!("{name} may come in; it is paired as soon as it collects its credential."),
            Decision::Reject => format!("{name} was turned away."),
        });
    }
    Ok(())
}

/// Whether nothing was typed that the device shows.
fn shows_nothing(shown: &ApproveRequest) -> bool {
    shown.check_code.is_none() && shown.match_number.is_none()
}

/// Those that wait for the owner, by whatever door they came, oldest first.
async fn waiting(client: &Client) -> Result<Vec<Waiting>, Failure> {
    let claims = client.get::<PairingList>("/api/pair/pairings").await?.pairings;
    let claims = claims.into_iter().filter(|pairing| pairing.state == PairingState::Approval);
    let by_pin = client.get::<PinRequestList>("/mobile/pairing").await?.requests;
    let mut all: Vec<Waiting> = claims.map(Waiting::without_pin).collect();
    all.extend(by_pin.into_iter().map(Waiting::from));
    all.sort_by(|a, b| a.pairing.created_at.cmp(&b.pairing.created_at));
    Ok(all)
}

/// Tells the host, with what the device shows as far as the owner has said it.
pub(super) async fn decide(
    client: &Client,
    id: Uuid,
    decision: Decision,
    shown: &ApproveRequest,
) -> Result<(), Failure> {
    let path = format!("/api/pair/pairings/{id}/{}", decision.verb());
    match decision {
        Decision::Approve => client.done_with(Method::POST, &path, shown).await,
        Decision::Reject => client.done(Method::POST, &path).await,
    }
}

/// Nothing but its check code.
pub(super) fn of_code(code: &str) -> ApproveRequest {
    ApproveRequest { check_code: Some(code.to_owned()), match_number: None }
}

/// Asks for the check code until it is right; the host counts.
async fn ask_code(client: &Client, pairing: &PairingInfo) -> anyhow::Result<()> {
    let name = plain(pairing.device_name.as_deref().unwrap_or(""));
    loop {
        let code = output::ask(&format!("The six digits that {name} shows, or nothing to leave it:"))?;
        if code.is_empty() {
            return Err(undecided().into());
        }
        match decide(client, pairing.id, Decision::Approve, &of_code(&code)).await {
            Err(failure) if failure.is(Code::CheckCodeWrong) || failure.is(Code::CheckCodeWanted) => {
                output::message(&failure.to_string());
            }
            other => return Ok(other?),
        }
    }
}

/// Lets nobody in without the PIN before the owner has compared its number.
fn compare(waiting: &Waiting, number: MatchNumber) -> anyhow::Result<()> {
    let name = plain(waiting.name());
    let from = from(&waiting.pairing);
    let question = format!("{}Let in {name} at {from} only if it shows {number}. Does it?", waiting.warning());
    if output::confirm(&question)? { Ok(()) } else { Err(undecided().into()) }
}

fn undecided() -> Failure {
    Failure::new(Exit::Refused, "Nothing was decided", "")
}

/// The one that waits, once the owner has seen who it is and said yes: anyone who reaches the host may be waiting.
fn only(waiting: &[Waiting], decision: Decision, may_ask: bool) -> anyhow::Result<&Waiting> {
    match waiting {
        [pairing] if may_ask => {
            output::message(&list(waiting));
            let question = match (decision, pairing.number) {
                (Decision::Approve, Some(number)) => {
                    format!("{}Let it in only if it shows {number}. Does it?", pairing.warning())
                }
                (Decision::Approve, None) => "Let it in?".to_owned(),
                (Decision::Reject, _) => "Turn it away?".to_owned(),
            };
            if output::confirm(&question)? { Ok(pairing) } else { Err(undecided().into()) }
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
            let next = format!(
                "Name it, as in couplet {} {}\n\n{}",
                decision.verb(),
                select::short(first.pairing.id),
                list(waiting)
            );
            Err(Failure::new(Exit::Usage, title, next).into())
        }
    }
}

fn list(waiting: &[Waiting]) -> String {
    let now = Timestamp::now();
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let row = |waiting: &Waiting| {
        let pairing = &waiting.pairing;
        [
            select::short(pairing.id),
            text(&pairing.device_name),
            text(&pairing.device_model),
            from(pairing),
            waiting.pin.as_ref().map_or_else(|| "-".to_owned(), Pin::show),
            waiting.number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            time::ago(&pairing.created_at, now),
        ]
    };
    table::render(["ID", "NAME", "MODEL", "FROM", "PIN", "SHOWS", "CAME"], &waiting.iter().map(row).collect::<Vec<_>>())
}

fn from(pairing: &PairingInfo) -> String {
    let network = plain(pairing.network.as_deref().unwrap_or("-"));
    match &pairing.relay {
        Some(relay) => format!("{network} through {}", plain(relay)),
        None => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: u128, name: &str) -> Waiting {
        let pairing = PairingInfo {
            id: Uuid::from_u128(id),
            door: Door::Otp,
            state: PairingState::Approval,
            device_name: Some(name.into()),
            device_model: None,
            platform: None,
            network: Some("192.168.1.7".into()),
            relay: None,
            check_code: false,
            created_at: "2026-01-10T12:00:00Z".into(),
            expires_at: "2026-01-10T12:02:00Z".into(),
        };
        Waiting::without_pin(pairing)
    }

    #[test]
    fn nobody_is_let_in_unseen() {
        let mut two = [waiting(1 << 100, "iPad"), waiting(2 << 100, "Phone")];
        two[1].pin = Pin::parse("012345").ok();
        two[1].number = MatchNumber::try_from("471".to_owned()).ok();
        let failure = |waiting: &[Waiting], decision| -> Failure {
            only(waiting, decision, false).map(drop).unwrap_err().downcast().unwrap()
        };
        let one = failure(&two[..1], Decision::Approve);
        assert!(one.exit == Exit::Usage && one.detail.contains("192.168.1.7"), "{one}");
        assert!(failure(&[], Decision::Approve).is(Code::NoSuchPairing));
        let failure = failure(&two, Decision::Reject);
        assert!(failure.detail.contains("couplet reject 00000010"), "{failure}");
        assert!(
            failure.detail.contains("00000020  Phone  -      192.168.1.7  012 345  471    2026-01-10"),
            "{failure}"
        );
    }
}
