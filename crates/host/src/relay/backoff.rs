//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(30);

/// Doubles with each failure, up to [`MOST`]; the wait itself is anything up to that ("full jitter"), so that the hosts
/// of a relay that was away do not all come back at the same moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        let most = FIRST.saturating_mul(1 << self.failures.min(16)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        jitter(most)
    }

    /// All has been well for a while.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Any time up to this one.
pub(super) fn jitter(most: Duration) -> Duration {
    most.mul_f64(f64::from(u32::from_be_bytes(crate::random::bytes())) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_differ() {
        let mut backoff = Backoff::default();
        for most in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            assert!(backoff.next() <= Duration::from_millis(most));
        }
        let waits: std::collections::BTreeSet<_> = (0..32).map(|_| backoff.next()).collect();
        assert!(waits.len() > 16, "they are spread out");
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
