//! The host's clock: wall time that never runs backwards while the host runs.
//!
//! An offer must not come back to life because someone set the clock back, nor live for ever. So between two
//! readings at least as much time passes as the machine's steady clock says, and a jump forward is believed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long it is until then; nothing when that is over.
    pub(crate) fn until(self, then: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(then.0.saturating_sub(self.0)).unwrap_or_default())
    }

    fn civil(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::MAX)
    }

    /// RFC 3339 in UTC, to the millisecond: what the API shows.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        format!("{:.3}", self.civil())
    }

    /// Reads RFC 3339 with any offset.
    ///
    /// # Errors
    /// The text is no such time.
    pub fn parse_rfc3339(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|t| Timestamp(t.as_millisecond()))
    }

    /// `YYYY-MM-DD HH:MM:SS.mmm` in UTC: what SQLite's own `datetime()` compares with.
    #[must_use]
    pub(crate) fn to_sql(self) -> String {
        self.civil().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    pub(crate) fn from_sql(text: &str) -> Option<Self> {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(Timestamp(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    }
}

#[derive(Debug)]
struct Anchor {
    wall: Timestamp,
    at: Instant,
}

/// The host's clock.
#[derive(Debug)]
pub struct Clock(Mutex<Anchor>);

impl Clock {
    /// A clock that starts at the machine's wall time.
    #[must_use]
    pub fn start() -> Self {
        Clock(Mutex::new(Anchor { wall: wall(), at: Instant::now() }))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, jumped) = read(&anchor, wall(), Instant::now());
        if let Some(jumped) = jumped {
            *anchor = jumped;
        }
        now
    }
}

/// The time, and a new anchor when the wall clock is ahead of the steady one.
fn read(anchor: &Anchor, wall: Timestamp, at: Instant) -> (Timestamp, Option<Anchor>) {
    let steady = anchor.wall.after(at.saturating_duration_since(anchor.at));
    if wall > steady { (wall, Some(Anchor { wall, at })) } else { (steady, None) }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_back_neither_stops_nor_turns_the_clock() {
        let start = Instant::now();
        let anchor = Anchor { wall: Timestamp(1_000_000), at: start };
        let (back, moved) = read(&anchor, Timestamp(0), start + Duration::from_secs(5));
        assert_eq!((back, moved.is_none()), (Timestamp(1_005_000), true));
        let (on, _) = read(&anchor, Timestamp(4_000), start + Duration::from_secs(9));
        assert_eq!(on, Timestamp(1_009_000));
    }

    #[test]
    fn a_step_forward_is_believed() {
        let anchor = Anchor { wall: Timestamp(1_000), at: Instant::now() };
        let (now, moved) = read(&anchor, Timestamp(9_000), anchor.at);
        assert_eq!((now, moved.is_some()), (Timestamp(9_000), true));
    }

    #[test]
    fn times_are_written_as_sqlite_and_rfc_3339_want_them() {
        let time = Timestamp(1_768_046_460_005);
        assert_eq!(time.to_sql(), "2026-01-10 12:01:00.005");
        assert_eq!(time.to_rfc3339(), "2026-01-10T12:01:00.005Z");
        assert_eq!(Timestamp::from_sql(&time.to_sql()), Some(time));
        assert_eq!(Timestamp::from_sql("2026-01-10 12:01:00"), Some(Timestamp(1_768_046_460_000)));
        assert_eq!(Timestamp::parse_rfc3339("2026-01-10T13:01:00.005+01:00").unwrap(), time);
        assert!(Timestamp::parse_rfc3339("tomorrow").is_err());
    }
}
