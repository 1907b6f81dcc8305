//! bcrypt, off the async threads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use crate::problem::Failure;

/// The cost of a device token's bcrypt hash.
const BCRYPT_COST: u32 = 10;

/// The right to run bcrypt; one at a time, so that a flood of first checks costs one core at most. The running hash
/// holds it too: who hangs up meanwhile does not free it early.
pub(crate) struct Hasher(Arc<OwnedSemaphorePermit>);

impl Hasher {
    /// Waits for the permit.
    pub(crate) async fn wait(permits: &Arc<Semaphore>) -> Result<Hasher, Failure> {
        let permit = Arc::clone(permits).acquire_owned().await.map_err(Failure::internal)?;
        Ok(Hasher(Arc::new(permit)))
    }

    /// The hash that is stored of a device's token.
    pub(crate) async fn hash(&self, token: &str) -> Result<String, Failure> {
        let (token, permit) = (Zeroizing::new(token.to_owned()), Arc::clone(&self.0));
        let hash = tokio::task::spawn_blocking(move || {
            let hash = bcrypt::hash(token.as_str(), BCRYPT_COST);
            drop(permit);
            hash
        });
        hash.await.map_err(Failure::internal)?.map_err(Failure::internal)
    }

    /// Whether the token has this hash.
    pub(crate) async fn verify(&self, token: &str, hash: String) -> Result<bool, Failure> {
        let (token, permit) = (Zeroizing::new(token.to_owned()), Arc::clone(&self.0));
        let right = tokio::task::spawn_blocking(move || {
            let right = bcrypt::verify(token.as_str(), &hash);
            drop(permit);
            right
        });
        right.await.map_err(Failure::internal)?.map_err(Failure::internal)
    }
}
