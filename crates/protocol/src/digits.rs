//! Six decimal digits that people read off one screen and type at another: compared in constant time, cleared when
//! dropped, never printed by accident.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Six ASCII digits.
#[derive(Clone)]
pub(crate) struct SixDigits([u8; 6]);

impl SixDigits {
    /// The last six digits of a number.
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = [0; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        SixDigits(digits)
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter. None: it is not six ASCII digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digits = [0; 6];
        let mut typed = text.bytes().filter(|b| !matches!(b, b' ' | b'-'));
        for digit in &mut digits {
            *digit = typed.next().filter(u8::is_ascii_digit)?;
        }
        if text.len() > 32 || typed.next().is_some() { None } else { Some(SixDigits(digits)) }
    }

    /// As people read it: `123 456`.
    pub(crate) fn show(&self) -> String {
        let digits = self.text();
        format!("{} {}", &digits[..3], &digits[3..])
    }

    /// As programs read it: `123456`.
    pub(crate) fn text(&self) -> String {
        self.0.map(char::from).iter().collect()
    }
}

impl PartialEq for SixDigits {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for SixDigits {}

impl Drop for SixDigits {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read_and_nonsense_is_not() {
        let digits = SixDigits::parse("012345").unwrap();
        assert_eq!((digits.show(), digits.text()), ("012 345".into(), "012345".into()));
        for same in ["012 345", "012-345", " 0 1 2 3 4 5 "] {
            assert!(SixDigits::parse(same).unwrap() == digits, "{same}");
        }
        for wrong in ["", "01234", "0123456", "01234a", "٠١٢٣٤٥", "12345６"] {
            assert!(SixDigits::parse(wrong).is_none(), "{wrong}");
        }
        assert!(SixDigits::parse(&format!("{}012345", " ".repeat(99))).is_none());
        assert_eq!(SixDigits::of(7).text(), "000007");
        assert_eq!(SixDigits::of(u64::MAX).text(), "551615");
    }
}
