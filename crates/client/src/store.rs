//! Where credentials are kept.

mod file;
mod form;

use std::io;
use std::path::PathBuf;

pub use file::FileStore;

use crate::credentials::{Credentials, HostId};

/// Keeps the credentials of each host. Calls may block, for as long as a disk takes.
///
/// For one host there may be two: those of a finished pairing, and those of one that was granted and not finished.
/// Saving finished ones replaces the finished, and the unfinished of the same pairing; saving unfinished ones leaves the
/// finished alone, as they still work when the new pairing comes to nothing.
pub trait CredentialStore: Send + Sync + std::fmt::Debug {
    /// All hosts.
    ///
    /// # Errors
    /// The store as a whole cannot be read.
    fn list(&self) -> Result<Listing, StoreError>;

    /// The credentials of one host, unfinished ones first. None for an unknown host.
    ///
    /// # Errors
    /// They cannot be read.
    fn load(&self, host: &HostId) -> Result<Vec<Credentials>, StoreError>;

    /// Keeps credentials: wholly, or not at all.
    ///
    /// # Errors
    /// They cannot be written; what was there before is still there.
    fn save(&self, credentials: &Credentials) -> Result<(), StoreError>;

    /// Forgets unfinished credentials, if those that stand there are of the same pairing (`psk_id`). Returns whether they
    /// are.
    ///
    /// # Errors
    /// They cannot be removed.
    fn discard(&self, credentials: &Credentials) -> Result<bool, StoreError>;

    /// Forgets a host. Returns whether it was known.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, host: &HostId) -> Result<bool, StoreError>;
}

/// What a store holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// What can be used, in the order of host names.
    pub hosts: Vec<Credentials>,
    /// What cannot, and why.
    pub unusable: Vec<StoreError>,
}

/// Why credentials cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system says no.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may read or write it, or it is another user's.
    #[error("{path} {what}", path = .path.display())]
    Exposed {
        /// Which file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A newer version wrote it. It is left as it is.
    #[error("{path} was written by a newer version of this program", path = .0.display())]
    Newer(PathBuf),
    /// It is not what was written.
    #[error("{path} is damaged", path = .0.display())]
    Damaged(PathBuf),
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            StoreError::Io { .. } => "See to the folder and the disk, then try again.".to_owned(),
            StoreError::Exposed { path, .. } => {
                format!("See who could read it, then: chmod go= {}", path.display())
            }
            StoreError::Newer(_) => "Update this program.".to_owned(),
            StoreError::Damaged(path) => format!("Remove {} and pair anew.", path.display()),
        }
    }
}
