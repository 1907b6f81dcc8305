//! The steps of the ceremony as they are written down: the row, the audit entry, and what the owner is told.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::api::{Door, EventKind, PairingState};
use couplet_protocol::{Code, DeviceModel, DeviceName, DevicePlatform, Digest, RelayName};
use rusqlite::Transaction;

use super::ceremony::{self, Step};
use super::offers::SPENT;
use super::pins::PIN_LIFE;
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::events::News;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::devices::{self, NewDevice};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed;

/// How many claims one source may have waiting at an open door, and how many nonces of watches.
pub(super) const CLAIMS_OF_SOURCE: usize = 3;

/// Why a request by PIN has ended before its time.
pub(super) const PINS_SPENT: &str = "three wrong PINs";

/// Who claims an offer: what the device says of itself, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    pub(crate) name: DeviceName,
    pub(crate) model: Option<DeviceModel>,
    pub(crate) platform: Option<DevicePlatform>,
    pub(crate) source: IpAddr,
    /// The relay that it came through, which names that address.
    pub(crate) relay: Option<RelayName>,
}

impl PairingRow {
    pub(super) fn new(door: Door, now: Timestamp, expires_at: Timestamp) -> Self {
        PairingRow {
            id: crate::random::uuid(),
            door,
            state: PairingState::Waiting,
            created_at: now,
            expires_at,
            claim_hash: None,
            device_name: None,
            device_model: None,
            platform: None,
            network: None,
            relay: None,
            device_id: None,
            sealed: false,
        }
    }

    /// Whether a device waits for the owner in a sealed session; it may still go away.
    pub(super) fn waits_in_session(&self) -> bool {
        self.door == Door::Offer && matches!(self.state, PairingState::Claimed | PairingState::Approval)
    }

    /// Takes the ceremony one step on.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Failure> {
        self.state = ceremony::next(self.state, step).map_err(refused)?;
        Ok(())
    }

    /// Whether a device asked by PIN and was given a link: plain HTTP carried it, so others may have read it.
    pub(super) fn is_invited(&self) -> bool {
        self.door == Door::Offer && self.claim_hash.is_some()
    }

    pub(super) fn claim(&mut self, claimant: Claimant, now: Timestamp, news: &mut Vec<News>) -> Result<(), Failure> {
        self.step(Step::Claim)?;
        // As what it asked, it was shown to the owner.
        if !self.is_invited() {
            self.device_name = Some(claimant.name);
            self.device_model = claimant.model;
            self.platform = claimant.platform;
        }
        self.network = Some(claimant.source.to_string());
        self.relay = claimant.relay;
        news.push(News::of_pairing(EventKind::OfferClaimed, now, self));
        Ok(())
    }

    /// Asks the owner. The claim waits its own time, whatever the offer's was. `claim` is what the device polls with;
    /// one with a session waits in it.
    pub(super) fn ask(
        &mut self,
        tx: &Transaction<'_>,
        claim: Option<&Digest>,
        now: Timestamp,
        limits: &Limits,
        news: &mut Vec<News>,
    ) -> Result<(), Failure> {
        self.check_room_to_ask(tx, limits)?;
        self.step(Step::Ask)?;
        if !self.is_invited() {
            self.claim_hash = claim.map(Digest::to_hex);
        }
        self.expires_at = now.after(match self.door {
            Door::Pin => PIN_LIFE,
            _ => Duration::from_secs(limits.claim_seconds),
        });
        self.save(tx)?;
        // Anyone may ask by PIN: what comes of it is written down.
        if self.door != Door::Pin {
            self.record("approval.wanted", Actor::Anyone).write(tx, now)?;
        }
        news.push(News::of_pairing(EventKind::ApprovalWanted, now, self));
        Ok(())
    }

    /// Each door has its own bound, and an open one also one for each source: it must not close the doors that the
    /// owner opens. Those are bounded by the offers that the owner makes.
    fn check_room_to_ask(&self, tx: &Transaction<'_>, limits: &Limits) -> Result<(), Failure> {
        let is_open = matches!(self.door, Door::Lan | Door::WatchLan | Door::Pin);
        if !is_open && self.door != Door::Offer {
            return Ok(());
        }
        let open = offers::open(tx)?;
        let waiting = || open.iter().filter(|p| p.door == self.door && p.state == PairingState::Approval);
        let of_source = waiting().filter(|p| p.network == self.network).count();
        let greedy = is_open && of_source >= CLAIMS_OF_SOURCE;
        if greedy || waiting().count() >= limits.max_claims as usize { Err(too_many_offers()) } else { Ok(()) }
    }

    /// Hands out a credential that nothing proves to have arrived: paired with its first use, gone when that does not
    /// come in time. The row is granted.
    pub(super) fn hand_out(
        &mut self,
        tx: &Transaction<'_>,
        mut device: NewDevice,
        now: Timestamp,
        limits: &Limits,
    ) -> Result<(), Failure> {
        make_room(tx, limits.max_devices)?;
        let unused_until = now.after(Duration::from_secs(limits.unused_seconds));
        device.unused_until = Some(unused_until);
        devices::insert(tx, &device, now)?;
        self.device_id = Some(device.device.device_id);
        self.expires_at = unused_until;
        self.save(tx)?;
        let record = Record { network: None, detail: None, ..self.record("credential.issued", Actor::Host) };
        record.write(tx, now)
    }

    /// Time, or the number of tries, has run out.
    pub(super) fn expire(
        &mut self,
        tx: &Transaction<'_>,
        why: Option<&str>,
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> Result<(), Failure> {
        let was = self.state;
        if was == PairingState::Granted {
            devices::remove_unused(tx, self.id)?;
        }
        self.step(Step::Expire)?;
        self.expires_at = self.expires_at.min(now);
        self.save(tx)?;
        sealed::close(tx, self.id)?;
        if was == PairingState::Waiting && self.door == Door::WatchLan {
            // Anyone may ask for such a nonce; that nobody used it is news to no one.
            return Ok(());
        }
        let by_pin = self.door == Door::Pin && was == PairingState::Approval;
        let code = match (was, why) {
            (_, Some(SPENT)) => Some(Code::HandshakeFailed),
            (_, Some(PINS_SPENT)) => Some(Code::PinsSpent),
            _ if by_pin => Some(Code::PinExpired),
            (PairingState::Waiting, _) => None,
            (PairingState::Granted, _) => Some(Code::NotCollected),
            _ => Some(Code::ClaimExpired),
        };
        // Nor is it news to the log that a request came to nothing; each wrong PIN is in it.
        if code != Some(Code::PinExpired) {
            let record = Record { network: None, detail: why, ..self.record("offer.expired", Actor::Host) };
            record.write(tx, now)?;
        }
        news.push(News::of_pairing(EventKind::OfferExpired, now, self).because(code));
        Ok(())
    }

    /// The owner's no; with [`Code::CheckCodesSpent`], it was not said outright.
    pub(super) fn reject(
        &mut self,
        tx: &Transaction<'_>,
        why: Code,
        now: Timestamp,
        news: &mut Vec<News>,
    ) -> Result<(), Failure> {
        self.step(Step::Reject)?;
        self.save(tx)?;
        sealed::close(tx, self.id)?;
        let record = self.record("pairing.rejected", Actor::Owner);
        let unsaid = (why == Code::CheckCodesSpent).then_some("the third wrong check code");
        Record { detail: unsaid.or(record.detail), ..record }.write(tx, now)?;
        news.push(News::of_pairing(EventKind::PairingRejected, now, self).because(Some(why)));
        Ok(())
    }

    /// What the audit log says of a step.
    pub(super) fn record(&self, action: &'static str, actor: Actor) -> Record<'_> {
        Record {
            pairing_id: Some(self.id),
            device_id: self.device_id,
            network: self.network.as_deref(),
            detail: self.device_name.as_ref().map(DeviceName::as_str),
            ..Record::new(action, actor)
        }
    }
}

/// The last step of the ceremony: the device has its credential. What the owner is told of it.
pub(crate) fn deliver(tx: &Transaction<'_>, mut row: PairingRow, now: Timestamp) -> Result<News, Failure> {
    row.step(Step::Deliver)?;
    row.save(tx)?;
    let actor = if row.door == Door::Prefill { Actor::Owner } else { Actor::Device };
    row.record("device.paired", actor).write(tx, now)?;
    Ok(News::of_pairing(EventKind::DevicePaired, now, &row))
}

pub(super) fn make_room(tx: &Transaction<'_>, max_devices: u32) -> Result<(), Failure> {
    if devices::count_active(tx)? < max_devices {
        return Ok(());
    }
    let next = format!("This host has its {max_devices} devices. Its owner can revoke one: `couplet devices revoke`.");
    Err(Failure::new(Code::TooManyDevices, next))
}

pub(super) fn too_many_offers() -> Failure {
    Failure::new(Code::TooManyOffers, "Use or cancel one of them, or wait until it expires, then try again.")
}

/// The refusal of a step, with what to do next.
pub(super) fn refused(code: Code) -> Failure {
    let next = match code {
        Code::PairTokenInvalid => "Ask the owner for a new code (`couplet pair`) and scan it soon.",
        Code::PairTokenUsed => "Each code pairs one device. Ask the owner for a new one: `couplet pair`.",
        Code::PairingRejected => "The owner said no. If that was a mistake, start again with a new code.",
        Code::ClaimExpired => {
            "Start again with a new code; ask the owner to answer, and keep the device awake until it is paired."
        }
        Code::ClaimCollected => "The credential is shown once. If it was lost, revoke the device and pair again.",
        Code::ClaimInvalid => "Start again with a new code.",
        Code::WatchNonceInvalid => "Ask for a new nonce (GET /watch/pairing-info); each is good for a minute.",
        Code::WatchNonceUsed => "Each nonce pairs one watch. Ask for a new one: GET /watch/pairing-info.",
        Code::PinsSpent => "Begin anew, and type the six digits that the host shows then.",
        Code::PinRejected => "The owner said no. If that was a mistake, begin anew.",
        Code::PinExpired => {
            "Begin anew: each request waits five minutes, makes way when its device falls silent and others ask, and ends \
             when the host is started anew."
        }
        Code::PinNamesAlike => {
            "Which of them is meant? Type the PIN on the device, or turn away the one that you do not know: \
             `couplet reject`."
        }
        Code::OfferBusy => "Wait until the other device is let in or turned away, or ask the owner for a new code.",
        _ => "Look at `couplet devices` and start again if need be.",
    };
    Failure::new(code, next)
}
