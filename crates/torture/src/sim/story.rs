//! A workload that was played once, with everything that happened on the disk under it, and what the
//! store must hold after each commit. The judge's truth is the model, never the store.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{Actor, Model, Op, SimDisk, Step, Trace};
use milepost::{Clock, Durability, ManualClock, Options, Reopen, Retention, Timestamp};

/// When all stories begin.
pub(super) const BEGINNING: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// How many checkpoints of a run stay.
const KEEP_LAST: u64 = 4;

/// How the store under a story commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    OnePhase,
    TwoPhase,
    Instant,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::OnePhase, Self::TwoPhase, Self::Instant];

    pub(crate) fn options(self, clock: &ManualClock) -> Options {
        let options =
            Options::new().cache_bytes(1 << 20).clock(clock.clone()).retention(Retention {
                keep_last: KEEP_LAST,
                keep_for: Duration::ZERO,
                ..Retention::keep_all()
            });
        match self {
            Self::OnePhase => options,
            Self::TwoPhase => options.durability(Durability::TwoPhase),
            Self::Instant => options.reopen(Reopen::Instant),
        }
    }
}

/// What happened, and what was true when.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) trace: Trace,
    pub(crate) chapters: Vec<Chapter>,
}

/// What the store holds after so many commits.
#[derive(Debug)]
pub(crate) struct Chapter {
    pub(crate) model: Model,
    /// From this point of the trace on, it may be on disk.
    pub(crate) begun: usize,
    /// From this point on, it was acknowledged.
    pub(crate) acked: usize,
    /// Which commit it came with; the steps of a group share one.
    commit: usize,
}

impl Story {
    /// A story of which only the truth is known: for what is played with faults.
    pub(crate) fn of_models(name: String, mode: Mode, models: Vec<Model>) -> Self {
        let chapter = |(commit, model)| Chapter { model, begun: 0, acked: 0, commit };
        let chapters = models.into_iter().enumerate().map(chapter).collect();
        Self { name, mode, trace: Trace::default(), chapters }
    }

    /// The chapters in which a store may be that crashed at this point: the last one acknowledged,
    /// and those under way.
    pub(crate) fn allowed(&self, point: usize) -> RangeInclusive<usize> {
        let last = |is: &dyn Fn(&Chapter) -> bool| self.chapters.iter().rposition(is).unwrap_or(0);
        last(&|chapter| chapter.acked <= point)..=last(&|chapter| chapter.begun <= point)
    }

    /// The last chapter that the commit before this chapter's left.
    pub(crate) fn before(&self, chapter: usize) -> usize {
        let commit = self.chapters.get(chapter).map_or(0, |chapter| chapter.commit);
        self.chapters.iter().rposition(|chapter| chapter.commit < commit).unwrap_or(0)
    }

    /// What the store holds in a chapter; in the last one, if there is none of that number.
    pub(crate) fn model(&self, chapter: usize) -> &Model {
        static NONE: std::sync::LazyLock<Model> = std::sync::LazyLock::new(Model::default);
        let chapter = self.chapters.get(chapter).or(self.chapters.last());
        chapter.map_or(&NONE, |chapter| &chapter.model)
    }
}

/// Plays a story.
pub(crate) struct Teller {
    pub(super) disk: Arc<SimDisk>,
    actor: Option<Actor>,
    model: Model,
    name: String,
    mode: Mode,
    clock: ManualClock,
    chapters: Vec<Chapter>,
    commits: usize,
}

impl Teller {
    /// Makes an empty store with one run, and records from then on.
    pub(crate) fn begin(name: &str, mode: Mode) -> Result<Self, String> {
        let disk = Arc::new(SimDisk::new());
        let clock = ManualClock::new(BEGINNING);
        let store = mode.options(&clock).create_on(disk.clone()).map_err(told)?;
        let mut actor = Actor::new(store, clock.clone());
        actor.open_run(0).map_err(told)?;
        disk.record();
        let mut teller = Self {
            disk,
            actor: Some(actor),
            model: Model::new(clock.now()),
            name: format!("{name}, {mode:?}"),
            mode,
            clock,
            chapters: Vec::new(),
            commits: 0,
        };
        // The run that was just opened, and has made no step.
        teller.model.keep_last = usize::try_from(KEEP_LAST).ok();
        teller.model.runs.insert(0, milepost::testing::RunModel::default());
        teller.chapter(0, 0);
        Ok(teller)
    }

    fn actor(&mut self) -> Result<&mut Actor, String> {
        self.actor.as_mut().ok_or_else(|| "the store is closed".to_owned())
    }

    /// Does it to the store and to the model; an answer that differs ends the run of the class.
    pub(crate) fn tell(&mut self, op: &Op) -> Result<(), String> {
        let begun = self.disk.point();
        let expected = self.model.apply(op);
        let found = self.actor()?.apply(op).map_err(told)?;
        if found != expected {
            return Err(format!("{op:?} was answered with {found:?}, not {expected:?}"));
        }
        if !matches!(op, Op::Wait(_)) {
            self.chapter(begun, self.disk.point());
        }
        Ok(())
    }

    /// Submits one step, and the others while the flush of the first is under way: those become one
    /// group. Which of them share a commit is the same every time.
    pub(crate) fn tell_group(&mut self, first: &Step, others: &[Step]) -> Result<(), String> {
        let disk = self.disk.clone();
        let from = self.chapters.len();
        let mut pending = Vec::new();
        disk.hold_syncs();
        for (nth, step) in std::iter::once(first).chain(others).enumerate() {
            let begun = disk.point();
            pending.push(self.actor()?.submit(0, step).map_err(told)?);
            self.model.apply(&Op::Step(0, step.clone()));
            // The first has a commit of its own; all the others share the next one.
            if nth > 1 {
                self.commits -= 1;
            }
            self.chapter(begun, usize::MAX);
            if nth == 0 && !disk.wait_for_held_sync() {
                disk.release_syncs();
                return Err("a step was submitted, and no flush came".to_owned());
            }
        }
        disk.release_syncs();
        for pending in pending {
            pending.wait().map_err(told)?;
        }
        let acked = disk.point();
        for chapter in self.chapters.iter_mut().skip(from) {
            chapter.acked = acked;
        }
        Ok(())
    }

    /// Makes the file shorter: nothing else changes, and no chapter begins.
    pub(crate) fn compact(&mut self) -> Result<(), String> {
        let size = |disk: &SimDisk| disk.live().len();
        let before = size(&self.disk);
        self.actor()?.store().compact().map_err(told)?;
        if size(&self.disk) > before {
            return Err(format!("a file of {before} bytes has {} now", size(&self.disk)));
        }
        Ok(())
    }

    /// Closes the store in order, or leaves it as a kill does, and opens it again: a new epoch.
    pub(crate) fn reopen(&mut self, in_order: bool) -> Result<(), String> {
        if let Some(actor) = self.actor.take() {
            if in_order {
                actor.close().map_err(told)?;
            } else {
                // The holder is gone without a word: its handles write nothing any more.
                std::mem::forget(actor);
            }
        }
        let store = self.mode.options(&self.clock).open_on(self.disk.clone()).map_err(told)?;
        self.actor = Some(Actor::new(store, self.clock.clone()));
        Ok(())
    }

    /// Closes the store, and tells what happened.
    pub(crate) fn end(mut self) -> Result<Story, String> {
        if let Some(actor) = self.actor.take() {
            actor.close().map_err(told)?;
        }
        let Self { name, mode, chapters, disk, .. } = self;
        Ok(Story { name, mode, trace: disk.trace(), chapters })
    }

    fn chapter(&mut self, begun: usize, acked: usize) {
        // What had nothing to write, such as a repeated step, made no commit.
        if acked > begun {
            self.commits += 1;
        }
        let commit = self.commits;
        self.chapters.push(Chapter { model: self.model.clone(), begun, acked, commit });
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn told(error: milepost::Error) -> String {
    format!("{:?}: {error}", error.kind())
}
