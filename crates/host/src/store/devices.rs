//! `paired_devices`: who may call, with what scope, until when.

use couplet_protocol::api::{DeviceInfo, DeviceKind, NetworkPath};
use couplet_protocol::secret::{Psk, RoomSecret};
use couplet_protocol::signature::VerifyingKey;
use couplet_protocol::{DeviceModel, DeviceName, DevicePlatform, PublicKey, Scope};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{foreign, named, stored_by_name};
use crate::clock::Timestamp;
use crate::problem::Failure;
use crate::session::Device;
use crate::store::ByName;

stored_by_name!(DeviceKind: Mobile = "mobile", Bearer = "bearer", Desktop = "desktop", Browser = "browser",
    Watch = "watch", Other = "other");
stored_by_name!(NetworkPath: Lan = "lan", Relay = "relay");

/// A row of `paired_devices`.
#[derive(Clone, Debug)]
pub(crate) struct DeviceRow {
    pub(crate) device: Device,
    pub(crate) token_hash: String,
    pub(crate) platform: Option<DevicePlatform>,
    pub(crate) kind: DeviceKind,
    pub(crate) paired_at: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) scope: Scope,
    pub(crate) expires_at: Option<Timestamp>,
    /// Its end has come, whatever the clock says now.
    pub(crate) ended: bool,
    pub(crate) unused_until: Option<Timestamp>,
    pub(crate) path: Option<NetworkPath>,
    pub(crate) pairing_id: Option<Uuid>,
    /// What a watch signs with.
    pub(crate) signing_key: Option<VerifyingKey>,
}

/// What a new row needs.
#[derive(Clone, Debug)]
pub(crate) struct NewDevice {
    pub(crate) device: Device,
    pub(crate) kind: DeviceKind,
    /// Empty for a watch, which has no token.
    pub(crate) token_hash: String,
    pub(crate) token_selector: Option<String>,
    pub(crate) unused_until: Option<Timestamp>,
    pub(crate) pairing_id: Option<Uuid>,
    pub(crate) platform: Option<DevicePlatform>,
    pub(crate) sealed: Option<PairingSecrets>,
    pub(crate) signing_key: Option<VerifyingKey>,
}

/// What a device's sealed sessions begin with (spec/protocol.md, 1).
#[derive(Clone, Debug)]
pub(crate) struct PairingSecrets {
    pub(crate) psk_id: [u8; 8],
    pub(crate) psk: Psk,
    pub(crate) device_key: PublicKey,
    /// For the rooms at a relay, whether or not the host has one; None for a device that an older version paired.
    pub(crate) room_secret: Option<RoomSecret>,
}

/// What the owner may change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    pub(crate) name: Option<DeviceName>,
    pub(crate) scope: Option<Scope>,
    pub(crate) expires_at: Option<Option<Timestamp>>,
}

impl DeviceRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<DeviceRow> {
        let uuid = |text: String, column: &str| text.parse::<Uuid>().map_err(|_| foreign(column));
        let name: String = row.get("device_name")?;
        let model: Option<String> = row.get("device_model")?;
        let scope: String = row.get("scope")?;
        let path: Option<String> = row.get("path")?;
        let pairing: Option<String> = row.get("pairing_id")?;
        let platform: Option<String> = row.get("platform")?;
        let signing_key: Option<Vec<u8>> = row.get("signing_key")?;
        let key = |bytes: Vec<u8>| VerifyingKey::from_bytes(&bytes).map_err(|_| foreign("signing_key"));
        Ok(DeviceRow {
            device: Device {
                device_id: uuid(row.get("id")?, "id")?,
                device_name: DeviceName::parse(&name).map_err(|_| foreign("device_name"))?,
                device_model: model.map(|m| DeviceModel::parse(&m)).transpose().map_err(|_| foreign("device_model"))?,
            },
            token_hash: row.get("device_token_hash")?,
            platform: platform.map(|p| DevicePlatform::parse(&p)).transpose().map_err(|_| foreign("platform"))?,
            kind: named(row, "kind")?,
            paired_at: row.get("paired_at")?,
            last_seen: row.get("last_seen")?,
            revoked_at: row.get("revoked_at")?,
            scope: serde_json::from_str(&scope).map_err(|_| foreign("scope"))?,
            expires_at: row.get("expires_at")?,
            ended: row.get::<_, Option<String>>("ended_at")?.is_some(),
            unused_until: row.get("unused_until")?,
            path: path.and_then(|p| NetworkPath::by_name(&p)),
            pairing_id: pairing.map(|p| uuid(p, "pairing_id")).transpose()?,
            signing_key: signing_key.map(key).transpose()?,
        })
    }

    /// As the owner sees it.
    pub(crate) fn info(&self) -> DeviceInfo {
        DeviceInfo {
            device_id: self.device.device_id,
            device_name: self.device.device_name.clone(),
            device_model: self.device.device_model.clone(),
            platform: self.platform.clone(),
            kind: self.kind,
            paired_at: self.paired_at.to_rfc3339(),
            last_seen: self.last_seen.map(Timestamp::to_rfc3339),
            revoked_at: self.revoked_at.map(Timestamp::to_rfc3339),
            path: self.path,
            session: None,
            scope: self.scope.clone(),
            expires_at: self.expires_at.map(Timestamp::to_rfc3339),
        }
    }
}

/// Writes a new device.
pub(crate) fn insert(tx: &Transaction<'_>, new: &NewDevice, now: Timestamp) -> Result<(), Failure> {
    let sealed = new.sealed.as_ref();
    tx.execute(
        "INSERT INTO paired_devices (id, device_token_hash, device_name, device_model, paired_at, token_selector,
            kind, unused_until, pairing_id, platform, psk_id, psk, device_key, room_secret, signing_key)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            new.device.device_id.to_string(),
            new.token_hash,
            new.device.device_name.as_str(),
            new.device.device_model.as_ref().map(DeviceModel::as_str),
            now,
            new.token_selector,
            new.kind.name(),
            new.unused_until,
            new.pairing_id.map(|id| id.to_string()),
            new.platform.as_ref().map(DevicePlatform::as_str),
            sealed.map(|s| s.psk_id),
            sealed.map(|s| s.psk.expose()),
            sealed.map(|s| s.device_key.as_bytes()),
            sealed.and_then(|s| s.room_secret.as_ref()).map(RoomSecret::expose),
            new.signing_key.as_ref().map(VerifyingKey::as_bytes),
        ],
    )?;
    Ok(())
}

/// The device that a sealed session's M1 names, revoked or not, and what its session begins with.
pub(crate) fn by_psk_id(
    tx: &Transaction<'_>,
    psk_id: &[u8; 8],
) -> Result<Option<(DeviceRow, PairingSecrets)>, Failure> {
    let sql = "SELECT * FROM paired_devices WHERE psk_id = ?";
    let found = tx.prepare_cached(sql)?.query_row([psk_id], |row| {
        let psk = Zeroizing::new(row.get::<_, Vec<u8>>("psk")?);
        let key: Vec<u8> = row.get("device_key")?;
        let secrets = PairingSecrets {
            psk_id: *psk_id,
            psk: Psk::from_slice(&psk).ok_or_else(|| foreign("psk"))?,
            device_key: PublicKey::from_slice(&key).ok_or_else(|| foreign("device_key"))?,
            room_secret: super::rooms::secret(row)?,
        };
        Ok((DeviceRow::read(row)?, secrets))
    });
    Ok(found.optional()?)
}

/// The active device whose token has this selector.
pub(crate) fn by_selector(tx: &Transaction<'_>, selector: &str) -> Result<Option<DeviceRow>, Failure> {
    let sql = "SELECT * FROM paired_devices WHERE token_selector = ? AND revoked_at IS NULL";
    Ok(tx.prepare_cached(sql)?.query_row([selector], DeviceRow::read).optional()?)
}

/// The device, revoked or not.
pub(crate) fn by_id(tx: &Transaction<'_>, id: Uuid) -> Result<Option<DeviceRow>, Failure> {
    let sql = "SELECT * FROM paired_devices WHERE id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([id.to_string()], DeviceRow::read).optional()?)
}

/// All devices, newest first.
pub(crate) fn list(tx: &Transaction<'_>, active_only: bool) -> Result<Vec<DeviceRow>, Failure> {
    let sql = "SELECT * FROM paired_devices WHERE ? = 0 OR revoked_at IS NULL ORDER BY paired_at DESC, rowid DESC";
    Ok(tx.prepare_cached(sql)?.query_map([active_only], DeviceRow::read)?.collect::<Result<_, _>>()?)
}

/// How many are active.
pub(crate) fn count_active(tx: &Transaction<'_>) -> Result<u32, Failure> {
    Ok(tx.query_row("SELECT count(*) FROM paired_devices WHERE revoked_at IS NULL", [], |row| row.get(0))?)
}

/// Marks a device revoked. False when it is unknown or was revoked before.
pub(crate) fn revoke(tx: &Transaction<'_>, id: Uuid, now: Timestamp) -> Result<bool, Failure> {
    let sql = "UPDATE paired_devices SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
    Ok(tx.execute(sql, params![now, id.to_string()])? == 1)
}

/// Applies what the owner changed. None when the device is unknown or revoked.
pub(crate) fn update(tx: &Transaction<'_>, id: Uuid, change: &Change) -> Result<Option<DeviceRow>, Failure> {
    let scope = change.scope.as_ref().map(serde_json::to_string).transpose();
    let scope = scope.map_err(Failure::internal)?;
    tx.execute(
        "UPDATE paired_devices SET device_name = coalesce(?2, device_name), scope = coalesce(?3, scope),
            expires_at = CASE WHEN ?4 THEN ?5 ELSE expires_at END, ended_at = CASE WHEN ?4 THEN NULL ELSE ended_at END
         WHERE id = ?1 AND revoked_at IS NULL",
        params![
            id.to_string(),
            change.name.as_ref().map(DeviceName::as_str),
            scope,
            change.expires_at.is_some(),
            change.expires_at.flatten()
        ],
    )?;
    Ok(by_id(tx, id)?.filter(|row| row.revoked_at.is_none()))
}

/// Marks the first use of a credential that is not known to have arrived. False when it came too late or the device is gone.
pub(crate) fn first_use(tx: &Transaction<'_>, id: Uuid, now: Timestamp) -> Result<bool, Failure> {
    let sql = "UPDATE paired_devices SET unused_until = NULL, last_seen = ?2
        WHERE id = ?1 AND unused_until > ?2 AND revoked_at IS NULL";
    Ok(tx.execute(sql, params![id.to_string(), now])? == 1)
}

/// Whether some device's end has come and is not written down.
pub(crate) fn any_ending(tx: &Transaction<'_>, now: Timestamp) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT 1 FROM paired_devices WHERE expires_at <= ? AND ended_at IS NULL)";
    Ok(tx.prepare_cached(sql)?.query_row([now], |row| row.get(0))?)
}

/// Writes down whose end has come, so that a clock that is set back cannot undo it.
pub(crate) fn end(tx: &Transaction<'_>, now: Timestamp) -> Result<(), Failure> {
    tx.execute("UPDATE paired_devices SET ended_at = ?1 WHERE expires_at <= ?1 AND ended_at IS NULL", [now])?;
    Ok(())
}

/// Removes the device of a credential that nobody used in time.
pub(crate) fn remove_unused(tx: &Transaction<'_>, pairing: Uuid) -> Result<(), Failure> {
    let sql = "DELETE FROM paired_devices WHERE pairing_id = ? AND unused_until IS NOT NULL";
    tx.execute(sql, [pairing.to_string()])?;
    Ok(())
}

/// Gives the device of a pairing another while to use its credential for the first time.
pub(crate) fn renew_unused(tx: &Transaction<'_>, pairing: Uuid, until: Timestamp) -> Result<(), Failure> {
    let sql = "UPDATE paired_devices SET unused_until = ?2 WHERE pairing_id = ?1 AND unused_until IS NOT NULL";
    tx.execute(sql, params![pairing.to_string(), until])?;
    Ok(())
}

/// Writes down when devices were last seen, and which way they came.
pub(crate) fn seen(tx: &Transaction<'_>, seen: &[(Uuid, Timestamp, NetworkPath)]) -> Result<(), Failure> {
    let mut statement = tx.prepare_cached(
        "UPDATE paired_devices SET last_seen = ?2, path = ?3 WHERE id = ?1 AND (last_seen IS NULL OR last_seen < ?2)",
    )?;
    for (id, at, path) in seen {
        statement.execute(params![id.to_string(), at, path.name()])?;
    }
    Ok(())
}
