//! Byte secrets: zeroized when dropped, printed as `[redacted]`, compared in constant time.
//!
//! Random bytes come in as an argument; the caller takes them from the operating system's generator.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Its length in bytes.
            pub const LEN: usize = $len;

            /// Takes the bytes; the caller's copy is the caller's to clear.
            #[must_use]
            pub fn new(bytes: [u8; $len]) -> Self {
                $name(bytes)
            }

            /// Takes a slice of exactly the right length.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map($name)
            }

            /// The secret itself, for the one place that needs it.
            #[must_use]
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
            }
        }
        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                zeroize::Zeroize::zeroize(&mut self.0);
            }
        }
    };
}

secret! {
    /// The offer secret `K`: 16 random bytes that only the QR or the link carries (spec/protocol.md, 1).
    OfferSecret, 16
}
secret! {
    /// A pre-shared key of the Noise handshake: of an offer, or of a pairing (spec/protocol.md, 1 and 2).
    Psk, 32
}
secret! {
    /// The room secret: made fresh at the grant, known to both ends, of which a relay sees hashes only.
    RoomSecret, 32
}
secret! {
    /// What an enrolment token proves itself by: 16 random bytes, good for one host (spec/protocol.md, 6).
    EnrollmentSecret, 16
}
secret! {
    /// 32 fresh random bytes for one purpose, spent with it: an ephemeral key, a nonce to commit to.
    Entropy, 32
}

/// A token as text, as it stands in a JSON body: zeroized when dropped, printed as `[redacted]`.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        SecretText(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText([redacted])")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.expose())
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(SecretText::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret_and_lengths_are_checked() {
        assert_eq!(format!("{:?}", Psk::new([7; 32])), "Psk([redacted])");
        assert!(Psk::from_slice(&[7; 31]).is_none() && Psk::from_slice(&[7; 33]).is_none());
        assert!(Psk::from_slice(&[7; 32]).unwrap() == Psk::new([7; 32]));
        assert!(Psk::new([7; 32]) != Psk::new([8; 32]));
    }
}
