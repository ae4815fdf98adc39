//! A run with a state of 10 KB, its savepoint in both forms, and a store that has another one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost::testing::{Call, Fault, export_with_fault, import_savepoint_bytes, savepoint_bytes};
use milepost::{
    CheckpointId, Error, Labels, ManualClock, MemoryDisk, Options, Result, SavepointOptions, Store,
    Timestamp, Versioned,
};
use serde::{Deserialize, Serialize};

pub(super) const RUN: &str = "ledger";
pub(super) const STEPS: u64 = 5;
const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// 2 KB a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) steps: u64,
    closes: Vec<(u32, f64)>,
    notes: Vec<String>,
}

impl Versioned for Ledger {
    const NAME: &'static str = "ledger";
    const VERSION: u32 = 1;
}

impl Ledger {
    fn grow(&mut self) {
        self.steps += 1;
        let n = u32::try_from(self.steps).unwrap_or(0);
        self.closes.extend((0..110).map(|day| (day + n, f64::from(day) * 1.75 / f64::from(n))));
        self.notes.push(format!("{n:-<500}"));
    }
}

/// The state after so many steps.
pub(super) fn grown(steps: u64) -> Ledger {
    let mut ledger = Ledger::default();
    (0..steps).for_each(|_| ledger.grow());
    ledger
}

/// Makes the next step.
pub(super) fn step(store: &Store) -> Result<()> {
    let mut run = store.run::<Ledger>(RUN)?;
    let n = run.steps() + 1;
    run.step(format!("step-{n}"), n, |tx| {
        tx.state.grow();
        Ok(())
    })?;
    Ok(())
}

pub(super) struct Sample {
    pub(super) store: Store,
    pub(super) id: CheckpointId,
    binary: Vec<u8>,
    json: Vec<u8>,
    /// A store in which the savepoint was imported; one case at a time asks it.
    imported: Mutex<Store>,
    /// The bytes of one in which the run has made fewer steps.
    pub(super) other: Vec<u8>,
}

impl Sample {
    pub(super) fn new() -> Result<Self> {
        let store = store_after(STEPS)?.0;
        let labels = Labels::new().identifying("config", "9f3").with("why", "before the upgrade");
        let id = store.checkpoints().save(RUN, &labels)?;
        let binary = savepoint_bytes(&store.checkpoints(), &id, false)?;
        let json = savepoint_bytes(&store.checkpoints(), &id, true)?;
        let imported = Store::in_memory()?;
        import_savepoint_bytes(&imported, &binary, &SavepointOptions::new())?;
        let imported = Mutex::new(imported);
        let (other, disk) = store_after(super::BEFORE)?;
        other.close()?;
        Ok(Self { store, id, binary, json, imported, other: disk.to_bytes() })
    }

    pub(super) fn file(&self, json: bool) -> &[u8] {
        if json { &self.json } else { &self.binary }
    }

    pub(super) fn imported(&self) -> MutexGuard<'_, Store> {
        self.imported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls of this kind an export makes.
    pub(super) fn calls(&self, json: bool, call: Call) -> Result<u64> {
        let folder = tempfile::tempdir().map_err(Error::abort)?;
        let never = Fault::of(call, u64::MAX);
        let path = folder.path().join("whole");
        let done = export_with_fault(&self.store.checkpoints(), &self.id, &path, json, Some(never));
        done.told.map(|()| done.calls)
    }
}

fn store_after(steps: u64) -> Result<(Store, Arc<MemoryDisk>)> {
    let disk = Arc::new(MemoryDisk::new());
    let store = Options::new().clock(ManualClock::new(NOW)).create_on(disk.clone())?;
    for _ in 0..steps {
        step(&store)?;
    }
    Ok((store, disk))
}
