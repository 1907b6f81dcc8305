//! The host's memory: one SQLite database in WAL mode, owned by one thread.
//!
//! Callers send work as closures and wait for the answer. A write is one immediate transaction; what must follow
//! it without fail (forgetting a revoked device, telling the owner) runs on the database thread right after the
//! commit, so that a caller who goes away in between cannot skip it.

pub(crate) mod addresses;
pub(crate) mod audit;
pub(crate) mod devices;
pub(crate) mod offers;
pub(crate) mod rooms;
mod schema;
pub(crate) mod sealed;
pub(crate) mod watches;

use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::Code;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::problem::Failure;

/// How many calls may wait for the database thread.
const QUEUE: usize = 256;
/// How long a call waits for room in the queue before it is answered 503. Once queued it is done, and waits for that.
const TURN: Duration = Duration::from_secs(10);

/// The schema that this binary writes.
pub(crate) const SCHEMA: u32 = schema::VERSION;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle to the database thread. The thread ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
    path: Arc<Path>,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// A newer Couplet wrote it. Nothing was touched.
    #[error("the database has schema {found}, this Couplet knows schemas up to {known}")]
    TooNew { found: u32, known: u32 },
    /// It cannot be read or written.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// A migration failed.
    #[error(transparent)]
    Migration(#[from] rusqlite_migration::Error),
    /// The thread could not be started, or the file not be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Store {
    /// Opens the database, brings its schema up to date and starts its thread.
    pub(crate) fn open(path: &Path) -> Result<Store, OpenError> {
        refuse_newer(schema_in_header(path)?)?;
        // SQLite gives the files beside it the mode of the database.
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let connection = Connection::open(path)?;
        // A newer schema may also sit in the write-ahead log; closing must then not fold it into the file.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        refuse_newer(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)?;
        Self::start(connection, path)
    }

    /// A store without a file.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Store {
        Self::start(Connection::open_in_memory().unwrap(), Path::new("/dev/null")).unwrap()
    }

    fn start(mut connection: Connection, path: &Path) -> Result<Store, OpenError> {
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        connection.pragma_update(None, "cache_size", -512)?;
        schema::ALL.to_latest(&mut connection)?;
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;

        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        std::thread::Builder::new().name("couplet-store".into()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        })?;
        Ok(Store { jobs, path: path.into() })
    }

    /// Runs `work` in one transaction, and `after` with its result once it is committed. Nothing is written when
    /// `work` fails. Both run even when the caller stops waiting.
    pub(crate) async fn write<T, W, A>(&self, work: W, after: A) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
    {
        self.run(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&tx)?;
            tx.commit()?;
            after(&result);
            Ok(result)
        })
        .await
    }

    /// Runs `work` on a consistent view of the database.
    pub(crate) async fn read<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.run(move |connection| work(&connection.transaction()?)).await
    }

    async fn run<T, W>(&self, work: W) -> Result<T, Failure>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let path = Arc::clone(&self.path);
        let job: Job = Box::new(move |connection| {
            // A caller that is gone needs no answer.
            let _ = answer.send(writable(&path).and_then(|()| work(connection)));
        });
        let gone = || unavailable(Code::StoreUnavailable).because("the database thread has ended");
        match self.jobs.send_timeout(job, TURN).await {
            Ok(()) => result.await.unwrap_or_else(|_| Err(gone())),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(unavailable(Code::StoreUnavailable).because("the database's queue is full").retry_after(5))
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(gone()),
        }
    }
}

fn refuse_newer(found: u32) -> Result<(), OpenError> {
    if found > SCHEMA { Err(OpenError::TooNew { found, known: SCHEMA }) } else { Ok(()) }
}

/// The schema version in the file's header (user_version, at offset 60 of the SQLite file format): read without
/// SQLite, which may write beside a database that it opens. A file that is absent or too short has version 0.
pub(crate) fn schema_in_header(path: &Path) -> std::io::Result<u32> {
    let mut header = [0; 64];
    match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        // SQLite itself says that it is none.
        Ok(()) if !header.starts_with(b"SQLite format 3\0") => Ok(0),
        Ok(()) => Ok(u32::from_be_bytes([header[60], header[61], header[62], header[63]])),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whether the files can be written, asked before each call. SQLite maps the index of its write-ahead log into
/// memory, for readers too: on a disk that has become read-only, as Linux makes it after a fault, touching that map
/// would kill the process (SIGBUS) instead of failing.
pub(crate) fn writable(path: &Path) -> Result<(), Failure> {
    let mut index = path.as_os_str().to_owned();
    index.push("-shm");
    let open = |path: &Path| std::fs::OpenOptions::new().append(true).open(path);
    let opened = match open(Path::new(&index)) {
        Err(error) if error.kind() == ErrorKind::NotFound => open(path),
        other => other,
    };
    opened.map(drop).map_err(|error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => unavailable(Code::StoreReadOnly).because(error),
        _ => unavailable(Code::StoreUnavailable).because(error),
    })
}

fn unavailable(code: Code) -> Failure {
    let next = match code {
        Code::DiskFull => "Free space on the disk that holds the state folder, then try again.",
        Code::StoreReadOnly => {
            "Make the state folder and the database in it writable for the host's user, then try again."
        }
        _ => "Try again. If it stays so, look at the host's log under the request id.",
    };
    Failure::new(code, next).retry_after(5)
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        let code = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Code::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Code::StoreReadOnly,
            _ => Code::StoreUnavailable,
        };
        unavailable(code).because(error)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(Timestamp::to_sql(*self)))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_sql(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

/// Stores an enum under the name that it has on the wire.
macro_rules! stored_by_name {
    ($kind:ty: $($variant:ident = $name:literal),*) => {
        impl $crate::store::ByName for $kind {
            fn name(self) -> &'static str {
                match self { $(<$kind>::$variant => $name),* }
            }
            fn by_name(name: &str) -> Option<Self> {
                match name { $($name => Some(<$kind>::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use stored_by_name;

/// An enum whose values are stored as text.
pub(crate) trait ByName: Sized {
    /// The text.
    fn name(self) -> &'static str;
    /// The value with this text.
    fn by_name(name: &str) -> Option<Self>;
}

/// Reads a column that holds a [`ByName`] value.
pub(crate) fn named<T: ByName>(row: &rusqlite::Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    T::by_name(&text).ok_or_else(|| foreign(column))
}

/// A column holds what this version never writes.
pub(crate) fn foreign(column: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(0, column.to_owned(), rusqlite::types::Type::Text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn temporary() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("couplet.db")).unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_and_skips_what_follows() {
        let (_dir, store) = temporary();
        let failed = store
            .write(
                |tx| {
                    tx.execute("INSERT INTO audit (at, action, actor) VALUES ('', 'x', 'y')", [])?;
                    Err::<(), _>(Failure::new(Code::AlreadyDecided, ""))
                },
                |()| panic!("must not run"),
            )
            .await;
        assert_eq!(failed.unwrap_err().code(), Code::AlreadyDecided);
        let rows: i64 =
            store.read(|tx| Ok(tx.query_row("SELECT count(*) FROM audit", [], |r| r.get(0))?)).await.unwrap();
        assert_eq!(rows, 0);
    }

    #[test]
    fn a_newer_schema_is_refused_and_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("couplet.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE later (x); PRAGMA user_version = 99;").unwrap();
        drop(connection);
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(OpenError::TooNew { found: 99, .. })));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written beside it");
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("couplet.db");
        std::fs::write(&path, "this is not a database, and it is longer than a header of one".repeat(4)).unwrap();
        assert!(Store::open(&path).is_err());
    }
}
