//! T20: what the real file backend asks of the system. The calls of real runs are recorded and replayed
//! into what a power cut may leave of the folder, under POSIX alone and under a journal; and the Nth call
//! of a run fails.
//!
//! Not recorded: what is done to the lock file, which is never flushed, and so is left here as it was at
//! any moment, or not at all; and the extended attribute that marks the file, which no image has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use milepost::testing::{Rng, SystemCall, SystemFault, SystemKind, mark, on_system};
use milepost::{
    Durability, ErrorKind, OnCopy, Options, RepairOptions, Resolution, Store, repair, verify,
};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::{Finding, Known};
use super::replay::{Folder, Model};
use super::t01_power_loss::{scaled, spread};
use super::work::{RUN, Tour, take_step};

pub(crate) struct SystemCalls;

/// How many images a scale of 1 stands for.
const IMAGES: u32 = 1_000;
/// The run of which every call fails.
const STEPS: u64 = 60;
/// A mark: the store, or its repair, was acknowledged. Others are twice the number of a step, plus one
/// when it was acknowledged.
const OPENED: u64 = 1;

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl Class for SystemCalls {
    fn id(&self) -> &'static str {
        "T20"
    }

    fn about(&self) -> &'static str {
        "system calls: lost or reordered as POSIX allows, and the Nth fails"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let within = || {
            tempfile::Builder::new()
                .prefix("t20-")
                .tempdir_in(&setting.folder)
                .map_err(|error| format!("making a folder: {error}"))
        };
        let mut stories = Vec::new();
        for durability in [Durability::OnePhase, Durability::TwoPhase] {
            for is_killed in [false, true] {
                stories.push(Story::of_work(within()?.path(), durability, is_killed)?);
            }
        }
        for with_links in [true, false] {
            stories.push(Story::of_repair(within()?.path(), with_links)?);
        }
        let folder = within()?;
        let none = SystemFault::once(SystemKind::Change, u64::MAX, EIO);
        let (done, log) = on_system(&[none], || {
            live(&folder.path().join("bot.mp"), Durability::OnePhase, &mut Vec::new())
        });
        done.map_err(|error| format!("a run that nothing disturbs: {error}"))?;
        let calls = log.counts.first().copied().unwrap_or(0);
        Ok(Box::new(Plan { stories, calls }))
    }
}

struct Plan {
    stories: Vec<Story>,
    /// How many calls the run makes of which each fails.
    calls: u64,
}

/// A recorded run.
struct Story {
    name: String,
    store: PathBuf,
    /// The damaged file, which is the evidence, where a repair was recorded.
    damaged: Option<Vec<u8>>,
    calls: Vec<SystemCall>,
    /// What the lock file said when each step was acknowledged.
    notes: Vec<(u64, Vec<u8>)>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy)]
struct Way {
    errno: i32,
    stays: bool,
    half: bool,
}

const WAYS: [Way; 6] = [
    Way { errno: EIO, stays: false, half: false },
    Way { errno: EIO, stays: true, half: false },
    Way { errno: ENOSPC, stays: false, half: true },
    Way { errno: EINTR, stays: false, half: false },
    Way { errno: ENOSPC, stays: true, half: false },
    Way { errno: EIO, stays: true, half: true },
];

impl Cases for Plan {
    /// Each call once, the ways in turn, and images. Beyond the floor, each call in every way.
    fn count(&self, scale: f64) -> u64 {
        scaled(u32::try_from(self.calls).unwrap_or(u32::MAX), scale.min(6.0))
            + scaled(IMAGES, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let folder = match scene.folder() {
            Ok(folder) => folder,
            Err(why) => return Outcome::Violation(why),
        };
        // Half of the cases each, until every call has failed in every way.
        let all = self.calls * WAYS.len() as u64;
        if nth.is_multiple_of(2) && nth / 2 < all {
            let nth = nth / 2;
            let round = nth / self.calls.max(1);
            let call = spread(nth, usize::try_from(self.calls).unwrap_or(usize::MAX)) as u64;
            let way = usize::try_from(call + round).unwrap_or(0) % WAYS.len();
            let Some(way) = WAYS.get(way) else { return Outcome::Same };
            return fail(&folder.join("bot.mp"), call, *way).err().unwrap_or(Outcome::Same);
        }
        let which = usize::try_from(scene.rng.below(self.stories.len() as u64)).unwrap_or(0);
        let Some(story) = self.stories.get(which) else {
            return Outcome::Violation("there is no story".to_owned());
        };
        let point = usize::try_from(scene.rng.below(story.calls.len() as u64 + 1)).unwrap_or(0);
        let model = if scene.rng.one_in(2) { Model::Strict } else { Model::Journal };
        story.examine(point, model, &folder, &mut scene.rng).err().unwrap_or(Outcome::Same)
    }
}

/// Creates a store, takes steps, closes it, and goes on.
fn live(
    path: &Path,
    durability: Durability,
    notes: &mut Vec<(u64, Vec<u8>)>,
) -> milepost::Result<()> {
    let options = Options::new().durability(durability).on_copy(OnCopy::Moved);
    for steps in [STEPS / 2, STEPS] {
        let store = options.open_or_create(path)?;
        mark(OPENED);
        let mut run = store.run::<Tour>(RUN)?;
        while run.steps() < steps {
            let n = run.steps() + 1;
            mark(2 * n);
            take_step(&mut run)?;
            mark(2 * n + 1);
            notes.extend(fs::read(lock_of(path)).ok().map(|note| (n, note)));
        }
        drop(run);
        store.close()?;
    }
    Ok(())
}

fn lock_of(path: &Path) -> PathBuf {
    format!("{}.lock", path.display()).into()
}

impl Story {
    /// A store that lives. Killed in `create`: after the rename, before the flush of the folder.
    fn of_work(folder: &Path, durability: Durability, is_killed: bool) -> Result<Self, String> {
        let path = folder.join("bot.mp");
        let killed = SystemFault::once(SystemKind::FlushFolder, 0, EIO);
        let faults = if is_killed { vec![killed] } else { Vec::new() };
        let mut notes = Vec::new();
        let (done, log) = on_system(&faults, || {
            if is_killed && Store::create(&path).is_ok() {
                return Err("the folder was not flushed by `create`".to_owned());
            }
            live(&path, durability, &mut notes).map_err(|error| error.to_string())
        });
        done?;
        let name = format!("{durability:?}, killed in create: {is_killed}");
        Ok(Self { name, store: path, damaged: None, calls: log.calls, notes })
    }

    /// A damaged store that is repaired.
    fn of_repair(folder: &Path, with_links: bool) -> Result<Self, String> {
        let path = folder.join("bot.mp");
        live(&path, Durability::OnePhase, &mut Vec::new()).map_err(|error| error.to_string())?;
        let mut damaged = fs::read(&path).map_err(|error| error.to_string())?;
        // The slot that is not the newest: nothing is lost by it, and redb does not open the file.
        let newest = damaged.get(9).map_or(0, |flags| usize::from(flags & 1));
        let older = 64 + 128 * (newest ^ 1);
        if let Some(slot) = damaged.get_mut(older..older + 128) {
            slot.fill(0);
        }
        fs::write(&path, &damaged).map_err(|error| error.to_string())?;
        let no_links = SystemFault::from_then_on(SystemKind::Link, 0, EPERM);
        let faults = if with_links { Vec::new() } else { vec![no_links] };
        let (done, log) =
            on_system(&faults, || repair(&path, &RepairOptions::new()).inspect(|_| mark(OPENED)));
        let done = done.map_err(|error| error.to_string())?;
        if done.kept.is_none() {
            return Err("there was nothing to repair".to_owned());
        }
        let name = format!("repair, hard links: {with_links}");
        Ok(Self { name, store: path, damaged: Some(damaged), calls: log.calls, notes: Vec::new() })
    }

    /// Cuts the power at a point, and looks at what is left, in a folder of the case.
    fn examine(
        &self,
        point: usize,
        model: Model,
        folder: &Path,
        rng: &mut Rng,
    ) -> Result<(), Outcome> {
        let when = format!("{}, {model:?}, call {point} of {}", self.name, self.calls.len());
        let first = self.damaged.as_deref().map(|damaged| (&*self.store, damaged));
        let calls = self.calls.get(..point).unwrap_or_default();
        let at = Folder::with(first).play(calls, model);
        let left = at.cut(model, rng);
        for (name, bytes) in &left {
            let Some(name) = name.file_name() else { continue };
            fs::write(folder.join(name), bytes).map_err(|error| {
                Outcome::Violation(format!("{when}: writing an image: {error}"))
            })?;
        }
        let path = folder.join("bot.mp");
        let judged = if let Some(damaged) = &self.damaged {
            judge_repair(&path, damaged, &left, &at.marks)
        } else {
            self.leave_lock(&path, &at.marks, rng);
            judge_work(&path, &at.marks)
        };
        judged.map_err(|finding| finding.of_a_sound_store(&when))
    }

    /// The lock file is never flushed: it may be gone, empty, or say what it said at any time before.
    fn leave_lock(&self, path: &Path, marks: &[u64], rng: &mut Rng) {
        let acknowledged = acknowledged(marks);
        let notes: Vec<_> = self.notes.iter().filter(|(n, _)| *n <= acknowledged).collect();
        let note = match rng.below(3) {
            0 => return,
            1 => None,
            _ => usize::try_from(rng.below(notes.len() as u64 + 1)).ok().and_then(|n| notes.get(n)),
        };
        let _ = fs::write(lock_of(path), note.map_or(&[][..], |(_, note)| note));
    }
}

/// The last step that was acknowledged.
fn acknowledged(marks: &[u64]) -> u64 {
    marks.iter().filter(|mark| *mark % 2 == 1 && **mark > OPENED).max().map_or(0, |mark| mark / 2)
}

/// The last step that was begun.
fn begun(marks: &[u64]) -> u64 {
    marks.iter().max().map_or(0, |mark| mark / 2)
}

fn judge_work(path: &Path, marks: &[u64]) -> Result<(), Finding> {
    if !path.exists() {
        return if marks.is_empty() {
            // Making one must work.
            Store::create(path)?.close()?;
            Ok(())
        } else {
            Err(Finding::Violation("I2: the store was acknowledged, and is gone".to_owned()))
        };
    }
    let mut known =
        Known { acknowledged: acknowledged(marks), begun: begun(marks), ..Known::default() };
    judge_open(path, &mut known)
}

/// Twice the same, and it can go on.
fn judge_open(path: &Path, known: &mut Known) -> Result<(), Finding> {
    let options = Options::new().on_copy(OnCopy::Moved);
    for _ in 0..2 {
        let store = options.open(path)?;
        let steps = known.check(&store)?;
        (known.epoch, known.acknowledged, known.begun) = (store.epoch().get(), steps, steps);
        store.close()?;
    }
    let store = options.open(path)?;
    take_step(&mut store.run::<Tour>(RUN)?)?;
    (known.acknowledged, known.begun) = (known.acknowledged + 1, known.begun + 1);
    known.check(&store)?;
    store.close()?;
    if !verify(path, &options)?.is_sound() {
        return Err(Finding::Violation("it is not sound".to_owned()));
    }
    Ok(())
}

fn judge_repair(
    path: &Path,
    damaged: &[u8],
    left: &BTreeMap<PathBuf, Vec<u8>>,
    marks: &[u64],
) -> Result<(), Finding> {
    let violation = |what: &str| Err(Finding::Violation(what.to_owned()));
    if !left.values().any(|bytes| bytes == damaged) {
        return violation("I9: the damaged file is nowhere");
    }
    let Ok(bytes) = fs::read(path) else {
        return violation("I9: there is no file where the store was");
    };
    let options = Options::new().on_copy(OnCopy::Moved);
    if bytes == damaged {
        if !marks.is_empty() {
            return violation("I2: it was repaired, and is not");
        }
        repair(path, &RepairOptions::new().options(options))?;
    }
    let mut known = Known { acknowledged: STEPS, begun: STEPS, ..Known::default() };
    judge_open(path, &mut known)
}

/// Has one call of a run fail, and looks at what the process was told and what is left.
fn fail(path: &Path, nth: u64, way: Way) -> Result<(), Outcome> {
    let when = format!("call {nth}, {way:?}");
    let Way { errno, stays, half } = way;
    let fault = SystemFault { kind: SystemKind::Change, nth, errno, half, stays };
    let (told, log) = on_system(&[fault], || live(path, Durability::OnePhase, &mut Vec::new()));
    if log.hits == 0 {
        return Err(Outcome::Violation(format!("{when} was never reached")));
    }
    let marks: Vec<u64> = log
        .calls
        .iter()
        .filter_map(|call| if let SystemCall::Mark(mark) = call { Some(*mark) } else { None })
        .collect();
    let uncertain = match told.map_err(|error| (error.kind(), error)) {
        Err((ErrorKind::Uncertain(seq), _)) => Some(seq),
        // What was removed in passing is not missed.
        Ok(()) | Err((ErrorKind::Io | ErrorKind::NoSpace, _)) => None,
        Err((kind, error)) => {
            return Err(Outcome::Violation(format!("I7: {when} became {kind:?}: {error}")));
        }
    };
    let options = Options::new().on_copy(OnCopy::Moved);
    let resolved = || -> Result<(), Finding> {
        let Some(seq) = uncertain else { return Ok(()) };
        let store = options.open(path)?;
        let steps = store.run::<Tour>(RUN)?.steps();
        let is_there = store.resolve(seq)? == Resolution::Committed;
        store.close()?;
        // In a close that failed there is no step to be found.
        if begun(&marks) > acknowledged(&marks) && is_there != (steps == begun(&marks)) {
            return Err(Finding::Violation(format!("I10: commit {seq} is {is_there}: {steps}")));
        }
        Ok(())
    };
    resolved()
        .and_then(|()| judge_work(path, &marks))
        .map_err(|finding| finding.of_a_sound_store(&when))
}
