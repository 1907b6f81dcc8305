use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::*;
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
    assert!(matches!(store.put(Bucket::Rooms, "b", large, Expected::Any).await, Err(StoreError::TooLarge)));

    for key in ["p.1", "p.2", "p.3", "q.1"] {
        put(store, key, "", Expected::Any).await.unwrap();
    }
    let keys = |page: Page| page.rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(store.list(Bucket::Rooms, "p.", None).await.unwrap()), ["p.1", "p.2", "p.3"]);
    assert_eq!(keys(store.list(Bucket::Rooms, "p.", Some("p.1")).await.unwrap()), ["p.2", "p.3"]);
    assert_eq!(keys(store.list(Bucket::Rooms, "", Some("p.3")).await.unwrap()), ["q.1"]);
    assert_eq!(keys(store.list(Bucket::Rooms, "r", None).await.unwrap()).len(), 0);
}

#[tokio::test]
async fn both_stores_compare_and_set() {
    let (_dir, path) = temporary();
    behaves(&Embedded::open(&path).unwrap()).await;
    behaves(&Memory::default()).await;
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let store = Memory::default();
    for n in 0..=PAGE_MAX {
        put(&store, &format!("{n:05}"), "", Expected::Any).await.unwrap();
    }
    let first = store.list(Bucket::Rooms, "", None).await.unwrap();
    assert!(first.rows.len() == PAGE_MAX && first.more);
    let rest = store.list(Bucket::Rooms, "", Some(&first.rows[PAGE_MAX - 1].0)).await.unwrap();
    assert!(rest.rows.len() == 1 && !rest.more);
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
    let database = Database::create(&path).unwrap();
    let mut transaction = database.begin_write().unwrap();
    transaction.set_quick_repair(true);
    transaction.open_table(META).unwrap().insert(FORMAT_KEY, FORMAT + 1).unwrap();
    transaction.commit().unwrap();
    let killed = dir.path().join("killed");
    std::fs::copy(&path, &killed).unwrap();
    drop(database);
    for path in [path, killed] {
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(Embedded::open(&path), Err(OpenError::TooNew { found: 2, known: 1 })));
        assert!(std::fs::read(&path).unwrap() == before, "{path:?} was written to");
    }
}

#[tokio::test]
async fn a_shadow_reads_what_was_written_and_the_file_stays() {
    let (_dir, path) = temporary();
    let content: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let shadow = Shadow::new(FileBackend::new(File::open(&path).unwrap()).unwrap()).unwrap();
    let read = |offset, len| {
        let mut out = vec![0; len];
        shadow.read(offset, &mut out).map(|()| out)
    };
    shadow.write(4_090, b"across a border").unwrap();
    assert_eq!(read(4_080, 10).unwrap(), content[4_080..4_090]);
    assert_eq!(read(4_090, 15).unwrap(), b"across a border");
    assert_eq!(read(4_105, 5_895).unwrap(), content[4_105..]);
    assert!(read(9_999, 2).is_err());
    // What was cut off is gone when the file grows again.
    for (from, to) in [(4_100, 12_000), (9_000, 20_000)] {
        shadow.set_len(from).unwrap();
        shadow.set_len(to).unwrap();
        assert!(read(from, (to - from) as usize).unwrap().iter().all(|byte| *byte == 0));
    }
    assert_eq!(read(4_090, 10).unwrap(), b"across a b");
    assert!(std::fs::read(&path).unwrap() == content);
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
