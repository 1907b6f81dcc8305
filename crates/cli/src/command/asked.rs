//! What a terminal is told of a device that asks by PIN: `couplet serve` and `couplet pair` say the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use couplet_protocol::api::{Event, EventKind};

use crate::{output, select};

/// How many characters of a device's name a message has room for.
const NAME: usize = 24;

/// How many messages in a minute are of devices that ask by PIN.
const PIN_MESSAGES: usize = 8;
const MINUTE: Duration = Duration::from_secs(60);

/// When the last messages were of devices that ask by PIN. Anyone may ask, and must not push all else off the terminal.
#[derive(Debug, Default)]
pub(super) struct Asked(VecDeque<Instant>);

impl Asked {
    /// The message, or one for all that come too soon after the others, or none.
    pub(super) fn paced(&mut self, text: String, now: Instant) -> Option<String> {
        self.0.retain(|at| now.duration_since(*at) < MINUTE);
        if self.0.len() > PIN_MESSAGES {
            return None;
        }
        self.0.push_back(now);
        let more = || "More devices ask to pair by PIN than are told of here. All of them: couplet approve".to_owned();
        Some(if self.0.len() <= PIN_MESSAGES { text } else { more() })
    }
}

/// The PIN that a device asks for. It is shown on a terminal only: what is kept of a service's messages is no place for it.
pub(super) fn about_pin(event: &Event, is_seen: bool) -> Option<String> {
    let pin = event.pin.as_ref().filter(|_| event.event == EventKind::ApprovalWanted)?;
    // In quotes and not at the beginning: what strangers call themselves must not read as the host's own words.
    let name: String = output::plain(event.device_name.as_deref().unwrap_or_default()).chars().take(NAME).collect();
    let from = event.network.as_deref().map(|ip| format!(" at {}", output::plain(ip))).unwrap_or_default();
    let id = event.pairing_id.map(select::short).unwrap_or_default();
    let number = event.match_number.map(|number| format!(" and shows {number}")).unwrap_or_default();
    let plainly = if event.sealed { "" } else { " It pairs without encryption." };
    Some(match is_seen {
        true => format!(
            "A device{from} asks to pair. Type {} on it. It calls itself “{name}”{number}.{plainly} Not yours? couplet \
             reject {id}",
            pin.show()
        ),
        false => format!(
            "A device{from} asks to pair by PIN: couplet approve shows it. It calls itself “{name}”{number}.{plainly} \
             Not yours? couplet reject {id}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_asks_takes_a_few_lines_in_a_minute() {
        let (mut asked, start) = (Asked::default(), Instant::now());
        let told: Vec<_> = (0..100).filter_map(|_| asked.paced("PIN".to_owned(), start)).collect();
        assert_eq!(told.len(), PIN_MESSAGES + 1);
        assert!(told[PIN_MESSAGES].contains("couplet approve") && told[PIN_MESSAGES - 1] == "PIN", "{told:?}");
        assert_eq!(asked.paced("PIN".to_owned(), start + MINUTE).as_deref(), Some("PIN"));
    }

    #[test]
    fn a_pin_is_told_on_a_terminal_and_nowhere_else() {
        let event = r#"{"id":1,"at":"","event":"approval.wanted","door":"pin","device_name":"iPad\u001b[2J","pin":"012345",
            "match_number":"471","network":"192.168.1.7","pairing_id":"3f2a0000-0000-4000-8000-000000000000"}"#;
        let event: Event = serde_json::from_str(event).unwrap();
        let told = about_pin(&event, true).unwrap();
        let expected = "A device at 192.168.1.7 asks to pair. Type 012 345 on it. It calls itself “iPad[2J” and shows \
                        471. It pairs without encryption. Not yours? couplet reject 3f2a0000";
        assert_eq!(told, expected);
        let logged = about_pin(&event, false).unwrap();
        assert!(!logged.contains("012") && logged.contains("couplet approve"), "{logged}");
        let sealed = about_pin(&Event { sealed: true, ..event.clone() }, true).unwrap();
        assert_eq!(sealed, expected.replace(" It pairs without encryption.", ""));
        let other = Event { pin: None, ..event };
        assert_eq!(about_pin(&other, true), None);
    }
}
