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
use tokio::sync::broadcast::error::RecvError;

use self::message::Refusal;
use self::seats::Seats;
use crate::account::{Accounts, Identity};
use crate::host::HostId;
use crate::registry::{Event, Registry};

/// The largest binary message, in bytes.
pub const BINARY_MAX: usize = 64 * 1024;
/// The largest text message, in bytes.
pub const TEXT_MAX: usize = 8 * 1024;
/// How long a socket may be open before it says which room it is for, and how long the last words of one may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many rooms are open here unless the operator says otherwise.
pub const ROOMS_MAX: usize = 4_096;

/// A message of a WebSocket that the door reads. Pings and pongs are none; the end of the stream is the end of the
/// socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// One larger than the listener takes.
    TooLarge,
}

/// What the door sends on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The closing handshake; nothing follows.
    Close {
        /// The status code (RFC 6455, 7.4, or the documented 4003 and 4004).
        code: u16,
        /// What goes with it.
        reason: &'static str,
    },
}

/// The door: who sits in which room.
pub struct RoomsDoor {
    registry: Arc<Registry>,
    accounts: Option<Arc<Accounts>>,
    seats: Seats,
}

impl fmt::Debug for RoomsDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomsDoor")
    }
}

impl RoomsDoor {
    /// A door to the registry's rooms, of which `most` are open at a time.
    #[must_use]
    pub fn new(registry: Arc<Registry>, accounts: Option<Arc<Accounts>>, most: usize) -> Self {
        RoomsDoor { registry, accounts, seats: Seats::new(most) }
    }

    /// Closes the sockets of rooms that were removed and of hosts that were revoked, for ever. Drop it to stop.
    pub async fn follow_registry(self: Arc<Self>) {
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

    /// Closes every socket of a host, and those of the devices that are with it.
    pub fn cut_host(&self, host: HostId) {
        self.seats.clear_host(host);
    }

    /// How many rooms are open here.
    #[must_use]
    pub fn open_rooms(&self) -> usize {
        self.seats.count()
    }

    /// Who the token says that its bearer is. Without accounts nobody asks.
    async fn identity(&self, token: Option<&str>) -> Result<Option<Identity>, Refusal> {
        match (&self.accounts, token) {
            (Some(accounts), Some(token)) => Ok(Some(accounts.verify(token).await?)),
            _ => Ok(None),
        }
    }
}
