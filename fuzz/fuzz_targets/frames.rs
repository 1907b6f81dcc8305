//! Frames from anyone: those of the session are opened, in their order, and nothing else.
#![no_main]

use couplet_fuzz::{HOST_FRAMES, parts, talk};
use couplet_protocol::session::OpenError;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (mut device, _) = talk();
    let mut right = HOST_FRAMES.iter().map(Vec::as_slice);
    for frame in parts(input) {
        let is_right = right.next() == Some(frame);
        let opened = device.opener.open(&mut frame.to_vec());
        assert_eq!(opened.is_ok(), is_right);
        if !is_right {
            for right in HOST_FRAMES.iter() {
                assert_eq!(device.opener.open(&mut right.clone()), Err(OpenError));
            }
            return;
        }
    }
});
