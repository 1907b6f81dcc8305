//! Stores for tests: one in memory, and one that stops writing as a relay does that is killed.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Answer, Bucket, Entry, Expected, PAGE_MAX, Page, Store, StoreError, VALUE_MAX};

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<(u64, Rows)>);

type Rows = BTreeMap<(Bucket, String), Entry>;

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
            Some(value) if value.len() > VALUE_MAX => return Err(StoreError::TooLarge),
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

    fn list<'a>(&'a self, bucket: Bucket, prefix: &'a str, after: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            let inner = self.0.lock().unwrap();
            let mut rows = inner.1.iter().filter(|((b, key), _)| {
                *b == bucket && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            });
            let page = rows.by_ref().take(PAGE_MAX).map(|((_, key), entry)| (key.clone(), entry.clone())).collect();
            Ok(Page { rows: page, more: rows.next().is_some() })
        })
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

    fn list<'a>(&'a self, bucket: Bucket, prefix: &'a str, after: Option<&'a str>) -> Answer<'a, Page> {
        self.store.list(bucket, prefix, after)
    }
}
