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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    /// The one thread for blocking work is held at a gate, so that the hash cannot be done early.
    #[test]
    fn who_hangs_up_does_not_free_the_permit_early() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let permits = Arc::new(Semaphore::new(1));
            for verify in [false, true] {
                let (open, gate) = std::sync::mpsc::channel::<()>();
                let blocked = tokio::task::spawn_blocking(move || gate.recv());
                let hasher = Hasher::wait(&permits).await.unwrap();
                let answered = match verify {
                    true => hasher.verify("dev_", "$2b$10$".to_owned()).now_or_never().is_some(),
                    false => hasher.hash("dev_").now_or_never().is_some(),
                };
                assert!(!answered, "it waits at the gate");
                drop(hasher);
                assert_eq!(permits.available_permits(), 0, "the work is still to be done");
                open.send(()).unwrap();
                timeout(Duration::from_secs(60), Hasher::wait(&permits)).await.expect("free after the work").unwrap();
                blocked.await.unwrap().unwrap();
            }
        });
    }
}
