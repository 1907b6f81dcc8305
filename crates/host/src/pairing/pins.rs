//! Pairing by PIN: a device asks, the host shows digits to its owner, and the device's person types them there; or the
//! owner says yes or no outright. Anyone on the network may ask: that alone is written into no log, and takes a place only
//! as long as the device is heard when others want it.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::api::{DeviceCredential, Door, LinkAnswer, PairingState, PinPairingAnswer, PinRequest};
use couplet_protocol::offer::{ENDPOINTS_MAX, LinkForm};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{ClaimToken, Code, Digest, Endpoint, MatchNumber, Pin};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::Step;
use super::doors::pair;
use super::minted::Minted;
use super::owner::no_such_pairing;
use super::pin_requests::{Checked, Described, Live, Pins};
use super::steps::{Claimant, PINS_SPENT, refused, too_many_offers};
use crate::clock::Timestamp;
use crate::config::Limits;
use crate::events::News;
use crate::failpoint;
use crate::net::source_key;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed::{self, OfferRoom, SealedOffer};

/// How long a request by PIN waits.
pub(super) const PIN_LIFE: Duration = Duration::from_secs(300);
/// A request that waits, and the one that made way for it.
#[derive(Clone, Debug)]
struct Asked {
    live: Live,
    pairing: Uuid,
    instead_of: Option<Uuid>,
}

/// What a device is answered.
#[derive(Debug)]
pub(crate) enum Verified {
    /// It is paired.
    Paired(DeviceCredential),
    /// It pairs by this link.
    Link(LinkAnswer),
    /// The owner has not said anything; until then it may ask again.
    Waits(Timestamp),
}

impl Core {
    /// A device asks to pair by PIN: the owner is shown the PIN and asked. The same request from the same address is the
    /// same one; another one has to wait, so that none takes the place of the one that the owner looks at. Where all
    /// places are taken, one whose device is not heard any more makes way.
    pub(crate) async fn request_pin(
        &self,
        claimant: Claimant,
        key: Option<&SecretText>,
        sealed: bool,
    ) -> Result<PinPairingAnswer, Failure> {
        let (now, limits, pins) = (self.now(), self.config.limits.clone(), self.pins.clone());
        let (id, pin) =
            (ClaimToken::from_entropy(crate::random::bytes()), Pin::from_entropy(crate::random::bytes(), sealed));
        let device = Described::of(&claimant, key, sealed);
        let mut row = PairingRow { sealed, ..PairingRow::new(Door::Pin, now, now) };
        let (pairing, expires_at) = (row.id, now.after(PIN_LIFE));
        let remembered = pins.clone();
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            if let Some((waits, live)) = remembered.in_the_way(&device, now)
                && offers::by_id(tx, waits)?.is_some_and(|row| row.device_id.is_none())
            {
                let asked = Asked { live, pairing: waits, instead_of: None };
                return if asked.live.device == device { Ok((asked, news)) } else { Err(pending(&asked.live, now)) };
            }
            if let Some(until) = remembered.waits_until(&device, now) {
                return Err(turned_away(until, now));
            }
            let instead_of = make_way(tx, &remembered, now, &limits, &mut news)?;
            let number = remembered.free_number(now).ok_or_else(too_many_offers)?;
            row.claim(claimant, now, &mut news)?;
            row.ask(tx, Some(&id.digest()), now, &limits, &mut news)?;
            if let Some(asked) = news.pop() {
                news.push(asked.with_pin(pin.clone(), number));
            }
            failpoint::reach("pin.before_commit");
            let live = Live::new((id, pin, number), device, (now, expires_at));
            Ok((Asked { live, pairing, instead_of }, news))
        };
        let tell = self.tell();
        let after = move |result: &(Asked, Vec<News>)| {
            let asked = &result.0;
            asked.instead_of.iter().for_each(|gone| pins.forget(*gone, now));
            match asked.pairing == pairing {
                // Before the device can send the PIN.
                true => pins.hold(pairing, asked.live.clone()),
                false => pins.hear(asked.pairing, now),
            }
            tell(result);
        };
        let (Asked { live, .. }, _) = self.store.write(work, after).await?;
        let expires_at = live.expires_at.to_rfc3339();
        Ok(PinPairingAnswer { id: live.id, match_number: live.number, expires_at })
    }

    /// The device does not want to pair any more.
    pub(crate) async fn withdraw_pin(&self, id: &ClaimToken, source: IpAddr) -> Result<(), Failure> {
        let (request, now) = (id.digest(), self.now());
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let mut row = check_request(tx, &request, source, now)?;
            row.expire(tx, Some("its device withdrew"), now, &mut news)?;
            Ok((row.id, news))
        };
        self.store.write(work, self.forget_and_tell()).await.map(drop)
    }

    /// The requests that wait for a PIN or the owner's word, oldest first.
    pub(crate) async fn pin_requests(&self) -> Result<Vec<PinRequest>, Failure> {
        let (now, pins) = (self.now(), self.pins.clone());
        let open = self.store.read(offers::open).await?;
        let waiting = open.iter().filter(|row| row.waits_by_pin() && row.expires_at > now);
        Ok(waiting.filter_map(|row| Some(as_request(row, pins.shown(row.id)?))).collect())
    }

    /// The pairing of a request, by either name: its pairing's, or the secret one that its device has.
    pub(crate) async fn pin_pairing(&self, name: &str) -> Result<Uuid, Failure> {
        let (id, claim) = (name.parse::<Uuid>().ok(), ClaimToken::parse(name).ok().map(|claim| claim.digest()));
        let found = self.store.read(move |tx| match (id, claim) {
            (Some(id), _) => offers::by_id(tx, id),
            (None, Some(claim)) => offers::by_claim(tx, &claim),
            (None, None) => Ok(None),
        });
        match found.await? {
            Some(row) if row.door == Door::Pin => Ok(row.id),
            _ => Err(no_such_pairing()),
        }
    }

    /// A device sends the PIN, or asks whether its owner has said yes. What it is given then was settled when it asked:
    /// who has overheard the id of a device with sealed sessions must not turn its request into one for a token.
    pub(crate) async fn verify_pin(
        &self,
        id: &ClaimToken,
        typed: Option<Pin>,
        (authority, source): (&str, IpAddr),
    ) -> Result<Verified, Failure> {
        let (digest, now) = (id.digest(), self.now());
        let row = self.store.read(move |tx| check_request(tx, &digest, source, now)).await?;
        let sealed = row.sealed;
        self.pins.hear(row.id, now);
        match typed {
            // The owner's yes counts as it is.
            _ if row.state == PairingState::Granted => {}
            None => return Ok(Verified::Waits(row.expires_at)),
            Some(typed) => self.check_pin(row, &typed, source_key(source)).await?,
        }
        match sealed {
            true => self.invite((digest, source), authority).await.map(Verified::Link),
            false => self.deliver_token((digest, source)).await.map(Verified::Paired),
        }
    }

    async fn check_pin(&self, row: PairingRow, typed: &Pin, source: IpAddr) -> Result<(), Failure> {
        let (id, now) = (row.id, self.now());
        self.pin_tries.check(source, now)?;
        let left = match self.pins.check(id, typed) {
            Some(Checked::Right) => return Ok(()),
            Some(Checked::Wrong(left)) => left,
            Some(Checked::Spent) => 0,
            // Sent beside the third wrong one: it was compared with nothing.
            Some(Checked::Over) => return Err(refused(Code::PinsSpent)),
            None => return Err(refused(Code::PinExpired)),
        };
        self.pin_tries.failed(source, now);
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            row.record("pin.wrong", Actor::Anyone).write(tx, now)?;
            let open = offers::by_id(tx, id)?.filter(PairingRow::waits_by_pin);
            if let (0, Some(mut row)) = (left, open) {
                row.expire(tx, Some(PINS_SPENT), now, &mut news)?;
            }
            Ok(((), news))
        };
        let (pins, tell) = (self.pins.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            if left == 0 {
                pins.forget(id, now);
            }
            tell(result);
        };
        self.store.write(work, after).await?;
        Err(match left {
            0 => refused(Code::PinsSpent),
            1 => Failure::new(Code::PinWrong, "Look at the host once more: one try is left."),
            left => Failure::new(Code::PinWrong, format!("Look at the host once more: {left} tries are left.")),
        })
    }

    /// A device that speaks plain HTTP is given its token.
    async fn deliver_token(&self, (request, source): (Digest, IpAddr)) -> Result<DeviceCredential, Failure> {
        let hasher = self.auth.hasher().await?;
        let now = self.now();
        let row = self.store.read(move |tx| check_request(tx, &request, source, now)).await?;
        let name = row.device_name.ok_or_else(|| Failure::internal("a claim without a name"))?;
        let minted = Minted::device(&hasher).await?;
        let mut device = minted.row(name, row.device_model, row.id);
        device.platform = row.platform;
        let most = self.config.limits.max_devices;
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let row = granted(tx, &request, source, now)?;
            let pairing = row.id;
            pair(tx, row, device, now, most, &mut news)?;
            failpoint::reach("pin.before_pairing");
            Ok((pairing, news))
        };
        self.store.write(work, self.forget_and_tell()).await?;
        Ok(minted.credential(&self.config.server_name))
    }

    /// A device that speaks sealed sessions is given a link: the request becomes an offer that it alone knows of.
    async fn invite(&self, (request, source): (Digest, IpAddr), authority: &str) -> Result<LinkAnswer, Failure> {
        let now = self.now();
        let mut offer = self.seal_offer(now.after(Duration::from_secs(self.config.limits.link_seconds)), authority);
        // Where the device has just found this host; a link without a QR code has room for all.
        if let Ok(here) = authority.parse().map(Endpoint::Lan) {
            offer.endpoints.retain(|endpoint| *endpoint != here);
            offer.endpoints.insert(0, here);
            offer.endpoints.truncate(ENDPOINTS_MAX);
        }
        let keys = offer.keys().map_err(Failure::internal)?;
        let link_end = Timestamp::from_millis(i64::from(offer.expires_at) * 1000);
        let suites = offer.suites;
        let work = move |tx: &Transaction<'_>| {
            let mut row = granted(tx, &request, source, now)?;
            row.step(Step::Invite)?;
            (row.door, row.expires_at) = (Door::Offer, link_end);
            row.save(tx)?;
            sealed::insert(
                tx,
                &SealedOffer {
                    offer_id: keys.offer_id,
                    pairing_id: row.id,
                    psk: Some(keys.psk),
                    suites,
                    expires_at: link_end,
                    tried: 0,
                    room: Some(OfferRoom { room: keys.room, token_hash: keys.pairing_token_hash }),
                },
            )?;
            Ok((row.id, Vec::new()))
        };
        self.store.write(work, self.forget_and_tell()).await?;
        // A device that is quick must find the room.
        self.relay.settle().await;
        Ok(LinkAnswer { link: offer.to_link(LinkForm::App), link_expires_at: link_end.to_rfc3339() })
    }

    fn forget_and_tell(&self) -> impl FnOnce(&(Uuid, Vec<News>)) + Send + 'static {
        let (pins, tell, now) = (self.pins.clone(), self.tell(), self.now());
        move |result| {
            pins.forget(result.0, now);
            tell(result);
        }
    }
}

impl PairingRow {
    /// Whether a device waits for its PIN to be typed, or for the owner's word.
    pub(super) fn waits_by_pin(&self) -> bool {
        self.door == Door::Pin && self.state == PairingState::Approval
    }
}

/// The request of this id while it is not over; else why it is. It is known to the address that made it alone: others on
/// the network may have read the id.
fn check_request(
    tx: &Transaction<'_>,
    request: &Digest,
    source: IpAddr,
    now: Timestamp,
) -> Result<PairingRow, Failure> {
    let unknown = || Failure::new(Code::NoSuchPairing, "Ask anew: POST /mobile/pairing.");
    let row = offers::by_claim(tx, request)?.ok_or_else(unknown)?;
    // The device of an invitation may have come on from elsewhere since; all that is left is to say so.
    if row.door == Door::Pin && row.network != Some(source.to_string()) {
        return Err(unknown());
    }
    match (row.door, row.state) {
        (Door::Pin, PairingState::Approval | PairingState::Granted) if now < row.expires_at => Ok(row),
        (Door::Pin, PairingState::Rejected) => Err(refused(Code::PinRejected)),
        // By its link.
        (Door::Offer, _) | (Door::Pin, PairingState::Paired) => Err(refused(Code::ClaimCollected)),
        (Door::Pin, _) => Err(refused(Code::PinExpired)),
        _ => Err(unknown()),
    }
}

/// The same, and it is granted: by its owner, or now, by the right PIN.
fn granted(tx: &Transaction<'_>, request: &Digest, source: IpAddr, now: Timestamp) -> Result<PairingRow, Failure> {
    let mut row = check_request(tx, request, source, now)?;
    if row.state == PairingState::Approval {
        row.step(Step::Grant)?;
        let record = Record { detail: Some("by its PIN"), ..row.record("pairing.approved", Actor::Device) };
        record.write(tx, now)?;
    }
    Ok(row)
}

/// When all places are taken, ends the request of the device that has been silent longest: whoever only asked, or went
/// away, must not keep those out that wait.
fn make_way(
    tx: &Transaction<'_>,
    pins: &Pins,
    now: Timestamp,
    limits: &Limits,
    news: &mut Vec<News>,
) -> Result<Option<Uuid>, Failure> {
    let mut waiting: Vec<_> = offers::open(tx)?.into_iter().filter(PairingRow::waits_by_pin).collect();
    if waiting.len() < limits.max_claims as usize {
        return Ok(None);
    }
    let ids: Vec<_> = waiting.iter().map(|row| row.id).collect();
    let silent = pins.most_silent(&ids, now);
    if let Some(row) = waiting.iter_mut().find(|row| Some(row.id) == silent) {
        row.expire(tx, Some("another device took its place"), now, news)?;
    }
    Ok(silent)
}

fn pending(live: &Live, now: Timestamp) -> Failure {
    let seconds = now.until(live.expires_at).as_secs() + 1;
    let next = format!(
        "Finish the one that waits, or end it on its device; it ends by itself in {seconds} seconds. When the owner turns \
         it away (couplet reject), its address waits a minute."
    );
    Failure::new(Code::PinPending, next).retry_after(seconds)
}

fn turned_away(until: Timestamp, now: Timestamp) -> Failure {
    let seconds = now.until(until).as_secs() + 1;
    let next = format!("The owner said no to what came from this address. It may ask again in {seconds} seconds.");
    Failure::new(Code::PinTurnedAway, next).retry_after(seconds)
}

fn as_request(row: &PairingRow, (pin, match_number): (Pin, MatchNumber)) -> PinRequest {
    PinRequest {
        id: row.id,
        pin,
        match_number,
        sealed: row.sealed,
        device_name: row.device_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        device_model: row.device_model.as_ref().map(ToString::to_string),
        platform: row.platform.as_ref().map(ToString::to_string),
        network: row.network.clone(),
        created_at: row.created_at.to_rfc3339(),
        expires_at: row.expires_at.to_rfc3339(),
    }
}
