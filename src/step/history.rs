//! Checkpoints in the commit: saved, read back, and removed.
//!
//! Small states in a row differ little, so of 32 checkpoints one holds its state, and each of
//! the others what differs from the one before it. Whoever removes one writes the next one whole.
//! Large states list the same chunks.

use std::collections::BTreeSet;

use super::content::{gather_whole, refer, release_all};
use super::labels::Labels;
use super::schema::schema_of;
use super::state::{INLINE_BYTES_MAX, Stored};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName};
use crate::ledger::{
    CheckpointContent, CheckpointRecord, CheckpointRow, ChunkList, HistoryRecord, Kept, Place,
    SchemaRecord, checkpoint_key, checkpoints_of, history_key, id_key, sequence_of_key,
};
use crate::position::Position;
use crate::record::{Bytes, Packed};
use crate::store::{Plan, Read, Row, Table, misplaced};

/// How many checkpoints in a row are read, at the most, to read one.
const DEPTH_MAX: u8 = 31;

/// What is saved, beside the state.
pub(super) struct Moment<'a> {
    pub(super) run: &'a RunName,
    pub(super) schema: u32,
    pub(super) position: &'a Position,
    pub(super) steps: u64,
    pub(super) labels: &'a Labels,
    pub(super) automatic: bool,
    /// When it was saved; now, if that is not said.
    pub(super) at: Option<Timestamp>,
    /// Its number, if it was taken before the call joined.
    pub(super) number: Option<u64>,
}

/// Plans a checkpoint of a run's state, unless its newest one is the same and has these labels.
pub(super) fn save(
    plan: &mut Plan<'_>,
    moment: &Moment<'_>,
    stored: &Stored,
) -> Result<CheckpointId> {
    let schema = schema_of(plan, moment.schema)?;
    let content = CheckpointContent {
        schema: &schema.name,
        version: schema.version,
        position: moment.position,
        labels: &moment.labels.identifying,
        codec: stored.codec(),
    };
    let id = content.id(stored.pieces());
    // Damage to what is old stops nobody: `verify` tells of it.
    let newest = unless_damaged(newest(plan, moment.run))?;
    let has = |(name, value), newest: &CheckpointRecord| newest.labels.get(name) == Some(value);
    if let Some((_, newest)) = &newest
        && newest.id == id
        && moment.labels.beside.iter().all(|label| has(label, newest))
    {
        return Ok(id);
    }
    let state = match &stored.large {
        Some(large) => {
            refer(plan, large.chunks())?;
            Kept::Chunks(Bytes(stored.row.bytes().to_vec()))
        }
        None => small(plan, newest.as_ref(), stored.row.bytes())?,
    };
    let place = place_for(plan, moment)?;
    let record = CheckpointRecord {
        id,
        schema: moment.schema,
        position: moment.position.clone(),
        steps: moment.steps,
        identifying: moment.labels.identifying.clone(),
        labels: moment.labels.beside.clone(),
        at: moment.at.unwrap_or_else(|| plan.lived()),
        automatic: moment.automatic,
        pinned: false,
        codec: stored.codec(),
        len: stored.len() as u64,
        state,
    };
    add(plan, &place, record)?;
    Ok(id)
}

/// Where a checkpoint belongs: behind all that has joined, and before all that a step under way emits,
/// for the numbers of the two tell which was first.
fn place_for(plan: &mut Plan<'_>, moment: &Moment<'_>) -> Result<Place> {
    let run = moment.run.clone();
    let number = moment.number.or_else(|| plan.take_id_of(run.as_str().as_bytes()));
    let place = number.map(|sequence| Place { run, sequence });
    if let Some(place) = place
        && plan.get(Table::Checkpoints, &place.key())?.is_none()
    {
        return Ok(place);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!(
            "a step of the run \"{}\" is under way and has emitted effects, and there is a checkpoint \
             right before it with other labels: save another one when the step has returned. Nothing \
             was written",
            moment.run
        ),
    ))
}

/// A small state: what differs from the one before, or all of it.
fn small(
    plan: &Plan<'_>,
    newest: Option<&(Place, CheckpointRecord)>,
    bytes: &[u8],
) -> Result<Kept> {
    let Some((before, record)) = newest else { return Ok(Kept::Whole(Packed::of(bytes))) };
    let depth = match &record.state {
        Kept::Whole(_) => 1,
        Kept::Changed { depth, .. } if *depth < DEPTH_MAX => depth + 1,
        Kept::Changed { .. } | Kept::Chunks(_) => return Ok(Kept::Whole(Packed::of(bytes))),
    };
    let base = unless_damaged(proven(plan, before, record).map(Some))?;
    let by = base.and_then(|(_, base)| Packed::against(&base, bytes));
    Ok(by.map_or_else(
        || Kept::Whole(Packed::of(bytes)),
        |by| Kept::Changed { from: before.sequence, depth, by },
    ))
}

/// Takes what is damaged for nothing at all.
pub(super) fn unless_damaged<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        found => found,
    }
}

/// The bytes of a checkpoint's state, not yet held against its id.
fn state_of(rows: &impl Read, place: &Place, record: &CheckpointRecord) -> Result<Vec<u8>> {
    let damaged = |what: &str| {
        Error::damaged(format!(
            "the checkpoint {} of the run \"{}\" is damaged: {what}. Nothing was changed; close the \
             store and run `repair` on it",
            record.id, place.run
        ))
    };
    let mut changes = Vec::new();
    let (mut sequence, mut state) = (place.sequence, record.state.clone());
    let mut bytes = loop {
        match state {
            Kept::Whole(packed) => {
                let bytes = packed.open(&[], INLINE_BYTES_MAX);
                break bytes.ok_or_else(|| damaged("its state cannot be unpacked"))?;
            }
            // A number below each time, so there is an end to it.
            Kept::Changed { from, by, .. } if from < sequence => {
                changes.push(by);
                sequence = from;
                let before = Place { run: place.run.clone(), sequence };
                let before = record_at(rows, &before)?;
                state = before.ok_or_else(|| damaged("one it is based on is missing"))?.state;
            }
            Kept::Changed { .. } => return Err(damaged("it is based on a later one")),
            Kept::Chunks(list) => {
                let list = ChunkList::from_bytes(&list.0);
                let list = list.ok_or_else(|| damaged("its list of chunks is none"))?;
                break gather_whole(rows, &list)?;
            }
        }
    };
    while let Some(change) = changes.pop() {
        bytes = change
            .open(&bytes, INLINE_BYTES_MAX)
            .ok_or_else(|| damaged("its state cannot be unpacked"))?;
    }
    Ok(bytes)
}

/// The state of a checkpoint, proven by its id.
///
/// # Errors
/// `Damaged` if it, or one it is based on, is not what was saved.
pub(crate) fn proven(
    rows: &impl Read,
    place: &Place,
    record: &CheckpointRecord,
) -> Result<(SchemaRecord, Vec<u8>)> {
    let bytes = state_of(rows, place, record)?;
    let schema = schema_of(rows, record.schema)?;
    let content = CheckpointContent {
        schema: &schema.name,
        version: schema.version,
        position: &record.position,
        labels: &record.identifying,
        codec: record.codec,
    };
    if content.id([bytes.as_slice()]) != record.id {
        return Err(Error::damaged(format!(
            "the checkpoint {} of the run \"{}\" does not hold what its id says. Nothing was \
             changed; close the store and run `repair` on it",
            record.id, place.run
        )));
    }
    Ok((schema, bytes))
}

/// Checkpoints of a run that are to go, and what has to be written in their place.
#[derive(Default)]
pub(super) struct Removal {
    going: Vec<(Place, CheckpointRecord, u64)>,
    whole: Vec<(Place, CheckpointRecord)>,
}

impl Removal {
    /// Reads what is needed to remove these; those that are not there are gone already.
    ///
    /// # Errors
    /// `Damaged` if one of them is, or one that is based on it. Nothing is planned yet then.
    pub(super) fn of(rows: &impl Read, run: &RunName, sequences: &BTreeSet<u64>) -> Result<Self> {
        let mut removal = Self::default();
        for sequence in sequences {
            let place = Place { run: run.clone(), sequence: *sequence };
            let Some(row) = rows.get(Table::Checkpoints, &place.key())? else { continue };
            let record = checkpoint_in(rows, &place.key(), &row)?;
            removal.going.push((place, record, row.len() as u64));
            removal.whole.extend(made_whole(rows, run, *sequence, sequences)?);
        }
        Ok(removal)
    }

    /// Plans the removal; how many bytes of rows go with it, less what is written in their place.
    pub(super) fn plan(self, plan: &mut Plan<'_>, run: &RunName) -> Result<u64> {
        let (mut freed, mut written) = (0u64, 0u64);
        let mut history = history_of(plan, run)?;
        for (place, record) in self.whole {
            written += record.state.stored() as u64;
            plan.put_aside(&place.key(), &CheckpointRow::Checkpoint(Box::new(record)))?;
        }
        for (place, record, row_bytes) in self.going {
            if let Kept::Chunks(list) = &record.state
                && let Some(list) = ChunkList::from_bytes(&list.0)
            {
                freed += release_all(plan, &list.chunks)?;
            }
            freed += row_bytes;
            plan.forget(Table::Checkpoints, &place.key());
            plan.forget(Table::Checkpoints, &id_key(&record.id, &place));
            history.count = history.count.saturating_sub(1);
            history.logical_bytes = history.logical_bytes.saturating_sub(record.len);
        }
        put_history(plan, run, history)?;
        Ok(freed.saturating_sub(written))
    }
}

fn put_history(plan: &mut Plan<'_>, run: &RunName, history: HistoryRecord) -> Result<()> {
    if history.count == 0 {
        plan.forget(Table::Checkpoints, &history_key(run));
        return Ok(());
    }
    plan.put_aside(&history_key(run), &CheckpointRow::History(history))
}

/// The checkpoint behind the place of one that goes or comes, whole, if it stays and is kept as what
/// differs: always from the one right before it.
fn made_whole(
    rows: &impl Read,
    run: &RunName,
    sequence: u64,
    going: &BTreeSet<u64>,
) -> Result<Option<(Place, CheckpointRecord)>> {
    let from = checkpoint_key(run, sequence.saturating_add(1));
    let next = rows.scan(Table::Checkpoints, &checkpoints_of(run), &from, 1)?.pop();
    let Some((place, mut record)) = next.map(|row| parsed(rows, &row)).transpose()? else {
        return Ok(None);
    };
    if going.contains(&place.sequence) || !matches!(record.state, Kept::Changed { .. }) {
        return Ok(None);
    }
    record.state = Kept::Whole(Packed::of(&proven(rows, &place, &record)?.1));
    Ok(Some((place, record)))
}

/// Puts a checkpoint back in the place it was taken from. It stands there whole, and so does the one
/// behind it, which may be based on the one before the place.
///
/// # Errors
/// `Damaged` if it, or what it refers to, is not what was saved.
pub(crate) fn put_back(plan: &mut Plan<'_>, key: &[u8], bytes: &[u8]) -> Result<()> {
    let row = (key.to_vec(), bytes.to_vec());
    let (place, mut record) = parsed(plan, &row)?;
    let (_, whole) = proven(plan, &place, &record)?;
    if let Kept::Chunks(list) = &record.state {
        refer(plan, &ChunkList::from_bytes(&list.0).map(|list| list.chunks).unwrap_or_default())?;
    } else {
        record.state = Kept::Whole(Packed::of(&whole));
    }
    if let Some((behind, record)) = made_whole(plan, &place.run, place.sequence, &BTreeSet::new())?
    {
        plan.put_aside(&behind.key(), &CheckpointRow::Checkpoint(Box::new(record)))?;
    }
    add(plan, &place, record)
}

/// Writes the rows of a checkpoint that is new in its place.
fn add(plan: &mut Plan<'_>, place: &Place, record: CheckpointRecord) -> Result<()> {
    let mut history = history_of(plan, &place.run)?;
    history.count = history.count.saturating_add(1);
    history.logical_bytes = history.logical_bytes.saturating_add(record.len);
    put_history(plan, &place.run, history)?;
    plan.put_aside(&id_key(&record.id, place), &CheckpointRow::Id)?;
    plan.put_aside(&place.key(), &CheckpointRow::Checkpoint(Box::new(record)))
}

/// The newest checkpoint of a run.
pub(super) fn newest(rows: &impl Read, run: &RunName) -> Result<Option<(Place, CheckpointRecord)>> {
    let below = checkpoint_key(run, u64::MAX);
    let newest = rows.scan_back(Table::Checkpoints, &checkpoints_of(run), &below, 1)?.pop();
    newest.map(|row| parsed(rows, &row)).transpose()
}

/// The number of the newest checkpoint of a run below this one, and its record if that can be read.
pub(super) fn newest_below(
    rows: &impl Read,
    run: &RunName,
    below: u64,
) -> Result<Option<(u64, Result<CheckpointRecord>)>> {
    let below = checkpoint_key(run, below);
    let row = rows.scan_back(Table::Checkpoints, &checkpoints_of(run), &below, 1)?.pop();
    let found = row.map(|(key, bytes)| {
        let place = sequence_of_key(&key).ok_or_else(|| misplaced(Table::Checkpoints, &key))?;
        Ok((place.sequence, checkpoint_in(rows, &key, &bytes)))
    });
    found.transpose()
}

/// A row of `checkpoints` that is a checkpoint, and where it stands.
pub(crate) fn parsed(rows: &impl Read, row: &Row) -> Result<(Place, CheckpointRecord)> {
    let (key, bytes) = row;
    let place = sequence_of_key(key).ok_or_else(|| misplaced(Table::Checkpoints, key))?;
    Ok((place, checkpoint_in(rows, key, bytes)?))
}

fn checkpoint_in(rows: &impl Read, key: &[u8], bytes: &[u8]) -> Result<CheckpointRecord> {
    match rows.parse(key, bytes)? {
        CheckpointRow::Checkpoint(record) => Ok(*record),
        _ => Err(misplaced(Table::Checkpoints, key)),
    }
}

pub(super) fn record_at(rows: &impl Read, place: &Place) -> Result<Option<CheckpointRecord>> {
    let row = rows.get(Table::Checkpoints, &place.key())?;
    row.map(|row| checkpoint_in(rows, &place.key(), &row)).transpose()
}

pub(super) fn history_of(rows: &impl Read, run: &RunName) -> Result<HistoryRecord> {
    let key = history_key(run);
    match rows.record(&key)? {
        None => Ok(HistoryRecord::default()),
        Some(CheckpointRow::History(history)) => Ok(history),
        Some(_) => Err(misplaced(Table::Checkpoints, &key)),
    }
}
