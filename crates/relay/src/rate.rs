//! How often something may be asked for: so much at once, then so much a second.

use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// How many who ask are remembered. Who is forgotten may ask anew.
const REMEMBERED: usize = 65_536;

/// What each of many who ask may still spend.
#[derive(Debug)]
pub(crate) struct Rates<K: Hash + Eq> {
    burst: u32,
    /// How long one takes to come back.
    each: Duration,
    most: usize,
    spent: Mutex<LruCache<K, Instant>>,
}

impl<K: Hash + Eq> Rates<K> {
    /// `burst` at once; after that one each time `each` has passed.
    pub(crate) fn new(burst: u32, each: Duration) -> Self {
        Self::remembering(REMEMBERED, burst, each)
    }

    /// For devices that ask for their hosts: eight at once, then one a second.
    pub(crate) fn of_devices() -> Self {
        Self::new(8, Duration::from_secs(1))
    }

    fn remembering(most: usize, burst: u32, each: Duration) -> Self {
        Rates { burst, each, most, spent: Mutex::new(LruCache::unbounded()) }
    }

    fn spent(&self) -> MutexGuard<'_, LruCache<K, Instant>> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it takes until there is one left.
    pub(crate) fn wait(&self, who: &K, now: Instant) -> Duration {
        self.spent().peek(who).map_or(Duration::ZERO, |whole| self.until_one(*whole, now))
    }

    /// `whole`: when all that was spent will have come back.
    fn until_one(&self, whole: Instant, now: Instant) -> Duration {
        (whole + self.each).saturating_duration_since(now + self.each * self.burst)
    }

    /// Spends one.
    ///
    /// # Errors
    /// There is none left; how long it takes until there is.
    pub(crate) fn spend(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut spent = self.spent();
        let whole = spent.get(&who).map_or(now, |whole| now.max(*whole));
        let wait = self.until_one(whole, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        spent.put(who, whole + self.each);
        if spent.len() > self.most {
            spent.pop_lru();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_free_and_then_one_a_second() {
        let (rates, start) = (Rates::new(3, SECOND), Instant::now());
        for _ in 0..3 {
            assert_eq!(rates.spend('a', start), Ok(()));
        }
        assert_eq!(rates.spend('a', start), Err(SECOND));
        assert_eq!((rates.wait(&'a', start), rates.wait(&'b', start)), (SECOND, Duration::ZERO));
        assert_eq!(rates.spend('b', start), Ok(()), "others are not held up");
        assert_eq!(rates.spend('a', start + SECOND / 4), Err(SECOND / 4 * 3), "asking costs nothing");
        assert_eq!(rates.spend('a', start + SECOND), Ok(()));
        assert_eq!(rates.spend('a', start + SECOND), Err(SECOND));
        for _ in 0..3 {
            assert_eq!(rates.spend('a', start + 100 * SECOND), Ok(()));
        }
        assert_eq!(rates.spend('a', start + 100 * SECOND), Err(SECOND));
    }

    #[test]
    fn memory_is_bounded() {
        let (rates, now) = (Rates::remembering(10, 1, SECOND), Instant::now());
        for n in 0..1_000 {
            assert_eq!(rates.spend(n, now), Ok(()));
        }
        assert_eq!(rates.spent.lock().unwrap().len(), 10);
        assert_eq!(rates.spend(999, now), Err(SECOND));
    }
}
