//! `Content-Digest` (RFC 9530) with SHA-256 alone.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;
use subtle::ConstantTimeEq;

use super::{BareItem, ListEntry, SignatureError, one_member};

/// The digest of a body that a signed request promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// Reads the header: `sha-256=:…:`, one digest and no parameters.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(value: &str) -> Result<Self, SignatureError> {
        match one_member(value, "Content-Digest") {
            Ok((algorithm, ListEntry::Item(item))) if algorithm == "sha-256" && item.params.is_empty() => {
                match &item.bare_item {
                    BareItem::ByteSequence(bytes) => {
                        bytes.as_slice().try_into().map(ContentDigest).map_err(|_| SignatureError::Digest)
                    }
                    _ => Err(SignatureError::Digest),
                }
            }
            _ => Err(SignatureError::Digest),
        }
    }

    /// That of a body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, body).as_ref());
        ContentDigest(bytes)
    }

    /// Whether it is this body's.
    #[must_use]
    pub fn is_of(&self, body: &[u8]) -> bool {
        self.0.ct_eq(&ContentDigest::of(body).0).into()
    }

    /// Whether it is the empty body's.
    #[must_use]
    pub fn is_of_nothing(&self) -> bool {
        self.is_of(&[])
    }
}

impl std::fmt::Display for ContentDigest {
    /// As the header has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha-256=:{}:", BASE64.encode(&self.0))
    }
}
