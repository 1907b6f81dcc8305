//! `pairings`, the ceremony's rows, and `pairing_tokens`, the one-time tokens of the LAN door.

use couplet_protocol::api::{Door, PairingInfo, PairingState};
use couplet_protocol::{DeviceModel, DeviceName, DevicePlatform, Digest, RelayName};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::{foreign, named, stored_by_name};
use crate::clock::Timestamp;
use crate::problem::Failure;
use crate::store::ByName;

stored_by_name!(Door: Otp = "otp", Url = "url", Lan = "lan", Prefill = "prefill", Offer = "offer",
    Watch = "watch", WatchLan = "watch_lan", Pin = "pin");
stored_by_name!(PairingState: Waiting = "waiting", Claimed = "claimed", Approval = "approval", Granted = "granted",
    Paired = "paired", Rejected = "rejected", Expired = "expired");

/// How many audit entries are kept of what the owner and the devices did, and a tenth of that of the rest: where the
/// open door is open, anyone on the LAN can cause some, and must not push out the others.
const AUDIT_MAX: i64 = 100_000;

/// A row of `pairings`.
#[derive(Clone, Debug)]
pub(crate) struct PairingRow {
    pub(crate) id: Uuid,
    pub(crate) door: Door,
    pub(crate) state: PairingState,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) claim_hash: Option<String>,
    pub(crate) device_name: Option<DeviceName>,
    pub(crate) device_model: Option<DeviceModel>,
    pub(crate) platform: Option<DevicePlatform>,
    pub(crate) network: Option<String>,
    /// The relay that the device came through.
    pub(crate) relay: Option<RelayName>,
    pub(crate) device_id: Option<Uuid>,
    /// Whether a device that asked by PIN speaks sealed sessions, and so is given a link and never a token.
    pub(crate) sealed: bool,
}

/// What the host knows of a one-time token.
#[derive(Clone, Debug)]
pub(crate) struct TokenRow {
    pub(crate) expires_at: Timestamp,
    pub(crate) used: bool,
    pub(crate) pairing_id: Uuid,
}

impl PairingRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<PairingRow> {
        let uuid = |text: String, column: &str| text.parse::<Uuid>().map_err(|_| foreign(column));
        let name: Option<String> = row.get("device_name")?;
        let model: Option<String> = row.get("device_model")?;
        let device: Option<String> = row.get("device_id")?;
        let platform: Option<String> = row.get("platform")?;
        let relay: Option<String> = row.get("relay")?;
        Ok(PairingRow {
            id: uuid(row.get("id")?, "id")?,
            door: named(row, "door")?,
            state: named(row, "state")?,
            created_at: row.get("created_at")?,
            expires_at: row.get("expires_at")?,
            claim_hash: row.get("claim_hash")?,
            device_name: name.map(|n| DeviceName::parse(&n)).transpose().map_err(|_| foreign("device_name"))?,
            device_model: model.map(|m| DeviceModel::parse(&m)).transpose().map_err(|_| foreign("device_model"))?,
            platform: platform.map(|p| DevicePlatform::parse(&p)).transpose().map_err(|_| foreign("platform"))?,
            network: row.get("network")?,
            relay: relay.map(|r| RelayName::parse(&r).ok_or_else(|| foreign("relay"))).transpose()?,
            device_id: device.map(|d| uuid(d, "device_id")).transpose()?,
            sealed: row.get("sealed")?,
        })
    }

    /// Whether the owner must type the check code that the device shows.
    pub(crate) fn wants_check_code(&self) -> bool {
        self.door == Door::Offer && self.state == PairingState::Approval
    }

    /// As the owner sees it.
    pub(crate) fn info(&self) -> PairingInfo {
        PairingInfo {
            id: self.id,
            door: self.door,
            state: self.state,
            device_name: self.device_name.as_ref().map(ToString::to_string),
            device_model: self.device_model.as_ref().map(ToString::to_string),
            platform: self.platform.as_ref().map(ToString::to_string),
            network: self.network.clone(),
            relay: self.relay.as_ref().map(ToString::to_string),
            check_code: self.wants_check_code(),
            created_at: self.created_at.to_rfc3339(),
            expires_at: self.expires_at.to_rfc3339(),
        }
    }

    /// Writes the row, new or changed.
    pub(crate) fn save(&self, tx: &Transaction<'_>) -> Result<(), Failure> {
        tx.prepare_cached(
            "INSERT INTO pairings (id, door, state, created_at, expires_at, claim_hash, device_name, device_model,
                network, device_id, platform, relay, sealed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET door = excluded.door, state = excluded.state,
                expires_at = excluded.expires_at, claim_hash = excluded.claim_hash,
                device_name = excluded.device_name, device_model = excluded.device_model,
                network = excluded.network, device_id = excluded.device_id, platform = excluded.platform,
                relay = excluded.relay, sealed = excluded.sealed",
        )?
        .execute(params![
            self.id.to_string(),
            self.door.name(),
            self.state.name(),
            self.created_at,
            self.expires_at,
            self.claim_hash,
            self.device_name.as_ref().map(DeviceName::as_str),
            self.device_model.as_ref().map(DeviceModel::as_str),
            self.network,
            self.device_id.map(|id| id.to_string()),
            self.platform.as_ref().map(DevicePlatform::as_str),
            self.relay.as_ref().map(RelayName::as_str),
            self.sealed,
        ])?;
        Ok(())
    }
}

/// The pairing with this id.
pub(crate) fn by_id(tx: &Transaction<'_>, id: Uuid) -> Result<Option<PairingRow>, Failure> {
    let sql = "SELECT * FROM pairings WHERE id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([id.to_string()], PairingRow::read).optional()?)
}

/// The pairing that a waiting device polls for.
pub(crate) fn by_claim(tx: &Transaction<'_>, claim: &Digest) -> Result<Option<PairingRow>, Failure> {
    let sql = "SELECT * FROM pairings WHERE claim_hash = ?";
    Ok(tx.prepare_cached(sql)?.query_row([claim.to_hex()], PairingRow::read).optional()?)
}

/// Pairings that are not over, oldest first.
pub(crate) fn open(tx: &Transaction<'_>) -> Result<Vec<PairingRow>, Failure> {
    let sql = "SELECT * FROM pairings WHERE state IN ('waiting', 'claimed', 'approval', 'granted')
        ORDER BY created_at, rowid";
    Ok(tx.prepare_cached(sql)?.query_map([], PairingRow::read)?.collect::<Result<_, _>>()?)
}

/// Keeps the digest of a pairing's one-time token.
pub(crate) fn insert_token(
    tx: &Transaction<'_>,
    token: &Digest,
    expires_at: Timestamp,
    pairing: Uuid,
) -> Result<(), Failure> {
    tx.execute(
        "INSERT INTO pairing_tokens (token_hash, expires_at, pairing_id) VALUES (?, ?, ?)",
        params![token.to_hex(), expires_at, pairing.to_string()],
    )?;
    Ok(())
}

/// The one-time token with this digest.
pub(crate) fn token(tx: &Transaction<'_>, token: &Digest) -> Result<Option<TokenRow>, Failure> {
    let sql = "SELECT expires_at, used_at, pairing_id FROM pairing_tokens WHERE token_hash = ?";
    let row = tx.prepare_cached(sql)?.query_row([token.to_hex()], |row| {
        let pairing: String = row.get("pairing_id")?;
        Ok(TokenRow {
            expires_at: row.get("expires_at")?,
            used: row.get::<_, Option<String>>("used_at")?.is_some(),
            pairing_id: pairing.parse().map_err(|_| foreign("pairing_id"))?,
        })
    });
    Ok(row.optional()?)
}

/// Marks a pairing's one-time token used.
pub(crate) fn use_token(tx: &Transaction<'_>, pairing: Uuid, now: Timestamp) -> Result<(), Failure> {
    tx.execute("UPDATE pairing_tokens SET used_at = ? WHERE pairing_id = ?", params![now, pairing.to_string()])?;
    Ok(())
}

/// When a pairing's one-time token ends; None when it has none, or it is used.
pub(crate) fn token_end(tx: &Transaction<'_>, pairing: Uuid) -> Result<Option<Timestamp>, Failure> {
    let sql = "SELECT expires_at FROM pairing_tokens WHERE pairing_id = ? AND used_at IS NULL";
    Ok(tx.prepare_cached(sql)?.query_row([pairing.to_string()], |row| row.get(0)).optional()?)
}

/// Notes which device a pairing's one-time token became.
pub(crate) fn token_became(tx: &Transaction<'_>, pairing: Uuid, device: Uuid) -> Result<(), Failure> {
    tx.execute(
        "UPDATE pairing_tokens SET used_by_device_id = ? WHERE pairing_id = ?",
        params![device.to_string(), pairing.to_string()],
    )?;
    Ok(())
}

/// Removes the one-time token of an offer that its owner withdrew.
pub(crate) fn remove_token(tx: &Transaction<'_>, pairing: Uuid) -> Result<(), Failure> {
    tx.execute("DELETE FROM pairing_tokens WHERE pairing_id = ?", [pairing.to_string()])?;
    Ok(())
}

/// Forgets tokens that expired over an hour or were used over a day ago, links and pairings that ended over a day ago,
/// requests by PIN, which anyone may make, that came to nothing an hour ago,
/// devices that were revoked over 30 days ago, and audit entries that are over 400 days old or too many
/// ([`AUDIT_MAX`]).
pub(crate) fn clean_up(tx: &Transaction<'_>, now: Timestamp) -> Result<usize, Failure> {
    use std::time::Duration;
    let hours = |n: u64| now.before(Duration::from_secs(n * 3600));
    let tokens =
        tx.execute("DELETE FROM pairing_tokens WHERE expires_at < ?1 OR used_at < ?2", params![hours(1), hours(24)])?;
    let links = tx.execute("DELETE FROM sealed_offers WHERE expires_at < ?", [hours(24)])?;
    let pairings = tx.execute(
        "DELETE FROM pairings WHERE state IN ('paired', 'rejected', 'expired')
            AND (expires_at < ?1 OR (door = 'pin' AND state = 'expired' AND expires_at < ?2))",
        params![hours(24), hours(1)],
    )?;
    let devices = tx.execute("DELETE FROM paired_devices WHERE revoked_at < ?", params![hours(24 * 30)])?;
    let audit = tx.execute(
        "DELETE FROM audit WHERE at < ?1
            OR (actor IN ('owner', 'device') AND id <= (
                SELECT id FROM audit WHERE actor IN ('owner', 'device') ORDER BY id DESC LIMIT 1 OFFSET ?2))
            OR (actor IN ('anyone', 'host') AND id <= (
                SELECT id FROM audit WHERE actor IN ('anyone', 'host') ORDER BY id DESC LIMIT 1 OFFSET ?2 / 10))",
        params![hours(24 * 400), AUDIT_MAX],
    )?;
    Ok(tokens + links + pairings + devices + audit)
}
