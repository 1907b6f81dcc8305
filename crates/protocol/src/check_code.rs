//! The check code: six digits that the device shows and the owner types, so that who approves knows that the device
//! in front of them is the one at the other end (spec/protocol.md, 3).

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::schedule::{DerivationFailed, Source};

/// Six decimal digits.
#[derive(Clone)]
pub struct CheckCode([u8; 6]);

/// What was typed is not six digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a check code is six digits, as the device shows them")]
pub struct NotACheckCode;

impl CheckCode {
    /// Derives it from the handshake and the two nonces, of which the device committed to its own first.
    pub(crate) fn derive(prk: &Source, device: &[u8; 32], host: &[u8; 32]) -> Result<Self, DerivationFailed> {
        let bytes = prk.expand::<8>(&[b"couplet/1 check", device, host])?;
        let mut number = u64::from_be_bytes(*bytes) % 1_000_000;
        let mut digits = [0; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        Ok(CheckCode(digits))
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter.
    ///
    /// # Errors
    /// It is not six ASCII digits.
    pub fn parse(text: &str) -> Result<Self, NotACheckCode> {
        let mut digits = [0; 6];
        let mut typed = text.bytes().filter(|b| !matches!(b, b' ' | b'-'));
        for digit in &mut digits {
            *digit = typed.next().filter(u8::is_ascii_digit).ok_or(NotACheckCode)?;
        }
        if text.len() > 32 || typed.next().is_some() { Err(NotACheckCode) } else { Ok(CheckCode(digits)) }
    }

    /// As people read it: `123 456`.
    #[must_use]
    pub fn show(&self) -> String {
        let digits = self.0.map(char::from);
        let (first, last) = digits.split_at(3);
        format!("{} {}", first.iter().collect::<String>(), last.iter().collect::<String>())
    }
}

impl PartialEq for CheckCode {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for CheckCode {}

impl fmt::Debug for CheckCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckCode([redacted])")
    }
}

impl Drop for CheckCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read_and_nonsense_is_not() {
        let code = CheckCode::parse("012345").unwrap();
        assert_eq!(code.show(), "012 345");
        for same in ["012 345", "012-345", " 0 1 2 3 4 5 "] {
            assert!(CheckCode::parse(same).unwrap() == code, "{same}");
        }
        for wrong in ["", "01234", "0123456", "01234a", "٠١٢٣٤٥", "12345６"] {
            assert!(CheckCode::parse(wrong).is_err(), "{wrong}");
        }
        assert!(CheckCode::parse(&format!("{}012345", " ".repeat(99))).is_err());
        assert_eq!(format!("{code:?}"), "CheckCode([redacted])");
    }
}
