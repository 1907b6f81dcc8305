//! The requests by PIN that are not over, in memory: their PINs and numbers, how often a PIN was wrong, and when their
//! devices were heard last. A request that nobody answered ends with the process, and its device asks again.
//!
//! Entries are put in and taken out on the database's thread, right behind the commits that they belong to.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_protocol::secret::SecretText;
use couplet_protocol::{ClaimToken, DeviceModel, DeviceName, DevicePlatform, Digest, MatchNumber, Pin};
use uuid::Uuid;

use super::steps::Claimant;
use crate::clock::Timestamp;
use crate::net::source_key;

/// How many wrong PINs end the request.
const WRONG_MAX: u8 = 3;
/// How long a device may be silent before its request counts as left: those that wait for the owner's word ask every few
/// seconds.
const SILENT: Duration = Duration::from_secs(15);

/// How long a number is not given again once its request is over: an owner may look at a page or a terminal that still
/// shows it.
const NUMBER_RESTS: Duration = Duration::from_secs(300);
/// How long an address that the owner turned away may not ask again: time for others to get the place that it held.
const TURNED_AWAY: Duration = Duration::from_secs(60);
/// How many such addresses are remembered: as many as there are places, some times over.
const TURNED_AWAY_MOST: usize = 256;

/// What the host remembers of the requests that are not over, and of what has just ended. Clones share it; the bound on
/// open claims, how many numbers there are, and [`TURNED_AWAY_MOST`] bound it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pins(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    live: HashMap<Uuid, Live>,
    /// The numbers of those that are over, and until when they rest, oldest first.
    resting: VecDeque<(Timestamp, MatchNumber)>,
    /// From where those came that the owner turned away, and until when they have to wait, oldest first.
    turned_away: VecDeque<(Timestamp, IpAddr)>,
}

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) id: ClaimToken,
    pub(super) pin: Pin,
    pub(super) number: MatchNumber,
    pub(super) device: Described,
    pub(super) expires_at: Timestamp,
    wrong: u8,
    /// When its device was heard last.
    heard: Timestamp,
}

/// By what a request is known to be the same one. All of a network may count as one source, so that is not enough: the
/// secret id is told to the very address that asked, and where the device sent a key of its own, to who has that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    address: IpAddr,
    key: Option<Digest>,
    name: DeviceName,
    model: Option<DeviceModel>,
    platform: Option<DevicePlatform>,
    sealed: bool,
}

/// What came of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    /// So many tries are left.
    Wrong(u8),
    /// None is left.
    Spent,
}

impl Described {
    pub(super) fn of(claimant: &Claimant, key: Option<&SecretText>, sealed: bool) -> Self {
        Described {
            address: claimant.source.to_canonical(),
            key: key.map(|key| Digest::of(key.expose())),
            name: claimant.name.clone(),
            model: claimant.model.clone(),
            platform: claimant.platform.clone(),
            sealed,
        }
    }

    /// Whom it shares its place with.
    pub(super) fn source(&self) -> IpAddr {
        source_key(self.address)
    }
}

impl Live {
    /// A request that is made now.
    pub(super) fn new(
        (id, pin, number): (ClaimToken, Pin, MatchNumber),
        device: Described,
        (now, expires_at): (Timestamp, Timestamp),
    ) -> Self {
        Live { id, pin, number, device, expires_at, wrong: 0, heard: now }
    }
}

impl Pins {
    pub(super) fn hold(&self, pairing: Uuid, live: Live) {
        let mut held = self.held();
        held.resting.retain(|(_, number)| *number != live.number);
        held.live.insert(pairing, live);
    }

    /// It is over.
    pub(super) fn forget(&self, pairing: Uuid, now: Timestamp) {
        let mut held = self.held();
        if let Some(live) = held.live.remove(&pairing) {
            held.resting.push_back((now.after(NUMBER_RESTS), live.number));
        }
    }

    /// The same, by the owner's no: where it came from has to wait before it asks again.
    pub(super) fn turn_away(&self, pairing: Uuid, now: Timestamp) {
        let mut held = self.held();
        if let Some(source) = held.live.get(&pairing).map(|live| live.device.source()) {
            held.turned_away.retain(|(_, from)| *from != source);
            if held.turned_away.len() >= TURNED_AWAY_MOST {
                held.turned_away.pop_front();
            }
            held.turned_away.push_back((now.after(TURNED_AWAY), source));
        }
        drop(held);
        self.forget(pairing, now);
    }

    /// Until when this source may not ask, because the owner has turned it away.
    pub(super) fn waits_until(&self, source: IpAddr, now: Timestamp) -> Option<Timestamp> {
        let held = self.held();
        held.turned_away.iter().find(|(until, from)| *from == source && now < *until).map(|(until, _)| *until)
    }

    /// The request that waits from the same source, and which pairing it is.
    pub(super) fn of_source(&self, source: IpAddr, now: Timestamp) -> Option<(Uuid, Live)> {
        let held = self.held();
        let found = held.live.iter().find(|(_, live)| live.device.source() == source && now < live.expires_at);
        found.map(|(pairing, live)| (*pairing, live.clone()))
    }

    /// What the owner is shown of it.
    pub(super) fn shown(&self, pairing: Uuid) -> Option<(Pin, MatchNumber)> {
        self.held().live.get(&pairing).map(|live| (live.pin.clone(), live.number))
    }

    /// A number that no request has, and none had lately; when all others are taken, the one that has rested longest.
    pub(super) fn free_number(&self, now: Timestamp) -> Option<MatchNumber> {
        let mut held = self.held();
        held.resting.retain(|(until, _)| now < *until);
        let live = held.live.values().map(|live| live.number);
        let taken: Vec<_> = live.chain(held.resting.iter().map(|(_, number)| *number)).collect();
        let free = MatchNumber::free(crate::random::bytes(), &taken);
        free.or_else(|| held.resting.front().map(|(_, number)| *number))
    }

    /// Its device says something.
    pub(super) fn hear(&self, pairing: Uuid, now: Timestamp) {
        if let Some(live) = self.held().live.get_mut(&pairing) {
            live.heard = now;
        }
    }

    /// Of these requests the one whose device has been silent longest, if that is long enough to take it for gone.
    pub(super) fn most_silent(&self, of: &[Uuid], now: Timestamp) -> Option<Uuid> {
        let held = self.held();
        let heard = of.iter().filter_map(|pairing| Some((held.live.get(pairing)?.heard, *pairing)));
        heard.filter(|(heard, _)| heard.after(SILENT) <= now).min().map(|(_, pairing)| pairing)
    }

    /// Compares what was typed. None: there is no such request any more.
    pub(super) fn check(&self, pairing: Uuid, typed: &Pin) -> Option<Checked> {
        let mut held = self.held();
        let live = held.live.get_mut(&pairing)?;
        if live.wrong >= WRONG_MAX {
            return Some(Checked::Spent);
        }
        if live.pin == *typed {
            return Some(Checked::Right);
        }
        live.wrong += 1;
        Some(match WRONG_MAX - live.wrong {
            0 => Checked::Spent,
            left => Checked::Wrong(left),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAIRING: Uuid = Uuid::from_u128(1);

    fn hold(pins: &Pins, pairing: Uuid, heard: i64, end: i64) {
        let device = Described {
            address: [192, 168, 1, 7].into(),
            key: None,
            name: DeviceName::parse("iPad").unwrap(),
            model: None,
            platform: None,
            sealed: false,
        };
        let secrets = (
            ClaimToken::from_entropy([1; 16]),
            Pin::parse("123456").unwrap(),
            pins.free_number(Timestamp::from_millis(heard)).expect("one is free"),
        );
        let times = (Timestamp::from_millis(heard), Timestamp::from_millis(end));
        pins.hold(pairing, Live::new(secrets, device, times));
    }

    fn held(end: i64) -> Pins {
        let pins = Pins::default();
        hold(&pins, PAIRING, 0, end);
        pins
    }

    #[test]
    fn three_wrong_pins_and_the_right_one_helps_no_more() {
        let pins = held(1000);
        let check = |text| pins.check(PAIRING, &Pin::parse(text).unwrap());
        assert_eq!(check("000000"), Some(Checked::Wrong(2)));
        assert_eq!(check("123456"), Some(Checked::Right), "a right one costs nothing");
        assert_eq!(check("123455"), Some(Checked::Wrong(1)));
        assert_eq!(check("000000"), Some(Checked::Spent));
        assert_eq!(check("123456"), Some(Checked::Spent));
        pins.forget(PAIRING, Timestamp::from_millis(0));
        assert_eq!(check("123456"), None);
    }

    #[test]
    fn a_source_has_one_request_until_that_ends() {
        let pins = held(1000);
        let of = |source: [u8; 4], now| pins.of_source(source.into(), Timestamp::from_millis(now)).is_some();
        assert!(of([192, 168, 1, 7], 999) && !of([192, 168, 1, 7], 1000) && !of([192, 168, 1, 8], 999));
    }

    #[test]
    fn who_was_silent_longest_makes_way_and_who_asks_on_does_not() {
        let (pins, other) = (held(300_000), Uuid::from_u128(2));
        hold(&pins, other, 1000, 300_000);
        let most_silent = |of: &[Uuid], now| pins.most_silent(of, Timestamp::from_millis(now));
        assert_eq!(most_silent(&[PAIRING, other], 14_999), None);
        assert_eq!(most_silent(&[PAIRING, other], 16_000), Some(PAIRING));
        assert_eq!(most_silent(&[other], 16_000), Some(other), "what does not wait any more is not asked about");
        pins.hear(PAIRING, Timestamp::from_millis(14_999));
        assert_eq!(most_silent(&[PAIRING, other], 16_000), Some(other));
        pins.hear(other, Timestamp::from_millis(16_000));
        assert_eq!(most_silent(&[PAIRING, other], 29_998), None);
    }

    #[test]
    fn no_two_requests_have_the_same_number() {
        let pins = Pins::default();
        for n in 0..900 {
            hold(&pins, Uuid::from_u128(n), 0, 1000);
        }
        let mut numbers: Vec<_> = pins.held().live.values().map(|live| live.number).collect();
        numbers.sort();
        numbers.dedup();
        let at = Timestamp::from_millis;
        assert_eq!((numbers.len(), pins.free_number(at(0))), (900, None));
        // Where no other is left, the one that has rested longest.
        let of = |n| pins.shown(Uuid::from_u128(n)).map(|(_, number)| number);
        let (first, second) = (of(5), of(6));
        pins.forget(Uuid::from_u128(5), at(0));
        pins.forget(Uuid::from_u128(6), at(1));
        assert_eq!(pins.free_number(at(2)), first);
        hold(&pins, Uuid::from_u128(5), 2, 1000);
        assert_eq!((of(5), pins.free_number(at(3))), (first, second));
    }

    #[test]
    fn a_number_rests_before_another_request_has_it() {
        let pins = Pins::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        for n in 0..899 {
            hold(&pins, Uuid::from_u128(n), 0, 1000);
        }
        let number = pins.shown(Uuid::from_u128(7)).unwrap().1;
        pins.forget(Uuid::from_u128(7), at(10));
        let last = pins.free_number(at(11));
        assert!(last.is_some() && last != Some(number), "the one that nobody had");
        assert_eq!(pins.free_number(at(309)), last);
        let drawn: Vec<_> = (0..100).filter_map(|_| pins.free_number(at(310))).collect();
        assert!(drawn.contains(&number), "it has rested");
    }

    #[test]
    fn who_was_turned_away_waits_a_minute_and_the_memory_of_it_is_bounded() {
        let (pins, at) = (held(300_000), |seconds: i64| Timestamp::from_millis(seconds * 1000));
        let source: IpAddr = [192, 168, 1, 7].into();
        assert_eq!(pins.waits_until(source, at(0)), None);
        pins.turn_away(PAIRING, at(5));
        assert_eq!((pins.waits_until(source, at(64)), pins.waits_until(source, at(65))), (Some(at(65)), None));
        assert!(pins.shown(PAIRING).is_none() && pins.waits_until([192, 168, 1, 8].into(), at(6)).is_none());
        pins.turn_away(PAIRING, at(30));
        assert_eq!(pins.waits_until(source, at(31)), Some(at(65)), "what is over is not turned away again");
        for last in 0..600_u32 {
            let n = Uuid::from_u128(u128::from(last) + 10);
            hold(&pins, n, 0, 1000);
            let address = IpAddr::from([10, 0, (last >> 8) as u8, last as u8]);
            pins.held().live.get_mut(&n).unwrap().device.address = address;
            pins.turn_away(n, at(6));
        }
        assert_eq!(pins.held().turned_away.len(), TURNED_AWAY_MOST);
    }

    proptest! {
        /// However PINs are tried, at most three wrong ones are compared, and only the right one opens.
        #[test]
        fn at_most_three_guesses(tries in prop::collection::vec(0_u64..1_000_000, 0..12)) {
            let (pins, mut wrong) = (held(1000), 0);
            for number in tries {
                let typed = Pin::parse(&format!("{number:06}")).unwrap();
                let (was, checked) = (wrong, pins.check(PAIRING, &typed).unwrap());
                let expected = match (was, number) {
                    (3, _) => Checked::Spent,
                    (_, 123_456) => Checked::Right,
                    (2, _) => Checked::Spent,
                    (was, _) => Checked::Wrong(2 - was),
                };
                prop_assert_eq!(checked, expected);
                wrong = (was + u8::from(number != 123_456)).min(3);
            }
        }
    }
}
