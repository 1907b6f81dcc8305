//! A file that is looked at without being written to: what is written stays in memory and is dropped.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

const BLOCK: u64 = 4096;

#[derive(Debug)]
pub(super) struct Shadow {
    file: FileBackend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    /// How much of the file still shows.
    shown: u64,
    /// Blocks that were written, by their number.
    blocks: HashMap<u64, Vec<u8>>,
}

impl Shadow {
    pub(super) fn new(file: FileBackend) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Shadow { file, over: Mutex::new(Over { len, shown: len, blocks: HashMap::new() }) })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        let (start, mut block) = (number * BLOCK, vec![0; BLOCK as usize]);
        let there = over.shown.saturating_sub(start).min(BLOCK) as usize;
        if there > 0 {
            self.file.read(start, &mut block[..there])?;
        }
        Ok(block)
    }
}

/// The pieces of `len` bytes from `offset` on: the number of the block, where in it, and how many.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset + len as u64);
    std::iter::from_fn(move || {
        let (number, within) = (at / BLOCK, (at % BLOCK) as usize);
        let count = (end - at).min(BLOCK - within as u64) as usize;
        at += count as u64;
        (count > 0).then_some((number, within, count))
    })
}

impl StorageBackend for Shadow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (over, mut done) = (self.over(), 0);
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > over.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, count) in pieces(offset, out.len()) {
            let block = match over.blocks.get(&number) {
                Some(block) => block.clone(),
                None => self.below(&over, number)?,
            };
            out[done..done + count].copy_from_slice(&block[within..within + count]);
            done += count;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.over();
        if len < over.len {
            over.blocks.retain(|number, _| number * BLOCK < len);
            if let Some(last) = over.blocks.get_mut(&(len / BLOCK)) {
                last[(len % BLOCK) as usize..].fill(0);
            }
        }
        over.shown = over.shown.min(len);
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut over, mut done) = (self.over(), 0);
        for (number, within, count) in pieces(offset, data.len()) {
            let mut block = match over.blocks.remove(&number) {
                Some(block) => block,
                None => self.below(&over, number)?,
            };
            block[within..within + count].copy_from_slice(&data[done..done + count]);
            over.blocks.insert(number, block);
            done += count;
        }
        over.len = over.len.max(offset + data.len() as u64);
        Ok(())
    }
}
