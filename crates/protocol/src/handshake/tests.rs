//! Messages that no end of this program writes, from one that has the keys.

use super::*;

fn key(n: u8) -> StaticSecret {
    StaticSecret::new([n; 32]).unwrap()
}

fn psk() -> Psk {
    Psk::new([7; 32])
}

/// A payload of so many bytes: what it should be, and a later version's field with the rest.
fn payload(len: usize, known: &[u8], key: &str) -> Vec<u8> {
    let (mut out, entries) = (known.to_vec(), known[0] + 1);
    out[0] = entries;
    out.extend([0x60 + u8::try_from(key.len()).unwrap()]);
    out.extend(key.as_bytes());
    let rest = len - out.len() - 3;
    out.push(0x59);
    out.extend(u16::try_from(rest).unwrap().to_be_bytes());
    out.resize(len, 0);
    out
}

/// What a host makes of an M1 with this payload.
fn opened(mode: Mode, payload: &[u8]) -> Result<(), HandshakeError> {
    let head = header(mode, SUITE_1, &[1; 8]).unwrap();
    let pattern = if mode == Mode::Pair { Pattern::IkPsk1 } else { Pattern::IkPsk2 };
    let theirs = key(1).public();
    let mut noise =
        Noise::begin(pattern, &key(2), Some(&theirs), &psk(), &prologue(&head), Entropy::new([3; 32])).unwrap();
    let mut m1 = vec![0; 2 * M1_MAX];
    m1[..HEADER].copy_from_slice(&head);
    let written = noise.write(payload, &mut m1[HEADER..]).unwrap();
    let hello = Hello::parse(&m1[..HEADER + written])?;
    let ephemeral = Entropy::new([4; 32]);
    match mode {
        Mode::Pair => Responder::pair(&hello, &key(1), &psk(), SUITE_1, ephemeral).map(drop),
        Mode::Reconnect => {
            Responder::reconnect(&hello, &key(1), &psk(), SUITE_1, &key(2).public(), ephemeral).map(drop)
        }
    }
}

/// What a device makes of an M2 with this payload.
fn answered(payload: &[u8]) -> Result<(), HandshakeError> {
    let keys = PairingKeys { psk_id: [1; 8], psk: psk(), host_key: key(1).public(), suites: SUITE_1 };
    let (initiator, m1) = Initiator::reconnect(&keys, &key(2), Entropy::new([3; 32])).unwrap();
    let hello = Hello::parse(&m1).unwrap();
    let (mut noise, _, _) = hello.open(Pattern::IkPsk2, &key(1), &psk(), SUITE_1, Entropy::new([4; 32])).unwrap();
    let mut m2 = vec![0; 2 * M2_MAX];
    m2[0] = M2;
    let written = noise.write(payload, &mut m2[1..]).unwrap();
    initiator.finish(&m2[..=written]).map(drop)
}

fn claim() -> Vec<u8> {
    let claim = Claim { name: "n".into(), model: None, platform: None, kind: "k".into() };
    ClaimPayload { claim, commit: [0; 32] }.encode().unwrap().to_vec()
}

#[test]
fn messages_at_the_limit_are_opened_and_longer_ones_are_not() {
    const SEALED: usize = 32 + 48 + 16;
    for (mode, known) in [(Mode::Pair, claim()), (Mode::Reconnect, vec![0xa0])] {
        let room = M1_MAX - HEADER - SEALED;
        assert_eq!(opened(mode, &payload(room, &known, "zzzzzzz")), Ok(()), "{mode:?}");
        let over = opened(mode, &payload(room + 1, &known, "zzzzzzz"));
        assert_eq!(over, Err(HandshakeError::Malformed), "{mode:?}");
    }
    let answer = AnswerPayload { host_name: "h".into(), nonce: [0; 32] }.encode().unwrap();
    let room = M2_MAX - 1 - 32 - 16;
    assert_eq!(answered(&payload(room, &answer, "zzzzzzzzzz")), Ok(()));
    assert_eq!(answered(&payload(room + 1, &answer, "zzzzzzzzzz")), Err(HandshakeError::Malformed));
}

#[test]
fn payloads_that_are_none_are_refused_though_the_keys_are_right() {
    let malformed = Err(HandshakeError::Malformed);
    let claim = claim();
    let trailing = [&claim[..], &[0]].concat();
    for wrong in [&b""[..], b"\xa0", b"\xbf\xff", &claim[..claim.len() - 1], &trailing, b"\xff"] {
        assert_eq!(opened(Mode::Pair, wrong), malformed, "{wrong:02x?}");
        assert_eq!(answered(wrong), malformed, "{wrong:02x?}");
    }
    for wrong in [&b""[..], b"\x80", b"\xa0\x00", b"\xbf\xff"] {
        assert_eq!(opened(Mode::Reconnect, wrong), malformed, "{wrong:02x?}");
    }
}
