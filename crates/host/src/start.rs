//! Starting: the state folder, the owner's token, and errors that say what to do before anything can run.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use couplet_protocol::{AdminToken, Code, StaticSecret};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::problem::Failure;
use crate::store::OpenError;

/// Why a host could not start. Its text says what happened and what to do next.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({code}). {detail}", code.title())]
pub struct StartError {
    code: Code,
    detail: String,
}

impl StartError {
    /// An error whose `detail` tells the owner what to do next.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        StartError { code, detail: detail.into() }
    }

    /// What to do next.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The code, which `couplet explain` knows.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

/// The database's name in the folder.
pub(crate) const DATABASE: &str = "couplet.db";

/// The host's folder, locked against a second host.
#[derive(Debug)]
pub(crate) struct StateFolder {
    path: PathBuf,
    pub(crate) admin: AdminToken,
    pub(crate) host_key: StaticSecret,
    pub(crate) lock: File,
}

impl StateFolder {
    /// Makes or opens the folder (0700), takes its lock, reads or makes the owner's token and the host's key (0600).
    pub(crate) fn open(path: &Path) -> Result<StateFolder, StartError> {
        let unusable = |error: io::Error| unusable(path, &error);
        keep_private(path).and_then(|()| keep_files_private(path)).map_err(unusable)?;
        let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).to_owned();
        let lock = options.open(path.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let next = format!(
                    "Stop the other one, or give this one a folder of its own: --state-dir DIR (now {}).",
                    path.display()
                );
                return Err(StartError::new(Code::AlreadyRunning, next));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // One that was killed leaves this behind.
        withdraw(path);
        let admin = admin_token(&path.join("admin-token")).map_err(unusable)?;
        let host_key = host_key(&path.join("host.key")).map_err(unusable)?;
        Ok(StateFolder { path: path.to_owned(), admin, host_key, lock })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }
}

fn unusable(path: &Path, error: &io::Error) -> StartError {
    let next = format!("{}: {error}. Name a folder that this user can write: --state-dir DIR.", path.display());
    StartError::new(Code::StateFolderUnusable, next)
}

/// Makes or opens the folder for a program beside the host. Tells whether a host runs on it.
pub(crate) fn prepare(path: &Path) -> Result<bool, StartError> {
    keep_private(path).and_then(|()| keep_files_private(path)).map_err(|error| unusable(path, &error))?;
    Ok(is_held(path))
}

/// Whether a host holds the folder's lock.
pub(crate) fn is_held(path: &Path) -> bool {
    let lock = File::open(path.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// A folder that others can look into is closed when it is empty or already ours, and refused when it holds other
/// things: closing it could take them from someone.
fn keep_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let metadata = fs::metadata(path)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        let why = "it belongs to another user, who could have put a token of their own there";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let known = ["admin-token", DATABASE, crate::relay::FILE].iter().any(|file| path.join(file).exists());
    let ours = known || fs::read_dir(path)?.next().is_none();
    if !ours {
        let why = "other users can look into it, and it holds other files";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// What the host keeps in its folder.
pub(crate) const FILES: [&str; 9] = [
    DATABASE,
    "couplet.db-wal",
    "couplet.db-shm",
    "admin-token",
    "host.key",
    "lock",
    SERVE_JSON,
    crate::relay::FILE,
    crate::relay::TURN,
];

/// A folder that was open to others may hold a database or a key of their choice: what belongs to another user is
/// refused. Files of ours that others could read are closed.
fn keep_files_private(folder: &Path) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let name = entry.file_name();
        if metadata.uid() != me {
            let name = name.to_string_lossy();
            let why = format!("{name} in it belongs to another user, who may have made it up: remove it, or chown it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if metadata.is_file() && metadata.mode() & 0o077 != 0 && FILES.iter().any(|file| name == *file) {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

fn admin_token(path: &Path) -> io::Result<AdminToken> {
    if let Some(token) = read_admin_token(path)? {
        return Ok(token);
    }
    let token = AdminToken::from_entropy(crate::random::bytes());
    write_private(path, token.expose())?;
    Ok(token)
}

/// The owner's token in the file. None when there is no such file.
pub(crate) fn read_admin_token(path: &Path) -> io::Result<Option<AdminToken>> {
    let Some(text) = read_private(path)? else { return Ok(None) };
    let broken = "admin-token is no owner's token: delete it, and the next start makes a new one";
    AdminToken::parse(text.trim()).map(Some).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, broken))
}

/// The host's static key, which every device pins: made once. A new one would lock them all out, so one that cannot
/// be read is never replaced here.
fn host_key(path: &Path) -> io::Result<StaticSecret> {
    if let Some(key) = read_host_key(path)? {
        return Ok(key);
    }
    let secret = Zeroizing::new(crate::random::bytes::<32>());
    let key = StaticSecret::new(*secret).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    write_private(path, &Zeroizing::new(BASE64URL_NOPAD.encode(&secret[..])))?;
    Ok(key)
}

/// The host's static key in the file. None when there is no such file.
pub(crate) fn read_host_key(path: &Path) -> io::Result<Option<StaticSecret>> {
    let Some(text) = read_private(path)? else { return Ok(None) };
    let bytes = BASE64URL_NOPAD.decode(text.trim().as_bytes()).map(Zeroizing::new).unwrap_or_default();
    let secret: Option<[u8; 32]> = bytes.as_slice().try_into().ok();
    let key = secret.map(Zeroizing::new).and_then(|secret| StaticSecret::new(*secret).ok());
    key.map(Some).ok_or_else(|| {
        let why = "host.key is no host's key: restore it from a backup. Without it every device with a sealed session \
                   must be paired anew: then delete it, and the next start makes a new one";
        io::Error::new(io::ErrorKind::InvalidData, why)
    })
}

/// The text of a file of ours. None when there is no such file.
fn read_private(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file (0600) whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// The file that tells the command line where the running host is.
const SERVE_JSON: &str = "serve.json";

/// Tells the command line where this host is.
pub(crate) fn announce(state_dir: &Path, bound: &[SocketAddr]) -> Result<(), StartError> {
    let urls: Vec<String> = bound.iter().map(|address| format!("http://{}", dialled(*address))).collect();
    let text = serde_json::json!({ "pairing": urls }).to_string();
    write_private(&state_dir.join(SERVE_JSON), &text)
        .map_err(|error| StartError::new(Code::StateFolderUnusable, format!("{SERVE_JSON}: {error}.")))
}

/// This host is no longer there.
pub(crate) fn withdraw(state_dir: &Path) {
    let _ = fs::remove_file(state_dir.join(SERVE_JSON));
}

/// The address that a program on this machine dials to reach a bound one.
fn dialled(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
    }
}

/// Why what ended while the host was down could not be cleared away.
pub(crate) fn upkeep_error(failure: &Failure) -> StartError {
    let next = format!(
        "The database could not be tidied at the start: {}. Check the disk, or restore a backup.",
        failure.cause()
    );
    StartError::new(failure.code(), next)
}

/// Why the database could not be opened, and what to do.
pub(crate) fn store_error(path: &Path, error: OpenError) -> StartError {
    let path = path.display();
    match error {
        OpenError::TooNew { found, known } => StartError::new(
            Code::SchemaTooNew,
            format!(
                "{path} has schema {found}, this version knows up to {known}. Nothing was changed. Start the newer version, or restore a backup made with this one."
            ),
        ),
        OpenError::Io(error) => StartError::new(Code::StateFolderUnusable, format!("{path}: {error}.")),
        OpenError::Sqlite(error) => {
            let failure = Failure::from(error);
            StartError::new(
                failure.code(),
                format!("{path}: {}. Check the disk's space and the folder's permissions.", failure.cause()),
            )
        }
        OpenError::Migration(error) => {
            StartError::new(Code::StoreUnavailable, format!("{path} could not be brought up to date: {error}."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_and_the_token_are_private_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state");
        let first = StateFolder::open(&path).unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&path.join("admin-token"))), (0o700, 0o600));
        assert_eq!(mode(&path.join("host.key")), 0o600);
        let (token, key) = (first.admin.clone(), first.host_key.clone());
        assert_eq!(StateFolder::open(&path).unwrap_err().code(), Code::AlreadyRunning);
        drop(first);
        fs::set_permissions(path.join("host.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let again = StateFolder::open(&path).unwrap();
        assert!(again.admin == token && again.host_key == key);
        assert_eq!(mode(&path.join("host.key")), 0o600, "closed again");
        let text = fs::read_to_string(path.join("host.key")).unwrap();
        assert_eq!(BASE64URL_NOPAD.decode(text.trim().as_bytes()).unwrap(), key.expose());
    }

    #[test]
    fn a_host_key_that_cannot_be_read_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        drop(StateFolder::open(&path).unwrap());
        for broken in ["", "AAAA", "not base64url at all, and not 32 bytes", &"A".repeat(44)] {
            fs::write(path.join("host.key"), broken).unwrap();
            let error = StateFolder::open(&path).unwrap_err();
            assert_eq!(error.code(), Code::StateFolderUnusable);
            assert!(error.detail().contains("host.key is no host's key"), "{error}");
            assert_eq!(fs::read_to_string(path.join("host.key")).unwrap(), broken);
        }
    }

    #[test]
    fn a_shared_folder_with_other_things_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("diary"), "").unwrap();
        assert_eq!(StateFolder::open(dir.path()).unwrap_err().code(), Code::StateFolderUnusable);
        fs::remove_file(dir.path().join("diary")).unwrap();
        assert!(StateFolder::open(dir.path()).is_ok());
    }
}
