//! What a peer with the keys can put into frames, beside what spec/protocol.md, 4 says of it.
#![no_main]

use couplet_fuzz::{Sealer, parts, talk};
use couplet_protocol::frame::{FRAME_MAX, Kind};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (_, mut host) = talk();
    let (mut sealer, mut frames) = (Sealer::default(), 1_u64);
    for inner in parts(input) {
        let mut frame = sealer.seal(inner);
        frames += 1;
        let end = inner.iter().rposition(|byte| *byte != 0);
        let (kind, data) = end.map_or((0, inner), |end| (inner[end], &inner[..end]));
        let wanted = match kind {
            _ if frame.len() > FRAME_MAX => None,
            1 => Some(Kind::Data),
            2 if data.len() == 10 && data[2..] == frames.to_be_bytes() => Some(Kind::Close),
            3 if data.is_empty() => Some(Kind::KeyUpdate),
            4 => Some(Kind::Pad),
            5 => Some(Kind::Control),
            _ => None,
        };
        let opened = host.opener.open(&mut frame);
        assert_eq!(opened.as_ref().ok().map(|opened| opened.kind), wanted);
        let Ok(opened) = opened else { return };
        assert_eq!(&frame[opened.data], data);
        match opened.kind {
            Kind::KeyUpdate => sealer.update(),
            Kind::Close => {
                let code = u16::from_be_bytes([data[0], data[1]]);
                assert_eq!(host.opener.closed().map(|code| code.number()), Some(code));
                return;
            }
            _ => {}
        }
    }
});
