//! Bytes a second: what sessions carry is charged to their host and to their device's source.
//!
//! A charge may overdraw: who has spent too much waits before the next read, so that nothing that was read is held
//! back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::source::Source;

/// How many seconds' worth may be spent at once.
const BURST: f64 = 1.0;

/// An account of bytes.
#[derive(Debug)]
pub(crate) struct Quota {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl Quota {
    /// So many bytes a second; 0 is no limit.
    pub(crate) fn new(per_second: u64) -> Option<Arc<Self>> {
        // A quota beyond 2^53 bytes a second is no limit either.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let rate = per_second as f64;
        (per_second > 0)
            .then(|| Arc::new(Quota { per_second: rate, state: Mutex::new((rate * BURST, Instant::now())) }))
    }

    /// Charges bytes that have passed; tells how long to wait before the next.
    pub(crate) fn charge(&self, bytes: usize, now: Instant) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let earned = now.saturating_duration_since(at).as_secs_f64() * self.per_second;
        #[allow(clippy::cast_precision_loss, reason = "a read is far below 2^53 bytes")]
        let left = (left + earned).min(self.per_second * BURST) - bytes as f64;
        *state = (left, now.max(at));
        if left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-left / self.per_second) }
    }
}

/// Charges bytes that have passed to all of these, and waits until the next may.
pub(crate) async fn pay(bytes: usize, quotas: [Option<&Arc<Quota>>; 2]) {
    let now = Instant::now();
    let wait = quotas.into_iter().flatten().map(|quota| quota.charge(bytes, now)).max().unwrap_or_default();
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// The quotas of sources: one is kept as long as a session has it.
#[derive(Debug)]
pub(crate) struct Sources {
    per_second: u64,
    known: Mutex<HashMap<Source, Weak<Quota>>>,
}

impl Sources {
    pub(crate) fn new(per_second: u64) -> Self {
        Sources { per_second, known: Mutex::default() }
    }

    /// The quota of this source, shared by its sessions.
    pub(crate) fn of(&self, source: Source) -> Option<Arc<Quota>> {
        if self.per_second == 0 {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(quota) = known.get(&source).and_then(Weak::upgrade) {
            return Some(quota);
        }
        known.retain(|_, quota| quota.strong_count() > 0);
        let quota = Quota::new(self.per_second)?;
        known.insert(source, Arc::downgrade(&quota));
        Some(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_free_and_what_is_overdrawn_is_waited_for() {
        let quota = Quota::new(1000).unwrap();
        let start = Instant::now();
        assert_eq!(quota.charge(1000, start), Duration::ZERO);
        assert_eq!(quota.charge(500, start).as_millis(), 500);
        assert_eq!(quota.charge(1, start + Duration::from_secs(1)), Duration::ZERO);
        assert!(Quota::new(0).is_none());
    }

    #[test]
    fn sessions_of_one_source_share_and_none_is_kept_for_nobody() {
        let sources = Sources::new(10);
        let source = |n| Source::of([10, 0, 0, n].into());
        let first = sources.of(source(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &sources.of(source(1)).unwrap()));
        drop(first);
        for n in 2..200 {
            drop(sources.of(source(n)));
        }
        assert!(sources.known.lock().unwrap().len() <= 1);
    }
}
