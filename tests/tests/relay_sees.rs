//! What a relay sees: everything that it reads and writes inside TLS, stores and logs, through a pairing, its use, its
//! end, and a stranger's attempts; looked through for whatever is none of its business.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

use std::path::Path;

use couplet_protocol::{Offer, OfferKeys};
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER};
use e2e::canary::{ANSWERED, ASKED, PATH, UPSTREAM, holds};
use e2e::host::PATIENCE;
use e2e::{Forwarder, Internet, Running, canary};
use serde_json::Value;

/// Something that a relay must not learn: what it is, and the forms in which it would be found.
struct Secret {
    name: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn text(name: &'static str, text: &str) -> Self {
        Secret { name, forms: vec![text.as_bytes().to_vec(), BASE64.encode(text.as_bytes()).into_bytes()] }
    }

    fn bytes(name: &'static str, bytes: &[u8]) -> Self {
        let forms = [&BASE32_NOPAD, &BASE64, &BASE64URL_NOPAD, &HEXLOWER].map(|form| form.encode(bytes).into_bytes());
        Secret { name, forms: [&[bytes.to_vec()][..], &forms].concat() }
    }

    fn is_in(&self, seen: &[u8]) -> bool {
        self.forms.iter().any(|form| seen.windows(form.len()).any(|bytes| bytes == form))
    }
}

/// What the relay has seen of it all, and what it must not have.
struct Seen {
    everything: Vec<u8>,
    secrets: Vec<Secret>,
}

/// The contents of all files of a folder, one after the other.
fn contents(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    all
}

/// What the offer must keep from the relay.
fn of_offer(link: &str) -> Vec<Secret> {
    let offer = Offer::from_link(link).unwrap();
    let keys = OfferKeys::derive(&offer.secret, &offer.host_key, offer.expires_at).unwrap();
    vec![
        Secret::bytes("K", offer.secret.expose()),
        Secret::bytes("the offer's PSK", keys.psk.expose()),
        Secret::bytes("the host's key", offer.host_key.as_bytes()),
        Secret::text("the link", &link[link.len() - 40..]),
    ]
}

/// What the laptop's credentials must keep from it.
fn of_credentials(internet: &Internet) -> Vec<Secret> {
    let mut files = std::fs::read_dir(internet.machines.laptop().folder()).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|extension| extension == "json")).unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let bytes = |name, key: &str| Secret::bytes(name, &BASE64URL_NOPAD.decode(text(&kept[key]).as_bytes()).unwrap());
    vec![
        Secret::text("the device's token", text(&kept["device_token"])),
        Secret::text("the device's id", text(&kept["device_id"])),
        bytes("the pairing's PSK", "psk"),
        bytes("the room secret", "room_secret"),
        bytes("the device's key", "device_key"),
    ]
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// All of it once: a pairing, the app's use, a session anew, a wrong claim, the end of the pairing.
async fn all_flows(name: &str, unsealed: bool) -> Seen {
    let mut internet = Internet::new(name).await;
    if unsealed {
        internet.machines.unseal();
    }
    internet.record();
    internet.part().await;
    internet.start_relay().await;
    internet.enroll().await;
    internet.machines.serve(&[UPSTREAM]).await;
    let _app = canary::start(&internet.machines).await;
    let (_pair, link) = internet.machines.link().await;
    let mut secrets = of_offer(&link);
    let mut forwarder = internet.machines.pair_by(&link, |args| internet.connect(args)).await;
    forwarder.state("relay").await;
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
    secrets.extend(of_credentials(&internet));

    let mut again = Forwarder::ready(internet.machines.connect(&[])).await;
    again.state("relay").await;
    assert!(canary::works(&internet.machines).await);
    // The link is used: its second user hears so from the relay.
    let mut late = internet.connect(&[&link, "--name", "Thief"]);
    assert!(!late.wait(PATIENCE).await.success());
    Running::start(internet.machines.owner(&["devices", "revoke", "Laptop", "--yes"])).succeeds(PATIENCE).await;
    again.running.wait(PATIENCE).await;

    let relay = internet.relay();
    relay.signal("TERM");
    relay.wait(PATIENCE).await;
    let logged = relay.written().into_bytes();
    assert!(holds(&logged, "session"), "it logs what it does\n{}", relay.written());
    let recorded = contents(&internet.recording());
    assert!(holds(&recorded, "pairing_token_hash") && holds(&recorded, "pair-cmd"), "everything is recorded");
    assert!(recorded.len() > 4 * 1000 * ANSWERED.len(), "{} bytes", recorded.len());
    let stored = contents(&internet.state());
    assert!(!stored.is_empty());
    secrets.extend([
        Secret::text("the device's name", "Laptop"),
        Secret::text("a request's path", PATH),
        Secret::text("a request's header", ASKED),
        Secret::text("an answer's body", ANSWERED),
    ]);
    Seen { everything: [recorded, stored, logged].concat(), secrets }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_sees_frames_and_hashes_and_nothing_else() {
    let seen = all_flows("sees", false).await;
    for secret in &seen.secrets {
        assert!(!secret.is_in(&seen.everything), "the relay saw {}", secret.name);
    }
    // The same look finds what sessions carry where nothing is sealed, so it could have failed. What is derived from is
    // never sent, sealed or not.
    let bare = all_flows("bare", true).await;
    let found: Vec<_> = bare.secrets.iter().filter(|secret| secret.is_in(&bare.everything)).collect();
    let names: Vec<_> = found.iter().map(|secret| secret.name).collect();
    for name in ["the device's token", "the device's id", "the pairing's PSK", "the room secret"] {
        assert!(names.contains(&name), "{name} was not found among what is not sealed: {names:?}");
    }
    for name in ["the device's name", "a request's path", "a request's header", "an answer's body"] {
        assert!(names.contains(&name), "{name} was not found among what is not sealed: {names:?}");
    }
}
