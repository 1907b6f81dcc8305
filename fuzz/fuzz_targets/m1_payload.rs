//! M1 of a device that has the keys and says whatever it likes.
#![no_main]

use couplet_fuzz::{Peer, answer, begin, mode, receive};
use couplet_protocol::handshake::{HandshakeError, M1_MAX, Mode};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((byte, payload)) = input.split_first() else { return };
    let mode = mode(*byte);
    let header = &begin(mode).1[..13];
    let m1 = [header, &Peer::new(mode, header, true).write(&payload[..payload.len().min(8192)])].concat();
    match receive(&m1) {
        Ok(responder) => {
            assert!(m1.len() <= M1_MAX);
            assert_eq!(responder.claim().is_some(), mode == Mode::Pair);
            if let Some(claim) = responder.claim() {
                let texts = [Some(&claim.name), claim.model.as_ref(), claim.platform.as_ref(), Some(&claim.kind)];
                assert!(texts.into_iter().flatten().all(|text| text.len() <= 512));
            }
            answer(responder);
        }
        Err(error) => assert_eq!(error, HandshakeError::Malformed, "the keys are right"),
    }
});
