//! The database: whether it opens, is whole, and is of a version that this program knows.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::folder::quoted;
use super::{Patient, failed, ok, skipped, warning};
use crate::{start, store};

const PART: Part = Part::Database;
/// How long the check of the whole file may take: it is small, and another one reads it meanwhile.
const CHECK: Duration = Duration::from_secs(10);
/// How many of the errors in a damaged file are shown.
const SHOWN: usize = 3;

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    let path = patient.folder().join(start::DATABASE);
    let (running, at) = (patient.core.is_some(), path.clone());
    let (interrupt, interrupter) = mpsc::channel();
    let checking = tokio::task::spawn_blocking(move || check(&at, running, &interrupt));
    match tokio::time::timeout(CHECK, checking).await {
        Ok(Ok(finding)) => vec![finding],
        Ok(Err(error)) => vec![failed(PART, "The database could not be checked").because(format!("{error}."))],
        Err(_) => {
            interrupter.try_iter().for_each(|handle: rusqlite::InterruptHandle| handle.interrupt());
            let found = format!("{} is not checked within {} s", path.display(), CHECK.as_secs());
            vec![warning(PART, found).because("It is large, or its disk is slow.").run(by_hand(&path))]
        }
    }
}

fn by_hand(path: &Path) -> String {
    format!("sqlite3 {} 'PRAGMA integrity_check'", quoted(path))
}

fn check(path: &Path, running: bool, interrupt: &mpsc::Sender<rusqlite::InterruptHandle>) -> Finding {
    match store::schema_in_header(path) {
        Ok(found) if found > store::SCHEMA => return too_new(path, found),
        Err(error) => return unreadable(path, &error),
        Ok(_) => {}
    }
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound && !running => {
            return skipped(PART, "There is no database yet: the first start makes it");
        }
        Err(error) => return unreadable(path, &error),
        Ok(_) => {}
    }
    // As the store itself asks before each call, and for the same reason.
    if let Err(failure) = store::writable(path) {
        let finding = failed(PART, format!("{} cannot be written", path.display()));
        let finding = finding.because(format!("{}.", failure.cause())).run(format!("ls -l {}", quoted(path)));
        return finding.then("Make the database and its folder writable for the host's user.").see(failure.code());
    }
    let checked = open(path).and_then(|connection| {
        let _ = interrupt.send(connection.get_interrupt_handle());
        let schema: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        Ok((schema, whole(&connection)?))
    });
    match checked {
        Ok((schema, _)) if schema > store::SCHEMA => too_new(path, schema),
        Ok((_, errors)) if errors.is_empty() => ok(PART, format!("{} opens and is whole", path.display())),
        Ok((_, errors)) => damaged(path, running, &errors.join("; ")),
        Err(error) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                damaged(path, running, &error.to_string())
            }
            _ => {
                let finding = failed(PART, format!("{} cannot be opened", path.display()));
                finding.because(format!("{error}.")).run(by_hand(path)).see(Code::StoreUnavailable)
            }
        },
    }
}

fn too_new(path: &Path, found: u32) -> Finding {
    let finding = failed(PART, format!("{} is of schema {found}", path.display()));
    let cause = format!("A newer Couplet wrote it: this one knows up to {}. Nothing was changed.", store::SCHEMA);
    let next = "Start the newer version, or restore a backup made with this one.";
    finding.because(cause).then(next).run("couplet --version").see(Code::SchemaTooNew)
}

/// Opens it for reading. Where nobody has it open, SQLite would make files beside it, so it is told that it stays as
/// it is; with a log that is still to be read it has them already.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = PathBuf::from(path).into_os_string();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = match Path::new(&log).exists() {
        true => Connection::open_with_flags(path, flags)?,
        false => Connection::open_with_flags(format!("file:{}?immutable=1", escaped(path)), flags)?,
    };
    connection.busy_timeout(Duration::from_secs(2))?;
    Ok(connection)
}

/// What a URI's path cannot hold as it is (SQLite's, as of RFC 3986).
const SPECIAL: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#').add(b' ');

/// A path within a URI.
fn escaped(path: &Path) -> String {
    percent_encode(path.as_os_str().as_bytes(), SPECIAL).to_string()
}

/// What is wrong with the whole of it.
fn whole(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({SHOWN})"))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let errors: Vec<String> = rows.collect::<Result<_, _>>()?;
    Ok(errors.into_iter().filter(|error| error != "ok").map(|error| error.replace('\n', " ")).collect())
}

fn damaged(path: &Path, running: bool, errors: &str) -> Finding {
    let finding = failed(PART, format!("{} is damaged", path.display()));
    let stop = if running { "Stop the host, then " } else { "" };
    let next = format!(
        "{stop}restore it from a backup. Without one, what can still be read is saved by the command below; put the new file \
         in the old one's place."
    );
    let command = format!("sqlite3 {0} .recover | sqlite3 {0}.new", quoted(path));
    finding.because(format!("{errors}.")).then(next).run(command).see(Code::StoreUnavailable)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Finding {
    let finding = failed(PART, format!("{} cannot be read", path.display())).because(format!("{error}."));
    finding.run(format!("ls -l {}", quoted(path))).see(Code::StoreReadOnly)
}
