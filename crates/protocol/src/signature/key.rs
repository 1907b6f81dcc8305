//! The public keys of devices that sign.
//!
//! **P-256 only. Never add Ed25519, or any other kind, here.** Apple's Secure Enclave holds P-256 keys and no others, and
//! that a watch's private key never leaves its secure hardware is all that its pairing rests on. Ed25519 is faster and
//! better loved, and a watch that used it would have its key in ordinary memory. One algorithm also means that nobody can
//! choose another one for a device (`tests::device_keys_are_p256_only` stands guard).

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde::Deserialize;
use utoipa::ToSchema;

/// What an uncompressed point of P-256 looks like as SubjectPublicKeyInfo (RFC 5480): there is one way to write it.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for a compressed one.
const SPKI_COMPRESSED: [u8; 26] = [
    0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
];
/// The longest form that is read: SPKI of an uncompressed point.
const FORM_MAX: usize = SPKI.len() + 65;

/// A P-256 public key. It is a point of the curve, and not the identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey([u8; 33]);

/// The bytes are no P-256 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no P-256 public key: send its point as SEC1 (65 or 33 bytes), its SPKI, or a JWK with kty EC and crv P-256")]
pub struct InvalidVerifyingKey;

/// A public key as a device sends it.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum KeyForm {
    /// SEC1 or SPKI (DER) in base64 or base64url.
    Text(String),
    /// A JSON Web Key.
    Jwk(Jwk),
}

/// A JSON Web Key (RFC 7517), as far as it matters here.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Jwk {
    /// `EC`.
    pub kty: String,
    /// `P-256`.
    pub crv: String,
    /// The point's x, 32 bytes in base64url.
    pub x: String,
    /// Its y. Keys of other kinds have none; then this is no key of ours, and is said to be none.
    #[serde(default)]
    pub y: String,
}

impl VerifyingKey {
    /// Reads SEC1, compressed or not, or SPKI.
    ///
    /// # Errors
    /// It is no such key, or its point is not on the curve.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidVerifyingKey> {
        let point = match bytes.len() {
            91 => bytes.strip_prefix(&SPKI).ok_or(InvalidVerifyingKey)?,
            59 => bytes.strip_prefix(&SPKI_COMPRESSED).ok_or(InvalidVerifyingKey)?,
            _ => bytes,
        };
        // The identity is one byte in SEC1, and hybrid points begin with 6 and 7: neither comes past here.
        let compressed = match point {
            [0x02 | 0x03, x @ ..] if x.len() == 32 => compress(x, point[0]),
            [0x04, xy @ ..] if xy.len() == 64 => compress(&xy[..32], 2 | (xy[63] & 1)),
            _ => return Err(InvalidVerifyingKey),
        };
        // The bytes as they came: compressing would make a point of the curve of any x and y that is none.
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| InvalidVerifyingKey)?;
        Ok(VerifyingKey(compressed))
    }

    /// The compressed point (SEC1), the one form that is kept.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 33] {
        &self.0
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", BASE64URL_NOPAD.encode(&self.0))
    }
}

impl TryFrom<&KeyForm> for VerifyingKey {
    type Error = InvalidVerifyingKey;

    fn try_from(form: &KeyForm) -> Result<Self, InvalidVerifyingKey> {
        match form {
            KeyForm::Text(text) => VerifyingKey::from_bytes(&from_base64(text, FORM_MAX).ok_or(InvalidVerifyingKey)?),
            KeyForm::Jwk(jwk) if jwk.kty == "EC" && jwk.crv == "P-256" => {
                let coordinate = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|c| c.len() == 32);
                let (x, y) = coordinate(&jwk.x).zip(coordinate(&jwk.y)).ok_or(InvalidVerifyingKey)?;
                VerifyingKey::from_bytes(&[&[0x04], &x[..], &y[..]].concat())
            }
            KeyForm::Jwk(_) => Err(InvalidVerifyingKey),
        }
    }
}

fn compress(x: &[u8], prefix: u8) -> [u8; 33] {
    let mut point = [0; 33];
    point[0] = prefix;
    point[1..].copy_from_slice(x);
    point
}

/// Base64 or base64url, padded or not, of so many bytes at most.
pub(super) fn from_base64(text: &str, most: usize) -> Option<Vec<u8>> {
    if text.len() > most.div_ceil(3) * 4 {
        return None;
    }
    let is_url = text.contains(['-', '_']);
    let encoding = match (is_url, text.ends_with('=')) {
        (true, true) => BASE64URL,
        (true, false) => BASE64URL_NOPAD,
        (false, true) => BASE64,
        (false, false) => BASE64_NOPAD,
    };
    encoding.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() <= most)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPublicKeyCompressedBin, PublicKeyX509Der};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    };
    use serde_json::json;

    use super::*;

    fn read(form: serde_json::Value) -> Result<VerifyingKey, InvalidVerifyingKey> {
        VerifyingKey::try_from(&serde_json::from_value::<KeyForm>(form).unwrap())
    }

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
    }

    #[test]
    fn every_form_of_a_key_is_the_same_key() {
        for _ in 0..16 {
            let pair = pair();
            let point = pair.public_key().as_ref();
            let compressed: EcPublicKeyCompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
            let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            let key = VerifyingKey::from_bytes(point).unwrap();
            assert_eq!(key.as_bytes(), compressed.as_ref());
            let short_spki = [&SPKI_COMPRESSED, compressed.as_ref()].concat();
            for form in [point, compressed.as_ref(), spki.as_ref(), &short_spki] {
                assert_eq!(VerifyingKey::from_bytes(form), Ok(key));
                for encoding in [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD] {
                    assert_eq!(read(json!(encoding.encode(form))), Ok(key));
                }
            }
            let (x, y) = (BASE64URL_NOPAD.encode(&point[1..33]), BASE64URL_NOPAD.encode(&point[33..]));
            assert_eq!(read(json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "ext": true })), Ok(key));
        }
    }

    /// See the module's comment before you change this.
    #[test]
    fn device_keys_are_p256_only() {
        let ed25519 = Ed25519KeyPair::generate().unwrap();
        let spki: PublicKeyX509Der<'_> = ed25519.public_key().as_der().unwrap();
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let p384_spki: PublicKeyX509Der<'_> = p384.public_key().as_der().unwrap();
        for other in [ed25519.public_key().as_ref(), spki.as_ref(), p384.public_key().as_ref(), p384_spki.as_ref()] {
            assert_eq!(VerifyingKey::from_bytes(other), Err(InvalidVerifyingKey));
            assert_eq!(read(json!(BASE64.encode(other))), Err(InvalidVerifyingKey));
        }
        let x = BASE64URL_NOPAD.encode(ed25519.public_key().as_ref());
        for (kty, crv) in
            [("OKP", "Ed25519"), ("EC", "Ed25519"), ("EC", "P-384"), ("EC", "secp256k1"), ("OKP", "P-256")]
        {
            assert_eq!(read(json!({ "kty": kty, "crv": crv, "x": x, "y": x })), Err(InvalidVerifyingKey));
        }
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_no_key() {
        let pair = pair();
        let mut point = pair.public_key().as_ref().to_vec();
        point[64] ^= 1;
        assert_eq!(VerifyingKey::from_bytes(&point), Err(InvalidVerifyingKey), "off the curve");
        point[64] ^= 1;
        point[0] = 6 | (point[64] & 1);
        assert_eq!(VerifyingKey::from_bytes(&point), Err(InvalidVerifyingKey), "hybrid");
        // x = p is out of range.
        let p = [&[0xff; 4][..], &[0, 0, 0, 1], &[0; 12], &[0xff; 12]].concat();
        let zeros = [&[4][..], &[0; 64]].concat();
        for none in [&[0][..], &[0; 33], &[0; 65], &zeros, &[], &compress(&p, 2)] {
            assert_eq!(VerifyingKey::from_bytes(none), Err(InvalidVerifyingKey), "{none:?}");
        }
        let is_key = |x: &[u8]| VerifyingKey::from_bytes(&compress(x, 2)).is_ok();
        let small = (0..64u8).filter(|x| is_key(&[&[0; 31][..], &[*x]].concat())).count();
        assert!((16..48).contains(&small), "half of all x are on the curve, not {small} of 64");
    }
}
