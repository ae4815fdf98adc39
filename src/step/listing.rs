//! Lists of checkpoints, newest first, a page at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use super::history::parsed;
use super::schema::schema_of;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{CheckpointId, RunName};
use crate::ledger::{
    CheckpointRecord, Place, SchemaRecord, checkpoint_key, checkpoints_of, histories,
    run_of_history_key,
};
use crate::position::Position;
use crate::store::{Read, Snapshot, Table};

/// How many checkpoints a page has, unless it was said.
const PAGE: usize = 50;
/// How many rows are read at once.
const READ_AT_ONCE: usize = 64;

/// What is known of a checkpoint, without its state.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The hash of what it holds.
    pub id: CheckpointId,
    /// The run whose state it is.
    pub run: RunName,
    /// The name of the state's type.
    pub schema: String,
    /// The version of the state's type.
    pub version: u32,
    /// How far the run had come.
    pub position: Position,
    /// How many steps the run had made.
    pub steps: u64,
    /// All its labels, those that are part of the id among them.
    pub labels: BTreeMap<String, String>,
    /// When it was saved.
    pub at: Timestamp,
    /// Whether the run saved it on its own.
    pub automatic: bool,
    /// Whether it is kept from being let go of.
    pub pinned: bool,
    /// How large the state is, in bytes.
    pub bytes: u64,
}

/// Which checkpoints to list.
///
/// ```
/// let filter = milepost::CheckpointFilter::new().run("btc-5m").label("why", "before the upgrade");
/// ```
#[derive(Debug, Clone, Default)]
pub struct CheckpointFilter {
    run: Option<String>,
    schema: Option<String>,
    labels: BTreeMap<String, String>,
    times: Option<RangeInclusive<Timestamp>>,
    positions: Option<RangeInclusive<u64>>,
    pinned: bool,
    page: Option<usize>,
    behind: Option<CheckpointCursor>,
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointCursor(u64);

/// A page of a list.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckpointPage {
    /// The checkpoints, newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Where the next page begins; `None` if this is the last one.
    pub next: Option<CheckpointCursor>,
}

impl CheckpointFilter {
    /// All of them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of this run.
    #[must_use]
    pub fn run(self, run: impl Into<String>) -> Self {
        Self { run: Some(run.into()), ..self }
    }

    /// Those whose state is of the type of this name, in whichever version.
    #[must_use]
    pub fn schema(self, name: impl Into<String>) -> Self {
        Self { schema: Some(name.into()), ..self }
    }

    /// Those with this label, and all others that were asked for.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Those saved in this time.
    #[must_use]
    pub fn times(self, times: RangeInclusive<Timestamp>) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Those at one of these positions, of runs whose positions are numbers.
    #[must_use]
    pub fn positions(self, positions: RangeInclusive<u64>) -> Self {
        Self { positions: Some(positions), ..self }
    }

    /// Those that are pinned.
    #[must_use]
    pub fn pinned(self) -> Self {
        Self { pinned: true, ..self }
    }

    /// How many make a page; at least one. 50.
    #[must_use]
    pub fn page(self, checkpoints: usize) -> Self {
        Self { page: Some(checkpoints.max(1)), ..self }
    }

    /// The page that begins there.
    #[must_use]
    pub fn behind(self, cursor: CheckpointCursor) -> Self {
        Self { behind: Some(cursor), ..self }
    }

    fn takes(&self, schema: &SchemaRecord, record: &CheckpointRecord) -> bool {
        let has = |(name, value): (&String, &String)| {
            let label = record.labels.get(name).or(record.identifying.get(name));
            label == Some(value)
        };
        let is_at = |range: &RangeInclusive<u64>| {
            record.position.index().is_some_and(|index| range.contains(&index))
        };
        self.schema.as_ref().is_none_or(|name| *name == schema.name)
            && self.labels.iter().all(has)
            && self.times.as_ref().is_none_or(|times| times.contains(&record.at))
            && self.positions.as_ref().is_none_or(is_at)
            && (record.pinned || !self.pinned)
    }
}

/// The page that a filter asks for.
pub(super) fn page_of(rows: &Snapshot, filter: &CheckpointFilter) -> Result<CheckpointPage> {
    let page = filter.page.unwrap_or(PAGE);
    let runs = match &filter.run {
        Some(run) => vec![RunName::new(run)?],
        None => runs_of(rows)?,
    };
    let mut found = Vec::new();
    for run in &runs {
        // One more than a page of each: the newest of all are among them, and whether there is
        // another page.
        found.extend(Walk::new(rows, run, filter).take_up_to(page.saturating_add(1))?);
    }
    found.sort_unstable_by_key(|(sequence, _)| std::cmp::Reverse(*sequence));
    let is_more = found.len() > page;
    found.truncate(page);
    let last = found.last().map(|(sequence, _)| CheckpointCursor(*sequence));
    Ok(CheckpointPage {
        checkpoints: found.into_iter().map(|(_, checkpoint)| checkpoint).collect(),
        next: last.filter(|_| is_more),
    })
}

/// The runs that have checkpoints.
fn runs_of(rows: &Snapshot) -> Result<Vec<RunName>> {
    let all = rows.scan(Table::Checkpoints, histories(), &[], usize::MAX)?;
    Ok(all.iter().filter_map(|(key, _)| run_of_history_key(key)).collect())
}

/// One run's checkpoints, from the newest back.
struct Walk<'a> {
    rows: &'a Snapshot,
    run: &'a RunName,
    filter: &'a CheckpointFilter,
    schemas: BTreeMap<u32, SchemaRecord>,
    below: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(rows: &'a Snapshot, run: &'a RunName, filter: &'a CheckpointFilter) -> Self {
        let below = checkpoint_key(run, filter.behind.map_or(u64::MAX, |cursor| cursor.0));
        Self { rows, run, filter, schemas: BTreeMap::new(), below }
    }

    fn take_up_to(mut self, most: usize) -> Result<Vec<(u64, Checkpoint)>> {
        let mut found = Vec::new();
        loop {
            let at_once = READ_AT_ONCE.min(most);
            let prefix = checkpoints_of(self.run);
            let read = self.rows.scan_back(Table::Checkpoints, &prefix, &self.below, at_once)?;
            for row in &read {
                let (place, record) = parsed(self.rows, row)?;
                self.below.clone_from(&row.0);
                let schema = self.schema(record.schema)?;
                if self.filter.takes(&schema, &record) {
                    found.push((place.sequence, Checkpoint::under(&schema, place, record)));
                }
                if found.len() == most {
                    return Ok(found);
                }
            }
            if read.len() < at_once {
                return Ok(found);
            }
        }
    }

    fn schema(&mut self, id: u32) -> Result<SchemaRecord> {
        if let Some(schema) = self.schemas.get(&id) {
            return Ok(schema.clone());
        }
        let schema = schema_of(self.rows, id)?;
        self.schemas.insert(id, schema.clone());
        Ok(schema)
    }
}

impl Checkpoint {
    pub(super) fn of(rows: &impl Read, place: Place, record: CheckpointRecord) -> Result<Self> {
        Ok(Self::under(&schema_of(rows, record.schema)?, place, record))
    }

    fn under(schema: &SchemaRecord, place: Place, record: CheckpointRecord) -> Self {
        let mut labels = record.labels;
        labels.extend(record.identifying);
        Self {
            id: record.id,
            run: place.run,
            schema: schema.name.clone(),
            version: schema.version,
            position: record.position,
            steps: record.steps,
            labels,
            at: record.at,
            automatic: record.automatic,
            pinned: record.pinned,
            bytes: record.len,
        }
    }
}

impl fmt::Debug for Checkpoint {
    /// What it is, with the names of its labels; never the state, nor what the labels say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("id", &self.id)
            .field("run", &self.run)
            .field("position", &self.position)
            .field("steps", &self.steps)
            .field("labels", &self.labels.keys())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
