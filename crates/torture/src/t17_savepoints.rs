//! T17, savepoints: an export that is killed, fails or finds no room at every call; every byte of a
//! file of 10 KB turned, zeroed and blanked, and the file cut at every length; an import that is cut
//! short at every call of the disk; and a backup, or a savepoint, that is put in the place of a store
//! which has sent something since.
//!
//! Checked are I3 (no wrong value), I7 (typed failures), I9 (nothing that was there is gone), and that
//! nothing is sent before somebody has reconciled the store.

mod restored;
mod sample;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use milepost::testing::{
    Call, Effect, Fault, Rng, SimDisk, export_with_fault, import_savepoint_bytes,
};
use milepost::{CheckpointFilter, Error, ErrorKind, Options, SavepointOptions, Store};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::in_time;
use super::t01_power_loss::{scaled, spread};
use restored::Way;
use sample::{Ledger, RUN, Sample, grown};

pub(crate) struct Savepoints;

/// What can become of a call of the file system.
const KINDS: &[(Call, Effect, io::ErrorKind)] = &[
    (Call::Change, Effect::Nothing, io::ErrorKind::Other),
    (Call::Write, Effect::Nothing, io::ErrorKind::StorageFull),
    (Call::Write, Effect::Half, io::ErrorKind::StorageFull),
    (Call::Write, Effect::All, io::ErrorKind::Other),
    (Call::Resize, Effect::Nothing, io::ErrorKind::StorageFull),
    (Call::Sync, Effect::Nothing, io::ErrorKind::Other),
    (Call::Read, Effect::Nothing, io::ErrorKind::Other),
];

impl Class for Savepoints {
    fn id(&self) -> &'static str {
        "T17"
    }

    fn about(&self) -> &'static str {
        "savepoints cut short and damaged, and older copies that are put back"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        let sample = Sample::new().map_err(|error| error.to_string())?;
        let (mut calls, mut bytes) = (Vec::new(), Vec::new());
        for json in [false, true] {
            let len = sample.file(json).len();
            bytes.extend((0..len).flat_map(|at| Damage::ALL.map(|how| (json, at, how))));
            for (call, effect, error) in KINDS {
                let count = sample.calls(json, *call).map_err(|error| error.to_string())?;
                if count == 0 {
                    return Err(format!("an export makes no call of the kind {call:?}"));
                }
                for nth in 0..count {
                    let fault = Fault::of(*call, nth).effect(*effect).error(*error);
                    calls.extend([fault, fault.once()].map(|fault| Case::Export { json, fault }));
                }
            }
            let changes = import(&sample, json, None).map_err(|outcome| format!("{outcome:?}"))?;
            calls.extend((0..changes).map(|nth| Case::Import { json, nth }));
        }
        for way in Way::ALL {
            calls.extend((0..restored::STEPS).map(|since| Case::Restored { way, since }));
        }
        Ok(Box::new(Plan { sample, calls, bytes }))
    }
}

#[derive(Debug, Clone, Copy)]
enum Case {
    /// A call of an export fails.
    Export { json: bool, fault: Fault },
    /// From this change of the disk on, an import does nothing.
    Import { json: bool, nth: u64 },
    /// What is there after so many steps is put in the place of what came of it.
    Restored { way: Way, since: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Turned,
    Zeroed,
    Blanked,
    CutHere,
}

impl Damage {
    const ALL: [Self; 4] = [Self::Turned, Self::Zeroed, Self::Blanked, Self::CutHere];
}

struct Plan {
    sample: Sample,
    /// Few, and all of them played each time.
    calls: Vec<Case>,
    /// Of which file, which byte is another one, and how.
    bytes: Vec<(bool, usize, Damage)>,
}

impl Cases for Plan {
    /// All of them; below the floor, a sample of the bytes. Beyond it, files with several such bytes.
    fn count(&self, scale: f64) -> u64 {
        let bytes = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let several = scaled(10_000, (scale - 1.0).max(0.0));
        self.calls.len() as u64 + scaled(bytes, scale.min(1.0)) + several
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let planned = usize::try_from(nth).ok().and_then(|nth| self.calls.get(nth));
        let nth = nth.saturating_sub(self.calls.len() as u64);
        let is_first = nth < self.bytes.len() as u64;
        let byte = self.bytes.get(spread(nth, self.bytes.len())).filter(|_| is_first);
        in_time(|| match (planned, byte) {
            (Some(case), _) => self.play(*case, scene).unwrap_or_else(|outcome| outcome),
            (None, Some((json, at, how))) => {
                let mut bytes = self.sample.file(*json).to_vec();
                damage(&mut bytes, *at, *how, &mut scene.rng);
                self.read(&bytes)
            }
            (None, None) => self.several(&mut scene.rng),
        })
    }
}

impl Plan {
    fn play(&self, case: Case, scene: &mut Scene) -> Result<Outcome, Outcome> {
        match case {
            Case::Export { json, fault } => {
                let folder = scene.folder().map_err(Outcome::Violation)?;
                self.export(&folder, json, fault)
            }
            Case::Import { json, nth } => {
                import(&self.sample, json, Some(nth)).map(|_| Outcome::Same)
            }
            Case::Restored { way, since } => {
                let folder = scene.folder().map_err(Outcome::Violation)?;
                restored::play(&folder, way, since)
            }
        }
    }

    fn several(&self, rng: &mut Rng) -> Outcome {
        let mut bytes = self.sample.file(rng.one_in(2)).to_vec();
        for _ in 0..=rng.below(6) {
            let at = usize::try_from(rng.below(bytes.len().max(1) as u64)).unwrap_or(0);
            let nth = usize::try_from(rng.below(8)).unwrap_or(0);
            let how = Damage::ALL.get(nth).copied().unwrap_or(Damage::Turned);
            damage(&mut bytes, at, how, rng);
        }
        self.read(&bytes)
    }

    /// What is taken must be what was exported: the run is in that state already, so anything else
    /// would be in the way of it.
    fn read(&self, bytes: &[u8]) -> Outcome {
        let store = self.sample.imported();
        match import_savepoint_bytes(&store, bytes, &SavepointOptions::new()) {
            Ok(done) if !done.changed && done.id == self.sample.id => Outcome::Same,
            Ok(done) => Outcome::Wrong(format!("a damaged file was taken: {done:?}")),
            Err(error) if is_honest(error.kind()) => Outcome::TypedError,
            Err(error) => {
                Outcome::Wrong(format!("a damaged file was read: {:?} {error}", error.kind()))
            }
        }
    }

    fn export(&self, folder: &Path, json: bool, fault: Fault) -> Result<Outcome, Outcome> {
        let violation = |what: String| Outcome::Violation(format!("{fault:?}: {what}"));
        let path = folder.join("kept.savepoint");
        let checkpoints = self.sample.store.checkpoints();
        let done = export_with_fault(&checkpoints, &self.sample.id, &path, json, Some(fault));
        let Err(told) = done.told else {
            return Err(violation("nobody was told".to_owned()));
        };
        let is_full = fault.error == io::ErrorKind::StorageFull;
        let wanted = if is_full { ErrorKind::NoSpace } else { ErrorKind::Io };
        if told.kind() != wanted {
            return Err(violation(format!("it became {:?}: {told}", told.kind())));
        }
        let is_there = path.exists();
        let read = |path: &Path| fs::read(path).map_err(|error| violation(error.to_string()));
        if is_there && read(&path)? != self.sample.file(json) {
            return Err(Outcome::Wrong(format!("{fault:?}: part of a file has its name")));
        }
        // Then there is room again, or another process.
        let again = if json {
            checkpoints.export_json(&self.sample.id, &path)
        } else {
            checkpoints.export(&self.sample.id, &path)
        };
        match again {
            Ok(()) if !is_there => {}
            Err(error) if is_there && error.kind() == ErrorKind::Conflict => {}
            other => return Err(violation(format!("exported again, it came to {other:?}"))),
        }
        if read(&path)? != self.sample.file(json) {
            return Err(violation("exported again, it is another file".to_owned()));
        }
        Ok(if is_there { Outcome::Same } else { Outcome::TypedError })
    }
}

fn damage(bytes: &mut Vec<u8>, at: usize, how: Damage, rng: &mut Rng) {
    let turn = 1 << rng.below(8);
    let Some(byte) = bytes.get_mut(at) else { return };
    match how {
        Damage::Turned => *byte ^= turn,
        Damage::Zeroed => *byte = 0,
        Damage::Blanked => *byte = b' ',
        Damage::CutHere => bytes.truncate(at),
    }
}

fn is_honest(kind: ErrorKind) -> bool {
    use ErrorKind::{Damaged, Invalid, LimitExceeded, TooNew};
    matches!(kind, Damaged | Invalid | LimitExceeded | TooNew)
}

/// What the import must find, or leave.
const BEFORE: u64 = 2;

/// An import in the place of a run, on a disk that is dead from this change on; how many changes it
/// makes.
fn import(sample: &Sample, json: bool, nth: Option<u64>) -> Result<u64, Outcome> {
    let violation = |what: String| Outcome::Violation(format!("an import, {nth:?}: {what}"));
    let io = |error: Error| violation(error.to_string());
    let disk = Arc::new(SimDisk::from_bytes(&sample.other));
    let store = Options::new().open_on(disk.clone()).map_err(io)?;
    disk.arm(nth.map(Fault::at));
    let first = disk.count(Call::Change);
    let options = SavepointOptions::new().replace();
    let told = import_savepoint_bytes(&store, sample.file(json), &options);
    let changes = disk.count(Call::Change) - first;
    if let Err(error) = &told
        && !matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_))
    {
        return Err(violation(format!("it became {:?}: {error}", error.kind())));
    }
    let mut rng = Rng::of(nth.unwrap_or(0), "import", 0);
    let left = [disk.live(), disk.durable(), disk.cut_somehow(&mut rng)];
    drop(store);
    for left in left {
        let mut seen = None;
        // A second opening finds what the first one did.
        for _ in 0..2 {
            let store = Options::new().open_on(Arc::new(SimDisk::of(left.clone()))).map_err(io)?;
            let found = look(&store).map_err(io)?;
            if seen.is_some_and(|seen| seen != found) {
                return Err(violation("I11: it is another one when it is opened again".to_owned()));
            }
            seen = Some(found);
        }
        match seen {
            Some(Seen { is_set: true, kept: true, held: true }) => {}
            Some(Seen { is_set: false, kept: false, held: false }) if told.is_err() => {}
            other => return Err(violation(format!("it left {other:?}, told {:?}", told.is_ok()))),
        }
    }
    Ok(changes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Whether the run is in the state of the savepoint, or in that before it.
    is_set: bool,
    /// Whether the state before is kept beside it.
    kept: bool,
    /// Whether the store waits for somebody to reconcile it.
    held: bool,
}

fn look(store: &Store) -> milepost::Result<Seen> {
    let run = store.run::<Ledger>(RUN)?;
    let is_set = *run.state() == grown(sample::STEPS) && run.steps() == sample::STEPS;
    if !is_set && (*run.state() != grown(BEFORE) || run.steps() != BEFORE) {
        return Err(Error::abort("the run is in a state in which it never was"));
    }
    if !store.verify()?.is_sound() {
        return Err(Error::abort("verify finds fault with it"));
    }
    let checkpoints = store.checkpoints();
    let page = checkpoints.list(&CheckpointFilter::new().run(RUN).pinned())?;
    let mut kept = false;
    for checkpoint in page.checkpoints {
        kept |= checkpoints.load::<Ledger>(&checkpoint.id)? == grown(BEFORE);
    }
    Ok(Seen { is_set, kept, held: !store.recovery()?.unreconciled.is_empty() })
}
