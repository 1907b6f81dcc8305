//! Reconnecting: the addresses of a host are tried side by side, and the first finished handshake wins.

use std::time::Duration;

use couplet_protocol::Endpoint;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::attempt::{Attempt, AttemptError};
use crate::credentials::Credentials;
use crate::greet::{Met, Opened};
use crate::path::Path;

/// How far ahead of the next one an address starts: on a network that works the first one wins before that.
const STAGGER: Duration = Duration::from_millis(100);
/// How many run at a time. A host keeps only eight handshakes that nobody confirmed.
const LANES: usize = 3;

/// Opens a session with the host of these credentials. `last`: where it was last, to be tried first.
///
/// Losers are dropped before they confirm, so that they take none of the host's session slots.
///
/// # Errors
/// Every address was tried in vain.
pub(crate) async fn race(credentials: &Credentials, last: Option<&Endpoint>) -> Result<Opened, Vec<Attempt>> {
    let mut paths: Vec<Path> = credentials.endpoints.iter().filter_map(Path::of).collect();
    // Stable: the host's own order stays behind it.
    paths.sort_by_key(|path| Some(&path.endpoint()) != last);
    let mut ahead = paths.into_iter();
    let mut lanes = FuturesUnordered::new();
    let mut failures = Vec::new();
    let mut next = Instant::now();
    loop {
        let due = lanes.is_empty() || (lanes.len() < LANES && Instant::now() >= next);
        match ahead.len() {
            0 if lanes.is_empty() => return Err(failures),
            1.. if due => {
                lanes.extend(ahead.next().map(|path| lane(path, credentials)));
                next = Instant::now() + STAGGER;
                continue;
            }
            _ => {}
        }
        tokio::select! {
            Some((path, met)) = lanes.next() => match won(met).await {
                Ok(opened) => return Ok(opened),
                Err(failure) => failures.push(Attempt { endpoint: path.endpoint(), failure }),
            },
            () = sleep_until(next), if ahead.len() > 0 && lanes.len() < LANES => {}
        }
    }
}

async fn lane(path: Path, credentials: &Credentials) -> (Path, Result<Met, AttemptError>) {
    let met = Met::again(&path, &credentials.keys, &credentials.device_key).await;
    (path, met)
}

async fn won(met: Result<Met, AttemptError>) -> Result<Opened, AttemptError> {
    met?.confirm().await
}
