//! Pairing by PIN: a device asks, the host shows six digits to its owner, and the device's person types them there; or the
//! owner says yes or no outright. The PIN, and how often it was wrong, are in memory only: a request that nobody answered
//! ends with the process, and its device asks again.
//!
//! Entries are put in and taken out on the database's thread, right behind the commits that they belong to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_protocol::api::{DeviceCredential, Door, LinkAnswer, PairingState, PinPairingAnswer, PinRequest};
use couplet_protocol::offer::{ENDPOINTS_MAX, LinkForm};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{ClaimToken, Code, DeviceModel, DeviceName, DevicePlatform, Digest, Endpoint, Pin};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::Step;
use super::doors::pair;
use super::minted::Minted;
use super::owner::no_such_pairing;
use super::steps::{Claimant, refused};
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::net::source_key;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed::{self, OfferRoom, SealedOffer};

/// How long a request by PIN waits.
pub(super) const PIN_LIFE: Duration = Duration::from_secs(300);
/// How many wrong PINs end the request.
const WRONG_MAX: u8 = 3;
/// What the host remembers of the requests that are not over. Clones share it; the bound on open claims bounds it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<Mutex<HashMap<Uuid, Live>>>);

#[derive(Clone, Debug)]
struct Live {
    id: ClaimToken,
    pin: Pin,
    wrong: u8,
    device: Described,
    expires_at: Timestamp,
}

/// By what a request is known to be the same one. All of a network may count as one source, so that is not enough: the
/// secret id is told to the very address that asked, and where the device sent a key of its own, to who has that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Described {
    address: IpAddr,
    key: Option<Digest>,
    name: DeviceName,
    model: Option<DeviceModel>,
    platform: Option<DevicePlatform>,
}

/// What came of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checked {
    Right,
    /// So many tries are left.
    Wrong(u8),
    /// None is left.
    Spent,
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

impl Pins {
    fn hold(&self, pairing: Uuid, live: Live) {
        self.live().insert(pairing, live);
    }

    /// It is over.
    pub(super) fn forget(&self, pairing: Uuid) {
        self.live().remove(&pairing);
    }

    /// The request that waits from the same source, and which pairing it is.
    fn of_source(&self, source: IpAddr, now: Timestamp) -> Option<(Uuid, Live)> {
        let live = self.live();
        let found = live.iter().find(|(_, live)| source_key(live.device.address) == source && now < live.expires_at);
        found.map(|(pairing, live)| (*pairing, live.clone()))
    }

    fn pin(&self, pairing: Uuid) -> Option<Pin> {
        self.live().get(&pairing).map(|live| live.pin.clone())
    }

    /// Compares what was typed. None: there is no such request any more.
    fn check(&self, pairing: Uuid, typed: &Pin) -> Option<Checked> {
        let mut all = self.live();
        let live = all.get_mut(&pairing)?;
        if live.wrong >= WRONG_MAX {
            return Some(Checked::Spent);
        }
        if live.pin == *typed {
            return Some(Checked::Right);
        }
        live.wrong += 1;
        Some(match WRONG_MAX - live.wrong {
            0 => Checked::Spent,
            left => Checked::Wrong(left),
        })
    }

    fn live(&self) -> MutexGuard<'_, HashMap<Uuid, Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// A device asks to pair by PIN: the owner is shown the PIN and asked. The same request from the same source is the
    /// same one; another one has to wait, so that none takes the place of the one that the owner looks at.
    pub(crate) async fn request_pin(
        &self,
        claimant: Claimant,
        key: Option<&SecretText>,
    ) -> Result<PinPairingAnswer, Failure> {
        let (now, limits, pins) = (self.now(), self.config.limits.clone(), self.pins.clone());
        let (id, pin) = (ClaimToken::from_entropy(crate::random::bytes()), Pin::from_entropy(crate::random::bytes()));
        let device = Described::of(&claimant, key);
        let mut row = PairingRow::new(Door::Pin, now, now);
        let (pairing, expires_at) = (row.id, now.after(PIN_LIFE));
        let live = Live { id: id.clone(), pin: pin.clone(), wrong: 0, device: device.clone(), expires_at };
        let remembered = pins.clone();
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            if let Some((waits, live)) = remembered.of_source(source_key(device.address), now)
                && offers::by_id(tx, waits)?.is_some_and(|row| row.device_id.is_none())
            {
                return if live.device == device { Ok((Some(live), news)) } else { Err(pending(&live, now)) };
            }
            row.claim(claimant, now, &mut news)?;
            row.ask(tx, Some(&id.digest()), now, &limits, &mut news)?;
            if let Some(asked) = news.pop() {
                news.push(asked.with_pin(pin));
            }
            failpoint::reach("pin.before_commit");
            Ok((None, news))
        };
        let (tell, held) = (self.tell(), live.clone());
        let after = move |result: &(Option<Live>, Vec<News>)| {
            if result.0.is_none() {
                // Before the device can send the PIN.
                pins.hold(pairing, held);
            }
            tell(result);
        };
        let (before, _) = self.store.write(work, after).await?;
        let live = before.unwrap_or(live);
        Ok(PinPairingAnswer { id: live.id.clone(), expires_at: live.expires_at.to_rfc3339() })
    }

    /// The requests that wait for a PIN or the owner's word, oldest first.
    pub(crate) async fn pin_requests(&self) -> Result<Vec<PinRequest>, Failure> {
        let (now, pins) = (self.now(), self.pins.clone());
        let open = self.store.read(offers::open).await?;
        let waiting = open.iter().filter(|row| row.waits_by_pin() && row.expires_at > now);
        Ok(waiting.filter_map(|row| Some(as_request(row, pins.pin(row.id)?))).collect())
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

    /// A device sends the PIN, or asks whether its owner has said yes.
    pub(crate) async fn verify_pin(
        &self,
        id: &ClaimToken,
        typed: Option<Pin>,
        sealed: bool,
        (authority, source): (&str, IpAddr),
    ) -> Result<Verified, Failure> {
        let (digest, now) = (id.digest(), self.now());
        let row = self.store.read(move |tx| check_request(tx, &digest, now)).await?;
        match typed {
            // The owner's yes counts as it is.
            _ if row.state == PairingState::Granted => {}
            None => return Ok(Verified::Waits(row.expires_at)),
            Some(typed) => self.check_pin(row, &typed, source_key(source)).await?,
        }
        match sealed {
            true => self.invite(digest, authority).await.map(Verified::Link),
            false => self.deliver_token(digest).await.map(Verified::Paired),
        }
    }

    async fn check_pin(&self, row: PairingRow, typed: &Pin, source: IpAddr) -> Result<(), Failure> {
        let (id, now) = (row.id, self.now());
        self.pin_tries.check(source, now)?;
        let left = match self.pins.check(id, typed) {
            Some(Checked::Right) => return Ok(()),
            Some(Checked::Wrong(left)) => left,
            Some(Checked::Spent) => 0,
            None => return Err(refused(Code::PinExpired)),
        };
        self.pin_tries.failed(source, now);
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            row.record("pin.wrong", Actor::Anyone).write(tx, now)?;
            let open = offers::by_id(tx, id)?.filter(PairingRow::waits_by_pin);
            if let (0, Some(mut row)) = (left, open) {
                row.expire(tx, Some("three wrong PINs"), now, &mut news)?;
            }
            Ok(((), news))
        };
        let (pins, tell) = (self.pins.clone(), self.tell());
        let after = move |result: &((), Vec<News>)| {
            if left == 0 {
                pins.forget(id);
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
    async fn deliver_token(&self, request: Digest) -> Result<DeviceCredential, Failure> {
        let hasher = self.auth.hasher().await?;
        let now = self.now();
        let row = self.store.read(move |tx| check_request(tx, &request, now)).await?;
        let name = row.device_name.ok_or_else(|| Failure::internal("a claim without a name"))?;
        let minted = Minted::device(&hasher).await?;
        let mut device = minted.row(name, row.device_model, row.id);
        device.platform = row.platform;
        let most = self.config.limits.max_devices;
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let row = granted(tx, &request, now)?;
            let pairing = row.id;
            pair(tx, row, device, now, most, &mut news)?;
            failpoint::reach("pin.before_pairing");
            Ok((pairing, news))
        };
        self.store.write(work, self.forget_and_tell()).await?;
        Ok(minted.credential(&self.config.server_name))
    }

    /// A device that speaks sealed sessions is given a link: the request becomes an offer that it alone knows of.
    async fn invite(&self, request: Digest, authority: &str) -> Result<LinkAnswer, Failure> {
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
            let mut row = granted(tx, &request, now)?;
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
        let (pins, tell) = (self.pins.clone(), self.tell());
        move |result| {
            pins.forget(result.0);
            tell(result);
        }
    }
}

impl Described {
    fn of(claimant: &Claimant, key: Option<&SecretText>) -> Self {
        Described {
            address: claimant.source.to_canonical(),
            key: key.map(|key| Digest::of(key.expose())),
            name: claimant.name.clone(),
            model: claimant.model.clone(),
            platform: claimant.platform.clone(),
        }
    }
}

impl PairingRow {
    /// Whether a device waits for its PIN to be typed, or for the owner's word.
    pub(super) fn waits_by_pin(&self) -> bool {
        self.door == Door::Pin && self.state == PairingState::Approval
    }
}

/// The request of this id while it is not over; else why it is.
fn check_request(tx: &Transaction<'_>, request: &Digest, now: Timestamp) -> Result<PairingRow, Failure> {
    let unknown = || Failure::new(Code::NoSuchPairing, "Ask anew: POST /mobile/pairing.");
    let row = offers::by_claim(tx, request)?.ok_or_else(unknown)?;
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
fn granted(tx: &Transaction<'_>, request: &Digest, now: Timestamp) -> Result<PairingRow, Failure> {
    let mut row = check_request(tx, request, now)?;
    if row.state == PairingState::Approval {
        row.step(Step::Grant)?;
        let record = Record { detail: Some("by its PIN"), ..row.record("pairing.approved", Actor::Device) };
        record.write(tx, now)?;
    }
    Ok(row)
}

fn pending(live: &Live, now: Timestamp) -> Failure {
    let seconds = now.until(live.expires_at).as_secs() + 1;
    let next = format!(
        "Finish the one that waits, or let the owner turn it away (couplet reject); it ends by itself in {seconds} \
         seconds."
    );
    Failure::new(Code::PinPending, next).retry_after(seconds)
}

fn as_request(row: &PairingRow, pin: Pin) -> PinRequest {
    PinRequest {
        id: row.id,
        pin,
        device_name: row.device_name.as_ref().map(ToString::to_string).unwrap_or_default(),
        device_model: row.device_model.as_ref().map(ToString::to_string),
        platform: row.platform.as_ref().map(ToString::to_string),
        network: row.network.clone(),
        created_at: row.created_at.to_rfc3339(),
        expires_at: row.expires_at.to_rfc3339(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAIRING: Uuid = Uuid::from_u128(1);

    fn held(end: i64) -> Pins {
        let pins = Pins::default();
        let device = Described {
            address: [192, 168, 1, 7].into(),
            key: None,
            name: DeviceName::parse("iPad").unwrap(),
            model: None,
            platform: None,
        };
        let (id, pin) = (ClaimToken::from_entropy([1; 16]), Pin::parse("123456").unwrap());
        pins.hold(PAIRING, Live { id, pin, wrong: 0, device, expires_at: Timestamp::from_millis(end) });
        pins
    }

    #[test]
    fn three_wrong_pins_and_the_right_one_helps_no_more() {
        let pins = held(1000);
        let check = |text| pins.check(PAIRING, &Pin::parse(text).unwrap());
        assert_eq!(check("000000"), Some(Checked::Wrong(2)));
        assert_eq!(check("123456"), Some(Checked::Right), "a right one costs nothing");
        assert_eq!(check("123455"), Some(Checked::Wrong(1)));
        assert_eq!(check("000000"), Some(Checked::Spent));
        assert_eq!(check("123456"), Some(Checked::Spent));
        pins.forget(PAIRING);
        assert_eq!(check("123456"), None);
    }

    #[test]
    fn a_source_has_one_request_until_that_ends() {
        let pins = held(1000);
        let of = |source: [u8; 4], now| pins.of_source(source.into(), Timestamp::from_millis(now)).is_some();
        assert!(of([192, 168, 1, 7], 999) && !of([192, 168, 1, 7], 1000) && !of([192, 168, 1, 8], 999));
    }

    proptest! {
        /// However PINs are tried, at most three wrong ones are compared, and only the right one opens.
        #[test]
        fn at_most_three_guesses(tries in prop::collection::vec(0_u64..1_000_000, 0..12)) {
            let (pins, mut wrong) = (held(1000), 0);
            for number in tries {
                let typed = Pin::parse(&format!("{number:06}")).unwrap();
                let (was, checked) = (wrong, pins.check(PAIRING, &typed).unwrap());
                let expected = match (was, number) {
                    (3, _) => Checked::Spent,
                    (_, 123_456) => Checked::Right,
                    (2, _) => Checked::Spent,
                    (was, _) => Checked::Wrong(2 - was),
                };
                prop_assert_eq!(checked, expected);
                wrong = (was + u8::from(number != 123_456)).min(3);
            }
        }
    }
}
