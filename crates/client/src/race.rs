//! Reconnecting: the addresses of a host are tried side by side, and the first finished handshake wins.

use std::collections::VecDeque;
use std::time::Duration;

use couplet_protocol::Endpoint;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use crate::attempt::{Attempt, AttemptError};
use crate::credentials::Credentials;
use crate::greet::{Met, Opened};
use crate::path::Ways;
use crate::relay::{Account, Pauses, RelayAccount, RelayTrust};

/// How far ahead of the next one an address on the local network starts: on a network that works the first one wins
/// before that.
const STAGGER: Duration = Duration::from_millis(100);
/// How far the local network is ahead of a relay (spec/protocol.md, 7), and one relay of the next.
const RELAY: Duration = Duration::from_millis(150);
/// How many run at a time. A host keeps only eight handshakes that nobody confirmed.
const LANES: usize = 3;
const RELAYS: usize = 2;

/// Opens a session with the host of these credentials. `account`: who the owner is, for the relay that asks. `last`: where it
/// was last, to be tried first among its kind.
///
/// Losers are dropped before they confirm, so that they take none of the host's session slots.
///
/// # Errors
/// Every address was tried in vain; a relay that asked for patience is not tried, and what it said is said again.
pub(crate) async fn race(
    credentials: &Credentials,
    (trust, account): (&RelayTrust, Option<&RelayAccount>),
    last: Option<&Endpoint>,
    pauses: &mut Pauses,
) -> Result<Opened, Vec<Attempt>> {
    let ways = credentials.ways(trust, (Account::read(account, &credentials.endpoints).await, pauses.climbs().clone()));
    let (mut here, mut afar, mut failures) = starters(credentials, &ways, last, pauses);
    let mut lanes = FuturesUnordered::new();
    loop {
        // Whatever is next starts at once when nothing else runs.
        while let Some(endpoint) = [&mut here, &mut afar].into_iter().find_map(|grid| grid.start(lanes.is_empty())) {
            lanes.push(lane(&ways, credentials, endpoint));
        }
        let next = [&here, &afar].into_iter().filter_map(Grid::next).min();
        tokio::select! {
            Some((endpoint, met)) = lanes.next() => {
                let grid = if matches!(endpoint, Endpoint::Relay(_)) { &mut afar } else { &mut here };
                grid.running -= 1;
                match won(met).await {
                    Ok(opened) => return Ok(opened),
                    Err(failure) => {
                        if let Endpoint::Relay(relay) = &endpoint {
                            pauses.failed(relay, failure.of_relay(), &ways.account);
                        }
                        failures.push(Attempt { endpoint, failure });
                    }
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            else => return Err(failures),
        }
    }
}

/// Who starts on the local network, who through a relay, and which relays do not.
fn starters(
    credentials: &Credentials,
    ways: &Ways<'_>,
    last: Option<&Endpoint>,
    pauses: &Pauses,
) -> (Grid, Grid, Vec<Attempt>) {
    let mut endpoints: Vec<&Endpoint> = credentials.endpoints.iter().filter(|it| ways.lead_to(it)).collect();
    // Stable: the host's own order stays behind it.
    endpoints.sort_by_key(|endpoint| Some(*endpoint) != last);
    let (mut here, mut afar) = (Grid::new(STAGGER, Duration::ZERO, LANES), Grid::new(RELAY, RELAY, RELAYS));
    let mut failures = Vec::new();
    for endpoint in endpoints {
        match endpoint {
            Endpoint::Lan(_) => here.waiting.push_back(endpoint.clone()),
            Endpoint::Relay(relay) => match pauses.on(relay, &ways.account) {
                None => afar.waiting.push_back(endpoint.clone()),
                Some(failure) => {
                    let failure = AttemptError::Relay(Box::new(failure.clone()));
                    failures.push(Attempt { endpoint: endpoint.clone(), failure });
                }
            },
        }
    }
    (here, afar, failures)
}

/// Endpoints of one kind, which start one after the other.
struct Grid {
    waiting: VecDeque<Endpoint>,
    stagger: Duration,
    due: Instant,
    running: usize,
    lanes: usize,
}

impl Grid {
    fn new(stagger: Duration, behind: Duration, lanes: usize) -> Self {
        Grid { waiting: VecDeque::new(), stagger, due: Instant::now() + behind, running: 0, lanes }
    }

    /// When the next one starts, if there is one and it has room.
    fn next(&self) -> Option<Instant> {
        (!self.waiting.is_empty() && self.running < self.lanes).then_some(self.due)
    }

    fn start(&mut self, idle: bool) -> Option<Endpoint> {
        self.next().filter(|due| idle || Instant::now() >= *due)?;
        self.due = Instant::now() + self.stagger;
        self.running += 1;
        self.waiting.pop_front()
    }
}

async fn lane(ways: &Ways<'_>, credentials: &Credentials, endpoint: Endpoint) -> (Endpoint, Result<Met, AttemptError>) {
    let met = Met::again((ways, &endpoint), &credentials.keys, &credentials.device_key).await;
    (endpoint, met)
}

async fn won(met: Result<Met, AttemptError>) -> Result<Opened, AttemptError> {
    met?.confirm().await
}
