//! The PIN: digits that the host shows, and that the person with the device types there; and the number by which
//! that person tells the device's request from those of others.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::digits::Digits;

/// Six decimal digits for a device that is given a token, eight for one that pairs in a sealed session (spec/protocol.md,
/// 7). So who answers a device in the host's place, and asks there for a token itself, is shown a PIN that the device
/// does not send.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Plain(Digits<6>),
    Sealed(Digits<8>),
}

/// What was typed is neither six digits nor eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PIN is six digits, or eight for a sealed session, as the host shows them")]
pub struct NotAPin;

impl Pin {
    /// How many random bytes one takes: so many that no PIN is likelier than another by more than one in 10^11.
    pub const ENTROPY: usize = 8;

    /// Makes one from random bytes of the operating system's generator, for a sealed session or for a token.
    #[must_use]
    pub fn from_entropy(bytes: [u8; Self::ENTROPY], sealed: bool) -> Self {
        let number = u64::from_be_bytes(bytes);
        Pin(if sealed { Kind::Sealed(Digits::of(number)) } else { Kind::Plain(Digits::of(number)) })
    }

    /// Whether it is that of a device that pairs in a sealed session.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self.0, Kind::Sealed(_))
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter.
    ///
    /// # Errors
    /// It is neither six ASCII digits nor eight.
    pub fn parse(text: &str) -> Result<Self, NotAPin> {
        let plain = || Digits::parse(text).map(Kind::Plain);
        plain().or_else(|| Digits::parse(text).map(Kind::Sealed)).map(Pin).ok_or(NotAPin)
    }

    /// As people read it: `123 456`, or `1234 5678`.
    #[must_use]
    pub fn show(&self) -> String {
        match &self.0 {
            Kind::Plain(digits) => digits.show(),
            Kind::Sealed(digits) => digits.show(),
        }
    }

    /// The digits alone, for the one place that hands them over.
    #[must_use]
    pub fn expose(&self) -> String {
        match &self.0 {
            Kind::Plain(digits) => digits.text(),
            Kind::Sealed(digits) => digits.text(),
        }
    }
}

/// Three digits that the host gives to a device that asks to pair by PIN. The device and the host show them, so that the
/// owner can tell which request is that device's. Nothing is opened by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MatchNumber(u16);

/// It is not three digits of which the first is none of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of a request is three digits, and does not begin with 0")]
pub struct NotAMatchNumber;

impl MatchNumber {
    /// The smallest and the largest: none begins with 0, which people leave out.
    const RANGE: std::ops::RangeInclusive<u16> = 100..=999;

    /// One that is not taken, by random bytes of the operating system's generator; none when all are.
    #[must_use]
    pub fn free(bytes: [u8; 8], taken: &[MatchNumber]) -> Option<Self> {
        let free: Vec<_> = Self::RANGE.map(MatchNumber).filter(|number| !taken.contains(number)).collect();
        let at = u64::from_be_bytes(bytes).checked_rem(free.len() as u64)?;
        free.get(usize::try_from(at).ok()?).copied()
    }
}

impl fmt::Display for MatchNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl TryFrom<String> for MatchNumber {
    type Error = NotAMatchNumber;
    fn try_from(text: String) -> Result<Self, NotAMatchNumber> {
        // A check code has six digits and may begin with any: 000471 is none of these numbers.
        let number = Some(&text).filter(|text| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = number.and_then(|text| text.parse().ok()).filter(|number| Self::RANGE.contains(number));
        number.map(MatchNumber).ok_or(NotAMatchNumber)
    }
}

impl From<MatchNumber> for String {
    fn from(number: MatchNumber) -> String {
        number.to_string()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin([redacted])")
    }
}

impl TryFrom<String> for Pin {
    type Error = NotAPin;
    fn try_from(mut text: String) -> Result<Self, NotAPin> {
        let parsed = Self::parse(&text);
        text.zeroize();
        parsed
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> String {
        pin.expose()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_digits_on_the_wire_and_never_printed() {
        let pin = Pin::parse("012 345").unwrap();
        assert_eq!(serde_json::to_string(&pin).unwrap(), "\"012345\"");
        assert_eq!((pin.show().as_str(), format!("{pin:?}").as_str()), ("012 345", "Pin([redacted])"));
        assert!(
            Pin::parse("0123-4567").unwrap().is_sealed() && Pin::parse("01234567").unwrap() != pin && !pin.is_sealed()
        );
        assert!(Pin::parse("0123456").is_err() && Pin::parse("012345678").is_err());
        let error = serde_json::from_str::<Pin>("\"98765\"").unwrap_err().to_string();
        assert!(!error.contains("987"), "{error}");
    }

    #[test]
    fn a_number_is_three_digits_and_read_as_nothing_else() {
        let number: MatchNumber = serde_json::from_str("\"471\"").unwrap();
        assert_eq!((number.to_string().as_str(), serde_json::to_string(&number).unwrap().as_str()), ("471", "\"471\""));
        for other in ["", "47", "071", "+71", "4711", "0471", "000471", "4 71", "\u{0664}71", "99999"] {
            assert_eq!(MatchNumber::try_from(other.to_owned()), Err(NotAMatchNumber), "{other}");
        }
    }

    #[test]
    fn no_two_are_the_same_until_all_are_taken() {
        let mut taken = Vec::new();
        while let Some(number) = MatchNumber::free([7; 8], &taken) {
            assert!(!taken.contains(&number) && MatchNumber::try_from(number.to_string()) == Ok(number));
            taken.push(number);
        }
        assert_eq!(taken.len(), 900);
    }

    proptest! {
        #[test]
        fn what_is_made_reads_back_however_it_is_typed(bytes: [u8; 8], sealed: bool) {
            let pin = Pin::from_entropy(bytes, sealed);
            prop_assert_eq!((pin.expose().len(), pin.is_sealed()), (if sealed { 8 } else { 6 }, sealed));
            prop_assert!(Pin::parse(&pin.show()).unwrap() == pin && Pin::parse(&pin.expose()).unwrap() == pin);
        }
    }
}
