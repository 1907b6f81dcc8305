//! `sealed_offers`: the link of an offer, which a device claims through a sealed session (spec/protocol.md, 2).
//!
//! The link's secret `K` is never stored, only what is derived from it. Once the offer is over its PSK is gone too;
//! the row stays for a while, so that a device that comes late is told "used" and not "unknown".

use couplet_protocol::secret::Psk;
use couplet_protocol::{CredentialHash, RoomId};
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::foreign;
use crate::clock::Timestamp;
use crate::problem::Failure;

/// A row of `sealed_offers`.
#[derive(Clone, Debug)]
pub(crate) struct SealedOffer {
    pub(crate) offer_id: [u8; 8],
    pub(crate) pairing_id: Uuid,
    /// None once the offer is over.
    pub(crate) psk: Option<Psk>,
    pub(crate) suites: u8,
    pub(crate) expires_at: Timestamp,
    /// How many devices got the host's answer and went away.
    pub(crate) tried: u8,
    /// Its room at a relay; None for one that an older version made.
    pub(crate) room: Option<OfferRoom>,
}

/// What a relay is told of an offer.
#[derive(Clone, Debug)]
pub(crate) struct OfferRoom {
    pub(crate) room: RoomId,
    pub(crate) token_hash: CredentialHash,
}

/// Keeps a new one.
pub(crate) fn insert(tx: &Transaction<'_>, offer: &SealedOffer) -> Result<(), Failure> {
    tx.execute(
        "INSERT INTO sealed_offers (offer_id, pairing_id, psk, suites, expires_at, tried, room, pairing_token_hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            offer.offer_id,
            offer.pairing_id.to_string(),
            offer.psk.as_ref().map(Psk::expose),
            offer.suites,
            offer.expires_at,
            offer.tried,
            offer.room.as_ref().map(|at| at.room.to_hex()),
            offer.room.as_ref().map(|at| at.token_hash.expose_hex().to_string()),
        ],
    )?;
    Ok(())
}

/// The one with this id.
pub(crate) fn by_offer_id(tx: &Transaction<'_>, offer_id: &[u8; 8]) -> Result<Option<SealedOffer>, Failure> {
    let sql = "SELECT * FROM sealed_offers WHERE offer_id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([offer_id], read).optional()?)
}

/// That of a pairing.
pub(crate) fn by_pairing(tx: &Transaction<'_>, pairing: Uuid) -> Result<Option<SealedOffer>, Failure> {
    let sql = "SELECT * FROM sealed_offers WHERE pairing_id = ?";
    Ok(tx.prepare_cached(sql)?.query_row([pairing.to_string()], read).optional()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<SealedOffer> {
    let pairing: String = row.get("pairing_id")?;
    let offer_id: Vec<u8> = row.get("offer_id")?;
    let psk = row.get::<_, Option<Vec<u8>>>("psk")?.map(Zeroizing::new);
    Ok(SealedOffer {
        offer_id: offer_id.try_into().map_err(|_| foreign("offer_id"))?,
        pairing_id: pairing.parse().map_err(|_| foreign("pairing_id"))?,
        psk: psk.map(|psk| Psk::from_slice(&psk).ok_or_else(|| foreign("psk"))).transpose()?,
        suites: row.get("suites")?,
        expires_at: row.get("expires_at")?,
        tried: row.get("tried")?,
        room: room(row)?,
    })
}

/// The offer's room, from a row that has its two columns.
pub(super) fn room(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<OfferRoom>> {
    let (room, hash): (Option<String>, Option<String>) = (row.get("room")?, row.get("pairing_token_hash")?);
    let (Some(room), Some(hash)) = (room, hash.map(Zeroizing::new)) else { return Ok(None) };
    Ok(Some(OfferRoom {
        room: RoomId::parse(&room).map_err(|_| foreign("room"))?,
        token_hash: CredentialHash::parse(&hash).map_err(|_| foreign("pairing_token_hash"))?,
    }))
}

/// Counts one more device that went away, and says how many there are now.
pub(crate) fn count_try(tx: &Transaction<'_>, pairing: Uuid) -> Result<u8, Failure> {
    let sql = "UPDATE sealed_offers SET tried = min(tried + 1, 255) WHERE pairing_id = ? RETURNING tried";
    Ok(tx.prepare_cached(sql)?.query_row([pairing.to_string()], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// The pairing is over, or granted: nobody claims it any more.
pub(crate) fn close(tx: &Transaction<'_>, pairing: Uuid) -> Result<(), Failure> {
    tx.execute("UPDATE sealed_offers SET psk = NULL WHERE pairing_id = ?", [pairing.to_string()])?;
    Ok(())
}

/// The owner withdrew the offer.
pub(crate) fn remove(tx: &Transaction<'_>, pairing: Uuid) -> Result<(), Failure> {
    tx.execute("DELETE FROM sealed_offers WHERE pairing_id = ?", [pairing.to_string()])?;
    Ok(())
}
