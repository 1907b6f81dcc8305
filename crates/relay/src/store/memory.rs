//! Stores for tests: one in memory, and one that stops writing as a relay does that is killed.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Answer, Bucket, Entry, Expected, Rows, Store, StoreError, VALUE_MAX, is_key};

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<(u64, Table)>);

type Table = BTreeMap<(Bucket, String), Entry>;

impl Memory {
    fn change(&self, bucket: Bucket, key: &str, value: Option<Bytes>, expected: Expected) -> Result<u64, StoreError> {
        let mut inner = self.0.lock().unwrap();
        let (revision, rows) = &mut *inner;
        let at = (bucket, key.to_owned());
        if !expected.holds(rows.get(&at).map(|row| row.revision)) {
            return Err(StoreError::Conflict);
        }
        *revision += 1;
        match value {
            Some(value) if value.len() > VALUE_MAX || !is_key(key) => return Err(StoreError::Unfit),
            Some(value) => drop(rows.insert(at, Entry { value, revision: *revision })),
            None => drop(rows.remove(&at)),
        }
        Ok(*revision)
    }
}

impl Store for Memory {
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move { Ok(self.0.lock().unwrap().1.get(&(bucket, key.to_owned())).cloned()) })
    }

    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.change(bucket, key, Some(value), expected)
        })
    }

    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()> {
        Box::pin(async move { self.change(bucket, key, None, expected).map(drop) })
    }

    fn list<'a>(&'a self, bucket: Bucket, under: Option<&'a str>) -> Rows<'a> {
        let inner = self.0.lock().unwrap();
        let prefix = under.map(|under| format!("{under}.")).unwrap_or_default();
        let rows = inner.1.iter().filter(|((b, key), _)| *b == bucket && key.starts_with(&prefix));
        // Nobody may count on an order.
        let rows: Vec<_> = rows.rev().map(|((_, key), entry)| Ok((key.clone(), entry.clone()))).collect();
        Box::pin(futures_util::stream::iter(rows))
    }
}

/// Writes so many times and then no more.
pub(crate) struct Killed {
    store: Arc<dyn Store>,
    writes: AtomicUsize,
}

impl Killed {
    pub(crate) fn after(store: Arc<dyn Store>, writes: usize) -> Self {
        Killed { store, writes: AtomicUsize::new(writes) }
    }

    fn write<'a, T: 'a>(&self, work: impl FnOnce() -> Answer<'a, T>) -> Answer<'a, T> {
        let left = self.writes.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match left {
            Ok(_) => work(),
            Err(_) => Box::pin(async { Err(StoreError::Unavailable(Box::new(io::Error::other("killed")))) }),
        }
    }
}

impl Store for Killed {
    fn find<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.store.find(bucket, key)
    }

    fn put<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes, expected: Expected) -> Answer<'a, u64> {
        self.write(|| self.store.put(bucket, key, value, expected))
    }

    fn remove<'a>(&'a self, bucket: Bucket, key: &'a str, expected: Expected) -> Answer<'a, ()> {
        self.write(|| self.store.remove(bucket, key, expected))
    }

    fn list<'a>(&'a self, bucket: Bucket, under: Option<&'a str>) -> Rows<'a> {
        self.store.list(bucket, under)
    }
}
