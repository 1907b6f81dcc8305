//! Offers in all their forms, for whatever may stand in them (spec/protocol.md, 2).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod any;

use any::{changed, endpoints, lan, offer};
use couplet_protocol::offer::{ENDPOINTS_MAX, LinkForm, OfferError, RelayName};
use couplet_protocol::{Endpoint, Offer};
use data_encoding::BASE32_NOPAD;
use proptest::prelude::*;

/// Where the endpoints begin.
const FIXED: usize = 54;

/// As a link of this form gives it back: the relay of its authority comes first.
fn in_link_order(mut offer: Offer, form: LinkForm) -> Offer {
    if form == LinkForm::Web
        && let Some(at) = offer.endpoints.iter().position(|endpoint| matches!(endpoint, Endpoint::Relay(_)))
    {
        offer.endpoints[..=at].rotate_right(1);
    }
    offer
}

fn relay(text: &str) -> Option<Endpoint> {
    RelayName::parse(text).map(Endpoint::Relay)
}

fn plain() -> Offer {
    let endpoints =
        vec![relay("relay.example.org:8443").unwrap(), "192.0.2.7:7878".parse().map(Endpoint::Lan).unwrap()];
    let mut bytes = vec![7; FIXED];
    bytes[..2].copy_from_slice(&[1, 1]);
    Offer { endpoints, ..Offer::from_bytes(&bytes).unwrap() }
}

proptest! {
    #[test]
    fn an_offer_reads_back_from_each_of_its_forms(offer in offer(), lower: bool) {
        prop_assert_eq!(&Offer::from_bytes(&offer.to_bytes()), &Ok(offer.clone()));
        for form in [LinkForm::App, LinkForm::Web] {
            let link = offer.to_link(form);
            // What QR's alphanumeric mode has, and the `#` of a web link.
            let alphanumeric = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "$%*+-./: ".contains(c);
            prop_assert!(link.chars().filter(|c| !alphanumeric(*c)).eq(link.chars().filter(|c| *c == '#')));
            prop_assert!(link.matches('#').count() <= 1);
            let typed = if lower { format!("\t {}\n", link.to_ascii_lowercase()) } else { link };
            prop_assert_eq!(&Offer::from_link(&typed), &Ok(in_link_order(offer.clone(), form)));
        }
    }

    /// Relay names apart, whose case does not count: nothing is lost when bytes are read.
    #[test]
    fn a_changed_byte_is_refused_or_another_offer(mut offer in offer(), lan in endpoints(lan()), by in 1..=255_u8) {
        offer.endpoints = lan;
        let right = offer.to_bytes();
        for at in 0..right.len() {
            let mut bytes = right.to_vec();
            bytes[at] ^= by;
            prop_assert_ne!(&Offer::from_bytes(&bytes), &Ok(offer.clone()), "byte {}", at);
        }
    }

    #[test]
    fn whatever_is_read_is_written_and_read_the_same(
        bytes in offer().prop_flat_map(|offer| changed(offer.to_bytes().to_vec())),
    ) {
        if let Ok(offer) = Offer::from_bytes(&bytes) {
            prop_assert!(offer.endpoints.len() <= ENDPOINTS_MAX);
            let written = offer.to_bytes();
            prop_assert!(written.len() <= bytes.len());
            prop_assert_eq!(Offer::from_bytes(&written), Ok(offer));
        }
    }

    #[test]
    fn any_bytes_and_any_text_are_read_or_refused(bytes: Vec<u8>, text: String, end in "[A-Z2-7=#:/]{0,200}") {
        let _ = Offer::from_bytes(&bytes);
        let _ = Offer::from_bytes(&[&[1, 1][..], &bytes].concat());
        for start in ["", "COUPLET:", "https://", "HTTPS://A.B/P#", "HTTPS://A.B:1/P#AEAQ"] {
            let _ = Offer::from_link(&format!("{start}{text}"));
            let _ = Offer::from_link(&format!("{start}{end}"));
        }
    }
}

#[test]
fn a_changed_character_of_a_link_is_refused_or_another_offer() {
    for form in [LinkForm::App, LinkForm::Web] {
        let mut offer = plain();
        if form == LinkForm::App {
            // Its case does not count, but changes the bytes and so the link.
            offer.endpoints.remove(0);
        }
        let link = offer.to_link(form);
        let right = Ok(offer);
        for (at, c) in (0..link.len()).flat_map(|at| (' '..='~').map(move |c| (at, c))) {
            let mut changed = link.clone();
            changed.replace_range(at..=at, c.encode_utf8(&mut [0; 4]));
            if !changed.eq_ignore_ascii_case(&link) {
                assert_ne!(Offer::from_link(&changed), right, "{changed}");
            }
        }
    }
}

#[test]
fn base32_has_one_form() {
    // 62 bytes leave four bits over in the last character: it stands for zeros, or it is not base32.
    let mut offer = plain();
    offer.endpoints.remove(0);
    let link = offer.to_link(LinkForm::App);
    assert_eq!(link.len(), 8 + 100);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let last = alphabet.iter().position(|c| c == link.as_bytes().last().unwrap()).unwrap();
    assert_eq!(last & 0b1111, 0);
    for unused in 1..16 {
        let changed = format!("{}{}", &link[..link.len() - 1], char::from(alphabet[last | unused]));
        assert_eq!(Offer::from_link(&changed), Err(OfferError::Damaged));
    }
    for wrong in [
        format!("{link}===="),
        format!("{link}="),
        link.replacen("COUPLET:", "COUPLET: ", 1),
        link[..40].to_owned() + "-" + &link[40..],
    ] {
        assert_eq!(Offer::from_link(&wrong), Err(OfferError::Damaged), "{wrong}");
    }
    for start in [
        "COUPLET",
        "COUPLET//",
        "COUPLET:COUPLET:",
        "HTTP://A.B/P#",
        "HTTPS://A.B/P",
        "HTTPS:///P#",
        "HTTPS://A.B/X/P#",
    ] {
        assert!(Offer::from_link(&link.replacen("COUPLET:", start, 1)).is_err(), "{start}");
    }
}

#[test]
fn endpoints_have_one_form_each() {
    let with = |endpoint: &[u8]| Offer::from_bytes(&[&plain().to_bytes()[..FIXED], endpoint].concat());
    let mapped = [&[3, 18][..], &[0; 10], &[0xff; 2], &[192, 0, 2, 7, 0, 80]].concat();
    assert_eq!(with(&mapped), Err(OfferError::Endpoint(0)), "a mapped address");
    let v6 = [&[3, 18][..], &[0xfd; 16], &[0, 80]].concat();
    assert!(with(&v6).is_ok());
    assert_eq!(with(&[&v6[..], &v6].concat()), Err(OfferError::Duplicate));
    // Names that differ by case only are the same endpoint.
    assert_eq!(with(b"\x01\x03a.b\x01\x03A.b"), Err(OfferError::Duplicate));
    let web = Offer::from_link(&format!(
        "https://a.b/p#{}",
        BASE32_NOPAD.encode(&[&plain().to_bytes()[..FIXED], b"\x01\x03A.B"].concat())
    ));
    assert_eq!(web, Err(OfferError::Duplicate), "the authority's relay again");
    for port in ["0", "00", "080", "65536", "+80", "-1", " 80", "80 ", "8a", ""] {
        assert_eq!(relay(&format!("a.b:{port}")), None, "port {port:?}");
    }
    for name in ["", ".", "a..b", ".a", "a.", "-a", "a-", "a_b", "a b", "ä.b", "[::1]", "a.b:1:2", "a.b/", "a@b", "a\0"]
    {
        assert_eq!(relay(name), None, "{name:?}");
    }
}

#[test]
fn sizes_at_the_limits_pass_and_one_more_does_not() {
    let label = "a".repeat(63);
    assert!(relay(&label).is_some() && relay(&"a".repeat(64)).is_none());
    // 253 bytes of name, and 255 with the port.
    let name = |n: usize| format!("{label}.{label}.{label}.{}", "b".repeat(n - 192));
    assert!(relay(&name(253)).is_some() && relay(&name(254)).is_none());
    assert!(relay(&format!("{}:9", name(253))).is_some() && relay(&format!("{}:99", name(253))).is_none());

    let widest = |n: usize| (0..n).map(|n| relay(&format!("{}{n}:9", name(252))).unwrap()).collect::<Vec<_>>();
    let offer = Offer { endpoints: widest(8), ..plain() };
    assert_eq!(offer.to_bytes().len(), FIXED + 8 * 257);
    for form in [LinkForm::App, LinkForm::Web] {
        assert_eq!(Offer::from_link(&offer.to_link(form)), Ok(offer.clone()), "the longest offer");
    }
    let ninth = [&offer.to_bytes()[..], &widest(9)[8].to_bytes()].concat();
    assert_eq!(Offer::from_bytes(&ninth), Err(OfferError::TooMany));
    // The authority's relay is one of the eight.
    let web = |bytes: &[u8]| Offer::from_link(&format!("HTTPS://A.B/P#{}", BASE32_NOPAD.encode(bytes)));
    assert_eq!(web(&offer.to_bytes()), Err(OfferError::TooMany));
    assert!(web(&Offer { endpoints: widest(7), ..plain() }.to_bytes()).is_ok());
    // Those of unknown kinds count too, before they are skipped.
    let unknown = |n: u8| (0..n).flat_map(|n| [9, 1, n]).collect::<Vec<_>>();
    let fixed = |endpoints: &[u8]| Offer::from_bytes(&[&plain().to_bytes()[..FIXED], endpoints].concat());
    assert_eq!(fixed(&unknown(8)).map(|offer| offer.endpoints), Ok(Vec::new()));
    assert_eq!(fixed(&unknown(9)), Err(OfferError::TooMany));

    // Only what can be an offer is said to be of a newer version: any text has a first byte.
    let begins = |first: u8, len: usize| Offer::from_bytes(&[&[first][..], &vec![0x5a; len - 1]].concat());
    for version in [2, 15] {
        assert_eq!(begins(version, FIXED), Err(OfferError::Version(version)));
    }
    for (first, len) in [(0, 80), (16, 80), (107, 80), (255, 80), (2, FIXED - 1), (2, 1)] {
        assert_eq!(begins(first, len), Err(OfferError::Damaged), "{first} {len}");
    }
    assert_eq!(Offer::from_link("COUPLET:NONSENSE"), Err(OfferError::Damaged));

    // Longer links are not looked at.
    let long = |n: usize| format!("COUPLET:{}", "A".repeat(n - 8));
    assert_eq!(Offer::from_link(&long(4096)), Err(OfferError::Damaged));
    assert_eq!(Offer::from_link(&long(4097)), Err(OfferError::NotALink));
    for len in 0..FIXED {
        assert!(matches!(Offer::from_bytes(&plain().to_bytes()[..len]), Err(OfferError::Short(_))), "{len} bytes");
    }
}
