//! A short workload that is played again for every fault: open, work, close.

use std::sync::Arc;

use milepost::testing::{Actor, Fault, Model, Op, Platter, RunModel, SimDisk, Step};
use milepost::{Clock, Error, ManualClock};

use super::story::{BEGINNING, Mode, Story, told};

/// What is done to a store with a small history, and what it must hold after each call.
pub(crate) struct Script {
    /// The truth: chapter 0 is what stands in `base`.
    pub(crate) story: Story,
    /// A store that was closed in order.
    pub(crate) base: Platter,
    ops: Vec<Op>,
}

/// How a play ended.
pub(crate) struct End {
    /// How many calls were acknowledged.
    pub(crate) done: usize,
    /// The error that ended it, if there was one.
    pub(crate) error: Option<Error>,
    /// Whether that came from opening or closing: then no call is in doubt.
    pub(crate) at_the_door: bool,
    /// Who was at it, for what is to be asked after an error.
    pub(crate) actor: Option<Actor>,
}

impl Script {
    pub(crate) fn new(mode: Mode) -> Result<Self, String> {
        let clock = ManualClock::new(BEGINNING);
        let disk = Arc::new(SimDisk::new());
        let store = mode.options(&clock).create_on(disk.clone()).map_err(told)?;
        let mut actor = Actor::new(store, clock.clone());
        actor.open_run(0).map_err(told)?;
        let mut model = Model::new(clock.now());
        model.runs.insert(0, RunModel::default());
        let first =
            Op::Batch(0, (0..40).map(|key| Step { puts: vec![(key, key)], ..step(key) }).collect());
        for op in [first, Op::Claim(0)] {
            model.apply(&op);
            actor.apply(&op).map_err(told)?;
        }
        actor.close().map_err(told)?;
        let ops = ops();
        let mut models = vec![model.clone()];
        for op in &ops {
            model.apply(op);
            models.push(model.clone());
        }
        let truth = Story::of_models(format!("script, {mode:?}"), mode, models);
        Ok(Self { story: truth, base: disk.live(), ops })
    }

    /// How many calls there are.
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Opens the store, works from this chapter on, and closes; up to the first error.
    pub(crate) fn play(&self, disk: &Arc<SimDisk>, from: usize, to: usize) -> End {
        let clock = ManualClock::new(BEGINNING);
        let door = |done, error| End { done, error, at_the_door: true, actor: None };
        let mut actor = match self.story.mode.options(&clock).open_on(disk.clone()) {
            Ok(store) => Actor::new(store, clock),
            Err(error) => return door(from, Some(error)),
        };
        let mut done = from;
        for op in self.ops.iter().take(to).skip(from) {
            // A commit of its own, which carries nothing of the model's. A claim needs no run, so that
            // the first commit of a life may be one that counts.
            if !matches!(op, Op::Claim(_))
                && let Err(error) = actor.open_run(0)
            {
                return End { done, error: Some(error), at_the_door: true, actor: Some(actor) };
            }
            match actor.apply(op) {
                Ok(_) => done += 1,
                Err(error) => {
                    return End {
                        done,
                        error: Some(error),
                        at_the_door: false,
                        actor: Some(actor),
                    };
                }
            }
        }
        door(done, actor.close().err())
    }

    /// How many calls of each kind a whole play makes of a disk on which nothing fails.
    pub(crate) fn undisturbed(&self) -> Result<Arc<SimDisk>, String> {
        let disk = Arc::new(SimDisk::of(self.base.clone()));
        disk.arm([]);
        match self.play(&disk, 0, self.len()).error {
            None => Ok(disk),
            Some(error) => Err(told(error)),
        }
    }

    /// A disk with the base on it, on which these calls fail.
    pub(crate) fn disk(&self, faults: impl IntoIterator<Item = Fault>) -> Arc<SimDisk> {
        let disk = Arc::new(SimDisk::of(self.base.clone()));
        disk.arm(faults);
        disk
    }
}

fn step(key: u64) -> Step {
    Step { key, position: key, ..Step::default() }
}

/// One commit each, and two of them need a longer file.
fn ops() -> Vec<Op> {
    let many = |from: u64| {
        let step = |key| Step { puts: vec![(key, 1)], emits: vec![key], ..step(key) };
        Op::Batch(0, (from..from + 12).map(step).collect())
    };
    vec![
        Op::Claim(1),
        many(100),
        Op::Step(0, Step { weight: Some(700_000), ..step(120) }),
        Op::Complete(1, 11),
        Op::Release(0),
        Op::Reject(3),
        Op::Step(0, Step { weight: Some(10), removes: vec![3, 4, 5], ..step(130) }),
        many(200),
        Op::Rewind(0, 50),
        Op::Step(0, Step { weight: Some(1_200_000), saves: true, ..step(230) }),
        Op::Step(0, Step { weight: Some(1), emits: vec![9], saves: true, ..step(240) }),
    ]
}
