//! M1 from anyone, before a host: only that of a device with the keys is opened.
#![no_main]

use std::sync::LazyLock;

use couplet_fuzz::{answer, begin, receive, within};
use couplet_protocol::handshake::{M1_MAX, Mode};

static RIGHT: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [begin(Mode::Pair).1, begin(Mode::Reconnect).1]);

libfuzzer_sys::fuzz_target!(|m1: &[u8]| {
    let right = RIGHT.iter().any(|right| right == m1);
    match within(3 * m1.len().min(M1_MAX) + 4096, || receive(m1)) {
        Ok(responder) => {
            assert!(right, "forged");
            answer(responder);
        }
        Err(_) => assert!(!right),
    }
});
