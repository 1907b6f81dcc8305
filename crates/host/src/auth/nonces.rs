//! Which signed requests were there before. It is the nonce that says so, not the signature, which has a twin.
//!
//! A nonce is remembered up to the last moment at which it would be taken, and none is forgotten before: when there is no
//! room, requests are refused. So nobody can push a nonce out and come again with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use couplet_protocol::signature::Nonce;
use uuid::Uuid;

use crate::clock::Timestamp;

/// How many nonces of one device are remembered: what it may send in two minutes, and so 34 a second for long.
const OF_DEVICE: usize = 4096;
/// How many of all devices, in some 10 MB.
const OF_ALL: usize = 262_144;

/// Why a nonce is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its time is ahead of the clock by so many milliseconds, or behind when negative.
    Stale(i64),
    /// It was taken before.
    Used,
    /// There is no room, for so long.
    Full(Duration),
}

/// The nonces of all devices.
#[derive(Debug, Default)]
pub(super) struct Nonces(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// Ordered by their time.
    of: HashMap<Uuid, BTreeSet<Nonce>>,
    all: usize,
}

impl Nonces {
    /// Takes a nonce of a device that has proven who it is, once.
    ///
    /// The clock is read while nobody else can forget anything: who read it before could be late, and find forgotten what
    /// was there.
    pub(super) fn take(&self, device: Uuid, nonce: Nonce, clock: impl FnOnce() -> Timestamp) -> Result<(), Refused> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = millis(clock());
        nonce.within(now).map_err(Refused::Stale)?;
        taken.forget_of(device, now);
        if taken.of.get(&device).is_some_and(|nonces| nonces.contains(&nonce)) {
            return Err(Refused::Used);
        }
        if taken.all >= OF_ALL {
            taken.forget(now);
        }
        let own = taken.of.get(&device);
        if own.is_some_and(|own| own.len() >= OF_DEVICE) || taken.all >= OF_ALL {
            let first = own.and_then(BTreeSet::first).map_or(now, Nonce::ends_at);
            return Err(Refused::Full(Duration::from_millis(first.saturating_sub(now))));
        }
        taken.of.entry(device).or_default().insert(nonce);
        taken.all += 1;
        Ok(())
    }

    /// Forgets those whose time is over.
    pub(super) fn forget(&self, clock: impl FnOnce() -> Timestamp) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = millis(clock());
        taken.forget(now);
    }
}

impl Taken {
    fn forget_of(&mut self, device: Uuid, now: u64) {
        let Some(nonces) = self.of.get_mut(&device) else { return };
        while nonces.first().is_some_and(|nonce| nonce.ends_at() < now) {
            nonces.pop_first();
            self.all -= 1;
        }
    }

    fn forget(&mut self, now: u64) {
        let devices: Vec<Uuid> = self.of.keys().copied().collect();
        devices.into_iter().for_each(|device| self.forget_of(device, now));
        self.of.retain(|_, nonces| !nonces.is_empty());
    }
}

/// The host's clock as nonces have it.
pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn nonce(ms: u64, number: u64) -> Nonce {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&number.to_be_bytes());
        Nonce::new(ms, random)
    }

    fn at(ms: u64) -> impl FnOnce() -> Timestamp {
        move || Timestamp::from_millis(i64::try_from(ms).unwrap())
    }

    fn device(number: usize) -> Uuid {
        Uuid::from_u128(u128::try_from(number).unwrap())
    }

    #[test]
    fn a_nonce_of_the_future_is_remembered_as_long_as_it_would_be_taken() {
        let (nonces, ahead) = (Nonces::default(), nonce(NOW + 60_000, 1));
        assert_eq!(nonces.take(device(1), ahead, at(NOW)), Ok(()));
        for later in [0, 60_000, 61_000, 119_000, 120_000] {
            nonces.forget(at(NOW + later));
            assert_eq!(nonces.take(device(1), ahead, at(NOW + later)), Err(Refused::Used), "{later}");
        }
        assert_eq!(nonces.take(device(1), ahead, at(NOW + 120_001)), Err(Refused::Stale(-60_001)));
        assert_eq!(nonces.take(device(2), nonce(NOW + 60_001, 1), at(NOW)), Err(Refused::Stale(60_001)));
        assert_eq!(nonces.take(device(2), ahead, at(NOW)), Ok(()), "another device's nonce is another one");
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing() {
        let nonces = Nonces::default();
        for number in 0..4096 {
            assert_eq!(nonces.take(device(1), nonce(NOW, number), at(NOW)), Ok(()));
        }
        assert_eq!(
            nonces.take(device(1), nonce(NOW, 4096), at(NOW + 1000)),
            Err(Refused::Full(Duration::from_secs(59)))
        );
        assert_eq!(nonces.take(device(1), nonce(NOW, 0), at(NOW)), Err(Refused::Used));
        assert_eq!(nonces.take(device(2), nonce(NOW, 0), at(NOW)), Ok(()), "others go on");
        let later = NOW + 60_001;
        assert_eq!(nonces.take(device(1), nonce(later, 4096), at(later)), Ok(()));
        nonces.forget(at(later));
        assert_eq!(nonces.0.lock().unwrap().all, 1);
    }

    #[test]
    fn all_devices_together_have_a_bound() {
        let nonces = Nonces::default();
        for number in 0..OF_ALL {
            let number_of = u64::try_from(number).unwrap();
            assert_eq!(nonces.take(device(number / OF_DEVICE), nonce(NOW, number_of), at(NOW)), Ok(()));
        }
        let refused = nonces.take(device(1000), nonce(NOW, 0), at(NOW));
        assert!(matches!(refused, Err(Refused::Full(_))), "{refused:?}");
        assert_eq!(nonces.take(device(0), nonce(NOW, 0), at(NOW)), Err(Refused::Used));
        let later = NOW + 60_001;
        assert_eq!(nonces.take(device(1000), nonce(later, 0), at(later)), Ok(()));
        assert_eq!(nonces.0.lock().unwrap().of.len(), 1);
    }
}
