//! The audit table: every pairing, approval, refusal and revocation, written in the transaction that does it.

use couplet_protocol::api::AuditEntry;
use rusqlite::{Transaction, params};
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::problem::Failure;

/// How many entries one listing shows.
const LISTED: u32 = 500;

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

/// The newest entries, newest first; before entry `before` when given.
pub(crate) fn list(tx: &Transaction<'_>, before: Option<i64>) -> Result<Vec<AuditEntry>, Failure> {
    let mut statement = tx.prepare_cached("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?")?;
    let rows = statement.query_map(params![before.unwrap_or(i64::MAX), LISTED], |row| {
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
