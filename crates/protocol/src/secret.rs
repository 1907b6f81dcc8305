//! Byte secrets: zeroized when dropped, printed as `[redacted]`, compared in constant time.
//!
//! Random bytes come in as an argument; the caller takes them from the operating system's generator.

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

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
