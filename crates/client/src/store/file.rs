//! Credentials in files: one a host, readable by their owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::form::{self, Unreadable};
use super::{CredentialStore, Listing, StoreError};
use crate::credentials::{Credentials, HostId};
use crate::random;

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// The most files that are looked at.
const FILES_MAX: usize = 4096;
/// The end of the name of finished credentials, and of unfinished ones.
const FINISHED: &str = ".json";
const PENDING: &str = ".pending.json";

/// One file a host, 0600, in a folder of 0700. Files are written whole or not at all. A folder or file that others can
/// reach, or that another user owns, is refused.
#[derive(Clone, Debug)]
pub struct FileStore {
    folder: PathBuf,
}

impl FileStore {
    /// A store in this folder, which is made when the first credentials are kept.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        FileStore { folder: folder.into() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, host: &HostId, end: &str) -> PathBuf {
        self.folder.join(format!("{host}{end}"))
    }

    /// Whether there is a folder, and a safe one.
    fn exists(&self) -> Result<bool, StoreError> {
        match fs::symlink_metadata(&self.folder) {
            Ok(metadata) if !metadata.is_dir() => Err(exposed(&self.folder, "is no folder")),
            Ok(metadata) => check(&self.folder, &metadata).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed(&self.folder)(error)),
        }
    }

    fn read(&self, path: &Path) -> Result<Option<Credentials>, StoreError> {
        // The file itself, not what a link points to; and opened once, so that it cannot be exchanged after the check.
        let opened = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path)(error)),
        };
        let metadata = file.metadata().map_err(failed(path))?;
        if !metadata.is_file() {
            return Err(exposed(path, "is no file"));
        }
        check(path, &metadata)?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX as usize + 1));
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed(path))?;
        match form::read(&bytes) {
            Ok(credentials) => Ok(Some(credentials)),
            Err(Unreadable::Newer) => Err(StoreError::Newer(path.to_owned())),
            Err(Unreadable::Damaged) => Err(StoreError::Damaged(path.to_owned())),
        }
    }

    /// The same of this host: what stands under its name with another's key is of no use to it.
    fn read_of(&self, host: &str, path: &Path) -> Result<Option<Credentials>, StoreError> {
        match self.read(path)? {
            Some(credentials) if credentials.id().as_str() != host => Err(StoreError::Damaged(path.to_owned())),
            read => Ok(read),
        }
    }

    /// Whether the unfinished credentials that stand there are of this pairing.
    fn is_pending(&self, credentials: &Credentials) -> bool {
        let read = self.read(&self.path(&credentials.id(), PENDING));
        matches!(read, Ok(Some(there)) if there.keys.psk_id == credentials.keys.psk_id)
    }

    /// What is there must not be lost: only what this version understands is replaced.
    fn may_replace(&self, path: &Path) -> Result<(), StoreError> {
        match self.read(path) {
            Ok(_) | Err(StoreError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self) -> Result<(), StoreError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed(&self.folder))
    }
}

/// `O_NOFOLLOW` (open(2)).
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

impl CredentialStore for FileStore {
    fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        if !self.exists()? {
            return Ok(listing);
        }
        let entries = fs::read_dir(&self.folder).map_err(failed(&self.folder))?;
        for entry in entries.take(FILES_MAX) {
            let path = entry.map_err(failed(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Hidden ones are drafts.
            if name.starts_with('.') || !name.ends_with(FINISHED) {
                continue;
            }
            let host = name.strip_suffix(PENDING).or_else(|| name.strip_suffix(FINISHED)).unwrap_or_default();
            match self.read_of(host, &path) {
                Ok(read) => listing.hosts.extend(read),
                Err(error) => listing.unusable.push(error),
            }
        }
        listing.hosts.sort_by(|a, b| (&a.host_name, a.id(), a.is_paired()).cmp(&(&b.host_name, b.id(), b.is_paired())));
        Ok(listing)
    }

    fn load(&self, host: &HostId) -> Result<Vec<Credentials>, StoreError> {
        if !self.exists()? {
            return Ok(Vec::new());
        }
        let of = |end| self.read_of(host.as_str(), &self.path(host, end));
        let found = [of(PENDING)?, of(FINISHED)?];
        Ok(found.into_iter().flatten().collect())
    }

    fn save(&self, credentials: &Credentials) -> Result<(), StoreError> {
        if !self.exists()? {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed(&self.folder))?;
            self.exists()?;
        }
        let id = credentials.id();
        let path = self.path(&id, if credentials.is_paired() { FINISHED } else { PENDING });
        self.may_replace(&path)?;
        let ends = credentials.is_paired() && self.is_pending(credentials);
        let bytes = form::write(credentials).map_err(|error| failed(&path)(error.into()))?;
        let tag = random::tag().map_err(|error| failed(&path)(io::Error::other(error)))?;
        let draft = self.folder.join(format!(".{id}.{tag}"));
        let written = write_whole(&draft, &bytes).and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(failed(&path)(error));
        }
        self.sync_folder()?;
        if ends {
            remove(&self.path(&id, PENDING))?;
        }
        Ok(())
    }

    fn discard(&self, credentials: &Credentials) -> Result<bool, StoreError> {
        if !self.exists()? || !self.is_pending(credentials) {
            return Ok(false);
        }
        let removed = remove(&self.path(&credentials.id(), PENDING))?;
        self.sync_folder()?;
        Ok(removed)
    }

    fn remove(&self, host: &HostId) -> Result<bool, StoreError> {
        if !self.exists()? {
            return Ok(false);
        }
        // Both, whatever becomes of the first.
        let removed = [PENDING, FINISHED].map(|end| remove(&self.path(host, end)));
        let mut any = false;
        for removed in removed {
            any |= removed?;
        }
        if any {
            self.sync_folder()?;
        }
        Ok(any)
    }
}

fn write_whole(draft: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(path)(error)),
    }
}

fn check(path: &Path, metadata: &fs::Metadata) -> Result<(), StoreError> {
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(exposed(path, "belongs to another user"));
    }
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(exposed(path, "is open to other users")),
    }
}

fn exposed(path: &Path, what: &'static str) -> StoreError {
    StoreError::Exposed { path: path.to_owned(), what }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Io { path, error }
}
