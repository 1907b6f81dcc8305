//! Counts failed joins, for rooms and for sources. In memory, and bounded whatever attackers do: a relay that
//! restarts forgets them, and the longest unheard of is forgotten first.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::RoomId;
use jiff::Timestamp;
use lru::LruCache;

use crate::clock::{after, until};
use crate::source::Network;

/// This many failed joins lock a room.
pub(crate) const ROOM_FAILURES: u32 = 3;
/// This many failed joins of one source count in [`WINDOW`], and of the networks around it so many times more; further ones
/// are answered with the wait, and lock nothing.
pub(crate) const SOURCE_FAILURES: u32 = 30;
/// How long a room stays locked, and how long failures count.
pub(crate) const WINDOW: Duration = Duration::from_secs(15 * 60);
/// How many rooms and how many sources are remembered.
const REMEMBERED: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    /// When the count ends: a window after the first failure; for a locked room, a window after the one that locked
    /// it.
    end: Timestamp,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Lockout {
    /// Of rooms that exist.
    rooms: Counters<RoomId>,
    /// Of ids that no room has: they lock as rooms do, so that nothing tells them apart, but push no room out of
    /// memory.
    strangers: Counters<RoomId>,
    sources: Counters<Network>,
}

/// What a failed join led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// How long the room is locked, if it is.
    pub(crate) locked: Option<Duration>,
    /// This join locked it.
    pub(crate) newly: bool,
    /// With this join its source has failed as often as counts.
    pub(crate) blocked: bool,
}

impl Lockout {
    pub(crate) fn new() -> Self {
        Self::remembering(REMEMBERED)
    }

    fn remembering(most: usize) -> Self {
        let (rooms, strangers, sources) = (Counters::new(most), Counters::new(most), Counters::new(most));
        Lockout { rooms, strangers, sources }
    }

    /// For how long failed joins of this source do not count any more.
    pub(crate) fn source_blocked(&mut self, source: IpAddr, now: Timestamp) -> Option<Duration> {
        let reached = |(network, times)| self.sources.reached(&network, SOURCE_FAILURES * times, now);
        Network::around(source).filter_map(reached).max()
    }

    /// For how long the room is locked.
    pub(crate) fn room_locked(&mut self, room: RoomId, exists: bool, now: Timestamp) -> Option<Duration> {
        self.of(exists).reached(&room, ROOM_FAILURES, now)
    }

    /// Counts a join with a wrong credential.
    pub(crate) fn fail(&mut self, source: IpAddr, room: RoomId, exists: bool, now: Timestamp) -> Failed {
        let mut blocked = false;
        for (network, times) in Network::around(source) {
            blocked |= self.sources.add(network, SOURCE_FAILURES * times, now);
        }
        let rooms = self.of(exists);
        let newly = rooms.add(room, ROOM_FAILURES, now);
        Failed { locked: rooms.reached(&room, ROOM_FAILURES, now), newly, blocked }
    }

    fn of(&mut self, exists: bool) -> &mut Counters<RoomId> {
        if exists { &mut self.rooms } else { &mut self.strangers }
    }
}

#[derive(Debug)]
struct Counters<K: Hash + Eq> {
    counts: LruCache<K, Failures>,
    most: usize,
}

impl<K: Hash + Eq> Counters<K> {
    fn new(most: usize) -> Self {
        Counters { counts: LruCache::unbounded(), most }
    }

    /// How long the count stays at `limit`, if it is there.
    fn reached(&mut self, key: &K, limit: u32, now: Timestamp) -> Option<Duration> {
        let failures = self.counts.peek(key)?;
        (failures.count >= limit && now < failures.end).then(|| until(failures.end, now))
    }

    /// One more; tells whether it is the one that reaches `limit`. At the limit nothing moves: who goes on does not
    /// prolong it.
    fn add(&mut self, key: K, limit: u32, now: Timestamp) -> bool {
        let end = after(now, WINDOW);
        if let Some(failures) = self.counts.get_mut(&key).filter(|failures| now < failures.end) {
            if failures.count >= limit {
                return false;
            }
            failures.count += 1;
            let reached = failures.count == limit;
            if reached {
                failures.end = end;
            }
            return reached;
        }
        self.counts.put(key, Failures { count: 1, end });
        if self.counts.len() > self.most {
            self.counts.pop_lru();
        }
        limit == 1
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_customer_with_many_networks_is_blocked_as_one() {
        let (mut lockout, now) = (Lockout::new(), Timestamp::UNIX_EPOCH);
        let address = |network: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, 1]);
        for n in 0..480_u16 {
            // Twenty of each /64, a hundred of each /56.
            let from = address((n % 5) | (n / 100) << 8);
            assert_eq!(lockout.source_blocked(from, now), None, "{n}");
            let room = RoomId::new(u128::from(n).to_be_bytes());
            assert_eq!(lockout.fail(from, room, false, now).blocked, n == 479, "{n}");
        }
        assert_eq!(lockout.source_blocked(address(0xffff), now), Some(WINDOW));
        assert_eq!(lockout.source_blocked([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(), now), None);
    }

    #[test]
    fn memory_is_bounded_and_ids_without_a_room_push_no_room_out() {
        let (mut lockout, now) = (Lockout::remembering(100), Timestamp::UNIX_EPOCH);
        let address = |n: u32| IpAddr::V4(n.into());
        let victim = RoomId::new([1; 16]);
        for n in 0..3 {
            lockout.fail(address(n), victim, true, now);
        }
        for n in 0..10_000_u32 {
            let room = RoomId::new([[7; 12].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap());
            let nothing = Failed { locked: None, newly: false, blocked: false };
            assert_eq!(lockout.fail(address(n), room, false, now), nothing);
        }
        assert_eq!(lockout.room_locked(victim, true, now), Some(WINDOW));
        let sizes = [lockout.rooms.counts.len(), lockout.strangers.counts.len(), lockout.sources.counts.len()];
        assert_eq!(sizes, [1, 100, 100]);
    }

    #[test]
    fn failures_far_apart_do_not_add_up() {
        let (mut lockout, mut now) = (Lockout::new(), Timestamp::UNIX_EPOCH);
        let source = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..10 {
            assert_eq!(lockout.fail(source, RoomId::new([1; 16]), true, now).locked, None);
            now = after(now, WINDOW / 2);
        }
    }
}
