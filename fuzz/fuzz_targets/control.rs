//! A CONTROL message: CBOR that is deterministic, or refused.
#![no_main]

use couplet_fuzz::within;
use couplet_protocol::message::Control;

libfuzzer_sys::fuzz_target!(|message: &[u8]| {
    if let Ok(Some(control)) = within(message.len() + 1024, || Control::decode(message)) {
        // What is read is written and read the same, whatever was ignored in it.
        let written = control.encode().unwrap();
        assert!(written.len() <= message.len());
        // As many fields: none was ignored. Endpoints of unknown kinds are left out within one.
        if written[0] == message[0] && !matches!(control, Control::Grant(_) | Control::Endpoints { .. }) {
            assert_eq!(written[..], *message);
        }
        assert_eq!(Control::decode(&written), Ok(Some(control)));
    }
});
