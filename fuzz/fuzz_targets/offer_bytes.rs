//! The binary form of an offer, and an endpoint alone.
#![no_main]

use couplet_fuzz::within;
use couplet_protocol::{Endpoint, Offer};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(offer) = within(bytes.len() + 1024, || Offer::from_bytes(bytes)) {
        let written = offer.to_bytes();
        assert!(written.len() <= bytes.len());
        assert_eq!(Offer::from_bytes(&written), Ok(offer));
    }
    if let Ok(Some(endpoint)) = within(512, || Endpoint::from_bytes(bytes)) {
        assert!(endpoint.to_bytes().eq_ignore_ascii_case(bytes));
    }
});
