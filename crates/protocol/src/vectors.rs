//! The frozen vectors in `spec/vectors/`: made once, recomputed by every test run, and checked by a second
//! implementation of the primitives.

use std::path::PathBuf;
use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::frame::{CloseCode, Content};
use crate::handshake::{Hello, Initiator, PairingKeys, Responder};
use crate::message::{Claim, Control, Grant};
use crate::noise::{Noise, Pattern};
use crate::offer::{Endpoint, LinkForm, Offer, SUITE_1};
use crate::schedule::Source;
use crate::secret::{Entropy, OfferSecret, Psk, RoomSecret};
use crate::session::Session;
use crate::{OfferKeys, StaticSecret};

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// Bytes that tell where they stand: `first`, `first` + 1, …
fn counting<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap()))
}

fn host() -> StaticSecret {
    StaticSecret::new(counting(0x10)).unwrap()
}

fn device() -> StaticSecret {
    StaticSecret::new(counting(0x40)).unwrap()
}

fn endpoints() -> Vec<Endpoint> {
    let lan = |text: &str| Endpoint::Lan(text.parse().unwrap());
    vec![
        Endpoint::Relay(crate::offer::RelayName::parse("relay.example.org:8443").unwrap()),
        lan("192.168.1.42:7878"),
        lan("[fd00::42]:7878"),
    ]
}

fn offer(endpoints: &[Endpoint]) -> Offer {
    Offer {
        suites: SUITE_1,
        expires_at: 1_800_000_000,
        secret: OfferSecret::new(counting(0xa0)),
        host_key: host().public(),
        endpoints: endpoints.to_vec(),
    }
}

fn offers() -> Value {
    let all = endpoints();
    let valid: Vec<Value> = [&all[..0], &all[1..2], &all[..]]
        .into_iter()
        .map(|endpoints| {
            let offer = offer(endpoints);
            json!({
                "suites": offer.suites, "expires_at": offer.expires_at, "secret": hex(offer.secret.expose()),
                "host_key": hex(offer.host_key.as_bytes()), "fingerprint": offer.host_key.fingerprint(),
                "endpoints": endpoints.iter().map(|endpoint| hex(endpoint.to_bytes())).collect::<Vec<_>>(),
                "bytes": hex(offer.to_bytes()),
                "links": [offer.to_link(LinkForm::App), offer.to_link(LinkForm::Web)],
            })
        })
        .collect();
    let plain = offer(&all[1..2]).to_bytes().to_vec();
    let with = |more: &[u8]| [&plain[..], more].concat();
    let mut other_version = plain.clone();
    other_version[0] = 2;
    let mut no_suite = plain.clone();
    no_suite[1] = 0b10;
    let nine: Vec<u8> = (1..=8).flat_map(|n| [2, 6, 10, 0, 0, n, 0, 80]).collect();
    let invalid = [
        ("another version", other_version),
        ("no known suite", no_suite),
        ("breaks off within the host's key", plain[..40].to_vec()),
        ("a trailing byte", with(&[0])),
        ("an endpoint that breaks off", with(&[2, 6, 10, 0])),
        ("port zero", with(&[2, 6, 10, 0, 0, 1, 0, 0])),
        ("a LAN address of a wrong length", with(&[2, 5, 10, 0, 0, 1, 0])),
        ("an endpoint twice", with(&plain[plain.len() - 8..])),
        ("an unknown endpoint twice", with(&[9, 1, 7, 9, 1, 7])),
        ("nine endpoints", with(&nine)),
        ("a relay name with a space", with(&[1, 3, b'a', b' ', b'b'])),
    ];
    let skipped = with(&[9, 2, 1, 2]);
    assert_eq!(Offer::from_bytes(&skipped).unwrap(), offer(&all[1..2]));
    json!({
        "valid": valid,
        "skipped": { "what": "an endpoint of an unknown kind", "bytes": hex(skipped), "same_as": hex(&plain) },
        "invalid": invalid.map(|(what, bytes)| {
            assert!(Offer::from_bytes(&bytes).is_err(), "{what}");
            json!({ "what": what, "bytes": hex(bytes) })
        }),
    })
}

fn derivations() -> Value {
    let offer = offer(&[]);
    let OfferKeys { offer_id, pairing_token_hash, room, psk } = offer.keys().unwrap();
    json!({
        "secret": hex(offer.secret.expose()), "host_key": hex(offer.host_key.as_bytes()), "expires_at": offer.expires_at,
        "offer_id": hex(offer_id), "pairing_token_hash": *pairing_token_hash.expose_hex(), "room": room.to_hex(),
        "psk": hex(psk.expose()),
    })
}

fn rooms() -> Value {
    let secret = RoomSecret::new(counting(0x60));
    let rooms: Vec<Value> = [0, 1, 2, 255, 256, u32::MAX]
        .into_iter()
        .map(|number| json!({ "n": number, "room": secret.room(number).unwrap().to_hex() }))
        .collect();
    json!({
        "room_secret": hex(secret.expose()), "secret_hash": *secret.relay_secret_hash().unwrap().expose_hex(),
        "rooms": rooms,
    })
}

/// One handshake, step by step and as a whole: both must come to the same bytes.
fn handshake(mode: &str) -> (Value, Session, Session) {
    let (offer, rp, rh) = (offer(&[]), counting(0x70), counting(0xd0));
    let (e_device, e_host): ([u8; 32], [u8; 32]) = (counting(0x21), counting(0x81));
    let keys = PairingKeys {
        psk_id: counting(0xe0),
        psk: Psk::new(counting(0x33)),
        host_key: host().public(),
        suites: SUITE_1,
    };
    let claim = Claim {
        name: "Anna's phone".into(),
        model: Some("Model 7".into()),
        platform: Some("Linux".into()),
        kind: "mobile".into(),
    };
    let (psk, pattern, (initiator, m1)) = match mode {
        "pair" => {
            let begun = Initiator::pair(&offer, &device(), claim, Entropy::new(e_device), Entropy::new(rp));
            (offer.keys().unwrap().psk, Pattern::IkPsk1, begun.unwrap())
        }
        _ => {
            let begun = Initiator::reconnect(&keys, &device(), Entropy::new(e_device));
            (keys.psk.clone(), Pattern::IkPsk2, begun.unwrap())
        }
    };
    let hello = Hello::parse(&m1).unwrap();
    let responder = match mode {
        "pair" => Responder::pair(&hello, &host(), &psk, SUITE_1, Entropy::new(e_host)),
        _ => Responder::reconnect(&hello, &host(), &psk, SUITE_1, &device().public(), Entropy::new(e_host)),
    };
    let (unconfirmed, m2) = responder.unwrap().answer("Home", &Entropy::new(rh)).unwrap();
    let confirmed = initiator.finish(&m2).unwrap();
    let check = confirmed.check_code.show().replace(' ', "");
    let (device_session, mut first) = confirmed.begin().unwrap();
    let sealed_confirm = hex(&first);
    let proof = unconfirmed.confirm(&mut first).unwrap();
    let host_session = proof.session;
    assert_eq!(proof.check_code.is_some(), mode == "pair");

    // The same by hand, for what lies between.
    let prologue = [b"couplet/1", &m1[..13]].concat();
    let mut noise = Noise::begin(pattern, &host(), None, &psk, &prologue, Entropy::new(e_host)).unwrap();
    let payload1 = noise.read(&m1[13..]).unwrap();
    let mut device_noise = {
        let theirs = host().public();
        Noise::begin(pattern, &device(), Some(&theirs), &psk, &prologue, Entropy::new(e_device)).unwrap()
    };
    let mut out = vec![0; 4096];
    let len = device_noise.write(&payload1, &mut out).unwrap();
    assert_eq!(out[..len], m1[13..]);
    let payload2 = device_noise.read(&m2[1..]).unwrap();
    let (k1, k2, h) = device_noise.raw();
    let prk = device_noise.finish().unwrap();
    let key = |d: &str| hex(&prk.expand::<32>(&[b"couplet/1 key ", d.as_bytes()]).unwrap()[..]);
    let prefix = |d: &str| hex(&prk.expand::<16>(&[b"couplet/1 nonce ", d.as_bytes()]).unwrap()[..]);
    let mut value = json!({
        "mode": mode,
        "host_secret": hex(host().expose()), "host_key": hex(host().public().as_bytes()),
        "device_secret": hex(device().expose()), "device_key": hex(device().public().as_bytes()),
        "device_ephemeral_secret": hex(e_device), "host_ephemeral_secret": hex(e_host),
        "psk": hex(psk.expose()), "prologue": hex(&prologue),
        "payload1": hex(&payload1[..]), "m1": hex(&m1), "rH": hex(rh), "payload2": hex(&payload2[..]), "m2": hex(&m2),
        "h": hex(&h), "k1": hex(k1), "k2": hex(k2),
        "key_i2r": key("i2r"), "prefix_i2r": prefix("i2r"), "key_r2i": key("r2i"), "prefix_r2i": prefix("r2i"),
        "confirm_frame": sealed_confirm,
    });
    if mode == "pair" {
        value["rP"] = hex(rp).into();
        value["check_code"] = check.into();
    }
    (value, device_session, host_session)
}

fn frames() -> Value {
    let (pairing, mut device, mut host) = handshake("pair");
    let grant = Control::Grant(Grant {
        device_id: "00000000-0000-4000-8000-000000000000".into(),
        device_token: String::from("dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").into(),
        host_name: "Home".into(),
        psk_id: counting(1),
        psk: Psk::new(counting(2)),
        room_secret: Some(RoomSecret::new(counting(3))),
        endpoints: endpoints(),
    });
    let long: Vec<u8> = (0..16_619_u32).map(|n| (n % 251) as u8).collect();
    let (grant, ack) = (grant.encode().unwrap(), Control::Ack.encode().unwrap());
    let mut frames = Vec::new();
    let mut seal =
        |from: &str, session: &mut Session, kind: &str, data: &[u8], work: &dyn Fn(&mut Session, &mut Vec<u8>)| {
            let mut frame = Vec::new();
            work(session, &mut frame);
            frames.push(json!({ "from": from, "type": kind, "data": hex(data), "frame": hex(frame) }));
        };
    let content = |content: Content<'static>| {
        move |session: &mut Session, out: &mut Vec<u8>| session.sealer.seal(content, out).unwrap()
    };
    seal("host", &mut host, "CONTROL", &grant, &|s, out| s.sealer.seal(Content::Control(&grant), out).unwrap());
    // The device's frame 0 was its confirm.
    seal("device", &mut device, "CONTROL", &ack, &|s, out| s.sealer.seal(Content::Control(&ack), out).unwrap());
    seal("host", &mut host, "DATA", b"", &content(Content::Data(b"")));
    seal("host", &mut host, "DATA", b"ends in zeros\0\0", &content(Content::Data(b"ends in zeros\0\0")));
    seal("host", &mut host, "DATA", &long, &|s, out| s.sealer.seal(Content::Data(&long), out).unwrap());
    seal("host", &mut host, "PAD", b"", &content(Content::Pad(100)));
    let update = |s: &mut Session, out: &mut Vec<u8>| s.sealer.seal_key_update(Duration::ZERO, out).unwrap();
    seal("host", &mut host, "KEYUPDATE", b"", &update);
    seal("host", &mut host, "DATA", b"under the next key", &content(Content::Data(b"under the next key")));
    let close = [&[0, 2][..], &8_u64.to_be_bytes()].concat();
    seal("host", &mut host, "CLOSE", &close, &|s, out| s.sealer.seal_close(CloseCode::Revoked, out).unwrap());
    json!({
        "key_i2r": pairing["key_i2r"], "prefix_i2r": pairing["prefix_i2r"],
        "key_r2i": pairing["key_r2i"], "prefix_r2i": pairing["prefix_r2i"],
        "frames": frames,
    })
}

fn rekey() -> Value {
    let mut steps = Vec::new();
    let mut key: [u8; 32] = counting(0x55);
    for direction in ["i2r", "r2i"] {
        for epoch in 1..=2 {
            let next = Source::of_key(&key).expand::<48>(&[b"couplet/1 rekey ", direction.as_bytes()]).unwrap();
            let (next_key, prefix) = (&next[..32], &next[32..]);
            steps.push(json!({ "direction": direction, "epoch": epoch, "key_before": hex(key), "key": hex(next_key), "prefix": hex(prefix) }));
            key.copy_from_slice(next_key);
        }
    }
    json!({ "steps": steps })
}

fn check_codes() -> Value {
    let codes: Vec<Value> = (0..8_u8)
        .map(|n| {
            let (prk, rp, rh): ([u8; 32], [u8; 32], [u8; 32]) = (counting(n), counting(n + 40), counting(n + 80));
            let code = crate::CheckCode::derive(&Source::of_key(&prk), &rp, &rh).unwrap();
            json!({ "prk": hex(prk), "rP": hex(rp), "rH": hex(rh), "check_code": code.show().replace(' ', "") })
        })
        .collect();
    json!({ "codes": codes })
}

fn all() -> [(&'static str, Value); 7] {
    [
        ("offer.json", offers()),
        ("derivations.json", derivations()),
        ("rooms.json", rooms()),
        ("handshake.json", json!({ "handshakes": [handshake("pair").0, handshake("reconnect").0] })),
        ("frames.json", frames()),
        ("rekey.json", rekey()),
        ("check_code.json", check_codes()),
    ]
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file)
}

fn frozen(file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(file)).unwrap()).unwrap()
}

#[test]
fn the_vectors_are_what_this_version_computes() {
    for (file, value) in all() {
        // Only what is not there yet is written: vectors are made once.
        if std::env::var_os("COUPLET_WRITE_VECTORS").is_some() && !path(file).exists() {
            std::fs::write(path(file), serde_json::to_string_pretty(&value).unwrap() + "\n").unwrap();
        }
        assert!(frozen(file) == value, "{file} is frozen: another value breaks every client");
    }
}

fn expand<const N: usize>(prk: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(prk).unwrap().expand_multi_info(info, &mut out).unwrap();
    out
}

#[test]
fn another_implementation_derives_the_same() {
    let v = frozen("derivations.json");
    let (prk, _) = Hkdf::<Sha256>::extract(Some(b"couplet/1 offer"), &unhex(&v["secret"]));
    let expires = u32::try_from(v["expires_at"].as_u64().unwrap()).unwrap().to_be_bytes();
    assert_eq!(hex(expand::<8>(&prk, &[b"offer id"])), v["offer_id"]);
    assert_eq!(hex(expand::<16>(&prk, &[b"room"])), v["room"]);
    assert_eq!(hex(expand::<32>(&prk, &[b"psk", &unhex(&v["host_key"]), &expires])), v["psk"]);
    assert_eq!(hex(Sha256::digest(expand::<32>(&prk, &[b"relay token"]))), v["pairing_token_hash"]);

    let v = frozen("rooms.json");
    let secret = unhex(&v["room_secret"]);
    assert_eq!(hex(Sha256::digest(expand::<32>(&secret, &[b"relay secret"]))), v["secret_hash"]);
    for v in v["rooms"].as_array().unwrap() {
        let number = u32::try_from(v["n"].as_u64().unwrap()).unwrap();
        assert_eq!(hex(expand::<16>(&secret, &[b"room", &number.to_be_bytes()])), v["room"]);
    }

    for v in frozen("handshake.json")["handshakes"].as_array().unwrap() {
        let material = [unhex(&v["k1"]), unhex(&v["k2"])].concat();
        let (prk, _) = Hkdf::<Sha256>::extract(Some(&unhex(&v["h"])), &material);
        for d in ["i2r", "r2i"] {
            assert_eq!(hex(expand::<32>(&prk, &[b"couplet/1 key ", d.as_bytes()])), v[format!("key_{d}")]);
            assert_eq!(hex(expand::<16>(&prk, &[b"couplet/1 nonce ", d.as_bytes()])), v[format!("prefix_{d}")]);
        }
        if v["mode"] == "pair" {
            let check = expand::<8>(&prk, &[b"couplet/1 check", &unhex(&v["rP"]), &unhex(&v["rH"])]);
            assert_eq!(format!("{:06}", u64::from_be_bytes(check) % 1_000_000), v["check_code"].as_str().unwrap());
            let commit = Sha256::new()
                .chain_update(b"couplet/1 commit")
                .chain_update(unhex(&v["rP"]))
                .chain_update(unhex(&v["device_key"]));
            let payload = v["payload1"].as_str().unwrap();
            assert!(payload.contains(&hex(commit.finalize())), "the payload carries the commitment");
        }
    }
    for v in frozen("rekey.json")["steps"].as_array().unwrap() {
        let info: [&[u8]; 2] = [b"couplet/1 rekey ", v["direction"].as_str().unwrap().as_bytes()];
        let next = expand::<48>(&unhex(&v["key_before"]), &info);
        assert_eq!(
            (hex(&next[..32]), hex(&next[32..])),
            (v["key"].as_str().unwrap().into(), v["prefix"].as_str().unwrap().into())
        );
    }
    for v in frozen("check_code.json")["codes"].as_array().unwrap() {
        let check = expand::<8>(&unhex(&v["prk"]), &[b"couplet/1 check", &unhex(&v["rP"]), &unhex(&v["rH"])]);
        assert_eq!(format!("{:06}", u64::from_be_bytes(check) % 1_000_000), v["check_code"].as_str().unwrap());
    }
}

#[test]
fn another_implementation_opens_the_frames() {
    let v = frozen("frames.json");
    let of = |d: &str| (unhex(&v[format!("key_{d}")]), unhex(&v[format!("prefix_{d}")]), 0_u16, 0_u64);
    // The device has sent its confirm already.
    let (mut host, mut device) = (of("r2i"), of("i2r"));
    device.3 = 1;
    for v in v["frames"].as_array().unwrap() {
        let from_host = v["from"] == "host";
        let (key, prefix, epoch, counter) = if from_host { &mut host } else { &mut device };
        let frame = unhex(&v["frame"]);
        assert_eq!(frame[..4], [&[0x11, 0][..], &epoch.to_be_bytes()].concat());
        let nonce = [&prefix[..], &counter.to_le_bytes()].concat();
        let nonce = XNonce::try_from(&nonce[..]).unwrap();
        let cipher = XChaCha20Poly1305::new_from_slice(key).unwrap();
        let inner = cipher.decrypt(&nonce, Payload { msg: &frame[4..], aad: &frame[..4] }).unwrap();
        *counter += 1;
        let end = inner.iter().rposition(|byte| *byte != 0).unwrap();
        let number = match v["type"].as_str().unwrap() {
            "DATA" => 1,
            "CLOSE" => 2,
            "KEYUPDATE" => 3,
            "PAD" => 4,
            _ => 5,
        };
        assert_eq!((inner[end], hex(&inner[..end])), (number, v["data"].as_str().unwrap().to_owned()));
        if number == 3 {
            let next = expand::<48>(key, &[b"couplet/1 rekey ", if from_host { b"r2i" } else { b"i2r" }]);
            (*key, *prefix) = (next[..32].to_vec(), next[32..].to_vec());
            (*epoch, *counter) = (*epoch + 1, 0);
        }
    }
    assert_eq!(host.2, 1, "a key update was among them");
    // The session itself opens what the file has.
    let (pairing, mut device_session, _) = handshake("pair");
    assert_eq!(pairing["key_r2i"], v["key_r2i"]);
    for v in v["frames"].as_array().unwrap().iter().filter(|v| v["from"] == "host") {
        let mut frame = unhex(&v["frame"]);
        let opened = device_session.opener.open(&mut frame).unwrap();
        assert_eq!(hex(&frame[opened.data]), v["data"]);
    }
}
