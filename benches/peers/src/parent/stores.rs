//! Filled stores: built once, copied for each measurement, so that every round starts from the
//! same bytes. A copy of a killed store is the killed store.

use super::spawn;
use crate::Result;
use crate::cases::{Base, Task};
use crate::child::Spec;
use crate::engines::{EngineName, Kind};
use crate::measure::Shim;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Larger stores are not copied: each round goes on where the last was killed, which adds a few
/// rows to millions.
const COPIED_ROWS_MAX: u64 = 1_000_000;

pub(super) struct Stores {
    dir: PathBuf,
    filled: HashMap<(Kind, Base), PathBuf>,
    made: usize,
}

/// A store for one measurement.
pub(super) struct Store {
    pub(super) path: PathBuf,
    is_copy: bool,
}

impl Store {
    pub(super) fn discard(self) -> Result<()> {
        if self.is_copy {
            fs::remove_dir_all(&self.path)?;
        }
        Ok(())
    }
}

impl Stores {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, filled: HashMap::new(), made: 0 }
    }

    pub(super) fn store_for(
        &mut self,
        base: Option<Base>,
        engine: EngineName,
        shim: &Shim,
    ) -> Result<Store> {
        let Some(base) = base else {
            return Ok(Store { path: self.new_dir()?, is_copy: true });
        };
        let filled = self.filled(base, engine.kind.store(), shim)?;
        // redb's repair changes Milepost's file, so it always gets a copy.
        if base.rows > COPIED_ROWS_MAX && engine.kind != Kind::RedbOnMilepost {
            return Ok(Store { path: filled, is_copy: false });
        }
        let path = self.new_dir()?;
        copy(&filled, &path)?;
        Ok(Store { path, is_copy: true })
    }

    /// Removes the filled stores that no case to come starts from.
    pub(super) fn keep_only(&mut self, bases: impl Iterator<Item = Base>) {
        let bases: Vec<Base> = bases.collect();
        self.filled.retain(|(_, base), path| {
            let keep = bases.contains(base);
            if !keep {
                // The scratch folder is removed at the end in any case.
                let _ = fs::remove_dir_all(path);
            }
            keep
        });
    }

    fn filled(&mut self, base: Base, kind: Kind, shim: &Shim) -> Result<PathBuf> {
        if let Some(path) = self.filled.get(&(kind, base)) {
            return Ok(path.clone());
        }
        let path = self.new_dir()?;
        let task = Task::Load { rows: base.rows, order: base.order, close: base.closed };
        let engine = EngineName { kind, by_hand: false }.to_string();
        spawn::run(&Spec { engine, dir: path.clone(), task, seconds: 0.0 }, shim)?;
        settle(&path)?;
        self.filled.insert((kind, base), path.clone());
        Ok(path)
    }

    fn new_dir(&mut self) -> Result<PathBuf> {
        self.made += 1;
        let path = self.dir.join(format!("store-{}", self.made));
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// `cp -a` keeps holes as holes: a journal that is reserved but not written must stay so, or its
/// engine would be spared the work of allocating it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status()?;
    if !status.success() {
        return Err(format!("cp could not copy {}", from.display()).into());
    }
    settle(to)
}

/// Flushes every file, so that writing back what was loaded does not fall into the measurement.
fn settle(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            settle(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()?;
    Ok(())
}
