//! Opens what a crash left, and compares it with what the story says.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use milepost::testing::{Actor, Answer, Op, Platter, SimDisk, Step};
use milepost::{CommitSeq, Error, ErrorKind, ManualClock, Resolution};

use super::super::class::Outcome;
use super::story::Story;

/// A key that no story uses.
const FRESH: u64 = 90_000_000;

/// A call that takes longer hangs.
const CASE_TAKES_MAX: Duration = Duration::from_secs(5);

/// Looks into what is left of a story.
pub(crate) struct Judge<'s> {
    story: &'s Story,
    /// The chapters in which the store may be.
    allowed: RangeInclusive<usize>,
    clock: ManualClock,
    /// A commit of which it is not known whether it is there: the one that makes the last chapter.
    uncertain: Option<CommitSeq>,
}

impl<'s> Judge<'s> {
    pub(crate) fn new(story: &'s Story, allowed: RangeInclusive<usize>) -> Self {
        let clock = ManualClock::new(story.model(*allowed.end()).now);
        Self { story, allowed, clock, uncertain: None }
    }

    /// The same for one chapter alone, at the same time of day.
    pub(crate) fn narrowed(mut self, chapter: usize) -> Self {
        self.allowed = chapter..=chapter;
        self
    }

    /// The same, where `resolve` has to say whether the last of the chapters is there.
    pub(crate) fn resolving(mut self, uncertain: Option<CommitSeq>) -> Self {
        self.uncertain = uncertain;
        self
    }

    /// Opens the store as the story did.
    pub(crate) fn open(&self, disk: &Arc<SimDisk>) -> Result<Actor, Error> {
        let store = self.story.mode.options(&self.clock).open_on(disk.clone())?;
        Ok(Actor::new(store, self.clock.clone()))
    }

    /// In which of these chapters the store is, or what is wrong with it. From the last one down: a
    /// chapter does not say what is new in the next one.
    ///
    /// # Errors
    /// Those of the questions.
    pub(crate) fn find(
        &self,
        actor: &mut Actor,
        among: RangeInclusive<usize>,
    ) -> Result<Result<usize, String>, Error> {
        let mut differences = Vec::new();
        for chapter in among.rev() {
            match actor.check(self.story.model(chapter), &[FRESH])? {
                None => return Ok(Ok(chapter)),
                Some(what) => differences.push(format!("chapter {chapter}: {what}")),
            }
        }
        Ok(Err(differences.join("; ")))
    }

    /// All that must hold after a power cut on an honest disk: the store opens, is in an allowed
    /// chapter, is sound, takes a step, closes, and does the same after a second crash.
    pub(crate) fn after_power_cut(&self, left: Platter) -> Outcome {
        self.examine(left).err().unwrap_or(Outcome::Same)
    }

    /// The same; the chapter, if all holds.
    pub(crate) fn examine(&self, left: Platter) -> Result<usize, Outcome> {
        let disk = Arc::new(SimDisk::of(left));
        let refused = |what: &str| {
            let (name, what) = (self.story.name.clone(), what.to_owned());
            move |error: Error| {
                Outcome::Violation(format!("{name}: {what}: {:?} {error}", error.kind()))
            }
        };
        let mut actor = self.open(&disk).map_err(refused("I2, it does not open"))?;
        let found = self.find(&mut actor, self.allowed.clone());
        let chapter = found
            .map_err(refused("I3, a question was not answered"))?
            .map_err(|what| self.wrong("I1", &what))?;
        self.resolves(&actor, chapter)?;
        let again = disk.live();
        self.goes_on(&mut actor).map_err(refused("I6, it takes no step"))??;
        let sound = actor.store().verify().map_err(refused("it cannot be verified"))?;
        if !sound.is_sound() {
            return Err(Outcome::Violation(format!("{}: {sound}", self.story.name)));
        }
        actor.close().map_err(refused("it cannot be closed"))?;
        self.converges(again, chapter)?;
        Ok(chapter)
    }

    /// A recovered store works: a new key is new, and stays.
    fn goes_on(&self, actor: &mut Actor) -> Result<Result<(), Outcome>, Error> {
        let position = actor.open_run(0)?.position().index().unwrap_or(0);
        let step = Step { key: FRESH, position, ..Step::default() };
        let first = actor.apply(&Op::Step(0, step.clone()))?;
        let second = actor.apply(&Op::Step(0, step))?;
        let same = match (&first, &second) {
            (Answer::Steps(first), Answer::Steps(second)) => {
                matches!((&**first, &**second), ([(true, one)], [(false, two)]) if one == two)
            }
            _ => false,
        };
        Ok(if same { Ok(()) } else { Err(self.wrong("I3", &format!("{first:?}, {second:?}"))) })
    }

    /// A second crash, right after the recovery, changes nothing.
    fn converges(&self, left: Platter, chapter: usize) -> Result<(), Outcome> {
        let answer = self.open(&Arc::new(SimDisk::of(left))).and_then(|mut actor| {
            let found = self.find(&mut actor, chapter..=chapter)?;
            Ok(found.map(|_| actor))
        });
        match answer {
            Ok(Ok(actor)) => self.resolves(&actor, chapter),
            Ok(Err(what)) => Err(self.wrong("I11", &what)),
            Err(error) => Err(Outcome::Violation(format!(
                "{}: I11, it does not open a second time: {:?} {error}",
                self.story.name,
                error.kind()
            ))),
        }
    }

    /// `resolve` tells the truth about the commit that failed.
    pub(crate) fn resolves(&self, actor: &Actor, chapter: usize) -> Result<(), Outcome> {
        let Some(seq) = self.uncertain else { return Ok(()) };
        let is_there = chapter == *self.allowed.end();
        match actor.store().resolve(seq) {
            Ok(Resolution::Committed) if is_there => Ok(()),
            Ok(Resolution::NotCommitted) if !is_there => Ok(()),
            answer => Err(Outcome::Violation(format!(
                "{}: I10, resolve({seq}) says {answer:?}, and it is in chapter {chapter} of {:?}",
                self.story.name, self.allowed
            ))),
        }
    }

    pub(crate) fn wrong(&self, invariant: &str, what: &str) -> Outcome {
        Outcome::Wrong(format!("{}: {invariant}: {what}", self.story.name))
    }
}

/// Whether an error says that the bytes of the disk are to blame.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Invalid | ErrorKind::TooNew)
}

/// Runs a case, and says so if it took as long as a call that hangs.
pub(crate) fn in_time(case: impl FnOnce() -> Outcome) -> Outcome {
    let began = Instant::now();
    let outcome = case();
    let took = began.elapsed();
    if took > CASE_TAKES_MAX {
        return Outcome::Crash(format!("it took {took:?}, and then ended with {outcome:?}"));
    }
    outcome
}
