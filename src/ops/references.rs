//! Who refers to what: chunks and those who list them, checkpoints, their index and their counts. What
//! the rows say of one another, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::id::RunName;
use crate::ledger::{
    CheckpointRow, ChunkList, ContentRecord, HistoryRecord, IntentRecord, Kept, KeyRecord,
    KeyState, RowRecord, RunRecord, Stage, chunk_of_key, count_of_key, id_key, run_of_history_key,
    sequence_of_key,
};
use crate::record::{ChunkId, Typed};
use crate::step::{chunks_of, distinct};
use crate::store::{Read, Sum, Table};

/// What was found, row by row.
#[derive(Default)]
pub(super) struct References {
    /// How many list a chunk.
    pub(super) listed: HashMap<ChunkId, u64>,
    chunks: HashSet<ChunkId>,
    /// What the rows of counts say.
    counts: HashMap<ChunkId, u64>,
    /// What the checkpoints come to, by run.
    pub(super) histories: BTreeMap<RunName, HistoryRecord>,
    /// What the rows of histories say.
    histories_said: BTreeMap<RunName, HistoryRecord>,
    /// The lines that the index should have, and those it has.
    lines: Sum,
    lines_found: Sum,
    /// The schemas that values, states among them, are written under, and those that are there.
    schemas: BTreeSet<u32>,
    schemas_found: BTreeSet<u32>,
}

impl References {
    /// Takes in a row that was found to be sound.
    pub(super) fn take_in(&mut self, rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) {
        for id in listed_in(rows, table, key, bytes) {
            *self.listed.entry(id).or_default() += 1;
        }
        self.schemas.extend(schemas_of(rows, table, key, bytes));
        match table {
            Table::Schemas => {
                self.schemas_found.extend(key.try_into().ok().map(u32::from_be_bytes));
            }
            Table::Checkpoints => {
                if let Ok(row) = rows.parse(key, bytes) {
                    self.take_in_checkpoint(key, &row);
                }
            }
            Table::Contents => match rows.parse(key, bytes) {
                Ok(ContentRecord::Chunk(_)) => self.chunks.extend(chunk_of_key(key)),
                Ok(ContentRecord::Count(count)) => {
                    self.counts.extend(count_of_key(key).map(|id| (id, count)));
                }
                Err(_) => {}
            },
            _ => {}
        }
    }

    fn take_in_checkpoint(&mut self, key: &[u8], row: &CheckpointRow) {
        match row {
            CheckpointRow::History(history) => {
                self.histories_said.extend(run_of_history_key(key).map(|run| (run, *history)));
            }
            CheckpointRow::Id => self.lines_found.add(Table::Checkpoints, key, &[]),
            CheckpointRow::Checkpoint(record) => {
                let Some(place) = sequence_of_key(key) else { return };
                self.lines.add(Table::Checkpoints, &id_key(&record.id, &place), &[]);
                let history = self.histories.entry(place.run).or_default();
                history.count += 1;
                history.logical_bytes = history.logical_bytes.saturating_add(record.len);
            }
        }
    }

    /// The schemas that something is written under, and that are missing.
    pub(super) fn missing_schemas(&self) -> impl Iterator<Item = u32> + '_ {
        self.schemas.difference(&self.schemas_found).copied()
    }

    /// What is wrong.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        match self.missing_schemas().count() {
            0 => {}
            missing => faults.push(format!(
                "{missing} schemas are missing or damaged, and values are written under them"
            )),
        }
        let missing = self.listed.keys().filter(|id| !self.chunks.contains(*id)).count();
        if missing > 0 {
            faults.push(format!("{missing} chunks are listed, and are missing or damaged"));
        }
        let garbage = self.chunks.iter().filter(|id| !self.listed.contains_key(*id)).count();
        if garbage > 0 {
            faults.push(format!("{garbage} chunks are listed by nobody"));
        }
        let counted = |id: &ChunkId| self.counts.get(id).copied().unwrap_or(1);
        let wrong = self.listed.iter().filter(|(id, count)| counted(id) != **count).count();
        let idle = self.counts.keys().filter(|id| !self.listed.contains_key(*id)).count();
        if wrong + idle > 0 {
            faults.push(format!(
                "{} chunks have another number of referrers than is counted",
                wrong + idle
            ));
        }
        if self.lines != self.lines_found {
            faults.push(format!(
                "there are {} checkpoints, and their index has {} lines which are not all the same",
                self.lines.count, self.lines_found.count
            ));
        }
        if self.histories != self.histories_said {
            faults.push("the checkpoints of a run are not as many as is counted".to_owned());
        }
        faults
    }
}

/// The schemas that the values in a row are written under.
fn schemas_of(rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) -> Vec<u32> {
    let of = |value: &Typed| value.schema;
    match table {
        Table::Runs => rows.parse(key, bytes).map(|run: RunRecord| vec![run.schema]),
        Table::Checkpoints => rows.parse(key, bytes).map(|row| match row {
            CheckpointRow::Checkpoint(record) => vec![record.schema],
            _ => Vec::new(),
        }),
        Table::Keys => rows.parse(key, bytes).map(|record: KeyRecord| match &record.state {
            KeyState::Done { outcome } => vec![of(outcome)],
            _ => Vec::new(),
        }),
        Table::Intents => rows.parse(key, bytes).map(|record: IntentRecord| {
            let outcome = match &record.stage {
                Stage::Confirmed { outcome, .. } => outcome.as_ref(),
                _ => None,
            };
            record.payload.iter().chain(outcome).map(of).collect()
        }),
        Table::Rows => rows.parse(key, bytes).map(|row| match &row {
            RowRecord::Value(value) => vec![of(value)],
            RowRecord::Lost { .. } => Vec::new(),
        }),
        _ => Ok(Vec::new()),
    }
    .unwrap_or_default()
}

/// The chunks that a row lists.
pub(super) fn listed_in(rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) -> Vec<ChunkId> {
    let list = match table {
        Table::Runs => {
            rows.parse::<RunRecord>(key, bytes).ok().and_then(|run| chunks_of(&run.state))
        }
        Table::Checkpoints => match rows.parse(key, bytes) {
            Ok(CheckpointRow::Checkpoint(record)) => match &record.state {
                Kept::Chunks(list) => ChunkList::from_bytes(&list.0),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    list.map(|list| distinct(&list.chunks)).unwrap_or_default()
}
