//! What a store must hold, in ordered maps that nobody has to trust: no disk, no encoding, no threads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Versioned;

/// A store as it must be. [`apply`](Model::apply) does to it what [`Actor::apply`](super::Actor::apply)
/// does to a store, and [`Actor::check`](super::Actor::check) compares the two.
///
/// ```
/// use milepost::testing::{Actor, Model, Op, SimDisk, Step};
/// use milepost::{Clock, ManualClock, Options, Timestamp};
/// use std::sync::Arc;
///
/// let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
/// let disk = Arc::new(SimDisk::new());
/// let store = Options::new().clock(clock.clone()).create_on(disk.clone())?;
/// let (mut actor, mut model) = (Actor::new(store, clock.clone()), Model::new(clock.now()));
/// for op in [
///     Op::Step(0, Step { key: 1, position: 1, puts: vec![(7, 70)], ..Step::default() }),
///     Op::Claim(5),
/// ] {
///     assert_eq!(actor.apply(&op)?, model.apply(&op));
/// }
/// let options = Options::new().clock(clock.clone());
/// let after_a_kill = options.open_on(Arc::new(SimDisk::of(disk.live())))?;
/// assert_eq!(Actor::new(after_a_kill, clock).check(&model, &[2])?, None);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// By number.
    pub runs: BTreeMap<u8, RunModel>,
    /// By key; `None` for one that is open.
    pub claims: BTreeMap<u64, Option<u64>>,
    /// In the order in which they were emitted.
    pub intents: Vec<IntentModel>,
    /// The time, by the store's clock.
    pub now: Timestamp,
    /// How many checkpoints of a run its options let stay; `None` for all.
    pub keep_last: Option<usize>,
}

/// A run as it must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunModel {
    /// Its state.
    pub state: Tape,
    /// Its position; `None` before the first step.
    pub position: Option<u64>,
    /// How many steps it has made.
    pub steps: u64,
    /// The outcomes of the keys it has seen.
    pub keys: BTreeMap<u64, Seen>,
    /// Its rows.
    pub rows: BTreeMap<u64, u64>,
    /// Rows that were removed, and not written since.
    pub removed: BTreeSet<u64>,
    /// Its checkpoints, oldest first: after how many steps, and the state.
    pub checkpoints: Vec<(u64, Tape)>,
}

/// A key that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What the step answered.
    pub outcome: u64,
    /// When it may be forgotten.
    pub deadline: Option<Timestamp>,
}

/// An intent as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentModel {
    /// What is to be done.
    pub payload: u64,
    /// Whether it was refused; else it is still to be sent.
    pub is_rejected: bool,
}

/// A state that shows number, order and size of the steps that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tape {
    /// Changed by every step, so that another order of the same steps shows.
    pub sum: u64,
    /// The key of the last step.
    pub last: u64,
    /// Nothing but weight.
    pub weight: String,
}

impl Versioned for Tape {
    const NAME: &'static str = "tape";
    const VERSION: u32 = 1;
}

/// A [`Tape`] in another shape.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Reel {
    weight: Vec<u8>,
    last_and_sum: (u64, Option<u64>),
}

impl Versioned for Reel {
    const NAME: &'static str = "reel";
    const VERSION: u32 = 1;
}

impl Reel {
    pub(super) fn of(tape: Tape) -> Self {
        Self { weight: tape.weight.into_bytes(), last_and_sum: (tape.last, Some(tape.sum)) }
    }

    /// # Errors
    /// `Aborted` for a reel that was made of no tape.
    pub(super) fn into_tape(self) -> Result<Tape> {
        let weight = String::from_utf8(self.weight).map_err(Error::abort)?;
        let (last, sum) = self.last_and_sum;
        let sum = sum.ok_or_else(|| Error::abort("a reel without a sum"))?;
        Ok(Tape { sum, last, weight })
    }
}

impl Tape {
    pub(super) fn step(&mut self, step: &Step) -> u64 {
        self.sum = self.sum.wrapping_mul(31).wrapping_add(step.key);
        self.last = step.key;
        if let Some(len) = step.weight {
            self.weight = weight_of(step.key, len);
        }
        self.sum
    }
}

/// So many letters: no pattern that could be compressed, and every 4 KiB from one of 1,021 pieces, so that
/// other steps have pieces in common, in other places.
fn weight_of(key: u64, len: u32) -> String {
    let words = (0..len.div_ceil(8)).flat_map(|word| {
        let piece = key.wrapping_add(u64::from(word >> 9).wrapping_mul(7)) % 1_021;
        let mixed = ((piece << 9) | u64::from(word & 0x1ff)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        // Of 32 letters, from '@' on.
        ((mixed ^ (mixed >> 32)) & 0x1f1f_1f1f_1f1f_1f1f | 0x4040_4040_4040_4040).to_le_bytes()
    });
    let mut letters = String::from_utf8(words.collect()).unwrap_or_default();
    letters.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    letters
}

/// One thing that is done to a store. Each is one commit, except where it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// One step of a run.
    Step(u8, Step),
    /// Many steps of a run in one commit, by [`Run::batch`](crate::Run::batch).
    Batch(u8, Vec<Step>),
    /// Many steps of a run, submitted one after the other and waited for together: as many commits
    /// as the store makes of them. Each step stands or falls by itself, in order.
    Submit(u8, Vec<Step>),
    /// Moves the position of a run.
    Rewind(u8, u64),
    /// Claims a key. No commit if it is known.
    Claim(u64),
    /// Answers the claim of a key, by whoever holds it or by settling the doubt.
    Complete(u64, u64),
    /// Frees the key of a claim.
    Release(u64),
    /// Refuses the nth intent that was emitted, from 0.
    Reject(u64),
    /// Removes the nth checkpoint of a run, from 0, the oldest.
    Delete(u8, u64),
    /// Migrates all runs to another type, of which they are when they are next opened migrated back,
    /// run by run. Changes nothing of what they mean; as many commits as the store makes of it.
    Migrate,
    /// Lets so many milliseconds pass. No commit.
    Wait(u64),
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Its idempotency key.
    pub key: u64,
    /// Where the run stands behind it.
    pub position: u64,
    /// Rows it writes.
    pub puts: Vec<(u64, u64)>,
    /// Rows it removes, after those it writes.
    pub removes: Vec<u64>,
    /// The payloads of the intents it emits.
    pub emits: Vec<u64>,
    /// How long its key is remembered, in milliseconds; `None` for ever.
    pub ttl_ms: Option<u64>,
    /// Makes the state so many bytes heavy; `None` leaves it as it is.
    pub weight: Option<u32>,
    /// Whether it saves a checkpoint.
    pub saves: bool,
}

/// What came of an [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of each step: whether it ran just now, and its outcome.
    Steps(Vec<(bool, u64)>),
    /// The key was new, and is claimed now.
    Fresh,
    /// The key was answered before.
    Known(u64),
    /// The key is open: held by somebody, or in doubt.
    Open,
    /// Done.
    Done,
    /// The call was refused with an error of this kind, and nothing was changed.
    Refused(ErrorKind),
}

impl Model {
    /// An empty store, at this time.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now, ..Self::default() }
    }

    /// Does it, and says what a store must answer. A key whose time is over must not be used again:
    /// a store may have forgotten it, or not yet.
    pub fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Step(run, step) => self.steps(*run, std::slice::from_ref(step)),
            Op::Batch(run, steps) | Op::Submit(run, steps) => self.steps(*run, steps),
            Op::Rewind(run, to) => {
                self.runs.entry(*run).or_default().position = Some(*to);
                Answer::Done
            }
            Op::Claim(key) => match self.claims.get(key) {
                Some(Some(outcome)) => Answer::Known(*outcome),
                Some(None) => Answer::Open,
                None => {
                    self.claims.insert(*key, None);
                    Answer::Fresh
                }
            },
            Op::Complete(key, outcome) => match self.claims.get_mut(key) {
                Some(open @ None) => {
                    *open = Some(*outcome);
                    Answer::Done
                }
                _ => Answer::Refused(ErrorKind::Conflict),
            },
            Op::Release(key) => match self.claims.get(key) {
                Some(None) => {
                    self.claims.remove(key);
                    Answer::Done
                }
                _ => Answer::Refused(ErrorKind::Conflict),
            },
            Op::Reject(nth) => {
                let intent = usize::try_from(*nth).ok().and_then(|nth| self.intents.get_mut(nth));
                match intent {
                    Some(intent) if !intent.is_rejected => {
                        intent.is_rejected = true;
                        Answer::Done
                    }
                    Some(_) => Answer::Refused(ErrorKind::Conflict),
                    None => Answer::Refused(ErrorKind::NotFound),
                }
            }
            Op::Delete(run, nth) => {
                let checkpoints = self.runs.get_mut(run).map(|run| &mut run.checkpoints);
                match (checkpoints, usize::try_from(*nth)) {
                    (Some(checkpoints), Ok(nth)) if nth < checkpoints.len() => {
                        checkpoints.remove(nth);
                        Answer::Done
                    }
                    _ => Answer::Refused(ErrorKind::NotFound),
                }
            }
            Op::Migrate => Answer::Done,
            Op::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(*ms));
                Answer::Done
            }
        }
    }

    /// All of the steps, or, if one is refused, none.
    fn steps(&mut self, run: u8, steps: &[Step]) -> Answer {
        let mut draft = self.runs.get(&run).cloned().unwrap_or_default();
        let mut emitted = Vec::new();
        let mut done = Vec::new();
        for step in steps {
            match draft.step(step, self.now, self.keep_last) {
                Err(kind) => return Answer::Refused(kind),
                Ok((is_fresh, outcome)) => {
                    if is_fresh {
                        emitted.extend_from_slice(&step.emits);
                    }
                    done.push((is_fresh, outcome));
                }
            }
        }
        self.runs.insert(run, draft);
        let intent = |payload| IntentModel { payload, is_rejected: false };
        self.intents.extend(emitted.into_iter().map(intent));
        Answer::Steps(done)
    }
}

impl RunModel {
    fn step(
        &mut self,
        step: &Step,
        now: Timestamp,
        keep_last: Option<usize>,
    ) -> Result<(bool, u64), ErrorKind> {
        if let Some(seen) = self.keys.get(&step.key) {
            return Ok((false, seen.outcome));
        }
        if self.position.is_some_and(|position| step.position < position) {
            return Err(ErrorKind::Invalid);
        }
        let outcome = self.state.step(step);
        self.position = Some(step.position);
        self.steps += 1;
        for (row, value) in &step.puts {
            self.rows.insert(*row, *value);
            self.removed.remove(row);
        }
        for row in &step.removes {
            self.rows.remove(row);
            self.removed.insert(*row);
        }
        if step.saves {
            self.checkpoints.push((self.steps, self.state.clone()));
            let surplus = keep_last.map_or(0, |keep| self.checkpoints.len().saturating_sub(keep));
            self.checkpoints.drain(..surplus);
        }
        let deadline = step.ttl_ms.map(|ttl_ms| now.after(Duration::from_millis(ttl_ms)));
        self.keys.insert(step.key, Seen { outcome, deadline });
        Ok((true, outcome))
    }
}
