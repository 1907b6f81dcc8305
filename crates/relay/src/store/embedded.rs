//! The store of a relay that stands alone: one redb file.
//!
//! A write is one transaction, on disk before it is answered; a relay that is killed at any point has the rows before or
//! after it. Work runs on the runtime's blocking threads, a bounded number at a time.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use tokio::sync::Semaphore;

use super::{Answer, Bucket, Entry, Expected, Rows, Store, StoreError, VALUE_MAX, is_key};
use crate::failpoint;

/// The form of the tables. A newer one has another name (see [`refuse_newer`]) and is refused.
const FORMAT: u64 = 1;
const FORMAT_KEY: &str = "format";
const REVISION_KEY: &str = "revision";
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
type Table<'a> = TableDefinition<'a, &'static str, (u64, &'static [u8])>;

/// What redb may keep in memory of the file.
const CACHE: usize = 4 * 1024 * 1024;
/// How many calls read at a time. redb writes one at a time anyway.
const READERS: usize = 8;
/// How many rows are read at once.
const PAGE: usize = 256;
/// How long a call waits for its turn before the store counts as unusable.
const TURN: Duration = Duration::from_secs(10);

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer Couplet wrote it. Nothing was touched.
    #[error("the store has format {found}, this Couplet knows formats up to {known}")]
    TooNew {
        /// The file's.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// Another relay runs on it.
    #[error("another relay uses the store")]
    InUse,
    /// The file is no store, or is damaged.
    #[error("the store cannot be read: {0}")]
    Unreadable(#[source] redb::Error),
    /// The file cannot be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A redb file. The file is locked as long as this lives.
pub struct Embedded {
    inner: Arc<Inner>,
    readers: Arc<Semaphore>,
    writer: Arc<Semaphore>,
}

struct Inner {
    open: Box<dyn Fn() -> Result<Database, OpenError> + Send + Sync>,
    /// Nothing after a fault of the disk, until the next call has opened it again: redb refuses everything once a
    /// write or read has failed.
    database: RwLock<Option<Database>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}

impl Embedded {
    /// Opens the file, or makes it, readable by its owner only.
    ///
    /// # Errors
    /// Says what is wrong with the file. A newer file is left as it was.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let path = path.to_owned();
        Self::over(move || open(&path))
    }

    fn over(open: impl Fn() -> Result<Database, OpenError> + Send + Sync + 'static) -> Result<Self, OpenError> {
        let database = RwLock::new(Some(open()?));
        let inner = Arc::new(Inner { open: Box::new(open), database });
        Ok(Embedded { inner, readers: Arc::new(Semaphore::new(READERS)), writer: Arc::new(Semaphore::new(1)) })
    }

    async fn run<T, W>(&self, turns: &Arc<Semaphore>, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Database) -> Result<T, Failed> + Send + 'static,
    {
        let turn = tokio::time::timeout(TURN, Arc::clone(turns).acquire_owned()).await;
        let turn = turn.map_err(unavailable)?.map_err(unavailable)?;
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || {
            // Work goes on when its caller is gone, and keeps its turn until it is done.
            let _turn = turn;
            inner.run(work)
        });
        done.await.map_err(unavailable)?
    }
}

impl Inner {
    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failed>) -> Result<T, StoreError> {
        self.reopen_if_closed()?;
        let result = match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(Failed::Broken(StorageError::DatabaseClosed.into())),
        };
        result.map_err(|failed| match failed {
            Failed::Refused(error) => error,
            Failed::Broken(error) => {
                if !matches!(error, redb::Error::Corrupted(_) | redb::Error::ValueTooLarge(_)) {
                    *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
                }
                unavailable(error)
            }
        })
    }

    fn reopen_if_closed(&self) -> Result<(), StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some((self.open)().map_err(unavailable)?);
        }
        Ok(())
    }
}

impl Store for Embedded {
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        let key = key.to_owned();
        Box::pin(self.run(&self.readers, move |database| find(database, bucket, &key)))
    }

    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64> {
        if !is_key(key) || value.len() > VALUE_MAX {
            return Box::pin(async { Err(StoreError::Unfit) });
        }
        let key = key.to_owned();
        Box::pin(self.run(&self.writer, move |database| change(database, bucket, &key, Some(&value), expected)))
    }

    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()> {
        let key = key.to_owned();
        let work = move |database: &Database| change(database, bucket, &key, None, expected).map(drop);
        Box::pin(self.run(&self.writer, work))
    }

    fn list<'a>(&'a self, bucket: Bucket, under: Option<&'a str>) -> Rows<'a> {
        let prefix = under.map(|under| format!("{under}.")).unwrap_or_default();
        let pages = stream::try_unfold(Some(String::new()), move |after| {
            let prefix = prefix.clone();
            async move {
                let Some(after) = after else { return Ok::<_, StoreError>(None) };
                let page = self.run(&self.readers, move |database| page(database, bucket, &prefix, &after)).await?;
                let next = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(pages.try_flatten())
    }
}

/// Why a piece of work was not done.
enum Failed {
    /// For a reason of the caller's.
    Refused(StoreError),
    /// The database failed.
    Broken(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed::Broken(error.into())
    }
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(cause))
}

fn rows(bucket: Bucket) -> Table<'static> {
    TableDefinition::new(bucket.name())
}

fn find(database: &Database, bucket: Bucket, key: &str) -> Result<Option<Entry>, Failed> {
    let table = database.begin_read()?.open_table(rows(bucket))?;
    Ok(table.get(key)?.map(|row| entry(row.value())))
}

fn entry((revision, value): (u64, &[u8])) -> Entry {
    Entry { value: Bytes::copy_from_slice(value), revision }
}

/// The rows behind `after`.
fn page(database: &Database, bucket: Bucket, prefix: &str, after: &str) -> Result<Vec<(String, Entry)>, Failed> {
    let table = database.begin_read()?.open_table(rows(bucket))?;
    let mut page = Vec::new();
    for row in table.range(prefix.max(after)..)? {
        let (key, value) = row?;
        let key = key.value();
        if page.len() == PAGE || !key.starts_with(prefix) {
            break;
        }
        if key != after {
            page.push((key.to_owned(), entry(value.value())));
        }
    }
    Ok(page)
}

fn change(
    database: &Database,
    bucket: Bucket,
    key: &str,
    value: Option<&[u8]>,
    expected: Expected,
) -> Result<u64, Failed> {
    let mut transaction = database.begin_write()?;
    // After a kill the file opens at once.
    transaction.set_quick_repair(true);
    let revision = {
        let mut table = transaction.open_table(rows(bucket))?;
        let found = table.get(key)?.map(|row| row.value().0);
        if !expected.holds(found) {
            return Err(Failed::Refused(StoreError::Conflict));
        }
        let mut meta = transaction.open_table(META)?;
        let revision = meta.get(REVISION_KEY)?.map_or(0, |row| row.value()) + 1;
        match value {
            Some(value) => drop(table.insert(key, (revision, value))?),
            None if found.is_none() => return Ok(revision),
            None => drop(table.remove(key)?),
        }
        meta.insert(REVISION_KEY, revision)?;
        revision
    };
    failpoint::step();
    transaction.commit()?;
    failpoint::step();
    Ok(revision)
}

fn open(path: &Path) -> Result<Database, OpenError> {
    refuse_newer(path)?;
    let backend = FileBackend::new(private(path)?).map_err(refused)?;
    prepare(Builder::new().set_cache_size(CACHE).create_with_backend(backend).map_err(refused)?)
}

/// Brings the tables into being. A newer file under this name is refused as well.
fn prepare(database: Database) -> Result<Database, OpenError> {
    let mut transaction = database.begin_write().map_err(|e| OpenError::Unreadable(e.into()))?;
    transaction.set_quick_repair(true);
    let found = tables(&transaction).map_err(OpenError::Unreadable)?;
    if found > FORMAT {
        return Err(OpenError::TooNew { found, known: FORMAT });
    }
    transaction.commit().map_err(|e| OpenError::Unreadable(e.into()))?;
    Ok(database)
}

/// The format of the file; ours, if it has none yet.
fn tables(transaction: &redb::WriteTransaction) -> Result<u64, redb::Error> {
    let mut meta = transaction.open_table(META)?;
    let found = meta.get(FORMAT_KEY)?.map(|row| row.value());
    if let Some(found) = found.filter(|found| *found > FORMAT) {
        return Ok(found);
    }
    meta.insert(FORMAT_KEY, FORMAT)?;
    for bucket in Bucket::ALL {
        transaction.open_table(rows(bucket))?;
    }
    Ok(FORMAT)
}

/// A newer format has a name of its own, `relay-2.redb` for what is `relay.redb` now, so that it is known without being read. It
/// is left alone, and so is what stands beside it.
fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let [Some(stem), Some(extension)] = [path.file_stem(), path.extension()].map(|part| part.and_then(OsStr::to_str))
    else {
        return Ok(());
    };
    for entry in path.parent().unwrap_or(Path::new(".")).read_dir()? {
        let name = entry?.file_name();
        let of = |name: &str| -> Option<u64> {
            name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(extension)?.strip_suffix('.')?.parse().ok()
        };
        if let Some(found) = name.to_str().and_then(of).filter(|found| *found > FORMAT) {
            return Err(OpenError::TooNew { found, known: FORMAT });
        }
    }
    Ok(())
}

fn refused(error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse,
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            OpenError::Io(error)
        }
        other => OpenError::Unreadable(other.into()),
    }
}

/// The file, for its owner only, whatever the process's mask is and whoever made it.
fn private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
