//! Whole conversations: offer, handshake, frames.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ends;

use std::time::Duration;

use couplet_protocol::frame::{CloseCode, Content, FRAME_MAX, Kind};
use couplet_protocol::handshake::{HandshakeError, Hello, Mode, Proof, Responder};
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::Psk;
use couplet_protocol::{PublicKey, Session};
use ends::{begin, claim, device_key, entropy, host_key, key, offer, receive, talk};

fn data(frame: &mut [u8], session: &mut Session) -> Option<(Kind, Vec<u8>)> {
    let opened = session.opener.open(frame).ok()?;
    Some((opened.kind, frame[opened.data].to_vec()))
}

#[test]
fn both_ends_show_one_code_and_talk() {
    let (initiator, m1) = begin(Mode::Pair, 3);
    let hello = Hello::parse(&m1).unwrap();
    assert_eq!((hello.mode(), hello.id()), (Mode::Pair, offer().keys().unwrap().offer_id));
    let responder = receive(&m1, 3).unwrap();
    assert_eq!((responder.claim(), responder.device_key()), (Some(&claim()), device_key().public()));
    let (unconfirmed, m2) = responder.answer("Home", &entropy(6)).unwrap();
    let confirmed = initiator.finish(&m2).unwrap();
    assert_eq!(confirmed.host_name, "Home");
    let shown = confirmed.check_code.clone();
    let (mut device, mut first) = confirmed.begin().unwrap();
    let Proof { session: mut host, check_code: code, .. } = unconfirmed.confirm(&mut first).unwrap();
    assert!(shown == code.unwrap());
    let mut frame = Vec::new();
    for text in [&b""[..], b"hello\0\0", &[7; 16_619]] {
        frame.clear();
        host.sealer.seal(Content::Data(text), &mut frame).unwrap();
        assert!(frame.len() <= FRAME_MAX);
        assert_eq!(data(&mut frame, &mut device), Some((Kind::Data, text.to_vec())));
    }
    frame.clear();
    device.sealer.seal_close(CloseCode::Done, &mut frame).unwrap();
    assert_eq!(host.opener.open(&mut frame).unwrap().kind, Kind::Close);
    assert_eq!(host.opener.closed(), Some(CloseCode::Done));
}

#[test]
fn a_paired_device_comes_back_and_nobody_else() {
    let (initiator, m1) = begin(Mode::Reconnect, 3);
    let hello = Hello::parse(&m1).unwrap();
    assert_eq!((hello.mode(), hello.id()), (Mode::Reconnect, [8; 8]));
    let open = |device_key: PublicKey, psk: u8| {
        Responder::reconnect(&hello, &host_key(), &Psk::new([psk; 32]), SUITE_1, &device_key, entropy(5))
    };
    assert_eq!(open(key(9).public(), 7).unwrap_err(), HandshakeError::Failed);
    // A wrong PSK shows at M2 only: it is mixed in there.
    let (_, wrong) = open(device_key().public(), 6).unwrap().answer("Home", &entropy(6)).unwrap();
    let (unconfirmed, m2) = open(device_key().public(), 7).unwrap().answer("Home", &entropy(6)).unwrap();
    assert_eq!(begin(Mode::Reconnect, 3).0.finish(&wrong).unwrap_err(), HandshakeError::Failed);
    let (_, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    assert!(unconfirmed.confirm(&mut first).unwrap().check_code.is_none());
}

#[test]
fn keys_are_updated_and_frames_are_counted() {
    let mut paired = talk(Mode::Pair, 3);
    let mut frame = Vec::new();
    for n in 1..=3 {
        frame.clear();
        paired.host.sealer.seal_key_update(Duration::from_secs(n), &mut frame).unwrap();
        assert_eq!(data(&mut frame, &mut paired.device).unwrap().0, Kind::KeyUpdate);
        frame.clear();
        paired.host.sealer.seal(Content::Control(b"x"), &mut frame).unwrap();
        assert_eq!(data(&mut frame, &mut paired.device), Some((Kind::Control, b"x".to_vec())));
    }
    assert!(!paired.host.sealer.key_update_due(Duration::from_secs(3 + 899)));
    assert!(paired.host.sealer.key_update_due(Duration::from_secs(3 + 900)));
}
