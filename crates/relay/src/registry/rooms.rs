//! Rooms: registered and removed by their hosts.

use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::RoomId;
use futures_util::TryStreamExt;
use tokio::time::Instant;

use super::{ATTEMPTS, Event, Registry, unchanged};
use crate::host::HostId;
use crate::record::Fault;
use crate::room::{Registration, Room, owned_key, read_owned_key};
use crate::store::{Bucket, Expected, StoreError};

/// How a registration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The room is new.
    Created,
    /// It was there and has changed.
    Updated,
    /// It was there just so.
    Unchanged,
}

/// Why a room was neither registered nor removed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The room is another host's.
    #[error("the room belongs to another host")]
    NotYours,
    /// The host is revoked, or unknown.
    #[error("the host is not enrolled")]
    NotEnrolled,
    /// The host has as many rooms as it may have.
    #[error("the host has as many rooms as it may have")]
    TooManyRooms,
    /// The host changes its rooms too often.
    #[error("the host changes its rooms too often")]
    TooOften {
        /// Until then.
        retry_after: Duration,
    },
    /// Nothing would open the room.
    #[error("neither secret_hash nor pairing_token_hash is given")]
    NoCredential,
    /// The relay's memory gave no answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What stands in the index of a host's rooms.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct OwnedRow {
    /// The room takes devices; otherwise it is what remains of a removed one.
    pub(super) open: bool,
}

impl Registry {
    /// Registers a room, or replaces what it was registered with. A token that was used stays used.
    ///
    /// # Errors
    /// See [`RegisterError`].
    pub async fn register_room(
        self: &Arc<Self>,
        host: HostId,
        room: RoomId,
        wanted: &Registration,
    ) -> Result<Registered, RegisterError> {
        if wanted.secret_hash.is_none() && wanted.pairing_token_hash.is_none() {
            return Err(RegisterError::NoCredential);
        }
        let (this, wanted) = (Arc::clone(self), wanted.clone());
        let own = self.turns.of(host).await?;
        let work = async move {
            let _own = own;
            this.register(host, room, &wanted).await
        };
        self.to_the_end(work).await
    }

    async fn register(&self, host: HostId, room: RoomId, wanted: &Registration) -> Result<Registered, RegisterError> {
        // A host that comes back registers all its rooms, and none has changed: that waits for no other host.
        if self.is_just_so(host, room, wanted).await? {
            return Ok(Registered::Unchanged);
        }
        self.pace(host)?;
        let _turn = self.turn().await?;
        if self.is_revoked(host).await? {
            return Err(RegisterError::NotEnrolled);
        }
        for _ in 0..ATTEMPTS {
            match self.try_register(host, room, wanted).await {
                Err(RegisterError::Fault(fault)) if fault.is_conflict() => {}
                other => return other,
            }
        }
        Err(Fault::from(StoreError::Conflict).into())
    }

    /// Counts a change of this host's.
    fn pace(&self, host: HostId) -> Result<(), RegisterError> {
        self.pace.spend(host, Instant::now()).map_err(|retry_after| RegisterError::TooOften { retry_after })
    }

    async fn is_just_so(&self, host: HostId, room: RoomId, wanted: &Registration) -> Result<bool, RegisterError> {
        let now = self.clock.now();
        let row = self.row::<Room>(Bucket::Rooms, &room.to_hex()).await?;
        let same = row.is_some_and(|(row, _)| {
            row.host == host && !row.is_over(now) && row == Room::registered(host, wanted, Some(&row), now)
        });
        Ok(same && !self.is_revoked(host).await?)
    }

    async fn try_register(
        &self,
        host: HostId,
        room: RoomId,
        wanted: &Registration,
    ) -> Result<Registered, RegisterError> {
        let (key, now) = (room.to_hex(), self.clock.now());
        let (before, revision) = self.row::<Room>(Bucket::Rooms, &key).await?.unzip();
        let before = before.filter(|before| !before.is_over(now));
        if before.as_ref().is_some_and(|before| before.host != host) {
            return Err(RegisterError::NotYours);
        }
        let new = Room::registered(host, wanted, before.as_ref(), now);
        if before.as_ref() == Some(&new) {
            return Ok(Registered::Unchanged);
        }
        let open = before.as_ref().is_some_and(Room::is_open);
        if !open {
            self.make_place(host).await?;
            // The index first: a room that is in no index could never be counted or revoked.
            self.write(Bucket::Owned, &owned_key(host, room), &OwnedRow { open: true }, Expected::Any).await?;
        }
        self.write(Bucket::Rooms, &key, &new, unchanged(revision)).await?;
        Ok(if open { Registered::Updated } else { Registered::Created })
    }

    /// Checks that the host may have one more room.
    async fn make_place(&self, host: HostId) -> Result<(), RegisterError> {
        let most = self.limits.rooms_per_host;
        let mut open = 0;
        let owned = self.owned(host).await?;
        for (_, row) in &owned {
            open += usize::from(row.open);
        }
        // Removed rooms that still answer their token take a row each, so they are bounded as well.
        if open >= most || owned.len() >= most.saturating_mul(2) {
            return Err(RegisterError::TooManyRooms);
        }
        Ok(())
    }

    /// Removes a room of this host, on expiry, grant or revocation; what it carries ends. Its token answers as used for
    /// an hour. Tells whether there was one.
    ///
    /// # Errors
    /// The room is another host's, or the relay's memory gave no answer.
    pub async fn remove_room(self: &Arc<Self>, host: HostId, room: RoomId) -> Result<bool, RegisterError> {
        self.pace(host)?;
        let (this, own) = (Arc::clone(self), self.turns.of(host).await?);
        let work = async move {
            let _own = own;
            let _turn = this.turn().await?;
            this.remove(host, room).await
        };
        self.to_the_end(work).await
    }

    async fn remove(&self, host: HostId, room: RoomId) -> Result<bool, RegisterError> {
        let (key, now) = (room.to_hex(), self.clock.now());
        for _ in 0..ATTEMPTS {
            let Some((row, revision)) = self.row::<Room>(Bucket::Rooms, &key).await? else { return Ok(false) };
            if row.is_over(now) {
                return Ok(false);
            }
            if row.host != host {
                return Err(RegisterError::NotYours);
            }
            if !row.is_open() {
                return Ok(false);
            }
            match self.close(host, room, &row, revision).await {
                Ok(()) => {
                    self.tell(Event::RoomRemoved { host, room });
                    return Ok(true);
                }
                Err(fault) if fault.is_conflict() => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Fault::from(StoreError::Conflict).into())
    }

    async fn close(&self, host: HostId, room: RoomId, row: &Room, revision: u64) -> Result<(), Fault> {
        let (key, index, expected) = (room.to_hex(), owned_key(host, room), Expected::Revision(revision));
        match row.removed(self.clock.now()) {
            Some(rest) => {
                self.write(Bucket::Rooms, &key, &rest, expected).await?;
                self.write(Bucket::Owned, &index, &OwnedRow { open: false }, Expected::Any).await?;
            }
            None => {
                self.store.remove(Bucket::Rooms, &key, expected).await?;
                self.store.remove(Bucket::Owned, &index, Expected::Any).await?;
            }
        }
        Ok(())
    }

    /// Removes all rooms of a host. One that is damaged stays, and stays closed, since nobody can read it.
    pub(super) async fn remove_all_rooms(&self, host: HostId) -> Result<(), Fault> {
        for (room, _) in self.owned(host).await? {
            match self.remove(host, room).await {
                Ok(_) | Err(RegisterError::Fault(Fault::Damaged | Fault::Newer)) => {}
                Err(RegisterError::Fault(fault)) => return Err(fault),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// The index of a host's rooms.
    pub(super) async fn owned(&self, host: HostId) -> Result<Vec<(RoomId, OwnedRow)>, Fault> {
        let host = host.to_string();
        let (mut owned, mut rows) = (Vec::new(), self.store.list(Bucket::Owned, Some(&host)));
        while let Some((key, entry)) = rows.try_next().await? {
            let room = read_owned_key(&key).map(|(_, room)| room);
            // A damaged row counts as an open room: too few places are better than too many.
            let row = crate::record::decode(&entry.value).unwrap_or(OwnedRow { open: true });
            owned.extend(room.map(|room| (room, row)));
        }
        Ok(owned)
    }
}
