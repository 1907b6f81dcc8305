//! Decimal digits that people read off one screen and type at another: compared in constant time, cleared when
//! dropped, never printed by accident.

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// So many ASCII digits.
#[derive(Clone)]
pub(crate) struct Digits<const N: usize>([u8; N]);

impl<const N: usize> Digits<N> {
    /// The last digits of a number.
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = [0; N];
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            number /= 10;
        }
        Digits(digits)
    }

    /// Reads what a person typed; spaces and hyphens between the digits are no matter. None: it is not so
    /// many ASCII digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut digits = [0; N];
        let mut typed = text.bytes().filter(|b| !matches!(b, b' ' | b'-'));
        for digit in &mut digits {
            *digit = typed.next().filter(u8::is_ascii_digit)?;
        }
        if text.len() > 32 || typed.next().is_some() { None } else { Some(Digits(digits)) }
    }

    /// As people read it, in two halves: `123 456`.
    pub(crate) fn show(&self) -> String {
        let digits = self.text();
        format!("{} {}", &digits[..N / 2], &digits[N / 2..])
    }

    /// As programs read it: `123456`.
    pub(crate) fn text(&self) -> String {
        self.0.map(char::from).iter().collect()
    }
}

impl<const N: usize> PartialEq for Digits<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl<const N: usize> Eq for Digits<N> {}

impl<const N: usize> Drop for Digits<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read_and_nonsense_is_not() {
        let digits = Digits::<6>::parse("012345").unwrap();
        assert_eq!((digits.show(), digits.text()), ("012 345".into(), "012345".into()));
        for same in ["012 345", "012-345", " 0 1 2 3 4 5 "] {
            assert!(Digits::parse(same).unwrap() == digits, "{same}");
        }
        for wrong in ["", "01234", "0123456", "01234a", "٠١٢٣٤٥", "12345６"] {
            assert!(Digits::<6>::parse(wrong).is_none(), "{wrong}");
        }
        assert!(Digits::<6>::parse(&format!("{}012345", " ".repeat(99))).is_none());
        assert_eq!(Digits::<6>::of(7).text(), "000007");
        assert_eq!(Digits::<6>::of(u64::MAX).text(), "551615");
        assert_eq!(Digits::<8>::parse("0123 4567").unwrap().show(), "0123 4567");
    }
}
