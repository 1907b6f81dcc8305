//! The task that keeps a session open.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::Control;
use couplet_protocol::{Endpoint, RelayName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::session::{Session, nearer};
use super::{Live, Shared};
use crate::attempt::Attempt;
use crate::backoff::Backoff;
use crate::credentials::Credentials;
use crate::greet::Opened;
use crate::http;
use crate::path::relay_of;
use crate::race::race;
use crate::relay::{Pauses, RelayAccount, RelayTrust};
use crate::route::Routes;
use crate::sealed::{Ending, Link};
use crate::state::{Reason, State};
use crate::store::{CredentialStore, StoreError};
use crate::unblock;

/// A session that lived for less was not worth the name: the next try waits.
const LIVED: Duration = Duration::from_secs(2);
/// How long somebody who wants a session waits at least for the next try.
const IMPATIENT: Duration = Duration::from_secs(1);
/// How long to leave the place to the session that took it.
const REPLACED: Duration = Duration::from_secs(10);
/// How long a session on a way that may be gone is given to say that it ends.
const FAREWELL: Duration = Duration::from_millis(100);

/// Keeps a session open for as long as it runs.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    store: Arc<dyn CredentialStore>,
    /// Unfinished ones first; once the host has spoken in a session, those that opened it are the only ones.
    candidates: Vec<Credentials>,
    /// Which of them opened the session.
    current: usize,
    last: Option<Endpoint>,
    trust: RelayTrust,
    account: Option<RelayAccount>,
    /// What relays said of each of the candidates, by its psk_id: the rooms of one may be there, and those of another not.
    pauses: HashMap<[u8; 8], Pauses>,
    sessions: u64,
    offline_since: Option<SystemTime>,
}

/// How to go on after a session.
enum Next {
    Retry(Reason),
    /// This machine is somewhere else.
    Moved,
    Pause(Reason, Duration),
    Stop(State),
}

impl Keeper {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn CredentialStore>,
        candidates: Vec<Credentials>,
        account: Option<RelayAccount>,
    ) -> Self {
        Keeper {
            shared,
            store,
            candidates,
            current: 0,
            last: None,
            trust: RelayTrust::default(),
            account,
            pauses: HashMap::new(),
            sessions: 0,
            offline_since: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        // The same for all tries of one outage, so that no change falls between two of them.
        let mut routes = self.routes();
        loop {
            let opened = tokio::select! {
                opened = self.open() => opened,
                // What is being waited for is on the old way.
                () = routes.change() => {
                    self.pauses.clear();
                    continue;
                }
            };
            let opened = match opened {
                Ok(opened) => opened,
                Err(reason) => {
                    tracing::debug!(target: "couplet::session", host = %self.shared.host, %reason, "no session");
                    self.offline(reason);
                    self.wait(&mut routes, backoff.wait(), Duration::ZERO).await;
                    continue;
                }
            };
            let began = Instant::now();
            let next = self.hold(opened).await;
            routes = self.routes();
            let lived = began.elapsed() >= LIVED;
            if lived {
                backoff.reset();
            }
            match next {
                Next::Stop(state) => {
                    self.shared.state.send_replace(state);
                    return;
                }
                // What broke may be back at once: a Wi-Fi that was changed, a host that was started anew.
                Next::Retry(reason) => {
                    self.offline(reason);
                    let wait = if lived { Duration::ZERO } else { backoff.wait() };
                    self.wait(&mut routes, wait, Duration::ZERO).await;
                }
                Next::Moved => {
                    self.pauses.clear();
                    self.offline(Reason::Moved);
                    let wait = if lived { Duration::ZERO } else { backoff.wait() };
                    self.wait(&mut routes, wait, Duration::ZERO).await;
                }
                Next::Pause(reason, pause) => {
                    self.offline(reason);
                    self.wait(&mut routes, backoff.wait(), pause).await;
                }
            }
            if self.shared.closing.is_cancelled() {
                return;
            }
        }
    }

    /// Opens a session with the first credentials that the host takes.
    async fn open(&mut self) -> Result<Opened, Reason> {
        self.shared.state.send_if_modified(|state| {
            // An outage is one: its trials do not make it flicker.
            let begins = !matches!(state, State::Offline { .. });
            if begins {
                *state = State::Connecting;
            }
            begins
        });
        let mut failures: Vec<Attempt> = Vec::new();
        for at in 0..self.candidates.len() {
            let candidate = &self.candidates[at];
            if !self.trust.is_of(candidate.relay_ca.as_ref()) {
                self.trust = RelayTrust::new(candidate.relay_ca.clone());
            }
            let pauses = self.pauses.entry(candidate.keys.psk_id).or_default();
            match race(candidate, (&self.trust, self.account.as_ref()), self.last.as_ref(), pauses).await {
                Ok(opened) => {
                    pauses.clear();
                    self.current = at;
                    return Ok(opened);
                }
                Err(attempts) => failures.extend(attempts),
            }
        }
        Err(if failures.is_empty() { Reason::NoAddress } else { Reason::Unreachable(failures) })
    }

    /// What the host says in a session shows that it took the confirm: it counts this device as paired with these
    /// credentials, and with no others. That a handshake was answered shows neither, as the confirm may not have arrived.
    async fn settle(&mut self, host_name: &str, room: Option<u32>) {
        if self.current >= self.candidates.len() {
            return;
        }
        let mut credentials = self.candidates.swap_remove(self.current);
        let room = room.unwrap_or(credentials.room_number);
        let news = !credentials.is_paired() || credentials.host_name != host_name || credentials.room_number != room;
        credentials.room_number = room;
        credentials.paired_at.get_or_insert_with(SystemTime::now);
        host_name.clone_into(&mut credentials.host_name);
        (self.candidates, self.current) = (vec![credentials], 0);
        if news {
            self.keep().await;
        }
    }

    /// Runs the session to its end, and whatever nearer one takes its place.
    async fn hold(&mut self, opened: Opened) -> Next {
        let via = relay_of(&opened.endpoint);
        let mut session = match Session::begin(opened).await {
            Ok(session) => session,
            Err(link) => return self.after(&link, via.as_ref(), false).await,
        };
        // Ends with this: who holds no session any more has none that drains, either.
        let mut draining = JoinSet::new();
        loop {
            match self.hold_one(&mut session).await {
                Ok(nearer) => {
                    draining.spawn(std::mem::replace(&mut session, nearer).drain());
                    while draining.try_join_next().is_some() {}
                }
                Err(next) => return next,
            }
        }
    }

    /// Runs one session to its end, or until a nearer one is open.
    async fn hold_one(&mut self, session: &mut Session) -> Result<Session, Next> {
        let Session { endpoint, peer, room, host_name, http, driver, link, heard, is_settled } = session;
        let via = relay_of(endpoint);
        let mut routes = Routes::of_session(*peer);
        self.sessions += 1;
        self.shared.live.send_replace(Some(Live { number: self.sessions, http: http.clone(), link: link.clone() }));
        if *is_settled {
            self.begun(endpoint, host_name, *room).await;
        }
        let mut settled = std::pin::pin!(http.settled());
        let mut nearer = std::pin::pin!(self.nearer(via.as_ref()));
        let moved = loop {
            tokio::select! {
                () = &mut *driver => break false,
                () = routes.change() => break true,
                () = &mut settled, if !*is_settled => {
                    *is_settled = true;
                    self.begun(endpoint, host_name, *room).await;
                    nearer.set(self.nearer(via.as_ref()));
                }
                Some(message) = heard.recv(), if *is_settled => {
                    if self.hear(*message).await {
                        nearer.set(self.nearer(via.as_ref()));
                    }
                }
                nearer = &mut nearer, if *is_settled => return Ok(nearer),
            }
        };
        self.shared.live.send_replace(None);
        if moved {
            // The old way may still be there: then the host learns of it, but nobody waits for that.
            link.close(CloseCode::Leaving);
            let _ = timeout(FAREWELL, driver).await;
            return Err(Next::Moved);
        }
        Err(self.after(link, via.as_ref(), *is_settled).await)
    }

    /// A session with the present credentials that does without this relay.
    fn nearer(&self, via: Option<&RelayName>) -> impl Future<Output = Session> + use<> {
        let credentials = via.and_then(|_| self.candidates.get(self.current)).cloned();
        async move {
            match credentials {
                Some(credentials) => nearer(credentials).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The host has spoken in the session.
    async fn begun(&mut self, endpoint: &Endpoint, host_name: &str, room: Option<u32>) {
        self.settle(host_name, room).await;
        self.offline_since = None;
        self.last = Some(endpoint.clone());
        self.shared.state.send_replace(match endpoint {
            Endpoint::Lan(endpoint) => State::Direct { endpoint: *endpoint },
            Endpoint::Relay(relay) => State::Relay { relay: relay.clone() },
        });
    }

    /// What the end of a session asks for. Where the host said no to credentials that are not the only ones, the others
    /// are still to be tried.
    async fn after(&mut self, link: &Link, via: Option<&RelayName>, is_settled: bool) -> Next {
        match after(link, via).await {
            Next::Stop(_) if !is_settled && self.candidates.len() > 1 => {
                self.candidates.remove(self.current);
                Next::Retry(Reason::Lost)
            }
            next => next,
        }
    }

    /// The host says where else it is. Whether that is news.
    async fn hear(&mut self, message: Control) -> bool {
        let Control::Endpoints { list, serial } = message else { return false };
        let is_news = self.candidates.first_mut().is_some_and(|credentials| credentials.learn_endpoints(list, serial));
        if is_news {
            self.keep().await;
        }
        is_news
    }

    /// Writes the credentials, unless the host was forgotten or another pairing has taken their place meanwhile.
    async fn keep(&self) {
        let Some(credentials) = self.candidates.first().cloned() else { return };
        let store = self.store.clone();
        let kept = unblock(move || -> Result<(), StoreError> {
            let ours = |stored: &Credentials| stored.keys.0.psk_id == credentials.keys.0.psk_id;
            if store.load(&credentials.id())?.iter().any(ours) { store.save(&credentials) } else { Ok(()) }
        });
        if let Err(error) = kept.await {
            tracing::warn!(target: "couplet::session", host = %self.shared.host, %error, "credentials cannot be kept");
        }
    }

    fn offline(&mut self, reason: Reason) {
        let since = *self.offline_since.get_or_insert_with(SystemTime::now);
        self.shared.state.send_if_modified(|state| {
            let now = State::Offline { since, reason };
            let is_news = *state != now;
            *state = now;
            is_news
        });
    }

    /// The ways to all addresses of the host, as they are now.
    fn routes(&self) -> Routes {
        Routes::to_all(self.candidates.iter().flat_map(|it| &it.endpoints).filter_map(lan))
    }

    /// Waits, but not for long when somebody wants a session: `least` and a second; and not when this machine has
    /// another way to the network.
    async fn wait(&mut self, routes: &mut Routes, wait: Duration, least: Duration) {
        sleep(least).await;
        tokio::select! {
            () = sleep(wait) => {}
            () = routes.change() => self.pauses.clear(),
            () = async {
                self.shared.wanted.notified().await;
                sleep(IMPATIENT).await;
            } => {}
            () = self.shared.closing.cancelled() => {}
        }
    }
}

fn lan(endpoint: &Endpoint) -> Option<SocketAddr> {
    match endpoint {
        Endpoint::Lan(address) => Some(*address),
        Endpoint::Relay(_) => None,
    }
}

/// Runs a session that was open already, to its end.
pub(super) async fn once<S>(
    shared: Arc<Shared>,
    driver: http::Driver<S>,
    link: Link,
    mut heard: mpsc::Receiver<Box<Control>>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        () = driver.run() => {}
        // News of addresses are of no use to a client that opens no sessions.
        () = async { while heard.recv().await.is_some() {} std::future::pending().await } => {}
    }
    let via = match &*shared.state.borrow() {
        State::Relay { relay } => Some(relay.clone()),
        _ => None,
    };
    shared.live.send_replace(None);
    shared.state.send_replace(match after(&link, via.as_ref()).await {
        Next::Stop(state) => state,
        Next::Moved => State::Offline { since: SystemTime::now(), reason: Reason::Moved },
        Next::Retry(reason) | Next::Pause(reason, _) => State::Offline { since: SystemTime::now(), reason },
    });
}

/// What the end of a session asks for.
async fn after(link: &Link, via: Option<&RelayName>) -> Next {
    match link.ended().await {
        Ending::Closed(CloseCode::Revoked) => Next::Stop(State::Revoked),
        Ending::Closed(CloseCode::Expired) => Next::Stop(State::Expired),
        Ending::Closed(code @ CloseCode::Replaced) => Next::Pause(Reason::Closed(code), REPLACED),
        Ending::Closed(code @ CloseCode::Busy) => Next::Pause(Reason::Closed(code), IMPATIENT),
        Ending::Closed(code) | Ending::ClosedByUs(code) => Next::Retry(Reason::Closed(code)),
        Ending::Broken => Next::Retry(Reason::Broken.through(via)),
        Ending::Truncated | Ending::Silent => Next::Retry(Reason::Lost.through(via)),
    }
}
