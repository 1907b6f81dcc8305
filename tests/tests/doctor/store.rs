//! The database and its disk.

use std::fs;
use std::path::{Path, PathBuf};

use couplet_protocol::Code;
use couplet_protocol::api::FindingState;
use e2e::host::PATIENCE;
use e2e::program::program;
use e2e::{Running, TestHost};

use super::{all_well, at, failure, mend, of, one};

/// A copy of a folder's files.
fn copy(from: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

/// What is in a folder. The index of SQLite's log is left out: whoever opens the database makes it anew.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|path| !path.to_string_lossy().ends_with("-shm"));
    let mut all: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_damaged_database_is_seen_and_left_as_it_is() {
    let mut host = TestHost::start(|_| {}).await;
    for name in ["Phone", "Tablet", "Laptop"] {
        host.add_device(name).await;
    }
    all_well(&of(&host, &["database"]).await);
    host.stop().await;
    let whole = copy(&host.state_dir());
    let before = contents(whole.path());
    all_well(&at(whole.path(), &["--only", "database"]).await);
    assert!(contents(whole.path()) == before, "nothing is changed by looking");
    // Without a log beside it, too.
    let connection = rusqlite::Connection::open(host.state_dir().join("couplet.db")).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let folded = copy(&host.state_dir());
    assert!(!folded.path().join("couplet.db-wal").exists());
    let before = contents(folded.path());
    all_well(&at(folded.path(), &["--only", "database"]).await);
    assert!(contents(folded.path()) == before, "nothing is changed by looking");

    let damaged = copy(&host.state_dir());
    let database = damaged.path().join("couplet.db");
    let mut bytes = fs::read(&database).unwrap();
    // The pages behind the first, which has the schema.
    let end = bytes.len();
    bytes[4096..end.min(4096 * 12)].fill(0xa5);
    fs::write(&database, &bytes).unwrap();
    let before = contents(damaged.path());
    let report = at(damaged.path(), &["--only", "database"]).await;
    let found = failure(&report, "is damaged", Code::StoreUnavailable);
    assert!(found.next.as_ref().unwrap().contains("backup"), "{found:?}");
    assert!(contents(damaged.path()) == before, "nothing is changed by looking");

    fs::write(&database, "this is not a database, and longer than a header of one: ".repeat(100)).unwrap();
    failure(&at(damaged.path(), &["--only", "database"]).await, "is damaged", Code::StoreUnavailable);
    let newer = copy(&host.state_dir());
    let connection = rusqlite::Connection::open(newer.path().join("couplet.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 99;").unwrap();
    drop(connection);
    failure(&at(newer.path(), &["--only", "database"]).await, "is of schema 99", Code::SchemaTooNew);
}

/// A small disk of the test's own.
struct Disk(tempfile::TempDir);

impl Disk {
    async fn new(options: &str) -> Self {
        let disk = Disk(tempfile::tempdir().unwrap());
        disk.mount(&format!("mode=0700,{options}")).await;
        disk
    }

    async fn mount(&self, options: &str) {
        let mut mount = program("mount");
        mount.args(["-t", "tmpfs", "-o", options, "couplet-test"]).arg(self.0.path());
        Running::start(mount).succeeds(PATIENCE).await;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = program("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_disk_without_room_or_that_cannot_be_written_is_a_failure() {
    let full = Disk::new("size=16m").await;
    let place = full.0.path();
    one(&at(place, &["--only", "disk"]).await, FindingState::Warning, "Only 1");
    fs::write(place.join("filler"), vec![0; 12 << 20]).unwrap();
    let host = TestHost::start(|setup| {
        setup.state_dir(place);
    })
    .await;
    let report = of(&host, &["disk"]).await;
    let found = failure(&report, "MiB are free", Code::DiskFull);
    assert!(found.command.as_ref().unwrap().starts_with("df -h "), "{found:?}");
    drop(host);

    let inodes = Disk::new("size=200m,nr_inodes=10").await;
    let report = at(inodes.0.path(), &["--only", "disk"]).await;
    let found = failure(&report, "files more", Code::DiskFull);
    mend(found).await;

    full.mount("remount,ro").await;
    failure(&at(place, &["--only", "disk"]).await, "is read-only", Code::StoreReadOnly);
}
