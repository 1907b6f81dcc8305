//! How many wrong PINs count before none does any more. In memory: a restart is an act of the owner.
//!
//! Who guesses from many addresses can use up what all have together. That takes the PIN from those who would type it, and
//! not the way in: a request waits on, and its owner lets it in by its number, as if no PIN had been shown.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_protocol::Code;

use crate::clock::Timestamp;
use crate::problem::Failure;

/// How many wrong PINs may come from one source in an hour: two requests' worth.
const OF_SOURCE: usize = 6;
const HOUR: Duration = Duration::from_secs(3600);
/// How many in a day from everybody, unless the owner lets a device in meanwhile: with one in a million for each, who
/// guesses for a year while nobody looks is right with a chance of one in a hundred.
const OF_ALL: usize = 24;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The wrong PINs of the last day: when, and from which source. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct PinTries(Arc<Mutex<VecDeque<(Timestamp, IpAddr)>>>);

impl PinTries {
    /// Whether a PIN from this source is looked at now.
    ///
    /// # Errors
    /// Too many were wrong; when one is looked at again.
    pub(super) fn check(&self, source: IpAddr, now: Timestamp) -> Result<(), Failure> {
        let mut wrong = self.wrong();
        wrong.retain(|(at, _)| at.after(DAY) > now);
        let mut of_source = wrong.iter().filter(|(at, from)| *from == source && at.after(HOUR) > now);
        let until = match (of_source.clone().count() >= OF_SOURCE, wrong.len() >= OF_ALL) {
            (true, _) => of_source.next().map(|(at, _)| at.after(HOUR)),
            (false, true) => wrong.front().map(|(at, _)| at.after(DAY)),
            (false, false) => None,
        };
        let Some(until) = until else { return Ok(()) };
        let seconds = now.until(until).as_secs() + 1;
        let next = format!(
            "Too many PINs were wrong lately. This request waits on: its owner can let it in without a PIN, by the number \
             that the device shows (couplet approve), or show a code to scan instead (couplet pair). PINs count again \
             in {seconds} seconds."
        );
        Err(Failure::new(Code::RateLimited, next).retry_after(seconds))
    }

    /// One was wrong.
    pub(super) fn failed(&self, source: IpAddr, now: Timestamp) {
        let mut wrong = self.wrong();
        if wrong.len() >= OF_ALL {
            wrong.pop_front();
        }
        wrong.push_back((now, source));
    }

    /// The owner has looked at what waits and let a device in: what was wrong before counts no more. A no is not enough,
    /// nor is a new code: who guesses could bring about the one, and a page that renews its code does the other.
    pub(super) fn owner_let_in(&self) {
        self.wrong().clear();
    }

    fn wrong(&self) -> MutexGuard<'_, VecDeque<(Timestamp, IpAddr)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000).after(HOUR * u32::try_from(hours).unwrap())
    }

    fn from(last: u8) -> IpAddr {
        [192, 168, 1, last].into()
    }

    fn fail(tries: &PinTries, last: u8, times: usize, now: Timestamp) -> usize {
        let one = || tries.check(from(last), now).map(|()| tries.failed(from(last), now)).is_ok();
        (0..times).filter(|_| one()).count()
    }

    #[test]
    fn one_source_does_not_use_up_what_others_have() {
        let tries = PinTries::default();
        assert_eq!(fail(&tries, 1, 100, at(0)), OF_SOURCE);
        assert_eq!(tries.check(from(1), at(0)).unwrap_err().code(), Code::RateLimited);
        assert!(tries.check(from(2), at(0)).is_ok() && tries.check(from(1), at(1)).is_ok());
    }

    #[test]
    fn while_nobody_looks_few_are_looked_at_in_a_day() {
        let tries = PinTries::default();
        let looked_at: usize =
            (0..24).map(|hour| (0..40).map(|last| fail(&tries, last, 3, at(hour))).sum::<usize>()).sum();
        assert_eq!(looked_at, OF_ALL);
        assert!(tries.check(from(99), at(23)).is_err() && tries.check(from(99), at(24)).is_ok());
        assert_eq!(fail(&tries, 1, 3, at(24)), 3);
        tries.owner_let_in();
        assert!(tries.check(from(1), at(24)).is_ok());
    }
}
