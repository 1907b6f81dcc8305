//! The audit table: every pairing, approval, refusal and revocation, written in the transaction that does it.

use couplet_protocol::api::AuditEntry;
use rusqlite::{Transaction, params};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::problem::Failure;

/// How many entries one listing shows.
pub(crate) const LISTED: u32 = 500;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor {
    Owner,
    Device,
    Anyone,
    Host,
}

/// What is written down.
#[derive(Clone, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) action: &'static str,
    pub(crate) actor: Actor,
    pub(crate) pairing_id: Option<Uuid>,
    pub(crate) device_id: Option<Uuid>,
    pub(crate) network: Option<&'a str>,
    pub(crate) detail: Option<&'a str>,
}

impl<'a> Record<'a> {
    pub(crate) fn new(action: &'static str, actor: Actor) -> Self {
        Record { action, actor, pairing_id: None, device_id: None, network: None, detail: None }
    }

    pub(crate) fn write(self, tx: &Transaction<'_>, at: Timestamp) -> Result<(), Failure> {
        let actor = match self.actor {
            Actor::Owner => "owner",
            Actor::Device => "device",
            Actor::Anyone => "anyone",
            Actor::Host => "host",
        };
        tx.prepare_cached(
            "INSERT INTO audit (at, action, actor, pairing_id, device_id, network, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            at,
            self.action,
            actor,
            self.pairing_id.map(|id| id.to_string()),
            self.device_id.map(|id| id.to_string()),
            self.network,
            self.detail
        ])?;
        Ok(())
    }
}

/// Which entries to list; all of them, when nothing is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    /// Older than this entry.
    pub(crate) before: Option<i64>,
    /// Newer than this entry.
    pub(crate) after: Option<i64>,
    /// Written at this time or later.
    pub(crate) since: Option<Timestamp>,
    /// Of this action, or of its family: `device` for `device.paired` and `device.revoked`.
    pub(crate) action: Option<String>,
    /// About this device.
    pub(crate) device: Option<Uuid>,
    /// At most so many, and never more than [`LISTED`].
    pub(crate) limit: Option<u32>,
}

const LIST: &str = "SELECT * FROM audit WHERE id < ?1 AND id > ?2 AND (?3 IS NULL OR at >= ?3)
    AND (?4 IS NULL OR action = ?4 OR substr(action, 1, length(?4) + 1) = ?4 || '.')
    AND (?5 IS NULL OR device_id = ?5) ORDER BY id DESC LIMIT ?6";

/// The newest of these entries, newest first.
pub(crate) fn list(tx: &Transaction<'_>, which: &Which) -> Result<Vec<AuditEntry>, Failure> {
    let mut statement = tx.prepare_cached(LIST)?;
    let wanted = params![
        which.before.unwrap_or(i64::MAX),
        which.after.unwrap_or(0),
        which.since,
        which.action,
        which.device.map(|id| id.to_string()),
        which.limit.unwrap_or(LISTED).min(LISTED),
    ];
    let rows = statement.query_map(wanted, |row| {
        let id = |column| -> rusqlite::Result<Option<Uuid>> {
            Ok(row.get::<_, Option<String>>(column)?.and_then(|text| text.parse().ok()))
        };
        Ok(AuditEntry {
            id: row.get("id")?,
            at: row.get::<_, Timestamp>("at")?.to_rfc3339(),
            action: row.get("action")?,
            actor: row.get("actor")?,
            pairing_id: id("pairing_id")?,
            device_id: id("device_id")?,
            network: row.get("network")?,
            detail: row.get("detail")?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
