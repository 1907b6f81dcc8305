//! What a device meets: it claims an offer or asks at the open door, waits for the owner where the policy wants
//! it, and is given its credential once.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::api::{DeviceCredential, DeviceKind, Door, NetworkPath, PairingState};
use couplet_protocol::{BearerToken, ClaimToken, Code, DeviceName, Digest, PairToken};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::{self, Step};
use super::minted::Minted;
use super::steps::{Claimant, deliver, make_room, refused};
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::problem::Failure;
use crate::store::devices::{self, NewDevice};
use crate::store::offers::{self, PairingRow};
use crate::store::sealed;

/// What a door answers.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// The device is given its credential.
    Done(T),
    /// The owner is asked; the device comes back with the claim.
    Waiting { claim: ClaimToken, expires_at: Timestamp, name: DeviceName },
}

/// What the transaction found: a device was paired, or its claim waits until then.
pub(super) enum Found {
    Paired,
    Waits(Timestamp, DeviceName),
}

impl Core {
    /// Counts a request that anyone may make against its source's minute.
    pub(crate) fn admit(&self, source: IpAddr) -> Result<(), Failure> {
        self.rates.anyone.take(&crate::net::source_key(source))
    }

    /// The same for a claim in a sealed session, by the path that it came.
    pub(crate) fn admit_claim(&self, source: IpAddr, path: NetworkPath) -> Result<(), Failure> {
        match path {
            NetworkPath::Lan => self.admit(source),
            NetworkPath::Relay => self.rates.relayed.take(&crate::net::source_key(source)),
        }
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
        let needs_token = row.state == PairingState::Granted
            || !(claim.is_some() || ceremony::asks(row.door, policy, NetworkPath::Lan));
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
                offers::use_token(tx, row.id, now)?;
                failpoint::reach("pair.token_used");
            }
            if first && ceremony::asks(row.door, policy, NetworkPath::Lan) {
                row.ask(tx, Some(&claim_digest), now, &limits, &mut news)?;
            } else if first {
                row.step(Step::Grant)?;
            }
            let found = match (row.state, device) {
                (PairingState::Granted, Some(device)) => {
                    pair(tx, row, device, now, limits.max_devices, &mut news)?;
                    Found::Paired
                }
                _ => waits(row)?,
            };
            failpoint::reach("pair.before_commit");
            Ok((found, news))
        };
        let (found, _) = self.store.write(work, self.tell()).await?;
        failpoint::reach("pair.committed");
        drop(hasher);
        Ok(match (found, minted) {
            (Found::Paired, Some(minted)) => Outcome::Done(minted.credential(&self.config.server_name)),
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
        let asks = found.is_none() && ceremony::asks(door, self.config.approve, NetworkPath::Lan);
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
                    let name = client_name(row.id)?;
                    row.claim(Claimant { name, model: None, platform: None, source, relay: None }, now, &mut news)?;
                    if ceremony::asks(door, policy, NetworkPath::Lan) {
                        row.ask(tx, Some(&claim_digest), now, &limits, &mut news)?;
                    } else {
                        row.step(Step::Grant)?;
                    }
                    row
                }
            };
            let found = match (row.state, minted) {
                (PairingState::Granted, Some(minted)) => {
                    let name = row.device_name.clone().map_or_else(|| client_name(row.id), Ok)?;
                    let device = NewDevice { kind: DeviceKind::Bearer, ..minted.row(name, None, row.id) };
                    row.hand_out(tx, device, now, &limits)?;
                    Found::Paired
                }
                _ => waits(row)?,
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
        Ok(minted.credential(&self.config.server_name))
    }
}

pub(super) fn waits(row: PairingRow) -> Result<Found, Failure> {
    let name = row.device_name.ok_or_else(|| Failure::internal("a claim without a name"))?;
    Ok(Found::Waits(row.expires_at, name))
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
    if row.waits_in_session() {
        return Err(refused(Code::OfferBusy));
    }
    ceremony::next(row.state, Step::Claim).map_err(refused)?;
    Ok(row)
}

/// The pairing that a device waits for: still waiting, or granted; else why not.
pub(super) fn check_claim(tx: &Transaction<'_>, claim: &Digest, now: Timestamp) -> Result<PairingRow, Failure> {
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
pub(super) fn pair(
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
    sealed::close(tx, row.id)?;
    failpoint::reach("pair.device_inserted");
    row.device_id = Some(device.device.device_id);
    news.push(deliver(tx, row, now)?);
    Ok(())
}

/// What a client of `GET /pair` is called until its owner renames it.
fn client_name(id: Uuid) -> Result<DeviceName, Failure> {
    let short: String = id.simple().to_string().chars().take(4).collect();
    DeviceName::parse(&format!("Client {short}")).map_err(Failure::internal)
}

#[cfg(test)]
mod tests {
    use super::super::owner::undecided;
    use super::*;
    use crate::store::tests::temporary;

    /// The moment that an answer names as the end is the first that is too late.
    #[tokio::test]
    async fn an_end_is_the_first_moment_that_is_too_late() {
        let (_dir, store) = temporary();
        let end = Timestamp::from_millis(1_768_046_460_000);
        let (last, made) = (end.before(Duration::from_millis(1)), end.before(Duration::from_secs(60)));
        let (token, claim) = (Digest::of("otp_"), Digest::of("clm_"));
        let work = move |tx: &Transaction<'_>| {
            let mut row = PairingRow::new(Door::Otp, made, end);
            row.save(tx)?;
            offers::insert_token(tx, &token, end, row.id)?;
            let offer = [last, end].map(|now| check_offer(tx, &token, None, now).map(drop));
            row.step(Step::Claim)?;
            row.step(Step::Ask)?;
            row.claim_hash = Some(claim.to_hex());
            row.save(tx)?;
            let wait = [last, end].map(|now| check_offer(tx, &token, Some(&claim), now).map(drop));
            let decide = [last, end].map(|now| undecided(tx, row.id, now).map(drop));
            Ok([offer, wait, decide])
        };
        let found = store.write(work, |_| ()).await.unwrap();
        let found = found.map(|pair| pair.map(|judged| judged.err().map(|failure| failure.code())));
        let expected = [Code::PairTokenInvalid, Code::ClaimExpired, Code::ClaimExpired].map(|code| [None, Some(code)]);
        assert_eq!(found, expected);
    }
}
