//! Whole sessions, whatever is sent in them (spec/protocol.md, 4).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ends;

use std::time::Duration;

use couplet_protocol::frame::{CloseCode, Content, DATA_MAX, FRAME_MAX, HEADER, Kind, PADDED_BELOW, PADDING, TAG};
use couplet_protocol::handshake::Mode;
use couplet_protocol::session::{OpenError, Opener, Sealer};
use ends::talk;
use proptest::prelude::*;

/// What one end does next.
#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Control(Vec<u8>),
    Pad(usize),
    KeyUpdate,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Also what looks like padding and like types, and every length where something changes.
    let bytes = || {
        let edges =
            prop::sample::select(vec![0, 254, 255, 256, PADDED_BELOW - 1, PADDED_BELOW, DATA_MAX - 1, DATA_MAX]);
        let edge = (edges, 0..=5_u8).prop_map(|(len, byte)| vec![byte; len]);
        prop_oneof![prop::collection::vec(0..=5_u8, 0..40), prop::collection::vec(any::<u8>(), 0..600), edge]
    };
    let step = prop_oneof![
        4 => bytes().prop_map(Step::Data),
        2 => bytes().prop_map(Step::Control),
        1 => prop_oneof![0..300_usize, Just(DATA_MAX)].prop_map(Step::Pad),
        1 => Just(Step::KeyUpdate),
    ];
    prop::collection::vec(step, 0..12)
}

/// Seals it; returns what the other end should see.
fn seal(step: &Step, sealer: &mut Sealer, out: &mut Vec<u8>) -> (Kind, Vec<u8>) {
    let (content, kind, data) = match step {
        Step::Data(data) => (Content::Data(data), Kind::Data, data.clone()),
        Step::Control(data) => (Content::Control(data), Kind::Control, data.clone()),
        Step::Pad(len) => (Content::Pad(*len), Kind::Pad, Vec::new()),
        Step::KeyUpdate => {
            sealer.seal_key_update(Duration::ZERO, out).unwrap();
            return (Kind::KeyUpdate, Vec::new());
        }
    };
    sealer.seal(content, out).unwrap();
    (kind, data)
}

fn sealed_len(step: &Step) -> usize {
    let inner = match step {
        Step::Data(data) | Step::Control(data) if data.len() >= PADDED_BELOW => data.len() + 1,
        Step::Data(data) | Step::Control(data) => (data.len() + 1).next_multiple_of(PADDING),
        Step::Pad(len) => len + 1,
        Step::KeyUpdate => PADDING,
    };
    HEADER + inner + TAG
}

fn pass(steps: &[Step], sealer: &mut Sealer, opener: &mut Opener) -> Result<(), TestCaseError> {
    for step in steps {
        // Appended, and nothing before it is touched.
        let mut out = vec![7; 3];
        let wanted = seal(step, sealer, &mut out);
        prop_assert_eq!(&out[..3], &[7; 3]);
        let mut frame = out.split_off(3);
        prop_assert_eq!(frame.len(), sealed_len(step));
        prop_assert!(frame.len() <= FRAME_MAX);
        let opened = opener.open(&mut frame).unwrap();
        prop_assert_eq!((opened.kind, frame[opened.data].to_vec()), wanted);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_is_opened(there in steps(), back in steps(), seed in 1..60_u8, code: u16) {
        let mut talk = talk(Mode::Reconnect, seed);
        pass(&there, &mut talk.device.sealer, &mut talk.host.opener)?;
        pass(&back, &mut talk.host.sealer, &mut talk.device.opener)?;
        pass(&back, &mut talk.device.sealer, &mut talk.host.opener)?;
        let mut close = Vec::new();
        talk.host.sealer.seal_close(CloseCode::of(code), &mut close).unwrap();
        prop_assert_eq!(talk.device.opener.open(&mut close).unwrap().kind, Kind::Close);
        prop_assert_eq!(talk.device.opener.closed(), Some(CloseCode::of(code)));
        prop_assert_eq!(CloseCode::of(code).number(), code);
    }

    /// A short frame's length says nothing of its data but in steps of 256 bytes, and not what kind it is.
    #[test]
    fn short_frames_look_the_same(one in 0..255_usize, other in 0..255_usize) {
        let mut talk = talk(Mode::Reconnect, 3);
        let mut frame = |content: Content<'_>| {
            let mut out = Vec::new();
            talk.host.sealer.seal(content, &mut out).unwrap();
            out.len()
        };
        prop_assert_eq!(frame(Content::Data(&vec![1; one])), frame(Content::Control(&vec![1; other])));
    }

    #[test]
    fn any_bytes_end_the_session(bytes: Vec<u8>, headed: bool, fill in 0..=FRAME_MAX + 2) {
        let mut frame = if headed { [&[0x11, 0, 0, 0][..], &bytes].concat() } else { bytes };
        frame.resize(frame.len().max(fill), 0x11);
        let mut talk = talk(Mode::Reconnect, 3);
        prop_assert_eq!(talk.host.opener.open(&mut frame), Err(OpenError));
        let mut right = Vec::new();
        talk.device.sealer.seal(Content::Data(b"x"), &mut right).unwrap();
        prop_assert_eq!(talk.host.opener.open(&mut right), Err(OpenError));
    }
}
