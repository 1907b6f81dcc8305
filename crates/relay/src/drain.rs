//! Stopping in good order.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::shared::Shared;

/// How often sessions and rooms are counted.
const LOOK: Duration = Duration::from_millis(50);
/// How long what was cut may take to be gone.
const LAST: Duration = Duration::from_secs(5);

/// No session begins any more, hosts learn of it, and those that run have `patience` to end. Then everything is cut.
pub(crate) async fn drain(shared: &Shared, patience: Duration) {
    shared.live.drain(&shared.hosts_url());
    shared.rooms.drain();
    // Those that are only coming to be count too: their device has been promised one.
    let (open, end) = (|| [shared.live.sessions_open(), shared.rooms.open_rooms()], Instant::now() + patience);
    let [sessions, rooms] = open();
    tracing::info!(target: "couplet::relay", sessions, rooms, "relay.draining");
    while open() != [0, 0] && Instant::now() < end {
        sleep(LOOK).await;
    }
    let [sessions_cut, rooms_cut] = open();
    shared.rooms.stop(LAST).await;
    tracing::info!(target: "couplet::relay", sessions_cut, rooms_cut, "relay.stopped");
    let _ = tokio::time::timeout(LAST, shared.tasks.end()).await;
    let _ = tokio::time::timeout(LAST, shared.registry.settled()).await;
}
