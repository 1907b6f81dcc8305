//! The ceremony in a sealed session: a device claims an offer, waits in its session for the owner where the policy
//! wants it, and is granted what it keeps. One transaction grants and uses the offer up; the device is paired with
//! its word that it has stored the grant, or with its first use of it.

use couplet_protocol::api::{Door, EventKind, NetworkPath};
use couplet_protocol::message::Grant;
use couplet_protocol::secret::{Psk, RoomSecret};
use couplet_protocol::{CheckCode, Code};
use rusqlite::Transaction;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Core;
use super::ceremony::{self, Step};
use super::claims::{Checked, Granted, Identity, Ticket, Verdict};
use super::minted::Minted;
use super::offers::{OpenOffer, SPENT, TRIES, claimable};
use super::owner::undecided;
use super::steps::{Claimant, refused};
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::problem::Failure;
use crate::relay::HandingOver;
use crate::store::audit::Actor;
use crate::store::devices::{NewDevice, PairingSecrets};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed;

/// What claiming came to.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The policy needs no word of the owner.
    Granted(Box<Granted>),
    /// The owner is asked.
    Waits(Ticket, oneshot::Receiver<Verdict>),
}

/// What a device is to be given, before it is paid for with a hash: its rooms are at the relay.
pub(crate) struct Expected {
    device: Uuid,
    secret: RoomSecret,
    handing_over: HandingOver,
}

/// A grant that is ready to be written: the row of the device, and the message for it.
struct Prepared {
    device: NewDevice,
    granted: Box<Granted>,
}

impl Core {
    /// Gets everything ready for a device that claims this offer where the policy needs no word of the owner; None where
    /// it does. Nothing is granted yet: this may be dropped.
    pub(crate) async fn expect(&self, offer: &OpenOffer, path: NetworkPath) -> Option<Expected> {
        if offer.is_invited || ceremony::asks(Door::Offer, self.config.approve, path) {
            return None;
        }
        Some(self.expect_device(offer.pairing_id).await)
    }

    async fn expect_device(&self, pairing: Uuid) -> Expected {
        // The secret also without a relay: a host that enrols later has one for the devices that it knows.
        let (device, secret) = (crate::random::uuid(), RoomSecret::new(crate::random::bytes()));
        let handing_over = self.relay.hand_over(pairing, device, secret.clone()).await;
        Expected { device, secret, handing_over }
    }

    /// A device that knows the link claims the offer. `code` is what it shows; `expected` is what [`Self::expect`] said.
    pub(crate) async fn claim_sealed(
        &self,
        offer: &OpenOffer,
        claimant: Claimant,
        identity: Identity,
        expected: Option<Expected>,
        code: CheckCode,
    ) -> Result<Claimed, Failure> {
        match expected {
            None => self.ask_owner(offer, claimant, identity, code).await,
            Some(expected) => self.grant_at_once(offer, claimant, identity, expected).await,
        }
    }

    async fn ask_owner(
        &self,
        offer: &OpenOffer,
        claimant: Claimant,
        identity: Identity,
        code: CheckCode,
    ) -> Result<Claimed, Failure> {
        let (now, offer_id, limits) = (self.now(), offer.offer_id, self.config.limits.clone());
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let (_, mut row) = claimable(tx, &offer_id, now)?;
            row.door = Door::Offer;
            row.claim(claimant, now, &mut news)?;
            row.ask(tx, None, now, &limits, &mut news)?;
            Ok(((), news))
        };
        let (sender, receiver) = oneshot::channel();
        let ticket = self.claims.ticket(offer.pairing_id);
        let (claims, tell) = (self.claims.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            // Before the owner can answer.
            claims.hold(ticket, code, identity, sender);
            tell(result);
        };
        self.store.write(work, after).await?;
        Ok(Claimed::Waits(ticket, receiver))
    }

    async fn grant_at_once(
        &self,
        offer: &OpenOffer,
        claimant: Claimant,
        identity: Identity,
        expected: Expected,
    ) -> Result<Claimed, Failure> {
        let hasher = self.auth.hasher().await?;
        // Whoever waited behind the winner finds the offer used, without a hash of its own.
        self.open_offer(offer.offer_id).await?;
        let minted = Minted::device_with(expected.device, &hasher).await?;
        let prepared = self.prepare(&minted, offer.pairing_id, claimant.clone(), identity, expected);
        let (now, offer_id, limits) = (self.now(), offer.offer_id, self.config.limits.clone());
        let Prepared { device, granted } = prepared;
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let (_, mut row) = claimable(tx, &offer_id, now)?;
            row.door = Door::Offer;
            row.claim(claimant, now, &mut news)?;
            grant(tx, &mut row, device, now, &limits)?;
            Ok(((), news))
        };
        self.store.write(work, self.tell()).await?;
        drop(hasher);
        Ok(Claimed::Granted(granted))
    }

    /// The owner says yes, with the check code that the device shows.
    pub(super) async fn approve_sealed(&self, row: PairingRow, typed: Option<&str>) -> Result<(), Failure> {
        let typed = typed.and_then(|text| CheckCode::parse(text).ok()).ok_or_else(|| {
            let next = "Send the six digits that the device shows, as `check_code`; `couplet approve` asks for them.";
            Failure::new(Code::CheckCodeWanted, next)
        })?;
        match self.claims.check(row.id, &typed) {
            // The session has just ended, and the row is about to say so.
            None => Err(refused(Code::ClaimExpired)),
            Some(Checked::Wrong(left)) => {
                self.note_wrong_code(row).await?;
                let tries = if left == 1 { "try is" } else { "tries are" };
                let next = format!("Read the code on the device again: {left} {tries} left. If none fits, reject it.");
                Err(Failure::new(Code::CheckCodeWrong, next))
            }
            Some(Checked::Spent) => {
                self.decide_no(row.id, Code::CheckCodesSpent).await?;
                let next = "If the device is yours, start again with a new code: `couplet pair`. If it is not, someone \
                            else saw the code.";
                Err(Failure::new(Code::CheckCodesSpent, next))
            }
            Some(Checked::Right(ticket)) => self.grant_to(ticket, row).await,
        }
    }

    async fn note_wrong_code(&self, row: PairingRow) -> Result<(), Failure> {
        let now = self.now();
        self.store.write(move |tx| row.record("check_code.wrong", Actor::Owner).write(tx, now), |()| ()).await
    }

    async fn grant_to(&self, ticket: Ticket, row: PairingRow) -> Result<(), Failure> {
        let identity = self.claims.holds(ticket).ok_or_else(|| refused(Code::ClaimExpired))?;
        let expected = self.expect_device(row.id).await;
        let hasher = self.auth.hasher().await?;
        let minted = Minted::device_with(expected.device, &hasher).await?;
        drop(hasher);
        let claimant = claimant_of(&row)?;
        let Prepared { device, granted } = self.prepare(&minted, row.id, claimant, identity, expected);
        let (now, limits, claims) = (self.now(), self.config.limits.clone(), self.claims.clone());
        let work = move |tx: &Transaction<'_>| {
            let mut row = undecided(tx, row.id, now)?;
            claims.holds(ticket).ok_or_else(|| refused(Code::ClaimExpired))?;
            row.record("pairing.approved", Actor::Owner).write(tx, now)?;
            grant(tx, &mut row, device, now, &limits)
        };
        let claims = self.claims.clone();
        let after = move |(): &()| claims.conclude(ticket.pairing, Verdict::Granted(granted));
        self.store.write(work, after).await
    }

    fn prepare(
        &self,
        minted: &Minted,
        pairing: Uuid,
        claimant: Claimant,
        identity: Identity,
        expected: Expected,
    ) -> Prepared {
        let (psk_id, psk) = (crate::random::bytes(), Psk::new(crate::random::bytes()));
        let Expected { secret, handing_over, .. } = expected;
        let room_secret = Some(secret);
        let message = Grant {
            device_id: minted.id.to_string(),
            device_token: minted.token.clone(),
            host_name: self.config.server_name.clone(),
            psk_id,
            psk: psk.clone(),
            room_secret: room_secret.clone(),
            endpoints: self.endpoints(),
        };
        let device = NewDevice {
            kind: identity.kind,
            platform: claimant.platform,
            sealed: Some(PairingSecrets { psk_id, psk, device_key: identity.key, room_secret }),
            ..minted.row(claimant.name, claimant.model, pairing)
        };
        Prepared { device, granted: Box::new(Granted { device_id: minted.id, message, handing_over }) }
    }

    /// The session of a claim ended before the owner's word: the offer is free again while it lives. The device knew
    /// a check code, so it counts as one that went away.
    pub(crate) async fn release(&self, ticket: Ticket) -> Result<(), Failure> {
        let (now, claims) = (self.now(), self.claims.clone());
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let found = claims.holds(ticket).and(offers::by_id(tx, ticket.pairing)?);
            if let Some(mut row) = found.filter(PairingRow::wants_check_code) {
                sealed::count_try(tx, row.id)?;
                free(tx, &mut row, now, &mut news)?;
            }
            Ok(((), news))
        };
        let (claims, tell) = (self.claims.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            claims.remove(ticket);
            tell(result);
        };
        self.store.write(work, after).await.map(|((), _)| ())
    }

    /// Releases the claims whose sessions were cut off before they could do it.
    pub(super) async fn release_orphans(&self) -> Result<(), Failure> {
        for ticket in self.claims.orphans() {
            self.release(ticket).await?;
        }
        Ok(())
    }
}

/// Grants, and uses the offer up: both its credentials.
fn grant(
    tx: &Transaction<'_>,
    row: &mut PairingRow,
    device: NewDevice,
    now: Timestamp,
    limits: &crate::config::Limits,
) -> Result<(), Failure> {
    let device_id = device.device.device_id;
    row.step(Step::Grant)?;
    row.hand_out(tx, device, now, limits)?;
    offers::use_token(tx, row.id, now)?;
    offers::token_became(tx, row.id, device_id)?;
    sealed::close(tx, row.id)?;
    failpoint::reach("sealed.before_commit");
    Ok(())
}

/// Opens a claimed offer again, or ends it when nothing of it is left.
pub(super) fn free(
    tx: &Transaction<'_>,
    row: &mut PairingRow,
    now: Timestamp,
    news: &mut Vec<News>,
) -> Result<(), Failure> {
    let link = sealed::by_pairing(tx, row.id)?;
    if link.as_ref().is_none_or(|link| link.tried >= TRIES) {
        return row.expire(tx, Some(SPENT), now, news);
    }
    let ends = [link.map(|link| link.expires_at), offers::token_end(tx, row.id)?];
    let Some(end) = ends.into_iter().flatten().max().filter(|end| *end > now) else {
        return row.expire(tx, None, now, news);
    };
    row.step(Step::Release)?;
    row.expires_at = end;
    row.record("offer.released", Actor::Device).write(tx, now)?;
    news.push(News::of_pairing(EventKind::OfferReleased, now, row));
    (row.network, row.relay) = (None, None);
    // One that was made for a device that asked by PIN stays that device's, and asks for the check code again.
    if !row.is_invited() {
        row.door = Door::Otp;
        (row.device_name, row.device_model, row.platform) = (None, None, None);
    }
    row.save(tx)
}

/// What the owner saw and approved is what is stored.
fn claimant_of(row: &PairingRow) -> Result<Claimant, Failure> {
    let unnamed = || Failure::internal("a claim without a name or a network");
    Ok(Claimant {
        name: row.device_name.clone().ok_or_else(unnamed)?,
        model: row.device_model.clone(),
        platform: row.platform.clone(),
        source: row.network.as_deref().and_then(|ip| ip.parse().ok()).ok_or_else(unnamed)?,
        relay: row.relay.clone(),
    })
}
