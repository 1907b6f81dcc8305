//! What the targets share: the two ends of `spec/vectors/`, so that what stands there is a valid input, and a peer with
//! the right keys that says whatever it likes.

use std::sync::LazyLock;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use clatter::bytearray::ByteArray;
use clatter::crypto::{cipher, dh, hash};
use clatter::handshakepattern::{noise_ik_psk1, noise_ik_psk2};
use clatter::traits::Dh as _;
use clatter::{Handshaker, KeyPair, NqHandshake};
use couplet_protocol::handshake::{HandshakeError, Hello, Initiator, Mode, PairingKeys, Responder, Unconfirmed};
use couplet_protocol::message::Claim;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, OfferSecret, Psk};
use couplet_protocol::{Offer, Session, StaticSecret};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use serde_json::Value;
use sha2::Sha256;

/// Bytes that tell where they stand, as in the vectors.
pub fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(at as u8))
}

fn key(first: u8) -> StaticSecret {
    StaticSecret::new(counting(first)).unwrap()
}

/// The nonce that the device commits to.
pub fn reveal() -> Entropy {
    Entropy::new(counting(0x70))
}

static OFFER: LazyLock<Offer> = LazyLock::new(|| Offer {
    suites: SUITE_1,
    expires_at: 1_800_000_000,
    secret: OfferSecret::new(counting(0xa0)),
    host_key: key(0x10).public(),
    endpoints: Vec::new(),
});

fn psk(mode: Mode) -> Psk {
    match mode {
        Mode::Pair => OFFER.keys().unwrap().psk,
        Mode::Reconnect => Psk::new(counting(0x33)),
    }
}

/// The first byte of an input chooses.
pub fn mode(byte: u8) -> Mode {
    if byte & 1 == 0 { Mode::Pair } else { Mode::Reconnect }
}

/// The device's first step.
pub fn begin(mode: Mode) -> (Initiator, Vec<u8>) {
    let (device, ephemeral) = (key(0x40), Entropy::new(counting(0x21)));
    match mode {
        Mode::Pair => {
            let claim = Claim {
                name: "Anna's phone".into(),
                model: Some("Model 7".into()),
                platform: Some("Linux".into()),
                kind: "mobile".into(),
            };
            Initiator::pair(&OFFER, &device, claim, ephemeral, reveal()).unwrap()
        }
        Mode::Reconnect => {
            let host_key = key(0x10).public();
            let keys = PairingKeys { psk_id: counting(0xe0), psk: psk(mode), host_key, suites: SUITE_1 };
            Initiator::reconnect(&keys, &device, ephemeral).unwrap()
        }
    }
}

/// What a host makes of an M1.
pub fn receive(m1: &[u8]) -> Result<Responder, HandshakeError> {
    let hello = Hello::parse(m1)?;
    let (host, psk, ephemeral) = (key(0x10), psk(hello.mode()), Entropy::new(counting(0x81)));
    match hello.mode() {
        Mode::Pair => Responder::pair(&hello, &host, &psk, SUITE_1, ephemeral),
        Mode::Reconnect => Responder::reconnect(&hello, &host, &psk, SUITE_1, &key(0x40).public(), ephemeral),
    }
}

/// The host's second step.
pub fn answer(responder: Responder) -> (Unconfirmed, Vec<u8>) {
    responder.answer("Home", &Entropy::new(counting(0xd0))).unwrap()
}

/// The session of the vectors, on either end, after the device's confirm.
pub fn talk() -> (Session, Session) {
    let (initiator, m1) = begin(Mode::Pair);
    let (unconfirmed, m2) = answer(receive(&m1).unwrap());
    let (device, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
    (device, unconfirmed.confirm(&mut first).unwrap().session)
}

/// Runs it, and sees to it that it allocates no more than this at a time.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let mut done = None;
    let most = allocation_counter::measure(|| done = Some(work())).bytes_max;
    assert!(most <= bytes as u64, "{most} bytes were allocated, {bytes} are enough");
    done.unwrap()
}

type Noise = NqHandshake<dh::X25519, cipher::ChaChaPoly, hash::Sha256>;

/// Another implementation of Noise, with the keys of one end.
pub struct Peer(Noise);

impl Peer {
    pub fn new(mode: Mode, header: &[u8], initiates: bool) -> Self {
        let keys = |first: u8| {
            let secret = <dh::X25519 as clatter::traits::Dh>::PrivateKey::from_slice(&counting::<32>(first));
            KeyPair::new(dh::X25519::pubkey(&secret), secret)
        };
        let (pattern, prologue) = match mode {
            Mode::Pair => (noise_ik_psk1(), [b"couplet/1", header].concat()),
            Mode::Reconnect => (noise_ik_psk2(), [b"couplet/1", header].concat()),
        };
        let (ours, ephemeral) = if initiates { (0x40, 0x21) } else { (0x10, 0x81) };
        let theirs = initiates.then(|| keys(0x10).public);
        let noise = Noise::new(pattern, &prologue, initiates, Some(keys(ours)), Some(keys(ephemeral)), theirs, None);
        let mut noise = noise.unwrap();
        noise.push_psk(psk(mode).expose());
        Peer(noise)
    }

    pub fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 65_535];
        let len = self.0.write_message(payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    pub fn read(&mut self, message: &[u8]) {
        self.0.read_message(message, &mut vec![0; message.len()]).unwrap();
    }
}

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The frames that the host sends in the vectors' session.
pub static HOST_FRAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let file = vectors(include_str!("../../spec/vectors/frames.json"));
    let frames = file["frames"].as_array().unwrap().iter();
    frames.filter(|frame| frame["from"] == "host").map(|frame| unhex(&frame["frame"])).collect()
});

static KEYS: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let file = vectors(include_str!("../../spec/vectors/frames.json"));
    (unhex(&file["key_i2r"]), unhex(&file["prefix_i2r"]))
});

/// Seals what a device may not: any inner part, under the session's keys (spec/protocol.md, 4).
pub struct Sealer {
    key: Vec<u8>,
    prefix: Vec<u8>,
    epoch: u16,
    counter: u64,
}

impl Default for Sealer {
    fn default() -> Self {
        // The confirm was the first.
        Sealer { key: KEYS.0.clone(), prefix: KEYS.1.clone(), epoch: 0, counter: 1 }
    }
}

impl Sealer {
    pub fn seal(&mut self, inner: &[u8]) -> Vec<u8> {
        let head = [&[0x11, 0][..], &self.epoch.to_be_bytes()].concat();
        let nonce = [&self.prefix[..], &self.counter.to_le_bytes()].concat();
        let cipher = XChaCha20Poly1305::new_from_slice(&self.key).unwrap();
        let nonce = XNonce::try_from(&nonce[..]).unwrap();
        let sealed = cipher.encrypt(&nonce, Payload { msg: inner, aad: &head }).unwrap();
        self.counter += 1;
        [head, sealed].concat()
    }

    pub fn update(&mut self) {
        let mut next = [0; 48];
        let source = Hkdf::<Sha256>::from_prk(&self.key).unwrap();
        source.expand(b"couplet/1 rekey i2r", &mut next).unwrap();
        (self.key, self.prefix) = (next[..32].to_vec(), next[32..].to_vec());
        (self.epoch, self.counter) = (self.epoch + 1, 0);
    }
}

/// Parts of an input, each after its length in two bytes.
pub fn parts(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = input.split_first_chunk::<2>()?;
        let (part, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        input = rest;
        Some(part)
    })
}
