//! Offers: what the owner opens and withdraws, and what a sealed session finds. An offer has two credentials, a
//! one-time token for plain HTTP and a link for sealed sessions, each with its own end; the first grant of either
//! uses up both.

use std::time::Duration;

use couplet_protocol::api::{Door, EventKind, GenerateAnswer, PairingState};
use couplet_protocol::offer::{ENDPOINTS_MAX, LinkForm, SUITE_1};
use couplet_protocol::secret::{OfferSecret, Psk};
use couplet_protocol::{Code, Endpoint, Offer, PairToken, RelayName};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::{self, Step};
use super::steps::{refused, too_many_offers};
use crate::clock::Timestamp;
use crate::events::News;
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed::{self, OfferRoom, SealedOffer};

/// How long a credential of an offer may be asked to live, in seconds.
const TTL: std::ops::RangeInclusive<u64> = 10..=600;

/// How many bytes the endpoints of an offer take at most, so that its QR code keeps to version 5 and its link to two
/// lines of a terminal: four IPv4 addresses, or an IPv6 address and one of IPv4. A granted device is told all.
const ENDPOINT_BYTES: usize = 35;

/// The same with a relay, whose name is in the link: one IPv4 address at least, more where the name is short.
fn lan_bytes(relay: &RelayName) -> usize {
    /// What a link of version 5 has room for: a name of 36 characters with one IPv4 address.
    const LINK: usize = 147;
    const AROUND_NAME: usize = "HTTPS:///P#".len();
    /// An offer without endpoints.
    const OFFER: usize = 54;
    const ONE_IPV4: usize = 8;
    let letters = LINK.saturating_sub(AROUND_NAME + relay.as_str().len());
    (letters * 5 / 8).saturating_sub(OFFER).max(ONE_IPV4)
}

/// How many devices may get the host's answer and go away again: who photographed the code must not try until the
/// check code fits (spec/protocol.md, 3).
pub(crate) const TRIES: u8 = 3;

/// An offer that a device may claim through a sealed session.
#[derive(Clone, Debug)]
pub(crate) struct OpenOffer {
    pub(crate) offer_id: [u8; 8],
    pub(crate) pairing_id: Uuid,
    pub(crate) psk: Psk,
    pub(crate) suites: u8,
    pub(crate) tried: u8,
    /// Whether one device was given the link, by plain HTTP, because it asked by PIN.
    pub(crate) is_invited: bool,
}

impl Core {
    /// Opens an offer with both its credentials.
    pub(crate) async fn generate(
        &self,
        ttl: Option<u64>,
        link_ttl: Option<u64>,
        authority: &str,
    ) -> Result<GenerateAnswer, Failure> {
        let ttl = lifetime(ttl, self.config.limits.offer_seconds)?;
        let link_ttl = lifetime(link_ttl, self.config.limits.link_seconds)?;
        self.rates.generate.take(&())?;
        let (now, most) = (self.now(), self.config.limits.max_offers);
        let token = PairToken::from_entropy(crate::random::bytes());
        let token_end = now.after(ttl);
        let offer = self.seal_offer(now.after(link_ttl), authority);
        let keys = offer.keys().map_err(Failure::internal)?;
        let link_end = Timestamp::from_millis(i64::from(offer.expires_at) * 1000);
        let row = PairingRow::new(Door::Otp, now, token_end.max(link_end));
        let sealed = SealedOffer {
            offer_id: keys.offer_id,
            pairing_id: row.id,
            psk: Some(keys.psk),
            suites: offer.suites,
            expires_at: link_end,
            tried: 0,
            room: Some(OfferRoom { room: keys.room, token_hash: keys.pairing_token_hash }),
        };
        let answer = GenerateAnswer {
            offer_id: row.id,
            qr_url: format!("couplet://{authority}?pair={}", token.expose()),
            expires_at: token_end.to_rfc3339(),
            link: offer.to_link(LinkForm::Web),
            link_expires_at: link_end.to_rfc3339(),
            pair_token: token,
        };
        let digest = answer.pair_token.digest();
        let work = move |tx: &Transaction<'_>| {
            let is_open =
                |p: &PairingRow| p.door == Door::Otp && p.state == PairingState::Waiting && p.expires_at > now;
            if offers::open(tx)?.iter().filter(|p| is_open(p)).count() >= most as usize {
                return Err(too_many_offers());
            }
            row.save(tx)?;
            offers::insert_token(tx, &digest, token_end, row.id)?;
            sealed::insert(tx, &sealed)?;
            let record = Record { pairing_id: Some(row.id), ..Record::new("offer.created", Actor::Owner) };
            record.write(tx, now)?;
            Ok(((), vec![News::of_pairing(EventKind::OfferCreated, now, &row)]))
        };
        self.store.write(work, self.tell()).await?;
        // A device that is quick must find the room.
        self.relay.settle().await;
        Ok(answer)
    }

    /// The offer of a link that ends then, rounded up to whole seconds.
    pub(super) fn seal_offer(&self, end: Timestamp, authority: &str) -> Offer {
        let mut endpoints = self.endpoints();
        if endpoints.is_empty() {
            // A library's host need not know where it is served; the caller found it.
            endpoints.extend(authority.parse().ok().map(Endpoint::Lan));
        }
        let relay = self.relay.name();
        let mut left = relay.map_or(ENDPOINT_BYTES, lan_bytes);
        // The relay's own is in the link's beginning.
        endpoints.retain(|endpoint| match (endpoint, left.checked_sub(endpoint.to_bytes().len())) {
            (Endpoint::Relay(_), _) => true,
            (Endpoint::Lan(_), Some(rest)) => {
                left = rest;
                true
            }
            (Endpoint::Lan(_), None) => false,
        });
        Offer {
            suites: SUITE_1,
            expires_at: u32::try_from((end.millis() + 999) / 1000).unwrap_or(u32::MAX),
            secret: OfferSecret::new(crate::random::bytes()),
            host_key: self.host_key.public(),
            endpoints,
        }
    }

    /// Where a device can reach this host, the likeliest first; the relay, which is always there, last.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let relay = self.relay.name().cloned().map(Endpoint::Relay);
        let lan = self.reachable().into_iter().take(ENDPOINTS_MAX - usize::from(relay.is_some()));
        lan.map(Endpoint::Lan).chain(relay).collect()
    }

    /// The owner withdraws an offer that no device has claimed.
    pub(crate) async fn withdraw(&self, id: Uuid) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut row = offers::by_id(tx, id)?.ok_or_else(super::owner::no_such_pairing)?;
            if row.state != PairingState::Waiting {
                return Err(refused(Code::AlreadyDecided));
            }
            row.step(Step::Reject)?;
            row.save(tx)?;
            offers::remove_token(tx, id)?;
            sealed::remove(tx, id)?;
            row.record("offer.withdrawn", Actor::Owner).write(tx, now)?;
            Ok(((), vec![News::of_pairing(EventKind::PairingRejected, now, &row).because(Some(Code::PairingRejected))]))
        };
        self.store.write(work, self.tell()).await.map(|((), _)| ())
    }

    /// The offer that an M1 names, when a device may claim it now; else why not.
    pub(crate) async fn open_offer(&self, offer_id: [u8; 8]) -> Result<OpenOffer, Failure> {
        self.open_offer_and(offer_id, || ()).await.map(|(offer, ())| offer)
    }

    /// The same, with what `also` says at the same moment: [`Core::count_try`] comes before both or after both.
    pub(crate) async fn open_offer_and<T: Send + 'static>(
        &self,
        offer_id: [u8; 8],
        also: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(OpenOffer, T), Failure> {
        let now = self.now();
        self.store.read(move |tx| claimable(tx, &offer_id, now).map(|(offer, _)| (offer, also()))).await
    }

    /// A device got the host's answer and went away. The third uses the offer up. `counted` is called once it is
    /// written down.
    pub(crate) async fn count_try(
        &self,
        pairing: Uuid,
        counted: impl FnOnce() + Send + 'static,
    ) -> Result<(), Failure> {
        let now = self.now();
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let tried = sealed::count_try(tx, pairing)?;
            let waiting = offers::by_id(tx, pairing)?.filter(|row| row.state == PairingState::Waiting);
            if tried >= TRIES
                && let Some(mut row) = waiting
            {
                row.expire(tx, Some(SPENT), now, &mut news)?;
            }
            Ok(((), news))
        };
        let tell = self.tell();
        let after = move |result: &((), Vec<News>)| {
            counted();
            tell(result);
        };
        self.store.write(work, after).await.map(|((), _)| ())
    }
}

/// What the audit log says of an offer that ended before its time.
pub(super) const SPENT: &str = "three devices began to claim it and went away";

/// The offer with this id and its row, when a device may claim it now; else why not.
pub(super) fn claimable(
    tx: &Transaction<'_>,
    offer_id: &[u8; 8],
    now: Timestamp,
) -> Result<(OpenOffer, PairingRow), Failure> {
    let invalid = || refused(Code::PairTokenInvalid);
    let offer = sealed::by_offer_id(tx, offer_id)?.ok_or_else(invalid)?;
    let row = offers::by_id(tx, offer.pairing_id)?.ok_or_else(invalid)?;
    if matches!(row.state, PairingState::Claimed | PairingState::Approval) {
        return Err(refused(Code::OfferBusy));
    }
    ceremony::next(row.state, Step::Claim).map_err(refused)?;
    let psk = offer.psk.filter(|_| now < offer.expires_at && offer.tried < TRIES).ok_or_else(invalid)?;
    let open = OpenOffer {
        offer_id: *offer_id,
        pairing_id: offer.pairing_id,
        psk,
        suites: offer.suites,
        tried: offer.tried,
        is_invited: row.is_invited(),
    };
    Ok((open, row))
}

fn lifetime(asked: Option<u64>, default: u64) -> Result<Duration, Failure> {
    let seconds = asked.unwrap_or(default);
    if TTL.contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let next = format!("Ask for {} to {} seconds.", TTL.start(), TTL.end());
    Err(Failure::new(Code::LifetimeOutOfRange, next))
}
