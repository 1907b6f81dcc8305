//! Removes what is over, and sets right what a relay left half done that was killed.

use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::RoomId;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use super::Registry;
use super::rooms::OwnedRow;
use crate::host::{HostId, Invitation};
use crate::record::{Fault, decode};
use crate::room::{Room, owned_key, read_owned_key};
use crate::store::{Bucket, Expected, StoreError};

const EVERY: Duration = Duration::from_secs(3600);

impl Registry {
    /// Sweeps now and every hour, for ever. Drop it to stop.
    pub async fn sweep_hourly(self: Arc<Self>) {
        let mut hours = tokio::time::interval(EVERY);
        loop {
            hours.tick().await;
            if let Err(error) = self.sweep().await {
                tracing::error!(target: "couplet::relay", %error, "the store could not be swept; trying again in an hour");
            }
        }
    }

    /// Removes what is over. Rows that are damaged or of a newer relay stay.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn sweep(&self) -> Result<(), Fault> {
        let now = self.clock.now();
        self.remove_where(Bucket::Invitations, |row: &Invitation| row.expires_at <= now).await?;
        self.finish_revocations().await?;
        self.remove_where(Bucket::Rooms, |room: &Room| room.is_over(now)).await?;
        self.sweep_index(now).await
    }

    /// A relay that was killed while it revoked a host may have left rooms.
    async fn finish_revocations(&self) -> Result<(), Fault> {
        for host in self.hosts().await? {
            if host.revoked_at.is_some() {
                let _turn = self.turn().await?;
                self.remove_all_rooms(host.id).await?;
            }
        }
        Ok(())
    }

    /// Rows of the index whose room is gone, another's, or no longer open.
    async fn sweep_index(&self, now: Timestamp) -> Result<(), Fault> {
        let mut rows = self.store.list(Bucket::Owned, None);
        while let Some((key, _)) = rows.try_next().await? {
            if let Some((host, room)) = read_owned_key(&key) {
                self.correct_index(host, room, now).await?;
            }
        }
        Ok(())
    }

    async fn correct_index(&self, host: HostId, room: RoomId, now: Timestamp) -> Result<(), Fault> {
        let _turn = self.turn().await?;
        let key = owned_key(host, room);
        let Some(found) = self.store.find(Bucket::Owned, &key).await? else { return Ok(()) };
        let row = match self.row::<Room>(Bucket::Rooms, &room.to_hex()).await {
            Err(Fault::Damaged | Fault::Newer) => return Ok(()),
            other => other?,
        };
        match row.filter(|(row, _)| row.host == host && !row.is_over(now)) {
            None => Ok(self.store.remove(Bucket::Owned, &key, Expected::Any).await?),
            Some((row, _)) => {
                let right = decode::<OwnedRow>(&found.value).is_ok_and(|index| index.open == row.is_open());
                if !right {
                    self.write(Bucket::Owned, &key, &OwnedRow { open: row.is_open() }, Expected::Any).await?;
                }
                Ok(())
            }
        }
    }

    async fn remove_where<T: DeserializeOwned>(&self, bucket: Bucket, over: impl Fn(&T) -> bool) -> Result<(), Fault> {
        let mut rows = self.store.list(bucket, None);
        while let Some((key, entry)) = rows.try_next().await? {
            if decode::<T>(&entry.value).is_ok_and(|row| over(&row)) {
                match self.store.remove(bucket, &key, Expected::Revision(entry.revision)).await {
                    // Someone has just changed it: then it is not over.
                    Err(StoreError::Conflict) => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
