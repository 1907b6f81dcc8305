//! `watch_claims`: the keys of watches whose owner has not answered yet. A watch that is paired has its key in
//! `paired_devices`.

use couplet_protocol::signature::VerifyingKey;
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::foreign;
use crate::clock::Timestamp;
use crate::problem::Failure;

/// Keeps the key that a claim came with: no other one is paired by it, whatever a later poll says.
pub(crate) fn keep(tx: &Transaction<'_>, pairing: Uuid, key: &VerifyingKey) -> Result<(), Failure> {
    let sql = "INSERT INTO watch_claims (pairing_id, signing_key) VALUES (?, ?)";
    tx.execute(sql, params![pairing.to_string(), key.as_bytes()])?;
    Ok(())
}

/// The key that this claim came with.
pub(crate) fn key(tx: &Transaction<'_>, pairing: Uuid) -> Result<Option<VerifyingKey>, Failure> {
    let sql = "SELECT signing_key FROM watch_claims WHERE pairing_id = ?";
    let read = |row: &rusqlite::Row<'_>| {
        let bytes: Vec<u8> = row.get("signing_key")?;
        VerifyingKey::from_bytes(&bytes).map_err(|_| foreign("signing_key"))
    };
    Ok(tx.prepare_cached(sql)?.query_row([pairing.to_string()], read).optional()?)
}

/// The claim has become a device.
pub(crate) fn remove(tx: &Transaction<'_>, pairing: Uuid) -> Result<(), Failure> {
    tx.execute("DELETE FROM watch_claims WHERE pairing_id = ?", [pairing.to_string()])?;
    Ok(())
}

/// Forgets the keys of claims that are over.
pub(crate) fn clean_up(tx: &Transaction<'_>) -> Result<usize, Failure> {
    let sql = "DELETE FROM watch_claims WHERE pairing_id NOT IN (
        SELECT id FROM pairings WHERE state IN ('waiting', 'claimed', 'approval', 'granted'))";
    Ok(tx.execute(sql, [])?)
}

/// The latest moment that is written down: when a device was last seen, or something was done. None in a new database.
pub(crate) fn latest(tx: &Transaction<'_>) -> Result<Option<Timestamp>, Failure> {
    let sql =
        "SELECT max(at) FROM (SELECT max(last_seen) AS at FROM paired_devices UNION ALL SELECT max(at) FROM audit)";
    Ok(tx.query_row(sql, [], |row| row.get(0))?)
}
