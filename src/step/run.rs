//! The run and its step: one unit of work, one commit.
//!
//! The order inside a call carries the promise: the key is looked up before the closure is called,
//! so a repeat changes nothing; and key, position, state, intents and rows go into one write set, so
//! that a crash leaves all of them or none. Closures and whatever else is the user's code run before
//! the call joins the open group, under no lock: the run has one handle, so nothing of it changes in
//! between.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::draft::{Draft, Planned};
use super::ended;
use super::expire::forget_expired;
use super::kept::{Before, Kept, Undo};
use super::migrations::Migrations;
use super::on_damage::{FellBack, OnDamage};
use super::pick_up::{Picked, pick_up};
use super::remove::forget_removed;
use super::saves::{Autosave, Saves};
use super::schema::Renewed;
use super::state;
use super::tx::{Tx, row_value};
use super::values::Lasting;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{Key, RowRecord, RunRecord, Versioned, row_key, run_key};
use crate::position::Position;
use crate::record::Chunked;
use crate::store::{Hold, HoldKind, Joined, Pending, Read, Retention, Store, View};

/// A named stream of steps with one state and one position. One handle a run at a time.
pub struct Run<S> {
    store: Store,
    name: RunName,
    /// As last planned. Its payload is the state in bytes, from which a failed step is undone.
    record: RunRecord,
    state: Kept<S>,
    /// The state in bytes where the record has but the list of its chunks.
    large: Option<Arc<Chunked>>,
    /// The state as it was migrated when the run was opened, while it is stored as it was before.
    renewed: Option<Renewed>,
    fell_back: Option<FellBack>,
    saves: Saves,
    outcomes: Option<Lasting>,
    _hold: Hold,
}

impl Store {
    /// Opens a run: with its newest state and position, or from the start with `S::default()` if
    /// there is none of that name. When it returns, it is durable that this epoch picked it up.
    ///
    /// # Errors
    /// `Conflict` if this process has the run open already; `SchemaMismatch` if the state was
    /// written as another type, an older version, or with other fields under the same version, which
    /// the error names; `TooNew` if as a newer one; `Invalid` if the type cannot be stored;
    /// `Aborted` if [`Versioned::validate`] refuses the state; `Damaged` if its bytes are not what
    /// was written. Nothing was changed then.
    pub fn run<S>(&self, name: &str) -> Result<Run<S>>
    where
        S: Versioned + Serialize + DeserializeOwned + Default + 'static,
    {
        self.run_with(name, &Migrations::new())
    }

    /// Opens a run like [`run`](Store::run), and migrates its state if it is of an older version.
    /// The migrated state is written with the next step, or with [`Run::rewind`]; until then the run
    /// is stored as it was, and the older program can still open it.
    ///
    /// # Errors
    /// Those of [`run`](Store::run), of which `SchemaMismatch` names the step that is missing, and
    /// `Aborted` is also what a migration that fails or panics ends with; `Invalid` if the steps
    /// branch, or go round in a circle. Nothing was changed then.
    pub fn run_with<S>(&self, name: &str, migrations: &Migrations) -> Result<Run<S>>
    where
        S: Versioned + Serialize + DeserializeOwned + Default + 'static,
    {
        self.run_after_damage(name, OnDamage::Fail, migrations)
    }

    /// Opens a run like [`run_with`](Store::run_with), and if its record was damaged, and a repair put
    /// it into quarantine, does what was asked for. [`Run::fell_back`] says what came of it. When it
    /// returns, that is durable; the damaged record stays in quarantine. If the run has emitted effects
    /// that its state does not know then, nothing is sent or claimed before [`Store::reconcile`] was
    /// called.
    ///
    /// # Errors
    /// Those of [`run_with`](Store::run_with). `Damaged` too if no checkpoint to fall back on is whole.
    /// A record that is damaged where it stands is `Damaged` whatever was asked for: close the store
    /// and run [`repair`](crate::repair) on it first.
    pub fn run_after_damage<S>(
        &self,
        name: &str,
        on_damage: OnDamage,
        migrations: &Migrations,
    ) -> Result<Run<S>>
    where
        S: Versioned + Serialize + DeserializeOwned + Default + 'static,
    {
        let name = RunName::new(name)?;
        let hold = self.hold(HoldKind::Run, name.as_str().as_bytes())?.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!("the run \"{name}\" is open in this process already: use that handle"),
            )
        })?;
        let Picked { record, state, large, renewed, fell_back } =
            pick_up::<S>(self, &name, on_damage, migrations)?;
        let saves = Saves::new(record.created);
        let store = self.clone();
        Ok(Run {
            store,
            name,
            record,
            state: Kept::new(state),
            large,
            renewed,
            fell_back,
            saves,
            outcomes: None,
            _hold: hold,
        })
    }
}

impl<S> Run<S>
where
    S: Versioned + Serialize + DeserializeOwned + Default + 'static,
{
    /// Does one unit of work: calls `work` with the state, unless the key was seen before, and
    /// commits the key with its outcome, the new position, the new state and whatever `work` asked
    /// for. When it returns `Ok`, all of that is durable; when the key was seen before, that of then
    /// is.
    ///
    /// # Errors
    /// Whatever `work` returned, most often `Aborted`; `Conflict` if the key was used for another
    /// request; `BeyondHorizon` if it may have been seen and forgotten; `Invalid` if the position would go back or a value cannot be stored;
    /// `Aborted` too if [`Versioned::validate`] refuses the new state; `LimitExceeded`; `Damaged` if a record it needs is; `SchemaMismatch` if the stored outcome is
    /// not an `R`. In all these cases nothing was written, and the state is as before. After
    /// `Uncertain`, `NoSpace`, `Io` or `Fenced` the handle is `Poisoned`: reopen the store. Should the
    /// type's own `Deserialize` refuse the state from before a failed step, this run is `Poisoned`: open
    /// it again.
    pub fn step<R: Serialize + DeserializeOwned + 'static>(
        &mut self,
        key: impl Into<Key>,
        position: impl Into<Position>,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Done<R>> {
        let (key, position) = (key.into(), position.into());
        let store = self.store.clone();
        let (done, joined) =
            self.draft(store.view()?, |draft, view| draft.step(view, &key, position, work))?;
        store.wait(joined)?;
        Ok(done)
    }

    /// Like [`step`](Run::step), but returns when the step is planned, not when it is durable: the
    /// [`Pending`] says when it is. So one caller can have many steps on their way to the disk. They
    /// become durable in the order in which they were submitted; [`state`](Run::state) and
    /// [`position`](Run::position) are those of the last one submitted. Waits when
    /// [`Options::in_flight`](crate::Options::in_flight) is used up.
    ///
    /// # Errors
    /// Those of [`step`](Run::step) that refuse it; those of the commit come from the `Pending`.
    pub fn submit<R: Serialize + DeserializeOwned + 'static>(
        &mut self,
        key: impl Into<Key>,
        position: impl Into<Position>,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Pending<Done<R>>> {
        let (key, position) = (key.into(), position.into());
        let store = self.store.clone();
        let (done, joined) = self
            .draft(store.view_to_submit()?, |draft, view| draft.step(view, &key, position, work))?;
        Ok(store.pending(done, joined))
    }

    /// Does many units of work in one commit: all of them, or none. Each item has its key, its
    /// position and what `work` needs for it.
    ///
    /// # Errors
    /// Those of [`step`](Run::step); the first one ends the batch, and nothing of it was written.
    pub fn batch<R: Serialize + DeserializeOwned + 'static, K: Into<Key>, P: Into<Position>, I>(
        &mut self,
        items: impl IntoIterator<Item = (K, P, I)>,
        mut work: impl FnMut(&mut Tx<'_, S>, I) -> Result<R>,
    ) -> Result<Vec<Done<R>>> {
        let store = self.store.clone();
        let (done, joined) = self.draft(store.view()?, |draft, view| {
            items
                .into_iter()
                .map(|(key, position, item)| {
                    draft.step(view, &key.into(), position.into(), |tx| work(tx, item))
                })
                .collect()
        })?;
        store.wait(joined)?;
        Ok(done)
    }

    /// Makes steps on a draft of the run, joins the open group with what they come to, and takes the
    /// draft over. If it ends before it has joined, the run is as it was.
    fn draft<T>(
        &mut self,
        view: View<'_>,
        steps: impl FnOnce(&mut Draft<S>, &View<'_>) -> Result<T>,
    ) -> Result<(T, Joined)> {
        self.state.check(&self.name)?;
        let before = Before {
            record: &self.record,
            large: self.large.as_deref(),
            renewed: self.renewed.as_ref(),
        };
        let retention = self.store.retention();
        let schema = self.renewed.as_ref().map_or(self.record.schema, |renewed| renewed.schema);
        let (state, large) = (self.state.lend(&self.name, before)?, self.large.clone());
        let mut draft =
            Draft::of(&self.name, &self.record, schema, state, large, &self.saves, retention);
        draft.outcomes = self.outcomes;
        let (done, planned, joined, another, saves);
        {
            let mut undo = Undo::of(&mut self.state, before, draft);
            done = steps(&mut undo.draft, &view)?;
            let ready = undo.draft.finish(&view, &self.record)?;
            (planned, joined) = match ready {
                None if !view.may_forget() => (None, view.only_read()),
                ready => view.join(|plan| {
                    forget_expired(plan)?;
                    forget_removed(plan)?;
                    ready.map(|ready| ready.write(plan)).transpose()
                })?,
            };
            (another, saves) = undo.draft.kept();
            self.outcomes = undo.draft.outcomes;
            undo.done();
        }
        if let Some(Planned { record, large }) = planned {
            (self.record, self.large, self.saves) = (record, large, saves);
            self.renewed = None;
            self.state.changed(another);
        }
        Ok((done, joined))
    }

    /// Moves the position anywhere, also back. Keys stay: what was done is still a duplicate, and a
    /// duplicate does not move the position on.
    ///
    /// # Errors
    /// Those of a commit; `Poisoned` as in [`step`](Run::step).
    pub fn rewind(&mut self, position: impl Into<Position>) -> Result<()> {
        self.state.check(&self.name)?;
        let mut record = self.record.clone();
        record.position = position.into();
        let large = self.store.commit(|plan| {
            let large = match &self.renewed {
                None => self.large.clone(),
                Some(Renewed { schema, state }) => {
                    plan.check_value(state.bytes().len())?;
                    let stored = state::write(plan, self.large.as_ref(), state.clone())?;
                    (record.schema, record.state) = (*schema, stored.row);
                    stored.large
                }
            };
            plan.put(&run_key(&self.name), &record)?;
            Ok(large)
        })?;
        (self.record, self.large, self.renewed) = (record, large, None);
        Ok(())
    }
}

impl<S> Run<S> {
    /// Says that the run is complete. It stays as it is for
    /// [`SettledRetention::runs_for`](crate::SettledRetention::runs_for), 90 days, and is then removed
    /// when other runs are ended, but for a note that keeps its name taken: opening it is
    /// `BeyondHorizon` then. While it has effects that are not settled, or a pinned checkpoint, it
    /// stays. A run that is opened again before is not ended any more. When this returns, it is
    /// durable.
    ///
    /// # Errors
    /// Those of a commit.
    pub fn end(self) -> Result<()> {
        self.store.commit(|plan| ended::end(plan, &self.name))
    }

    /// The state as of the last step, or the last one submitted. When a commit has failed, this is
    /// what it would have left: reopen the store to see what is durable.
    ///
    /// A step that fails leaves the state from before it, with one exception: when the state is
    /// over 64 KiB, and its `Deserialize` refuses or panics over bytes that it has read before. Then
    /// this is what the failed step made of it, nothing of which is stored, and every call that would
    /// go on from it is `Poisoned`.
    #[must_use]
    pub fn state(&self) -> &S {
        self.state.get()
    }

    /// How far the run is in its input.
    #[must_use]
    pub fn position(&self) -> &Position {
        &self.record.position
    }

    /// The number of the next input, for runs whose positions are numbers: 0 for a run that has made
    /// no step, 1 more than the last position otherwise.
    ///
    /// # Example: resume where the last process was killed
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Sum(u64);
    /// # impl milepost::Versioned for Sum {
    /// #     const NAME: &'static str = "sum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// let inputs = [3, 5, 8];
    /// let mut run = store.run::<Sum>("sum")?;
    /// for (index, input) in (0..).zip(inputs).skip(run.next_index() as usize) {
    ///     run.step(index, index, |tx| {
    ///         tx.state.0 += input;
    ///         Ok(())
    ///     })?;
    /// }
    /// assert_eq!((run.next_index(), run.state().0), (3, 16));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.record.position.next_index()
    }

    /// What the run goes on from, if its record was damaged and it was opened in spite of that.
    #[must_use]
    pub fn fell_back(&self) -> Option<&FellBack> {
        self.fell_back.as_ref()
    }

    /// How many steps the run has made, through all its life.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.record.steps
    }

    /// How often the run was picked up after a crash without having made a step since. A number
    /// that grows means that the next input kills the program.
    #[must_use]
    pub fn recovery_attempts(&self) -> u32 {
        self.record.recovery_attempts
    }

    /// When the run was begun.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// The run's name.
    #[must_use]
    pub fn name(&self) -> &RunName {
        &self.name
    }

    /// Saves a checkpoint every so often from now on, until this handle is dropped; the labels of
    /// the steps' own [`checkpoint`](Tx::checkpoint)s stay theirs.
    pub fn autosave(&mut self, autosave: Autosave) {
        self.saves.autosave = Some(autosave);
    }

    /// Keeps so many checkpoints of this run from now on, until this handle is dropped; see
    /// [`Options::retention`](crate::Options::retention).
    pub fn retention(&mut self, retention: Retention) {
        self.saves.retention = Some(retention);
    }

    /// A row of your own, as the last durable step left it.
    ///
    /// # Errors
    /// Those of [`Tx::get`], and `Poisoned`.
    pub fn get<T>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let key = row_key(&self.name, key.as_ref());
        let rows = self.store.read()?;
        let row = rows.record::<RowRecord>(&key)?;
        row.map(|row| row_value(&*rows, self.store.schemas(), &row, &key)).transpose()
    }
}

impl<S> fmt::Debug for Run<S> {
    /// Name, position and counts; never the state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("name", &self.name)
            .field("position", &self.record.position)
            .field("steps", &self.record.steps)
            .finish_non_exhaustive()
    }
}
