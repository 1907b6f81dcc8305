//! A watch's public key: the bytes of SEC1 or SPKI.
#![no_main]

use couplet_protocol::signature::VerifyingKey;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = VerifyingKey::from_bytes(bytes) {
        assert_eq!(VerifyingKey::from_bytes(key.as_bytes()), Ok(key));
        // The point's x stands in every form of it.
        assert!(bytes.windows(32).any(|window| window == &key.as_bytes()[1..]));
    }
});
