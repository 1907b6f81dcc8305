//! A room for those of whom nothing is known yet: when it is full, the oldest goes for the newest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// So many places.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    places: usize,
    /// Oldest first.
    taken: Mutex<VecDeque<(u64, CancellationToken)>>,
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
        let lost = CancellationToken::new();
        let mut taken = self.taken();
        let number = taken.back().map_or(0, |(last, _)| last + 1);
        if taken.len() >= self.0.places
            && let Some((_, oldest)) = taken.pop_front()
        {
            oldest.cancel();
        }
        taken.push_back((number, lost.clone()));
        Place { room: self.clone(), number, lost }
    }

    fn taken(&self) -> MutexGuard<'_, VecDeque<(u64, CancellationToken)>> {
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
            && let Some(at) = taken.iter().position(|(number, _)| *number == self.number)
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
}
