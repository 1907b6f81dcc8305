//! Where one `couplet pair` stands. Pure: events, keys and the time come in, what to do next comes out.

use std::time::{Duration, Instant};

use couplet_protocol::api::{Event, EventKind};
use uuid::Uuid;

/// How often an expired code is replaced by itself. Nobody is there after that.
pub(super) const RENEWALS: u8 = 5;
/// The host's word on expiry is waited for so long; then its clock is not ours, or the event was lost.
const GRACE: Duration = Duration::from_secs(1);

/// A device that asks to come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asking {
    pub(super) name: String,
    pub(super) model: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) network: Option<String>,
    /// The relay that it came through.
    pub(super) relay: Option<String>,
    /// What the owner has typed of the code that the device shows; None when it shows none.
    pub(super) code: Option<Typed>,
}

/// A check code on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) digits: String,
    /// What the host said of the last one.
    pub(super) remark: Option<String>,
}

/// How many digits a check code has.
pub(super) const DIGITS: usize = 6;

/// The stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A code is shown and can be scanned until then.
    Open(Instant),
    /// The host makes no more codes until then.
    Limited(Instant),
    /// The code expired and nobody renewed it.
    Expired,
    /// A device has scanned the code.
    Claimed(Asking),
    /// The owner is asked about it.
    Asked(Asking),
    /// The owner said yes; the device has yet to collect its credential.
    Granted(Asking),
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Paired(Asking),
    /// The same, by its PIN: nobody has used the code.
    ByPin(Asking),
    Rejected(Asking),
    Withdrawn,
    Expired,
    Cancelled,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Make a new code; it takes the place of the one before.
    Generate,
    /// Tell the host yes, with the check code of a device that shows one.
    Approve(Uuid, Option<String>),
    /// Tell the host no.
    Reject(Uuid),
    /// It is over.
    End(Outcome),
}

/// The ceremony.
#[derive(Clone, Debug)]
pub(super) struct Ceremony {
    /// Every offer made here: a device may have scanned the one before just in time.
    ours: Vec<Uuid>,
    current: Uuid,
    /// When the current offer ends.
    until: Instant,
    phase: Phase,
    renewals: u8,
    /// Whether somebody can press a key when the renewals are used up.
    attended: bool,
}

impl Ceremony {
    /// Begins with the first offer.
    pub(super) fn new(offer: Uuid, until: Instant, renewals: u8, attended: bool) -> Self {
        Ceremony { ours: vec![offer], current: offer, until, phase: Phase::Open(until), renewals, attended }
    }

    /// The stage.
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The offer that counts now.
    pub(super) fn current(&self) -> Uuid {
        self.current
    }

    /// Whether the event is about one of our offers.
    pub(super) fn is_ours(&self, event: &Event) -> bool {
        event.pairing_id.is_some_and(|id| self.ours.contains(&id))
    }

    /// A new offer takes the place of the one before.
    pub(super) fn generated(&mut self, offer: Uuid, until: Instant) {
        self.ours.push(offer);
        self.current = offer;
        self.until = until;
        self.phase = Phase::Open(until);
    }

    /// The host makes no new offer yet. A code that can still be scanned stays.
    pub(super) fn limited(&mut self, until: Instant, now: Instant) {
        if !matches!(self.phase, Phase::Open(end) if end > now) {
            self.phase = Phase::Limited(until);
        }
    }

    /// Something happened on the host.
    pub(super) fn on_event(&mut self, event: &Event) -> Step {
        if !self.is_ours(event) {
            return Step::Wait;
        }
        if event.event == EventKind::DevicePaired {
            return Step::End(Outcome::Paired(asking(event)));
        }
        if event.pairing_id != Some(self.current) {
            return Step::Wait;
        }
        match event.event {
            EventKind::OfferClaimed => {
                if matches!(self.phase, Phase::Open(_) | Phase::Limited(_) | Phase::Expired) {
                    self.phase = Phase::Claimed(asking(event));
                }
                Step::Wait
            }
            EventKind::ApprovalWanted => {
                self.phase = Phase::Asked(asking(event));
                Step::Wait
            }
            // By another terminal, or in the dashboard.
            EventKind::PairingApproved => {
                self.phase = Phase::Granted(asking(event));
                Step::Wait
            }
            // The device went away before it was let in.
            EventKind::OfferReleased => {
                self.phase = Phase::Open(self.until);
                Step::Wait
            }
            EventKind::OfferExpired => self.expire(),
            EventKind::PairingRejected => Step::End(match &self.phase {
                Phase::Claimed(device) | Phase::Asked(device) | Phase::Granted(device) => {
                    Outcome::Rejected(device.clone())
                }
                _ => Outcome::Withdrawn,
            }),
            _ => Step::Wait,
        }
    }

    /// Time passed.
    pub(super) fn on_time(&mut self, now: Instant) -> Step {
        match self.phase {
            Phase::Open(until) if now >= until + GRACE => self.expire(),
            Phase::Limited(until) if now >= until => Step::Generate,
            _ => Step::Wait,
        }
    }

    /// A letter or digit was pressed.
    pub(super) fn on_letter(&mut self, letter: char) -> Step {
        if letter.is_ascii_digit()
            && let Some(typed) = self.typed()
        {
            if typed.digits.len() < DIGITS {
                typed.digits.push(letter);
            }
            return Step::Wait;
        }
        match (letter, &self.phase) {
            ('q', _) => Step::End(Outcome::Cancelled),
            ('r', Phase::Open(_) | Phase::Expired) => {
                self.renewals = RENEWALS;
                Step::Generate
            }
            ('y', Phase::Asked(device)) if device.code.is_none() => Step::Approve(self.current, None),
            ('n', Phase::Asked(_)) => Step::Reject(self.current),
            _ => Step::Wait,
        }
    }

    /// The last digit was wrong.
    pub(super) fn on_back(&mut self) {
        if let Some(typed) = self.typed() {
            typed.digits.pop();
        }
    }

    /// The code is typed.
    pub(super) fn on_enter(&mut self) -> Step {
        let current = self.current;
        match self.typed() {
            Some(typed) if typed.digits.len() == DIGITS => {
                Step::Approve(current, Some(std::mem::take(&mut typed.digits)))
            }
            _ => Step::Wait,
        }
    }

    /// The host knows another code.
    pub(super) fn wrong_code(&mut self, remark: String) {
        if let Some(typed) = self.typed() {
            *typed = Typed { digits: String::new(), remark: Some(remark) };
        }
    }

    fn typed(&mut self) -> Option<&mut Typed> {
        match &mut self.phase {
            Phase::Asked(device) => device.code.as_mut(),
            _ => None,
        }
    }

    /// The host took the owner's yes.
    pub(super) fn approved(&mut self) {
        if let Phase::Asked(device) = &self.phase {
            self.phase = Phase::Granted(device.clone());
        }
    }

    /// The host took the owner's no.
    pub(super) fn rejected(&self) -> Step {
        match &self.phase {
            Phase::Asked(device) => Step::End(Outcome::Rejected(device.clone())),
            _ => Step::Wait,
        }
    }

    fn expire(&mut self) -> Step {
        if matches!(self.phase, Phase::Limited(_) | Phase::Expired) {
            return Step::Wait;
        }
        self.phase = Phase::Expired;
        match self.renewals.checked_sub(1) {
            Some(left) => {
                self.renewals = left;
                Step::Generate
            }
            None if self.attended => Step::Wait,
            None => Step::End(Outcome::Expired),
        }
    }
}

pub(super) fn asking(event: &Event) -> Asking {
    Asking {
        name: event.device_name.clone().unwrap_or_else(|| "A device".to_owned()),
        model: event.device_model.clone(),
        platform: event.platform.clone(),
        network: event.network.clone(),
        relay: event.relay.clone(),
        code: event.check_code.then(Typed::default),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn event(kind: EventKind, id: u128) -> Event {
        Event {
            id: 1,
            at: String::new(),
            event: kind,
            pairing_id: Some(Uuid::from_u128(id)),
            door: None,
            device_id: None,
            device_name: Some("iPad".into()),
            device_model: None,
            platform: None,
            network: Some("192.168.1.7".into()),
            path: None,
            relay: None,
            code: None,
            check_code: false,
            pin: None,
            match_number: None,
            sealed: false,
        }
    }

    fn begun(renewals: u8, attended: bool) -> (Ceremony, Instant) {
        let now = Instant::now();
        (Ceremony::new(Uuid::from_u128(1), now + Duration::from_secs(60), renewals, attended), now)
    }

    #[test]
    fn a_scan_pairs_and_names_the_device() {
        let (mut ceremony, _) = begun(RENEWALS, true);
        assert_eq!(ceremony.on_event(&event(EventKind::DevicePaired, 9)), Step::Wait, "another's");
        assert_eq!(ceremony.on_event(&event(EventKind::OfferClaimed, 1)), Step::Wait);
        let Step::End(Outcome::Paired(device)) = ceremony.on_event(&event(EventKind::DevicePaired, 1)) else {
            panic!()
        };
        assert_eq!(device.name, "iPad");
    }

    #[test]
    fn the_code_before_still_counts_when_it_was_scanned_in_time() {
        let (mut ceremony, now) = begun(RENEWALS, true);
        ceremony.generated(Uuid::from_u128(2), now);
        assert_eq!(ceremony.on_event(&event(EventKind::PairingRejected, 1)), Step::Wait, "we withdrew it ourselves");
        assert!(matches!(ceremony.on_event(&event(EventKind::DevicePaired, 1)), Step::End(Outcome::Paired(_))));
    }

    #[test]
    fn an_expired_code_is_replaced_five_times_and_then_waits_for_a_key() {
        let (mut ceremony, now) = begun(RENEWALS, true);
        let late = now + Duration::from_secs(62);
        for id in 0..u128::from(RENEWALS) {
            assert_eq!(ceremony.on_time(now), Step::Wait);
            assert_eq!(ceremony.on_time(late), Step::Generate);
            assert_eq!(ceremony.on_event(&event(EventKind::OfferExpired, 1 + id)), Step::Wait, "already known");
            ceremony.generated(Uuid::from_u128(2 + id), now + Duration::from_secs(60));
        }
        assert_eq!(ceremony.on_event(&event(EventKind::OfferExpired, 6)), Step::Wait);
        assert_eq!(ceremony.phase(), &Phase::Expired);
        assert_eq!(ceremony.on_letter('r'), Step::Generate);
    }

    #[test]
    fn alone_an_expired_code_is_the_end() {
        let (mut ceremony, _) = begun(0, false);
        assert_eq!(ceremony.on_event(&event(EventKind::OfferExpired, 1)), Step::End(Outcome::Expired));
    }

    #[test]
    fn a_claimed_code_does_not_run_out_while_the_owner_is_asked() {
        let (mut ceremony, now) = begun(RENEWALS, true);
        assert_eq!(ceremony.on_letter('y'), Step::Wait, "nobody asks");
        ceremony.on_event(&event(EventKind::OfferClaimed, 1));
        ceremony.on_event(&event(EventKind::ApprovalWanted, 1));
        assert_eq!(ceremony.on_time(now + Duration::from_secs(100)), Step::Wait);
        assert_eq!(ceremony.on_letter('r'), Step::Wait, "a new code would leave the device in front of the door");
        assert_eq!(ceremony.on_letter('y'), Step::Approve(Uuid::from_u128(1), None));
        ceremony.approved();
        assert!(matches!(ceremony.phase(), Phase::Granted(_)));
        assert_eq!(ceremony.on_letter('n'), Step::Wait);
    }

    #[test]
    fn a_yes_that_was_said_elsewhere_counts_here() {
        let (mut ceremony, _) = begun(RENEWALS, true);
        ceremony.on_event(&event(EventKind::ApprovalWanted, 1));
        assert_eq!(ceremony.on_event(&event(EventKind::PairingApproved, 1)), Step::Wait);
        assert!(matches!(ceremony.phase(), Phase::Granted(_)));
        assert_eq!(ceremony.on_letter('y'), Step::Wait, "there is nothing left to say");
    }

    #[test]
    fn a_device_that_shows_a_code_is_let_in_by_it() {
        let (mut ceremony, _) = begun(RENEWALS, true);
        ceremony.on_event(&event(EventKind::OfferClaimed, 1));
        ceremony.on_event(&Event { check_code: true, ..event(EventKind::ApprovalWanted, 1) });
        assert_eq!(ceremony.on_letter('y'), Step::Wait, "a yes alone is not enough");
        for digit in "123459".chars() {
            assert_eq!(ceremony.on_letter(digit), Step::Wait);
        }
        ceremony.on_back();
        assert_eq!(ceremony.on_enter(), Step::Wait, "five digits");
        ceremony.on_letter('6');
        ceremony.on_letter('7');
        let approve = Step::Approve(Uuid::from_u128(1), Some("123456".into()));
        assert_eq!(ceremony.on_enter(), approve);
        ceremony.wrong_code("2 tries are left.".into());
        let Phase::Asked(device) = ceremony.phase() else { panic!() };
        assert_eq!(device.code.as_ref().unwrap().remark.as_deref(), Some("2 tries are left."));
        assert_eq!(ceremony.on_letter('n'), Step::Reject(Uuid::from_u128(1)));
    }

    #[test]
    fn a_device_that_goes_away_leaves_the_code_open() {
        let (mut ceremony, now) = begun(RENEWALS, true);
        ceremony.on_event(&event(EventKind::OfferClaimed, 1));
        ceremony.on_event(&event(EventKind::ApprovalWanted, 1));
        assert_eq!(ceremony.on_event(&event(EventKind::OfferReleased, 1)), Step::Wait);
        assert_eq!(ceremony.phase(), &Phase::Open(now + Duration::from_secs(60)));
    }

    #[test]
    fn a_no_ends_it_whoever_says_it() {
        let (mut ceremony, _) = begun(RENEWALS, true);
        ceremony.on_event(&event(EventKind::ApprovalWanted, 1));
        assert_eq!(ceremony.on_letter('n'), Step::Reject(Uuid::from_u128(1)));
        assert!(matches!(ceremony.rejected(), Step::End(Outcome::Rejected(_))));
        assert!(matches!(ceremony.on_event(&event(EventKind::PairingRejected, 1)), Step::End(Outcome::Rejected(_))));
        let (mut open, _) = begun(RENEWALS, true);
        assert_eq!(open.on_event(&event(EventKind::PairingRejected, 1)), Step::End(Outcome::Withdrawn));
    }

    #[test]
    fn a_limit_waits_and_leaves_a_living_code_alone() {
        let (mut ceremony, now) = begun(RENEWALS, true);
        let later = now + Duration::from_secs(12);
        ceremony.limited(later, now);
        assert!(matches!(ceremony.phase(), Phase::Open(_)));
        ceremony.on_event(&event(EventKind::OfferExpired, 1));
        ceremony.limited(later, now);
        assert_eq!(ceremony.on_time(now), Step::Wait);
        assert_eq!(ceremony.on_time(later), Step::Generate);
    }
}
