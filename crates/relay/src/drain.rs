//! Stopping in good order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::http::Shared;

/// How often the sessions are counted.
const LOOK: Duration = Duration::from_millis(50);
/// How long what was cut may take to be gone.
const LAST: Duration = Duration::from_secs(5);

/// No session begins any more, hosts learn of it, and those that run have `patience` to end. Then everything is cut.
pub(crate) async fn drain(shared: &Shared, patience: Duration) {
    shared.live.drain(&shared.hosts_url());
    let (open, end) = (shared.live.sessions_open(), Instant::now() + patience);
    tracing::info!(target: "couplet::relay", sessions = open, "relay.draining");
    // Those that are only coming to be count too: their device has been promised one.
    while shared.live.sessions_open() > 0 && Instant::now() < end {
        sleep(LOOK).await;
    }
    let left = shared.live.sessions_open();
    tracing::info!(target: "couplet::relay", sessions_cut = left, "relay.stopped");
    let _ = tokio::time::timeout(LAST, shared.tasks.end()).await;
}
