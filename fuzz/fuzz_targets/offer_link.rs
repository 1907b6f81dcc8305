//! A link as it is typed, pasted or scanned; a relay's name and a check code, which people type too.
#![no_main]

use couplet_fuzz::within;
use couplet_protocol::offer::{LinkForm, RelayName};
use couplet_protocol::{CheckCode, Offer};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(offer) = within(3 * text.len().min(4096) + 1024, || Offer::from_link(text)) {
        for form in [LinkForm::App, LinkForm::Web] {
            let read = Offer::from_link(&offer.to_link(form)).unwrap();
            // The relay of a web link's authority comes first.
            assert_eq!(read.endpoints.len(), offer.endpoints.len());
            assert!(read.endpoints.iter().all(|endpoint| offer.endpoints.contains(endpoint)));
            assert_eq!(Offer { endpoints: Vec::new(), ..read }, Offer { endpoints: Vec::new(), ..offer.clone() });
        }
    }
    if let Some(name) = RelayName::parse(text) {
        assert!(name.as_str().eq_ignore_ascii_case(text));
        assert_eq!(RelayName::parse(name.as_str()), Some(name));
    }
    if let Ok(code) = CheckCode::parse(text) {
        assert!(CheckCode::parse(&code.show()).unwrap() == code);
    }
});
