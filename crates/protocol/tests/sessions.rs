//! Whole conversations: offer, handshake, frames, and what someone between can try.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use couplet_protocol::frame::{CloseCode, Content, FRAME_MAX, Kind};
use couplet_protocol::handshake::{HandshakeError, Hello, Initiator, Mode, PairingKeys, Responder};
use couplet_protocol::message::Claim;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, OfferSecret, Psk};
use couplet_protocol::{CheckCode, Offer, Session, StaticSecret};

fn entropy(n: u8) -> Entropy {
    Entropy::new([n; 32])
}

fn key(n: u8) -> StaticSecret {
    StaticSecret::new([n; 32]).unwrap()
}

fn claim() -> Claim {
    Claim { name: "Phone".into(), model: None, platform: Some("Linux".into()), kind: "mobile".into() }
}

fn offer(host: &StaticSecret) -> Offer {
    Offer {
        suites: SUITE_1,
        expires_at: 1_800_000_000,
        secret: OfferSecret::new([9; 16]),
        host_key: host.public(),
        endpoints: vec!["192.168.1.42:7878".parse().map(couplet_protocol::Endpoint::Lan).unwrap()],
    }
}

struct Paired {
    device: Session,
    host: Session,
    codes: (CheckCode, CheckCode),
}

fn pair() -> Paired {
    let (host, device) = (key(1), key(2));
    let offer = offer(&host);
    let (initiator, m1) = Initiator::pair(&offer, &device, claim(), entropy(3), entropy(4)).unwrap();
    let hello = Hello::parse(&m1).unwrap();
    let keys = offer.keys().unwrap();
    assert_eq!((hello.mode(), hello.id()), (Mode::Pair, keys.offer_id));
    let responder = Responder::pair(&hello, &host, &keys.psk, offer.suites, entropy(5)).unwrap();
    assert_eq!(responder.claim(), Some(&claim()));
    assert_eq!(responder.device_key(), device.public());
    let (unconfirmed, m2) = responder.answer("Home", &entropy(6)).unwrap();
    let confirmed = initiator.finish(&m2).unwrap();
    assert_eq!(confirmed.host_name, "Home");
    let shown = confirmed.check_code.clone();
    let (device, mut first) = confirmed.begin().unwrap();
    let (host, code) = unconfirmed.confirm(&mut first).unwrap();
    Paired { device, host, codes: (shown, code.unwrap()) }
}

fn data(frame: &mut [u8], session: &mut Session) -> Option<(Kind, Vec<u8>)> {
    let opened = session.opener.open(frame).ok()?;
    Some((opened.kind, frame[opened.data].to_vec()))
}

#[test]
fn both_ends_show_one_code_and_talk() {
    let mut paired = pair();
    assert!(paired.codes.0 == paired.codes.1);
    let mut frame = Vec::new();
    for text in [&b""[..], b"hello\0\0", &[7; 16_619]] {
        frame.clear();
        paired.host.sealer.seal(Content::Data(text), &mut frame).unwrap();
        assert!(frame.len() <= FRAME_MAX);
        assert_eq!(data(&mut frame, &mut paired.device), Some((Kind::Data, text.to_vec())));
    }
    frame.clear();
    paired.device.sealer.seal_close(CloseCode::Done, &mut frame).unwrap();
    assert_eq!(paired.host.opener.open(&mut frame).unwrap().kind, Kind::Close);
    assert_eq!(paired.host.opener.closed(), Some(CloseCode::Done));
}

#[test]
fn a_paired_device_comes_back_and_nobody_else() {
    let (host, device) = (key(1), key(2));
    let keys = PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: host.public(), suites: SUITE_1 };
    let (initiator, m1) = Initiator::reconnect(&keys, &device, entropy(3)).unwrap();
    let hello = Hello::parse(&m1).unwrap();
    assert_eq!((hello.mode(), hello.id()), (Mode::Reconnect, [8; 8]));
    let open = |device_key: couplet_protocol::PublicKey, psk: u8| {
        Responder::reconnect(&hello, &host, &Psk::new([psk; 32]), SUITE_1, &device_key, entropy(5))
    };
    assert_eq!(open(key(9).public(), 7).unwrap_err(), HandshakeError::Failed);
    // A wrong PSK shows at M2 only: it is mixed in there.
    let (_, wrong) = open(device.public(), 6).unwrap().answer("Home", &entropy(6)).unwrap();
    let (unconfirmed, m2) = open(device.public(), 7).unwrap().answer("Home", &entropy(6)).unwrap();
    assert_eq!(
        Initiator::reconnect(&keys, &device, entropy(3)).unwrap().0.finish(&wrong).unwrap_err(),
        HandshakeError::Failed
    );
    let (_, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    assert!(unconfirmed.confirm(&mut first).unwrap().1.is_none());
}

#[test]
fn keys_are_updated_and_frames_are_counted() {
    let mut paired = pair();
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
