//! Raw redb: the floor Milepost stands on. It writes the rows that a step of Milepost writes (the
//! key with its outcome, the run, one row of `meta`), without frames, checksums of its own,
//! accumulators, encoding or grouping. `&[u8]` keys and values, as Milepost uses.
//!
//! Settings: `Durability::Immediate` in one phase, the default (one `fdatasync`); 64 MiB of cache.

use super::expiry::{DUE_ROWS_MAX, expiry_key, keys_in, keys_of, now_ms, ttl_ms};
use super::{CACHE_BYTES, Config, Engine, Mode, Session, position_of, run_key, run_row};
use crate::Result;
use crate::work::{Key, Step};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::path::Path;
use std::time::Duration;

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;
const KEYS: Rows = TableDefinition::new("keys");
const RUNS: Rows = TableDefinition::new("runs");
const META: Rows = TableDefinition::new("meta");
const EXPIRY: Rows = TableDefinition::new("expiry");

struct Redb {
    db: Database,
    ttl: Option<Duration>,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    let path = config.dir.join("store.redb");
    let db = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    if db.begin_read()?.open_table(META).is_err() {
        // The tables exist before the first look-up. Only once: it is a commit.
        let txn = db.begin_write()?;
        for table in [KEYS, RUNS, META, EXPIRY] {
            txn.open_table(table)?;
        }
        txn.commit()?;
    }
    Ok(Redb { db, ttl: config.ttl })
}

/// Opens somebody else's file, for the time that takes; it can do nothing with it.
pub(super) fn open_file(path: &Path) -> Result<impl Engine + use<>> {
    Ok(Redb { db: Database::builder().set_cache_size(CACHE_BYTES).open(path)?, ttl: None })
}

impl Engine for Redb {
    fn session(&self, run: u16, _: Mode) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Writer { store: self, run: run_key(run), sequence: 0 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        drop(self);
        Ok(())
    }
}

struct Writer<'a> {
    store: &'a Redb,
    run: [u8; 6],
    sequence: u64,
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        self.sequence += 1;
        let mut fresh = 0;
        let txn = self.store.db.begin_write()?;
        {
            let mut keys = txn.open_table(KEYS)?;
            for step in steps {
                if keys.get(step.key.as_slice())?.is_none() {
                    keys.insert(step.key.as_slice(), step.outcome.as_slice())?;
                    fresh += 1;
                }
            }
            if let Some(last) = steps.last() {
                // Steps of one commit overwrite one state: only the last of them can be seen.
                let mut runs = txn.open_table(RUNS)?;
                runs.insert(self.run.as_slice(), run_row(last).as_slice())?;
            }
            let mut meta = txn.open_table(META)?;
            meta.insert(b"commit_seq".as_slice(), self.sequence.to_le_bytes().as_slice())?;
        }
        if let Some(ttl) = self.store.ttl {
            expire(&txn, steps, ttl_ms(ttl), self.sequence)?;
        }
        txn.commit()?;
        Ok(fresh)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        let txn = self.store.db.begin_read()?;
        let table = txn.open_table(KEYS)?;
        let mut seen = 0;
        for key in keys {
            if let Some(outcome) = table.get(key.as_slice())? {
                seen += usize::from(std::hint::black_box(outcome.value()).len() > 1);
            }
        }
        Ok(seen)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        let table = self.store.db.begin_read()?.open_table(RUNS)?;
        Ok(table.get(self.run.as_slice())?.and_then(|row| position_of(row.value())))
    }
}

/// Writes the commit's expiry row and removes a few that are due, keys and all.
fn expire(txn: &WriteTransaction, steps: &[Step], ttl_ms: u64, sequence: u64) -> Result<()> {
    let now = now_ms();
    let mut expiry = txn.open_table(EXPIRY)?;
    let row = expiry_key(now + ttl_ms, sequence);
    expiry.insert(row.as_slice(), keys_of(steps).as_slice())?;
    let mut due = Vec::new();
    for row in expiry.range(..expiry_key(now, 0).as_slice())?.take(DUE_ROWS_MAX) {
        let (at, keys) = row?;
        due.push((at.value().to_vec(), keys.value().to_vec()));
    }
    let mut keys = txn.open_table(KEYS)?;
    for (at, row) in due {
        for key in keys_in(&row) {
            keys.remove(key.as_slice())?;
        }
        expiry.remove(at.as_slice())?;
    }
    Ok(())
}
