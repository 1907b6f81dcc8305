//! How many changes of one host are under way. A change goes on when the one who asked for it has gone, so that connections
//! alone do not bound them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::TURN;
use crate::host::HostId;
use crate::record::Fault;
use crate::store::StoreError;

/// How many changes of one host are done or wait for others' at a time.
const AT_ONCE: usize = 2;

/// Those of all hosts that change something.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<HostId, Weak<Semaphore>>>);

impl Turns {
    /// Waits for the host's own changes, not for others'.
    pub(super) async fn of(&self, host: HostId) -> Result<OwnedSemaphorePermit, Fault> {
        let own = self.own(host);
        let turn = tokio::time::timeout(TURN, own.acquire_owned()).await;
        let unavailable = |late: Box<dyn std::error::Error + Send + Sync>| StoreError::Unavailable(late);
        Ok(turn.map_err(|late| unavailable(Box::new(late)))?.map_err(|closed| unavailable(Box::new(closed)))?)
    }

    fn own(&self, host: HostId) -> Arc<Semaphore> {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = hosts.get(&host).and_then(Weak::upgrade) {
            return own;
        }
        hosts.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(AT_ONCE));
        hosts.insert(host, Arc::downgrade(&own));
        own
    }
}
