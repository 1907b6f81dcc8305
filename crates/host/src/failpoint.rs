//! Named points at which a test can stop the process and pull the plug.
//!
//! Only with the feature `failpoints`, which no release has: there `COUPLET_FAILPOINT=NAME` makes the first thread
//! that reaches the point say so on stderr and stay there, so that the test can kill the process at that very line.

/// Stops here when the test has asked for it.
#[cfg(feature = "failpoints")]
#[expect(clippy::print_stderr, reason = "the test waits for this line, whatever the log's filter is")]
pub(crate) fn reach(name: &str) {
    if std::env::var("COUPLET_FAILPOINT").is_ok_and(|wanted| wanted == name) {
        eprintln!("failpoint reached: {name}");
        loop {
            std::thread::park();
        }
    }
}

/// Nothing, in every build that is not for tests.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub(crate) fn reach(_name: &str) {}
