//! Credentials in files: whose they are, and what happens to those that cannot be used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use couplet_client::{CredentialStore, Credentials, FileStore, HostId, Keys, RelayCa, StoreError, Token};
use couplet_protocol::handshake::PairingKeys;
use couplet_protocol::offer::RelayName;
use couplet_protocol::secret::{Psk, RoomSecret};
use couplet_protocol::{Endpoint, StaticSecret};

fn credentials(host: u8, paired: bool) -> Credentials {
    let keys = PairingKeys {
        psk_id: [1; 8],
        psk: Psk::new([2; 32]),
        host_key: StaticSecret::new([host; 32]).unwrap().public(),
        suites: 1,
    };
    Credentials {
        host_name: format!("Host {host}"),
        keys: Keys(keys),
        device_key: StaticSecret::new([99; 32]).unwrap(),
        device_id: "9f0a8f04-0000-4000-8000-000000000000".into(),
        device_token: Token::new(String::from("dev_canary").into()),
        room_secret: Some(RoomSecret::new([3; 32])),
        room_number: 2,
        relay_ca: Some(relay_ca()),
        endpoints: vec![
            Endpoint::Lan("192.168.1.42:7878".parse().unwrap()),
            Endpoint::Relay(RelayName::parse("relay.example.org").unwrap()),
        ],
        endpoints_serial: 7,
        paired_at: paired.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
    }
}

fn relay_ca() -> RelayCa {
    static PEM: LazyLock<String> =
        LazyLock::new(|| rcgen::generate_simple_self_signed(["relay.example.org".to_owned()]).unwrap().cert.pem());
    RelayCa::parse(&PEM).unwrap()
}

fn store() -> (tempfile::TempDir, FileStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("couplet/hosts"));
    (folder, store)
}

fn files(store: &FileStore) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(store.folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn id(credentials: &Credentials) -> HostId {
    credentials.id()
}

#[test]
fn what_is_kept_comes_back_and_nobody_else_can_read_it() {
    let (_folder, store) = store();
    assert!(store.list().unwrap().hosts.is_empty(), "a store that was never used is empty");
    let kept = credentials(1, true);
    store.save(&kept).unwrap();
    assert!(store.load(&id(&kept)).unwrap() == [kept.clone()]);
    assert!(store.list().unwrap().hosts == [kept.clone()]);
    let file = &files(&store)[0];
    assert_eq!((mode(file), mode(store.folder())), (0o600, 0o700));
    assert_eq!(files(&store).len(), 1, "no draft is left");
    assert!(store.remove(&id(&kept)).unwrap() && !store.remove(&id(&kept)).unwrap());
    assert!(files(&store).is_empty());
}

#[test]
fn an_unfinished_pairing_leaves_the_finished_one_alone_until_it_is_finished() {
    let (_folder, store) = store();
    let finished = credentials(1, true);
    store.save(&finished).unwrap();
    let mut unfinished = credentials(1, false);
    unfinished.keys.0.psk_id = [8; 8];
    store.save(&unfinished).unwrap();
    assert!(store.load(&id(&finished)).unwrap() == [unfinished.clone(), finished.clone()]);
    // News of the one that is in use do not end the other, and only that one is discarded.
    store.save(&finished).unwrap();
    assert!(!store.discard(&finished).unwrap());
    assert!(store.load(&id(&finished)).unwrap() == [unfinished.clone(), finished.clone()]);
    assert!(store.discard(&unfinished).unwrap() && !store.discard(&unfinished).unwrap());
    assert!(store.load(&id(&finished)).unwrap() == [finished]);
    store.save(&unfinished).unwrap();
    unfinished.paired_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001));
    store.save(&unfinished).unwrap();
    assert!(store.load(&id(&unfinished)).unwrap() == [unfinished]);
    assert_eq!(files(&store).len(), 1);
}

#[test]
fn what_stands_under_the_name_of_another_host_is_of_no_use() {
    let (_folder, store) = store();
    let (kept, other) = (credentials(1, true), credentials(2, true));
    store.save(&kept).unwrap();
    let file = files(&store).remove(0);
    store.save(&other).unwrap();
    let moved = store.folder().join(format!("{}.json", id(&other)));
    fs::copy(&file, &moved).unwrap();
    assert!(matches!(store.load(&id(&other)), Err(StoreError::Damaged(path)) if path == moved));
    let listing = store.list().unwrap();
    assert!(listing.hosts == [kept] && listing.unusable.len() == 1, "{listing:?}");
}

#[test]
fn what_others_could_reach_is_refused() {
    let (folder, store) = store();
    let kept = credentials(1, true);
    store.save(&kept).unwrap();
    let file = files(&store).remove(0);
    let refused = |what: &str| {
        let error = store.load(&id(&kept)).unwrap_err();
        assert!(matches!(error, StoreError::Exposed { .. }), "{what}: {error}");
        assert!(store.save(&kept).is_err(), "{what}: nothing is written beside it");
        assert!(!format!("{error} {error:?} {}", error.next_step()).contains("canary"));
    };
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    refused("a file that the group can read");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(store.folder(), Permissions::from_mode(0o755)).unwrap();
    refused("a folder that others can look into");
    fs::set_permissions(store.folder(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(store.load(&id(&kept)).unwrap().len(), 1);

    // A link to a file elsewhere, planted in its place.
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert!(store.load(&id(&kept)).is_err());
    let listing = store.list().unwrap();
    assert_eq!((listing.hosts.len(), listing.unusable.len()), (0, 1));
}

#[test]
fn what_cannot_be_used_is_left_as_it_is() {
    let (_folder, store) = store();
    let (kept, other) = (credentials(1, true), credentials(2, true));
    store.save(&kept).unwrap();
    store.save(&other).unwrap();
    let file = files(&store).into_iter().find(|file| file.to_str().unwrap().contains(id(&kept).as_str())).unwrap();
    let newer = fs::read_to_string(&file).unwrap().replace("\"version\": 1", "\"version\": 2");
    fs::write(&file, &newer).unwrap();
    assert!(matches!(store.load(&id(&kept)), Err(StoreError::Newer(_))));
    assert!(matches!(store.save(&kept), Err(StoreError::Newer(_))), "a newer program's work is not undone");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    let listing = store.list().unwrap();
    assert!(listing.hosts == [other], "one that cannot be used takes no other with it");
    for damaged in
        ["", "{", "{\"version\": 1}", &newer.replace("\"version\": 2", "\"version\": 1")[..40], &"x".repeat(70_000)]
    {
        fs::write(&file, damaged).unwrap();
        assert!(matches!(store.load(&id(&kept)), Err(StoreError::Damaged(_))), "{damaged:.20}");
    }
    store.save(&kept).unwrap();
    assert_eq!(store.load(&id(&kept)).unwrap().len(), 1, "pairing anew mends it");
}
