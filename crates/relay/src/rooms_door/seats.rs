//! Who sits in which room. A seat is where the messages for one socket go; taking it away ends the socket.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use couplet_protocol::RoomId;
use tokio::sync::{mpsc, oneshot};

use super::Outgoing;
use super::message::{Hints, Refusal, Reply};
use crate::host::HostId;
use crate::quota::Quota;

/// How many messages may wait for a socket to take them. One more is in the hands of the task that writes.
const WAITING: usize = 1;

/// Names a seat; no two of a relay's life are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SeatId(u64);

/// What a socket's writing half is given.
#[derive(Debug)]
pub(super) enum Delivery {
    /// One of the door's own messages.
    Own(Outgoing),
    /// A device has sat down: from now on what it sends counts.
    Peer(SeatId, Outgoing),
    /// What the other end sent, from this seat.
    Bytes(SeatId, Bytes),
}

/// Where messages for a socket go.
pub(super) type Inbox = mpsc::Sender<Delivery>;

/// Both ends of a socket's seat.
pub(super) struct Place {
    pub(super) inbox: Inbox,
    pub(super) mail: mpsc::Receiver<Delivery>,
    pub(super) end: oneshot::Receiver<Refusal>,
    take: oneshot::Sender<Refusal>,
    quota: Option<Arc<Quota>>,
}

impl Place {
    /// What passes between this socket and the one beside it is charged to `quota`, whichever of them sends.
    pub(super) fn new(quota: Option<Arc<Quota>>) -> Self {
        let (inbox, mail) = mpsc::channel(WAITING);
        let (take, end) = oneshot::channel();
        Place { inbox, mail, end, take, quota }
    }

    /// What the room keeps of it, and what the socket does.
    pub(super) fn split(self) -> (Keeps, mpsc::Receiver<Delivery>, oneshot::Receiver<Refusal>) {
        (Keeps { inbox: self.inbox, take: self.take, quota: self.quota }, self.mail, self.end)
    }
}

/// The room's side of a seat.
pub(super) struct Keeps {
    pub(super) inbox: Inbox,
    take: oneshot::Sender<Refusal>,
    quota: Option<Arc<Quota>>,
}

/// The other end of a room, as one end needs it.
pub(super) struct Beside {
    pub(super) inbox: Inbox,
    /// What is charged for bytes between the two besides one's own.
    pub(super) quota: Option<Arc<Quota>>,
}

impl Keeps {
    fn beside(&self) -> Beside {
        Beside { inbox: self.inbox.clone(), quota: self.quota.clone() }
    }
}

struct Seat {
    id: SeatId,
    keeps: Keeps,
    hints: Hints,
}

impl Seat {
    fn end(self, why: Refusal) {
        // A socket that has gone by itself needs no word.
        let _ = self.keeps.take.send(why);
    }
}

struct Table {
    owner: HostId,
    host: Seat,
    device: Option<Seat>,
}

impl Table {
    fn end(self, why_host: Refusal, why_device: Refusal) {
        self.host.end(why_host);
        if let Some(device) = self.device {
            device.end(why_device);
        }
    }
}

/// All rooms that are open at this door.
pub(super) struct Seats {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    rooms: HashMap<RoomId, Table>,
    last: u64,
    draining: bool,
}

impl Open {
    fn next(&mut self) -> SeatId {
        self.last += 1;
        SeatId(self.last)
    }
}

impl Seats {
    pub(super) fn new(most: usize) -> Self {
        Seats { most, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.open().rooms.len()
    }

    /// A host sits down in its room. Its older socket there ends, and so does the device that was with that one.
    pub(super) fn seat_host(&self, owner: HostId, room: RoomId, keeps: Keeps, hints: Hints) -> Result<SeatId, Refusal> {
        let mut open = self.open();
        if open.draining {
            return Err(Refusal::RoomClosed);
        }
        if open.rooms.len() >= self.most && !open.rooms.contains_key(&room) {
            return Err(Refusal::TooManyRooms);
        }
        let id = open.next();
        let table = Table { owner, host: Seat { id, keeps, hints }, device: None };
        let before = open.rooms.insert(room, table);
        drop(open);
        if let Some(before) = before {
            before.end(Refusal::Replaced, Refusal::PeerLeft);
        }
        Ok(id)
    }

    /// The host says something new of itself; who joins from now on hears it.
    pub(super) fn update_host(&self, room: RoomId, seat: SeatId, hints: Hints) {
        if let Some(table) = self.open().rooms.get_mut(&room).filter(|table| table.host.id == seat) {
            table.host.hints = hints;
        }
    }

    pub(super) fn has_host(&self, room: RoomId, owner: HostId) -> bool {
        self.open().rooms.get(&room).is_some_and(|table| table.owner == owner)
    }

    /// A device sits down beside the host; an older one ends. It has `room_joined` in its inbox then, before anything that the
    /// host sends. Answers the host's end, for `peer_joined`.
    pub(super) fn seat_device(
        &self,
        owner: HostId,
        room: RoomId,
        keeps: Keeps,
        hints: Hints,
    ) -> Result<(SeatId, Beside), Refusal> {
        let mut open = self.open();
        if open.draining {
            return Err(Refusal::RoomClosed);
        }
        let id = open.next();
        let table = open.rooms.get_mut(&room).filter(|table| table.owner == owner).ok_or(Refusal::HostOffline)?;
        let joined = Reply::RoomJoined { room_id: room, hints: &table.host.hints }.to_message();
        // The inbox is new, so there is room for one.
        keeps.inbox.try_send(Delivery::Own(joined)).map_err(|_| Refusal::Unavailable)?;
        let host = table.host.keeps.beside();
        let before = table.device.replace(Seat { id, keeps, hints });
        drop(open);
        if let Some(before) = before {
            before.end(Refusal::Replaced);
        }
        Ok((id, host))
    }

    /// The device that is with this host now.
    pub(super) fn device_of(&self, room: RoomId, host: SeatId) -> Option<Beside> {
        let open = self.open();
        let table = open.rooms.get(&room).filter(|table| table.host.id == host)?;
        table.device.as_ref().map(|device| device.keeps.beside())
    }

    /// A socket has gone. When it is the host's, the device goes as well.
    pub(super) fn leave(&self, room: RoomId, seat: SeatId) {
        let mut open = self.open();
        let draining = open.draining;
        let Some(table) = open.rooms.get_mut(&room) else { return };
        let is_device = table.device.as_ref().is_some_and(|device| device.id == seat);
        if is_device {
            table.device = None;
        }
        if table.host.id == seat || (is_device && draining) {
            let table = open.rooms.remove(&room);
            drop(open);
            if let Some(table) = table {
                table.end(Refusal::RoomClosed, Refusal::PeerLeft);
            }
        }
    }

    /// Nobody sits down any more, and rooms in which a host sits alone close, now or later.
    pub(super) fn drain(&self) {
        self.open().draining = true;
        self.clear_where(|table| table.device.is_none());
    }

    pub(super) fn clear(&self, room: RoomId) {
        let table = self.open().rooms.remove(&room);
        if let Some(table) = table {
            table.end(Refusal::RoomClosed, Refusal::RoomClosed);
        }
    }

    pub(super) fn clear_host(&self, host: HostId) {
        self.clear_where(|table| table.owner == host);
    }

    pub(super) fn clear_all(&self) {
        self.clear_where(|_| true);
    }

    fn clear_where(&self, ends: impl Fn(&Table) -> bool) {
        let ended: Vec<Table> = self.open().rooms.extract_if(|_, table| ends(table)).map(|(_, table)| table).collect();
        for table in ended {
            table.end(Refusal::RoomClosed, Refusal::RoomClosed);
        }
    }
}

/// A seat as long as its socket lives.
pub(super) struct Seated<'a> {
    pub(super) seats: &'a Seats,
    pub(super) room: RoomId,
    pub(super) id: SeatId,
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        self.seats.leave(self.room, self.id);
    }
}
