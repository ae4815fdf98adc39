//! A run as the plan will leave it: every step of the plan, and what is written when it is whole.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::history::{Moment, newest, save, unless_damaged};
use super::labels::Labels;
use super::retain::sweep;
use super::saves::{Last, Saves};
use super::seen::{check_life, refuse_beyond_horizon, repeated, settle_key};
use super::state::{self, Stored};
use super::tx::{Tx, check_key, store_value};
use super::valid::{cut_valid, write_valid};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{Key, KeyRecord, RunRecord, Versioned, run_key, step_key};
use crate::position::Position;
use crate::record::{Chunked, Proven};
use crate::store::{Plan, Read, Retention};

/// The run as the plan will leave it.
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
    /// The state as this plan has written it, and after how many steps.
    written: Option<(u64, Stored)>,
    saves: Saves,
    retention: Retention,
}

impl<S> Draft<S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
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
            written: None,
            saves: saves.clone(),
            retention: saves.retention.unwrap_or(retention),
        }
    }

    pub(super) fn step<R: Serialize + DeserializeOwned>(
        &mut self,
        plan: &mut Plan<'_>,
        key: &Key,
        position: Position,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Done<R>> {
        check_key(plan, &key.bytes)?;
        check_life(key)?;
        let row = step_key(&self.name, &key.bytes);
        if let Some(record) = plan.record::<KeyRecord>(&row)? {
            return repeated(&record, key, &row);
        }
        refuse_beyond_horizon(plan, key, &row)?;
        let position = self.position.advance(position)?;
        let state = self.state.take().ok_or_else(without_state)?;
        let mut tx = Tx::new(plan, &self.name, state);
        // The state comes back from a closure that panics too: the run is never without one.
        let worked = catch_unwind(AssertUnwindSafe(|| work(&mut tx)));
        let (state, mut wants) = tx.into_parts();
        self.state = Some(state);
        let outcome = worked.unwrap_or_else(|panic| resume_unwind(panic))?;
        let labels = wants.checkpoint.take();
        wants.write(plan)?;
        settle_key(plan, &row, key, store_value(plan, &outcome)?)?;
        self.position = position;
        self.steps = self.steps.checked_add(1).ok_or_else(|| {
            Error::damaged(format!(
                "the run \"{}\" has made {} steps, which no run can: its record is damaged. \
                 Nothing was written",
                self.name, self.steps
            ))
        })?;
        self.checkpoint(plan, labels)?;
        Ok(Done::Fresh(outcome))
    }

    /// Saves the checkpoint that the step asked for, or the one that is due.
    fn checkpoint(&mut self, plan: &mut Plan<'_>, asked: Option<Labels>) -> Result<()> {
        let automatic = asked.is_none();
        if automatic && self.saves.autosave.is_none() {
            return Ok(());
        }
        if self.saves.last.is_none() {
            let last = unless_damaged(newest(plan, &self.name))?;
            // One of more steps is from before the run was damaged, and began anew.
            let last = last.filter(|(_, record)| record.steps < self.steps);
            let last = last.map(|(_, record)| Last { steps: record.steps, at: record.at });
            self.saves.last = Some(last.unwrap_or(self.saves.begun));
        }
        let Some(labels) = asked.or_else(|| self.saves.due(self.steps, plan.now())) else {
            return Ok(());
        };
        let stored = self.write(plan)?;
        let moment = Moment {
            run: &self.name,
            schema: self.schema,
            position: &self.position,
            steps: self.steps,
            labels: &labels,
            automatic,
            at: None,
        };
        save(plan, &moment, &stored)?;
        sweep(plan, &self.name, self.retention)?;
        self.written = Some((self.steps, stored));
        self.saves.last = Some(Last { steps: self.steps, at: plan.now() });
        Ok(())
    }

    /// The state as it is now, written unless this plan has done so already.
    fn write(&mut self, plan: &mut Plan<'_>) -> Result<Stored> {
        if let Some((steps, stored)) = self.written.take()
            && steps == self.steps
        {
            return Ok(stored);
        }
        let of_run =
            |error: Error| error.context(format!("the state of the run \"{}\"", self.name));
        let state = self.state.as_ref().ok_or_else(without_state)?;
        let stored = if let Some(before) = &self.large {
            let proof = self.saves.proof();
            let state = cut_valid(plan, state, before, proof).map_err(of_run)?;
            self.another = None;
            state::write_cut(plan, Some(before), state)?
        } else {
            let Proven { bytes, back } = write_valid(plan, state).map_err(of_run)?;
            let stored = state::write(plan, None, bytes)?;
            self.another = stored.large.is_none().then_some(back);
            stored
        };
        self.large.clone_from(&stored.large);
        Ok(stored)
    }

    /// Writes the run once, however many steps the plan has; what it is then, and what is written of
    /// it, if there was a step at all.
    pub(super) fn finish(
        &mut self,
        plan: &mut Plan<'_>,
        before: &RunRecord,
    ) -> Result<Option<Written<S>>> {
        if self.steps == before.steps {
            return Ok(None);
        }
        let Stored { row, large } = self.write(plan)?;
        let record = RunRecord {
            position: self.position.clone(),
            steps: self.steps,
            schema: self.schema,
            state: row,
            epoch: plan.epoch(),
            recovery_attempts: 0,
            created: before.created,
            changed: plan.now(),
        };
        plan.put(&run_key(&self.name), &record)?;
        let (another, saves) = (self.another.take(), self.saves.clone());
        Ok(Some(Written { record, large, another, saves }))
    }
}

/// A run as a plan has written it.
pub(super) struct Written<S> {
    pub(super) record: RunRecord,
    pub(super) large: Option<Arc<Chunked>>,
    /// What was read from the state as it was written, if it is small.
    pub(super) another: Option<S>,
    pub(super) saves: Saves,
}

/// Said where a closure kept the state that it was lent.
pub(super) fn without_state() -> Error {
    Error::new(
        ErrorKind::Poisoned,
        "the state of the run is not in memory: drop this handle and open the run again. Nothing was \
         written",
    )
}
