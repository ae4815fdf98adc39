//! Runs that come from elsewhere, as a program brings them: a whole run in one commit, or its
//! checkpoints one by one.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::arrive::{
    Arrival, Brings, Outcomes, bring_checkpoint, bring_key, bring_run, outcome_to_bring,
    was_brought,
};
use super::labels::Labels;
use super::values::Encoded;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::Versioned;
use crate::position::Position;
use crate::record::encode;
use crate::seq::COUNT_MAX;
use crate::store::{Hold, HoldKind, Store, View};

type OutcomesOf<'a> = Box<dyn Fn(&View<'_>, &mut Outcomes) -> Result<Vec<Encoded>> + 'a>;

impl Store {
    /// Begins to import a run that another program has worked on: its state, and by the calls of
    /// [`RunImport`] its position, its number of steps and the keys that it has seen. Nothing is
    /// written before [`RunImport::commit`].
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum { holdings: i64 }
    /// # impl milepost::Versioned for Momentum {
    /// #     const NAME: &'static str = "momentum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// let seen = ["bar-1", "bar-2"];
    /// let is_new = store
    ///     .import_run("spy-daily", &Momentum { holdings: 3 })
    ///     .position(2)
    ///     .steps(2)
    ///     .keys(&seen, |_key| ())
    ///     .commit()?;
    /// assert!(is_new);
    ///
    /// let mut run = store.run::<Momentum>("spy-daily")?;
    /// let done = run.step("bar-2", 2, |tx| Ok(tx.state.holdings += 1))?;
    /// assert!(!done.is_fresh());
    /// assert_eq!(run.state().holdings, 3);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn import_run<'a, S>(&self, run: &'a str, state: &'a S) -> RunImport<'a, S>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
    {
        RunImport {
            store: self.clone(),
            run,
            state,
            position: Position::Start,
            steps: 0,
            note: String::new(),
            keys: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// Begins to import checkpoints that another program has kept, as those of a run. The run cannot
    /// be opened in this process until what is returned is dropped. Nothing is written before
    /// [`CheckpointImport::add`].
    ///
    /// # Errors
    /// `Conflict` if the run is open in this process; `Invalid` for a bad name.
    pub fn import_checkpoints(&self, run: &str) -> Result<CheckpointImport> {
        let run = RunName::new(run)?;
        let hold = hold_run(self, &run)?;
        Ok(CheckpointImport { store: self.clone(), run, _hold: hold })
    }
}

/// A run on its way into a store: see [`Store::import_run`].
#[must_use = "nothing is written before `commit`"]
pub struct RunImport<'a, S> {
    store: Store,
    run: &'a str,
    state: &'a S,
    position: Position,
    steps: u64,
    note: String,
    keys: Vec<&'a [u8]>,
    outcomes: Vec<OutcomesOf<'a>>,
}

impl<'a, S> RunImport<'a, S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    /// The input that was done last. Without this call the run is at its start.
    pub fn position(mut self, position: impl Into<Position>) -> Self {
        self.position = position.into();
        self
    }

    /// How many steps the run has made: below 2⁶³. Without this call it has made none.
    pub fn steps(mut self, steps: u64) -> Self {
        self.steps = steps;
        self
    }

    /// Keys that the run has seen: a step with one of them is a duplicate, for ever, and answers with
    /// the outcome that `outcome` gives. To steps of another outcome type it is a `SchemaMismatch`,
    /// and still not done again. May be called once for each type of outcome.
    ///
    /// `outcome` is called by [`commit`](RunImport::commit), and not if the run was imported before.
    pub fn keys<K, R>(mut self, keys: &'a [K], outcome: impl Fn(&K) -> R + 'a) -> Self
    where
        K: AsRef<[u8]>,
        R: Serialize + DeserializeOwned + 'static,
    {
        let before = self.keys.len();
        self.keys.extend(keys.iter().map(AsRef::as_ref));
        self.outcomes.push(Box::new(move |view, schemas| {
            let encode = |(nth, key): (usize, &K)| {
                outcome_to_bring(view, schemas, &outcome(key))
                    .map_err(|error| of_key(before + nth, error))
            };
            keys.iter().enumerate().map(encode).collect()
        }));
        self
    }

    /// What the source has and a run has no place for: kept beside the run, and handed out by
    /// [`RunExport::note`](crate::RunExport::note).
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Writes all of it, in one commit, and says whether it did: `false` if the same was imported
    /// before, and then nothing is written. When this returns, all of it is durable; a crash before
    /// leaves all of it or nothing.
    ///
    /// # Errors
    /// `Conflict` if a run of that name has gone on since it was imported, was imported from
    /// something else, was not imported and has begun, or is open in this process; `Invalid` or
    /// `LimitExceeded` for a name, a key, an outcome or a state that cannot be stored, the number of
    /// a key counted from 1; `Damaged` if the run is in quarantine; those of a commit. Nothing was
    /// written then.
    pub fn commit(self) -> Result<bool> {
        let run = RunName::new(self.run)?;
        if self.steps >= COUNT_MAX {
            return Err(Error::invalid(format!(
                "the run \"{run}\" cannot have made {} steps: the most are {}",
                self.steps,
                COUNT_MAX - 1
            )));
        }
        let _hold = hold_run(&self.store, &run)?;
        let beside = (&self.position, self.steps, &self.note, &self.keys);
        let content = encode(&beside).map_err(|error| Error::invalid(error.to_string()))?;
        let view = self.store.view()?;
        let state = Brings::of(&view, self.state)?;
        let (mut outcomes, mut schemas) = (Vec::new(), Outcomes::default());
        if !was_brought(&view, &run)? {
            for of_list in &self.outcomes {
                outcomes.extend(of_list(&view, &mut schemas)?);
            }
        }
        let (is_new, joined) = view.join(|plan| {
            let arrival = Arrival {
                run: &run,
                position: self.position.clone(),
                steps: self.steps,
                content: &content,
                beside: self.note.clone(),
            };
            if !bring_run(plan, arrival, &state)? {
                return Ok(false);
            }
            debug_assert_eq!(
                self.keys.len(),
                outcomes.len(),
                "the run is held, so it is as it was"
            );
            for (nth, (key, outcome)) in self.keys.iter().zip(outcomes).enumerate() {
                bring_key(plan, &run, key, outcome).map_err(|error| of_key(nth, error))?;
            }
            Ok(true)
        })?;
        self.store.wait(joined)?;
        Ok(is_new)
    }
}

impl<S> fmt::Debug for RunImport<'_, S> {
    /// How much there is, never the state or the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunImport")
            .field("run", &self.run)
            .field("position", &self.position)
            .field("steps", &self.steps)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// Checkpoints on their way into a run: see [`Store::import_checkpoints`].
#[derive(Debug)]
pub struct CheckpointImport {
    store: Store,
    run: RunName,
    _hold: Hold,
}

impl CheckpointImport {
    /// Adds a checkpoint, as one more step of the run, and pins it: the program that kept it had no
    /// retention. `order` says which of the checkpoints is the newest: if it is not below those of all
    /// that were imported before, the run's own state becomes this one. `saved` is when it was made,
    /// now if that is not known; a moment to come is now. It is one commit, and durable when this
    /// returns.
    ///
    /// # Errors
    /// `Conflict` if the run has gone on since the last import, or was not imported and has begun;
    /// `Invalid` or `LimitExceeded` for labels or a state that cannot be stored; those of a commit.
    /// Nothing was written then.
    pub fn add<S>(
        &mut self,
        state: &S,
        labels: &Labels,
        order: &str,
        saved: Option<Timestamp>,
    ) -> Result<()>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
    {
        let view = self.store.view()?;
        let state = Brings::of(&view, state)?;
        let ((), joined) = view.join(|plan| {
            bring_checkpoint(plan, &self.run, &state, (labels, saved), order.to_owned())
        })?;
        self.store.wait(joined)
    }
}

fn of_key(nth: usize, error: Error) -> Error {
    error.context(format!("key number {}", nth + 1))
}

/// Keeps a run from being opened in this process while something is brought to it.
fn hold_run(store: &Store, run: &RunName) -> Result<Hold> {
    store.hold(HoldKind::Run, run.as_str().as_bytes())?.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!("the run \"{run}\" is open in this process: import before it is opened"),
        )
    })
}
