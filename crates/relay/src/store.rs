//! The seam between the relay and what remembers for it: a small key-value store with compare-and-set.
//!
//! Its shape is that of a distributed key-value bucket (NATS JetStream's, say), so that such an engine can stand behind it:
//! no transaction spans two keys, whoever wants one of two concurrent changes to win says which revision it has seen, and
//! rows are listed by what their keys begin with, in no order.
//!
//! That alone does not let several relays share an engine. What is one process's own so far: that a room was removed or a
//! host revoked is told by a channel (`Registry::events`), where a watch of the buckets would have to tell it; changes of
//! hosts and rooms take turns at a lock, where each would have to stand by its own compare-and-set; failed joins are counted
//! in memory; and a device finds its host only at the relay to which the host holds its event stream.

pub mod embedded;
#[cfg(test)]
pub(crate) mod memory;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

/// The most bytes that a key may have. Its characters are letters, digits and `-/_=.`; a dot stands between two others.
pub const KEY_MAX: usize = 128;
/// The most bytes that a value may have.
pub const VALUE_MAX: usize = 8 * 1024;
/// Whether a row may have this key.
pub(crate) fn is_key(key: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'/' | b'_' | b'='))
    };
    key.len() <= KEY_MAX && key.split('.').all(part)
}

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
    /// Grows with every write to its bucket; no two writes to a bucket share one.
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

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row is not what the writer expected. Nothing was written.
    #[error("the row was changed by someone else")]
    Conflict,
    /// No row may have this key or this value. Nothing was written.
    #[error("the row is too large, or its key is none")]
    Unfit,
    /// The store cannot be used right now. Whether a write was done is not known.
    #[error("the store cannot be used right now: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a store answers, some time later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keys and entries, as many at a time as whoever asks takes.
pub type Rows<'a> = Pin<Box<dyn Stream<Item = Result<(String, Entry), StoreError>> + Send + 'a>>;

/// What remembers for the relay. A write is durable before it is answered.
pub trait Store: Send + Sync + 'static {
    /// The row with this key.
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Writes a row, if it is what was expected; answers the new revision.
    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64>;

    /// Removes a row, if it is what was expected. Where there is none, a revision is not what was expected, and there is
    /// nothing to do for anything else.
    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()>;

    /// All rows, or those whose keys begin with `under` and a dot, in any order. A row that is written meanwhile may be among
    /// them or not.
    fn list<'a>(&'a self, bucket: Bucket, under: Option<&'a str>) -> Rows<'a>;
}
