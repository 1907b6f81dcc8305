//! What a signed request says in its headers, and what a new watch sends: `Signature-Input`, `Signature`, `Content-Digest`
//! and a proof, each on a line of its own.
#![no_main]

use couplet_fuzz::within;
use couplet_protocol::signature::{ContentDigest, Covered, Nonce, Proof, SignedHead, VerifyingKey};

/// The generator of P-256.
const KEY: [u8; 33] = [
    0x03, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
    0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (input, signature, digest, proof) = (line(), line(), line(), line());
    let key = VerifyingKey::from_bytes(&KEY).unwrap();
    if let Ok(head) = within(64 * text.len() + 4096, || SignedHead::parse(input, signature)) {
        assert_eq!(SignedHead::parse(input, signature).as_ref(), Ok(&head));
        assert_eq!(Nonce::parse(&head.nonce.to_string()), Ok(head.nonce));
        let id = head.device.to_string();
        let challenge = head.is_challenged.then_some("challenge");
        let covered = Covered {
            method: "GET",
            authority: "nas.local:7879",
            path: "/",
            query: None,
            content_digest: digest,
            device_id: &id,
            challenge,
        };
        assert!(head.verify(&key, &covered).is_err(), "nobody signs with that key here");
    }
    if let Ok(digest) = within(64 * text.len() + 4096, || ContentDigest::parse(digest)) {
        assert_eq!(ContentDigest::parse(&digest.to_string()), Ok(digest));
    }
    if let Ok(proof) = within(8 * text.len() + 4096, || Proof::parse(proof)) {
        assert!(proof.verify(&key, &Nonce::new(0, [0; 16])).is_err(), "nobody signs with that key here");
    }
});
