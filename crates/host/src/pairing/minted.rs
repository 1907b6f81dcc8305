//! Credentials that are made before the transaction that stores them, because bcrypt is slow.

use couplet_protocol::api::{DeviceCredential, DeviceKind};
use couplet_protocol::{BearerToken, DeviceModel, DeviceName, DeviceToken, Digest};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::hasher::Hasher;
use crate::problem::Failure;
use crate::session::Device;
use crate::store::devices::NewDevice;

/// A device's credential, with what is stored of it.
pub(super) struct Minted {
    pub(super) token: Zeroizing<String>,
    selector: String,
    hash: String,
    pub(super) id: Uuid,
}

impl Minted {
    /// A `dev_…` token.
    pub(super) async fn device(hasher: &Hasher) -> Result<Minted, Failure> {
        Self::device_with(crate::random::uuid(), hasher).await
    }

    /// The same for a device with this id.
    pub(super) async fn device_with(id: Uuid, hasher: &Hasher) -> Result<Minted, Failure> {
        let token = DeviceToken::from_entropy(crate::random::bytes());
        Ok(Minted { id, ..Self::make(token.expose(), token.digest(), hasher).await? })
    }

    /// A credential of `GET /pair`.
    pub(super) async fn bearer(token: &BearerToken, hasher: &Hasher) -> Result<Minted, Failure> {
        Self::make(token.expose(), token.digest(), hasher).await
    }

    async fn make(token: &str, digest: Digest, hasher: &Hasher) -> Result<Minted, Failure> {
        let hash = hasher.hash(token).await?;
        let token = Zeroizing::new(token.to_owned());
        Ok(Minted { token, selector: digest.selector(), hash, id: crate::random::uuid() })
    }

    /// The row of the device that gets it.
    pub(super) fn row(&self, name: DeviceName, model: Option<DeviceModel>, pairing: Uuid) -> NewDevice {
        NewDevice {
            device: Device { device_id: self.id, device_name: name, device_model: model },
            kind: DeviceKind::Mobile,
            token_hash: self.hash.clone(),
            token_selector: Some(self.selector.clone()),
            unused_until: None,
            pairing_id: Some(pairing),
            platform: None,
            sealed: None,
            signing_key: None,
        }
    }

    /// As a plain door hands it out.
    pub(super) fn credential(&self, server_name: &str) -> DeviceCredential {
        DeviceCredential {
            device_token: self.token.to_string(),
            device_id: self.id,
            server_name: server_name.to_owned(),
        }
    }
}
