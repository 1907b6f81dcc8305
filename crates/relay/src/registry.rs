//! The registry: hosts, invitations and rooms, over a [`Store`].
//!
//! Every change is one row that compares and sets, so that of two at once one wins; changes that touch several rows are
//! ordered so that a relay which is killed in between has refused too much rather than too little, and
//! [`Registry::sweep`] sets it right.

mod hosts;
mod joins;
mod rooms;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::RoomId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

pub use self::hosts::RedeemError;
pub use self::joins::{Admitted, Join, JoinError, Judged};
pub use self::rooms::{RegisterError, Registered};
use self::turns::Turns;
use crate::clock::Clock;
use crate::host::HostId;
use crate::lockout::Lockout;
use crate::rate::Rates;
use crate::record::{self, Fault};
use crate::room::Room;
use crate::store::{Bucket, Entry, Expected, Store, StoreError};

/// How often a change is tried again when another relay was faster.
const ATTEMPTS: usize = 8;
/// How long a change waits for those before it.
const TURN: Duration = Duration::from_secs(10);
/// How many events may wait for a listener before it misses the oldest.
const EVENTS: usize = 1024;

/// What others need to know at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Failed joins have locked a room; told once for each lock.
    RoomLocked {
        /// Whose.
        host: HostId,
        /// Which.
        room: RoomId,
    },
    /// A room is gone: whatever it carries ends.
    RoomRemoved {
        /// Whose.
        host: HostId,
        /// Which.
        room: RoomId,
    },
    /// A host is revoked: its connections end.
    HostRevoked {
        /// Which.
        host: HostId,
    },
}

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many rooms a host may have.
    pub rooms_per_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { rooms_per_host: 512 }
    }
}

/// The registry of a relay.
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Clock,
    limits: Limits,
    lockout: Mutex<Lockout>,
    /// Whoever has many addresses may have many of them blocked; the log has a few of them.
    blocks_written: Rates<()>,
    /// A row as of a room that nothing opens: read where there is none.
    decoy: Bytes,
    events: broadcast::Sender<Event>,
    /// Held while hosts and rooms change: a host that is revoked registers nothing meanwhile, and two rooms do not
    /// both take the last place.
    changes: tokio::sync::Mutex<()>,
    /// What each host has of these at a time, and how often.
    turns: Turns,
    pace: Rates<HostId>,
    /// Changes that are under way, whether or not somebody waits for them.
    work: TaskTracker,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

impl Registry {
    /// A registry that remembers in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Clock, limits: Limits) -> Self {
        let (events, _) = broadcast::channel(EVENTS);
        let (lockout, decoy) = (Mutex::new(Lockout::new()), record::encode(&Room::decoy()).unwrap_or_default());
        let blocks_written = Rates::new(10, Duration::from_secs(60));
        let (changes, work) = (Default::default(), TaskTracker::new());
        // All rooms of a host at once, twice; then five a second.
        let most = u32::try_from(limits.rooms_per_host).unwrap_or(u32::MAX).saturating_mul(2);
        let (turns, pace) = (Turns::default(), Rates::new(most.max(1024), Duration::from_millis(200)));
        Registry { store, clock, limits, lockout, blocks_written, decoy, events, changes, turns, pace, work }
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ready(&self) -> Result<(), Fault> {
        self.store.find(Bucket::Hosts, "ready").await?;
        Ok(())
    }

    fn tell(&self, event: Event) {
        // Nobody needs to listen.
        let _ = self.events.send(event);
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for those that change hosts and rooms at the moment.
    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Fault> {
        let turn = tokio::time::timeout(TURN, self.changes.lock()).await;
        turn.map_err(|late| StoreError::Unavailable(Box::new(late)).into())
    }

    /// Does it to the end, whether or not the caller waits for it: who hangs up half-way leaves no row without its
    /// index, and no room removed whose bridges were not told. [`Registry::settled`] waits for it.
    async fn to_the_end<T, E>(&self, work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Fault> + Send + 'static,
    {
        let done = self.work.spawn(work).await;
        done.unwrap_or_else(|died| Err(Fault::from(StoreError::Unavailable(Box::new(died))).into()))
    }

    /// Waits until no change is under way that nobody waits for.
    pub(crate) async fn settled(&self) {
        self.work.close();
        self.work.wait().await;
    }

    async fn row<T: DeserializeOwned>(&self, bucket: Bucket, key: &str) -> Result<Option<(T, u64)>, Fault> {
        match self.store.find(bucket, key).await? {
            Some(Entry { value, revision }) => Ok(Some((record::decode(&value)?, revision))),
            None => Ok(None),
        }
    }

    async fn write<T: Serialize>(&self, bucket: Bucket, key: &str, row: &T, expected: Expected) -> Result<u64, Fault> {
        let value = record::encode(row)?;
        Ok(self.store.put(bucket, key, value, expected).await?)
    }

    /// Writes the row unless there is one already.
    async fn write_once<T: Serialize>(&self, bucket: Bucket, key: &str, row: &T) -> Result<(), Fault> {
        match self.write(bucket, key, row, Expected::Absent).await {
            Err(fault) if fault.is_conflict() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// What the row must still be for a change that was thought out on it.
fn unchanged(revision: Option<u64>) -> Expected {
    revision.map_or(Expected::Absent, Expected::Revision)
}
