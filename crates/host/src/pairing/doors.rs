//! What a device meets: it claims an offer or asks at the open door, waits for the owner where the policy wants
//! it, and is given its credential once.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::api::{DeviceCredential, DeviceKind, Door, EventKind, GenerateAnswer, PairingState};
use couplet_protocol::{BearerToken, ClaimToken, Code, DeviceModel, DeviceName, DeviceToken, Digest, PairToken};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::{self, Step};
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::hasher::Hasher;
use crate::problem::Failure;
use crate::session::Device;
use crate::store::audit::{Actor, Record};
use crate::store::devices::{self, NewDevice};
use crate::store::offers::{self, PairingRow};

/// How many claims one source may have waiting at the open door.
const CLAIMS_OF_SOURCE: usize = 3;

/// How long a one-time token may be asked to live, in seconds.
const TTL: std::ops::RangeInclusive<u64> = 10..=600;

/// Who claims an offer: what the device says of itself, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Claimant {
    pub(crate) name: DeviceName,
    pub(crate) model: Option<DeviceModel>,
    pub(crate) source: IpAddr,
}

/// What a door answers.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The device is given its credential.
    Done(T),
    /// The owner is asked; the device comes back with the claim.
    Waiting { claim: ClaimToken, expires_at: Timestamp, name: DeviceName },
}

/// What the transaction found: a device was paired, or its claim waits until then.
enum Found {
    Paired,
    Waits(Timestamp, DeviceName),
}

/// A credential that is made before the transaction that stores it, because bcrypt is slow.
struct Minted {
    token: String,
    selector: String,
    hash: String,
    id: Uuid,
}

impl Core {
    /// Opens an offer: a one-time token for the QR.
    pub(crate) async fn generate(&self, ttl: Option<u64>, authority: &str) -> Result<GenerateAnswer, Failure> {
        let ttl = ttl.unwrap_or(self.config.limits.offer_seconds);
        if !TTL.contains(&ttl) {
            let next = format!("Ask for {} to {} seconds.", TTL.start(), TTL.end());
            return Err(Failure::new(Code::LifetimeOutOfRange, next));
        }
        self.rates.generate.take(&())?;
        let (now, most) = (self.now(), self.config.limits.max_offers);
        let token = PairToken::from_entropy(crate::random::bytes());
        let digest = token.digest();
        let row = PairingRow::new(Door::Otp, now, now.after(Duration::from_secs(ttl)));
        let (id, expires_at) = (row.id, row.expires_at);
        let news = vec![News::of_pairing(EventKind::OfferCreated, now, &row)];
        let work = move |tx: &Transaction<'_>| {
            let is_open = |p: &PairingRow| p.state == PairingState::Waiting && p.expires_at > now;
            if offers::open(tx)?.iter().filter(|p| is_open(p)).count() >= most as usize {
                return Err(too_many_offers());
            }
            row.save(tx)?;
            offers::insert_token(tx, &digest, row.expires_at, row.id)?;
            let record = Record { pairing_id: Some(row.id), ..Record::new("offer.created", Actor::Owner) };
            record.write(tx, now)?;
            Ok(((), news))
        };
        self.store.write(work, self.tell()).await?;
        let qr_url = format!("couplet://{authority}?pair={}", token.expose());
        Ok(GenerateAnswer { offer_id: id, pair_token: token, qr_url, expires_at: expires_at.to_rfc3339() })
    }

    /// Counts a request that anyone may make against its source's minute.
    pub(crate) fn admit(&self, source: IpAddr) -> Result<(), Failure> {
        self.rates.anyone.take(&crate::net::source_key(source))
    }

    /// Exchanges a one-time token for a device's credential, or for a claim that waits for the owner.
    pub(crate) async fn exchange(
        &self,
        token: &PairToken,
        claim: Option<ClaimToken>,
        claimant: Claimant,
    ) -> Result<Outcome<DeviceCredential>, Failure> {
        let digest = token.digest();
        // Garbage is refused before it can queue for bcrypt.
        let asked = self.store.read(move |tx| offers::token(tx, &digest)).await?;
        let asked = asked.ok_or_else(|| refused(Code::PairTokenInvalid))?;
        // Held until the row is written: of a hundred that come with one token, the first is paired and the
        // others find it used without each hashing a credential of its own.
        let hasher = self.auth.hasher().await?;
        let now = self.now();
        let policy = self.config.approve;
        let wanted = claim.as_ref().map(ClaimToken::digest);
        let row = self.store.read(move |tx| check_offer(tx, &digest, wanted.as_ref(), now)).await?;
        if row.id != asked.pairing_id {
            return Err(refused(Code::ClaimInvalid));
        }
        let needs_token = row.state == PairingState::Granted || !(claim.is_some() || ceremony::asks(row.door, policy));
        let minted = match needs_token {
            true => Some(Minted::device(&hasher).await?),
            false => None,
        };
        let claim = claim.unwrap_or_else(|| ClaimToken::from_entropy(crate::random::bytes()));
        let (limits, claim_digest, first) = (self.config.limits.clone(), claim.digest(), wanted.is_none());
        let device = minted.as_ref().map(|m| m.row(claimant.name.clone(), claimant.model.clone(), row.id));
        let work = move |tx: &Transaction<'_>| {
            let mut row = check_offer(tx, &digest, wanted.as_ref(), now)?;
            let mut news = Vec::new();
            if first {
                row.claim(claimant, now, &mut news)?;
                offers::use_token(tx, &digest, now)?;
                failpoint::reach("pair.token_used");
            }
            if first && ceremony::asks(row.door, policy) {
                row.ask(tx, &claim_digest, now, &limits, &mut news)?;
            } else if first {
                row.step(Step::Grant)?;
            }
            let found = match (row.state, device) {
                (PairingState::Granted, Some(device)) => {
                    pair(tx, row, device, now, limits.max_devices, &mut news)?;
                    Found::Paired
                }
                _ => row.waits()?,
            };
            failpoint::reach("pair.before_commit");
            Ok((found, news))
        };
        let (found, _) = self.store.write(work, self.tell()).await?;
        failpoint::reach("pair.committed");
        drop(hasher);
        Ok(match (found, minted) {
            (Found::Paired, Some(minted)) => Outcome::Done(self.credential(minted)),
            (Found::Waits(expires_at, name), _) => Outcome::Waiting { claim, expires_at, name },
            (Found::Paired, None) => return Err(Failure::internal("paired without a credential")),
        })
    }

    /// `GET /pair`: issues a client credential, or asks the owner first.
    pub(crate) async fn issue(
        &self,
        door: Door,
        claim: Option<ClaimToken>,
        source: IpAddr,
    ) -> Result<Outcome<BearerToken>, Failure> {
        let wanted = claim.as_ref().map(ClaimToken::digest);
        let now = self.now();
        if let Some(wanted) = wanted {
            // Garbage is refused before it can queue for bcrypt.
            self.store.read(move |tx| check_claim(tx, &wanted, now)).await?;
        }
        let hasher = self.auth.hasher().await?;
        let now = self.now();
        let found = match wanted {
            Some(wanted) => Some(self.store.read(move |tx| check_claim(tx, &wanted, now)).await?),
            None => None,
        };
        if found.as_ref().is_some_and(|row| row.door != door) {
            return Err(refused(Code::ClaimInvalid));
        }
        let asks = found.is_none() && ceremony::asks(door, self.config.approve);
        let deliver = !asks && found.as_ref().is_none_or(|row| row.state == PairingState::Granted);
        let token = BearerToken::from_entropy(crate::random::bytes());
        let minted = match deliver {
            true => Some(Minted::bearer(&token, &hasher).await?),
            false => None,
        };
        let claim = claim.unwrap_or_else(|| ClaimToken::from_entropy(crate::random::bytes()));
        let (limits, claim_digest, policy) = (self.config.limits.clone(), claim.digest(), self.config.approve);
        let fresh = PairingRow::new(door, now, now.after(Duration::from_secs(limits.claim_seconds)));
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let mut row = match &wanted {
                Some(wanted) => check_claim(tx, wanted, now)?,
                None => {
                    let mut row = fresh;
                    row.save(tx)?;
                    row.claim(Claimant { name: client_name(row.id)?, model: None, source }, now, &mut news)?;
                    if ceremony::asks(door, policy) {
                        row.ask(tx, &claim_digest, now, &limits, &mut news)?;
                    } else {
                        row.step(Step::Grant)?;
                    }
                    row
                }
            };
            let found = match (row.state, minted) {
                (PairingState::Granted, Some(minted)) => {
                    hand_out(tx, &mut row, &minted, now, &limits)?;
                    Found::Paired
                }
                _ => row.waits()?,
            };
            Ok((found, news))
        };
        let (found, _) = self.store.write(work, self.tell()).await?;
        Ok(match found {
            Found::Paired => Outcome::Done(token),
            Found::Waits(expires_at, name) => Outcome::Waiting { claim, expires_at, name },
        })
    }

    /// The owner's pre-fill: a device with a credential, at once.
    pub(crate) async fn add_device(&self, name: DeviceName, kind: DeviceKind) -> Result<DeviceCredential, Failure> {
        let hasher = self.auth.hasher().await?;
        let minted = Minted::device(&hasher).await?;
        let (now, most) = (self.now(), self.config.limits.max_devices);
        let mut row = PairingRow::new(Door::Prefill, now, now);
        let device = NewDevice { kind, ..minted.row(name.clone(), None, row.id) };
        let work = move |tx: &Transaction<'_>| {
            row.device_name = Some(name);
            row.step(Step::Claim)?;
            row.step(Step::Grant)?;
            let mut news = Vec::new();
            pair(tx, row, device, now, most, &mut news)?;
            Ok(((), news))
        };
        self.store.write(work, self.tell()).await?;
        Ok(self.credential(minted))
    }

    fn credential(&self, minted: Minted) -> DeviceCredential {
        DeviceCredential {
            device_token: minted.token,
            device_id: minted.id,
            server_name: self.config.server_name.clone(),
        }
    }
}

impl Minted {
    async fn device(hasher: &Hasher) -> Result<Minted, Failure> {
        let token = DeviceToken::from_entropy(crate::random::bytes());
        Self::make(token.expose(), token.digest(), hasher).await
    }

    async fn bearer(token: &BearerToken, hasher: &Hasher) -> Result<Minted, Failure> {
        Self::make(token.expose(), token.digest(), hasher).await
    }

    async fn make(token: &str, digest: Digest, hasher: &Hasher) -> Result<Minted, Failure> {
        let hash = hasher.hash(token).await?;
        Ok(Minted { token: token.to_owned(), selector: digest.selector(), hash, id: crate::random::uuid() })
    }

    fn row(&self, name: DeviceName, model: Option<DeviceModel>, pairing: Uuid) -> NewDevice {
        NewDevice {
            device: Device { device_id: self.id, device_name: name, device_model: model },
            kind: DeviceKind::Mobile,
            token_hash: self.hash.clone(),
            token_selector: self.selector.clone(),
            unused_until: None,
            pairing_id: Some(pairing),
        }
    }
}

impl PairingRow {
    fn new(door: Door, now: Timestamp, expires_at: Timestamp) -> Self {
        PairingRow {
            id: crate::random::uuid(),
            door,
            state: PairingState::Waiting,
            created_at: now,
            expires_at,
            claim_hash: None,
            device_name: None,
            device_model: None,
            network: None,
            device_id: None,
        }
    }

    fn waits(self) -> Result<Found, Failure> {
        let name = self.device_name.ok_or_else(|| Failure::internal("a claim without a name"))?;
        Ok(Found::Waits(self.expires_at, name))
    }

    /// Takes the ceremony one step on.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Failure> {
        self.state = ceremony::next(self.state, step).map_err(refused)?;
        Ok(())
    }

    fn claim(&mut self, claimant: Claimant, now: Timestamp, news: &mut Vec<News>) -> Result<(), Failure> {
        self.step(Step::Claim)?;
        self.device_name = Some(claimant.name);
        self.device_model = claimant.model;
        self.network = Some(claimant.source.to_string());
        news.push(News::of_pairing(EventKind::OfferClaimed, now, self));
        Ok(())
    }

    /// Asks the owner. The claim waits its own time, whatever the offer's was.
    fn ask(
        &mut self,
        tx: &Transaction<'_>,
        claim: &Digest,
        now: Timestamp,
        limits: &crate::config::Limits,
        news: &mut Vec<News>,
    ) -> Result<(), Failure> {
        // Only the open door is bounded here, also for each source: it must not close the doors that the owner opens.
        if self.door == Door::Lan {
            let open = offers::open(tx)?;
            let waiting = || open.iter().filter(|p| p.door == Door::Lan && p.state == PairingState::Approval);
            let of_source = waiting().filter(|p| p.network == self.network).count();
            if waiting().count() >= limits.max_claims as usize || of_source >= CLAIMS_OF_SOURCE {
                return Err(too_many_offers());
            }
        }
        self.step(Step::Ask)?;
        self.claim_hash = Some(claim.to_hex());
        self.expires_at = now.after(Duration::from_secs(limits.claim_seconds));
        self.save(tx)?;
        let network = self.network.clone();
        let record = Record {
            pairing_id: Some(self.id),
            network: network.as_deref(),
            detail: self.device_name.as_ref().map(DeviceName::as_str),
            ..Record::new("approval.wanted", Actor::Anyone)
        };
        record.write(tx, now)?;
        news.push(News::of_pairing(EventKind::ApprovalWanted, now, self));
        Ok(())
    }
}

/// The offer behind a one-time token, or the claim on it, as it stands.
fn check_offer(
    tx: &Transaction<'_>,
    token: &Digest,
    claim: Option<&Digest>,
    now: Timestamp,
) -> Result<PairingRow, Failure> {
    let found = offers::token(tx, token)?.ok_or_else(|| refused(Code::PairTokenInvalid))?;
    if let Some(claim) = claim {
        let row = check_claim(tx, claim, now)?;
        return if row.id == found.pairing_id { Ok(row) } else { Err(refused(Code::ClaimInvalid)) };
    }
    if found.used {
        return Err(refused(Code::PairTokenUsed));
    }
    if now >= found.expires_at {
        return Err(refused(Code::PairTokenInvalid));
    }
    let row = offers::by_id(tx, found.pairing_id)?.ok_or_else(|| refused(Code::PairTokenInvalid))?;
    ceremony::next(row.state, Step::Claim).map_err(refused)?;
    Ok(row)
}

/// The pairing that a device waits for: still waiting, or granted; else why not.
fn check_claim(tx: &Transaction<'_>, claim: &Digest, now: Timestamp) -> Result<PairingRow, Failure> {
    let row = offers::by_claim(tx, claim)?.ok_or_else(|| refused(Code::ClaimInvalid))?;
    match row.state {
        PairingState::Claimed | PairingState::Approval | PairingState::Granted if row.device_id.is_none() => {
            if now >= row.expires_at { Err(refused(Code::ClaimExpired)) } else { Ok(row) }
        }
        PairingState::Granted => Err(refused(Code::ClaimCollected)),
        state => Err(refused(ceremony::next(state, Step::Deliver).err().unwrap_or(Code::ClaimInvalid))),
    }
}

/// Stores the device of a granted pairing: it is paired with the commit.
fn pair(
    tx: &Transaction<'_>,
    mut row: PairingRow,
    mut device: NewDevice,
    now: Timestamp,
    max_devices: u32,
    news: &mut Vec<News>,
) -> Result<(), Failure> {
    make_room(tx, max_devices)?;
    // What the owner saw and approved is what is stored, whatever a later poll calls itself.
    if let Some(name) = row.device_name.clone() {
        device.device.device_name = name;
        device.device.device_model = row.device_model.clone();
    }
    devices::insert(tx, &device, now)?;
    offers::token_became(tx, row.id, device.device.device_id)?;
    failpoint::reach("pair.device_inserted");
    row.device_id = Some(device.device.device_id);
    let told = News::of_pairing(EventKind::DevicePaired, now, &row);
    deliver(tx, row, now)?;
    news.push(told);
    Ok(())
}

/// Hands out a client credential of `GET /pair`: paired with its first use, gone when that does not come.
fn hand_out(
    tx: &Transaction<'_>,
    row: &mut PairingRow,
    minted: &Minted,
    now: Timestamp,
    limits: &crate::config::Limits,
) -> Result<(), Failure> {
    make_room(tx, limits.max_devices)?;
    let unused_until = now.after(Duration::from_secs(limits.unused_seconds));
    let name = row.device_name.clone().map_or_else(|| client_name(row.id), Ok)?;
    let device =
        NewDevice { kind: DeviceKind::Bearer, unused_until: Some(unused_until), ..minted.row(name, None, row.id) };
    devices::insert(tx, &device, now)?;
    row.device_id = Some(minted.id);
    row.expires_at = unused_until;
    row.save(tx)?;
    let record = Record {
        pairing_id: Some(row.id),
        device_id: Some(minted.id),
        ..Record::new("credential.issued", Actor::Host)
    };
    record.write(tx, now)
}

/// The last step of the ceremony: the device has its credential.
pub(crate) fn deliver(tx: &Transaction<'_>, mut row: PairingRow, now: Timestamp) -> Result<(), Failure> {
    row.step(Step::Deliver)?;
    row.save(tx)?;
    let record = Record {
        pairing_id: Some(row.id),
        device_id: row.device_id,
        network: row.network.as_deref(),
        detail: row.device_name.as_ref().map(DeviceName::as_str),
        ..Record::new("device.paired", if row.door == Door::Prefill { Actor::Owner } else { Actor::Device })
    };
    record.write(tx, now)
}

fn make_room(tx: &Transaction<'_>, max_devices: u32) -> Result<(), Failure> {
    if devices::count_active(tx)? < max_devices {
        return Ok(());
    }
    let next = format!("This host has its {max_devices} devices. Its owner can revoke one: `couplet devices revoke`.");
    Err(Failure::new(Code::TooManyDevices, next))
}

/// What a client of `GET /pair` is called until its owner renames it.
fn client_name(id: Uuid) -> Result<DeviceName, Failure> {
    let short: String = id.simple().to_string().chars().take(4).collect();
    DeviceName::parse(&format!("Client {short}")).map_err(Failure::internal)
}

fn too_many_offers() -> Failure {
    Failure::new(Code::TooManyOffers, "Use or cancel one of them, or wait until it expires, then try again.")
}

/// The refusal of a step, with what to do next.
pub(super) fn refused(code: Code) -> Failure {
    let next = match code {
        Code::PairTokenInvalid => "Ask the owner for a new code (`couplet pair`) and scan it within a minute.",
        Code::PairTokenUsed => "Each code pairs one device. Ask the owner for a new one: `couplet pair`.",
        Code::PairingRejected => "The owner said no. If that was a mistake, start again with a new code.",
        Code::ClaimExpired => "Start again with a new code, and ask the owner to answer.",
        Code::ClaimCollected => "The credential is shown once. If it was lost, revoke the device and pair again.",
        Code::ClaimInvalid => "Start again with a new code.",
        _ => "Look at `couplet devices` and start again if need be.",
    };
    Failure::new(code, next)
}
