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
use super::on_damage::FellBack;
use super::pick_up::Picked;
use super::remove::forget_removed;
use super::rows::{Rows, row_value};
use super::saves::Saves;
use super::schema::Renewed;
use super::state;
use super::tx::Tx;
use super::values::Lasting;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::RunName;
use crate::ledger::{Key, RowRecord, RunRecord, Versioned, row_key, run_key};
use crate::position::{IntoPosition, Position};
use crate::record::Chunked;
use crate::store::{Hold, Joined, Pending, Read, Store, View};

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

impl<S> Run<S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    /// Does one unit of work: calls `work` with the state, unless the key was seen before, and
    /// commits the key with its outcome, the new position, the new state and whatever `work` asked
    /// for. When it returns `Ok`, all of that is durable. If the key was seen before, its stored
    /// outcome is returned; that is durable too.
    ///
    /// The position `()` leaves the position as it is.
    ///
    /// # Example: an input that counts once
    ///
    /// ```
    /// use milepost::{Done, Store, Versioned};
    ///
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Momentum {
    ///     bars: u64,
    /// }
    ///
    /// impl Versioned for Momentum {
    ///     const NAME: &'static str = "momentum";
    ///     const VERSION: u32 = 1;
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// let mut run = store.run::<Momentum>("spy-daily")?;
    /// for _ in 0..2 {
    ///     // The key is the bar's own name; 41 is its place in the feed.
    ///     let done = run.step("2026-02-16", 41, |tx| {
    ///         tx.state.bars += 1;
    ///         Ok(tx.state.bars)
    ///     })?;
    ///     assert_eq!(done.into_outcome(), 1);
    /// }
    /// assert_eq!((run.state().bars, run.next_index()), (1, 42));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Example: inputs without an order
    ///
    /// ```
    /// # use milepost::{Store, Versioned};
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Payments {
    /// #     cents: u64,
    /// # }
    /// # impl Versioned for Payments {
    /// #     const NAME: &'static str = "payments";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = Store::in_memory()?;
    /// let mut run = store.run::<Payments>("web-hooks")?;
    /// // A web hook is sent again until it is answered: its id is the key, and it has no position.
    /// for (event, cents) in [("evt_7", 500), ("evt_3", 200), ("evt_7", 500)] {
    ///     run.step(event, (), |tx| {
    ///         tx.state.cents += cents;
    ///         Ok(())
    ///     })?;
    /// }
    /// assert_eq!(run.state().cents, 700);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// Whatever `work` returned, most often `Aborted`; `Conflict` if the key was used for another
    /// request; `BeyondHorizon` if it may have been seen and forgotten; `Invalid` if the position
    /// would go back or a value cannot be stored; `Aborted` too if [`Versioned::validate`] refuses
    /// the new state; `LimitExceeded`; `Damaged` if a record it needs is; `SchemaMismatch` if the
    /// stored outcome is not an `R`. In all these cases nothing was written, and the state is as
    /// before. After `Uncertain`, `NoSpace`, `Io` or `Fenced` the handle is `Poisoned`: reopen the
    /// store. Should the type's own `Deserialize` refuse the state from before a failed step, this run
    /// is `Poisoned`: open it again.
    pub fn step<R: Serialize + DeserializeOwned + 'static>(
        &mut self,
        key: impl Into<Key>,
        position: impl IntoPosition,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Done<R>> {
        let (key, position) = (key.into(), position.into_position());
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
        position: impl IntoPosition,
        work: impl FnOnce(&mut Tx<'_, S>) -> Result<R>,
    ) -> Result<Pending<Done<R>>> {
        let (key, position) = (key.into(), position.into_position());
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
    pub fn batch<R: Serialize + DeserializeOwned + 'static, K: Into<Key>, P: IntoPosition, I>(
        &mut self,
        items: impl IntoIterator<Item = (K, P, I)>,
        mut work: impl FnMut(&mut Tx<'_, S>, I) -> Result<R>,
    ) -> Result<Vec<Done<R>>> {
        let store = self.store.clone();
        let (done, joined) = self.draft(store.view()?, |draft, view| {
            items
                .into_iter()
                .map(|(key, position, item)| {
                    draft.step(view, &key.into(), position.into_position(), |tx| work(tx, item))
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
    pub(super) fn of(
        store: &Store,
        name: RunName,
        picked: Picked<S>,
        saves: Saves,
        hold: Hold,
    ) -> Self {
        let Picked { record, state, large, renewed, fell_back } = picked;
        let (store, state) = (store.clone(), Kept::new(state));
        Self {
            store,
            name,
            record,
            state,
            large,
            renewed,
            fell_back,
            saves,
            outcomes: None,
            _hold: hold,
        }
    }

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

    /// Rows of your own whose keys begin with `prefix`, in the order of their keys, as the last durable
    /// step left them. The rows are those of one moment, however long they are read; until they are
    /// dropped, the store cannot be compacted. Reads 64 at a time: `take` a few of many, and continue
    /// [`after`](Rows::after) the last one.
    ///
    /// # Example: a page of many rows, and the next one
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Desk;
    /// # impl milepost::Versioned for Desk {
    /// #     const NAME: &'static str = "desk";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// # let mut run = store.run::<Desk>("desk")?;
    /// # run.step("fill", 0, |tx| (1..=5u64).try_for_each(|n| tx.put(format!("fill/{n}"), &n)))?;
    /// let page = run.rows::<u64>("fill/").take(2).collect::<milepost::Result<Vec<_>>>()?;
    /// assert_eq!(page, [(b"fill/1".to_vec(), 1), (b"fill/2".to_vec(), 2)]);
    /// let next = run.rows::<u64>("fill/").after("fill/2").next().transpose()?;
    /// assert_eq!(next, Some((b"fill/3".to_vec(), 3)));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Tx::rows`], and `Poisoned`.
    pub fn rows<T>(&self, prefix: impl AsRef<[u8]>) -> Rows<'_, T>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        Rows::durable(&self.store, &self.name, prefix.as_ref())
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
