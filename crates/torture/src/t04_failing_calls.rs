//! T4: the Nth call of the disk fails, for every N, in every way, once and for good; while the store
//! is opened, while it works, while it is closed. Then the disk is well again, or the power goes.

use milepost::testing::{Call, Effect, Fault, Op, Rng, Step};
use milepost::{Error, ErrorKind};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Mode, Script, in_time};
use super::t01_power_loss::{scaled, spread};

/// What can become of a call.
const KINDS: &[(Call, Effect, std::io::ErrorKind)] = &[
    (Call::Write, Effect::Nothing, std::io::ErrorKind::Other),
    (Call::Write, Effect::All, std::io::ErrorKind::Other),
    (Call::Write, Effect::Nothing, std::io::ErrorKind::StorageFull),
    (Call::Write, Effect::Half, std::io::ErrorKind::WriteZero),
    (Call::Write, Effect::Half, std::io::ErrorKind::QuotaExceeded),
    (Call::Resize, Effect::Nothing, std::io::ErrorKind::StorageFull),
    (Call::Resize, Effect::Half, std::io::ErrorKind::StorageFull),
    (Call::Resize, Effect::Half, std::io::ErrorKind::Other),
    (Call::Resize, Effect::All, std::io::ErrorKind::QuotaExceeded),
    (Call::Sync, Effect::Nothing, std::io::ErrorKind::StorageFull),
    (Call::Sync, Effect::Forgotten, std::io::ErrorKind::QuotaExceeded),
    (Call::Sync, Effect::Nothing, std::io::ErrorKind::Other),
    (Call::Sync, Effect::Half, std::io::ErrorKind::Other),
    (Call::Sync, Effect::All, std::io::ErrorKind::Other),
    (Call::Sync, Effect::Forgotten, std::io::ErrorKind::Other),
    (Call::Read, Effect::Nothing, std::io::ErrorKind::Other),
];

pub(crate) struct FailingCalls;

impl Class for FailingCalls {
    fn id(&self) -> &'static str {
        "T4"
    }

    fn about(&self) -> &'static str {
        "the Nth call of the disk fails, once and for good"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        let mut scripts = Vec::new();
        let mut plan = Vec::new();
        for (nth_script, mode) in Mode::ALL.into_iter().enumerate() {
            let script = Script::new(mode)?;
            let disk = script.undisturbed()?;
            for (call, effect, error) in KINDS {
                if disk.count(*call) == 0 {
                    return Err(format!("the script makes no call of the kind {call:?}"));
                }
                for nth in 0..disk.count(*call) {
                    let fault = Fault::of(*call, nth).effect(*effect).error(*error);
                    plan.extend([(nth_script, fault), (nth_script, fault.once())]);
                }
            }
            scripts.push(script);
        }
        Ok(Box::new(Plan { scripts, plan }))
    }
}

struct Plan {
    scripts: Vec<Script>,
    /// Which script, and what fails: every call, in every way.
    plan: Vec<(usize, Fault)>,
}

impl Cases for Plan {
    /// All of them; below the floor, a sample. Beyond it, pairs.
    fn count(&self, scale: f64) -> u64 {
        let all = u32::try_from(self.plan.len()).unwrap_or(u32::MAX);
        scaled(all, scale.min(1.0)) + scaled(4_000, (scale - 1.0).max(0.0))
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let is_planned = nth < self.plan.len() as u64;
        let found = self.plan.get(spread(nth, self.plan.len())).filter(|_| is_planned);
        let (which, fault, second) = match found {
            Some((which, fault)) => (*which, *fault, None),
            None => self.pair(&mut scene.rng),
        };
        let Some(script) = self.scripts.get(which) else {
            return Outcome::Violation("there is no script".to_owned());
        };
        in_time(|| play(script, fault, second, &mut scene.rng).err().unwrap_or(Outcome::Same))
    }
}

impl Plan {
    /// Any call that fails, and one that fails while the store is opened after that.
    fn pair(&self, rng: &mut Rng) -> (usize, Fault, Option<Fault>) {
        let mut draw = || {
            let nth = usize::try_from(rng.below(self.plan.len() as u64)).unwrap_or(0);
            self.plan.get(nth).copied().unwrap_or((0, Fault::at(0)))
        };
        let (which, first) = draw();
        let (_, second) = draw();
        (which, first.once(), Some(Fault { nth: second.nth % 24, ..second }))
    }
}

/// Plays the script with this fault, and looks at what the disk and a power cut leave.
fn play(
    script: &Script,
    fault: Fault,
    second: Option<Fault>,
    rng: &mut Rng,
) -> Result<(), Outcome> {
    let disk = script.disk([fault]);
    let violation = |what: String| Outcome::Violation(format!("{}: {what}", script.story.name));
    let mut end = script.play(&disk, 0, script.len());
    if disk.hits() == 0 {
        return Err(violation(format!("{fault:?} was never reached")));
    }
    if let Some(error) = &end.error {
        check_kind(error, fault).map_err(violation)?;
        // After a read that failed, the handle may work.
        if let Some(actor) = end.actor.as_mut().filter(|_| fault.call != Call::Read) {
            let step = Step { key: 7_000, position: 7_000, ..Step::default() };
            match actor.apply(&Op::Step(0, step)) {
                Err(error) if error.kind() == ErrorKind::Poisoned => {}
                other => return Err(violation(format!("not poisoned after it: {other:?}"))),
            }
        }
    }
    let uncertain = end.error.as_ref().filter(|_| !end.at_the_door).and_then(|error| {
        if let ErrorKind::Uncertain(seq) = error.kind() { Some(seq) } else { None }
    });
    let allowed = end.done..=end.done + usize::from(uncertain.is_some());
    let judge = || Judge::new(&script.story, allowed.clone()).resolving(uncertain);
    let mut cut = vec![disk.durable(), disk.cut_somehow(rng), disk.live()];
    // This process lets go of the file in its own way, while the disk still fails.
    drop(end.actor);
    cut.extend([disk.live(), disk.durable()]);
    if let Some(second) = second {
        disk.arm([second]);
        if let Err(error) = judge().open(&disk) {
            check_kind(&error, second).map_err(violation)?;
        }
        cut.extend([disk.live(), disk.durable(), disk.cut_somehow(rng)]);
    }
    // Most of them are the same bytes.
    let mut seen = Vec::new();
    for left in cut {
        if seen.contains(&left) {
            continue;
        }
        seen.push(left.clone());
        judge().examine(left)?;
    }
    Ok(())
}

/// An error says what the disk said, or that the commit is in doubt.
fn check_kind(error: &Error, fault: Fault) -> Result<(), String> {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let is_full = matches!(fault.error, StorageFull | QuotaExceeded);
    let fits = match error.kind() {
        ErrorKind::Uncertain(_) => true,
        ErrorKind::NoSpace => is_full,
        ErrorKind::Io => !is_full,
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("{fault:?} became {:?}: {error}", error.kind())) }
}
