//! The checkpoints of a store: what is done with them outside of steps.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::content::{distinct, referrers};
use super::diff::{CheckpointDiff, Opened, diff_of};
use super::history::{Moment, Removal, history_of, newest, proven, record_at, save};
use super::inspect::shown;
use super::labels::Labels;
use super::listing::{Checkpoint, CheckpointFilter, CheckpointPage, page_of};
use super::migrations::Migrations;
use super::on_damage::{begin_from, refuse_quarantined};
use super::retain::{Freed, RetentionPlan, due, remove_some};
use super::savepoint::{About, Savepoint};
use super::schema::read_as;
use super::state;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName};
use crate::ledger::{
    CheckpointRecord, CheckpointRow, ChunkList, Kept, Place, RunRecord, Versioned, chunk_key,
    ids_from, place_of_id_key, run_key,
};
use crate::record::{Maps, Payload};
use crate::store::{Read, Retention, Store, Table};

/// Why a checkpoint may not be there, and where to look.
const GONE: &str = "it was never in this store, was deleted, or was let go of by a retention. `list` \
                    has those that are there";
/// How many candidates an ambiguous prefix is told.
const CANDIDATES: usize = 8;

/// The checkpoints of a store: immutable states of its runs, named by the hash of what they hold.
///
/// They are saved by a step ([`Tx::checkpoint`](crate::Tx::checkpoint)), by a run on its own
/// ([`OpenRun::autosave`](crate::OpenRun::autosave)), or between steps ([`save`](Checkpoints::save)).
#[derive(Clone)]
pub struct Checkpoints {
    store: Store,
}

impl Store {
    /// The checkpoints of this store.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints { store: self.clone() }
    }
}

impl Checkpoints {
    /// Saves the newest state of a run. If its newest checkpoint is the same and has these labels,
    /// that one's id comes back, and nothing is written; under other labels the same content is saved
    /// once more, and has the same id. When it returns, the checkpoint is durable.
    ///
    /// # Errors
    /// `NotFound` if there is no such run; `Invalid` or `LimitExceeded` for bad labels; `Damaged` if
    /// a record it needs is; `Conflict` if a step of the run is under way that has emitted effects,
    /// and the state before it was saved already under other labels; and those of a commit.
    pub fn save(&self, run: &str, labels: &Labels) -> Result<CheckpointId> {
        let run = RunName::new(run)?;
        labels.check()?;
        let retention = self.store.retention();
        self.store.commit(|plan| {
            let record = plan.record::<RunRecord>(&run_key(&run))?.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no run \"{run}\" in this store"))
            })?;
            let stored = state::read(plan, record.state, &run)?;
            let moment = Moment {
                run: &run,
                schema: record.schema,
                position: &record.position,
                steps: record.steps,
                labels,
                automatic: false,
                at: None,
                number: None,
            };
            let id = save(plan, &moment, &stored)?;
            super::retain::sweep(plan, &run, retention)?;
            Ok(id)
        })
    }

    /// The state of a checkpoint, proven by its id.
    ///
    /// # Errors
    /// `NotFound`; `SchemaMismatch` if it was written as another type, an older version, or with
    /// other fields under the same version, `TooNew` if as a newer one; `Aborted` if
    /// [`Versioned::validate`] refuses it; `Invalid` if the type cannot be stored; `Damaged` if it is
    /// not what was saved; `Poisoned`.
    pub fn load<S>(&self, id: &CheckpointId) -> Result<S>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
    {
        let rows = self.store.read()?;
        let (_, schema, state) = opened(&*rows, id)?;
        read_as(&schema, &state, &Migrations::new())
            .map(|(state, _)| state)
            .map_err(|error| error.context(format!("the checkpoint {id}")))
    }

    /// A checkpoint with its state, and what is known of where it comes from.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if it is not what was saved; `Poisoned`.
    pub(crate) fn savepoint(&self, id: &CheckpointId) -> Result<Savepoint> {
        let incarnation = self.store.incarnation()?;
        let rows = self.store.read()?;
        let (place, record) = find(&*rows, id)?;
        let (schema, state) = proven(&*rows, &place, &record)?;
        let about = About {
            id: record.id,
            run: place.run,
            position: record.position,
            steps: record.steps,
            schema: schema.name,
            version: schema.version,
            form: schema.form,
            codec: record.codec,
            identifying: record.identifying,
            labels: record.labels,
            at: record.at,
            automatic: record.automatic,
            store: self.store.id(),
            incarnation,
            epoch: self.store.epoch(),
            number: place.sequence,
        };
        Ok(Savepoint { about, state })
    }

    /// The longest state that this store takes, in bytes.
    pub(crate) fn state_limit(&self) -> Result<usize> {
        Ok(self.store.read()?.value_limit())
    }

    /// What is known of a checkpoint, without its state.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if its record is; `Poisoned`.
    pub fn show(&self, id: &CheckpointId) -> Result<Checkpoint> {
        let rows = self.store.read()?;
        let (place, record) = find(&*rows, id)?;
        Checkpoint::of(&*rows, place, record)
    }

    /// The state of a checkpoint as JSON, proven by its id, for programs that do not know its type: as
    /// in [`RunView::state_json`](crate::RunView::state_json).
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if it is not what was saved; `LimitExceeded` for a state that is too
    /// deep, or too long as JSON; `Poisoned`.
    pub fn state_json(&self, id: &CheckpointId) -> Result<String> {
        let (_, schema, state) = opened(&*self.store.read()?, id)?;
        shown(&state, &schema, Maps::Pairs, &|| format!("the state of the checkpoint {id}"))
    }

    /// What is different between the states of two checkpoints, field by field, of whichever runs,
    /// types and versions they are. Both are proven by their ids.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if one is not what was saved; `LimitExceeded` for a state that is too
    /// deep, or too long as JSON; `Poisoned`.
    pub fn diff(&self, before: &CheckpointId, after: &CheckpointId) -> Result<CheckpointDiff> {
        let rows = self.store.read()?;
        diff_of(opened(&*rows, before)?, opened(&*rows, after)?)
    }

    /// The newest checkpoint of a run.
    ///
    /// # Errors
    /// `Invalid` for a bad name; `Damaged` if its record is; `Poisoned`.
    pub fn latest(&self, run: &str) -> Result<Option<Checkpoint>> {
        let rows = self.store.read()?;
        let newest = newest(&*rows, &RunName::new(run)?)?;
        newest.map(|(place, record)| Checkpoint::of(&*rows, place, record)).transpose()
    }

    /// A page of the checkpoints that a filter takes, newest first. What is saved or removed between
    /// two pages shows in the later one; none is shown twice.
    ///
    /// # Errors
    /// `Invalid` for a bad name; `Damaged` if a record is; `Poisoned`.
    pub fn list(&self, filter: &CheckpointFilter) -> Result<CheckpointPage> {
        page_of(&*self.store.read()?, filter)
    }

    /// The checkpoint whose id begins with these hexadecimal digits.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Conflict` if there are several, which are named; `Invalid` for
    /// anything but 1 to 64 hexadecimal digits; `Poisoned`.
    pub fn find(&self, prefix: &str) -> Result<CheckpointId> {
        let digits = prefix.to_ascii_lowercase();
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 64 || !is_hex {
            return Err(Error::invalid(
                "the first digits of a checkpoint's id are 1 to 64 of 0-9 and a-f",
            ));
        }
        let rows = self.store.read()?;
        let mut found: Vec<CheckpointId> = Vec::new();
        let mut from = Vec::new();
        let prefix = ids_from(&whole_bytes(&digits));
        while let Some((key, _)) = rows.scan(Table::Checkpoints, &prefix, &from, 1)?.pop() {
            let Some((id, _)) = place_of_id_key(&key) else { break };
            if id.to_string().starts_with(&digits) {
                found.push(id);
            }
            // Past the other places of this id; and of half a byte, past the other half's.
            let Some(next) = behind(&id) else { break };
            from = ids_from(&next);
            if found.len() > CANDIDATES {
                break;
            }
        }
        match found.as_slice() {
            [] => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no checkpoint whose id begins with {digits}: {GONE}"),
            )),
            [one] => Ok(*one),
            several => Err(ambiguous(&digits, several)),
        }
    }

    /// Keeps a checkpoint from being let go of by a retention. When it returns, that is durable.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if its record is; and those of a commit.
    pub fn pin(&self, id: &CheckpointId) -> Result<()> {
        self.set_pinned(id, true)
    }

    /// Lets a retention have a checkpoint again. When it returns, that is durable.
    ///
    /// # Errors
    /// Those of [`pin`](Checkpoints::pin).
    pub fn unpin(&self, id: &CheckpointId) -> Result<()> {
        self.set_pinned(id, false)
    }

    fn set_pinned(&self, id: &CheckpointId, pinned: bool) -> Result<()> {
        self.store.commit(|plan| {
            for (place, record) in find_all(plan, id)? {
                if record.pinned != pinned {
                    let record = CheckpointRecord { pinned, ..record };
                    plan.put(&place.key(), &CheckpointRow::Checkpoint(Box::new(record)))?;
                }
            }
            Ok(())
        })
    }

    /// Removes a checkpoint, from whichever runs have it. The newest states of runs stay as they
    /// are. When it returns, that is durable.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is pinned; `Damaged` if a record it needs is; and those of a
    /// commit.
    pub fn delete(&self, id: &CheckpointId) -> Result<()> {
        self.store.commit(|plan| {
            for (place, record) in find_all(plan, id)? {
                if record.pinned {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the checkpoint {id} is pinned: unpin it first"),
                    ));
                }
                Removal::of(plan, &place.run, &[place.sequence].into())?.plan(plan, &place.run)?;
            }
            Ok(())
        })
    }

    /// Begins a new run with the state, the position and the number of steps of a checkpoint. Keys
    /// and rows stay with the run they are of: to the new one, no input has been seen. When it
    /// returns, the run is durable.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if there is a run of that name; `Damaged` if the checkpoint is not
    /// what was saved, or that run is in quarantine; and those of a commit.
    pub fn fork(&self, id: &CheckpointId, run: &str) -> Result<()> {
        let run = RunName::new(run)?;
        self.store.commit(|plan| {
            let (place, record) = find(plan, id)?;
            let (_, bytes) = proven(plan, &place, &record)?;
            let key = run_key(&run);
            if plan.get(Table::Runs, &key)?.is_some() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("there is a run \"{run}\" already: choose another name"),
                ));
            }
            refuse_quarantined(plan, &run)?;
            let begun = begin_from(plan, record, bytes)?;
            plan.put(&key, &begun)
        })
    }

    /// What `retention` would let go of in a run now. Changes nothing.
    ///
    /// # Errors
    /// `Invalid` for a bad name; `Damaged` if a record is; `Poisoned`.
    pub fn plan(&self, run: &str, retention: Retention) -> Result<RetentionPlan> {
        let run = RunName::new(run)?;
        // The clock that is believed is known to plans alone.
        let now = self.store.commit(|plan| Ok(plan.believed()))?;
        let rows = self.store.read()?;
        let due = due(&*rows, &run, retention, now, usize::MAX)?;
        let mut counts = HashMap::new();
        let mut physical_bytes = 0;
        for due in &due {
            physical_bytes += due.row_bytes;
            if let Kept::Chunks(list) = &due.record.state
                && let Some(list) = ChunkList::from_bytes(&list.0)
            {
                for id in distinct(&list.chunks) {
                    let left = match counts.get(&id) {
                        Some(left) => *left,
                        None => referrers(&*rows, id)?,
                    };
                    if left == 1 {
                        let row = rows.get(Table::Contents, &chunk_key(id))?;
                        physical_bytes += row.map_or(0, |row| row.len() as u64);
                    }
                    counts.insert(id, left.saturating_sub(1));
                }
            }
        }
        Ok(RetentionPlan {
            going: due.iter().map(|due| due.record.id).collect(),
            staying: history_of(&*rows, &run)?.count.saturating_sub(due.len() as u64),
            logical_bytes: due.iter().map(|due| due.record.len).sum(),
            physical_bytes,
            places: due.iter().map(|due| due.place.sequence).collect(),
            run,
        })
    }

    /// Does what was planned, a few checkpoints a commit, so that no step waits long. What has been
    /// pinned since, or has become the newest of its run or the last one before an effect that is
    /// not settled, stays. When it returns, all of it is durable; a crash leaves some of it undone.
    ///
    /// # Errors
    /// `Damaged` if a record it needs is; and those of a commit. What was let go of before stays so.
    pub fn apply(&self, planned: &RetentionPlan) -> Result<Freed> {
        let mut left = planned.places.as_slice();
        let mut freed = Freed::default();
        while !left.is_empty() {
            let some = self.store.commit(|plan| remove_some(plan, &planned.run, &mut left))?;
            freed.checkpoints += some.checkpoints;
            freed.logical_bytes += some.logical_bytes;
            freed.physical_bytes += some.physical_bytes;
        }
        Ok(freed)
    }
}

/// The bytes that are named by pairs of digits; a last digit alone names none.
fn whole_bytes(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len() / 2).map_while(|nth| digits.get(2 * nth..2 * nth + 2));
    pairs.map_while(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

/// The smallest id behind this one, as bytes.
fn behind(id: &CheckpointId) -> Option<Vec<u8>> {
    let mut bytes = id.as_bytes().to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(more) = last.checked_add(1) {
            bytes.push(more);
            return Some(bytes);
        }
    }
    None
}

fn ambiguous(digits: &str, several: &[CheckpointId]) -> Error {
    let named: Vec<_> = several.iter().take(CANDIDATES).map(ToString::to_string).collect();
    let more = if several.len() > CANDIDATES { ", and more" } else { "" };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "several checkpoints have ids that begin with {digits}: {}{more}. Give more digits",
            named.join(", ")
        ),
    )
}

/// Every place of a checkpoint.
fn find_all(rows: &impl Read, id: &CheckpointId) -> Result<Vec<(Place, CheckpointRecord)>> {
    let mut found = Vec::new();
    for (key, _) in rows.scan(Table::Checkpoints, &ids_from(id.as_bytes()), &[], usize::MAX)? {
        found.push(at(rows, id, &key)?);
    }
    if found.is_empty() { Err(none(id)) } else { Ok(found) }
}

/// One place of a checkpoint.
fn find(rows: &impl Read, id: &CheckpointId) -> Result<(Place, CheckpointRecord)> {
    let line = rows.scan(Table::Checkpoints, &ids_from(id.as_bytes()), &[], 1)?.pop();
    at(rows, id, &line.ok_or_else(|| none(id))?.0)
}

/// A checkpoint with its state, proven by its id.
fn opened(rows: &impl Read, id: &CheckpointId) -> Result<Opened> {
    let (place, record) = find(rows, id)?;
    let (schema, bytes) = proven(rows, &place, &record)?;
    let state = Payload::from_parts(record.codec, bytes);
    Ok((Checkpoint::of(rows, place, record)?, schema, state))
}

fn at(rows: &impl Read, id: &CheckpointId, line: &[u8]) -> Result<(Place, CheckpointRecord)> {
    let place = place_of_id_key(line).map(|(_, place)| place);
    let record = place.as_ref().map(|place| record_at(rows, place)).transpose()?.flatten();
    place.zip(record).ok_or_else(|| {
        Error::damaged(format!(
            "the checkpoint {id} is in the index, and nowhere else. Nothing was changed; close the \
             store and run `repair` on it"
        ))
    })
}

fn none(id: &CheckpointId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no checkpoint {id}: {GONE}"))
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoints").finish_non_exhaustive()
    }
}
