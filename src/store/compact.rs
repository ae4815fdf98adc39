//! Making the file shorter: what was deleted leaves room in the file, which new rows take, and which only
//! this gives back.
//!
//! redb moves pages from the end of the file to free places before them, in commits of two phases, and
//! cuts the end off. No row changes, so head and accumulators stay as they are, and what the lock file
//! says of the newest commit stays true. A crash between any two writes leaves one of these commits; they
//! differ only in where the pages are.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use redb::CompactionError;

use super::engine::Engine;
use super::fate::Fate;
use super::fault::{shielded, storage_error};
use super::group::Committer;
use super::handle::Store;
use super::line::Fate as _;
use super::options::Options;
use super::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};

/// How long a store's file is, and how much of it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreSize {
    /// The length of the file, in bytes.
    pub file_bytes: u64,
    /// What is in use: keys and values of every row, the store's own included, in bytes. In the file
    /// they take more, mostly half as much again: pages are not full, and there is an index over them.
    pub live_bytes: u64,
}

/// What a compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// The size before it.
    pub before: StoreSize,
    /// The size after it.
    pub after: StoreSize,
}

/// Makes the file of a closed store as short as it can be: opens it, [compacts](Store::compact) it, and
/// closes it. When it returns `Ok`, the shorter file is durable. A crash at any moment, and any error,
/// leaves a store with all its rows.
///
/// # Errors
/// Those of [`Options::open`], [`Store::compact`] and [`Store::close`].
pub fn compact(path: impl AsRef<Path>, options: &Options) -> Result<Compaction> {
    let path = path.as_ref();
    let store = options.open(path)?;
    let done = store.compact()?;
    store.close()?;
    // A close cuts off what is free at the end.
    let file = std::fs::metadata(path)
        .map_err(|error| Error::io(format!("looking at {}", path.display()), error))?;
    let after = StoreSize { file_bytes: file.len(), ..done.after };
    Ok(Compaction { after, ..done })
}

impl Store {
    /// How long the file is, and how much of it is in use, as of the newest commit.
    ///
    /// # Errors
    /// `Invalid` when the store was closed.
    pub fn size(&self) -> Result<StoreSize> {
        self.committer().quiesced(|engine| Ok(engine.size()))
    }

    /// Makes the file shorter while the store is open: moves what is in use to the front of the file and
    /// cuts off the rest. No row changes, and no commit gets another number.
    ///
    /// Steps, claims and reads wait for it: about as long as it takes to write everything that is in use
    /// once. It takes up to 1 KiB of memory for each 4 KiB in use, and no room on the disk. When it returns
    /// `Ok`, the shorter file is durable. A crash at any moment leaves a store with all its rows; it is
    /// verified when it is opened, as after any crash. By itself it is done when a store is closed of
    /// which more than half is free, see [`Options::compact_on_close_bytes`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("bot.mp");
    /// let store = milepost::Store::create(&path)?;
    /// let done = store.compact()?;
    /// println!("{} bytes, before {}", done.after.file_bytes, done.before.file_bytes);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Conflict` while rows are being read, and from inside a step that reads: nothing was changed, try again. `Invalid`
    /// when the store was closed; `Fenced` if the file is not there any
    /// more. `NoSpace` and `Io` if the disk fails: everything acknowledged is still in the file, and this
    /// handle is unusable, open the store again.
    pub fn compact(&self) -> Result<Compaction> {
        // A look-up holds what it reads for an instant.
        for _ in 0..TRIES {
            match self.committer().compact() {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    thread::sleep(Duration::from_millis(1));
                }
                done => return done,
            }
        }
        self.committer().compact()
    }
}

impl Committer {
    /// Makes the file shorter, while no plan is made and no commit is under way.
    pub(super) fn compact(&self) -> Result<Compaction> {
        self.home.check()?;
        let state = self.line.look();
        if let Some(fate) = state.fate() {
            return Err(fate.error());
        }
        let done = self.alone(Engine::compact);
        // Before anybody else gets to see what is left of it.
        let failure = done.as_ref().err().filter(|error| error.kind() != ErrorKind::Conflict);
        let fate = failure.map(|error| Fate::of(error).poison());
        drop(state);
        if let Some(fate) = fate {
            self.line.abandon(&fate);
        }
        done
    }

    /// Runs `work` on the engine while the store's own readers hold nothing of it. The line is locked, or
    /// has ended: until this returns nobody reads.
    fn alone<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let nothing = Snapshot::of_nothing()?;
        self.with_engine(|engine| {
            self.show(nothing);
            let done = work(engine);
            self.show(engine.snapshot()?);
            done
        })
    }

    /// From now on readers see this.
    pub(super) fn show(&self, durable: Arc<Snapshot>) {
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = durable;
    }

    /// Makes the file shorter if more than half of it is free. For a store that has been closed cleanly:
    /// if this fails, the file is as long as it was, and the next opening brings it back as after a
    /// crash.
    pub(super) fn compact_if_free(&self) {
        let is_wanted =
            self.with_engine(|engine| engine.is_mostly_free(self.compact_on_close_bytes));
        if is_wanted.is_ok_and(|is_wanted| is_wanted) {
            let _ = self.alone(Engine::compact);
        }
    }
}

/// How often a compaction is tried again while another thread reads.
const TRIES: u32 = 100;

/// Below this length a file is not compacted by itself, in bytes.
const SMALL_BYTES: u64 = 4 << 20;

impl Engine {
    pub(super) fn size(&self) -> StoreSize {
        StoreSize { file_bytes: self.probe.len(), live_bytes: self.head.live_bytes() }
    }

    /// # Errors
    /// `Conflict` if somebody reads; then nothing was done.
    pub(super) fn compact(&mut self) -> Result<Compaction> {
        if let Some(anchor) = &self.anchor {
            anchor.check()?;
        }
        let before = self.size();
        shielded("compact the file", || self.db.compact().map_err(not_compacted))?;
        Ok(Compaction { before, after: self.size() })
    }

    /// Whether more than half of the file is free, of a store with up to so many bytes in use. Only
    /// where that is likely all pages in use are counted, which reads them.
    pub(super) fn is_mostly_free(&self, live_bytes_max: u64) -> Result<bool> {
        let StoreSize { file_bytes, live_bytes } = self.size();
        if live_bytes > live_bytes_max || file_bytes < SMALL_BYTES || file_bytes / 3 < live_bytes {
            return Ok(false);
        }
        shielded("count the pages", || {
            let txn = self.db.begin_write().map_err(storage_error)?;
            let stats = txn.stats().map_err(storage_error)?;
            txn.abort().map_err(storage_error)?;
            let in_use = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
            Ok(in_use < file_bytes / 2)
        })
    }
}

fn not_compacted(error: CompactionError) -> Error {
    match error {
        CompactionError::Storage(error) => storage_error(error),
        _ => Error::new(
            ErrorKind::Conflict,
            "the file cannot be made shorter while another thread reads from the store. Nothing was \
             changed: try again when it has ended",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Read as _;
    use super::super::tables::{META_HEAD, Table};
    use super::*;

    /// Against: a compaction that waits for ever for a reader, takes the rows away from under it, or
    /// leaves the store unusable when it is refused.
    #[test]
    fn while_a_list_is_read_it_is_refused_and_the_store_continues() {
        let store = Store::in_memory().unwrap();
        let reader = store.read().unwrap();
        let refused = store.compact().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        store.flush().unwrap();
        drop(store.read().unwrap());
        drop(reader);
        store.compact().unwrap();
        store.close().unwrap();
    }

    /// Against: a step that makes a new schema, asks whether that is durable while the file is made
    /// shorter, and is told that the store is damaged.
    #[test]
    fn a_call_that_asks_what_is_durable_waits_until_the_file_is_shorter() {
        let store = Store::in_memory().unwrap();
        let committer = store.committer();
        let view = store.view().unwrap();
        thread::scope(|scope| {
            let line = committer.line.look();
            let asks = committer.alone(|_| {
                let asks = scope.spawn(|| view.is_durable(Table::Meta, META_HEAD));
                thread::sleep(Duration::from_millis(50));
                assert!(!asks.is_finished(), "it did not wait");
                Ok(asks)
            });
            drop(line);
            assert!(asks.unwrap().join().unwrap().unwrap());
        });
    }
}
