//! Both ends of a conversation on a desk: fixed keys, nothing between them but the test.
#![allow(dead_code, reason = "each test takes what it needs")]

use couplet_protocol::handshake::{HandshakeError, Hello, Initiator, Mode, PairingKeys, Responder};
use couplet_protocol::message::Claim;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, OfferSecret, Psk};
use couplet_protocol::{Offer, Session, StaticSecret};

pub(crate) const BOTH: [Mode; 2] = [Mode::Pair, Mode::Reconnect];

pub(crate) fn entropy(n: u8) -> Entropy {
    Entropy::new([n; 32])
}

pub(crate) fn key(n: u8) -> StaticSecret {
    StaticSecret::new([n; 32]).unwrap()
}

pub(crate) fn host_key() -> StaticSecret {
    key(1)
}

pub(crate) fn device_key() -> StaticSecret {
    key(2)
}

pub(crate) fn claim() -> Claim {
    Claim { name: "Phone".into(), model: None, platform: Some("Linux".into()), kind: "mobile".into() }
}

pub(crate) fn offer() -> Offer {
    Offer {
        suites: SUITE_1,
        expires_at: 1_800_000_000,
        secret: OfferSecret::new([9; 16]),
        host_key: host_key().public(),
        endpoints: Vec::new(),
    }
}

pub(crate) fn pairing() -> PairingKeys {
    PairingKeys { psk_id: [8; 8], psk: Psk::new([7; 32]), host_key: host_key().public(), suites: SUITE_1 }
}

/// The device's first step, with fresh bytes made of `seed`.
pub(crate) fn begin(mode: Mode, seed: u8) -> (Initiator, Vec<u8>) {
    let begun = match mode {
        Mode::Pair => Initiator::pair(&offer(), &device_key(), claim(), entropy(seed), entropy(seed ^ 0x40)),
        Mode::Reconnect => Initiator::reconnect(&pairing(), &device_key(), entropy(seed)),
    };
    begun.unwrap()
}

/// What a host with that offer and that device makes of an M1.
pub(crate) fn receive(m1: &[u8], seed: u8) -> Result<Responder, HandshakeError> {
    let hello = Hello::parse(m1)?;
    let seed = entropy(seed ^ 0x80);
    match hello.mode() {
        Mode::Pair => Responder::pair(&hello, &host_key(), &offer().keys().unwrap().psk, SUITE_1, seed),
        Mode::Reconnect => {
            Responder::reconnect(&hello, &host_key(), &pairing().psk, SUITE_1, &device_key().public(), seed)
        }
    }
}

/// The host's M2 to an honest M1.
pub(crate) fn answer(mode: Mode, seed: u8) -> Vec<u8> {
    receive(&begin(mode, seed).1, seed).unwrap().answer("Home", &entropy(6)).unwrap().1
}

pub(crate) struct Talk {
    pub(crate) device: Session,
    pub(crate) host: Session,
}

/// A session after its first frame.
pub(crate) fn talk(mode: Mode, seed: u8) -> Talk {
    let (initiator, m1) = begin(mode, seed);
    let (unconfirmed, m2) = receive(&m1, seed).unwrap().answer("Home", &entropy(6)).unwrap();
    let (device, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    let host = unconfirmed.confirm(&mut first).unwrap().session;
    Talk { device, host }
}
