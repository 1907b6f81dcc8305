//! The PIN: six digits that the host shows, and that the person with the device types there.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::digits::SixDigits;

/// Six decimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(SixDigits);

/// What was typed is not six digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PIN is six digits, as the host shows them")]
pub struct NotAPin;

impl Pin {
    /// How many random bytes one takes: so many that no PIN is likelier than another by more than one in 10^13.
    pub const ENTROPY: usize = 8;

    /// Makes one from random bytes of the operating system's generator.
    #[must_use]
    pub fn from_entropy(bytes: [u8; Self::ENTROPY]) -> Self {
        Pin(SixDigits::of(u64::from_be_bytes(bytes) % 1_000_000))
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter.
    ///
    /// # Errors
    /// It is not six ASCII digits.
    pub fn parse(text: &str) -> Result<Self, NotAPin> {
        SixDigits::parse(text).map(Pin).ok_or(NotAPin)
    }

    /// As people read it: `123 456`.
    #[must_use]
    pub fn show(&self) -> String {
        self.0.show()
    }

    /// The digits alone, for the one place that hands them over.
    #[must_use]
    pub fn expose(&self) -> String {
        self.0.text()
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
        let error = serde_json::from_str::<Pin>("\"98765\"").unwrap_err().to_string();
        assert!(!error.contains("987"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_made_reads_back_however_it_is_typed(bytes: [u8; 8]) {
            let pin = Pin::from_entropy(bytes);
            prop_assert_eq!(pin.expose().len(), 6);
            prop_assert!(Pin::parse(&pin.show()).unwrap() == pin && Pin::parse(&pin.expose()).unwrap() == pin);
        }
    }
}
