//! The one place that writes redb: a closed group becomes one transaction.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use redb::{CursorError, ReadableTable, WriteTransaction};

use super::backend::Probe;
use super::fault::{Db, shielded, storage_error};
use super::head::Head;
use super::integrity::Sum;
use super::lock::LockFile;
use super::options::{Durability, Reopen};
use super::overlay::Overlay;
use super::place::Anchor;
use super::rows::Value;
use super::snapshot::Snapshot;
use super::tables::{META_HEAD, Record, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::record::{Header, encode, seal};

/// Above this size redb's walk after a crash takes more than about a second: [`Reopen::Auto`] then
/// saves the allocator's state with every commit. Measured: 1.1 s at 1 GB.
const WALK_BYTES_MAX: u64 = 1 << 30;

/// The open database, and the head of its newest commit.
pub(super) struct Engine {
    pub(super) db: Db,
    pub(super) store: StoreId,
    pub(super) head: Head,
    pub(super) probe: Arc<Probe>,
    pub(super) anchor: Option<Anchor>,
    pub(super) durability: Durability,
    pub(super) reopen: Reopen,
    pub(super) value_limit: usize,
    /// Last, so that it is let go of after the file.
    pub(super) lock: Option<LockFile>,
}

impl Engine {
    /// Commits `rows` under `head`, whose accumulators are brought up to date here. When it returns
    /// `Ok`, all of it is durable.
    ///
    /// # Errors
    /// `Uncertain` when the commit may be on disk; any other kind means that it is not.
    pub(super) fn commit(&mut self, rows: &Overlay, head: Head) -> Result<()> {
        let header_writes = self.probe.header_writes();
        let seq = head.seq;
        self.try_commit(rows, head).map_err(|error| {
            if self.probe.header_writes() == header_writes {
                // redb's header still points to the commit before: nothing of this one counts.
                return error.context("nothing of this commit is on disk");
            }
            error.with_kind(ErrorKind::Uncertain(seq)).context(format!(
                "commit {seq} failed and may or may not be on disk: open the store again and ask \
                 `resolve({seq})`"
            ))
        })
    }

    /// [`commit`](Engine::commit) for a caller to whom it is all the same whether a commit that
    /// failed is on disk.
    pub(super) fn try_commit(&mut self, rows: &Overlay, mut head: Head) -> Result<()> {
        if let Some(anchor) = &self.anchor {
            anchor.check()?;
        }
        shielded("commit", || {
            let mut txn = self.db.begin_write().map_err(storage_error)?;
            self.set_mode(&mut txn);
            for table in Table::ALL {
                apply(&txn, table, rows, &mut head)?;
            }
            write_head(&txn, &head)?;
            txn.commit().map_err(storage_error)
        })?;
        if let Some(lock) = &mut self.lock {
            lock.note(self.store, &head);
        }
        self.head = head;
        Ok(())
    }

    fn set_mode(&self, txn: &mut WriteTransaction) {
        txn.set_two_phase_commit(self.durability == Durability::TwoPhase);
        txn.set_quick_repair(match self.reopen {
            Reopen::Verified => false,
            Reopen::Instant => true,
            Reopen::Auto => self.probe.len() > WALK_BYTES_MAX,
        });
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        Snapshot::take(&self.db, self.value_limit)
    }
}

/// Writes the rows of one table in the order of their keys, and keeps its accumulator.
fn apply(txn: &WriteTransaction, table: Table, rows: &Overlay, head: &mut Head) -> Result<()> {
    let lists: Vec<_> = rows.lists().filter(|(of, _, _)| *of == table).collect();
    let Some(rows) = rows.rows_of(table).filter(|rows| !rows.is_empty() || !lists.is_empty())
    else {
        return Ok(());
    };
    let mut open = txn.open_table(table.definition()).map_err(storage_error)?;
    let mut applied = Applied { table, sum: head.sum(table) };
    let mut rows = rows.iter().peekable();
    let mut backing_off = Backoff::default();
    while let Some((key, value)) = rows.next() {
        let is_new = applied.write(&mut open, key, value)?;
        if is_new && rows.peek().is_some() && backing_off.may_try() {
            backing_off.tell(applied.run_behind(&mut open, key, &mut rows)?);
        }
    }
    for (_, key, row) in &lists {
        applied.write(&mut open, key, Some(row))?;
    }
    head.set_sum(table, applied.sum);
    Ok(())
}

/// A table that is being written, and its accumulator.
struct Applied {
    table: Table,
    sum: Sum,
}

type Open<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

impl Applied {
    /// Writes one row, or removes it; whether it is one that was not there before.
    fn write(&mut self, open: &mut Open<'_>, key: &[u8], value: Value<'_>) -> Result<bool> {
        let old = match value {
            Some(value) => {
                self.sum.add(self.table, key, value);
                open.insert(key, value).map_err(storage_error)?
            }
            None => open.remove(key).map_err(storage_error)?,
        };
        if let Some(old) = &old {
            self.sum.remove(self.table, key, old.value());
        }
        Ok(old.is_none() && value.is_some())
    }

    /// Writes the new rows that follow `after` without an old one between them, in one go down the
    /// tree; how many those were.
    fn run_behind<'r>(
        &mut self,
        open: &mut Open<'_>,
        after: &[u8],
        rows: &mut Peekable<impl Iterator<Item = (&'r [u8], Value<'r>)>>,
    ) -> Result<usize> {
        let mut gap = open.upper_bound_mut(Bound::Included(after)).map_err(storage_error)?;
        let mut written = 0;
        while let Some((key, Some(value))) = rows.peek().copied() {
            match gap.insert_before(key, value) {
                Ok(()) => self.sum.add(self.table, key, value),
                // Behind the next old row, or that row itself.
                Err(CursorError::UnorderedKey) => break,
                Err(error) => return Err(storage_error(error)),
            }
            rows.next();
            written += 1;
        }
        gap.close().map_err(storage_error)?;
        Ok(written)
    }
}

/// Rows that lie scattered in the table are written one by one: looking for runs among them would
/// cost as much again. After each run of none, twice as many rows pass before the next try.
#[derive(Default)]
struct Backoff {
    failures: u32,
    pass: u32,
}

impl Backoff {
    fn may_try(&mut self) -> bool {
        let may = self.pass == 0;
        self.pass = self.pass.saturating_sub(1);
        may
    }

    fn tell(&mut self, written: usize) {
        self.failures = if written > 0 { 0 } else { (self.failures + 1).min(8) };
        self.pass = (1 << self.failures) - 1;
    }
}

pub(super) fn write_head(txn: &WriteTransaction, head: &Head) -> Result<()> {
    let payload = encode(head).map_err(|error| Error::invalid(error.to_string()))?;
    let row = seal(Table::Meta.id(), META_HEAD, Header::own(Head::VERSION), &payload);
    let mut meta = txn.open_table(Table::Meta.definition()).map_err(storage_error)?;
    meta.insert(META_HEAD, row.as_slice()).map_err(storage_error)?;
    Ok(())
}

/// Makes every table, so that one that is missing later is damage and not a beginning.
pub(super) fn create_tables(txn: &WriteTransaction) -> Result<()> {
    for table in Table::ALL {
        let open = txn.open_table(table.definition()).map_err(storage_error)?;
        open.first().map_err(storage_error)?;
    }
    Ok(())
}
