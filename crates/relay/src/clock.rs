//! The relay's clock: wall time that never runs backwards while the relay runs.
//!
//! What has expired must not come back to life because someone set the clock back. So between two readings at
//! least as much time passes as the machine's steady clock says, and a jump forward is believed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Tells the time. Cheap to clone; all clones tell the same.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        let anchor = Mutex::new((Timestamp::now(), Instant::now()));
        Clock::new(move || {
            let mut anchor = anchor.lock().unwrap_or_else(PoisonError::into_inner);
            *anchor = on(*anchor, Timestamp::now(), Instant::now());
            anchor.0
        })
    }

    /// A clock that tells what `now` says.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

fn on((told, at): (Timestamp, Instant), wall: Timestamp, now: Instant) -> (Timestamp, Instant) {
    (wall.max(after(told, now.saturating_duration_since(at))), now)
}

/// So much later, or the end of time.
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration).ok().and_then(|d| time.checked_add(d).ok()).unwrap_or(Timestamp::MAX)
}

/// How long it is until `end`; nothing when it has passed.
pub(crate) fn until(end: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clock that a test turns.
    #[derive(Clone, Debug)]
    pub(crate) struct Turned(Arc<Mutex<Timestamp>>);

    impl Turned {
        pub(crate) fn start() -> Self {
            Turned(Arc::new(Mutex::new(Timestamp::from_second(1_800_000_000).unwrap())))
        }

        pub(crate) fn clock(&self) -> Clock {
            let turned = self.clone();
            Clock::new(move || turned.now())
        }

        pub(crate) fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }

        pub(crate) fn pass(&self, duration: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = after(*now, duration);
        }
    }

    #[test]
    fn a_step_back_neither_stops_nor_turns_the_clock_and_one_forward_is_believed() {
        let (start, second) = (Instant::now(), |s| Timestamp::from_second(s).unwrap());
        let later = on((second(1_000), start), second(0), start + Duration::from_secs(5));
        assert_eq!(later.0, second(1_005));
        assert_eq!(on(later, second(400), start + Duration::from_secs(9)).0, second(1_009));
        assert_eq!(on(later, second(9_000), start + Duration::from_secs(9)).0, second(9_000));
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(after(Timestamp::now(), Duration::MAX), Timestamp::MAX);
        assert_eq!(until(Timestamp::MIN, Timestamp::MAX), Duration::ZERO);
        assert_eq!(until(Timestamp::from_second(7).unwrap(), Timestamp::from_second(2).unwrap()).as_secs(), 5);
    }
}
