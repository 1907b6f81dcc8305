//! A room for those who have proven nothing yet: when it is full, the oldest goes for the newest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many places one who has said who it is may have.
const EACH: usize = 2;

/// So many places.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: usize,
    /// Oldest first.
    taken: Mutex<VecDeque<Taken>>,
}

#[derive(Debug)]
struct Taken {
    number: u64,
    /// Who it says it is, when it has said so.
    id: Option<[u8; 8]>,
    lost: CancellationToken,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    number: u64,
    lost: CancellationToken,
}

impl Room {
    pub(super) fn new(places: usize) -> Self {
        Room(Arc::new(Inner { places, taken: Mutex::default() }))
    }

    /// Takes a place, from the oldest if need be.
    pub(super) fn enter(&self) -> Place {
        self.take(None)
    }

    /// Takes a place for who says to be this one. Nobody has more than [`EACH`]: who comes again and again takes its own
    /// places, and no others'.
    pub(super) fn enter_as(&self, id: [u8; 8]) -> Place {
        self.take(Some(id))
    }

    fn take(&self, id: Option<[u8; 8]>) -> Place {
        let lost = CancellationToken::new();
        let mut taken = self.taken();
        let number = taken.back().map_or(0, |last| last.number + 1);
        let is_own = |place: &Taken| id.is_some() && place.id == id;
        let leaves = match taken.iter().filter(|place| is_own(place)).count() >= EACH {
            true => taken.iter().position(is_own),
            false => (taken.len() >= self.0.places).then_some(0),
        };
        if let Some(place) = leaves.and_then(|at| taken.remove(at)) {
            place.lost.cancel();
        }
        taken.push_back(Taken { number, id, lost: lost.clone() });
        Place { room: self.clone(), number, lost }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<Taken>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits for the result as long as the place is kept. None: somebody else has it now.
    pub(super) async fn hold<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.lost.run_until_cancelled(work).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        // A number that is free again may have gone to another: only an own, living token is removed.
        if !self.lost.is_cancelled()
            && let Some(at) = taken.iter().position(|place| place.number == self.number)
        {
            taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn is_kept(place: &Place) -> bool {
        place.hold(std::future::pending::<()>()).now_or_never().is_none()
    }

    #[test]
    fn the_newest_takes_the_place_of_the_oldest() {
        let room = Room::new(2);
        let (first, second) = (room.enter(), room.enter());
        assert!(is_kept(&first) && is_kept(&second));
        let third = room.enter();
        assert!(!is_kept(&first) && is_kept(&second) && is_kept(&third));
        drop(first);
        assert!(is_kept(&second) && is_kept(&third), "a lost place frees none");
        drop(second);
        let fourth = room.enter();
        assert!(is_kept(&third) && is_kept(&fourth));
        drop((third, fourth));
        assert_eq!(room.taken().len(), 0);
    }

    #[test]
    fn who_comes_again_and_again_takes_its_own_places() {
        let room = Room::new(4);
        let others = [room.enter_as([1; 8]), room.enter_as([2; 8])];
        let mut own: Vec<Place> = (0..5).map(|_| room.enter_as([9; 8])).collect();
        assert!(others.iter().all(is_kept) && own[3..].iter().all(is_kept) && !own[..3].iter().any(is_kept));
        own.drain(..4);
        let more = [room.enter_as([3; 8]), room.enter_as([4; 8])];
        assert!(!is_kept(&others[0]), "when all are taken the oldest goes, whoever it is");
        assert!(is_kept(&others[1]) && is_kept(&own[0]) && more.iter().all(is_kept));
        assert_eq!(room.taken().len(), 4);
    }
}
