//! What a stranger's bytes cost in memory: never more than a small multiple of their own length, whatever they declare.
//! The cryptographic provider allocates outside of Rust and is not counted; it is given no lengths that a stranger chose.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod any;
mod ends;

use allocation_counter::measure;
use any::{changed, control, lan, offer, relay};
use couplet_protocol::Offer;
use couplet_protocol::frame::FRAME_MAX;
use couplet_protocol::handshake::{Hello, M1_MAX, M2_MAX, Mode};
use couplet_protocol::message::Control;
use couplet_protocol::offer::LinkForm;
use ends::{BOTH, begin, receive, talk};
use proptest::prelude::*;

/// At most so many bytes at a time.
fn allocated(work: impl FnOnce()) -> u64 {
    measure(work).bytes_max
}

fn bound(len: usize, times: usize, more: usize) -> u64 {
    u64::try_from(len * times + more).unwrap()
}

/// Endpoints and what is seen of them, eight at most.
const LISTS: usize = 1024;

fn check_offer(bytes: &[u8]) -> Result<(), TestCaseError> {
    let most = allocated(|| drop(Offer::from_bytes(bytes)));
    prop_assert!(most <= bound(bytes.len(), 1, LISTS), "{most} bytes for {}", bytes.len());
    Ok(())
}

fn check_link(link: &str) -> Result<(), TestCaseError> {
    let most = allocated(|| drop(Offer::from_link(link)));
    // What is too long is not copied at all.
    prop_assert!(most <= bound(link.len().min(4096), 3, LISTS), "{most} bytes for {}", link.len());
    Ok(())
}

fn check_control(bytes: &[u8]) -> Result<(), TestCaseError> {
    let most = allocated(|| drop(Control::decode(bytes)));
    prop_assert!(most <= bound(bytes.len(), 1, LISTS), "{most} bytes for {}", bytes.len());
    Ok(())
}

fn check_handshake(bytes: &[u8]) -> Result<(), TestCaseError> {
    // Nothing before the header is read and the offer or the pairing is known.
    let most = allocated(|| _ = Hello::parse(bytes));
    prop_assert_eq!(most, 0);
    let most = allocated(|| drop(receive(bytes, 3)));
    prop_assert!(most <= bound(bytes.len().min(M1_MAX), 3, 4096), "{most} bytes for an M1 of {}", bytes.len());
    for mode in BOTH {
        let (initiator, _) = begin(mode, 3);
        let most = allocated(|| drop(initiator.finish(bytes)));
        prop_assert!(most <= bound(bytes.len().min(M2_MAX), 3, 4096), "{most} bytes for an M2 of {}", bytes.len());
    }
    Ok(())
}

fn check_frame(bytes: &[u8]) -> Result<(), TestCaseError> {
    let (mut talk, mut bytes) = (talk(Mode::Reconnect, 3), bytes.to_vec());
    let most = allocated(|| drop(talk.host.opener.open(&mut bytes)));
    prop_assert_eq!(most, 0, "frames are opened in place");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn changed_ones_cost_no_more_than_right_ones(
        near in offer().prop_flat_map(|offer| changed(offer.to_bytes().to_vec())),
        link in offer().prop_flat_map(|offer| changed(offer.to_link(LinkForm::Web).into_bytes())),
        message in control(|| prop_oneof![relay(), lan()])
            .prop_flat_map(|message| changed(message.encode().unwrap().to_vec())),
        m1 in prop::bool::ANY.prop_flat_map(|pair| changed(begin(if pair { Mode::Pair } else { Mode::Reconnect }, 3).1)),
    ) {
        check_offer(&near)?;
        check_link(&String::from_utf8_lossy(&link))?;
        check_control(&message)?;
        check_handshake(&m1)?;
    }

    #[test]
    fn any_bytes_cost_little(start in prop::collection::vec(any::<u8>(), 0..64), len in 0..40_000_usize, fill: u8) {
        let mut bytes = start;
        bytes.resize(bytes.len().max(len), fill);
        for head in [&[][..], &[1, 1], &[2], &[1, 1, 1, 1, 1], &[1, 1, 1, 2, 1], &[0x11, 0, 0, 0], &[0xa2, 0x61, b't']] {
            let bytes = [head, &bytes].concat();
            check_offer(&bytes)?;
            check_link(&String::from_utf8_lossy(&bytes))?;
            check_control(&bytes)?;
            check_handshake(&bytes)?;
            check_frame(&bytes)?;
        }
    }
}

#[test]
fn declared_lengths_cost_nothing() {
    let huge = |head: u8| [&[0xa2, 0x61, b't', 0x69][..], b"endpoints\x64list", &[head], &[0xff; 8]].concat();
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        for tail in [0, 1000, FRAME_MAX] {
            let bytes = [&huge(head)[..], &vec![0x9b; tail]].concat();
            assert_eq!(allocated(|| drop(Control::decode(&bytes))), 0, "{head:02x}");
        }
    }
    for head in [0x5b, 0x7b, 0x9b, 0xbb] {
        let bytes = [&[head][..], &[0xff; 8]].concat();
        assert_eq!(allocated(|| drop(Control::decode(&bytes))), 0, "{head:02x}");
    }
    let link = "A".repeat(10_000_000);
    assert_eq!(allocated(|| drop(Offer::from_link(&link))), 0);
    assert_eq!(allocated(|| _ = Hello::parse(&vec![1; M1_MAX + 1])), bound(M1_MAX + 1, 1, 0), "the test's own");
}
