//! T5: a flush fails, the cache takes for written what the disk never got, the program starts again
//! and works on what it reads, and then the power goes.
//!
//! The fault plan would let a loud error pass here, since the disk has broken its promise. The store
//! claims more: it notes the failure and makes up for it. So everything has to be there.

use std::ops::RangeInclusive;
use std::sync::Arc;

use milepost::testing::{Call, Effect, Fault, Rng, SimDisk};
use milepost::{Error, ErrorKind};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Mode, Script, in_time};
use super::t01_power_loss::scaled;

pub(crate) struct LyingCache;

impl Class for LyingCache {
    fn id(&self) -> &'static str {
        "T5"
    }

    fn about(&self) -> &'static str {
        "a flush fails, the cache lies, then the power goes"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        let scripts: Result<_, _> = Mode::ALL.into_iter().map(Script::new).collect();
        let scripts: Vec<Script> = scripts?;
        let syncs = scripts.iter().map(|script| Ok(script.undisturbed()?.count(Call::Sync)));
        let syncs: Result<_, String> = syncs.collect();
        Ok(Box::new(Lies { syncs: syncs?, scripts }))
    }
}

struct Lies {
    scripts: Vec<Script>,
    /// How many flushes each of them makes.
    syncs: Vec<u64>,
}

impl Cases for Lies {
    fn count(&self, scale: f64) -> u64 {
        scaled(2_000, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let which = usize::try_from(nth).unwrap_or(0) % self.scripts.len().max(1);
        let (Some(script), Some(syncs)) = (self.scripts.get(which), self.syncs.get(which)) else {
            return Outcome::Violation("there is no script".to_owned());
        };
        // Every flush of the first life fails once before any does a second time.
        let first = nth / self.scripts.len() as u64 % syncs;
        in_time(|| live(script, first, &mut scene.rng).unwrap_or_else(|outcome| outcome))
    }
}

/// Three lives on one lying cache, then the power goes.
fn live(script: &Script, first: u64, rng: &mut Rng) -> Result<Outcome, Outcome> {
    let lie = |nth| Fault::of(Call::Sync, nth).effect(Effect::Forgotten).once();
    let disk = script.disk([lie(first)]);
    let violation = |what: &str, error: &Error| {
        Outcome::Violation(format!("{}: {what}: {:?} {error}", script.story.name, error.kind()))
    };
    let mut allowed = 0..=0;
    for life in 0..3u64 {
        let from = if life == 0 {
            0
        } else {
            // Some of the later lives are lied to as well, most often while they make up for it.
            disk.arm((!rng.one_in(2)).then(|| lie(rng.below(3))));
            // What is read in this life is what it builds on: it counts as acknowledged from now on.
            let Some(chapter) = look(script, &disk, allowed.clone())? else { continue };
            chapter
        };
        let some = from + 1 + usize::try_from(rng.below(6)).unwrap_or(0);
        let to = if life == 0 { script.len() } else { some.min(script.len()) };
        let end = script.play(&disk, from, to);
        if life == 0 && disk.hits() == 0 {
            return Err(Outcome::Violation("no flush was lied about".to_owned()));
        }
        let in_doubt = match &end.error {
            None => false,
            Some(error) => match error.kind() {
                ErrorKind::Uncertain(_) => !end.at_the_door,
                ErrorKind::Io => false,
                _ => return Err(violation("a failed flush became", error)),
            },
        };
        allowed = end.done..=end.done + usize::from(in_doubt);
    }
    disk.arm([]);
    if let Some(chapter) = look(script, &disk, allowed.clone())? {
        allowed = chapter..=chapter;
    }
    let left = if rng.one_in(2) { disk.durable() } else { disk.cut_somehow(rng) };
    Judge::new(&script.story, allowed).examine(left).map(|_| Outcome::Same)
}

/// In which chapter the store on this disk is, as the program that is started again sees it; `None`
/// if it could not be opened because another flush failed.
fn look(
    script: &Script,
    disk: &Arc<SimDisk>,
    allowed: RangeInclusive<usize>,
) -> Result<Option<usize>, Outcome> {
    let judge = Judge::new(&script.story, allowed.clone());
    let found = judge.open(disk).and_then(|mut actor| judge.find(&mut actor, allowed));
    match found {
        Ok(Ok(chapter)) => Ok(Some(chapter)),
        Ok(Err(what)) => Err(judge.wrong("I1", &what)),
        Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)) => Ok(None),
        Err(error) => Err(Outcome::Violation(format!("{:?} {error}", error.kind()))),
    }
}
