//! How many devices hold the host's answer to an offer and have not confirmed: each of them knows a check code, so
//! their number is bounded with that of those that went away (spec/protocol.md, 3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open attempts at each offer: one entry for each offer that has any, so their number bounds it.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Mutex<HashMap<[u8; 8], u32>>>);

/// One attempt; no longer open when dropped.
#[derive(Debug)]
pub(super) struct Attempt {
    attempts: Attempts,
    offer: [u8; 8],
}

impl Attempts {
    /// Begins one.
    pub(super) fn begin(&self, offer: [u8; 8]) -> Attempt {
        let mut open = self.open();
        let count = open.entry(offer).or_default();
        *count += 1;
        Attempt { attempts: self.clone(), offer }
    }

    /// How many are open.
    pub(super) fn open_at(&self, offer: [u8; 8]) -> u32 {
        self.open().get(&offer).copied().unwrap_or_default()
    }

    /// One of them is no longer open.
    pub(super) fn end(&self, offer: [u8; 8]) {
        let mut open = self.open();
        match open.get(&offer).copied().unwrap_or_default() {
            0 | 1 => drop(open.remove(&offer)),
            count => drop(open.insert(offer, count - 1)),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 8], u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Leaves it open until [`Attempts::end`] is called.
    pub(super) fn stay_open(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.attempts.end(self.offer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_for_each_offer() {
        let attempts = Attempts::default();
        let (first, second, other) = (attempts.begin([1; 8]), attempts.begin([1; 8]), attempts.begin([2; 8]));
        assert_eq!((attempts.open_at([1; 8]), attempts.open_at([2; 8]), attempts.open_at([3; 8])), (2, 1, 0));
        drop((first, other));
        assert_eq!((attempts.open_at([1; 8]), attempts.open().len()), (1, 1));
        second.stay_open();
        assert_eq!(attempts.open_at([1; 8]), 1);
        attempts.end([1; 8]);
        assert_eq!(attempts.open().len(), 0);
    }
}
