//! fjall, the LSM tree: a write is an append to its journal, so a small durable commit is as cheap
//! as it gets; reads and clean-up pay later, in its background threads.
//!
//! Settings: one atomic batch a commit with `PersistMode::SyncData` (`fdatasync`), which survives
//! power loss; 64 MiB of block cache; the default memtable of 64 MiB and Bloom filters. Manual
//! journal persistence and a single worker thread were tried and made no difference. No
//! compression: see `Cargo.toml`.
//!
//! Look-up and batch are not one transaction here, and need not be: a run has one writer, and its
//! keys are its own, so nobody else can write the key in between. (fjall's transactional database
//! would serialise the writers and be slower.)
//!
//! Forgetting keys: `FIFO` compaction with a time limit on the table of keys, which drops whole
//! tables as they age and costs nothing a key. It asks for keys that only grow, which holds in
//! `churn/ttl`. Deleting by hand, as the B-trees must, would double what fjall writes.

use super::{CACHE_BYTES, Config, Engine, Mode, Session, position_of, run_key, run_row};
use crate::Result;
use crate::work::{Key, Step};
use fjall::compaction::Fifo;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::collections::HashSet;
use std::sync::Arc;

struct Fjall {
    db: Database,
    keys: Keyspace,
    runs: Keyspace,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    let db = Database::builder(config.dir.join("store.fjall"))
        .cache_size(u64::try_from(CACHE_BYTES)?)
        .open()?;
    let ttl = config.ttl;
    let keys = db.keyspace("keys", || match ttl {
        Some(ttl) => KeyspaceCreateOptions::default()
            .compaction_strategy(Arc::new(Fifo::new(u64::MAX, Some(ttl.as_secs().max(1))))),
        None => KeyspaceCreateOptions::default(),
    })?;
    let runs = db.keyspace("runs", KeyspaceCreateOptions::default)?;
    Ok(Fjall { db, keys, runs })
}

impl Engine for Fjall {
    fn session(&self, run: u16, _: Mode) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Writer { store: self, run: run_key(run) }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.persist(PersistMode::SyncAll)?;
        drop(self);
        Ok(())
    }
}

struct Writer<'a> {
    store: &'a Fjall,
    run: [u8; 6],
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        let Fjall { db, keys, runs } = self.store;
        let mut batch = db.batch().durability(Some(PersistMode::SyncData));
        // A batch cannot be read, so a key that comes twice in it has to be noticed here.
        let mut in_batch = HashSet::new();
        for step in steps {
            let repeated = steps.len() > 1 && !in_batch.insert(step.key);
            if !repeated && keys.get(step.key)?.is_none() {
                batch.insert(keys, step.key, step.outcome);
            }
        }
        let fresh = batch.len();
        if let Some(last) = steps.last() {
            // Steps of one commit overwrite one state: only the last of them can be seen.
            batch.insert(runs, self.run, run_row(last));
        }
        batch.commit()?;
        Ok(fresh)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        let mut seen = 0;
        for key in keys {
            if let Some(outcome) = self.store.keys.get(key)? {
                seen += usize::from(std::hint::black_box(outcome).len() > 1);
            }
        }
        Ok(seen)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        Ok(self.store.runs.get(self.run)?.and_then(|row| position_of(&row)))
    }
}
