//! Rate limits over `governor`: so many a minute for each key, all of them at once if need be.

use std::hash::Hash;
use std::num::NonZeroU32;

use couplet_protocol::Code;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::problem::Failure;

/// How many sources are remembered before newcomers are refused: a bound on memory, far above a home's devices.
const SOURCES: usize = 10_000;

/// So many a minute for each key.
pub(crate) struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for Rate<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rate")
    }
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// At least one a minute.
    pub(crate) fn per_minute(n: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN));
        Rate { limiter: RateLimiter::hashmap(quota), clock: DefaultClock::default() }
    }

    /// Takes one, or says when the next is free.
    pub(crate) fn take(&self, key: &K) -> Result<(), Failure> {
        if self.limiter.len() > SOURCES {
            self.limiter.retain_recent();
            if self.limiter.len() > SOURCES {
                return Err(limited(60));
            }
        }
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            limited(wait.as_millis().div_ceil(1000) as u64)
        })
    }

    /// Forgets the keys that are back to a full allowance.
    pub(crate) fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
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
    fn the_memory_is_bounded() {
        let rate = Rate::per_minute(2);
        for key in 0..=SOURCES {
            assert!(rate.take(&key).is_ok());
        }
        assert_eq!(rate.take(&usize::MAX).unwrap_err().code(), Code::RateLimited);
    }
}
