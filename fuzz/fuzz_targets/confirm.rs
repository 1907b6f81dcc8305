//! The device's first frame: any bytes, or any content under the right keys. The first byte chooses.
#![no_main]

use couplet_fuzz::{answer, begin, mode, receive, reveal};
use couplet_protocol::frame::{Content, DATA_MAX};
use couplet_protocol::handshake::Mode;
use couplet_protocol::message::Control;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((byte, input)) = input.split_first() else { return };
    let input = &input[..input.len().min(DATA_MAX)];
    let mode = mode(*byte);
    let (initiator, m1) = begin(mode);
    let (unconfirmed, m2) = answer(receive(&m1).unwrap());
    let mut confirmed = initiator.finish(&m2).unwrap();
    let (mut frame, right) = match byte >> 1 & 3 {
        0 => (input.to_vec(), confirmed.begin().unwrap().1 == input),
        of => {
            let mut frame = Vec::new();
            let content = if of == 1 { Content::Data(input) } else { Content::Control(input) };
            confirmed.session.sealer.seal(content, &mut frame).unwrap();
            let right = match Control::decode(input) {
                Ok(Some(Control::Confirm { reveal: said, .. })) => mode == Mode::Reconnect || said == Some(reveal()),
                _ => false,
            };
            (frame, right && of != 1)
        }
    };
    match unconfirmed.confirm(&mut frame) {
        Ok(proof) => assert!(right && proof.check_code.is_some() == (mode == Mode::Pair)),
        Err(_) => assert!(!right),
    }
});
