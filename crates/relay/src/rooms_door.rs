//! Rooms over one WebSocket, as TermOnMac's apps speak it: JSON in text messages to get together, and binary messages
//! that pass to the other end as they are. The same registry and the same checks as everywhere else.
//!
//! One socket is one room. A host takes its place with `register_room`; a device takes the place beside it with `join_room`,
//! and a newer one takes it from an older one. What is said here is only who is there: keys are hints that the ends
//! compare, and the bytes are theirs.
//!
//! Each socket is one task of two halves. One reads the socket and waits until the other end has room, the other
//! writes what the other end sent: so a slow reader slows its sender and nobody else, and the relay holds a few messages of a
//! socket at most.

mod device;
mod host;
mod message;
mod seats;
mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::secret::SecretText;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::message::Refusal;
use self::seats::Seats;
use self::socket::Over;
use crate::account::{Accounts, Identity};
use crate::metrics::Metrics;
use crate::rate::Rates;
use crate::registry::{Event, Registry};

/// The largest binary message, in bytes.
pub(crate) const BINARY_MAX: usize = 64 * 1024;
/// The largest text message, in bytes.
pub(crate) const TEXT_MAX: usize = 8 * 1024;
/// How long a socket may be open before it says which room it is for, and how long the last words of one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a socket is pinged, and after how long a silence it has gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(120);
/// How many rooms are open here unless the operator says otherwise.
pub(crate) const ROOMS_MAX: usize = 4_096;

/// A message of a WebSocket that the door reads. The end of the stream is the end of the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A ping or a pong: somebody is there.
    Alive,
    /// One larger than the listener takes.
    TooLarge,
}

/// What the door sends on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A ping, so that a peer which only listens shows that it is there.
    Ping,
    /// The closing handshake; nothing follows.
    Close {
        /// The status code (RFC 6455, 7.4, or the documented 4003 and 4004).
        code: u16,
        /// What goes with it.
        reason: &'static str,
    },
}

/// The door: who sits in which room.
pub(crate) struct RoomsDoor {
    registry: Arc<Registry>,
    accounts: Option<Arc<Accounts>>,
    seats: Seats,
    /// How often devices join, each by what lets it in.
    joins: Rates<[u8; 32]>,
    metrics: Arc<Metrics>,
    /// Fires when the relay stops.
    stopping: CancellationToken,
    /// The sockets that are served.
    sockets: TaskTracker,
}

impl fmt::Debug for RoomsDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomsDoor")
    }
}

impl RoomsDoor {
    /// A door to the registry's rooms, of which `most` are open at a time.
    #[must_use]
    pub(crate) fn new(
        registry: Arc<Registry>,
        accounts: Option<Arc<Accounts>>,
        most: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (stopping, sockets) = (CancellationToken::new(), TaskTracker::new());
        RoomsDoor {
            registry,
            accounts,
            seats: Seats::new(most),
            joins: Rates::of_devices(),
            metrics,
            stopping,
            sockets,
        }
    }

    /// Closes the sockets of rooms that were removed and of hosts that were revoked, for ever. Drop it to stop.
    pub(crate) async fn follow_registry(self: Arc<Self>) {
        let mut events = self.registry.events();
        loop {
            match events.recv().await {
                Ok(Event::RoomRemoved { room, .. }) => self.seats.clear(room),
                Ok(Event::HostRevoked { host }) => self.seats.clear_host(host),
                Ok(Event::RoomLocked { .. }) => {}
                // Who knows what was missed: those who may come back do.
                Err(RecvError::Lagged(_)) => self.seats.clear_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Rooms in which no device sits close, now or when it leaves; no room opens and no device joins any more.
    pub(crate) fn drain(&self) {
        self.seats.drain();
    }

    /// Closes every socket; each says so to its peer, for so long at most.
    pub(crate) async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        self.sockets.close();
        let _ = tokio::time::timeout(patience, self.sockets.wait()).await;
    }

    /// How many rooms are open here.
    #[must_use]
    pub(crate) fn open_rooms(&self) -> usize {
        self.seats.count()
    }

    /// Why a socket is over: for its own reason, or because the relay stops.
    async fn until_stopped(&self, socket: impl Future<Output = Over>) -> Over {
        self.stopping.run_until_cancelled(socket).await.unwrap_or_else(|| Refusal::RoomClosed.into())
    }

    /// Who the token says that its bearer is. Without accounts nobody asks.
    async fn identity(&self, token: Option<&SecretText>) -> Result<Option<Identity>, Refusal> {
        match (&self.accounts, token) {
            (Some(accounts), Some(token)) => Ok(Some(accounts.verify(token.expose()).await?)),
            _ => Ok(None),
        }
    }
}
