//! Where a test pulls the plug.
//!
//! Only with the feature `failpoints`, which no release has: there `COUPLET_RELAY_STEPS=N` ends the process at the end of
//! its N-th step, as a power cut would. A step is a connection that has come, a read or a write inside TLS, and what is
//! before and behind a commit.

/// A step ends here.
#[cfg(feature = "failpoints")]
pub(crate) fn step() {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static STEPS: LazyLock<Option<u64>> = LazyLock::new(|| std::env::var("COUPLET_RELAY_STEPS").ok()?.parse().ok());
    static DONE: AtomicU64 = AtomicU64::new(0);
    if let Some(steps) = *STEPS
        && DONE.fetch_add(1, Ordering::Relaxed) + 1 >= steps
    {
        std::process::abort();
    }
}

/// Nothing, in every build that is not for tests.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn step() {}
