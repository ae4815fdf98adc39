//! LMDB through heed: a copy-on-write B-tree in a memory map.
//!
//! Settings: fully durable, which is its default: `fdatasync` of the pages, then the meta page
//! through a descriptor opened with `O_DSYNC`. That second flush shows in no count of `fsync`; the
//! shim counts it. `MDB_WRITEMAP` (two `msync`) was tried and was slower, most of all with random
//! keys; `MDB_NOMEMINIT` and `MDB_NORDAHEAD` made no difference. The map is 64 GiB of address
//! space, so it never has to grow. It has no cache of its own: its peak memory includes the pages
//! of the file it touched, which the kernel can take back.

use super::expiry::{DUE_ROWS_MAX, expiry_key, keys_in, keys_of, now_ms, ttl_ms};
use super::{Config, Engine, Mode, Session, position_of, run_key, run_row};
use crate::Result;
use crate::work::{Key, Step};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, RwTxn, WithTls};
use std::time::Duration;

const MAP_BYTES: usize = 64 * 1024 * 1024 * 1024;

type Rows = Database<'static, Bytes, Bytes>;

struct Lmdb {
    env: Env<WithTls>,
    keys: Rows,
    runs: Rows,
    expiry: Rows,
    ttl: Option<Duration>,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    let dir = config.dir.join("store.lmdb");
    std::fs::create_dir_all(&dir)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_dbs(4);
    // SAFETY: the map is of a file in a folder that this process made and alone uses; nothing
    // else writes to it while it is open. There is no safe way in: heed marks every open unsafe.
    #[expect(unsafe_code, reason = "LMDB cannot be opened otherwise")]
    let env = unsafe { options.open(dir)? };
    let opened = env.create_databases_and_commit(env.write_txn()?, |open, txn| {
        let mut table = |name| open.create_database::<Bytes, Bytes>(txn, Some(name));
        let tables = [table("keys")?, table("runs")?, table("expiry")?];
        heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(tables))
    })?;
    let [keys, runs, expiry] = opened.unwrap_commit();
    Ok(Lmdb { env, keys, runs, expiry, ttl: config.ttl })
}

impl Engine for Lmdb {
    fn session(&self, run: u16, _: Mode) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Writer { store: self, run: run_key(run), sequence: 0 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct Writer<'a> {
    store: &'a Lmdb,
    run: [u8; 6],
    sequence: u64,
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        self.sequence += 1;
        let Lmdb { env, keys, runs, .. } = self.store;
        let mut txn = env.write_txn()?;
        let mut fresh = 0;
        for step in steps {
            if keys.get(&txn, &step.key)?.is_none() {
                keys.put(&mut txn, &step.key, &step.outcome)?;
                fresh += 1;
            }
        }
        if let Some(last) = steps.last() {
            // Steps of one commit overwrite one state: only the last of them can be seen.
            runs.put(&mut txn, &self.run, &run_row(last))?;
        }
        if let Some(ttl) = self.store.ttl {
            self.expire(&mut txn, steps, ttl_ms(ttl))?;
        }
        txn.commit()?;
        Ok(fresh)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        let txn = self.store.env.read_txn()?;
        let mut seen = 0;
        for key in keys {
            if let Some(outcome) = self.store.keys.get(&txn, key)? {
                seen += usize::from(std::hint::black_box(outcome).len() > 1);
            }
        }
        Ok(seen)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        let txn = self.store.env.read_txn()?;
        Ok(self.store.runs.get(&txn, &self.run)?.and_then(position_of))
    }
}

impl Writer<'_> {
    /// Writes the commit's expiry row and removes a few that are due, keys and all.
    fn expire(&self, txn: &mut RwTxn<'_>, steps: &[Step], ttl_ms: u64) -> Result<()> {
        let Lmdb { keys, expiry, .. } = self.store;
        let now = now_ms();
        expiry.put(txn, &expiry_key(now + ttl_ms, self.sequence), &keys_of(steps))?;
        let mut due = Vec::new();
        let end = expiry_key(now, 0);
        for row in expiry.iter(txn)?.take(DUE_ROWS_MAX) {
            let (at, row) = row?;
            if at < end.as_slice() {
                due.push((at.to_vec(), row.to_vec()));
            }
        }
        for (at, row) in due {
            for key in keys_in(&row) {
                keys.delete(txn, key)?;
            }
            expiry.delete(txn, &at)?;
        }
        Ok(())
    }
}
