//! How many devices hold the host's answer to an offer and have not confirmed: each of them knows a check code, so
//! their number is bounded with that of those that went away (spec/protocol.md, 2).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open attempts at each offer: one entry for each offer that has any, so their number bounds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Mutex<HashMap<[u8; 8], u8>>>);

/// One attempt; no longer open when dropped.
#[derive(Debug)]
pub(super) struct Attempt {
    attempts: Attempts,
    offer: [u8; 8],
}

impl Attempts {
    /// Begins one, and says how many are open with it.
    pub(super) fn begin(&self, offer: [u8; 8]) -> (Attempt, u8) {
        let mut open = self.open();
        let count = open.entry(offer).or_default();
        *count = count.saturating_add(1);
        (Attempt { attempts: self.clone(), offer }, *count)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 8], u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut open = self.attempts.open();
        match open.get(&self.offer).copied().unwrap_or_default() {
            0 | 1 => drop(open.remove(&self.offer)),
            count => drop(open.insert(self.offer, count - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_for_each_offer() {
        let attempts = Attempts::default();
        let (first, one) = attempts.begin([1; 8]);
        let (_second, two) = attempts.begin([1; 8]);
        let (other, other_one) = attempts.begin([2; 8]);
        assert_eq!((one, two, other_one), (1, 2, 1));
        drop((first, other));
        assert_eq!(attempts.begin([1; 8]).1, 2);
        assert_eq!(attempts.open().len(), 1);
    }
}
