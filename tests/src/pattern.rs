//! Bytes that show where they stand, for transfers of any size: what is lost, doubled or swapped does not match.

use std::sync::OnceLock;

use bytes::Bytes;

/// A prime, so that the period fits no buffer.
const PERIOD: usize = 65_521;

fn periods() -> &'static Bytes {
    static PERIODS: OnceLock<Bytes> = OnceLock::new();
    PERIODS.get_or_init(|| {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        [period.as_slice(), period.as_slice()].concat().into()
    })
}

/// At most `len` bytes, at least one, of the pattern from `offset` on, without copying.
#[must_use]
pub fn chunk(offset: u64, len: u64) -> Bytes {
    let start = (offset % PERIOD as u64) as usize;
    periods().slice(start..start + len.min(PERIOD as u64) as usize)
}

/// Whether `bytes` are those of the pattern from `offset` on.
#[must_use]
pub fn matches(mut offset: u64, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let wanted = chunk(offset, bytes.len() as u64);
        let (head, tail) = bytes.split_at(wanted.len());
        if head != wanted {
            return false;
        }
        (offset, bytes) = (offset + wanted.len() as u64, tail);
    }
    true
}

/// The pattern's first `total` bytes as the chunks of a body.
pub fn stream(total: u64) -> impl futures_util::Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    futures_util::stream::iter((0..total).step_by(PERIOD).map(move |offset| Ok(chunk(offset, total - offset))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_lost_or_moved_shows() {
        let whole: Vec<u8> = [chunk(0, u64::MAX), chunk(PERIOD as u64, 1000)].concat();
        assert!(matches(0, &whole) && matches(5, &whole[5..]) && matches(0, b""));
        assert!(!matches(0, &whole[1..]) && !matches(0, &whole[1024..2048]));
        let mut flipped = whole.clone();
        flipped[70] ^= 1;
        assert!(!matches(0, &flipped));
    }
}
