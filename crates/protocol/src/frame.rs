//! The layout of a frame (spec/protocol.md, 4): one WebSocket binary message.
//!
//! ```text
//! frame = 11 ‖ 00 ‖ epoch u16 ‖ sealed(inner)      inner = data ‖ type u8 ‖ 00*
//! ```

use std::ops::Range;

/// The longest frame, in bytes.
pub const FRAME_MAX: usize = 16_640;
/// The bytes before the sealed part, which are authenticated with it.
pub const HEADER: usize = 4;
/// The AEAD's tag.
pub const TAG: usize = 16;
/// The most data that a frame carries: what is left after header, type and tag.
pub const DATA_MAX: usize = FRAME_MAX - HEADER - 1 - TAG;
/// What short frames are padded to a multiple of: the inner part, type included.
pub const PADDING: usize = 256;
/// Frames with this much data or more are not padded.
pub const PADDED_BELOW: usize = 4096;

/// What a frame carries. The one list of its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of the HTTP stream.
    Data = 1,
    /// The end, on purpose.
    Close = 2,
    /// The last frame of its epoch.
    KeyUpdate = 3,
    /// Nothing.
    Pad = 4,
    /// A CBOR message.
    Control = 5,
}

impl Kind {
    pub(crate) fn of(byte: u8) -> Option<Kind> {
        [Kind::Data, Kind::Close, Kind::KeyUpdate, Kind::Pad, Kind::Control]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What to seal.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Bytes of the HTTP stream, at most [`DATA_MAX`].
    Data(&'a [u8]),
    /// The same in two pieces, which are one behind the other for the peer; at most [`DATA_MAX`] together.
    Joined([&'a [u8]; 2]),
    /// A CBOR message, at most [`DATA_MAX`] bytes.
    Control(&'a [u8]),
    /// Nothing: so many bytes of it, at most [`DATA_MAX`].
    Pad(usize),
}

/// What was opened: its kind, and where in the frame its data stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it is.
    pub kind: Kind,
    /// Where the data is, within the frame's bytes.
    pub data: Range<usize>,
}

/// Why a session was closed, in its CLOSE frame. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseCode {
    /// Nothing more to say.
    Done,
    /// The host stops, or the device's program ends.
    Leaving,
    /// The device was revoked.
    Revoked,
    /// The device's access has ended.
    Expired,
    /// What the device may do was changed: it may connect again at once.
    Changed,
    /// The host has as many sessions as it may have.
    Busy,
    /// A newer session of the same device took its place.
    Replaced,
    /// The pairing came to nothing; a `rejected` message said why.
    Rejected,
    /// It has lasted as long as a session may: connect again.
    TooOld,
    /// A code that this version does not know.
    Other(u16),
}

impl CloseCode {
    const ALL: [(CloseCode, u16); 9] = [
        (CloseCode::Done, 0),
        (CloseCode::Leaving, 1),
        (CloseCode::Revoked, 2),
        (CloseCode::Expired, 3),
        (CloseCode::Changed, 4),
        (CloseCode::Busy, 5),
        (CloseCode::Replaced, 6),
        (CloseCode::Rejected, 7),
        (CloseCode::TooOld, 8),
    ];

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            CloseCode::Other(number) => number,
            known => Self::ALL.iter().find(|(code, _)| *code == known).map_or(0, |(_, number)| *number),
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn of(number: u16) -> CloseCode {
        Self::ALL.iter().find(|(_, n)| *n == number).map_or(CloseCode::Other(number), |(code, _)| *code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_frozen() {
        let kinds: Vec<u8> = (0..=255).filter(|byte| Kind::of(*byte).is_some()).collect();
        assert_eq!(kinds, [1, 2, 3, 4, 5]);
        for (number, code) in (0..).zip(CloseCode::ALL.map(|(code, _)| code)) {
            assert_eq!((code.number(), CloseCode::of(number)), (number, code));
        }
        assert_eq!(CloseCode::of(999), CloseCode::Other(999));
        assert_eq!((DATA_MAX, FRAME_MAX), (16_619, 16_640));
    }
}
