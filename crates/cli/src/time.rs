//! Times as people say them.

use jiff::Timestamp;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// `just now`, `5 min ago`, `3 h ago`, `2 days ago`; the date when it is a month or more; text that is no time stays.
pub(crate) fn ago(text: &str, now: Timestamp) -> String {
    let Ok(then) = text.parse::<Timestamp>() else { return crate::output::plain(text) };
    match now.as_second() - then.as_second() {
        // A clock that differs a little must not make a device come from the future.
        seconds if seconds < -MINUTE => date(then),
        seconds if seconds < 10 => "just now".to_owned(),
        seconds if seconds < MINUTE => format!("{seconds} s ago"),
        seconds if seconds < HOUR => format!("{} min ago", seconds / MINUTE),
        seconds if seconds < DAY => format!("{} h ago", seconds / HOUR),
        seconds if seconds < 2 * DAY => "1 day ago".to_owned(),
        seconds if seconds < 30 * DAY => format!("{} days ago", seconds / DAY),
        _ => date(then),
    }
}

/// `2026-01-10`, in UTC; text that is no time stays.
pub(crate) fn day(text: &str) -> String {
    text.parse().map_or_else(|_| crate::output::plain(text), date)
}

/// Seconds from `now` until `text`, none when it is past or no time.
pub(crate) fn seconds_until(text: &str, now: Timestamp) -> u64 {
    let Ok(then) = text.parse::<Timestamp>() else { return 0 };
    let millis = then.as_millisecond().saturating_sub(now.as_millisecond());
    u64::try_from(millis).unwrap_or(0).div_ceil(1000)
}

/// Reads `90s`, `30m`, `12h`, `7d` or `2w` as seconds.
pub(crate) fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration: write a number and s, m, h, d or w, as in 7d");
    let (at, unit) = text.char_indices().last().ok_or_else(wrong)?;
    let number: i64 = text[..at].parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

fn date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_people_say_them() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (then, said) in [
            ("2026-01-31T11:59:55.123Z", "just now"),
            ("2026-01-31T12:00:30Z", "just now"),
            ("2026-01-31T11:59:15Z", "45 s ago"),
            ("2026-01-31T11:55:00Z", "5 min ago"),
            ("2026-01-31T10:00:01+01:00", "2 h ago"),
            ("2026-01-30T11:00:00Z", "1 day ago"),
            ("2026-01-10T12:00:00Z", "21 days ago"),
            ("2025-11-02T12:00:00Z", "2025-11-02"),
            ("2026-02-02T12:00:00Z", "2026-02-02"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(ago(then, now), said, "{then}");
        }
        assert_eq!(day("2026-01-10T12:00:00.5Z"), "2026-01-10");
    }

    #[test]
    fn a_countdown_rounds_up_and_ends_at_zero() {
        let now: Timestamp = "2026-01-31T12:00:00.5Z".parse().unwrap();
        assert_eq!(seconds_until("2026-01-31T12:01:00Z", now), 60);
        assert_eq!(seconds_until("2026-01-31T11:59:00Z", now), 0);
        assert_eq!(seconds_until("soon", now), 0);
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        assert_eq!(parse_span("7d"), Ok(7 * 86_400));
        assert_eq!(parse_span("90s"), Ok(90));
        assert_eq!(parse_span("2w"), Ok(14 * 86_400));
        for text in ["", "d", "7", "-1d", "0h", "7 d", "1y", "9999999999999999w", "7é"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
