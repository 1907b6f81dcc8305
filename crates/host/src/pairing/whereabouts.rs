//! Where devices can reach this host, as devices are told it: numbered, so that they know which list is the newest.

use std::sync::{Arc, Mutex, PoisonError};

use couplet_protocol::Endpoint;

use super::Core;
use crate::problem::Failure;
use crate::store::addresses;

/// A list of addresses and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) list: Vec<Endpoint>,
    pub(crate) serial: u64,
}

/// The last ones, so that the database is asked only when something has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Announced(Arc<Mutex<Option<Whereabouts>>>);

impl Core {
    /// Where this host is now. None while no other machine can reach it: a network that is down for a moment is no
    /// reason for a device to forget where its host was.
    pub(crate) async fn whereabouts(&self) -> Result<Option<Whereabouts>, Failure> {
        let list = self.endpoints();
        let is_far = |endpoint: &Endpoint| match endpoint {
            Endpoint::Lan(address) => !address.ip().is_loopback(),
            Endpoint::Relay(_) => true,
        };
        if !list.iter().any(is_far) {
            return Ok(None);
        }
        if let Some(known) = self.announced.last().filter(|known| known.list == list) {
            return Ok(Some(known));
        }
        let (now, announced) = (self.now(), self.announced.clone());
        let bytes: Vec<u8> = list.iter().flat_map(Endpoint::to_bytes).collect();
        let work = move |tx: &rusqlite::Transaction<'_>| {
            let serial = addresses::number(tx, &bytes, now)?;
            Ok(Whereabouts { list, serial })
        };
        self.store.write(work, move |now| announced.set(now.clone())).await.map(Some)
    }
}

impl Announced {
    fn last(&self) -> Option<Whereabouts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, now: Whereabouts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}
