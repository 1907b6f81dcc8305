//! Who is there: hosts with their event streams, and the sessions that are open or coming to be. In memory only: after
//! a restart hosts and devices come back by themselves.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::relay::{Drain, RoomLocked};
use couplet_protocol::{RoomId, Sid};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::host::HostId;
use crate::quota::Quota;
use crate::rate::Rates;
use crate::sessions::Session;
use crate::tasks::Tasks;

/// An event stream says something at least this often.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the sessions of a room that is removed may go on. All is over within a second (spec/protocol.md, 6).
const LAST_WORDS: Duration = Duration::from_millis(600);
/// How many events may wait for a host that does not read them, before it has to come anew.
const EVENTS_MAX: usize = 64;
/// How many events are kept for a host without a stream: as many as a host has rooms.
const UNTOLD_MAX: usize = 512;

/// Everything that is live.
#[derive(Debug)]
pub(crate) struct Live {
    table: Mutex<Table>,
    /// How often devices ask, each by what lets it in.
    pub(crate) asks: Rates<[u8; 32]>,
    pub(crate) limits: Caps,
    pub(crate) tasks: Tasks,
}

/// What one host may have at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) sessions: usize,
    pub(crate) sockets: usize,
    pub(crate) bytes_per_second: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) hosts: HashMap<HostId, Presence>,
    pub(crate) sessions: HashMap<Sid, Session>,
    pub(crate) draining: bool,
    streams: usize,
}

/// A host that has a connection or a session.
#[derive(Debug)]
pub(crate) struct Presence {
    stream: Option<Arc<Mailbox>>,
    sockets: usize,
    /// In the order in which they were opened.
    pub(crate) sessions: Vec<Sid>,
    /// What it has not been told: which rooms were locked while it had no stream, or did not read it.
    untold: VecDeque<Bytes>,
    /// Fires when the host is revoked.
    cut: CancellationToken,
    quota: Option<Arc<Quota>>,
}

/// Events on their way to a host.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Bytes>,
    closed: bool,
}

impl Mailbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a host that has just come: these may be more than would wait for one that does not read.
    fn with(events: impl Iterator<Item = Bytes>) -> Self {
        let waiting = Waiting { events: events.collect(), closed: false };
        Mailbox { waiting: Mutex::new(waiting), news: Notify::new() }
    }

    /// One that does not read is closed, and false; when it comes anew, it is told all that still counts.
    pub(crate) fn put(&self, event: Bytes) -> bool {
        let mut waiting = self.waiting();
        let taken = waiting.events.len() < EVENTS_MAX;
        if taken {
            waiting.events.push_back(event);
        } else {
            waiting.closed = true;
        }
        drop(waiting);
        self.news.notify_one();
        taken
    }

    /// Takes back the command of a session that is over.
    fn withdraw(&self, sid: Sid) {
        let begin = id(sid);
        self.waiting().events.retain(|event| !event.starts_with(begin.as_bytes()));
    }

    /// Ends the stream. What it has not sent and is kept nowhere else comes back.
    fn close(&self) -> impl Iterator<Item = Bytes> + use<> {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.events);
        drop(waiting);
        self.news.notify_one();
        left.into_iter().filter(|event| !event.starts_with(b"id: "))
    }

    /// The next event; None when the stream is over. May be dropped and called anew without losing one.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.waiting();
                if let Some(event) = waiting.events.pop_front() {
                    return Some(event);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.news.notified().await;
        }
    }
}

impl Live {
    pub(crate) fn new(limits: Caps, tasks: Tasks) -> Arc<Self> {
        let asks = Rates::of_devices();
        Arc::new(Live { table: Mutex::default(), asks, limits, tasks })
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of a host. None when it has as many as it may have.
    pub(crate) fn connected(self: &Arc<Self>, host: HostId) -> Option<Connection> {
        let mut table = self.table();
        let presence = table.presence(host, &self.limits);
        if presence.sockets >= self.limits.sockets {
            return None;
        }
        presence.sockets += 1;
        let cut = presence.cut.clone();
        drop(table);
        Some(Connection { live: Arc::clone(self), host, cut })
    }

    /// How many hosts have a stream.
    pub(crate) fn hosts_online(&self) -> usize {
        self.table().streams
    }

    /// How many sessions are open or coming to be.
    pub(crate) fn sessions_open(&self) -> usize {
        self.table().sessions.len()
    }

    /// Whether the host has a stream.
    pub(crate) fn is_online(&self, host: HostId) -> bool {
        self.table().hosts.get(&host).is_some_and(|presence| presence.stream.is_some())
    }

    /// Tells a host that failed joins have locked a room: now, or when it comes.
    pub(crate) fn room_locked(&self, host: HostId, room: RoomId) {
        let mut table = self.table();
        let presence = table.presence(host, &self.limits);
        match &presence.stream {
            Some(stream) if stream.put(room_locked(room)) => {}
            _ => presence.keep(room_locked(room)),
        }
    }

    /// Ends every connection and session of a host.
    pub(crate) fn cut_host(&self, host: HostId) {
        let mut table = self.table();
        for sid in table.hosts.get(&host).map(|presence| presence.sessions.clone()).unwrap_or_default() {
            table.end(sid);
        }
        if let Some(presence) = table.hosts.get_mut(&host) {
            presence.untold.clear();
            std::mem::take(&mut presence.cut).cancel();
        }
        table.forget(host);
    }

    /// Ends the sessions of a room: those that are carried in a moment, so that the ends can still say why. A host
    /// removes an offer's room before its last word to the device that paired there.
    pub(crate) fn cut_room(self: &Arc<Self>, host: HostId, room: RoomId) {
        let mut table = self.table();
        let (carried, waiting): (Vec<Sid>, Vec<Sid>) =
            table.of_host(host, |session| session.room == room).into_iter().partition(|sid| table.is_carried(*sid));
        waiting.into_iter().for_each(|sid| table.end(sid));
        drop(table);
        if carried.is_empty() {
            return;
        }
        let live = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            let mut table = live.table();
            carried.into_iter().for_each(|sid| table.end(sid));
        });
    }

    /// Ends every session: who knows which rooms and hosts are gone.
    pub(crate) fn cut_all(&self) {
        let mut table = self.table();
        for sid in table.sessions.keys().copied().collect::<Vec<_>>() {
            table.end(sid);
        }
        for presence in table.hosts.values_mut() {
            std::mem::take(&mut presence.cut).cancel();
        }
    }

    /// No session begins from now on, and hosts are told where to go instead.
    pub(crate) fn drain(&self, relay_url: &str) {
        let mut table = self.table();
        table.draining = true;
        let event = event(None, "drain", &Drain { relay_url: relay_url.to_owned() });
        for stream in table.hosts.values().filter_map(|presence| presence.stream.as_ref()) {
            stream.put(event.clone());
        }
    }
}

impl Table {
    fn presence(&mut self, host: HostId, caps: &Caps) -> &mut Presence {
        self.hosts.entry(host).or_insert_with(|| Presence {
            stream: None,
            sockets: 0,
            sessions: Vec::new(),
            untold: VecDeque::new(),
            cut: CancellationToken::new(),
            quota: Quota::new(caps.bytes_per_second),
        })
    }

    /// The host, if it has a stream.
    pub(crate) fn online(&mut self, host: HostId) -> Option<(&mut Presence, Arc<Mailbox>)> {
        let presence = self.hosts.get_mut(&host)?;
        let stream = presence.stream.clone()?;
        Some((presence, stream))
    }

    /// Those of a host's sessions of which this is so, the oldest first.
    pub(crate) fn of_host(&self, host: HostId, is_so: impl Fn(&Session) -> bool) -> Vec<Sid> {
        let of_host = self.hosts.get(&host).map(|presence| presence.sessions.as_slice()).unwrap_or_default();
        of_host.iter().filter(|sid| self.sessions.get(*sid).is_some_and(&is_so)).copied().collect()
    }

    fn is_carried(&self, sid: Sid) -> bool {
        self.sessions.get(&sid).is_some_and(Session::is_bridged)
    }

    /// Ends a session and forgets it.
    pub(crate) fn end(&mut self, sid: Sid) {
        let Some(session) = self.sessions.remove(&sid) else { return };
        session.cut.cancel();
        if let Some(presence) = self.hosts.get_mut(&session.host) {
            presence.sessions.retain(|other| *other != sid);
            if let Some(stream) = presence.stream.as_ref().filter(|_| session.command.is_some()) {
                stream.withdraw(sid);
            }
        }
        self.forget(session.host);
    }

    /// Forgets a host that has nothing any more.
    fn forget(&mut self, host: HostId) {
        let nothing = self.hosts.get(&host).is_some_and(|presence| {
            presence.sockets == 0 && presence.sessions.is_empty() && presence.untold.is_empty()
        });
        if nothing {
            self.hosts.remove(&host);
        }
    }
}

impl Presence {
    /// What the host's sessions are charged to.
    pub(crate) fn quota(&self) -> Option<Arc<Quota>> {
        self.quota.clone()
    }

    /// Keeps an event for when the host comes. The longest kept is forgotten first.
    fn keep(&mut self, event: Bytes) {
        self.untold.retain(|known| *known != event);
        if self.untold.len() >= UNTOLD_MAX {
            self.untold.pop_front();
        }
        self.untold.push_back(event);
    }
}

/// A host's connection. Dropping it says that it is gone.
#[derive(Debug)]
pub(crate) struct Connection {
    live: Arc<Live>,
    pub(crate) host: HostId,
    /// Fires when the host is revoked.
    pub(crate) cut: CancellationToken,
}

impl Connection {
    /// Makes this connection the host's event stream, in place of the one before. Commands behind `last` that the host
    /// has not followed are told again.
    pub(crate) fn subscribe(self: &Arc<Self>, last: Option<Sid>) -> Subscription {
        let mut guard = self.live.table();
        let table = &mut *guard;
        let mut mailbox = Arc::default();
        if let Some(presence) = table.hosts.get_mut(&self.host) {
            let before = presence.stream.take();
            table.streams += usize::from(before.is_none());
            before.iter().flat_map(|before| before.close()).for_each(|event| presence.keep(event));
            let known = last.and_then(|last| presence.sessions.iter().position(|sid| *sid == last));
            let missed = presence.sessions.iter().skip(known.map_or(0, |at| at + 1));
            let commands = missed.filter_map(|sid| table.sessions.get(sid)?.command.clone());
            mailbox = Arc::new(Mailbox::with(commands.chain(presence.untold.drain(..))));
            presence.stream = Some(Arc::clone(&mailbox));
        }
        drop(guard);
        Subscription { connection: Arc::clone(self), mailbox }
    }
}

impl Connection {
    /// What the host's sessions are charged to.
    pub(crate) fn quota(&self) -> Option<Arc<Quota>> {
        self.live.table().hosts.get(&self.host).and_then(Presence::quota)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut table = self.live.table();
        if let Some(presence) = table.hosts.get_mut(&self.host) {
            presence.sockets -= 1;
        }
        table.forget(self.host);
    }
}

/// A host's event stream. Dropping it takes the host offline, unless another one is there.
#[derive(Debug)]
pub(crate) struct Subscription {
    connection: Arc<Connection>,
    mailbox: Arc<Mailbox>,
}

impl Subscription {
    /// The next thing to send, at the latest after [`HEARTBEAT`]; None when the stream is over.
    pub(crate) async fn next(&self) -> Option<Bytes> {
        match tokio::time::timeout(HEARTBEAT, self.mailbox.next()).await {
            Ok(event) => event,
            Err(_) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut guard = self.connection.live.table();
        let table = &mut *guard;
        if let Some(presence) = table.hosts.get_mut(&self.connection.host)
            && presence.stream.as_ref().is_some_and(|stream| Arc::ptr_eq(stream, &self.mailbox))
        {
            presence.stream = None;
            table.streams -= 1;
            if !self.connection.cut.is_cancelled() {
                self.mailbox.close().for_each(|event| presence.keep(event));
            }
        }
    }
}

fn room_locked(room: RoomId) -> Bytes {
    event(None, "room-locked", &RoomLocked { room_id: room })
}

/// An event as it goes over the wire (HTML, 9.2).
pub(crate) fn event(id: Option<Sid>, name: &str, body: &impl Serialize) -> Bytes {
    let body = serde_json::to_string(body).unwrap_or_default();
    let id = id.map(self::id).unwrap_or_default();
    format!("{id}event: {name}\ndata: {body}\n\n").into()
}

/// With what an event of this id begins.
fn id(sid: Sid) -> String {
    format!("id: {}\n", sid.to_hex())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn a_host_that_reads_too_slowly_learns_of_every_lock_when_it_comes_anew() {
        let live = Live::new(Caps { sessions: 12, sockets: 4, bytes_per_second: 0 }, Tasks::default());
        let host = HostId::random();
        let connect = || Arc::new(live.connected(host).unwrap());
        let room = |n: u8| RoomId::new([n; 16]);
        let events = connect().subscribe(None);
        for n in 0..100 {
            live.room_locked(host, room(n));
        }
        // It takes ten, and then its connection breaks.
        let mut told = HashSet::new();
        for _ in 0..10 {
            told.insert(events.next().await.unwrap());
        }
        drop(events);
        live.room_locked(host, room(100));
        let (early, late) = (connect().subscribe(None), connect().subscribe(None));
        for _ in 10..=100 {
            told.insert(late.next().await.unwrap());
        }
        assert_eq!(told.len(), 101);
        assert!(early.next().await.is_none(), "a newer stream takes its place, and what it had");
        drop((early, late));
        assert_eq!((live.hosts_online(), live.table().hosts.len()), (0, 0), "nothing is kept for nobody");
    }
}
