//! Devices that come in a sealed session: their handshake has proven who they are, and the session is looked up anew
//! for each request, so that a new name or a revocation counts at once.

use std::sync::Arc;

use couplet_protocol::PublicKey;
use couplet_protocol::api::NetworkPath;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::secret::Psk;
use uuid::Uuid;

use super::{Authenticator, Key, unknown};
use crate::problem::Failure;
use crate::session::Session;
use crate::store::devices::{self, DeviceRow};

/// A device that an M1 names: what its handshake needs. Nothing proves yet that it is there.
#[derive(Clone, Debug)]
pub(crate) struct SealedDevice {
    pub(crate) id: Uuid,
    pub(crate) psk: Psk,
    pub(crate) key: PublicKey,
}

impl Authenticator {
    /// The device with this `psk_id`, revoked or not: a revoked one is told so once it has proven who it is.
    pub(crate) async fn sealed_device(&self, psk_id: [u8; 8]) -> Result<Option<SealedDevice>, Failure> {
        let found = self.0.store.read(move |tx| devices::by_psk_id(tx, &psk_id)).await?;
        Ok(found.map(|(row, secrets)| SealedDevice {
            id: row.device.device_id,
            psk: secrets.psk,
            key: secrets.device_key,
        }))
    }

    /// The device says that it has stored its grant.
    pub(crate) async fn acknowledged(&self, device: Uuid) -> Result<(), Failure> {
        match self.0.store.read(move |tx| devices::by_id(tx, device)).await? {
            Some(row) => self.first_use(&row).await,
            None => Err(unknown()),
        }
    }

    /// Lets a device in that has proven who it is; `Ok(Err)` says why it may not come in. Its first coming shows that
    /// its grant has arrived.
    pub(crate) async fn let_in(
        &self,
        device: Uuid,
        path: NetworkPath,
    ) -> Result<Result<Arc<Session>, CloseCode>, Failure> {
        loop {
            let known = self.read().sessions.get(&Key::Sealed(device)).cloned();
            if let Some(session) = known {
                session.came_by(path);
                session.seen(self.now());
                return Ok(Ok(session));
            }
            let generation = self.generation();
            let found = self.0.store.read(move |tx| devices::by_id(tx, device)).await?;
            let row = match found {
                Some(row) if row.revoked_at.is_none() => row,
                // Revoked, or granted and not used in time; either way it is not paired, and nothing brings it back.
                _ => return Ok(Err(CloseCode::Revoked)),
            };
            if self.is_over(&row) {
                return Ok(Err(CloseCode::Expired));
            }
            if row.unused_until.is_some() {
                match self.first_use(&row).await {
                    Ok(()) => {}
                    Err(failure) if failure.code().status() == 401 => return Ok(Err(CloseCode::Revoked)),
                    Err(failure) => return Err(failure),
                }
            }
            if let Some(session) = self.remember(Key::Sealed(device), generation, row, path) {
                return Ok(Ok(session));
            }
            // Something about the devices changed meanwhile: look again.
        }
    }

    /// The session of a device that was let in, for its next request. None: something about it has changed since, and
    /// what it has open ends. Never waits.
    pub(crate) fn session_of(&self, device: Uuid) -> Option<Arc<Session>> {
        let session = self.read().sessions.get(&Key::Sealed(device)).cloned()?;
        session.seen(self.now());
        Some(session)
    }

    pub(super) fn is_over(&self, row: &DeviceRow) -> bool {
        row.ended || row.expires_at.is_some_and(|end| self.now() >= end)
    }
}
