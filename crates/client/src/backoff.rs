//! How long to wait before the next try.

use std::time::Duration;

use crate::random;

const FIRST: Duration = Duration::from_millis(200);
const MOST: Duration = Duration::from_secs(30);

/// Doubles with each failure, up to [`MOST`]; the wait itself is anything up to that ("full jitter"), so that all
/// who were with a host or a relay that was away do not come back at the same moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = jitter(self.ceiling());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// All is well again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(self) -> Duration {
        FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST)
    }
}

/// Any time up to this one.
#[must_use]
pub fn jitter(most: Duration) -> Duration {
    most.mul_f64(random::fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let mut backoff = Backoff::default();
        let ceilings: Vec<_> = (0..9)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.wait() <= ceiling);
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(ceilings, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000]);
        let waits: std::collections::BTreeSet<_> = (0..32).map(|_| backoff.wait()).collect();
        assert!(waits.len() > 16, "they are spread out");
        backoff.reset();
        assert_eq!(backoff.ceiling(), FIRST);
    }
}
