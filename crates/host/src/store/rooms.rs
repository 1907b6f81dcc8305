//! Rooms at a relay: which of them should be there, from the offers and the devices, and in `relay_rooms` which may be.

use std::collections::BTreeMap;

use couplet_protocol::message::RoomNumbers;
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{CredentialHash, DerivationFailed, RoomId};
use rusqlite::{OptionalExtension, Row, Transaction, params};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{foreign, sealed};
use crate::clock::Timestamp;
use crate::problem::Failure;

/// How many rooms a device has at most: as many as may be locked before its own way in is.
const AHEAD: u32 = 8;

/// A room that should be at the relay.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) room: RoomId,
    /// What opens it.
    pub(crate) hash: CredentialHash,
    pub(crate) of: Owner,
}

/// Whom a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An offer, until it ends.
    Offer { until: Timestamp },
    /// A device; the number counts its rooms.
    Device { id: Uuid, number: u32 },
}

/// A device that is being given what it keeps.
#[derive(Clone, Debug)]
pub(crate) struct Coming {
    /// Its offer's.
    pub(crate) pairing: Uuid,
    pub(crate) device: Uuid,
    pub(crate) secret: RoomSecret,
}

/// The room secret, from a row that has its column.
pub(super) fn secret(row: &Row<'_>) -> rusqlite::Result<Option<RoomSecret>> {
    let bytes = row.get::<_, Option<Vec<u8>>>("room_secret")?.map(Zeroizing::new);
    bytes.map(|bytes| RoomSecret::from_slice(&bytes).ok_or_else(|| foreign("room_secret"))).transpose()
}

/// The rooms that should be at the relay, those first that matter most: the offers', then the lowest of each device,
/// whoever was there last first. As long as a device is being given what it keeps, its offer keeps its room also when it
/// was granted, and the device has its own also before that.
pub(crate) fn wanted(tx: &Transaction<'_>, coming: &[Coming], now: Timestamp) -> Result<Vec<Wanted>, Failure> {
    let mut wanted = of_offers(tx, coming, now)?;
    let mut of_devices = of_devices(tx, coming)?;
    // The sort is stable: within one depth whoever was there last comes first.
    of_devices.sort_by_key(|(depth, _)| *depth);
    wanted.extend(of_devices.into_iter().map(|(_, wanted)| wanted));
    Ok(wanted)
}

fn of_offers(tx: &Transaction<'_>, coming: &[Coming], now: Timestamp) -> Result<Vec<Wanted>, Failure> {
    let sql = "SELECT s.room, s.pairing_token_hash, s.expires_at AS link_end, s.psk IS NULL AS closed, p.id AS pairing,
            p.state, p.expires_at AS state_end
        FROM sealed_offers s JOIN pairings p ON p.id = s.pairing_id
        WHERE s.room IS NOT NULL AND p.state IN ('waiting', 'claimed', 'approval', 'granted')
        ORDER BY p.created_at DESC, p.rowid DESC";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let pairing: Uuid = row.get::<_, String>("pairing")?.parse().map_err(|_| foreign("id"))?;
        let (state, closed): (String, bool) = (row.get("state")?, row.get("closed")?);
        let (link_end, state_end): (Timestamp, Timestamp) = (row.get("link_end")?, row.get("state_end")?);
        // A claim waits its own time, and its session must not be cut for the link's end.
        let until = if state == "waiting" { link_end } else { state_end };
        let is_open = if state == "granted" { coming.iter().any(|it| it.pairing == pairing) } else { !closed };
        let room = sealed::room(row)?.filter(|_| is_open && until > now);
        Ok(room.map(|at| Wanted { room: at.room, hash: at.token_hash, of: Owner::Offer { until } }))
    })?;
    Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

fn of_devices(tx: &Transaction<'_>, coming: &[Coming]) -> Result<Vec<(u32, Wanted)>, Failure> {
    let sql = "SELECT id, room_secret, room_index, room_top FROM paired_devices
        WHERE room_secret IS NOT NULL AND revoked_at IS NULL
        ORDER BY coalesce(last_seen, paired_at) DESC, rowid DESC";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let id: Uuid = row.get::<_, String>("id")?.parse().map_err(|_| foreign("id"))?;
        Ok((id, secret(row)?, row.get::<_, u32>("room_index")?, row.get::<_, u32>("room_top")?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    let is_new = |coming: &&Coming| rows.iter().all(|(id, ..)| *id != coming.device);
    let new: Vec<_> = coming.iter().filter(is_new).map(|it| (it.device, Some(it.secret.clone()), 0, 1)).collect();
    let mut wanted = Vec::new();
    let underivable = |_: DerivationFailed| Failure::internal("a room could not be derived");
    for (id, secret, index, top) in new.into_iter().chain(rows) {
        let Some(secret) = secret else { continue };
        let hash = secret.relay_secret_hash().map_err(underivable)?;
        for number in index..=top.min(index.saturating_add(AHEAD)) {
            let room = secret.room(number).map_err(underivable)?;
            wanted.push((number - index, Wanted { room, hash: hash.clone(), of: Owner::Device { id, number } }));
        }
    }
    Ok(wanted)
}

/// A device's room with this number is locked: another one takes its place. False when there are as many as may be.
pub(crate) fn locked(tx: &Transaction<'_>, device: Uuid, number: u32) -> Result<bool, Failure> {
    let sql = "UPDATE paired_devices SET room_top = min(?2 + 2, room_index + ?3)
        WHERE id = ?1 AND room_index <= ?2 AND room_top < min(?2 + 2, room_index + ?3)";
    Ok(tx.execute(sql, params![device.to_string(), number, AHEAD])? == 1)
}

/// Which rooms a device needs, of those up to `top`: from the one that it has written down to the one behind that by which
/// it came. It will write that down, or be cut off before it does. Higher ones, made for locked ones, stay.
fn needed(top: u32, numbers: RoomNumbers) -> (u32, u32) {
    let kept = numbers.kept.min(u32::MAX - AHEAD);
    let highest = kept + AHEAD;
    let opened = numbers.opened.clamp(kept, highest - 1);
    (kept, top.min(highest).max(opened + 1))
}

/// A device says which of its rooms it needs. Whether that changes anything.
pub(crate) fn moves(tx: &Transaction<'_>, device: Uuid, numbers: RoomNumbers) -> Result<bool, Failure> {
    Ok(range(tx, device)?.is_some_and(|(index, top)| needed(top, numbers) != (index, top)))
}

/// Gives it these.
pub(crate) fn moved(tx: &Transaction<'_>, device: Uuid, numbers: RoomNumbers) -> Result<(), Failure> {
    if let Some((_, top)) = range(tx, device)? {
        let (index, top) = needed(top, numbers);
        let sql = "UPDATE paired_devices SET room_index = ?2, room_top = ?3 WHERE id = ?1";
        tx.execute(sql, params![device.to_string(), index, top])?;
    }
    Ok(())
}

fn range(tx: &Transaction<'_>, device: Uuid) -> Result<Option<(u32, u32)>, Failure> {
    let sql = "SELECT room_index, room_top FROM paired_devices WHERE id = ?";
    let row = tx.prepare_cached(sql)?.query_row([device.to_string()], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(row.optional()?)
}

/// The rooms that may be registered for this host of the relay, with what the relay is told as their key.
pub(crate) fn registered(tx: &Transaction<'_>, host_id: &str) -> Result<BTreeMap<RoomId, String>, Failure> {
    let mut statement = tx.prepare_cached("SELECT room, public_key FROM relay_rooms WHERE host_id = ?")?;
    let rows = statement.query_map([host_id], |row| {
        let room = RoomId::parse(&row.get::<_, String>("room")?).map_err(|_| foreign("room"))?;
        Ok((room, row.get("public_key")?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes down that rooms may be registered from now on, and returns what the relay is told as their keys. What is known
/// of another relay is forgotten.
pub(crate) fn register(
    tx: &Transaction<'_>,
    host_id: &str,
    rooms: &[(RoomId, String)],
) -> Result<BTreeMap<RoomId, String>, Failure> {
    tx.execute("DELETE FROM relay_rooms WHERE host_id != ?", [host_id])?;
    let mut keys = BTreeMap::new();
    for (room, key) in rooms {
        let sql = "INSERT INTO relay_rooms (room, host_id, public_key) VALUES (?, ?, ?) ON CONFLICT (room) DO NOTHING";
        tx.prepare_cached(sql)?.execute(params![room.to_hex(), host_id, key])?;
        let sql = "SELECT public_key FROM relay_rooms WHERE room = ?";
        let known = tx.prepare_cached(sql)?.query_row([room.to_hex()], |row| row.get(0)).optional()?;
        keys.insert(*room, known.unwrap_or_else(|| key.clone()));
    }
    Ok(keys)
}

/// Writes down that rooms are registered no more.
pub(crate) fn removed(tx: &Transaction<'_>, rooms: &[RoomId]) -> Result<(), Failure> {
    let mut statement = tx.prepare_cached("DELETE FROM relay_rooms WHERE room = ?")?;
    rooms.iter().try_for_each(|room| statement.execute([room.to_hex()]).map(drop))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needed_of(top: u32, kept: u32, opened: u32) -> (u32, u32) {
        needed(top, RoomNumbers { kept, opened })
    }

    #[test]
    fn rooms_follow_the_device() {
        assert_eq!(needed_of(1, 0, 0), (0, 1));
        // Its first room was locked: it comes by the second, and next time says so.
        assert_eq!(needed_of(2, 0, 1), (0, 2));
        assert_eq!(needed_of(2, 1, 1), (1, 2));
        assert_eq!(needed_of(5, 1, 2), (1, 5), "those that were made for locked ones stay");
        // A relay has lied to it, or one of the two has come back from a backup.
        assert_eq!(needed_of(1, 0, 8), (0, 8));
        assert_eq!(needed_of(1, 8, 8), (8, 9));
        assert_eq!(needed_of(20, 3, 3), (3, 11));
    }

    proptest! {
        #[test]
        fn they_are_few_and_the_device_finds_one(top: u32, kept: u32, opened: u32) {
            let (low, high) = needed_of(top, kept, opened);
            prop_assert!(low < high && high - low <= AHEAD);
            prop_assert!(kept > u32::MAX - AHEAD || low == kept);
        }
    }
}
