//! What someone between the two ends can do to messages and frames: nothing but end the conversation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ends;

use std::time::Duration;

use couplet_protocol::frame::{CloseCode, Content, DATA_MAX, FRAME_MAX, Kind, Opened};
use couplet_protocol::handshake::{HandshakeError, Hello, Initiator, M1_MAX, M2_MAX, Mode, PairingKeys, Responder};
use couplet_protocol::message::Control;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{OfferSecret, Psk};
use couplet_protocol::session::{OpenError, Opener, SealError, Sealer};
use couplet_protocol::{Offer, StaticSecret};
use ends::{BOTH, answer, begin, claim, device_key, entropy, host_key, key, offer, pairing, receive, talk};

/// The shortest M1 that is worth opening: 13 bytes of header and 96 of Noise.
const M1_MIN: usize = 13 + 96;
const SECRET: &[u8] = b"what nobody between may read";

/// The points of small order on Curve25519 and its twist, with their non-canonical forms (RFC 7748, 7).
fn low_order() -> Vec<[u8; 32]> {
    let mut below = [0xff; 32];
    (below[0], below[31]) = (0xec, 0x7f);
    let (mut zero, mut one) = (below, below);
    (zero[0], one[0]) = (0xed, 0xee);
    let mut unit = [0; 32];
    unit[0] = 1;
    let eighth = *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00";
    let other = *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57";
    vec![[0; 32], unit, eighth, other, below, zero, one]
}

fn failed(m1: &[u8], wanted: HandshakeError, what: &str) {
    assert_eq!(receive(m1, 3).unwrap_err(), wanted, "{what}");
}

fn unanswered(mode: Mode, m2: &[u8], wanted: HandshakeError, what: &str) {
    assert_eq!(begin(mode, 3).0.finish(m2).unwrap_err(), wanted, "{mode:?} {what}");
}

#[test]
fn every_bit_of_m1_counts() {
    for mode in BOTH {
        let (_, m1) = begin(mode, 3);
        assert!(receive(&m1, 3).is_ok());
        for (at, bit) in (0..m1.len()).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))) {
            let mut changed = m1.clone();
            changed[at] ^= bit;
            let wanted = match at {
                0 | 3 => HandshakeError::Malformed,
                1 => HandshakeError::Version(changed[1]),
                2 | 4 => HandshakeError::Suite,
                _ => HandshakeError::Failed,
            };
            failed(&changed, wanted, &format!("{mode:?} byte {at}"));
        }
    }
}

#[test]
fn every_bit_of_m2_counts() {
    for mode in BOTH {
        let m2 = answer(mode, 3);
        assert!(begin(mode, 3).0.finish(&m2).is_ok());
        for (at, bit) in (0..m2.len()).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))) {
            let mut changed = m2.clone();
            changed[at] ^= bit;
            let wanted = if at == 0 { HandshakeError::Malformed } else { HandshakeError::Failed };
            unanswered(mode, &changed, wanted, &format!("byte {at}"));
        }
    }
}

#[test]
fn messages_of_another_length_are_not_opened() {
    for mode in BOTH {
        let (_, m1) = begin(mode, 3);
        for len in 0..m1.len() {
            let wanted = if len < M1_MIN { HandshakeError::Malformed } else { HandshakeError::Failed };
            failed(&m1[..len], wanted, &format!("{len} bytes"));
        }
        let m2 = answer(mode, 3);
        unanswered(mode, &[], HandshakeError::Malformed, "nothing");
        (1..m2.len()).for_each(|len| unanswered(mode, &m2[..len], HandshakeError::Failed, &format!("{len} bytes")));
        for (more, wanted) in [(1, HandshakeError::Failed), (M1_MAX, HandshakeError::Malformed)] {
            failed(&[&m1[..], &vec![0; more]].concat(), wanted, "too long");
            unanswered(mode, &[&m2[..], &vec![0; more]].concat(), wanted, "too long");
        }
        let mut fits = m1.clone();
        fits.resize(M1_MAX, 0);
        failed(&fits, HandshakeError::Failed, "as long as it may be");
        let mut fits = m2.clone();
        fits.resize(M2_MAX, 0);
        unanswered(mode, &fits, HandshakeError::Failed, "as long as it may be");
    }
}

#[test]
fn messages_in_the_wrong_place_are_not_opened() {
    for (mode, other) in [(Mode::Pair, Mode::Reconnect), (Mode::Reconnect, Mode::Pair)] {
        let (m1, m2) = (begin(mode, 3).1, answer(mode, 3));
        failed(&m2, HandshakeError::Malformed, "M2 as M1");
        unanswered(mode, &m1, HandshakeError::Malformed, "M1 reflected");
        unanswered(mode, &answer(mode, 5), HandshakeError::Failed, "M2 of another session");
        unanswered(mode, &answer(other, 3), HandshakeError::Failed, "M2 of the other mode");
        // The head of one and the body of another: the head is bound in.
        let foreign = begin(mode, 5).1;
        failed(&[&m1[..45], &foreign[45..]].concat(), HandshakeError::Failed, "spliced");
        let mut changed = m1.clone();
        changed[3] = if mode == Mode::Pair { 2 } else { 1 };
        failed(&changed, HandshakeError::Failed, "said to be of the other mode");
    }
}

#[test]
fn keys_of_low_order_end_the_handshake() {
    for mode in BOTH {
        for point in low_order() {
            let (mut m1, mut m2) = (begin(mode, 3).1, answer(mode, 3));
            m1[13..45].copy_from_slice(&point);
            failed(&m1, HandshakeError::Failed, "low order");
            m2[1..33].copy_from_slice(&point);
            unanswered(mode, &m2, HandshakeError::Failed, "low order");
        }
    }
    for point in low_order() {
        let offer = Offer { host_key: couplet_protocol::PublicKey::new(point), ..offer() };
        let begun = Initiator::pair(&offer, &device_key(), claim(), entropy(3), entropy(4));
        assert_eq!(begun.unwrap_err(), HandshakeError::Failed, "an offer with such a key");
    }
}

/// What the host of `offer()` makes of the M1 of a device that read another offer.
fn claims(read: &Offer, host: &StaticSecret, suites: u8) -> Result<Responder, HandshakeError> {
    let (_, m1) = Initiator::pair(read, &device_key(), claim(), entropy(3), entropy(4)).unwrap();
    Responder::pair(&Hello::parse(&m1).unwrap(), host, &offer().keys().unwrap().psk, suites, entropy(5))
}

#[test]
fn who_has_not_the_offer_gets_no_answer() {
    assert!(claims(&offer(), &host_key(), SUITE_1).is_ok());
    for (what, read) in [
        ("K", Offer { secret: OfferSecret::new([10; 16]), ..offer() }),
        ("HS", Offer { host_key: key(9).public(), ..offer() }),
        ("end", Offer { expires_at: 1_800_000_001, ..offer() }),
    ] {
        assert_eq!(claims(&read, &host_key(), SUITE_1).unwrap_err(), HandshakeError::Failed, "another {what}");
    }
    assert_eq!(claims(&offer(), &key(9), SUITE_1).unwrap_err(), HandshakeError::Failed, "another host");
}

#[test]
fn only_the_paired_device_and_the_pinned_host_come_together() {
    let open = |keys: &PairingKeys, device: &StaticSecret, host: &StaticSecret, paired: &StaticSecret| {
        let (initiator, m1) = Initiator::reconnect(keys, device, entropy(3)).unwrap();
        let hello = Hello::parse(&m1).unwrap();
        let responder = Responder::reconnect(&hello, host, &pairing().psk, SUITE_1, &paired.public(), entropy(5))?;
        let (_, m2) = responder.answer("Home", &entropy(6))?;
        initiator.finish(&m2).map(drop)
    };
    let (device, host) = (device_key(), host_key());
    assert_eq!(open(&pairing(), &device, &host, &device), Ok(()));
    let failed = Err(HandshakeError::Failed);
    assert_eq!(open(&pairing(), &key(9), &host, &device), failed, "another device");
    assert_eq!(open(&pairing(), &device, &key(9), &device), failed, "another host");
    let keys = PairingKeys { host_key: key(9).public(), ..pairing() };
    assert_eq!(open(&keys, &device, &host, &device), failed, "another pinned key");
    let keys = PairingKeys { psk: Psk::new([6; 32]), ..pairing() };
    assert_eq!(open(&keys, &device, &host, &device), failed, "another pairing PSK");
}

#[test]
fn versions_suites_and_modes_are_those_that_were_agreed_on() {
    let (_, m1) = begin(Mode::Pair, 3);
    let with = |at: usize, value: u8| {
        let mut m1 = m1.clone();
        m1[at] = value;
        receive(&m1, 3).unwrap_err()
    };
    for value in (0..=255).filter(|value| *value != 1) {
        assert_eq!(with(0, value), HandshakeError::Malformed);
        assert_eq!(with(1, value), HandshakeError::Version(value));
        assert_eq!(with(2, value), HandshakeError::Suite);
        assert_eq!(with(4, value), HandshakeError::Suite);
        let mode = if value == 2 { HandshakeError::Failed } else { HandshakeError::Malformed };
        assert_eq!(with(3, value), mode);
    }
    // Another version may be of any length.
    assert_eq!(Hello::parse(&[1, 2]).unwrap_err(), HandshakeError::Version(2));
    assert_eq!(Hello::parse(&[1]).unwrap_err(), HandshakeError::Malformed);
    for suites in [0, 0b10, 0b1111_1110] {
        let offer = Offer { suites, ..offer() };
        let begun = Initiator::pair(&offer, &device_key(), claim(), entropy(3), entropy(4));
        assert_eq!(begun.unwrap_err(), HandshakeError::Suite);
        let keys = PairingKeys { suites, ..pairing() };
        assert_eq!(Initiator::reconnect(&keys, &device_key(), entropy(3)).unwrap_err(), HandshakeError::Suite);
    }
}

#[test]
fn a_suite_cannot_be_taken_out_of_an_offer_on_the_way() {
    let both = Offer { suites: 0b11, ..offer() };
    assert!(claims(&both, &host_key(), 0b11).is_ok());
    // The QR was changed, or the M1 was: the host sees other suites than it offered.
    assert_eq!(claims(&offer(), &host_key(), 0b11).unwrap_err(), HandshakeError::Suite);
    assert_eq!(claims(&both, &host_key(), 0b01).unwrap_err(), HandshakeError::Suite);
    // Changed back on the way: the prologue tells.
    let (_, mut m1) = begin(Mode::Pair, 3);
    m1[4] = 0b11;
    let hello = Hello::parse(&m1).unwrap();
    let opened = Responder::pair(&hello, &host_key(), &offer().keys().unwrap().psk, 0b11, entropy(5));
    assert_eq!(opened.unwrap_err(), HandshakeError::Failed);
}

#[test]
fn the_first_frame_is_the_confirm_that_was_committed_to() {
    let unconfirmed = |mode| {
        let (initiator, m1) = begin(mode, 3);
        let (unconfirmed, m2) = receive(&m1, 3).unwrap().answer("Home", &entropy(6)).unwrap();
        (unconfirmed, initiator.finish(&m2).unwrap())
    };
    for mode in BOTH {
        let (host, confirmed) = unconfirmed(mode);
        let (_, mut first) = confirmed.begin().unwrap();
        first[9] ^= 1;
        assert_eq!(host.confirm(&mut first).unwrap_err(), HandshakeError::Failed);
        for content in [Content::Data(b"GET /"), Content::Pad(3), Content::Control(b"\xa1\x61\x74\x63ack")] {
            let (host, mut confirmed) = unconfirmed(mode);
            let mut frame = Vec::new();
            confirmed.session.sealer.seal(content, &mut frame).unwrap();
            assert_eq!(host.confirm(&mut frame).unwrap_err(), HandshakeError::Malformed, "{content:?}");
        }
    }
    for reveal in [None, Some(entropy(99))] {
        let (host, mut confirmed) = unconfirmed(Mode::Pair);
        confirmed.confirm = Control::Confirm { reveal, rooms: None };
        let (_, mut first) = confirmed.begin().unwrap();
        assert_eq!(host.confirm(&mut first).unwrap_err(), HandshakeError::Commitment);
    }
}

type Direction = fn(&mut ends::Talk) -> (&mut Sealer, &mut Opener);

/// From the host to the device, and back.
const DIRECTIONS: [Direction; 2] =
    [|talk| (&mut talk.host.sealer, &mut talk.device.opener), |talk| (&mut talk.device.sealer, &mut talk.host.opener)];

fn sealed(sealer: &mut Sealer, text: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    sealer.seal(Content::Data(text), &mut frame).unwrap();
    frame
}

fn updated(sealer: &mut Sealer) -> Vec<u8> {
    let mut frame = Vec::new();
    sealer.seal_key_update(Duration::ZERO, &mut frame).unwrap();
    frame
}

fn text(opener: &mut Opener, mut frame: Vec<u8>) -> Vec<u8> {
    let Opened { kind, data } = opener.open(&mut frame).unwrap();
    assert!(matches!(kind, Kind::Data | Kind::KeyUpdate));
    frame[data].to_vec()
}

/// One error, no plaintext, and nothing is opened any more: not even what would have been right.
fn fatal(opener: &mut Opener, mut frame: Vec<u8>, right: Vec<u8>, what: &str) {
    assert_eq!(opener.open(&mut frame), Err(OpenError), "{what}");
    assert!(!frame.windows(SECRET.len()).any(|part| part == SECRET), "{what}: plaintext is left");
    assert_eq!(opener.open(&mut right.clone()), Err(OpenError), "{what}: the session goes on");
    assert_eq!(opener.closed(), None, "{what}");
}

/// In each direction of a fresh session: `change` is given the right frame and returns what arrives instead.
fn changed(change: impl Fn(Vec<u8>) -> Vec<u8>, what: &str) {
    for direction in DIRECTIONS {
        let mut talk = talk(Mode::Reconnect, 3);
        let (sealer, opener) = direction(&mut talk);
        let right = sealed(sealer, SECRET);
        fatal(opener, change(right.clone()), right, what);
    }
}

#[test]
fn every_byte_of_a_frame_counts() {
    let len = sealed(&mut talk(Mode::Pair, 3).host.sealer, SECRET).len();
    assert_eq!(len, 4 + 256 + 16);
    for at in 0..len {
        for bit in [1 << (at % 8), 0x80] {
            let flip = |mut frame: Vec<u8>| {
                frame[at] ^= bit;
                frame
            };
            changed(flip, &format!("byte {at}"));
        }
    }
    for len in 0..len {
        changed(|frame| frame[..len].to_vec(), &format!("cut to {len} bytes"));
    }
    for more in [1, 16, FRAME_MAX] {
        changed(|frame| [frame, vec![0; more]].concat(), "longer");
    }
    changed(|frame| [&frame[..], &frame[..]].concat(), "twice in one message");
}

#[test]
fn frames_are_opened_once_and_in_order() {
    for direction in DIRECTIONS {
        let three = || {
            let mut talk = talk(Mode::Pair, 3);
            let (sealer, _) = direction(&mut talk);
            let frames = [&SECRET[1..], SECRET, SECRET].map(|text| sealed(sealer, text));
            (talk, frames)
        };
        let (mut right, [first, second, third]) = three();
        let opener = direction(&mut right).1;
        assert_eq!(text(opener, first), &SECRET[1..]);
        assert_eq!(text(opener, second.clone()), SECRET);
        fatal(opener, second, third, "repeated");

        let (mut swapped, [first, second, _]) = three();
        fatal(direction(&mut swapped).1, second, first, "swapped");

        let (mut lost, [first, second, third]) = three();
        let opener = direction(&mut lost).1;
        assert_eq!(text(opener, first), &SECRET[1..]);
        fatal(opener, third, second, "one lost");
    }
}

#[test]
fn frames_of_another_direction_session_or_epoch_are_not_opened() {
    for (direction, back) in [(DIRECTIONS[0], DIRECTIONS[1]), (DIRECTIONS[1], DIRECTIONS[0])] {
        // As many frames have gone each way: only the keys differ. Reflected: the sender's own frame comes back to it.
        let mut here = talk(Mode::Pair, 3);
        for way in DIRECTIONS {
            let (sealer, opener) = way(&mut here);
            let frame = sealed(sealer, b"");
            text(opener, frame);
        }
        let own = sealed(direction(&mut here).0, SECRET);
        let (sealer, opener) = back(&mut here);
        let right = sealed(sealer, SECRET);
        fatal(opener, own, right, "reflected");

        let (mut here, mut there) = (talk(Mode::Reconnect, 3), talk(Mode::Reconnect, 5));
        let foreign = sealed(direction(&mut there).0, SECRET);
        let (sealer, opener) = direction(&mut here);
        let right = sealed(sealer, SECRET);
        fatal(opener, foreign, right, "of another session of the same ends");

        // A frame of epoch 0 after its KEYUPDATE; with the head of the new epoch, too.
        for head in [0, 1] {
            let (mut here, mut twin) = (talk(Mode::Reconnect, 3), talk(Mode::Reconnect, 3));
            let mut old = sealed(direction(&mut twin).0, SECRET);
            old[3] = head;
            let (sealer, opener) = direction(&mut here);
            let update = updated(sealer);
            text(opener, update);
            let right = sealed(sealer, SECRET);
            fatal(opener, old, right, "of the epoch before");
        }

        let mut here = talk(Mode::Reconnect, 3);
        let (sealer, opener) = direction(&mut here);
        let update = updated(sealer);
        fatal(opener, sealed(sealer, SECRET), update, "of the epoch to come");
    }
}

#[test]
fn nothing_follows_a_close() {
    for direction in DIRECTIONS {
        let mut talk = talk(Mode::Pair, 3);
        let (sealer, opener) = direction(&mut talk);
        let (first, update, second) = (sealed(sealer, SECRET), updated(sealer), sealed(sealer, SECRET));
        let mut close = Vec::new();
        sealer.seal_close(CloseCode::Leaving, &mut close).unwrap();
        [first.clone(), update, second].into_iter().for_each(|frame| drop(text(opener, frame)));
        assert_eq!(opener.open(&mut close.clone()).unwrap().kind, Kind::Close, "it counts the frames of all epochs");
        assert_eq!(opener.closed(), Some(CloseCode::Leaving));
        for frame in [close, first] {
            assert_eq!(opener.open(&mut frame.clone()), Err(OpenError));
        }
        assert_eq!(opener.closed(), Some(CloseCode::Leaving));
        let mut none = Vec::new();
        assert_eq!(sealer.seal(Content::Data(b"x"), &mut none), Err(SealError::Over));
        assert_eq!(sealer.seal_key_update(Duration::ZERO, &mut none), Err(SealError::Over));
        assert_eq!(sealer.seal_close(CloseCode::Done, &mut none), Err(SealError::Over));
        assert_eq!(none, [0; 0]);
    }
}

#[test]
fn what_does_not_fit_is_not_sealed() {
    let mut talk = talk(Mode::Pair, 3);
    let mut out = vec![1];
    let long = vec![7; DATA_MAX + 1];
    for content in [Content::Data(&long), Content::Control(&long), Content::Pad(DATA_MAX + 1), Content::Pad(usize::MAX)]
    {
        assert_eq!(talk.host.sealer.seal(content, &mut out), Err(SealError::TooLong));
    }
    assert_eq!(out, [1]);
    out.clear();
    talk.host.sealer.seal(Content::Data(&long[1..]), &mut out).unwrap();
    assert_eq!(out.len(), FRAME_MAX);
    assert_eq!(talk.device.opener.open(&mut out).unwrap().data, 4..4 + DATA_MAX);
}
