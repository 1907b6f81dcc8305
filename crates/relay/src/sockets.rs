//! How many connections are open, in all and of each source. A place is taken before anything is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::source::Network;

/// Lets the process have as many connections as the system lets it: shells and services are given 1,024 by default, for
/// old programs that cannot do with more (systemd.exec(5), LimitNOFILE).
pub(crate) fn allow_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(target: "couplet::relay", %error, "the limit of open files stays");
    }
}

/// The places of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: usize,
    most_of_source: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    networks: HashMap<Network, u32>,
}

impl Sockets {
    pub(crate) fn new(most: usize, most_of_source: u32) -> Self {
        Sockets(Arc::new(Inner { most, most_of_source, taken: Mutex::default() }))
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Socket> {
        let mut taken = self.0.taken();
        let is_full = |(network, times): (Network, u32)| {
            let most = self.0.most_of_source.saturating_mul(times);
            taken.networks.get(&network).is_some_and(|count| *count >= most)
        };
        if taken.all >= self.0.most || Network::around(peer).any(is_full) {
            return None;
        }
        for (network, _) in Network::around(peer) {
            *taken.networks.entry(network).or_default() += 1;
        }
        taken.all += 1;
        drop(taken);
        Some(Socket { places: self.clone(), peer, known: AtomicBool::new(false) })
    }

    /// How many are taken.
    pub(crate) fn count(&self) -> usize {
        self.0.taken().all
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Socket {
    places: Sockets,
    peer: IpAddr,
    known: AtomicBool,
}

impl Socket {
    /// The peer has said who it is, or has what lets it in: it no longer counts for its source, which may be a whole data
    /// centre of hosts, or an office.
    pub(crate) fn known(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            self.places.0.taken().leave(self.peer);
        }
    }
}

impl Taken {
    fn leave(&mut self, peer: IpAddr) {
        for (network, _) in Network::around(peer) {
            if let Some(count) = self.networks.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    self.networks.remove(&network);
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken();
        taken.all -= 1;
        if !*self.known.get_mut() {
            taken.leave(self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_does_not_take_all_and_every_place_comes_back() {
        let sockets = Sockets::new(4, 2);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut held = vec![sockets.take(one).unwrap(), sockets.take(one).unwrap()];
        assert!(sockets.take(one).is_none());
        held[0].known();
        held[0].known();
        held.push(sockets.take(one).unwrap());
        held.push(sockets.take(other).unwrap());
        assert!(sockets.take(other).is_none(), "the fifth");
        held.clear();
        assert_eq!((sockets.count(), sockets.0.taken().networks.len()), (0, 0));
    }

    #[test]
    fn one_customer_with_many_networks_does_not_take_all() {
        let sockets = Sockets::new(16_384, 256);
        let from = |customer: u16, network: u16| {
            let address = IpAddr::from([0x2001, 0xdb8, customer, network, 0, 0, 0, 1]);
            std::iter::from_fn(|| sockets.take(address)).collect::<Vec<_>>()
        };
        // All of a /56, then of a /48.
        let held: Vec<_> = (0..300).flat_map(|network| from(1, network)).collect();
        assert_eq!((held.len(), from(1, 300).len()), (2 * 1024, 0));
        let more: Vec<_> = (1..256).flat_map(|network| from(1, network << 8)).collect();
        assert_eq!(held.len() + more.len(), 4096);
        assert_eq!(from(2, 0).len(), 256, "others find a place");
    }
}
