//! Which of a pairing's rooms to ask for first.
//!
//! A room that opens and does not lead to the host may be held by somebody who knows its id from another relay: the host
//! then has rooms above it (spec/protocol.md, 6), and so the device goes up as well. It does so slowly where the host may
//! just be away, and after it has come to a room that is not there: that counts as a failure of this network.

use std::collections::HashMap;

use couplet_protocol::offer::ENDPOINTS_MAX;
use couplet_protocol::{Code, RelayName};

use super::AHEAD;
use super::failure::RelayFailure;

/// After how many tries in vain it goes up a room.
const TRIES: u32 = 16;

/// How far up it is at each relay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Climbs(HashMap<RelayName, Climb>);

#[derive(Clone, Debug, Default)]
struct Climb {
    up: u32,
    /// Tries in vain since.
    tries: u32,
    /// It was up there already, in vain.
    weary: bool,
}

impl Climbs {
    /// How many rooms above the one that it wrote down it asks for first.
    pub(crate) fn up(&self, relay: &RelayName) -> u32 {
        self.0.get(relay).map_or(0, |climb| climb.up)
    }

    /// A try came to nothing: for what the relay said, or although a room opened. True if only because it was up.
    pub(super) fn failed(&mut self, relay: &RelayName, said: Option<&RelayFailure>) -> bool {
        if self.0.len() >= ENDPOINTS_MAX && !self.0.contains_key(relay) {
            self.0.clear();
        }
        let climb = self.0.entry(relay.clone()).or_default();
        match said.map(RelayFailure::code) {
            None if !climb.weary => climb.tries = TRIES,
            None | Some(Code::HostOffline) => climb.tries += 1,
            Some(Code::RoomRefused) if climb.up > 0 => {
                *climb = Climb { weary: true, ..Climb::default() };
                return true;
            }
            Some(_) => {}
        }
        if climb.tries >= TRIES {
            (climb.up, climb.tries) = (climb.up + 1, 0);
        }
        if climb.up > AHEAD {
            *climb = Climb { weary: true, ..Climb::default() };
        }
        false
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay() -> RelayName {
        RelayName::parse("relay.example").unwrap()
    }

    /// How far up it is after each of so many tries of this kind.
    fn ups(climbs: &mut Climbs, said: Option<Code>, tries: usize) -> Vec<u32> {
        let said = said.map(|code| RelayFailure::answered(code, None));
        let mut up = || {
            climbs.failed(&relay(), said.as_ref());
            climbs.up(&relay())
        };
        (0..tries).map(|_| up()).collect()
    }

    #[test]
    fn a_room_that_leads_nowhere_is_left_at_once_and_the_second_time_slowly() {
        let mut climbs = Climbs::default();
        assert_eq!(ups(&mut climbs, None, 9), [1, 2, 3, 4, 5, 6, 7, 8, 0]);
        assert_eq!(ups(&mut climbs, None, 17), [vec![0; 15], vec![1; 2]].concat());
        assert!(climbs.failed(&relay(), Some(&RelayFailure::answered(Code::RoomRefused, None))));
        assert_eq!(ups(&mut climbs, None, 16), [vec![0; 15], vec![1]].concat());
        climbs.clear();
        assert_eq!(ups(&mut climbs, None, 2), [1, 2]);
    }

    #[test]
    fn a_host_that_is_away_is_sought_elsewhere_now_and_then() {
        let mut climbs = Climbs::default();
        assert_eq!(ups(&mut climbs, Some(Code::HostOffline), 17), [vec![0; 15], vec![1; 2]].concat());
        let (refused, locked) = (Code::RoomRefused, Code::RoomLocked);
        assert_eq!(ups(&mut climbs, Some(locked), 40), vec![1; 40], "what says nothing of the room changes nothing");
        assert!(climbs.failed(&relay(), Some(&RelayFailure::answered(refused, None))), "it was up");
        assert!(!climbs.failed(&relay(), Some(&RelayFailure::answered(refused, None))), "it was not");
    }

    #[test]
    fn relays_are_told_apart_and_not_without_end() {
        let mut climbs = Climbs::default();
        climbs.failed(&relay(), None);
        assert_eq!(climbs.up(&RelayName::parse("other.example").unwrap()), 0);
        for n in 0..100 {
            climbs.failed(&RelayName::parse(&format!("r{n}")).unwrap(), None);
        }
        assert!(climbs.0.len() <= ENDPOINTS_MAX);
    }
}
