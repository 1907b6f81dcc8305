//! Devices that ask to pair by PIN while a code is shown: one without a camera need not scan it.

use couplet_protocol::api::{Event, EventKind, PinRequest};
use couplet_protocol::{MatchNumber, Pin};
use uuid::Uuid;

use super::ceremony::{Asking, asking};
use crate::output::{plain, quoted};
use crate::select;

/// How many characters of a device's name there is room for.
const NAME: usize = 24;

/// Those that ask, oldest first. The host bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct Pins(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    pairing: Uuid,
    device: Asking,
    /// None once it was typed and the device shows a check code instead.
    pin: Option<Pin>,
    number: Option<MatchNumber>,
    sealed: bool,
}

impl Pins {
    /// Those that asked before.
    pub(super) fn new(requests: Vec<PinRequest>) -> Self {
        let waiting = |request: PinRequest| Waiting {
            pairing: request.id,
            device: Asking {
                name: request.device_name,
                model: request.device_model,
                platform: request.platform,
                network: request.network,
                ..Asking::default()
            },
            pin: Some(request.pin),
            number: Some(request.match_number),
            sealed: request.sealed,
        };
        Pins(requests.into_iter().map(waiting).collect())
    }

    /// Something happened on the host: the device that is paired by it.
    pub(super) fn on_event(&mut self, event: &Event) -> Option<Asking> {
        let pairing = event.pairing_id?;
        let at = self.0.iter().position(|waiting| waiting.pairing == pairing);
        match (event.event, at) {
            (EventKind::ApprovalWanted, None) => {
                let pin = Some(event.pin.clone()?);
                let (device, number, sealed) = (asking(event), event.match_number, event.sealed);
                self.0.push(Waiting { pairing, device, pin, number, sealed });
                None
            }
            (EventKind::ApprovalWanted, Some(at)) => {
                self.0[at].pin.clone_from(&event.pin);
                None
            }
            (EventKind::DevicePaired, Some(at)) => Some(self.0.remove(at).device),
            (EventKind::OfferExpired | EventKind::PairingRejected, Some(at)) => {
                self.0.remove(at);
                None
            }
            _ => None,
        }
    }

    /// Whether the event is about one of them.
    pub(super) fn is_theirs(&self, event: &Event) -> bool {
        event.pin.is_some() || self.0.iter().any(|waiting| Some(waiting.pairing) == event.pairing_id)
    }

    /// What the owner is told in a line when this device shows a check code: its PIN was typed.
    pub(super) fn code_wanted(&self, event: &Event) -> Option<String> {
        self.0.iter().find(|waiting| Some(waiting.pairing) == event.pairing_id).map(Waiting::code_wanted)
    }

    /// What the owner is told of those that ask, in a line. Where several do, it shows no PIN: a stranger's would be typed
    /// on the owner's device as soon as the stranger came first.
    pub(super) fn line(&self) -> Option<String> {
        let first = self.0.first()?;
        if self.0.len() > 1 {
            let n = self.0.len();
            return Some(format!("{n} devices ask to pair by PIN. Which is yours, and its PIN: couplet approve"));
        }
        let name = first.name();
        let said = match &first.pin {
            Some(pin) => {
                let from = first.device.network.as_deref().map(|ip| format!(" at {}", plain(ip))).unwrap_or_default();
                let number = first.number.map(|number| format!(" that shows {number}")).unwrap_or_default();
                let plainly = if first.sealed { "" } else { ", unencrypted" };
                format!("Type {} on the device{from}{number} (“{name}”{plainly}).", pin.show())
            }
            None => return Some(first.code_wanted()),
        };
        Some(format!("{said} Not yours? couplet reject {}", select::short(first.pairing)))
    }
}

impl Waiting {
    fn name(&self) -> String {
        plain(&self.device.name).chars().take(NAME).collect()
    }

    fn code_wanted(&self) -> String {
        let id = select::short(self.pairing);
        format!("“{}” shows six digits: couplet approve {} DIGITS", self.name(), quoted(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ceremony::tests::event;
    use super::*;

    fn asks(id: u128, pin: &str) -> Event {
        let match_number = MatchNumber::try_from("471".to_owned()).ok();
        Event { pin: Pin::parse(pin).ok(), match_number, ..event(EventKind::ApprovalWanted, id) }
    }

    #[test]
    fn one_is_shown_with_its_pin_and_several_are_counted() {
        let mut pins = Pins::default();
        assert_eq!(pins.on_event(&event(EventKind::ApprovalWanted, 9)), None, "another door's");
        assert_eq!(pins.line(), None);
        pins.on_event(&asks(1 << 100, "012345"));
        let line = pins.line().unwrap();
        assert_eq!(
            line,
            "Type 012 345 on the device at 192.168.1.7 that shows 471 (“iPad”, unencrypted). Not yours? couplet reject \
             00000010"
        );
        pins.on_event(&asks(2, "999999"));
        let two = pins.line().unwrap();
        assert!(two.starts_with("2 devices") && !two.contains("012") && two.contains("couplet approve"), "{two}");
        pins.on_event(&event(EventKind::OfferExpired, 2));
        assert_eq!(pins.line().unwrap(), line);
        assert!(pins.is_theirs(&event(EventKind::DevicePaired, 1 << 100)));
        assert_eq!(pins.on_event(&event(EventKind::DevicePaired, 1 << 100)).unwrap().name, "iPad");
        assert_eq!(pins.line(), None);
    }

    #[test]
    fn a_device_that_shows_a_check_code_next_is_let_in_by_that() {
        let mut pins = Pins::default();
        pins.on_event(&asks(1, "012345"));
        pins.on_event(&Event { check_code: true, ..event(EventKind::ApprovalWanted, 1) });
        assert!(pins.line().unwrap().contains("couplet approve 00000000 DIGITS"));
    }

    #[test]
    fn a_name_does_not_draw_and_does_not_fill_the_line() {
        let mut pins = Pins::default();
        let name = format!("\x1b[2J{}", "x".repeat(60));
        pins.on_event(&Event { device_name: Some(name), ..asks(1, "012345") });
        let line = pins.line().unwrap();
        assert!(!line.contains('\x1b') && line.len() < 140, "{line}");
    }
}
