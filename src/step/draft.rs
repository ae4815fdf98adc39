//! A run as a call will leave it: the steps of the call, made before it joins the open group, and what
//! is written of them when it joins.
//!
//! Everything that calls code of the user's (closures, `Serialize`, `validate`) is in [`Draft`], which
//! has a [`View`] and no lock. [`Ready`] has bytes alone.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::expire::forgotten;
use super::history::{Moment, newest, save, unless_damaged};
use super::labels::Labels;
use super::retain::sweep;
use super::saves::{Last, Saves};
use super::seen::{Settled, check_life, refuse_beyond_horizon, repeated};
use super::state::{self, Stored};
use super::tx::{Tx, Wants, check_key};
use super::valid::{cut_valid, write_valid};
use super::values::{Lasting, Place, Schema, encode_under};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{Key, KeyRecord, RunRecord, Versioned, run_key, step_key};
use crate::position::Position;
use crate::record::{Chunked, Proven};
use crate::store::{Plan, Read, Retention, View, too_many_rows};

/// The run as the call will leave it.
pub(super) struct Draft<S> {
    name: RunName,
    /// Which schema the state is written under.
    schema: u32,
    /// `None` only while a closure has it, or if it never gave it back.
    pub(super) state: Option<S>,
    position: Position,
    steps: u64,
    /// The state as it was written last, if that was large.
    large: Option<Arc<Chunked>>,
    /// What was read from the state as it was written last, if that was small.
    another: Option<S>,
    wants: Wants,
    /// The type of the outcome of the last step, if its schema is durable: mostly the next one has it
    /// too.
    pub(super) outcomes: Option<Lasting>,
    settled: Vec<Settled>,
    /// Where among the settled keys a row is, from the second step on.
    places: HashMap<Vec<u8>, usize>,
    /// States that this call writes before its last one.
    earlier: Vec<Written>,
    written: Option<Written>,
    saves: Saves,
    retention: Retention,
}

/// A state that the call writes.
struct Written {
    /// After how many steps.
    steps: u64,
    before: Option<Arc<Chunked>>,
    stored: Stored,
    checkpoint: Option<Checkpoint>,
}

/// A checkpoint of a state that the call writes.
struct Checkpoint {
    number: u64,
    position: Position,
    labels: Labels,
    automatic: bool,
}

impl<S> Draft<S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    #[inline]
    pub(super) fn of(
        name: &RunName,
        record: &RunRecord,
        schema: u32,
        state: S,
        large: Option<Arc<Chunked>>,
        saves: &Saves,
        retention: Retention,
    ) -> Self {
        Self {
            name: name.clone(),
            schema,
            state: Some(state),
            position: record.position.clone(),
            steps: record.steps,
            large,
            another: None,
            wants: Wants::default(),
            outcomes: None,
            settled: Vec::new(),
            places: HashMap::new(),
            earlier: Vec::new(),
            written: None,
            saves: saves.clone(),
            retention: saves.retention.unwrap_or(retention),
        }
    }

    pub(super) fn step<R: Serialize + DeserializeOwned + 'static>(
        &mut self,
        view: &View<'_>,
        key: &Key,
        position: Option<Position>,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Done<R>> {
        check_key(view.limits(), &key.bytes)?;
        check_life(key)?;
        let row = step_key(&self.name, &key.bytes);
        if let Some(settled) = self.settled_at(&row) {
            return settled.repeated(view, key);
        }
        let mut horizon = view.horizon();
        if let Some(record) = view.record::<KeyRecord>(&row)? {
            match forgotten(view, &row, &record)? {
                None => return repeated(view, &record, key, &row),
                Some(up_to) => horizon = up_to,
            }
        }
        refuse_beyond_horizon(horizon, key, &row)?;
        let position = match position {
            Some(position) => self.position.advance(position)?,
            None => self.position.clone(),
        };
        // An outcome that cannot be stored is found out before the closure is called.
        let schema = self.schema_of_outcome::<R>(view)?;
        let state = self.state.take().ok_or_else(without_state)?;
        let mut tx = Tx::new(view, &self.name, state, std::mem::take(&mut self.wants));
        // The state comes back from a closure that panics too: the run is never without one.
        let worked = catch_unwind(AssertUnwindSafe(|| work(&mut tx)));
        let (state, wants) = tx.into_parts();
        (self.state, self.wants) = (Some(state), wants);
        let outcome = worked.unwrap_or_else(|panic| resume_unwind(panic))?;
        let labels = self.wants.checkpoint.take();
        self.settled.push(Settled::of(row, key, encode_under(view, schema, &outcome)?));
        self.check_rows(view)?;
        self.position = position;
        self.steps = self.steps.checked_add(1).ok_or_else(|| {
            Error::damaged(format!(
                "the run \"{}\" has made {} steps, which no run can: its record is damaged. \
                 Nothing was written",
                self.name, self.steps
            ))
        })?;
        self.checkpoint(view, labels)?;
        Ok(Done::Fresh(outcome))
    }

    fn schema_of_outcome<R: Serialize + DeserializeOwned + 'static>(
        &mut self,
        view: &View<'_>,
    ) -> Result<Schema> {
        if let Some(schema) = self.outcomes.as_ref().and_then(Lasting::of_type::<R>) {
            return Ok(schema);
        }
        let schema = self.wants.schemas.schema_of::<R>(view, view.schemas(), Place::Step)?;
        self.outcomes = Lasting::of::<R>(&schema, view.schemas(), Place::Step);
        Ok(schema)
    }

    /// The key among those that earlier steps of this call have settled.
    fn settled_at(&mut self, row: &[u8]) -> Option<&Settled> {
        for (place, settled) in self.settled.iter().enumerate().skip(self.places.len()) {
            self.places.insert(settled.row().to_vec(), place);
        }
        self.settled.get(*self.places.get(row)?)
    }

    /// Ends a batch that is too large before all of it was made; a plan counts its rows itself.
    fn check_rows(&self, view: &View<'_>) -> Result<()> {
        let limit = view.limits().rows_per_step;
        if self.settled.len() + self.wants.rows() > limit {
            return Err(too_many_rows(limit));
        }
        Ok(())
    }

    /// Saves the checkpoint that the step asked for, or the one that is due.
    fn checkpoint(&mut self, view: &View<'_>, asked: Option<Labels>) -> Result<()> {
        let automatic = asked.is_none();
        if automatic && self.saves.autosave.is_none() {
            return Ok(());
        }
        if self.saves.last.is_none() {
            let last = unless_damaged(newest(view, &self.name))?;
            // One of more steps is from before the run was damaged, and began anew.
            let last = last.filter(|(_, record)| record.steps < self.steps);
            let last = last.map(|(_, record)| Last { steps: record.steps, at: record.at });
            self.saves.last = Some(last.unwrap_or(self.saves.begun));
        }
        let Some(labels) = asked.or_else(|| self.saves.due(self.steps, view.now())) else {
            return Ok(());
        };
        let number = view.take_id_of(self.name.as_str().as_bytes())?;
        let position = self.position.clone();
        self.write(view, Some(Checkpoint { number, position, labels, automatic }))?;
        self.saves.last = Some(Last { steps: self.steps, at: view.now() });
        Ok(())
    }

    /// Writes the state as it is now.
    fn write(&mut self, view: &View<'_>, checkpoint: Option<Checkpoint>) -> Result<()> {
        let of_run =
            |error: Error| error.context(format!("the state of the run \"{}\"", self.name));
        let state = self.state.as_ref().ok_or_else(without_state)?;
        let stored = if let Some(before) = &self.large {
            let proof = self.saves.proof();
            let state = cut_valid(view, state, before, proof).map_err(of_run)?;
            self.another = None;
            state::ready_cut(state)
        } else {
            let Proven { bytes, back } = write_valid(view, state).map_err(of_run)?;
            let stored = state::ready(None, bytes);
            self.another = stored.large.is_none().then_some(back);
            stored
        };
        let before = std::mem::replace(&mut self.large, stored.large.clone());
        let written = Written { steps: self.steps, before, stored, checkpoint };
        self.earlier.extend(self.written.replace(written));
        Ok(())
    }

    /// Writes the run once, however many steps the call has: what is to be planned, if there was a
    /// step at all.
    pub(super) fn finish(&mut self, view: &View<'_>, before: &RunRecord) -> Result<Option<Ready>> {
        if self.steps == before.steps {
            return Ok(None);
        }
        if self.written.as_ref().is_none_or(|written| written.steps != self.steps) {
            self.write(view, None)?;
        }
        Ok(self.written.take().map(|written| Ready {
            run: self.name.clone(),
            schema: self.schema,
            position: self.position.clone(),
            created: before.created,
            wants: std::mem::take(&mut self.wants),
            settled: std::mem::take(&mut self.settled),
            earlier: std::mem::take(&mut self.earlier),
            written,
            retention: self.retention,
        }))
    }

    /// What the handle keeps beside the state when the call has joined: what was read from the state
    /// as it was written, if it is small, and what is to be saved next.
    pub(super) fn kept(&mut self) -> (Option<S>, Saves) {
        (self.another.take(), self.saves.clone())
    }
}

/// The steps of a call in bytes, as they are planned when it joins.
pub(super) struct Ready {
    run: RunName,
    schema: u32,
    position: Position,
    created: Timestamp,
    wants: Wants,
    settled: Vec<Settled>,
    earlier: Vec<Written>,
    written: Written,
    retention: Retention,
}

/// A run as a plan has written it.
pub(super) struct Planned {
    pub(super) record: RunRecord,
    pub(super) large: Option<Arc<Chunked>>,
}

impl Ready {
    pub(super) fn write(mut self, plan: &mut Plan<'_>) -> Result<Planned> {
        std::mem::take(&mut self.wants).write(plan)?;
        for settled in std::mem::take(&mut self.settled) {
            settled.write(plan)?;
        }
        for written in self.earlier.iter().chain([&self.written]) {
            self.write_state(plan, written)?;
        }
        let Written { steps, stored: Stored { row, large }, .. } = self.written;
        let record = RunRecord {
            position: self.position,
            steps,
            schema: self.schema,
            state: row,
            epoch: plan.epoch(),
            recovery_attempts: 0,
            created: self.created,
            changed: plan.now(),
        };
        plan.put(&run_key(&self.run), &record)?;
        Ok(Planned { record, large })
    }

    fn write_state(&self, plan: &mut Plan<'_>, written: &Written) -> Result<()> {
        state::replace(plan, written.before.as_ref(), &written.stored)?;
        let Some(checkpoint) = &written.checkpoint else { return Ok(()) };
        let moment = Moment {
            run: &self.run,
            schema: self.schema,
            position: &checkpoint.position,
            steps: written.steps,
            labels: &checkpoint.labels,
            automatic: checkpoint.automatic,
            at: None,
            number: Some(checkpoint.number),
        };
        save(plan, &moment, &written.stored)?;
        sweep(plan, &self.run, self.retention)
    }
}

/// Said where a closure kept the state that it was lent.
pub(super) fn without_state() -> Error {
    Error::new(
        ErrorKind::Poisoned,
        "the state of the run is not in memory: drop this handle and open the run again. Nothing was \
         written",
    )
}
