//! Watches (spec/protocol.md, 8): a nonce that the owner asks for, or anyone where the open door is open, and a key that
//! has signed it.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::api::{DeviceKind, Door, EventKind, NetworkPath, PairingState, WatchPaired, WatchPairingInfo};
use couplet_protocol::signature::{NONCE_WINDOW_MS, Nonce, VerifyingKey};
use couplet_protocol::{ClaimToken, Code, Digest};
use rusqlite::Transaction;
use uuid::Uuid;

use super::Core;
use super::ceremony::{self, Step};
use super::doors::{Found, Outcome, check_claim, pair, waits};
use super::steps::{CLAIMS_OF_SOURCE, Claimant, refused, too_many_offers};
use crate::clock::Timestamp;
use crate::events::News;
use crate::failpoint;
use crate::problem::Failure;
use crate::session::Device;
use crate::store::audit::{Actor, Record};
use crate::store::devices::NewDevice;
use crate::store::offers::{self, PairingRow};
use crate::store::watches;

/// Where a watch registers.
pub(crate) const ENDPOINT: &str = "/watch/devices";

impl Core {
    /// A nonce for a watch to sign. Those that anyone asks for have a bound of their own, and one for each source, so
    /// that they close no door of the owner's.
    pub(crate) async fn watch_nonce(
        &self,
        door: Door,
        source: IpAddr,
        authority: &str,
    ) -> Result<WatchPairingInfo, Failure> {
        let (now, limits) = (self.now(), self.config.limits.clone());
        let nonce = Nonce::new(now.millis().unsigned_abs(), crate::random::bytes());
        let (digest, end) = (Digest::of(&nonce.to_string()), now.after(Duration::from_millis(NONCE_WINDOW_MS)));
        let mut row = PairingRow::new(door, now, end);
        if door == Door::WatchLan {
            row.network = Some(source.to_string());
        }
        let info = self.pairing_info(&row, &nonce, authority);
        let work = move |tx: &Transaction<'_>| {
            let open = offers::open(tx)?;
            let alike =
                || open.iter().filter(|p| p.door == door && p.state == PairingState::Waiting && p.expires_at > now);
            let is_full = match door {
                Door::WatchLan => {
                    alike().count() >= limits.max_claims as usize
                        || alike().filter(|p| p.network == row.network).count() >= CLAIMS_OF_SOURCE
                }
                _ => alike().count() >= limits.max_offers as usize,
            };
            if is_full {
                return Err(too_many_offers());
            }
            row.save(tx)?;
            offers::insert_token(tx, &digest, end, row.id)?;
            if door == Door::WatchLan {
                return Ok(((), Vec::new()));
            }
            let record = Record { pairing_id: Some(row.id), ..Record::new("offer.created", Actor::Owner) };
            record.write(tx, now)?;
            Ok(((), vec![News::of_pairing(EventKind::OfferCreated, now, &row)]))
        };
        self.store.write(work, self.tell()).await?;
        Ok(info)
    }

    fn pairing_info(&self, row: &PairingRow, nonce: &Nonce, authority: &str) -> WatchPairingInfo {
        let machine_id = self.host_key.public().fingerprint();
        WatchPairingInfo {
            offer_id: row.id,
            nonce: nonce.to_string(),
            url: format!("http://{authority}"),
            endpoint: ENDPOINT.to_owned(),
            qr_url: format!("couplet://{authority}{ENDPOINT}?nonce={nonce}&machine_id={machine_id}"),
            machine_id,
            expires_at: row.expires_at.to_rfc3339(),
        }
    }

    /// Pairs a watch whose key has signed the nonce, or has it wait for the owner. The signature was checked.
    pub(crate) async fn register_watch(
        &self,
        nonce: Nonce,
        key: VerifyingKey,
        claim: Option<ClaimToken>,
        claimant: Claimant,
    ) -> Result<Outcome<WatchPaired>, Failure> {
        let (now, policy, limits) = (self.now(), self.config.approve, self.config.limits.clone());
        let (digest, id) = (Digest::of(&nonce.to_string()), crate::random::uuid());
        let wanted = claim.as_ref().map(ClaimToken::digest);
        let claim = claim.unwrap_or_else(|| ClaimToken::from_entropy(crate::random::bytes()));
        let claim_digest = claim.digest();
        let work = move |tx: &Transaction<'_>| {
            let mut news = Vec::new();
            let mut row = match &wanted {
                Some(wanted) => check_watch_claim(tx, wanted, &digest, &key, now)?,
                None => check_nonce(tx, &digest, now)?,
            };
            if wanted.is_none() {
                row.claim(claimant, now, &mut news)?;
                offers::use_token(tx, row.id, now)?;
                failpoint::reach("watch.nonce_used");
                if ceremony::asks(row.door, policy, NetworkPath::Lan) {
                    watches::keep(tx, row.id, &key)?;
                    row.ask(tx, Some(&claim_digest), now, &limits, &mut news)?;
                } else {
                    row.step(Step::Grant)?;
                }
            }
            if row.state != PairingState::Granted {
                return Ok((waits(row)?, news));
            }
            watches::remove(tx, row.id)?;
            let device = new_device(id, &row, key)?;
            pair(tx, row, device, now, limits.max_devices, &mut news)?;
            failpoint::reach("watch.before_commit");
            Ok((Found::Paired, news))
        };
        let (found, _) = self.store.write(work, self.tell()).await?;
        failpoint::reach("watch.committed");
        Ok(match found {
            Found::Paired => Outcome::Done(WatchPaired { device_id: id, server_name: self.config.server_name.clone() }),
            Found::Waits(expires_at, name) => Outcome::Waiting { claim, expires_at, name },
        })
    }
}

/// The device of a claim, as the owner has seen it.
fn new_device(id: Uuid, row: &PairingRow, key: VerifyingKey) -> Result<NewDevice, Failure> {
    let name = row.device_name.clone().ok_or_else(|| Failure::internal("a claim without a name"))?;
    Ok(NewDevice {
        device: Device { device_id: id, device_name: name, device_model: row.device_model.clone() },
        kind: DeviceKind::Watch,
        token_hash: String::new(),
        token_selector: None,
        unused_until: None,
        pairing_id: Some(row.id),
        platform: row.platform.clone(),
        sealed: None,
        signing_key: Some(key),
    })
}

/// The pairing of a nonce that no watch has used.
fn check_nonce(tx: &Transaction<'_>, nonce: &Digest, now: Timestamp) -> Result<PairingRow, Failure> {
    let found = offers::token(tx, nonce)?.ok_or_else(|| refused(Code::WatchNonceInvalid))?;
    if found.used {
        return Err(refused(Code::WatchNonceUsed));
    }
    let row = offers::by_id(tx, found.pairing_id)?.filter(|_| now < found.expires_at);
    let row = row.ok_or_else(|| refused(Code::WatchNonceInvalid))?;
    match row.door {
        Door::Watch | Door::WatchLan if row.state == PairingState::Waiting => Ok(row),
        _ => Err(refused(Code::WatchNonceInvalid)),
    }
}

/// The claim that a watch comes back with; it must be the one that this key made by this nonce.
fn check_watch_claim(
    tx: &Transaction<'_>,
    claim: &Digest,
    nonce: &Digest,
    key: &VerifyingKey,
    now: Timestamp,
) -> Result<PairingRow, Failure> {
    let row = check_claim(tx, claim, now)?;
    let is_its_nonce = offers::token(tx, nonce)?.is_some_and(|token| token.pairing_id == row.id);
    if is_its_nonce && watches::key(tx, row.id)?.as_ref() == Some(key) {
        return Ok(row);
    }
    Err(refused(Code::ClaimInvalid))
}
