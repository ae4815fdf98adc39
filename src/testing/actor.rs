//! Does to a store what is done to the model, and compares the two.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::{Answer, Model, Op, Reel, RunModel, Seen, Step, Tape};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Key;
use crate::position::Position;
use crate::step::{
    Checkpoint, CheckpointFilter, Claim, Claimed, Done, IntentState, Labels, Migrations, Run, Tx,
};
use crate::store::{Pending, Store};
use crate::topic::Topic;

const TOPIC: Topic<u64, u64> = Topic::new("orders");
const SCOPE: &str = "calls";

/// How many known keys are asked for in one call.
const KEYS_AT_ONCE: usize = 4_096;

/// Somebody who works on a store as an [`Op`] says. It keeps its runs and its claims open.
#[derive(Debug)]
pub struct Actor {
    /// Runs and claims are let go of before the store.
    runs: BTreeMap<u8, Run<Tape>>,
    claims: BTreeMap<u64, Claim<u64>>,
    store: Store,
    clock: ManualClock,
}

impl Actor {
    /// Works on this store, which has this clock.
    #[must_use]
    pub fn new(store: Store, clock: ManualClock) -> Self {
        Self { runs: BTreeMap::new(), claims: BTreeMap::new(), store, clock }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends in order.
    ///
    /// # Errors
    /// Those of [`Store::close`].
    pub fn close(self) -> Result<()> {
        let Self { runs, claims, store, .. } = self;
        drop((runs, claims));
        store.close()
    }

    /// Opens a run, if it is not open yet: a commit of its own, of which the model knows nothing.
    ///
    /// # Errors
    /// Those of [`Store::run`].
    pub fn open_run(&mut self, number: u8) -> Result<&mut Run<Tape>> {
        use std::collections::btree_map::Entry;
        match self.runs.entry(number) {
            Entry::Occupied(run) => Ok(run.into_mut()),
            Entry::Vacant(place) => {
                let back = Migrations::new().step(Reel::into_tape);
                let name = run_name(number);
                let run = self.store.open_run(&name).init(Tape::default).migrations(&back);
                Ok(place.insert(run.open()?))
            }
        }
    }

    /// Does it, and says what the store answered. A refusal that the model foresees is an answer; an
    /// error is one of the store's own.
    ///
    /// # Errors
    /// Those of the call, but for `Invalid`, `Conflict` and `NotFound`.
    pub fn apply(&mut self, op: &Op) -> Result<Answer> {
        self.perform(op).or_else(|error| match error.kind() {
            kind @ (ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::NotFound) => {
                Ok(Answer::Refused(kind))
            }
            _ => Err(error),
        })
    }

    fn perform(&mut self, op: &Op) -> Result<Answer> {
        match op {
            Op::Step(run, step) => {
                let done =
                    self.open_run(*run)?.step(key_of(step), step.position, |tx| work(tx, step))?;
                Ok(Answer::Steps(vec![told(done)]))
            }
            Op::Batch(run, steps) => {
                let items = steps.iter().map(|step| (key_of(step), step.position, step));
                let done = self.open_run(*run)?.batch(items, work)?;
                Ok(Answer::Steps(done.into_iter().map(told).collect()))
            }
            Op::Submit(run, steps) => self.submit_all(*run, steps),
            Op::Rewind(run, to) => self.open_run(*run)?.rewind(*to).map(|()| Answer::Done),
            Op::Claim(key) => self.claim(*key),
            Op::Complete(key, outcome) => match self.claims.remove(key) {
                Some(claim) => claim.complete(outcome).map(|()| Answer::Done),
                None => match self.ask(*key)? {
                    Claimed::InDoubt(doubt) => doubt.confirm(outcome).map(|()| Answer::Done),
                    _ => Ok(Answer::Refused(ErrorKind::Conflict)),
                },
            },
            Op::Release(key) => match self.claims.remove(key) {
                Some(claim) => claim.release().map(|()| Answer::Done),
                None => match self.ask(*key)? {
                    Claimed::InDoubt(doubt) => doubt.release().map(|()| Answer::Done),
                    _ => Ok(Answer::Refused(ErrorKind::Conflict)),
                },
            },
            Op::Reject(nth) => self.reject(*nth),
            Op::Delete(run, nth) => self.delete(*run, *nth),
            Op::Migrate => {
                self.runs.clear();
                let forth = Migrations::new().step(|tape: Tape| Ok(Reel::of(tape)));
                self.store.migrate(&forth).run().map(|_| Answer::Done)
            }
            Op::Wait(ms) => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok(Answer::Done)
            }
        }
    }

    /// Submits one step: the [`Pending`] says when it is durable.
    ///
    /// # Errors
    /// Those of [`Run::submit`].
    pub fn submit(&mut self, run: u8, step: &Step) -> Result<Pending<Done<u64>>> {
        self.open_run(run)?.submit(key_of(step), step.position, |tx| work(tx, step))
    }

    fn submit_all(&mut self, run: u8, steps: &[Step]) -> Result<Answer> {
        let pending: Result<Vec<_>> = steps.iter().map(|step| self.submit(run, step)).collect();
        let done: Result<Vec<_>> =
            pending?.into_iter().map(|pending| pending.wait().map(told)).collect();
        done.map(Answer::Steps)
    }

    /// Asks for a key in a way that leaves nothing: a claim that turns out fresh is let go of, and is
    /// then in doubt, so this is only for keys that are known.
    fn ask(&self, key: u64) -> Result<Claimed<u64>> {
        self.store.claim(SCOPE, key.to_string(), &key)
    }

    fn claim(&mut self, key: u64) -> Result<Answer> {
        Ok(match self.ask(key)? {
            Claimed::Fresh(claim) => {
                self.claims.insert(key, claim);
                Answer::Fresh
            }
            Claimed::Done(outcome) => Answer::Known(outcome),
            Claimed::InDoubt(_) | Claimed::InFlight { .. } => Answer::Open,
            Claimed::OtherShape(_) => Answer::Refused(ErrorKind::Conflict),
        })
    }

    fn reject(&self, nth: u64) -> Result<Answer> {
        let intents = self.store.intents();
        let mut all = intents.outstanding(&TOPIC, usize::MAX)?;
        all.extend(intents.settled(&TOPIC, usize::MAX)?);
        all.sort_by(|one, two| one.id.cmp(&two.id));
        let Some(intent) = usize::try_from(nth).ok().and_then(|nth| all.get(nth)) else {
            return Ok(Answer::Refused(ErrorKind::NotFound));
        };
        intents.reject(&intent.id, "by the model").map(|()| Answer::Done)
    }

    fn delete(&self, run: u8, nth: u64) -> Result<Answer> {
        let saved = self.checkpoints(run)?;
        let Some(found) = usize::try_from(nth).ok().and_then(|nth| saved.get(nth)) else {
            return Ok(Answer::Refused(ErrorKind::NotFound));
        };
        self.store.checkpoints().delete(&found.id).map(|()| Answer::Done)
    }

    /// The checkpoints of a run, oldest first.
    fn checkpoints(&self, run: u8) -> Result<Vec<Checkpoint>> {
        let filter = CheckpointFilter::new().run(run_name(run)).page(usize::MAX);
        let mut saved = self.store.checkpoints().list(&filter)?.checkpoints;
        saved.reverse();
        Ok(saved)
    }

    fn check_checkpoints(&self, number: u8, expected: &RunModel) -> Result<Option<String>> {
        let saved = self.checkpoints(number)?;
        if saved.len() != expected.checkpoints.len() {
            let (found, expected) = (saved.len(), expected.checkpoints.len());
            return Ok(Some(format!("{found} checkpoints, not {expected}")));
        }
        for (found, (steps, state)) in saved.iter().zip(&expected.checkpoints) {
            let is_same = self.store.checkpoints().load::<Tape>(&found.id)? == *state;
            if found.steps != *steps || !is_same {
                return Ok(Some(format!("another checkpoint after {steps} steps")));
            }
        }
        Ok(None)
    }

    /// Asks the store for everything that the model knows: the first difference, if there is one.
    /// `absent` are keys that must be new to the first run. Nothing of the answers changes by it; a
    /// commit or two pass.
    ///
    /// # Errors
    /// Those of the questions.
    pub fn check(&mut self, model: &Model, absent: &[u64]) -> Result<Option<String>> {
        for (number, expected) in &model.runs {
            let differs = match self.check_run(*number, expected)? {
                None => self.check_checkpoints(*number, expected)?,
                differs => differs,
            };
            if let Some(what) = differs {
                return Ok(Some(format!("run {number}: {what}")));
            }
        }
        for key in absent {
            if self.open_run(0).and_then(|run| outcome_of(run, *key))?.is_some() {
                return Ok(Some(format!("key {key} is known, and was never used")));
            }
        }
        if let Some(what) = self.check_intents(model)? {
            return Ok(Some(what));
        }
        self.check_claims(model)
    }

    fn check_run(&mut self, number: u8, expected: &RunModel) -> Result<Option<String>> {
        let now = self.clock.now();
        let run = self.open_run(number)?;
        if run.steps() != expected.steps {
            return Ok(Some(format!("{} steps, not {}", run.steps(), expected.steps)));
        }
        if *run.state() != expected.state {
            return Ok(Some("another state".to_owned()));
        }
        if run.position().index() != expected.position {
            return Ok(Some(format!("at {:?}, not {:?}", run.position(), expected.position)));
        }
        for (row, value) in &expected.rows {
            let found = run.get::<u64>(row.to_be_bytes())?;
            if found != Some(*value) {
                return Ok(Some(format!("row {row} is {found:?}, not {value}")));
            }
        }
        for row in &expected.removed {
            if run.get::<u64>(row.to_be_bytes())?.is_some() {
                return Ok(Some(format!("row {row} is there, and was removed")));
            }
        }
        check_keys(run, expected, now)
    }

    fn check_intents(&self, model: &Model) -> Result<Option<String>> {
        let intents = self.store.intents();
        let mut all = intents.outstanding(&TOPIC, usize::MAX)?;
        all.extend(intents.settled(&TOPIC, usize::MAX)?);
        all.sort_by(|one, two| one.id.cmp(&two.id));
        if all.len() != model.intents.len() {
            return Ok(Some(format!("{} intents, not {}", all.len(), model.intents.len())));
        }
        for (found, expected) in all.iter().zip(&model.intents) {
            let is_rejected = matches!(found.state, IntentState::Rejected { .. });
            let is_prepared = matches!(found.state, IntentState::Prepared);
            if is_rejected != expected.is_rejected || is_prepared == expected.is_rejected {
                return Ok(Some(format!("the intent {} is {:?}", found.id, found.state)));
            }
            let whole = self.store.intent(&TOPIC, &found.id)?;
            if whole.map(|intent| intent.payload) != Some(expected.payload) {
                return Ok(Some(format!("the intent {} asks for something else", found.id)));
            }
        }
        Ok(None)
    }

    /// First those in doubt, by a question that leaves nothing: asking for a key that is new would
    /// claim it.
    fn check_claims(&self, model: &Model) -> Result<Option<String>> {
        let is_free = |key: &u64| !self.claims.contains_key(key);
        let open = model.claims.iter().filter(|(key, it)| it.is_none() && is_free(key));
        let expected: BTreeSet<Vec<u8>> =
            open.map(|(key, _)| key.to_string().into_bytes()).collect();
        let found = self.store.recovery()?.claims_in_doubt;
        let found: BTreeSet<Vec<u8>> = found.into_iter().map(|(_, key)| key).collect();
        if found != expected {
            return Ok(Some(format!("{} claims in doubt, not {}", found.len(), expected.len())));
        }
        for (key, expected) in &model.claims {
            let right = match (self.ask(*key)?, expected) {
                (Claimed::Done(found), Some(outcome)) => found == *outcome,
                (Claimed::InDoubt(_), None) => is_free(key),
                (Claimed::InFlight { .. }, None) => !is_free(key),
                _ => false,
            };
            if !right {
                return Ok(Some(format!("the claim {key} is not {expected:?}")));
            }
        }
        Ok(None)
    }
}

/// The known keys all at once; those whose time is over one by one, since they may be forgotten.
fn check_keys(run: &mut Run<Tape>, expected: &RunModel, now: Timestamp) -> Result<Option<String>> {
    let is_over = |seen: &Seen| seen.deadline.is_some_and(|deadline| deadline <= now);
    let (over, known): (Vec<_>, Vec<_>) = expected.keys.iter().partition(|(_, seen)| is_over(seen));
    for known in known.chunks(KEYS_AT_ONCE) {
        let items = known.iter().map(|(key, _)| (key_bytes(**key), u64::MAX, ()));
        let found = match run.batch(items, |_, ()| -> Result<u64> { Err(is_new()) }) {
            Err(error) if error.kind() == ErrorKind::Aborted => {
                return Ok(Some("a key that was used is new".to_owned()));
            }
            found => found?,
        };
        let wrong = found.into_iter().zip(known).find(|(done, (_, seen))| {
            !matches!(done, Done::Duplicate(outcome) if *outcome == seen.outcome)
        });
        if let Some((done, (key, seen))) = wrong {
            return Ok(Some(format!("key {key} answers {done:?}, not {}", seen.outcome)));
        }
    }
    for (key, seen) in over {
        let found = outcome_of(run, *key)?;
        if found.is_some_and(|found| found != seen.outcome) {
            return Ok(Some(format!("key {key} answers {found:?}, not {}", seen.outcome)));
        }
    }
    Ok(None)
}

/// The outcome under a key, `None` if it is new. Changes nothing.
fn outcome_of(run: &mut Run<Tape>, key: u64) -> Result<Option<u64>> {
    let far = Position::Index(u64::MAX);
    match run.step(key_bytes(key), far, |_| -> Result<u64> { Err(is_new()) }) {
        Ok(done) => Ok(Some(done.into_outcome())),
        Err(error) if error.kind() == ErrorKind::Aborted => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_new() -> Error {
    Error::abort("it is new")
}

fn told(done: Done<u64>) -> (bool, u64) {
    (done.is_fresh(), done.into_outcome())
}

fn run_name(number: u8) -> String {
    format!("run-{number}")
}

fn key_bytes(key: u64) -> String {
    format!("key-{key:08}")
}

fn key_of(step: &Step) -> Key {
    let key = Key::new(key_bytes(step.key));
    match step.ttl_ms {
        Some(ttl_ms) => key.expires_after(Duration::from_millis(ttl_ms)),
        None => key,
    }
}

fn work(tx: &mut Tx<'_, Tape>, step: &Step) -> Result<u64> {
    for (row, value) in &step.puts {
        tx.put(row.to_be_bytes(), value)?;
    }
    for row in &step.removes {
        tx.remove(row.to_be_bytes())?;
    }
    for payload in &step.emits {
        tx.emit(&TOPIC, payload)?;
    }
    if step.saves {
        tx.checkpoint(Labels::new())?;
    }
    Ok(tx.state.step(step))
}
