//! The parent of a life: starts it, writes down what it says, answers as the receiver, and ends it
//! at the moment that was chosen.

use std::hint;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use milepost::{ErrorKind, Store};

use super::child::{Child, Said};
use super::judge::{Finding, Known, Left};

/// More acts than any life gets to do.
pub(crate) const WITHOUT_END: u64 = 1_000;

/// Nothing here takes a second; a child that is silent for so long never speaks again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A life to be lived.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) seed: u64,
    pub(crate) acts: u64,
    pub(crate) on_disk: bool,
    pub(crate) pause: Option<String>,
    pub(crate) death: Death,
    /// The number of the allocation that fails.
    pub(crate) fail_at: Option<u64>,
}

/// How a life is ended.
#[derive(Debug, Clone)]
pub(crate) enum Death {
    /// So long after it was started.
    Newborn(Duration),
    /// So long after it has said so many lines.
    Line(u64, Duration),
    /// So long after it has said that it begins to close the store.
    Closing(Duration),
    /// At its labelled point.
    Point,
    /// So long after a file appears whose name is the store's with this ending.
    Appears(String, Duration),
    /// Nobody ends it.
    None,
}

/// How it did end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Killed,
    /// By itself, in order; how many points there were in each phase: operations of the disk,
    /// readings of the clock.
    Closed(Vec<(String, u64, u64)>),
    Failed(String),
}

/// Lives a life through.
///
/// # Errors
/// What is wrong with the harness or the machine; what is wrong with the store is `End::Failed`.
pub(crate) fn tell(path: &Path, life: &Life, known: &mut Known) -> Result<End, String> {
    let mut child = start(path, life, known)?;
    match &life.death {
        Death::Newborn(moment) => {
            spin(*moment);
            return killed(child, known);
        }
        Death::Appears(ending, moment) => {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            let awaited = PathBuf::from(name);
            let begun = Instant::now();
            // The file is renamed away again within a few ms: nobody may sleep here.
            while !awaited.exists() && child.is_alive() && begun.elapsed() < PATIENCE {
                if path.exists() {
                    break;
                }
                hint::spin_loop();
            }
            spin(*moment);
            return killed(child, known);
        }
        _ => {}
    }
    let mut counts = Vec::new();
    let mut lines = 0;
    loop {
        let said = match child.next(PATIENCE) {
            Said::Line(said) => said,
            Said::Nothing => return Ok(End::Failed("I7: a life hangs".to_owned())),
            Said::Ended => break,
        };
        lines += 1;
        if let Some(told) = said.strip_prefix("closed ") {
            counts = told.split(' ').filter_map(phase_of).collect();
        }
        if said.starts_with("error ") && life.fail_at.is_some() {
            // Told as an error, by who could be told.
            child.wait()?;
            return Ok(End::Killed);
        }
        if let Err(why) = listen(&said, &mut child, known) {
            return Ok(End::Failed(why));
        }
        let moment = match &life.death {
            Death::Line(after, moment) if lines > *after => *moment,
            Death::Closing(moment) if said == "closing" => *moment,
            Death::Point if said.starts_with("at ") => {
                // A disk of its own takes no lock, and who has closed the store holds none.
                if !life.on_disk
                    && said != "at close-after"
                    && path.exists()
                    && let Err(why) = refused(path, child.pid())
                {
                    return Ok(End::Failed(why));
                }
                Duration::ZERO
            }
            _ => continue,
        };
        spin(moment);
        return killed(child, known);
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(End::Closed(counts));
    }
    if life.fail_at.is_some() && status.code().is_none() {
        // An abort: nothing of it ran after the allocation.
        return Ok(End::Killed);
    }
    Ok(End::Failed(format!("I7: a life ended by itself, with {status}")))
}

fn start(path: &Path, life: &Life, known: &Known) -> Result<Child, String> {
    let next_call = known.calls.keys().next_back().map_or(1, |last| last + 1);
    let task = if life.fail_at.is_some() { "memory" } else { "life" };
    let mut command = Child::command(&[task])?;
    if let Some(fail_at) = life.fail_at {
        command.arg("--fail-at").arg(fail_at.to_string());
    }
    command.arg(path).arg("--seed").arg(life.seed.to_string());
    command.arg("--acts").arg(life.acts.to_string());
    command.arg("--next-call").arg(next_call.to_string());
    if let Some(pause) = &life.pause {
        command.arg("--pause").arg(pause);
    }
    if life.on_disk {
        command.arg("--on-disk");
    }
    Child::start(&mut command)
}

/// Kills it, and hears what it has said before.
fn killed(mut child: Child, known: &mut Known) -> Result<End, String> {
    let status = child.kill()?;
    loop {
        match child.next(PATIENCE) {
            Said::Line(line) => {
                if let Err(why) = listen(&line, &mut child, known) {
                    return Ok(End::Failed(why));
                }
            }
            Said::Ended => break,
            Said::Nothing => return Err("the pipe of a killed child does not end".to_owned()),
        }
    }
    Ok(match status.code() {
        None => End::Killed,
        Some(0) => End::Closed(Vec::new()),
        Some(_) => End::Failed(format!("I7: a life ended by itself, with {status}")),
    })
}

/// Writes down what was said, and answers what was asked.
pub(crate) fn listen(line: &str, child: &mut Child, known: &mut Known) -> Result<(), String> {
    let mut words = line.split(' ');
    let what = words.next().unwrap_or_default();
    let word = words.next().unwrap_or_default();
    let number = || word.parse::<u64>().map_err(|_| format!("the child said \"{line}\""));
    match what {
        "open" => {
            let (epoch, steps) = (number()?, words.next().and_then(|steps| steps.parse().ok()));
            let steps: u64 = steps.ok_or("an opening without steps")?;
            if epoch <= known.epoch {
                return Err(format!("I8: epoch {epoch} came after {}", known.epoch));
            }
            if steps < known.acknowledged || steps > known.begun.max(known.acknowledged) {
                return Err(format!(
                    "I2: opened with {steps} steps, where {} were acknowledged and {} begun",
                    known.acknowledged, known.begun
                ));
            }
            (known.epoch, known.acknowledged, known.begun) = (epoch, steps, steps);
        }
        "begin" => known.begun = number()?,
        "done" => known.acknowledged = number()?,
        "claim" => drop(known.calls.entry(number()?).or_default()),
        "call" => known.calls.entry(number()?).or_default().effects += 1,
        "called" => known.calls.entry(number()?).or_default().acknowledged = true,
        "order" => {
            let payload = words.next().and_then(|payload| payload.parse().ok());
            known.effect(word, payload.ok_or("an order without a payload")?);
        }
        // The pass is over: whatever was sent has its answer in the store.
        "relayed" => known.orders.values_mut().for_each(|order| order.acknowledged = true),
        "ask" => {
            let applied = known.orders.contains_key(word);
            // A child that is gone needs no answer.
            let _ = child.tell(if applied { "applied" } else { "not applied" });
        }
        "at" | "closing" | "closed" => {}
        _ => return Err(format!("I7: the child said \"{line}\"")),
    }
    Ok(())
}

/// While it lives, nobody else gets in, and whoever tries is told who it is; while it is still
/// opening the store, at least nobody else is named.
pub(crate) fn refused(path: &Path, pid: u32) -> Result<(), String> {
    let Err(error) = Store::open(path) else {
        return Err("I8: the store was opened beside a living holder".to_owned());
    };
    let message = error.to_string();
    let named = message.contains(&format!("pid {pid} ")) || !message.contains("(pid ");
    if error.kind() == ErrorKind::Locked && named {
        return Ok(());
    }
    Err(format!("I8: beside holder {pid}: {:?}: {message}", error.kind()))
}

/// Opens what a life left behind, twice; in the end lets everything come to its end.
pub(crate) fn judge(path: &Path, known: &mut Known, end: bool) -> Result<(), Finding> {
    if known.epoch == 0 && !path.exists() {
        // It was killed before there was a store: making one must work.
        Store::create(path)?.close()?;
    }
    let mut before = None;
    for _ in 0..2 {
        let store = Store::open(path)?;
        let steps = known.check(&store)?;
        let left = Left::of(&store, steps)?;
        (known.epoch, known.acknowledged, known.begun) = (store.epoch().get(), steps, steps);
        store.close()?;
        if before.as_ref().is_some_and(|before| *before != left) {
            return Err(Finding::Violation(format!("I11: {before:?}, then {left:?}")));
        }
        before = Some(left);
    }
    if !end {
        return Ok(());
    }
    let store = Store::open(path)?;
    known.settle_all(&store)?;
    known.check(&store)?;
    store.close()?;
    Ok(())
}

/// A moment too short to sleep for, so that kills fall between lines, too.
fn spin(moment: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < moment {
        hint::spin_loop();
    }
}

fn phase_of(count: &str) -> Option<(String, u64, u64)> {
    let mut parts = count.split(':');
    let phase = parts.next()?.to_owned();
    Some((phase, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

impl Life {
    pub(crate) fn new(seed: u64, on_disk: bool) -> Self {
        Self { seed, acts: 10, on_disk, pause: None, death: Death::None, fail_at: None }
    }

    /// Killed at a labelled point.
    pub(crate) fn paused(mut self, label: &str) -> Self {
        if let Some(ending) = label.strip_prefix("appears ") {
            self.death = Death::Appears(ending.to_owned(), Duration::ZERO);
            // However late the parent looks, the child is there to be killed.
            self.acts = WITHOUT_END;
        } else {
            (self.pause, self.death) = (Some(label.to_owned()), Death::Point);
        }
        self
    }
}
