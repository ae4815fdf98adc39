//! The runs of a store, one after another.

use std::collections::VecDeque;
use std::fmt;

use super::schema::schema_of;
use super::state;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunName;
use crate::ledger::{RunRecord, run_of_key};
use crate::position::Position;
use crate::store::{Read, Row, Snapshot, Store, Table, misplaced};

/// How many runs are read at once.
const PAGE: usize = 64;

/// What is known of a run, without its state: see [`Store::runs`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// The run's name.
    pub name: RunName,
    /// The name of the type of its state, as [`Versioned::NAME`](crate::Versioned::NAME) says it.
    pub schema: String,
    /// The version of that type.
    pub version: u32,
    /// How far it is in its input.
    pub position: Position,
    /// How many steps it has made, through all its life.
    pub steps: u64,
    /// When it was begun.
    pub created: Timestamp,
    /// When it made its last step.
    pub changed: Timestamp,
    /// How large its state is, in bytes.
    pub bytes: u64,
}

/// The runs of a store in the order of their names: see [`Store::runs`].
#[must_use = "nothing is read before the first one is asked for"]
pub struct Runs<'a> {
    store: &'a Store,
    page: VecDeque<Row>,
    /// Where the next page begins; `None` after the last one.
    from: Option<Vec<u8>>,
}

impl Store {
    /// The runs of this store in the order of their names, each as its last durable step left it.
    /// Reads 64 at a time, when they are asked for: a run that is begun or removed meanwhile may be
    /// listed or not. Changes nothing.
    ///
    /// # Example: what is in a store
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum {
    /// #     bars: u64,
    /// # }
    /// # impl milepost::Versioned for Momentum {
    /// #     const NAME: &'static str = "momentum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// store.run::<Momentum>("spy-daily")?.step("2026-02-16", 0, |tx| {
    ///     tx.state.bars += 1;
    ///     Ok(())
    /// })?;
    /// store.run::<Momentum>("btc-5m")?;
    /// for run in store.runs() {
    ///     let run = run?;
    ///     println!("{} is at {} after {} steps", run.name, run.position, run.steps);
    /// }
    /// let steps: Vec<u64> = store.runs().map(|run| Ok(run?.steps)).collect::<milepost::Result<_>>()?;
    /// assert_eq!(steps, [0, 1]);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// An item is `Damaged` if the record of that run is, and the next one is the run after it; any
    /// other error is the last item.
    pub fn runs(&self) -> Runs<'_> {
        Runs { store: self, page: VecDeque::new(), from: Some(Vec::new()) }
    }
}

impl Runs<'_> {
    fn fill(&mut self) -> Result<()> {
        let Some(from) = self.from.take() else { return Ok(()) };
        self.page = self.store.read()?.scan(Table::Runs, &[], &from, PAGE)?.into();
        if let Some((last, _)) = self.page.back().filter(|_| self.page.len() == PAGE) {
            self.from = Some([last.as_slice(), &[0]].concat());
        }
        Ok(())
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<RunSummary>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.fill()
        {
            return Some(Err(error));
        }
        let (key, row) = self.page.pop_front()?;
        match self.store.read() {
            Ok(rows) => Some(summary(&rows, &key, &row)),
            Err(error) => {
                (self.page, self.from) = (VecDeque::new(), None);
                Some(Err(error))
            }
        }
    }
}

fn summary(rows: &Snapshot, key: &[u8], row: &[u8]) -> Result<RunSummary> {
    let record = rows.parse::<RunRecord>(key, row)?;
    let name = run_of_key(key).ok_or_else(|| misplaced(Table::Runs, key))?;
    let schema = schema_of(rows, record.schema)?;
    let bytes = state::len_of(&record.state, &name)?;
    Ok(RunSummary {
        name,
        schema: schema.name,
        version: schema.version,
        position: record.position,
        steps: record.steps,
        created: record.created,
        changed: record.changed,
        bytes,
    })
}

impl fmt::Debug for Runs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").finish_non_exhaustive()
    }
}
