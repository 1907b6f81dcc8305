//! Our end of `bench/seal.sh`: what a frame costs to seal and open, and what a handshake costs both ends together, beside
//! the same by RustCrypto and by clatter, which are written in Rust throughout.
//!
//! ```text
//! seal_load MILLISECONDS   measures each for so long; prints `NAME NANOSECONDS` lines
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use clatter::bytearray::ByteArray;
use clatter::crypto::{cipher, dh, hash};
use clatter::handshakepattern::noise_ik_psk1;
use clatter::traits::Dh as _;
use clatter::{Handshaker, KeyPair, NqHandshake};
use couplet_protocol::frame::Content;
use couplet_protocol::handshake::{Hello, Initiator, Responder};
use couplet_protocol::message::Claim;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::{Entropy, OfferSecret};
use couplet_protocol::{Offer, Session, StaticSecret};

/// The processor's time that this process has used, in nanoseconds.
fn used() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The nanoseconds that one run of `work` takes.
fn measure(time: Duration, mut work: impl FnMut()) -> f64 {
    let (began, mut runs) = (used(), 0_u32);
    loop {
        for _ in 0..16 {
            work();
        }
        runs += 16;
        let took = used() - began;
        if took > time.as_nanos() as f64 {
            return took / f64::from(runs);
        }
    }
}

fn fresh(seed: &mut u64) -> [u8; 32] {
    *seed += 1;
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

struct Ends {
    host: StaticSecret,
    device: StaticSecret,
    offer: Offer,
    seed: u64,
}

impl Ends {
    fn new() -> Self {
        let (host, device) = (StaticSecret::new([1; 32]).unwrap(), StaticSecret::new([2; 32]).unwrap());
        let secret = OfferSecret::new([9; 16]);
        let offer =
            Offer { suites: SUITE_1, expires_at: 1_800_000_000, secret, host_key: host.public(), endpoints: vec![] };
        Ends { host, device, offer, seed: 0 }
    }

    fn entropy(&mut self) -> Entropy {
        Entropy::new(fresh(&mut self.seed))
    }

    /// Pairs, from M1 to the opened confirm: the device's session and the host's.
    fn shake_hands(&mut self) -> (Session, Session) {
        let claim = Claim { name: "Phone".into(), model: None, platform: None, kind: "mobile".into() };
        let (ephemeral, nonce) = (self.entropy(), self.entropy());
        let (initiator, m1) = Initiator::pair(&self.offer, &self.device, claim, ephemeral, nonce).unwrap();
        let hello = Hello::parse(&m1).unwrap();
        let psk = self.offer.keys().unwrap().psk;
        let ephemeral = self.entropy();
        let responder = Responder::pair(&hello, &self.host, &psk, SUITE_1, ephemeral).unwrap();
        let (unconfirmed, m2) = responder.answer("Home", &self.entropy()).unwrap();
        let (device, mut first) = initiator.finish(&m2).unwrap().begin().unwrap();
        let host = unconfirmed.confirm(&mut first).unwrap().session;
        (device, host)
    }
}

fn sealed_by_us(size: usize, time: Duration) -> f64 {
    let (mut device, mut host) = Ends::new().shake_hands();
    let (data, mut frame) = (vec![0x55; size], Vec::with_capacity(size + 512));
    measure(time, || {
        if device.sealer.key_update_due(Duration::ZERO) {
            frame.clear();
            device.sealer.seal_key_update(Duration::ZERO, &mut frame).unwrap();
            host.opener.open(&mut frame).unwrap();
        }
        frame.clear();
        device.sealer.seal(Content::Data(&data), &mut frame).unwrap();
        black_box(host.opener.open(&mut frame).unwrap());
    })
}

fn sealed_by_rustcrypto(size: usize, time: Duration) -> f64 {
    let cipher = XChaCha20Poly1305::new(&[3; 32].into());
    let (mut data, mut counter) = (vec![0x55; size], 0_u64);
    measure(time, || {
        let mut nonce = XNonce::default();
        nonce[16..].copy_from_slice(&counter.to_be_bytes());
        counter += 1;
        let tag = cipher.encrypt_inout_detached(&nonce, b"head", data.as_mut_slice().into()).unwrap();
        cipher.decrypt_inout_detached(&nonce, b"head", data.as_mut_slice().into(), &tag).unwrap();
        black_box(&mut data);
    })
}

type Theirs = NqHandshake<dh::X25519, cipher::ChaChaPoly, hash::Sha256>;

/// The same pattern, with messages as long as ours.
fn shaken_by_clatter(time: Duration) -> f64 {
    let keys = |secret: [u8; 32]| {
        let secret = <dh::X25519 as clatter::traits::Dh>::PrivateKey::from_slice(&secret);
        KeyPair { public: dh::X25519::pubkey(&secret), secret }
    };
    let (host, device, mut seed) = (keys([1; 32]), keys([2; 32]), 0);
    let mut end = |initiates: bool| {
        let (ours, ephemeral) = (if initiates { device.clone() } else { host.clone() }, keys(fresh(&mut seed)));
        let theirs = initiates.then_some(host.public);
        let mut end =
            Theirs::new(noise_ik_psk1(), b"couplet/1", initiates, Some(ours), Some(ephemeral), theirs, None).unwrap();
        end.push_psk(&[5; 32]);
        end
    };
    let (mut wire, mut text) = ([0; 256], [0; 256]);
    measure(time, || {
        let (mut initiator, mut responder) = (end(true), end(false));
        let len = initiator.write_message(&[6; 64], &mut wire).unwrap();
        responder.read_message(&wire[..len], &mut text).unwrap();
        let len = responder.write_message(&[6; 64], &mut wire).unwrap();
        initiator.read_message(&wire[..len], &mut text).unwrap();
        black_box((&initiator, &responder));
    })
}

fn main() {
    let time = Duration::from_millis(std::env::args().nth(1).unwrap().parse().unwrap());
    for size in [64, 1024, 4096, 16384] {
        println!("couplet/{size} {:.0}", sealed_by_us(size, time));
        println!("rustcrypto/{size} {:.0}", sealed_by_rustcrypto(size, time));
    }
    let mut ends = Ends::new();
    println!("couplet/handshake {:.0}", measure(time, || drop(black_box(ends.shake_hands()))));
    println!("clatter/handshake {:.0}", shaken_by_clatter(time));
}
