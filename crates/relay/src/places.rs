//! Whose session makes way for a new one, where a device or its host has as many as it may have. Pure.
//!
//! A device is told by what lets it in: all its rooms have the same credential.

use std::time::Duration;

use couplet_protocol::Sid;

use crate::record::Hash;

/// A device that comes does so within this. One that has not may have asked only to hold a place.
const COMES: Duration = Duration::from_secs(5);

/// A session of the host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) sid: Sid,
    /// What let its device in.
    pub(crate) by: Hash,
    /// Whether its device's end is there.
    pub(crate) came: bool,
    pub(crate) age: Duration,
}

/// There is no place for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How many of a host's `most` sessions one device may have.
fn share(most: usize) -> usize {
    (most / 3).max(1)
}

/// Which of the host's sessions, the oldest first, ends for a new one of the device that comes `by` this; None when there
/// is place enough.
///
/// A device beyond its share replaces a session of its own. Where the host has no place, one that nobody came for in its
/// time goes first, then one of the device's own that nobody has come for yet, then one of the device that has the most,
/// if that has two more at least, and last the device's own oldest.
///
/// # Errors
/// None has to make way.
pub(crate) fn making_way(held: &[Held], by: Hash, most: usize) -> Result<Option<Sid>, Full> {
    let of = |by: Hash| held.iter().filter(move |session| session.by == by);
    // Of one device: a session that is under way is worth more than one that was asked for.
    let least_of = |by: Hash| of(by).find(|session| !session.came).or_else(|| of(by).next());
    let own = of(by).count();
    if own >= share(most) {
        return Ok(least_of(by).map(|session| session.sid));
    }
    if held.len() < most {
        return Ok(None);
    }
    let abandoned = || held.iter().find(|session| !session.came && session.age >= COMES);
    let own_to_come = || of(by).find(|session| !session.came);
    let of_the_richest = || {
        // Of several that have as many, the one with the oldest session.
        let richest = held.iter().rev().max_by_key(|session| of(session.by).count())?;
        if of(richest.by).count() >= own + 2 { least_of(richest.by) } else { None }
    };
    let least = abandoned().or_else(own_to_come).or_else(of_the_richest).or_else(|| of(by).next());
    least.map(|session| Some(session.sid)).ok_or(Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 12;

    fn device(name: u8) -> Hash {
        Hash::new([name; 32])
    }

    fn sid(n: usize) -> Sid {
        Sid::new((n as u128).to_be_bytes())
    }

    /// Sessions in the order of their age, each by its device's letter: a small one has only asked.
    fn held(devices: &str) -> Vec<Held> {
        let session = |(n, name): (usize, u8)| Held {
            sid: sid(n),
            by: device(name.to_ascii_uppercase()),
            came: name.is_ascii_uppercase(),
            age: Duration::ZERO,
        };
        devices.bytes().enumerate().map(session).collect()
    }

    fn way(devices: &str, by: u8) -> Result<Option<usize>, Full> {
        let way = making_way(&held(devices), device(by), MOST)?;
        Ok(way.map(|way| (0..=MOST).find(|n| sid(*n) == way).unwrap()))
    }

    #[test]
    fn a_device_has_a_third_and_replaces_its_own() {
        assert_eq!(way("", b'A'), Ok(None));
        assert_eq!(way("AAA", b'A'), Ok(None));
        assert_eq!(way("BAAAA", b'A'), Ok(Some(1)));
        assert_eq!(way("BAAaA", b'A'), Ok(Some(3)), "what nobody came for yet goes first");
        assert_eq!(way("aaaa", b'B'), Ok(None), "while there is place no one else's ends");
    }

    #[test]
    fn where_all_are_taken_who_has_the_most_makes_way() {
        assert_eq!(way("CCCCAAAABBBB", b'D'), Ok(Some(0)));
        assert_eq!(way("BAAAAbbBCCCD", b'D'), Ok(Some(5)), "those that nobody came for yet first");
        assert_eq!(way("BAAAABBBCCCD", b'E'), Ok(Some(0)));
        // Two more at least, or it would go on for ever; one's own makes way then.
        assert_eq!(way("AABBCCDDEEFG", b'G'), Ok(Some(11)));
        assert_eq!(way("AABBCCDDEEFg", b'G'), Ok(Some(11)));
        assert_eq!(way("AABBCCDDEEFG", b'H'), Ok(Some(0)));
        assert_eq!(way("ABCDEFGHIJKL", b'M'), Err(Full));
        assert_eq!(way("abcdefghijkl", b'M'), Err(Full), "who has just asked is about to come");
    }

    #[test]
    fn who_asks_and_does_not_come_makes_way_in_time() {
        let mut held = held("ABCdEFgHIJKL");
        held[6].age = COMES;
        assert_eq!(making_way(&held, device(b'M'), MOST), Ok(Some(sid(6))));
        held[3].age = COMES + Duration::from_secs(1);
        assert_eq!(making_way(&held, device(b'M'), MOST), Ok(Some(sid(3))));
        assert_eq!(making_way(&held, device(b'A'), MOST), Ok(Some(sid(3))));
    }

    #[test]
    fn no_one_takes_another_s_last_session() {
        // Whatever order: a device that goes on asking ends nothing of those that have one.
        let mut now = held("ABCDEFGHIJK");
        for n in 0..200 {
            match making_way(&now, device(b'Z'), MOST) {
                Ok(Some(gone)) => now.retain(|session| session.sid != gone),
                Ok(None) => {}
                Err(Full) => panic!("its own make way"),
            }
            let came = n % 2 == 0;
            now.push(Held { sid: sid(20 + n), by: device(b'Z'), came, age: Duration::ZERO });
            for other in b'A'..=b'K' {
                assert!(now.iter().any(|session| session.by == device(other)), "{n}");
            }
        }
    }
}
