//! Invitations and hosts.

use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::secret::EnrollmentSecret;
use futures_util::TryStreamExt;
use jiff::Timestamp;

use super::{ATTEMPTS, Event, Registry};
use crate::clock::{after, until};
use crate::host::{Host, HostId, HostKey, HostRow, Invitation, KeyRow, invitation_key};
use crate::record::{Fault, decode};
use crate::store::{Bucket, Expected, StoreError};

/// A host that was seen within this time is not written down again.
const SEEN_EVERY: Duration = Duration::from_secs(600);

/// Why a host was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// There is no such invitation, or it has expired.
    #[error("there is no such invitation")]
    Invalid,
    /// Another host has used it.
    #[error("the invitation was already used")]
    Used,
    /// The host's key belongs to a host that was revoked.
    #[error("the key belongs to a host that was revoked")]
    Revoked,
    /// The relay's memory gave no answer.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Registry {
    /// Makes an invitation for one host. The store has only a hash of it.
    ///
    /// # Errors
    /// It could not be stored.
    pub async fn invite(&self, valid_for: Duration) -> Result<EnrollmentSecret, Fault> {
        let mut random = [0; EnrollmentSecret::LEN];
        getrandom::fill(&mut random).map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let secret = EnrollmentSecret::new(random);
        let invitation = Invitation { expires_at: after(self.clock.now(), valid_for), used: None };
        self.write(Bucket::Invitations, &invitation_key(&secret), &invitation, Expected::Absent).await?;
        Ok(secret)
    }

    /// Enrols the host with this key by an invitation, once. The same key with the same invitation, or a key that is known,
    /// keeps its host.
    ///
    /// # Errors
    /// See [`RedeemError`]. When several try at once, one gets in.
    pub async fn redeem(self: &Arc<Self>, secret: &EnrollmentSecret, key: HostKey) -> Result<HostId, RedeemError> {
        // Anybody may try: what was made up waits for nobody, and holds nobody up.
        self.invitation(&invitation_key(secret), key).await?;
        let (this, secret) = (Arc::clone(self), secret.clone());
        self.to_the_end(async move { this.enroll(&secret, key).await }).await
    }

    /// The invitation, if it is good for a host with this key.
    async fn invitation(&self, at: &str, key: HostKey) -> Result<(Invitation, u64), RedeemError> {
        let found = self.row::<Invitation>(Bucket::Invitations, at).await?;
        let now = self.clock.now();
        let (invitation, revision) = found.filter(|(i, _)| now < i.expires_at).ok_or(RedeemError::Invalid)?;
        if invitation.used.is_some() && invitation.host_of(key).is_none() {
            return Err(RedeemError::Used);
        }
        Ok((invitation, revision))
    }

    async fn enroll(&self, secret: &EnrollmentSecret, key: HostKey) -> Result<HostId, RedeemError> {
        let _turn = self.turn().await?;
        let at = invitation_key(secret);
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let (invitation, revision) = self.invitation(&at, key).await?;
            if let Some(host) = invitation.host_of(key) {
                return self.admit(host, key, now).await;
            }
            let host = match self.host_of(key).await? {
                Some((_, row)) if row.revoked_at.is_some() => return Err(RedeemError::Revoked),
                Some((host, _)) => host,
                None => HostId::random(),
            };
            let used = invitation.used_by(key, host);
            match self.write(Bucket::Invitations, &at, &used, Expected::Revision(revision)).await {
                Ok(_) => return self.admit(host, key, now).await,
                Err(fault) if fault.is_conflict() => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Err(Fault::from(StoreError::Conflict).into())
    }

    /// The host with this key, unless it is revoked.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn known_host(&self, key: HostKey) -> Result<Option<HostId>, Fault> {
        let host = self.host_of(key).await?;
        Ok(host.filter(|(_, row)| row.revoked_at.is_none()).map(|(id, _)| id))
    }

    /// Whether this key is of a host that was revoked.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn is_key_revoked(&self, key: HostKey) -> Result<bool, Fault> {
        Ok(self.host_of(key).await?.is_some_and(|(_, row)| row.revoked_at.is_some()))
    }

    /// All hosts, in the order of their ids.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn hosts(&self) -> Result<Vec<Host>, Fault> {
        let (mut hosts, mut rows) = (Vec::new(), self.store.list(Bucket::Hosts, None));
        while let Some((key, entry)) = rows.try_next().await? {
            let (Some(id), Ok(row)) = (HostId::parse(&key), decode::<HostRow>(&entry.value)) else {
                tracing::error!(target: "couplet::relay", "a host's row in the store is damaged or newer");
                continue;
            };
            hosts.push(row.shown(id));
        }
        hosts.sort_by_key(|host: &Host| host.id);
        Ok(hosts)
    }

    /// Revokes a host and removes its rooms. Tells whether there was something to revoke.
    ///
    /// # Errors
    /// The relay's memory gave no answer. Once this was answered, the host stays revoked whatever happens.
    pub async fn revoke_host(self: &Arc<Self>, host: HostId) -> Result<bool, Fault> {
        let this = Arc::clone(self);
        self.to_the_end(async move { this.revoke(host).await }).await
    }

    async fn revoke(&self, host: HostId) -> Result<bool, Fault> {
        // First of all, and without waiting for anybody: who holds up others is revoked the more urgently.
        let now = self.clock.now();
        let newly = self
            .change_host(host, |row| match row.revoked_at {
                Some(_) => false,
                None => {
                    row.revoked_at = Some(now);
                    true
                }
            })
            .await?;
        self.tell(Event::HostRevoked { host });
        // What it still had under way is behind us then, and what comes later finds it revoked.
        let _turn = self.turn().await?;
        self.remove_all_rooms(host).await?;
        Ok(newly)
    }

    /// Whether a host may not connect: it is revoked, or unknown.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn is_revoked(&self, host: HostId) -> Result<bool, Fault> {
        let row = self.row::<HostRow>(Bucket::Hosts, &host.to_string()).await?;
        Ok(row.is_none_or(|(row, _)| row.revoked_at.is_some()))
    }

    /// Remembers, to some minutes, that the host was there.
    ///
    /// # Errors
    /// The relay's memory gave no answer.
    pub async fn host_seen(&self, host: HostId, when: Timestamp) -> Result<(), Fault> {
        let news = |row: &HostRow| row.seen_at.is_none_or(|seen| until(when, seen) >= SEEN_EVERY);
        let change = |row: &mut HostRow| {
            let news = news(row);
            if news {
                row.seen_at = Some(when);
            }
            news
        };
        self.change_host(host, change).await.map(drop)
    }

    /// Changes a host's row by comparing and setting. Tells whether there was a row that `change` wanted changed.
    async fn change_host(&self, host: HostId, change: impl Fn(&mut HostRow) -> bool) -> Result<bool, Fault> {
        let key = host.to_string();
        for _ in 0..ATTEMPTS {
            let Some((mut row, revision)) = self.row::<HostRow>(Bucket::Hosts, &key).await? else { return Ok(false) };
            if !change(&mut row) {
                return Ok(false);
            }
            match self.write(Bucket::Hosts, &key, &row, Expected::Revision(revision)).await {
                Ok(_) => return Ok(true),
                Err(fault) if fault.is_conflict() => {}
                Err(fault) => return Err(fault),
            }
        }
        Err(StoreError::Conflict.into())
    }

    async fn host_of(&self, key: HostKey) -> Result<Option<(HostId, HostRow)>, Fault> {
        let Some((KeyRow { host }, _)) = self.row::<KeyRow>(Bucket::HostKeys, &key.key()).await? else {
            return Ok(None);
        };
        let row = self.row::<HostRow>(Bucket::Hosts, &host.to_string()).await?;
        Ok(row.map(|(row, _)| (host, row)))
    }

    /// Writes down a host whose invitation says that it is one. A relay that was killed before it did does it when the host
    /// comes again.
    async fn admit(&self, host: HostId, key: HostKey, now: Timestamp) -> Result<HostId, RedeemError> {
        self.write_once(Bucket::Hosts, &host.to_string(), &HostRow::new(now)).await?;
        self.write_once(Bucket::HostKeys, &key.key(), &KeyRow { host }).await?;
        if self.is_revoked(host).await? { Err(RedeemError::Revoked) } else { Ok(host) }
    }
}
