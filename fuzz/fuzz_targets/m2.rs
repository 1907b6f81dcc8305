//! M2 from anyone, before a device: only that of a host with the keys is opened. The first byte chooses the mode.
#![no_main]

use std::sync::LazyLock;

use couplet_fuzz::{answer, begin, mode, receive, within};
use couplet_protocol::handshake::{M2_MAX, Mode};

static RIGHT: LazyLock<[Vec<u8>; 2]> =
    LazyLock::new(|| [Mode::Pair, Mode::Reconnect].map(|mode| answer(receive(&begin(mode).1).unwrap()).1));

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((byte, m2)) = input.split_first() else { return };
    let initiator = begin(mode(*byte)).0;
    let finished = within(3 * m2.len().min(M2_MAX) + 4096, || initiator.finish(m2));
    assert_eq!(finished.is_ok(), RIGHT[usize::from(byte & 1)] == m2);
});
