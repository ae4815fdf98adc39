//! T3: a second crash, while the first is being recovered from; and a crash while a store is created
//! or closed. Compactions and migrations are among the stories.

use std::sync::Arc;

use milepost::testing::{Actor, Model, Platter, Rng, SimDisk, Trace};
use milepost::{Clock, ManualClock, Timestamp};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Mode, Story, in_time, is_damage, tell_all};
use super::t01_power_loss::{draw, place, scaled};

pub(crate) struct CrashInRecovery;

impl Class for CrashInRecovery {
    fn id(&self) -> &'static str {
        "T3"
    }

    fn about(&self) -> &'static str {
        "a crash while recovering, creating, closing, compacting"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let stories = tell_all(setting.seed)?;
        let creations = Mode::ALL.into_iter().map(create).collect::<Result<_, _>>()?;
        Ok(Box::new(Crashes { stories, creations }))
    }
}

struct Crashes {
    stories: Vec<Story>,
    creations: Vec<Creation>,
}

impl Cases for Crashes {
    fn count(&self, scale: f64) -> u64 {
        scaled(40_000, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let nth_creation = usize::try_from(nth / 16).ok().map(|nth| nth % self.creations.len());
        in_time(|| match (nth % 16, nth_creation.and_then(|nth| self.creations.get(nth))) {
            (15, Some(creation)) => creation.crash(nth / 16, &mut scene.rng),
            _ => self.crash(nth, &mut scene.rng).err().unwrap_or(Outcome::Same),
        })
    }
}

impl Crashes {
    /// Recovers from one crash, and then from another in the middle of that: both must end in the
    /// same chapter.
    fn crash(&self, nth: u64, rng: &mut Rng) -> Result<(), Outcome> {
        let missing = || Outcome::Violation("there is no story".to_owned());
        let (story, _) = place(&self.stories, nth).ok_or_else(missing)?;
        let point = usize::try_from(rng.below(story.trace.points() as u64)).unwrap_or(0);
        let image = draw(&story.trace, point, rng);
        let judge = Judge::new(story, story.allowed(point));
        let wreck = story.trace.cut(point, &image);
        let (chapter, trace) = recover(&judge, wreck, rng.one_in(3), story.allowed(point))?;
        let second = usize::try_from(rng.below(trace.points() as u64)).unwrap_or(0);
        let image = draw(&trace, second, rng);
        match judge.narrowed(chapter).after_power_cut(trace.cut(second, &image)) {
            Outcome::Same => Ok(()),
            other => Err(other),
        }
    }
}

/// Recovers on a disk that records, and closes or not; the chapter in which the store is.
fn recover(
    judge: &Judge<'_>,
    wreck: Platter,
    closes: bool,
    allowed: std::ops::RangeInclusive<usize>,
) -> Result<(usize, Trace), Outcome> {
    let disk = Arc::new(SimDisk::of(wreck));
    disk.record();
    let refused = |error: milepost::Error| {
        Outcome::Violation(format!("I2, it does not open: {:?} {error}", error.kind()))
    };
    let mut actor = judge.open(&disk).map_err(refused)?;
    let found = judge.find(&mut actor, allowed).map_err(refused)?;
    let chapter = found.map_err(|what| judge.wrong("I1", &what))?;
    if closes {
        actor.close().map_err(refused)?;
        return Ok((chapter, disk.trace()));
    }
    Ok((chapter, disk.trace()))
}

/// A store that was created, worked on for an instant, and closed.
struct Creation {
    mode: Mode,
    trace: Trace,
    /// From this point on there is a store.
    created: usize,
}

fn create(mode: Mode) -> Result<Creation, String> {
    let disk = Arc::new(SimDisk::new());
    disk.record();
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    let store = mode.options(&clock).create_on(disk.clone()).map_err(|error| error.to_string())?;
    let created = disk.point();
    store.close().map_err(|error| error.to_string())?;
    Ok(Creation { mode, trace: disk.trace(), created })
}

impl Creation {
    /// Before it is created there is no store, and whoever opens it is told; or there is an empty one.
    fn crash(&self, nth: u64, rng: &mut Rng) -> Outcome {
        let point = usize::try_from(nth).unwrap_or(0) % self.trace.points();
        let image = draw(&self.trace, point, rng);
        let left = self.trace.cut(point, &image);
        let disk = Arc::new(SimDisk::of(left.clone()));
        let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
        let opened = self.mode.options(&clock).open_on(disk.clone());
        let store = match opened {
            Ok(store) => store,
            Err(error) if point < self.created && is_damage(&error) => {
                return if disk.live() == left {
                    Outcome::TypedError
                } else {
                    Outcome::Violation(format!("I9: refused, and changed: {error}"))
                };
            }
            Err(error) => {
                return Outcome::Violation(format!("created, and does not open: {error}"));
            }
        };
        match Actor::new(store, clock.clone()).check(&Model::new(clock.now()), &[1]) {
            Ok(None) => Outcome::Same,
            Ok(Some(what)) => Outcome::Wrong(what),
            Err(error) => Outcome::Violation(error.to_string()),
        }
    }
}
