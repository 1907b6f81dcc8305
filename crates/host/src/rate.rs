//! Rate limits over `governor`: so many a minute for each key, all of them at once if need be.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use couplet_protocol::Code;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::problem::Failure;

/// How many sources are remembered before newcomers are refused: a bound on memory, far above a home's devices. Those
/// that are remembered keep their own allowance then.
const SOURCES: usize = 10_000;
/// Who has taken nothing for so long has the whole allowance back, and may be forgotten.
const MINUTE: Duration = Duration::from_secs(60);

/// So many a minute for each key.
pub(crate) struct Rate<K> {
    quota: Quota,
    clock: DefaultClock,
    sources: Mutex<HashMap<K, Source>>,
}

struct Source {
    limiter: DefaultDirectRateLimiter,
    last: Instant,
}

impl<K> std::fmt::Debug for Rate<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rate")
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// At least one a minute.
    pub(crate) fn per_minute(n: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Rate { quota, clock: DefaultClock::default(), sources: Mutex::default() }
    }

    /// Takes one, or says when the next is free.
    pub(crate) fn take(&self, key: &K) -> Result<(), Failure> {
        self.take_at(key, Instant::now())
    }

    fn take_at(&self, key: &K, now: Instant) -> Result<(), Failure> {
        let mut sources = self.sources();
        if sources.len() >= SOURCES && !sources.contains_key(key) {
            sources.retain(|_, source| !source.is_idle(now));
            if sources.len() >= SOURCES {
                return Err(limited(MINUTE.as_secs()));
            }
        }
        let new = || Source { limiter: RateLimiter::direct(self.quota), last: now };
        let source = sources.entry(key.clone()).or_insert_with(new);
        source.last = now;
        source.limiter.check().map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            limited(wait.as_millis().div_ceil(1000) as u64)
        })
    }

    /// Forgets the keys that are back to a full allowance.
    pub(crate) fn forget_idle(&self) {
        let (mut sources, now) = (self.sources(), Instant::now());
        sources.retain(|_, source| !source.is_idle(now));
        sources.shrink_to_fit();
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<K, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= MINUTE
    }
}

fn limited(seconds: u64) -> Failure {
    Failure::new(Code::RateLimited, format!("Try again in {seconds} seconds.")).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_minute() {
        let rate = Rate::per_minute(2);
        assert!(rate.take(&1).is_ok() && rate.take(&1).is_ok());
        assert_eq!(rate.take(&1).unwrap_err().code(), Code::RateLimited);
        assert!(rate.take(&2).is_ok());
    }

    #[test]
    fn the_memory_is_bounded_and_whoever_is_known_stays_known() {
        let (rate, now) = (Rate::per_minute(2), Instant::now());
        for key in 0..SOURCES {
            assert!(rate.take_at(&key, now).is_ok());
        }
        assert_eq!(rate.take_at(&usize::MAX, now).unwrap_err().code(), Code::RateLimited);
        assert!(rate.take_at(&5, now).is_ok(), "what others do takes nothing from one that is known");
        assert_eq!(rate.take_at(&5, now).unwrap_err().code(), Code::RateLimited);
        // Newcomers take the places of those that have asked for nothing for a minute.
        let later = now + MINUTE;
        assert!(rate.take_at(&usize::MAX, later).is_ok());
        assert_eq!(rate.sources().len(), 1);
    }
}
