//! Against others: Noise's public vectors, and a second implementation to shake hands with.

use clatter::bytearray::ByteArray;
use clatter::crypto::{cipher, dh, hash};
use clatter::handshakepattern::{noise_ik_psk1, noise_ik_psk2};
use clatter::traits::Dh as _;
use clatter::{Handshaker, KeyPair as TheirKeys, NqHandshake};
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const BOTH: [(Pattern, &str); 2] = [
    (Pattern::IkPsk1, "Noise_IKpsk1_25519_ChaChaPoly_SHA256"),
    (Pattern::IkPsk2, "Noise_IKpsk2_25519_ChaChaPoly_SHA256"),
];

/// The longest message of Noise.
const MESSAGE_MAX: usize = 65_535;

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn fixed(value: &Value) -> [u8; 32] {
    bytes(value).try_into().unwrap()
}

fn written(noise: &mut Noise, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_MAX];
    let len = noise.write(payload, &mut out).unwrap();
    out.truncate(len);
    out
}

fn transport(key: &[u8; 32], counter: u64, payload: &[u8]) -> Vec<u8> {
    let mut cipher = ChaChaPoly::default();
    cipher.set(key);
    let mut sealed = vec![0; payload.len() + TAG];
    assert_eq!(cipher.encrypt(counter, &[], payload, &mut sealed), sealed.len());
    let mut opened = vec![0; payload.len()];
    assert_eq!(cipher.decrypt(counter, &[], &sealed, &mut opened).unwrap(), payload.len());
    assert_eq!(opened, payload);
    sealed
}

#[test]
fn the_public_vectors_of_noise() {
    let file: Value = serde_json::from_str(include_str!("../../../../spec/vectors/noise.json")).unwrap();
    for (pattern, name) in BOTH {
        let vectors = file["vectors"].as_array().unwrap();
        let v = vectors.iter().find(|v| v["protocol_name"] == name).unwrap();
        let end = |end: &str, theirs: Option<&PublicKey>| {
            let secret = |what: &str| fixed(&v[format!("{end}_{what}")]);
            let ours = StaticSecret::new(secret("static")).unwrap();
            let psk = Psk::new(fixed(&v[format!("{end}_psks")][0]));
            let prologue = bytes(&v[format!("{end}_prologue")]);
            Noise::begin(pattern, &ours, theirs, &psk, &prologue, Entropy::new(secret("ephemeral"))).unwrap()
        };
        let mut initiator = end("init", Some(&PublicKey::new(fixed(&v["init_remote_static"]))));
        let mut responder = end("resp", None);
        let messages: Vec<_> =
            v["messages"].as_array().unwrap().iter().map(|m| (bytes(&m["payload"]), bytes(&m["ciphertext"]))).collect();
        assert_eq!(messages.len(), 6);

        assert_eq!(written(&mut initiator, &messages[0].0), messages[0].1, "{name}");
        assert_eq!(responder.read(&messages[0].1).unwrap()[..], messages[0].0, "{name}");
        assert_eq!(written(&mut responder, &messages[1].0), messages[1].1, "{name}");
        assert_eq!(initiator.read(&messages[1].1).unwrap()[..], messages[1].0, "{name}");
        let (k1, k2, h) = initiator.raw();
        assert_eq!((k1, k2, h.clone()), responder.raw(), "{name}");
        assert_eq!(h, bytes(&v["handshake_hash"]), "{name}");
        for (number, (payload, sealed)) in (0..).zip(&messages[2..]) {
            let key = if number % 2 == 0 { &k1 } else { &k2 };
            assert_eq!(&transport(key, number / 2, payload), sealed, "{name}");
        }
    }
}

type Theirs = NqHandshake<dh::X25519, cipher::ChaChaPoly, hash::Sha256>;

/// What both ends know, and each its own.
#[derive(Clone, Debug)]
struct Ends {
    initiator: ([u8; 32], [u8; 32]),
    responder: ([u8; 32], [u8; 32]),
    psk: [u8; 32],
    prologue: Vec<u8>,
}

impl Ends {
    fn secret(&self, initiates: bool) -> ([u8; 32], [u8; 32]) {
        if initiates { self.initiator } else { self.responder }
    }

    fn ours(&self, pattern: Pattern, initiates: bool) -> Noise {
        let (ours, ephemeral) = self.secret(initiates);
        let theirs = StaticSecret::new(self.responder.0).unwrap().public();
        let theirs = initiates.then_some(&theirs);
        let ours = StaticSecret::new(ours).unwrap();
        Noise::begin(pattern, &ours, theirs, &Psk::new(self.psk), &self.prologue, Entropy::new(ephemeral)).unwrap()
    }

    fn theirs(&self, pattern: Pattern, initiates: bool) -> Theirs {
        let keys = |secret: [u8; 32]| {
            let secret = <dh::X25519 as clatter::traits::Dh>::PrivateKey::from_slice(&secret);
            TheirKeys::new(dh::X25519::pubkey(&secret), secret)
        };
        let (ours, ephemeral) = self.secret(initiates);
        let pattern = match pattern {
            Pattern::IkPsk1 => noise_ik_psk1(),
            Pattern::IkPsk2 => noise_ik_psk2(),
        };
        let theirs = initiates.then(|| keys(self.responder.0).public);
        let (ours, ephemeral) = (Some(keys(ours)), Some(keys(ephemeral)));
        let mut state = Theirs::new(pattern, &self.prologue, initiates, ours, ephemeral, theirs, None).unwrap();
        state.push_psk(&self.psk);
        state
    }
}

fn their_message(theirs: &mut Theirs, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; MESSAGE_MAX];
    let len = theirs.write_message(payload, &mut out).unwrap();
    out.truncate(len);
    out
}

fn their_payload(theirs: &mut Theirs, message: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; MESSAGE_MAX];
    let len = theirs.read_message(message, &mut out).ok()?;
    out.truncate(len);
    Some(out)
}

fn their_keys(theirs: Theirs) -> ([u8; 32], [u8; 32], Vec<u8>) {
    let transport = theirs.finalize().unwrap();
    let hash = transport.get_handshake_hash().to_vec();
    let ciphers = transport.take();
    (*ciphers.initiator_to_responder.take().0, *ciphers.responder_to_initiator.take().0, hash)
}

fn ends() -> impl Strategy<Value = Ends> {
    (any::<([u8; 32], [u8; 32])>(), any::<([u8; 32], [u8; 32])>(), any::<[u8; 32]>(), any::<Vec<u8>>())
        .prop_map(|(initiator, responder, psk, prologue)| Ends { initiator, responder, psk, prologue })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => any::<Vec<u8>>(), 1 => Just(vec![7; 4000])]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_noise_comes_to_the_same(ends in ends(), one in payload(), two in payload()) {
        for (pattern, _) in BOTH {
            for we_initiate in [true, false] {
                let (mut ours, mut theirs) = (ends.ours(pattern, we_initiate), ends.theirs(pattern, !we_initiate));
                if we_initiate {
                    let first = written(&mut ours, &one);
                    prop_assert_eq!(&their_payload(&mut theirs, &first), &Some(one.clone()));
                    let second = their_message(&mut theirs, &two);
                    prop_assert_eq!(&ours.read(&second).unwrap()[..], &two[..]);
                } else {
                    let first = their_message(&mut theirs, &one);
                    prop_assert_eq!(&ours.read(&first).unwrap()[..], &one[..]);
                    let device = StaticSecret::new(ends.initiator.0).unwrap().public();
                    prop_assert_eq!(ours.theirs(), Some(device));
                    let second = written(&mut ours, &two);
                    prop_assert_eq!(&their_payload(&mut theirs, &second), &Some(two.clone()));
                }
                prop_assert_eq!(ours.raw(), their_keys(theirs));
            }
        }
    }

    #[test]
    fn another_noise_refuses_what_we_refuse(ends in ends(), one in payload(), by in 1..=255_u8, at: prop::sample::Index) {
        for (pattern, _) in BOTH {
            let mut first = written(&mut ends.ours(pattern, true), &one);
            let at = at.index(first.len());
            // Even the highest bit of the key, which X25519 ignores: the hash has it.
            first[at] ^= by;
            prop_assert!(ends.ours(pattern, false).read(&first).is_err());
            prop_assert_eq!(their_payload(&mut ends.theirs(pattern, false), &first), None);
        }
    }
}
