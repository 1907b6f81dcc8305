//! M2 of a host that has the keys and says whatever it likes. The first byte chooses the mode.
#![no_main]

use couplet_fuzz::{Peer, begin, mode};
use couplet_protocol::handshake::{HandshakeError, M2_MAX};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((byte, payload)) = input.split_first() else { return };
    let (initiator, m1) = begin(mode(*byte));
    let mut peer = Peer::new(mode(*byte), &m1[..13], false);
    peer.read(&m1[13..]);
    let m2 = [&[2][..], &peer.write(&payload[..payload.len().min(8192)])].concat();
    match initiator.finish(&m2) {
        Ok(confirmed) => {
            assert!(m2.len() <= M2_MAX && confirmed.host_name.len() <= 512);
            confirmed.begin().unwrap();
        }
        Err(error) => assert_eq!(error, HandshakeError::Malformed, "the keys are right"),
    }
});
