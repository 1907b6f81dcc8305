//! The check code: six digits that the device shows and the owner types, so that who approves knows that the device
//! in front of them is the one at the other end (spec/protocol.md, 3).

use std::fmt;

use crate::digits::Digits;
use crate::schedule::{DerivationFailed, Source};

/// Six decimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckCode(Digits<6>);

/// What was typed is not six digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a check code is six digits, as the device shows them")]
pub struct NotACheckCode;

impl CheckCode {
    /// Derives it from the handshake and the two nonces, of which the device committed to its own first.
    pub(crate) fn derive(prk: &Source, device: &[u8; 32], host: &[u8; 32]) -> Result<Self, DerivationFailed> {
        let bytes = prk.expand::<8>(&[b"couplet/1 check", device, host])?;
        Ok(CheckCode(Digits::of(u64::from_be_bytes(*bytes) % 1_000_000)))
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter.
    ///
    /// # Errors
    /// It is not six ASCII digits.
    pub fn parse(text: &str) -> Result<Self, NotACheckCode> {
        Digits::parse(text).map(CheckCode).ok_or(NotACheckCode)
    }

    /// As people read it: `123 456`.
    #[must_use]
    pub fn show(&self) -> String {
        self.0.show()
    }
}

impl fmt::Debug for CheckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckCode([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_and_never_printed() {
        let code = CheckCode::parse("012345").unwrap();
        assert_eq!(code.show(), "012 345");
        assert!(code == CheckCode::parse("012-345").unwrap() && code != CheckCode::parse("012346").unwrap());
        assert_eq!(CheckCode::parse("01234").unwrap_err(), NotACheckCode);
        assert_eq!(format!("{code:?}"), "CheckCode([redacted])");
    }
}
