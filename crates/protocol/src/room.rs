//! What a relay knows of a pairing: a room's id, and the hashes that open it (spec/protocol.md, 6).

use std::fmt;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

/// The text has not the form of what it should be. Says nothing about what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not lower-case hex of the right length")]
pub struct NotHex;

fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return Err(NotHex);
    }
    HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| NotHex)?;
    Ok(bytes)
}

/// A room at a relay: 16 bytes, written as 32 digits of lower-case hex.
///
/// Whoever knows the id of a room can make it lock. So it prints only its beginning; [`RoomId::to_hex`] has it whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId([u8; 16]);

impl RoomId {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        RoomId(bytes)
    }

    /// Reads 32 digits of lower-case hex.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, NotHex> {
        from_hex(text).map(RoomId)
    }

    /// All of it, in lower-case hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({self})")
    }
}

impl TryFrom<String> for RoomId {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        Self::parse(&text)
    }
}

impl From<RoomId> for String {
    fn from(room: RoomId) -> String {
        room.to_hex()
    }
}

/// What opens a room: `pairing_token_hash` or `secret_hash`, SHA-256 of what only the two ends know. To a relay it is a
/// password: a relay keeps [`CredentialHash::at_rest`] of it.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct CredentialHash([u8; 32]);

impl CredentialHash {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        CredentialHash(bytes)
    }

    /// Reads 64 digits of lower-case hex.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, NotHex> {
        from_hex(text).map(CredentialHash)
    }

    /// SHA-256 of the 32 bytes: what a relay stores and compares, in constant time.
    #[must_use]
    pub fn at_rest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        bytes
    }

    /// All of it in lower-case hex, as it is presented.
    #[must_use]
    pub fn expose_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialHash([redacted])")
    }
}

impl TryFrom<String> for CredentialHash {
    type Error = NotHex;
    fn try_from(mut text: String) -> Result<Self, NotHex> {
        let hash = Self::parse(&text);
        text.zeroize();
        hash
    }
}

impl Drop for CredentialHash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_hex_of_the_right_length_is_read() {
        let room = "0123456789abcdef0123456789abcdef";
        assert_eq!(RoomId::parse(room).unwrap().to_hex(), room);
        assert!(CredentialHash::parse(&room.repeat(2)).is_ok());
        for bad in ["", "0123", &room.to_uppercase(), &room[1..], &format!("{room}0"), &format!("{}é", &room[2..])] {
            assert_eq!(RoomId::parse(bad), Err(NotHex), "{bad}");
            assert!(CredentialHash::parse(&format!("{bad}{room}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_room_is_printed_in_part_and_a_hash_not_at_all() {
        let room = RoomId::new([0xab; 16]);
        assert_eq!(format!("{room} {room:?}"), "abababab… RoomId(abababab…)");
        assert_eq!(format!("{:?}", CredentialHash::new([7; 32])), "CredentialHash([redacted])");
    }

    #[test]
    fn at_rest_it_is_sha_256_of_the_bytes() {
        // FIPS 180-4's SHA-256 of 32 zero bytes.
        assert_eq!(
            HEXLOWER.encode(&CredentialHash::new([0; 32]).at_rest()),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
    }
}
