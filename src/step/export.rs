//! A run as it is durable now, for a program that gives it back to where it came from.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arrive::{Brought, brought_to};
use super::migrations::Migrations;
use super::schema::{read_as, schema_of};
use super::state;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{KeyRecord, RunRecord, Versioned, run_key, step_key};
use crate::position::Position;
use crate::record::unnamed;
use crate::store::{Read, Snapshot, Store, Table};

/// How many rows are read at once.
const READ_AT_ONCE: usize = 4_096;

impl Store {
    /// A run as it is durable now: state, position, keys and what was imported beside it, all of one
    /// moment. Changes nothing, and does not open the run.
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum { holdings: i64 }
    /// # impl milepost::Versioned for Momentum {
    /// #     const NAME: &'static str = "momentum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// # let mut run = store.run::<Momentum>("spy-daily")?;
    /// # run.step("bar-1", 1, |tx| Ok(tx.state.holdings += 3))?;
    /// let export = store.export_run("spy-daily")?;
    /// assert_eq!(export.position().index(), Some(1));
    /// assert_eq!(export.keys()?, [b"bar-1"]);
    /// assert_eq!(export.state::<Momentum>()?.holdings, 3);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such run; `Damaged` if its record is; `Invalid` for a bad name;
    /// `Poisoned`.
    pub fn export_run(&self, run: &str) -> Result<RunExport> {
        let run = RunName::new(run)?;
        let rows = self.read()?;
        let record = rows.record::<RunRecord>(&run_key(&run))?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no run \"{run}\" in this store"))
        })?;
        let brought = brought_to(&*rows, &run)?;
        Ok(RunExport { run, rows, record, brought })
    }
}

/// A run as it was durable at one moment: see [`Store::export_run`]. While it is there, the store's
/// file keeps what that moment needs.
pub struct RunExport {
    run: RunName,
    rows: Arc<Snapshot>,
    record: RunRecord,
    brought: Option<Brought>,
}

impl RunExport {
    /// The run's name.
    #[must_use]
    pub fn name(&self) -> &RunName {
        &self.run
    }

    /// How far it is in its input.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.record.position
    }

    /// How many steps it has made, through all its life.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.record.steps
    }

    /// When it made its last step, or was imported.
    #[must_use]
    pub fn changed(&self) -> Timestamp {
        self.record.changed
    }

    /// What was imported beside it, by [`RunImport::note`](crate::RunImport::note); `None` if it was
    /// not imported.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.brought.as_ref().map(|brought| brought.beside.as_str())
    }

    /// Whether it was imported and has made no step since.
    #[must_use]
    pub fn is_as_imported(&self) -> bool {
        self.brought.as_ref().is_some_and(|brought| brought.is_untouched(&self.record))
    }

    /// Its state.
    ///
    /// # Errors
    /// `SchemaMismatch` or `TooNew` if it is not of this type; `Damaged`.
    pub fn state<S>(&self) -> Result<S>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
    {
        let schema = schema_of(&*self.rows, self.record.schema)?;
        let stored = state::read(&*self.rows, self.record.state.clone(), &self.run)?;
        read_as(&schema, &stored.whole(), &Migrations::new())
            .map(|(state, _)| state)
            .map_err(|error| error.context(format!("the state of the run \"{}\"", self.run)))
    }

    /// Every key that it has seen and not forgotten, in the order of their bytes. All of them are in
    /// memory at once.
    ///
    /// # Errors
    /// `Damaged` if the record of one is: it would be missing.
    pub fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let prefix = step_key(&self.run, &[]);
        let mut keys = Vec::new();
        let mut from = Vec::new();
        loop {
            let read = self.rows.scan(Table::Keys, &prefix, &from, READ_AT_ONCE)?;
            for (row, bytes) in &read {
                self.rows.parse::<KeyRecord>(row, bytes)?;
                keys.extend(unnamed(row, 2).map(|(_, key)| key.to_vec()));
            }
            match read.last() {
                Some((last, _)) if read.len() == READ_AT_ONCE => {
                    from = [last.as_slice(), &[0]].concat();
                }
                _ => return Ok(keys),
            }
        }
    }
}

impl fmt::Debug for RunExport {
    /// Where it is, never what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunExport")
            .field("run", &self.run)
            .field("position", &self.record.position)
            .field("steps", &self.record.steps)
            .finish_non_exhaustive()
    }
}
