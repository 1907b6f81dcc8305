//! The seam between the relay and what remembers for it: a small key-value store with compare-and-set.
//!
//! Its shape is that of a distributed key-value bucket, so that an engine shared by several relays can stand
//! behind it: no transaction spans two keys, and whoever wants one of two concurrent changes to win says which revision it
//! has seen.

pub mod embedded;
#[cfg(test)]
pub(crate) mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// The most bytes that a key may have; its characters are printable ASCII.
pub const KEY_MAX: usize = 128;
/// The most bytes that a value may have.
pub const VALUE_MAX: usize = 8 * 1024;
/// The most rows that one call of [`Store::list`] answers with.
pub const PAGE_MAX: usize = 1_000;

/// What kind of rows. Each bucket has its own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Rooms by their id.
    Rooms,
    /// Which rooms a host has: `host.room`.
    Owned,
    /// Enrolled hosts by their id.
    Hosts,
    /// Hosts' ids by the hash of their public key.
    HostKeys,
    /// Invitations by the hash of their secret.
    Invitations,
}

impl Bucket {
    /// All of them.
    pub const ALL: [Bucket; 5] = [Bucket::Rooms, Bucket::Owned, Bucket::Hosts, Bucket::HostKeys, Bucket::Invitations];

    /// The name under which it is stored. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Bucket::Rooms => "rooms",
            Bucket::Owned => "owned",
            Bucket::Hosts => "hosts",
            Bucket::HostKeys => "host-keys",
            Bucket::Invitations => "invitations",
        }
    }
}

/// A value and the revision at which it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Grows with every write to the store; no two writes share one.
    pub revision: u64,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({} bytes at {})", self.value.len(), self.revision)
    }
}

/// What a writer believes of the row that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is none.
    Absent,
    /// It is the one written at this revision.
    Revision(u64),
    /// Whatever there is.
    Any,
}

impl Expected {
    /// Whether a row of this revision, or none, is what was expected.
    #[must_use]
    pub fn holds(self, found: Option<u64>) -> bool {
        match self {
            Expected::Absent => found.is_none(),
            Expected::Revision(revision) => found == Some(revision),
            Expected::Any => true,
        }
    }
}

/// Some rows, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys and entries.
    pub rows: Vec<(String, Entry)>,
    /// There may be rows behind the last one.
    pub more: bool,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row is not what the writer expected. Nothing was written.
    #[error("the row was changed by someone else")]
    Conflict,
    /// The key or the value is longer than a row may be. Nothing was written.
    #[error("the row is too large")]
    TooLarge,
    /// The store cannot be used right now. Whether a write was done is not known.
    #[error("the store cannot be used right now: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a store answers, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What remembers for the relay. A write is durable before it is answered.
pub trait Store: Send + Sync + 'static {
    /// The row with this key.
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Writes a row, if it is what was expected; answers the new revision.
    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64>;

    /// Removes a row, if it is what was expected. A row that is not there is removed already.
    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()>;

    /// Rows whose keys begin with `prefix` and stand behind `after`; at most [`PAGE_MAX`].
    fn list<'a>(&'a self, bucket: Bucket, prefix: &'a str, after: Option<&'a str>) -> Answer<'a, Page>;
}
