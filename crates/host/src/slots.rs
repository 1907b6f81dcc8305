//! How many connections a listener has, in all and from one source: a single machine must not take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::net;

/// A source's share of all connections.
const SHARE: usize = 8;
/// What a source may have however few there are in all.
const LEAST: usize = 16;

/// The connections of one listener, or of several that share them.
#[derive(Debug)]
pub(crate) struct Slots {
    max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// One entry for each source that has a connection, so `max` bounds it.
    of_source: HashMap<IpAddr, usize>,
}

/// One connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    source: IpAddr,
}

impl Slots {
    /// So many in all.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Slots { max, taken: Mutex::default() })
    }

    /// Takes one for this peer. None: all are taken, or as many as one source may have. This machine's own programs,
    /// a proxy among them, are bounded by the whole only.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let source = net::source_key(peer);
        let share = if source.is_loopback() { self.max } else { (self.max / SHARE).max(LEAST) };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = taken.of_source.get(&source).copied().unwrap_or(0);
        if taken.all >= self.max || of_source >= share {
            return None;
        }
        taken.all += 1;
        taken.of_source.insert(source, of_source + 1);
        Some(Slot { slots: Arc::clone(self), source })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let left = taken.of_source.get(&self.source).map_or(0, |n| n - 1);
        match left {
            0 => drop(taken.of_source.remove(&self.source)),
            n => drop(taken.of_source.insert(self.source, n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_cannot_take_all() {
        let slots = Slots::new(1024);
        let (greedy, other, local) = ("192.168.1.5", "192.168.1.6", "127.0.0.1");
        let take = |ip: &str| slots.take(ip.parse().unwrap());
        let held: Vec<_> = std::iter::from_fn(|| take(greedy)).collect();
        assert_eq!(held.len(), 128);
        assert!(take(other).is_some() && take(local).is_some());
        drop(held);
        assert!(take(greedy).is_some());
        let all: Vec<_> = std::iter::from_fn(|| take(local)).collect();
        assert_eq!(all.len(), 1024);
        assert!(take(other).is_none());
        drop(all);
        assert_eq!(slots.taken.lock().unwrap().of_source.len(), 0, "nothing is left behind");
    }
}
