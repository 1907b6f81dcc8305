//! What makes a signed request, or a watch's pairing, unlike every other.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;

/// How far a nonce's time may be from the verifier's clock, either way, in milliseconds.
pub const NONCE_WINDOW_MS: u64 = 60_000;

/// The time in milliseconds since the epoch as 8 bytes, big-endian, then 16 random ones; 32 characters of base64url.
/// Nonces are ordered by their time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; 24]);

/// The text is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce is 32 characters of base64url: 8 bytes of time and 16 random ones")]
pub struct InvalidNonce;

impl Nonce {
    /// Makes one of a time and fresh random bytes.
    #[must_use]
    pub fn new(unix_ms: u64, random: [u8; 16]) -> Self {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&unix_ms.to_be_bytes());
        nonce[8..].copy_from_slice(&random);
        Nonce(nonce)
    }

    /// Reads the 32 characters. There is one way to write each nonce.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, InvalidNonce> {
        let mut nonce = [0; 24];
        if text.len() != 32 {
            return Err(InvalidNonce);
        }
        match BASE64URL_NOPAD.decode_mut(text.as_bytes(), &mut nonce) {
            Ok(24) => Ok(Nonce(nonce)),
            _ => Err(InvalidNonce),
        }
    }

    /// Its time, in milliseconds since the epoch.
    #[must_use]
    pub fn unix_ms(&self) -> u64 {
        self.0.iter().take(8).fold(0, |time, byte| time << 8 | u64::from(*byte))
    }

    /// By how many milliseconds its time is ahead of the clock; negative when behind.
    ///
    /// # Errors
    /// That, when it is more than [`NONCE_WINDOW_MS`].
    pub fn within(&self, now_ms: u64) -> Result<i64, i64> {
        let ahead = i128::from(self.unix_ms()) - i128::from(now_ms);
        let ahead = i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX });
        if ahead.unsigned_abs() <= NONCE_WINDOW_MS { Ok(ahead) } else { Err(ahead) }
    }

    /// The last moment at which it is taken: what remembers it must do so up to then.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        self.unix_ms().saturating_add(NONCE_WINDOW_MS)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Nonce {
    /// Only its time: the nonce of a watch's pairing is a secret as long as it lives.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({} ms, [redacted])", self.unix_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_written_one_way_and_sorts_by_its_time() {
        let nonce = Nonce::new(1_800_000_000_000, [7; 16]);
        assert_eq!((nonce.to_string().len(), nonce.unix_ms()), (32, 1_800_000_000_000));
        assert_eq!(Nonce::parse(&nonce.to_string()), Ok(nonce));
        assert!(nonce < Nonce::new(1_800_000_000_001, [0; 16]));
        assert_eq!(format!("{nonce:?}"), "Nonce(1800000000000 ms, [redacted])");
        let text = nonce.to_string();
        for other in ["", &text[1..], &format!("{text}A"), &text.replace('B', "="), &text.replace('B', "+")] {
            assert_eq!(Nonce::parse(other), Err(InvalidNonce), "{other}");
        }
    }

    #[test]
    fn a_minute_either_way_is_the_most() {
        let at = |ms| Nonce::new(ms, [0; 16]).within(1_000_000);
        assert_eq!((at(1_060_000), at(940_000)), (Ok(60_000), Ok(-60_000)));
        assert_eq!((at(1_060_001), at(939_999)), (Err(60_001), Err(-60_001)));
        assert_eq!((at(u64::MAX), at(0)), (Err(i64::MAX), Err(-1_000_000)));
        assert_eq!(Nonce::new(u64::MAX, [0; 16]).ends_at(), u64::MAX);
    }
}
