//! The payloads of the handshake's messages, which nobody outside sees. CONTROL messages: `tests/messages.rs`.

use proptest::prelude::*;

use super::*;
use crate::cbor::TEXT_MAX;

fn claim_payload() -> impl Strategy<Value = ClaimPayload> {
    let text = || prop_oneof![".{0,20}", "[ -~]{500,512}"];
    let optional = || prop::option::of(text());
    (text(), optional(), optional(), text(), any::<[u8; 32]>()).prop_map(|(name, model, platform, kind, commit)| {
        ClaimPayload { claim: Claim { name, model, platform, kind }, commit }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_a_device_says_reads_back(payload in claim_payload()) {
        prop_assert_eq!(ClaimPayload::decode(&payload.encode().unwrap()), Ok(payload));
    }

    #[test]
    fn what_a_host_answers_reads_back(host_name in ".{0,128}", nonce: [u8; 32]) {
        let payload = AnswerPayload { host_name, nonce };
        prop_assert_eq!(AnswerPayload::decode(&payload.encode().unwrap()), Ok(payload));
    }

    #[test]
    fn a_changed_byte_is_refused_or_something_else(payload in claim_payload(), by in 1..=255_u8) {
        let right = payload.encode().unwrap();
        let answer = AnswerPayload { host_name: payload.claim.name.clone(), nonce: payload.commit };
        let right_answer = answer.encode().unwrap();
        let changed = |right: &[u8], at: usize| {
            let mut bytes = right.to_vec();
            bytes[at] ^= by;
            bytes
        };
        for at in 0..right.len() {
            prop_assert_ne!(&ClaimPayload::decode(&changed(&right, at)), &Ok(payload.clone()), "byte {}", at);
        }
        for at in 0..right_answer.len() {
            prop_assert_ne!(&AnswerPayload::decode(&changed(&right_answer, at)), &Ok(answer.clone()), "byte {}", at);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        for bytes in [&bytes[..], &[&[0xa2][..], &bytes].concat()] {
            let _ = ClaimPayload::decode(bytes);
            let _ = AnswerPayload::decode(bytes);
            let _ = check_reconnect_payload(bytes);
        }
    }
}

#[test]
fn texts_at_the_limit_pass_and_longer_ones_do_not() {
    for (len, fits) in [(TEXT_MAX, true), (TEXT_MAX + 1, false)] {
        let (text, short) = ("t".repeat(len), || String::from("s"));
        let plain = Claim { name: short(), model: None, platform: None, kind: short() };
        for claim in [
            Claim { name: text.clone(), ..plain.clone() },
            Claim { model: Some(text.clone()), ..plain.clone() },
            Claim { platform: Some(text.clone()), ..plain.clone() },
            Claim { kind: text.clone(), ..plain.clone() },
        ] {
            assert_eq!(ClaimPayload { claim, commit: [0; 32] }.encode().is_ok(), fits, "{len} bytes");
        }
        assert_eq!(AnswerPayload { host_name: text, nonce: [0; 32] }.encode().is_ok(), fits, "{len} bytes");
    }
}

#[test]
fn a_reconnect_says_nothing_that_is_looked_at() {
    assert_eq!(reconnect_payload().unwrap()[..], [0xa0]);
    for fine in [&b"\xa0"[..], b"\xa1\x61x\x00", b"\xa1\x61x\x81\xf6"] {
        assert_eq!(check_reconnect_payload(fine), Ok(()), "{fine:02x?}");
    }
    for wrong in [&b""[..], b"\x80", b"\xa0\xa0", b"\xbf\xff", b"\xb8\x00", b"\xa1\x00\x00", b"\xa1\x61x"] {
        assert!(check_reconnect_payload(wrong).is_err(), "{wrong:02x?}");
    }
}
