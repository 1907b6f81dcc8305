//! Rows as bytes: a version, then JSON.

use std::fmt;

use aws_lc_rs::digest;
use bytes::Bytes;
use couplet_protocol::CredentialHash;
use data_encoding::HEXLOWER;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::{Choice, ConstantTimeEq};

use crate::store::StoreError;

const VERSION: u8 = 1;

/// Why the relay's memory gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The row is not what this relay writes. It is left as it is.
    #[error("a row of the store is damaged")]
    Damaged,
    /// A newer relay wrote the row. It is left as it is.
    #[error("a row of the store was written by a newer Couplet")]
    Newer,
}

impl Fault {
    /// Whether someone else changed the row meanwhile.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Fault::Store(StoreError::Conflict))
    }
}

pub(crate) fn encode<T: Serialize>(row: &T) -> Result<Bytes, Fault> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, row).map_err(|_| Fault::Damaged)?;
    Ok(bytes.into())
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    match bytes.split_first() {
        Some((&VERSION, json)) => serde_json::from_slice(json).map_err(|_| Fault::Damaged),
        Some((version, _)) if *version > VERSION => Err(Fault::Newer),
        _ => Err(Fault::Damaged),
    }
}

/// A hash at rest, compared in constant time.
#[derive(Clone, Copy)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    /// Of nothing: no input is known that SHA-256 maps to it.
    pub(crate) const UNMATCHED: Hash = Hash([0; 32]);

    pub(crate) const fn new(hash: [u8; 32]) -> Self {
        Hash(hash)
    }

    /// What is kept of a presented hash.
    pub(crate) fn of(presented: &CredentialHash) -> Self {
        Hash(presented.at_rest())
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Hash(hash)
    }

    pub(crate) fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    pub(crate) fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl ConstantTimeEq for Hash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}
impl Eq for Hash {}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash([redacted])")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut hash = [0; 32];
        if text.len() != 64 || HEXLOWER.decode_mut(text.as_bytes(), &mut hash).is_err() {
            return Err(D::Error::custom("not a hash"));
        }
        Ok(Hash(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_and_others_are_told_apart() {
        let hash = Hash::of_bytes(b"x");
        let bytes = encode(&hash).unwrap();
        assert_eq!(decode::<Hash>(&bytes).unwrap(), hash);
        assert!(matches!(decode::<Hash>(&[&[2], &bytes[1..]].concat()), Err(Fault::Newer)));
        for damaged in [&b""[..], b"\0{}", b"\x01", b"\x01\"zz\"", &bytes[..bytes.len() - 1]] {
            assert!(matches!(decode::<Hash>(damaged), Err(Fault::Damaged)), "{damaged:?}");
        }
    }
}
