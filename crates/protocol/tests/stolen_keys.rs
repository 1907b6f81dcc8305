//! What a thief can do with one end's long-term key, with and without the pre-shared key: never pose as the other end.
//!
//! The thief runs Noise's IK by itself (revision 34, 5 and 9), so that it can put in whatever it likes for an agreement that it
//! cannot compute. Each test shows first that the thief gets through with everything, up to the session, then that it does
//! not without the one thing it lacks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ends;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::{digest, hmac};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use couplet_protocol::StaticSecret;
use couplet_protocol::handshake::{HandshakeError, Hello, Mode, Responder};
use couplet_protocol::message::Control;
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::Psk;
use ends::{BOTH, begin, device_key, entropy, host_key, key, offer, pairing, receive};

type Bytes = [u8; 32];

/// What stands in for an agreement that cannot be computed.
const GUESS: Bytes = [0x5a; 32];

/// What rP is made of when the thief claims an offer.
const REVEAL: u8 = 0x77;

fn dh(ours: &StaticSecret, theirs: &Bytes) -> Bytes {
    let ours = PrivateKey::from_private_key(&X25519, ours.expose()).unwrap();
    agree(&ours, UnparsedPublicKey::new(&X25519, theirs), (), |shared| Ok(shared.try_into().unwrap())).unwrap()
}

fn public(key: &StaticSecret) -> Bytes {
    *key.public().as_bytes()
}

fn mac(key: &[u8], text: &[u8]) -> Bytes {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().try_into().unwrap()
}

/// Noise's symmetric state (revision 34, 5.2).
struct Symmetric {
    chain: Bytes,
    hash: Bytes,
    key: Bytes,
    counter: u64,
}

impl Symmetric {
    fn new(mode: Mode, header: &[u8]) -> Self {
        let name = match mode {
            Mode::Pair => b"Noise_IKpsk1_25519_ChaChaPoly_SHA256",
            Mode::Reconnect => b"Noise_IKpsk2_25519_ChaChaPoly_SHA256",
        };
        let hash = digest::digest(&digest::SHA256, name).as_ref().try_into().unwrap();
        let mut state = Symmetric { chain: hash, hash, key: [0; 32], counter: 0 };
        state.mix_hash(&[b"couplet/1", header].concat());
        state.mix_hash(&public(&host_key()));
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        let hash = digest::digest(&digest::SHA256, &[&self.hash[..], data].concat());
        self.hash = hash.as_ref().try_into().unwrap();
    }

    fn derive(&mut self, input: &[u8]) -> (Bytes, Bytes) {
        let seed = mac(&self.chain, input);
        self.chain = mac(&seed, &[1]);
        let second = mac(&seed, &[&self.chain[..], &[2]].concat());
        (second, mac(&seed, &[&second[..], &[3]].concat()))
    }

    fn mix_key(&mut self, input: &Bytes) {
        (self.key, self.counter) = (self.derive(input).0, 0);
    }

    fn mix_psk(&mut self, psk: &Bytes) {
        let (hash, key) = self.derive(psk);
        self.mix_hash(&hash);
        (self.key, self.counter) = (key, 0);
    }

    /// An ephemeral key; with a pre-shared key in the pattern it is mixed into the chain too (9.2).
    fn mix_ephemeral(&mut self, key: &Bytes) {
        self.mix_hash(key);
        self.mix_key(key);
    }

    fn cipher(&mut self) -> (LessSafeKey, Nonce) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        self.counter += 1;
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &self.key).unwrap());
        (key, Nonce::assume_unique_for_key(nonce))
    }

    fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        let (key, nonce) = self.cipher();
        let mut sealed = text.to_vec();
        key.seal_in_place_append_tag(nonce, Aad::from(self.hash), &mut sealed).unwrap();
        self.mix_hash(&sealed);
        sealed
    }

    fn open(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (key, nonce) = self.cipher();
        let mut text = sealed.to_vec();
        let len = key.open_in_place(nonce, Aad::from(self.hash), &mut text).ok()?.len();
        self.mix_hash(sealed);
        text.truncate(len);
        Some(text)
    }

    /// The device's first frame under the keys that this state comes to, right or wrong (spec/protocol.md, 3 and 4).
    fn confirm(mut self, mode: Mode) -> Vec<u8> {
        let (second, _) = self.derive(b"");
        let prk = mac(&self.hash, &[self.chain, second].concat());
        let expand = |label: &str| mac(&prk, &[b"couplet/1 ", label.as_bytes(), b" i2r\x01"].concat());
        let nonce = [&expand("nonce")[..16], &[0; 8]].concat();
        let reveal = (mode == Mode::Pair).then(|| entropy(REVEAL));
        let mut inner = [&Control::Confirm { reveal, rooms: None }.encode().unwrap()[..], &[5]].concat();
        inner.resize(256, 0);
        let cipher = XChaCha20Poly1305::new_from_slice(&expand("key")).unwrap();
        let head = [0x11, 0, 0, 0];
        let sealed = cipher.encrypt(&XNonce::try_from(&nonce[..]).unwrap(), Payload { msg: &inner, aad: &head });
        [&head[..], &sealed.unwrap()].concat()
    }
}

/// The agreements of one handshake, and the pre-shared key: known or guessed.
#[derive(Clone, Copy)]
struct Known {
    es: Bytes,
    ss: Bytes,
    se: Bytes,
    psk: Bytes,
}

fn psk(mode: Mode) -> Bytes {
    match mode {
        Mode::Pair => *offer().keys().unwrap().psk.expose(),
        Mode::Reconnect => *pairing().psk.expose(),
    }
}

/// An M1 in the name of the device, with this ephemeral public key and what is known.
fn pose_as_device(mode: Mode, header: &[u8], payload: &[u8], ephemeral: &Bytes, known: &Known) -> (Symmetric, Vec<u8>) {
    let mut state = Symmetric::new(mode, header);
    state.mix_ephemeral(ephemeral);
    state.mix_key(&known.es);
    let identity = state.seal(&public(&device_key()));
    state.mix_key(&known.ss);
    if mode == Mode::Pair {
        state.mix_psk(&known.psk);
    }
    let payload = state.seal(payload);
    (state, [header, &ephemeral[..], &identity, &payload].concat())
}

/// Whether the thief can open the host's M2, and the confirm that it sends then; also when it cannot.
fn answer(mode: Mode, mut state: Symmetric, ephemeral: &StaticSecret, m2: &[u8], known: &Known) -> (bool, Vec<u8>) {
    let theirs: Bytes = m2[1..33].try_into().unwrap();
    state.mix_ephemeral(&theirs);
    state.mix_key(&dh(ephemeral, &theirs));
    state.mix_key(&known.se);
    if mode == Mode::Reconnect {
        state.mix_psk(&known.psk);
    }
    let read = state.open(&m2[33..]).is_some();
    if !read {
        state.mix_hash(&m2[33..]);
    }
    (read, state.confirm(mode))
}

/// Where a device's M1 leads who heard it.
fn heard(mode: Mode, m1: &[u8], known: &Known) -> Symmetric {
    let (header, noise) = m1.split_at(13);
    let mut state = Symmetric::new(mode, header);
    state.mix_ephemeral(&ephemeral_of(m1));
    state.mix_key(&known.es);
    state.mix_hash(&noise[32..80]);
    state.mix_key(&known.ss);
    if mode == Mode::Pair {
        state.mix_psk(&known.psk);
    }
    state.mix_hash(&noise[80..]);
    state
}

fn ephemeral_of(m1: &[u8]) -> Bytes {
    m1[13..45].try_into().unwrap()
}

/// An M2 in the name of the host, to an M1 of the device that cannot be opened without `es`.
fn pose_as_host(mode: Mode, m1: &[u8], ephemeral: &StaticSecret, known: &Known) -> Vec<u8> {
    let theirs = ephemeral_of(m1);
    let mut state = heard(mode, m1, known);
    state.mix_ephemeral(&public(ephemeral));
    state.mix_key(&dh(ephemeral, &theirs));
    state.mix_key(&dh(ephemeral, &public(&device_key())));
    if mode == Mode::Reconnect {
        state.mix_psk(&known.psk);
    }
    let answer = [&b"\xa2\x62rH\x58\x20"[..], &[6; 32], b"\x69host_name\x64Home"].concat();
    [&[2], &public(ephemeral)[..], &state.seal(&answer)].concat()
}

/// The header and the payload of a claim or a return, as the device itself would send them.
fn words(mode: Mode) -> (Vec<u8>, Vec<u8>) {
    let header = begin(mode, 3).1[..13].to_vec();
    let payload = match mode {
        Mode::Pair => {
            let words = [&b"couplet/1 commit"[..], entropy(REVEAL).expose(), &public(&device_key())].concat();
            let commit = digest::digest(&digest::SHA256, &words);
            [&b"\xa3\x64kind\x66mobile\x64name\x61x\x66commit\x58\x20"[..], commit.as_ref()].concat()
        }
        Mode::Reconnect => vec![0xa0],
    };
    (header, payload)
}

/// Poses as the device before the real host. `se` is what stands for the agreement of the device's own key with the
/// host's ephemeral one, known only once M2 is there. Whether M1 was opened, and whether there is a session then: the
/// thief reads M2, and the host takes its confirm.
fn before_host(mode: Mode, known: Known, se: impl Fn(&Bytes) -> Bytes) -> (Result<(), HandshakeError>, bool) {
    let ephemeral = key(40);
    let (header, payload) = words(mode);
    let (state, m1) = pose_as_device(mode, &header, &payload, &public(&ephemeral), &known);
    let responder = match receive(&m1, 3) {
        Ok(responder) => responder,
        Err(error) => return (Err(error), false),
    };
    let (unconfirmed, m2) = responder.answer("Home", &entropy(6)).unwrap();
    let known = Known { se: se(&m2[1..33].try_into().unwrap()), ..known };
    let (read, mut confirm) = answer(mode, state, &ephemeral, &m2, &known);
    let confirmed = unconfirmed.confirm(&mut confirm).map(drop);
    assert_eq!(confirmed, if read { Ok(()) } else { Err(HandshakeError::Failed) });
    (Ok(()), read)
}

#[test]
fn a_stolen_host_key_does_not_pose_as_a_device() {
    for mode in BOTH {
        let (host, device, ephemeral) = (host_key(), device_key(), key(40));
        // All of it follows from the host's key and public ones: the host cannot tell from M1 alone.
        let es = dh(&ephemeral, &public(&host));
        let known = Known { es, ss: dh(&host, &public(&device)), se: GUESS, psk: psk(mode) };
        let with_device_key = before_host(mode, known, |theirs| dh(&device, theirs));
        assert_eq!(with_device_key, (Ok(()), true), "{mode:?}: the device itself gets through");

        // With the PSK: M1 is opened, and that is all. Nothing is granted, sent or counted as this device before `confirm`.
        assert_eq!(before_host(mode, known, |_| GUESS), (Ok(()), false), "{mode:?}");
        assert_eq!(before_host(mode, known, |theirs| dh(&host, theirs)), (Ok(()), false), "{mode:?}");

        // Without the PSK: an offer's M1 is not even opened; a pairing's PSK comes into M2.
        let without = before_host(mode, Known { psk: GUESS, ..known }, |_| GUESS);
        let wanted = if mode == Mode::Pair { Err(HandshakeError::Failed) } else { Ok(()) };
        assert_eq!(without, (wanted, false), "{mode:?}");

        // The PSK alone, without either key, opens nothing.
        let alone = before_host(mode, Known { ss: GUESS, ..known }, |_| GUESS);
        assert_eq!(alone, (Err(HandshakeError::Failed), false), "{mode:?}");
    }
}

#[test]
fn a_stolen_device_key_does_not_pose_as_the_host() {
    for mode in BOTH {
        let (host, device, ephemeral) = (host_key(), device_key(), key(41));
        let (_, m1) = begin(mode, 3);
        let theirs = ephemeral_of(&m1);
        let ss = dh(&device, &public(&host));
        let known = Known { es: dh(&host, &theirs), ss, se: GUESS, psk: psk(mode) };
        let finish = |known: &Known| begin(mode, 3).0.finish(&pose_as_host(mode, &m1, &ephemeral, known)).map(drop);
        assert_eq!(finish(&known), Ok(()), "{mode:?}: the host itself gets through");
        // With the PSK and without: what lacks is the agreement of the host's key with the device's ephemeral one.
        let failed = Err(HandshakeError::Failed);
        for psk in [known.psk, GUESS] {
            for es in [GUESS, ss, dh(&device, &theirs)] {
                assert_eq!(finish(&Known { es, psk, ..known }), failed, "{mode:?}");
            }
        }
        // The host's own key without the PSK is not enough either.
        assert_eq!(finish(&Known { psk: GUESS, ..known }), failed, "{mode:?}");
    }
}

#[test]
fn a_stolen_device_key_without_the_psk_does_not_come_back() {
    let (host, device, ephemeral) = (host_key(), device_key(), key(40));
    let es = dh(&ephemeral, &public(&host));
    let known = Known { es, ss: dh(&device, &public(&host)), se: GUESS, psk: GUESS };
    let came = before_host(Mode::Reconnect, known, |theirs| dh(&device, theirs));
    assert_eq!(came, (Ok(()), false), "M1 says nothing of the PSK, M2 does");
    assert_eq!(before_host(Mode::Pair, known, |theirs| dh(&device, theirs)), (Err(HandshakeError::Failed), false));
}

#[test]
fn agreements_on_zero_are_refused_even_by_who_would_profit() {
    for mode in BOTH {
        // With an ephemeral key of low order `es` is zero, which needs no key to know.
        let known = Known { es: [0; 32], ss: dh(&device_key(), &public(&host_key())), se: GUESS, psk: psk(mode) };
        let (header, payload) = words(mode);
        let (_, m1) = pose_as_device(mode, &header, &payload, &[0; 32], &known);
        assert_eq!(receive(&m1, 3).unwrap_err(), HandshakeError::Failed, "{mode:?}");
    }
}

#[test]
fn another_devices_key_does_not_pass_for_the_one_that_was_paired() {
    // With everything that is its own, and the PSK of the pairing.
    let (header, payload) = words(Mode::Reconnect);
    let ephemeral = key(40);
    let es = dh(&ephemeral, &public(&host_key()));
    let known = Known { es, ss: dh(&device_key(), &public(&host_key())), se: GUESS, psk: psk(Mode::Reconnect) };
    let (_, m1) = pose_as_device(Mode::Reconnect, &header, &payload, &public(&ephemeral), &known);
    let hello = Hello::parse(&m1).unwrap();
    let open = |paired: &StaticSecret| {
        let psk = Psk::new(known.psk);
        Responder::reconnect(&hello, &host_key(), &psk, SUITE_1, &paired.public(), entropy(5)).map(drop)
    };
    assert_eq!(open(&device_key()), Ok(()));
    assert_eq!(open(&key(9)), Err(HandshakeError::Failed));
}

/// Forward secrecy: whoever recorded a handshake and comes by every long-term key and the PSK later lacks `ee`.
#[test]
fn all_long_term_keys_do_not_open_what_was_recorded() {
    for mode in BOTH {
        let (host, device) = (host_key(), device_key());
        let (_, m1) = begin(mode, 3);
        let (_, m2) = receive(&m1, 3).unwrap().answer("Home", &entropy(6)).unwrap();
        let (es, ss) = (dh(&host, &ephemeral_of(&m1)), dh(&host, &public(&device)));
        let se = dh(&device, &m2[1..33].try_into().unwrap());
        let known = Known { es, ss, se, psk: psk(mode) };
        let reads = |ephemeral: &StaticSecret| answer(mode, heard(mode, &m1, &known), ephemeral, &m2, &known).0;
        assert!(reads(&key(3)), "{mode:?}: with the device's ephemeral key it is open");
        for other in [host, device, key(41)] {
            assert!(!reads(&other), "{mode:?}");
        }
    }
}
