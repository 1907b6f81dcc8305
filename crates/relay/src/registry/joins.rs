//! Devices that want into a room.

use std::net::IpAddr;
use std::time::Duration;

use couplet_protocol::RoomId;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{ATTEMPTS, Event, Registry};
use crate::account::Identity;
use crate::host::HostId;
use crate::record::{Fault, Hash, decode};
use crate::room::{Credential, Hint, Mode, Room, Verdict};
use crate::store::{Bucket, Expected, StoreError};

/// What a device asks with.
#[derive(Clone, Debug)]
pub struct Join {
    /// Which room.
    pub room: RoomId,
    /// What should open it.
    pub credential: Credential,
    /// The address that the device comes from.
    pub source: IpAddr,
    /// Who its owner is, if accounts are on and it said so.
    pub account: Option<Identity>,
}

/// A device that is let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Whose room it is.
    pub host: HostId,
    /// Which.
    pub room: RoomId,
    /// What for.
    pub mode: Mode,
    /// What the host said its key is.
    pub public_key: Hint,
    /// The credential that let it in. All rooms of a device have the same.
    pub(crate) by: Hash,
}

/// A device whose credential is right.
#[derive(Clone, Debug)]
pub struct Judged {
    admitted: Admitted,
    /// Whose account it must have as well.
    owner: Option<Identity>,
}

/// Why a device is not let in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Wrong credential, or no such room: nothing tells the two apart.
    #[error("the credential is not valid")]
    Invalid,
    /// The token was right once: it was used, has expired, or its room was removed within the hour.
    #[error("the pairing token was already used")]
    TokenUsed,
    /// The room is locked by failed joins, whatever is presented.
    #[error("the room is locked")]
    Locked {
        /// Until then.
        retry_after: Duration,
    },
    /// Too many joins failed from this source; this one would have failed as well, and counts for nothing.
    #[error("too many failed joins from this network")]
    TooMany {
        /// Until then.
        retry_after: Duration,
    },
    /// The credential is right, the account is another.
    #[error("the room belongs to another account")]
    AccountMismatch {
        /// The host's address, to be shown.
        host_email: Option<String>,
        /// The device's.
        device_email: Option<String>,
    },
    /// The relay's memory gave no answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Registry {
    /// Judges a device. Nothing is used up by it; see [`Registry::use_token`].
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(&self, join: &Join) -> Result<Admitted, JoinError> {
        self.judge(join.room, &join.credential, join.source).await?.admit(join.account.as_ref())
    }

    /// Judges a device's credential alone: whose account it shows is looked at afterwards, as that costs more, and strangers
    /// could have it done without end.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn judge(&self, id: RoomId, credential: &Credential, source: IpAddr) -> Result<Judged, JoinError> {
        let now = self.clock.now();
        let found = self.room_or_decoy(id, now).await?;
        let verdict = found.room.judge(credential, now);
        let locked = match verdict {
            Verdict::Wrong => {
                // A source may be many: who has a credential is let in, whatever the others there (or a web page that
                // one of them has open) have tried. A credential of 256 bits is guessed by nobody.
                if let Some(retry_after) = self.lockout().source_blocked(source, now) {
                    return Err(JoinError::TooMany { retry_after });
                }
                let failed = self.lockout().fail(source, id, found.exists, now);
                if failed.blocked && self.blocks_written.spend((), Instant::now()).is_ok() {
                    tracing::info!(target: "couplet::relay", %source, "source.blocked");
                }
                if failed.newly && found.exists && found.room.is_open() {
                    tracing::info!(target: "couplet::relay", room = %id, host = %found.room.host, "room.locked");
                    self.tell(Event::RoomLocked { host: found.room.host, room: id });
                }
                failed.locked
            }
            Verdict::Used | Verdict::Right(_) => self.lockout().room_locked(id, found.exists, now),
        };
        match (verdict, locked) {
            (_, Some(retry_after)) => Err(JoinError::Locked { retry_after }),
            (Verdict::Wrong, None) => Err(JoinError::Invalid),
            (Verdict::Used, None) => Err(JoinError::TokenUsed),
            (Verdict::Right(mode), None) => judged(id, found.room, mode),
        }
    }

    /// Whether what let the device in would do so still. Its host may remove the room, or change what opens it, at any
    /// time; a session that begins afterwards has to end with those that were open then.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn still_admits(&self, admitted: &Admitted) -> Result<bool, Fault> {
        let Admitted { host, mode, by, .. } = admitted;
        let row = self.row::<Room>(Bucket::Rooms, &admitted.room.to_hex()).await?;
        Ok(row.is_some_and(|(room, _)| match mode {
            _ if room.host != *host => false,
            Mode::Pair => room.takes(by, self.clock.now()),
            Mode::Reconnect => room.is_open() && room.opener(Mode::Reconnect) == Some(*by),
        }))
    }

    /// Uses up the token by which a device was let in: the TermOnMac door's rule, where the first successful join does. Of
    /// several at once one succeeds. Who came by a secret uses nothing.
    ///
    /// # Errors
    /// Someone was faster, the room is gone, or the relay's memory gave no answer.
    pub async fn use_token(&self, admitted: &Admitted) -> Result<(), JoinError> {
        if admitted.mode != Mode::Pair {
            return Ok(());
        }
        let key = admitted.room.to_hex();
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let found = self.row::<Room>(Bucket::Rooms, &key).await?;
            let (room, revision) =
                found.filter(|(room, _)| room.takes(&admitted.by, now)).ok_or(JoinError::TokenUsed)?;
            let used = room.with_token_used(now);
            match self.write(Bucket::Rooms, &key, &used, Expected::Revision(revision)).await {
                Ok(_) => return Ok(()),
                Err(fault) if fault.is_conflict() => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Fault::from(StoreError::Conflict).into())
    }

    /// The room with this id; or one that nothing opens, after as much work.
    async fn room_or_decoy(&self, room: RoomId, now: Timestamp) -> Result<Found, Fault> {
        let entry = self.store.find(Bucket::Rooms, &room.to_hex()).await?;
        let exists = entry.is_some();
        let value = entry.map_or_else(|| self.decoy.clone(), |entry| entry.value);
        let room: Room = decode(&value)?;
        let exists = exists && !room.is_over(now);
        Ok(Found { room, exists })
    }
}

struct Found {
    room: Room,
    exists: bool,
}

fn judged(id: RoomId, room: Room, mode: Mode) -> Result<Judged, JoinError> {
    // Only an open room has a credential that is right.
    let by = room.opener(mode).ok_or(JoinError::TokenUsed)?;
    let public_key = room.public_key.ok_or(JoinError::TokenUsed)?;
    Ok(Judged { admitted: Admitted { host: room.host, room: id, mode, public_key, by }, owner: room.account })
}

impl Judged {
    /// Lets the device in, if this is the room's account, or the room has none.
    ///
    /// # Errors
    /// It is another, or none.
    pub fn admit(self, account: Option<&Identity>) -> Result<Admitted, JoinError> {
        match &self.owner {
            Some(owner) if !account.is_some_and(|account| account.is(owner)) => Err(JoinError::AccountMismatch {
                host_email: owner.email.clone(),
                device_email: account.and_then(|account| account.email.clone()),
            }),
            _ => Ok(self.admitted),
        }
    }
}
