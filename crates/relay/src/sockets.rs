//! How many connections are open, in all and of each source. A place is taken before anything is read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::source::Source;

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
    sources: HashMap<Source, u32>,
}

impl Sockets {
    pub(crate) fn new(most: usize, most_of_source: u32) -> Self {
        Sockets(Arc::new(Inner { most, most_of_source, taken: Mutex::default() }))
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self, peer: IpAddr) -> Option<Socket> {
        let source = Source::of(peer);
        let mut taken = self.0.taken();
        if taken.all >= self.0.most {
            return None;
        }
        let of_source = taken.sources.entry(source).or_default();
        if *of_source >= self.0.most_of_source {
            return None;
        }
        *of_source += 1;
        taken.all += 1;
        drop(taken);
        Some(Socket { places: self.clone(), source, known: false })
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
    source: Source,
    known: bool,
}

impl Socket {
    /// The peer has said who it is: it no longer counts for its source, which may be a whole data centre of hosts.
    pub(crate) fn known(&mut self) {
        if !std::mem::replace(&mut self.known, true) {
            self.places.0.taken().leave(self.source);
        }
    }
}

impl Taken {
    fn leave(&mut self, source: Source) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken();
        taken.all -= 1;
        if !self.known {
            taken.leave(self.source);
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
        assert_eq!((sockets.count(), sockets.0.taken().sources.len()), (0, 0));
    }
}
