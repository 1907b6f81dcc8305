//! Which M1 has been seen: an honest device makes a new ephemeral key for each, so one that comes again was recorded
//! by somebody and is sent a second time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// How many ephemeral keys are remembered for each offer and each device.
const KEYS: usize = 64;
/// For how many offers and devices. Only an M1 that could be opened is remembered.
const IDS: usize = 1024;

/// The memory; it is lost with the process.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    clock: u64,
    seen: HashMap<[u8; 8], Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: u64,
    keys: VecDeque<[u8; 32]>,
}

impl Replays {
    /// Remembers the key. False when it came before.
    pub(super) fn is_new(&self, id: [u8; 8], ephemeral: [u8; 32]) -> bool {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.clock += 1;
        let now = memory.clock;
        if memory.seen.len() >= IDS && !memory.seen.contains_key(&id) {
            let oldest = memory.seen.iter().min_by_key(|(_, seen)| seen.last).map(|(id, _)| *id);
            oldest.map(|oldest| memory.seen.remove(&oldest));
        }
        let seen = memory.seen.entry(id).or_default();
        seen.last = now;
        if seen.keys.contains(&ephemeral) {
            return false;
        }
        if seen.keys.len() == KEYS {
            seen.keys.pop_front();
        }
        seen.keys.push_back(ephemeral);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    #[test]
    fn a_key_counts_once_and_for_its_id_alone() {
        let replays = Replays::default();
        assert!(replays.is_new([1; 8], key(1)) && replays.is_new([2; 8], key(1)));
        assert!(!replays.is_new([1; 8], key(1)) && !replays.is_new([2; 8], key(1)));
        assert!((2..=KEYS).all(|n| replays.is_new([1; 8], key(n))));
        assert!(!replays.is_new([1; 8], key(1)), "the last 64 are known");
        assert!(replays.is_new([1; 8], key(KEYS + 1)) && replays.is_new([1; 8], key(1)), "and no more");
    }

    #[test]
    fn the_memory_is_bounded() {
        let replays = Replays::default();
        assert!(replays.is_new([0xff; 8], key(0)));
        for n in 0..IDS {
            assert!(replays.is_new(n.to_be_bytes(), key(n)));
        }
        assert_eq!(replays.0.lock().unwrap().seen.len(), IDS);
        assert!(replays.is_new([0xff; 8], key(0)), "the one that was used longest ago is forgotten");
    }
}
