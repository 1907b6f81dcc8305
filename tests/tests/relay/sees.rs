//! What a relay sees: everything that it reads and writes inside TLS, stores and logs, through a pairing, its use, its
//! end, and a stranger's attempts; looked through for whatever is none of its business.

use std::io::{self, Read, Write};
use std::path::Path;

use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{CredentialHash, Offer, OfferKeys, RoomId};
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER};
use e2e::canary::{ANSWERED, ASKED, PATH, SENT, TOLD, UPSTREAM, holds};
use e2e::host::PATIENCE;
use e2e::websocket::tungstenite::protocol::{Role, WebSocketConfig};
use e2e::websocket::tungstenite::{Message, WebSocket};
use e2e::{Forwarder, Internet, Running, canary, eventually};
use hkdf::Hkdf;
use serde_json::Value;
use sha2::{Digest, Sha256};

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

    /// In a header of HTTP/2.
    fn header(name: &'static str, text: &str) -> Self {
        Secret { name, forms: [Secret::text(name, text).forms, huffman(text)].concat() }
    }

    fn is_in(&self, seen: &[u8]) -> bool {
        self.forms.iter().any(|form| seen.windows(form.len()).any(|bytes| bytes == form))
    }
}

/// A text as HPACK's Huffman code writes it (RFC 7541, appendix B), for each place within a byte where it may begin:
/// the bytes that are its alone.
fn huffman(text: &str) -> Vec<Vec<u8>> {
    let code = |byte: u8| {
        let at = |letters: &str| letters.bytes().position(|letter| letter == byte);
        let (first, at, len) = match (at("aceiost"), at("-"), at("bdfghlmnpru"), at("jkqvwxyz")) {
            (Some(at), ..) => (0x03, at, 5),
            (_, Some(at), ..) => (0x16, at, 6),
            (_, _, Some(at), _) => (0x23, at, 6),
            (.., Some(at)) => (0x74, at, 7),
            _ => panic!("{text:?} has other letters than the table"),
        };
        (0..len).rev().map(move |bit| (first + at) >> bit & 1 == 1)
    };
    let bits: Vec<bool> = text.bytes().flat_map(code).collect();
    let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    (0..8).map(|at| bits[at..].chunks_exact(8).map(byte).collect()).collect()
}

/// What the relay has seen of it all, and what it must not have.
struct Seen {
    /// What devices sent through sessions, unmasked.
    to_host: Vec<u8>,
    /// What hosts sent through sessions.
    to_device: Vec<u8>,
    /// These, and all else as it was.
    everything: Vec<u8>,
    /// What it stored, while the offer was open and at the end.
    stored: Vec<u8>,
    secrets: Vec<Secret>,
    /// What it is shown and does not keep.
    hashes: Vec<Secret>,
}

impl Seen {
    /// The names of the secrets that are in this.
    fn names_in(&self, seen: &[u8]) -> Vec<&'static str> {
        self.secrets.iter().filter(|secret| secret.is_in(seen)).map(|secret| secret.name).collect()
    }
}

/// Bytes that were recorded, as a stream that takes whatever is said back.
struct Replay<'a>(&'a [u8]);

impl Read for Replay<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Replay<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the frames carry that one end of a session sent behind the head that begins like this, one after the other.
fn payloads(recorded: &[u8], head: &str, reader: Role) -> Vec<u8> {
    let find = |bytes: &[u8], wanted: &[u8]| bytes.windows(wanted.len()).position(|bytes| bytes == wanted);
    let Some(start) = find(recorded, head.as_bytes()) else { return Vec::new() };
    let Some(end) = find(&recorded[start..], b"\r\n\r\n") else { return Vec::new() };
    let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
    let mut socket = WebSocket::from_raw_socket(Replay(&recorded[start + end + 4..]), reader, Some(config));
    let mut all = Vec::new();
    while let Ok(message) = socket.read() {
        if let Message::Binary(payload) = message {
            all.extend_from_slice(&payload);
        }
    }
    all
}

/// The contents of a folder's files with this extension, or of all, each by itself.
fn files(folder: &Path, extension: Option<&str>) -> Vec<Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &std::path::PathBuf| {
        path.is_file() && extension.is_none_or(|extension| path.extension().is_some_and(|other| other == extension))
    };
    paths.filter(wanted).map(|path| std::fs::read(path).unwrap()).collect()
}

/// The one-time token of an offer, as spec/protocol.md, 2, has it: the host and the device show its hash and forget it.
fn relay_token(offer: &Offer) -> [u8; 32] {
    let mut token = [0; 32];
    Hkdf::<Sha256>::new(Some(b"couplet/1 offer"), offer.secret.expose()).expand(b"relay token", &mut token).unwrap();
    token
}

fn shown(name: &'static str, hash: &CredentialHash) -> Secret {
    Secret::bytes(name, &HEXLOWER.decode(hash.expose_hex().as_bytes()).unwrap())
}

fn keys(link: &str) -> OfferKeys {
    let offer = Offer::from_link(link).unwrap();
    OfferKeys::derive(&offer.secret, &offer.host_key, offer.expires_at).unwrap()
}

/// What the offer must keep from the relay.
fn of_offer(link: &str) -> Vec<Secret> {
    let (offer, keys) = (Offer::from_link(link).unwrap(), keys(link));
    let token = relay_token(&offer);
    let hash = HEXLOWER.encode(&Sha256::digest(token));
    assert_eq!(*keys.pairing_token_hash.expose_hex(), hash, "it is this token's");
    vec![
        Secret::bytes("K", offer.secret.expose()),
        Secret::bytes("the relay token", &token),
        Secret::bytes("the offer's PSK", keys.psk.expose()),
        Secret::bytes("the host's key", offer.host_key.as_bytes()),
        Secret::text("the link", &link[link.len() - 40..]),
    ]
}

/// The laptop's credentials.
fn credentials(internet: &Internet) -> Value {
    let mut files = std::fs::read_dir(internet.machines.laptop().folder()).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|extension| extension == "json")).unwrap();
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn decoded(value: &Value) -> Vec<u8> {
    BASE64URL_NOPAD.decode(text(value).as_bytes()).unwrap()
}

/// What they must keep from it.
fn of_credentials(kept: &Value) -> Vec<Secret> {
    let bytes = |name, key: &str| Secret::bytes(name, &decoded(&kept[key]));
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
    let (room, mut hashes) = (keys(&link).room, vec![shown("pairing_token_hash", &keys(&link).pairing_token_hash)]);
    let mut stored = stored_with(&internet, room).await;
    let mut forwarder = internet.machines.pair_by(&link, |args| internet.connect(args)).await;
    forwarder.state("relay").await;
    assert!(canary::works(&internet.machines).await);
    forwarder.stop().await;
    let kept = credentials(&internet);
    secrets.extend(of_credentials(&kept));
    let secret = RoomSecret::new(decoded(&kept["room_secret"]).try_into().unwrap());
    hashes.push(shown("secret_hash", &secret.relay_secret_hash().unwrap()));
    stored.extend(stored_with(&internet, secret.room(0).unwrap()).await);

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
    let recorded = files(&internet.recording(), None).concat();
    assert!(holds(&recorded, "pairing_token_hash") && holds(&recorded, "pair-cmd"), "everything is recorded");
    assert!(recorded.len() > 4 * 1000 * ANSWERED.len(), "{} bytes", recorded.len());
    assert!(hashes.iter().all(|hash| hash.is_in(&recorded)), "it is shown them");
    stored.extend(files(&internet.state(), None).concat());
    // As the devices' listener has it: the same passes the hosts' listener.
    let by_device = |extension, head, reader| {
        let all = files(&internet.recording(), Some(extension));
        all.iter().flat_map(|recorded| payloads(recorded, head, reader)).collect::<Vec<u8>>()
    };
    let to_host = by_device("read", "GET /pair/relay/", Role::Server);
    let to_device = by_device("written", "HTTP/1.1 101", Role::Client);
    secrets.extend([
        Secret::text("the device's name", "Laptop"),
        Secret::header("a request's path", PATH),
        Secret::header("a request's header", ASKED),
        Secret::text("a request's body", SENT),
        Secret::header("an answer's header", TOLD),
        Secret::text("an answer's body", ANSWERED),
    ]);
    Seen {
        everything: [&recorded[..], &stored, &logged, &to_host, &to_device].concat(),
        to_host,
        to_device,
        stored,
        secrets,
        hashes,
    }
}

/// What the relay has stored once this room is registered. The store may be written to while it is read, and its rows be
/// elsewhere in it a moment later.
async fn stored_with(internet: &Internet, room: RoomId) -> Vec<u8> {
    let mut stored = Vec::new();
    eventually("its row is there", PATIENCE, async || {
        stored = files(&internet.state(), None).concat();
        holds(&stored, &room.to_hex())
    })
    .await;
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_sees_frames_and_hashes_and_nothing_else() {
    let seen = all_flows("sees", false).await;
    assert_eq!(seen.names_in(&seen.everything), [""; 0], "the relay saw these");
    let kept: Vec<_> = seen.hashes.iter().filter(|hash| hash.is_in(&seen.stored)).map(|hash| hash.name).collect();
    assert_eq!(kept, [""; 0], "it stores hashes of these, not them");
    // The same look finds what sessions carry where nothing is sealed, each in its direction, so it could have failed.
    // What is derived from is never sent, sealed or not.
    let bare = all_flows("bare", true).await;
    // The device tells its name in the handshake, whose sealing stays; the app has it from the host, and says it back.
    let requests = ["a request's path", "a request's header", "a request's body"];
    assert_eq!(bare.names_in(&bare.to_host), requests);
    let granted = ["the device's token", "the device's id", "the pairing's PSK", "the room secret"];
    let answers = ["the device's name", "an answer's header", "an answer's body"];
    assert_eq!(bare.names_in(&bare.to_device), [&granted[..], &answers].concat());
}
