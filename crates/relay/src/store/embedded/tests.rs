use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;
use crate::store::KEY_MAX;
use crate::store::memory::Memory;

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("relay.redb");
    (dir, path)
}

async fn put(store: &dyn Store, key: &str, value: &str, expected: Expected) -> Result<u64, StoreError> {
    store.put(Bucket::Rooms, key, Bytes::copy_from_slice(value.as_bytes()), expected).await
}

async fn value(store: &dyn Store, key: &str) -> Option<String> {
    let entry = store.find(Bucket::Rooms, key).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

/// What every store does, the one on disk and the one of the tests.
async fn behaves(store: &dyn Store) {
    let first = put(store, "a", "1", Expected::Absent).await.unwrap();
    assert!(matches!(put(store, "a", "2", Expected::Absent).await, Err(StoreError::Conflict)));
    let second = put(store, "a", "2", Expected::Revision(first)).await.unwrap();
    assert!(second > first);
    assert!(matches!(put(store, "a", "3", Expected::Revision(first)).await, Err(StoreError::Conflict)));
    assert_eq!(value(store, "a").await.unwrap(), "2");
    assert!(matches!(store.remove(Bucket::Rooms, "a", Expected::Revision(first)).await, Err(StoreError::Conflict)));
    store.remove(Bucket::Rooms, "a", Expected::Revision(second)).await.unwrap();
    assert_eq!(value(store, "a").await, None);
    store.remove(Bucket::Rooms, "a", Expected::Any).await.unwrap();
    // A row that was removed and made again is another one.
    let third = put(store, "a", "1", Expected::Absent).await.unwrap();
    assert!(third > second);
    assert!(store.find(Bucket::Hosts, "a").await.unwrap().is_none(), "buckets are apart");
    let large = Bytes::from(vec![0; VALUE_MAX + 1]);
    assert!(matches!(store.put(Bucket::Rooms, "b", large, Expected::Any).await, Err(StoreError::Unfit)));

    for key in ["p.1", "p.2", "p.3", "q.1", "pp.1", "p"] {
        put(store, key, "", Expected::Any).await.unwrap();
    }
    assert_eq!(keys(store, Some("p")).await, ["p.1", "p.2", "p.3"]);
    assert_eq!(keys(store, Some("r")).await.len(), 0);
    assert_eq!(keys(store, None).await, ["a", "p", "p.1", "p.2", "p.3", "pp.1", "q.1"]);
    for key in ["", ".", "a.", ".a", "a..b", "a b", "a*", "a>", "ü", &"x".repeat(KEY_MAX + 1)] {
        assert!(matches!(put(store, key, "", Expected::Any).await, Err(StoreError::Unfit)), "{key:?}");
    }
    // What is not there is not what was seen, and needs no removing.
    assert!(matches!(store.remove(Bucket::Rooms, "x", Expected::Revision(third)).await, Err(StoreError::Conflict)));
    for expected in [Expected::Any, Expected::Absent] {
        store.remove(Bucket::Rooms, "x", expected).await.unwrap();
    }
}

async fn keys(store: &dyn Store, under: Option<&str>) -> Vec<String> {
    let mut keys: Vec<String> = store.list(Bucket::Rooms, under).map_ok(|(key, _)| key).try_collect().await.unwrap();
    keys.sort();
    keys
}

#[tokio::test]
async fn both_stores_compare_and_set() {
    let (_dir, path) = temporary();
    behaves(&Embedded::open(&path).unwrap()).await;
    behaves(&Memory::default()).await;
}

#[tokio::test]
async fn long_lists_are_whole_while_rows_of_them_are_removed() {
    let (_dir, path) = temporary();
    let store = Embedded::open(&path).unwrap();
    let mut transaction = store.inner.database.read().unwrap().as_ref().unwrap().begin_write().unwrap();
    transaction.set_durability(redb::Durability::None).unwrap();
    for n in 0..2 * PAGE + 1 {
        transaction.open_table(rows(Bucket::Rooms)).unwrap().insert(format!("{n:05}").as_str(), (1, &b""[..])).unwrap();
    }
    transaction.commit().unwrap();
    let mut found = Vec::new();
    let mut listed = store.list(Bucket::Rooms, None);
    while let Some((key, _)) = listed.try_next().await.unwrap() {
        if found.len() < 3 {
            store.remove(Bucket::Rooms, &key, Expected::Any).await.unwrap();
        }
        found.push(key);
    }
    found.dedup();
    assert_eq!(found.len(), 2 * PAGE + 1);
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_kill() {
    let (dir, path) = temporary();
    let store = Embedded::open(&path).unwrap();
    for n in 0..20 {
        put(&store, &n.to_string(), "x", Expected::Absent).await.unwrap();
        // The file as a killed relay leaves it: nothing was closed.
        let left = dir.path().join(format!("left-{n}"));
        std::fs::copy(&path, &left).unwrap();
        let again = Embedded::open(&left).unwrap();
        assert_eq!(value(&again, &n.to_string()).await.unwrap(), "x");
        assert_eq!(value(&again, &(n + 1).to_string()).await, None);
    }
}

#[tokio::test]
async fn the_file_is_its_owners_and_in_use_once() {
    let (_dir, path) = temporary();
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = Embedded::open(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Embedded::open(&path), Err(OpenError::InUse)));
    drop(store);
    assert!(Embedded::open(&path).is_ok());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_untouched() {
    let (dir, path) = temporary();
    drop(Embedded::open(&path).unwrap());
    let newer = dir.path().join("relay-2.redb");
    // Whatever is in it, and whether or not it was closed: nothing of it is read.
    std::fs::write(&newer, "of another time").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Embedded::open(&path), Err(OpenError::TooNew { found: 2, known: 1 })));
    assert!(std::fs::read(&path).unwrap() == before && std::fs::read(&newer).unwrap() == b"of another time");
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Embedded::open(&path), Err(OpenError::TooNew { found: 2, known: 1 })));
    assert!(!path.exists(), "an empty one beside the newer");
    std::fs::remove_file(&newer).unwrap();
    for other in ["relay-1.redb", "relay-2.redb.bak", "other-2.redb", "relay-x.redb"] {
        std::fs::write(dir.path().join(other), "").unwrap();
    }
    drop(Embedded::open(&path).unwrap());
    // Renamed by hand.
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Embedded::open(&path), Err(OpenError::TooNew { found: 2, known: 1 })));
}

#[test]
fn a_file_that_is_no_store_is_refused_and_untouched() {
    let (_dir, path) = temporary();
    for content in ["x".to_owned(), "this is no store, and it is longer than the header of one".repeat(200)] {
        std::fs::write(&path, &content).unwrap();
        assert!(Embedded::open(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

/// A disk whose faults a test brings about.
#[derive(Clone, Debug)]
struct Faulty(Arc<(InMemoryBackend, AtomicBool)>);

impl Faulty {
    fn check(&self) -> io::Result<()> {
        if self.0.1.load(Ordering::SeqCst) { Err(io::Error::other("the disk is full")) } else { Ok(()) }
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.0.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.0.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.0.write(offset, data)
    }
}

#[tokio::test]
async fn after_a_fault_of_the_disk_the_store_goes_on() {
    let disk = Faulty(Arc::new((InMemoryBackend::new(), AtomicBool::new(false))));
    let backend = disk.clone();
    let open = move || prepare(Builder::new().create_with_backend(backend.clone()).map_err(refused)?);
    let store = Embedded::over(open).unwrap();
    put(&store, "before", "x", Expected::Any).await.unwrap();
    disk.0.1.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(put(&store, "during", "x", Expected::Any).await, Err(StoreError::Unavailable(_))));
    }
    disk.0.1.store(false, Ordering::SeqCst);
    put(&store, "after", "x", Expected::Absent).await.unwrap();
    assert_eq!(value(&store, "before").await.unwrap(), "x");
}
