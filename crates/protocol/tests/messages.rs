//! CONTROL messages, whatever may stand in them (spec/protocol.md, 3 and 4).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod any;

use any::{TEXT_MAX, changed, control, lan, relay};
use couplet_protocol::Endpoint;
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::offer::ENDPOINTS_MAX;
use couplet_protocol::secret::{Entropy, Psk, RoomSecret};
use minicbor::Encoder;
use proptest::prelude::*;

fn encoded(message: &Control) -> Vec<u8> {
    message.encode().unwrap().to_vec()
}

fn is_refused(bytes: &[u8]) -> bool {
    Control::decode(bytes).is_err()
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    prop_oneof![relay(), lan()]
}

/// A map with these entries, as they are.
fn map(entries: &[&[u8]]) -> Vec<u8> {
    let len = u8::try_from(entries.len()).unwrap();
    [&[0xa0 + len][..], &entries.concat()].concat()
}

fn written(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes));
    bytes
}

fn text(text: &str) -> Vec<u8> {
    written(|out| {
        out.str(text).unwrap();
    })
}

fn number_of(number: u64) -> Vec<u8> {
    written(|out| {
        out.u64(number).unwrap();
    })
}

/// Where the heads of a message stand: major type, where, how long, argument.
fn heads(message: &[u8]) -> Vec<(u8, usize, usize, u64)> {
    let (mut at, mut heads) = (0, Vec::new());
    while at < message.len() {
        let (major, short) = (message[at] & 0xe0, message[at] & 0x1f);
        let more = if short < 24 { 0 } else { 1 << (short - 24) };
        let bytes = message[at + 1..at + 1 + more].iter();
        let argument = bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let argument = if more == 0 { u64::from(short) } else { argument };
        heads.push((major, at, 1 + more, argument));
        let body = if matches!(major, 0x40 | 0x60) { usize::try_from(argument).unwrap() } else { 0 };
        at += 1 + more + body;
    }
    heads
}

/// The same message with one of its heads in another form: each longer one, and without a length.
fn other_forms(message: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (major, at, len, argument) in heads(message) {
        let mut with = |head: &[u8], end: &[u8]| {
            let body = if matches!(major, 0x40 | 0x60) { usize::try_from(argument).unwrap() } else { 0 };
            let (body, rest) = message[at + len..].split_at(body);
            forms.push([&message[..at], head, body, end, rest].concat());
        };
        let argument = argument.to_be_bytes();
        for (sign, bytes) in [(24, 1), (25, 2), (26, 4), (27, 8)] {
            if 1 + bytes > len {
                with(&[&[major | sign][..], &argument[8 - bytes..]].concat(), &[]);
            }
        }
        if major == 0x40 || major == 0x60 {
            with(&[&[major | 0x1f][..], &message[at..at + len]].concat(), &[0xff]);
        }
        // A break at the end of the message suits the outer map, and a list that comes last.
        forms.push([&message[..at], &[major | 0x1f], &message[at + len..], &[0xff]].concat());
        // Reserved forms, and a tag in front.
        (28..31).for_each(|sign| forms.push([&message[..at], &[major | sign], &message[at + len..]].concat()));
        forms.push([&message[..at], &[0xc0], &message[at..]].concat());
    }
    forms
}

proptest! {
    #[test]
    fn a_message_reads_back(message in control(endpoint)) {
        prop_assert_eq!(Control::decode(&encoded(&message)), Ok(Some(message)));
    }

    /// Relay names apart, whose case does not count.
    #[test]
    fn a_changed_byte_is_refused_or_another_message(message in control(lan), by in 1..=255_u8) {
        let right = encoded(&message);
        for at in 0..right.len() {
            let mut bytes = right.clone();
            bytes[at] ^= by;
            prop_assert_ne!(&Control::decode(&bytes), &Ok(Some(message.clone())), "byte {}", at);
        }
    }

    #[test]
    fn a_message_has_one_form(message in control(endpoint)) {
        let right = encoded(&message);
        let forms = other_forms(&right);
        prop_assert!(forms.len() >= 3 * 9, "a map, a key and a value at least");
        for form in forms {
            prop_assert!(is_refused(&form), "{form:02x?}");
        }
        for len in 0..right.len() {
            prop_assert!(is_refused(&right[..len]), "{len} bytes");
        }
        for byte in [0, 0x60, 0xa0, 0xf6, 0xff] {
            prop_assert!(is_refused(&[&right[..], &[byte]].concat()), "trailing {byte:02x}");
        }
    }

    /// What is read is written and read the same, whatever was ignored in it.
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes: Vec<u8>,
        near in control(endpoint).prop_flat_map(|message| changed(encoded(&message))),
    ) {
        for bytes in [bytes, near] {
            if let Ok(Some(message)) = Control::decode(&bytes) {
                let written = encoded(&message);
                prop_assert!(written.len() <= bytes.len());
                prop_assert_eq!(Control::decode(&written), Ok(Some(message)));
            }
        }
    }

    /// A later version may say more. Its keys stand where they belong, whatever is in them.
    #[test]
    fn unknown_fields_are_ignored(serial: u64, key in "[u-z]", number: i64, bytes: Vec<u8>) {
        let known = Control::Endpoints { list: Vec::new(), serial };
        let value = written(|out| {
            out.array(3).unwrap().i64(number).unwrap().bytes(&bytes).unwrap();
            out.map(1).unwrap().null().unwrap().bool(true).unwrap();
        });
        let mut entries = vec![[text("t"), text("endpoints")].concat(), [text(&key), value].concat()];
        entries.push([text("list"), vec![0x80]].concat());
        entries.push([text("serial"), number_of(serial)].concat());
        let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(Control::decode(&map(&entries)), Ok(Some(known)));
    }
}

#[test]
fn keys_stand_in_order_and_once() {
    let (t, code) = ([text("t"), text("rejected")].concat(), [text("code"), text("CPL-1208")].concat());
    let right = Control::Rejected { code: "CPL-1208".into() };
    assert_eq!(Control::decode(&map(&[&t, &code])), Ok(Some(right)));
    let (shorter, letter) = ([text("u"), vec![0]].concat(), [text("coda"), vec![0]].concat());
    for entries in
        [&[&code[..], &t][..], &[&t, &t, &code], &[&t, &code, &code], &[&shorter, &t, &code], &[&t, &code, &letter]]
    {
        assert!(is_refused(&map(entries)), "{entries:02x?}");
    }
    // By length first: "zz" before "aaa", the other way round than by letter alone.
    let (zz, aaa) = ([text("zz"), vec![0]].concat(), [text("aaa"), vec![0]].concat());
    assert!(Control::decode(&map(&[&t, &zz, &aaa, &code])).is_ok());
    assert!(is_refused(&map(&[&t, &aaa, &zz, &code])));
}

#[test]
fn what_no_message_holds_is_refused_even_where_it_would_be_ignored() {
    let t = [text("t"), text("ack")].concat();
    let with = |value: &[u8]| map(&[&t, &[&text("z")[..], value].concat()]);
    for fine in
        [&[0xf4][..], &[0xf5], &[0xf6], &[0x20], &[0x3b, 255, 255, 255, 255, 255, 255, 255, 255], &[0x80], &[0xa0]]
    {
        assert_eq!(Control::decode(&with(fine)), Ok(Some(Control::Ack)), "{fine:02x?}");
    }
    // Floats, undefined, simple values, tags, a break; text that is no UTF-8; what breaks off; lengths without an end.
    for wrong in [
        &[0xf9, 0, 0][..],
        &[0xfa, 0, 0, 0, 0],
        &[0xfb, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xf7],
        &[0xe0],
        &[0xf3],
        &[0xf8, 32],
        &[0xf8, 255],
        &[0xc0, 0],
        &[0xc2, 0x41, 1],
        &[0xd9, 0xd9, 0xf7, 0],
        &[0xff],
        &[0x61, 0xff],
        &[0x62, 0xc3, 0x28],
        &[0x41],
        &[0x81],
        &[0xa1, 0],
        &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255],
        &[0x9f, 0xff],
        &[0xbf, 0xff],
        &[0x5f, 0xff],
        &[0x7f, 0xff],
        &[0xbb, 255, 255, 255, 255, 255, 255, 255, 255, 0],
    ] {
        assert!(is_refused(&with(wrong)), "{wrong:02x?}");
    }
    for key in [&[0][..], &[0x41, b'z'], &[0xf6], &[0x81, 0], &[0x61, 0xff]] {
        assert!(is_refused(&map(&[&t, &[key, &[0]].concat()])), "key {key:02x?}");
    }
    for whole in
        [&[][..], &[0xa0], &[0x80], &[0], &[0xf6], &text("ack"), &[0xa1, 0x61, b't', 0], &[0xa1, 0x61, b't', 0xf6]]
    {
        assert!(is_refused(whole), "{whole:02x?}");
    }
    // Nothing recurses: as deep as a frame is long.
    let deep = [&[0x81; 16_000][..], &[0]].concat();
    assert_eq!(Control::decode(&with(&deep)), Ok(Some(Control::Ack)));
}

#[test]
fn fields_are_of_their_type_and_size() {
    let grant = Control::Grant(Grant {
        device_id: "i".into(),
        device_token: String::from("t").into(),
        host_name: "h".into(),
        psk_id: [1; 8],
        psk: Psk::new([2; 32]),
        room_secret: Some(RoomSecret::new([3; 32])),
        endpoints: vec!["192.0.2.7:80".parse().map(Endpoint::Lan).unwrap()],
    });
    let confirm = Control::Confirm { reveal: Some(Entropy::new([4; 32])), rooms: None };
    let replaced = |message: &Control, from: &[u8], to: &[u8]| {
        let bytes = encoded(message);
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let bytes = |len: u8| [&[0x58, len][..], &vec![2; len.into()]].concat();
    for len in [24, 31, 33, 64] {
        assert!(is_refused(&replaced(&grant, &bytes(32), &bytes(len))), "psk of {len} bytes");
        let room = |byte| if byte == 2 { 3 } else { byte };
        let (right, wrong) =
            (bytes(32).into_iter().map(room).collect::<Vec<_>>(), bytes(len).into_iter().map(room).collect::<Vec<_>>());
        assert!(is_refused(&replaced(&grant, &right, &wrong)), "room secret of {len} bytes");
        let right = [&[0x58, 32][..], &[4; 32]].concat();
        assert!(is_refused(&replaced(&confirm, &right, &bytes(len))), "rP of {len} bytes");
    }
    for (from, to) in [
        (&b"\x48\x01\x01\x01\x01\x01\x01\x01\x01"[..], &b"\x47\x01\x01\x01\x01\x01\x01\x01"[..]),
        (b"\x61i", b"\x41i"),
        (b"\x61h", b"\x01"),
        (b"\x61t\x65grant", b"\x61s\x65grant"),
        (b"\x48\x02\x06", b"\x68\x02\x06"),
        (b"\x48\x02\x06", b"\x48\x02\x05"),
        (b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x50", b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x00"),
        (b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x50", b"\x81\x40"),
        (b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x50", b"\x81\x41\x09"),
        (b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x50", b"\xf6"),
    ] {
        assert!(is_refused(&replaced(&grant, from, to)), "{to:02x?}");
    }
    // Of an unknown kind: left out.
    let unknown = replaced(&grant, b"\x81\x48\x02\x06\xc0\x00\x02\x07\x00\x50", b"\x81\x43\x09\x01\x00");
    assert!(matches!(Control::decode(&unknown), Ok(Some(Control::Grant(grant))) if grant.endpoints.is_empty()));
    let numbers = |number: &[u8]| replaced(&Control::Endpoints { list: Vec::new(), serial: 5 }, &[0x05], number);
    assert!(!is_refused(&numbers(&[0x06])) && is_refused(&numbers(&[0x20])) && is_refused(&numbers(&[0x61, b'5'])));
    // What this version does not know is not an error.
    assert_eq!(Control::decode(&map(&[&[text("t"), text("later")].concat()])), Ok(None));
}

#[test]
fn sizes_at_the_limits_pass_and_one_more_does_not() {
    for (len, fits) in [(TEXT_MAX, true), (TEXT_MAX + 1, false)] {
        let code = "é".repeat(len / 2) + &"e".repeat(len % 2);
        assert_eq!(code.len(), len);
        let message = Control::Rejected { code: code.clone() };
        assert_eq!(message.encode().is_ok(), fits, "writing {len} bytes");
        let bytes = map(&[&[text("t"), text("rejected")].concat(), &[text("code"), text(&code)].concat()]);
        assert_eq!(Control::decode(&bytes).ok(), fits.then_some(Some(message)), "reading {len} bytes");
    }
    let lan = |n: usize| Endpoint::Lan(([192, 0, 2, 7], u16::try_from(n).unwrap()).into());
    for (len, fits) in [(0, true), (ENDPOINTS_MAX, true), (ENDPOINTS_MAX + 1, false), (24, false)] {
        let list: Vec<Endpoint> = (1..=len).map(lan).collect();
        let value = written(|out| {
            out.array(len as u64).unwrap();
            for endpoint in &list {
                out.bytes(&endpoint.to_bytes()).unwrap();
            }
        });
        let entries = [
            [text("t"), text("endpoints")].concat(),
            [text("list"), value].concat(),
            [text("serial"), vec![1]].concat(),
        ];
        let bytes = map(&[&entries[0], &entries[1], &entries[2]]);
        let wanted = fits.then_some(Some(Control::Endpoints { list, serial: 1 }));
        assert_eq!(Control::decode(&bytes).ok(), wanted, "{len} endpoints");
    }
}
