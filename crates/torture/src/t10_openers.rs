//! T10: more than one who wants the store. Processes race for it; its name is taken away, given to
//! another file, or to the same file once more; its holder is stopped, leaves a child behind, or forks.

mod forked;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use milepost::{ErrorKind, Options, Store};

use super::child::{Child, hear, say};
use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::supervisor::{PATIENCE, refused};
use super::system;
use super::work::{RUN, Tour, take_step};

pub(crate) struct Openers;

/// How many rounds a scale of 1 stands for.
const ROUNDS: f64 = 50.0;
const RACERS: usize = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    path: PathBuf,
}

impl Class for Openers {
    fn id(&self) -> &'static str {
        "T10"
    }

    fn about(&self) -> &'static str {
        "two openers: races, removed and replaced files, links, stopped holders, forks"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Rounds))
    }
}

struct Rounds;

impl Cases for Rounds {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a scale times a small number"
    )]
    fn count(&self, scale: f64) -> u64 {
        (ROUNDS * scale).ceil().max(KINDS.len() as f64) as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let kind = usize::try_from(nth % KINDS.len() as u64).unwrap_or(0);
        let Some(round) = KINDS.get(kind) else { return Outcome::Same };
        match scene.folder().and_then(|folder| round(&folder.join("bot.mp"))) {
            Ok(()) => Outcome::Same,
            Err(why) => Outcome::Violation(why),
        }
    }

    /// A round is eight processes by itself.
    fn is_parallel(&self) -> bool {
        false
    }
}

type Round = fn(&Path) -> Result<(), String>;
const KINDS: &[Round] = &[
    race_to_open,
    race_to_create,
    removed_under_a_writer,
    race_to_open,
    replaced_under_a_writer,
    race_after_a_kill,
    renamed_under_a_writer,
    put_back_under_a_writer,
    a_stopped_holder,
    links,
    a_child_left_behind,
    forked::forked_children,
    forked::killed_beside_its_children,
];

/// A store with a step in it.
fn small_store(path: &Path) -> Result<(), String> {
    let made = Store::create(path).and_then(|store| {
        take_step(&mut store.run::<Tour>(RUN)?)?;
        store.close()
    });
    made.map_err(|error| format!("making a store: {error}"))
}

/// A process of its own that opens the store when it is told to.
struct Opener(Child);

impl Opener {
    fn start(path: &Path) -> Result<Self, String> {
        let mut command = Child::command(&["opener"])?;
        command.arg(path);
        Ok(Self(Child::start(&mut command)?))
    }

    fn ask(&mut self, what: &str) -> Result<String, String> {
        self.0.tell(what)?;
        self.answer()
    }

    fn answer(&self) -> Result<String, String> {
        self.0.expect_line(PATIENCE)
    }

    fn must_say(&mut self, what: &str, answer: &str) -> Result<(), String> {
        let said = self.ask(what)?;
        if said.starts_with(answer) {
            return Ok(());
        }
        Err(format!("told to {what}, a process said \"{said}\" in place of \"{answer}\""))
    }
}

/// All begin at once; one has it, the others are told so, and that one is the only one named.
fn race(path: &Path, what: &str) -> Result<Vec<Opener>, String> {
    let mut racers: Vec<_> =
        (0..RACERS).map(|_| Opener::start(path)).collect::<Result<_, String>>()?;
    // Ready, all of them, before the first is told to go.
    for racer in &mut racers {
        racer.must_say("ready", "ready")?;
    }
    for racer in &mut racers {
        racer.0.tell(what)?;
    }
    let answers: Vec<_> = racers.iter().map(Opener::answer).collect::<Result<_, String>>()?;
    let winners: Vec<_> =
        racers.iter().zip(&answers).filter(|(_, said)| said.starts_with("ok")).collect();
    let [(winner, _)] = winners.as_slice() else {
        return Err(format!("I8: {} of {RACERS} have it: {answers:?}", winners.len()));
    };
    let own = format!("(pid {} ", winner.0.pid());
    for said in answers.iter().filter(|said| !said.starts_with("ok")) {
        let beaten = said.starts_with("Locked") || what == "create" && said.starts_with("Conflict");
        // Who comes while the winner has not signed yet is told of nobody.
        if !beaten || (said.contains("(pid ") && !said.contains(&own)) {
            return Err(format!("I8: pid {} has it; another was told: {said}", winner.0.pid()));
        }
    }
    // Now it has signed: everybody is told who it is.
    refused(path, winner.0.pid())?;
    let pid = winner.0.pid();
    for racer in racers.iter_mut().filter(|racer| racer.0.pid() != pid) {
        let said = racer.ask("open")?;
        if !said.starts_with("Locked") || !said.contains(&own) {
            return Err(format!("I8: the holder is {pid}; another was told: {said}"));
        }
    }
    racers.retain_mut(|racer| racer.0.pid() == pid);
    Ok(racers)
}

fn winner(racers: &mut [Opener]) -> Result<&mut Opener, String> {
    racers.first_mut().ok_or_else(|| "nobody won".to_owned())
}

fn race_to_open(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut racers = race(path, "open")?;
    winner(&mut racers)?.must_say("step", "stepped 2")?;
    winner(&mut racers)?.must_say("close", "closed")?;
    steps_are(path, 2)
}

fn race_to_create(path: &Path) -> Result<(), String> {
    let mut racers = race(path, "create")?;
    winner(&mut racers)?.must_say("step", "stepped 1")?;
    winner(&mut racers)?.must_say("close", "closed")?;
    steps_are(path, 1)
}

/// Whoever comes next has the store, and steps.
fn winner_of(path: &Path) -> Result<(), String> {
    let mut next = Opener::start(path)?;
    next.must_say("open", "ok")?;
    next.must_say("step", "stepped")?;
    next.must_say("close", "closed")
}

/// The lock of one that was killed is nobody's.
fn race_after_a_kill(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut first = Opener::start(path)?;
    first.must_say("open", "ok")?;
    first.must_say("step", "stepped 2")?;
    first.0.kill()?;
    let mut racers = race(path, "open")?;
    winner(&mut racers)?.must_say("step", "stepped 3")?;
    winner(&mut racers)?.0.kill()?;
    steps_are(path, 3)
}

/// Stopped, it does nothing, and still has the store; its end is the end of that.
fn a_stopped_holder(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    system::stop(holder.0.pid())?;
    refused(path, holder.0.pid())?;
    let mut other = Opener::start(path)?;
    let said = other.ask("open")?;
    if !said.starts_with("Locked") || !said.contains(&format!("(pid {} ", holder.0.pid())) {
        return Err(format!("I8: beside a stopped holder: {said}"));
    }
    system::resume(holder.0.pid())?;
    holder.must_say("step", "stepped 2")?;
    system::stop(holder.0.pid())?;
    holder.0.kill()?;
    other.must_say("open", "ok")?;
    other.must_say("step", "stepped 3")?;
    other.must_say("close", "closed")?;
    steps_are(path, 3)
}

/// A process that the holder has started does not hold the store for it.
fn a_child_left_behind(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    holder.must_say("leave a child", "left")?;
    let ear = holder.0.take_ear();
    holder.0.kill()?;
    // Its child lives on, and waits for a line that nobody says.
    let free = steps_are(path, 1);
    drop(ear);
    free
}

/// Under whatever other name, it is the same store, and is held.
fn links(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    let (hard, soft) = (path.with_extension("hard"), path.with_extension("soft"));
    fs::hard_link(path, &hard).map_err(|error| error.to_string())?;
    symlink(path, &soft)?;
    for (name, expected) in [(&hard, ErrorKind::Locked), (&soft, ErrorKind::Invalid)] {
        match Store::open(name) {
            Err(error) if error.kind() == expected => {}
            Err(error) => return Err(format!("I8: {:?}: {error}", error.kind())),
            Ok(_) => return Err(format!("I8: opened a second time as {}", name.display())),
        }
    }
    holder.must_say("step", "stepped 2")?;
    holder.must_say("close", "closed")?;
    steps_are(path, 2)
}

fn removed_under_a_writer(path: &Path) -> Result<(), String> {
    taken_away(path, |path| fs::remove_file(path))
}

fn replaced_under_a_writer(path: &Path) -> Result<(), String> {
    taken_away(path, |path| {
        let other = path.with_extension("other");
        small_store(&other).map_err(std::io::Error::other)?;
        fs::rename(other, path)
    })
}

fn renamed_under_a_writer(path: &Path) -> Result<(), String> {
    taken_away(path, |path| fs::rename(path, path.with_extension("moved")))
}

/// The file comes back, and the writer has stopped for good: it has missed a step.
fn put_back_under_a_writer(path: &Path) -> Result<(), String> {
    small_store(path)?;
    let moved = path.with_extension("moved");
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    holder.must_say("step", "stepped 2")?;
    fs::rename(path, &moved).map_err(|error| error.to_string())?;
    holder.must_say("step", "Fenced")?;
    fs::rename(&moved, path).map_err(|error| error.to_string())?;
    holder.must_say("step", "Fenced")?;
    holder.must_say("close", "Fenced")?;
    drop(holder);
    steps_are(path, 2)
}

/// The file under the writer's feet goes: it stops, and the store that is made in its place is not
/// touched by it.
fn taken_away(path: &Path, take: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), String> {
    small_store(path)?;
    let kept = path.with_extension("kept");
    fs::hard_link(path, &kept).map_err(|error| error.to_string())?;
    let mut holder = Opener::start(path)?;
    holder.must_say("open", "ok")?;
    holder.must_say("step", "stepped 2")?;
    take(path).map_err(|error| error.to_string())?;
    holder.must_say("step", "Fenced")?;
    // Its lock is still its own until it goes.
    let recreated = if path.exists() { Store::open(path) } else { Store::create(path) };
    if let Ok(store) = recreated {
        drop(store);
        return Err("I8: a store was opened under the lock of another".to_owned());
    }
    holder.must_say("step", "Fenced")?;
    holder.must_say("close", "Fenced")?;
    drop(holder);
    if !path.exists() {
        match Store::create(path) {
            Err(error) if error.kind() == ErrorKind::OlderCopy => {}
            other => return Err(format!("made where a store is missing: {other:?}")),
        }
        // The operator deletes what is left of it.
        fs::remove_file(path.with_extension("mp.lock")).map_err(|error| error.to_string())?;
        small_store(path)?;
    }
    steps_are(path, 1)?;
    steps_are(&kept, 2)
}

fn steps_are(path: &Path, steps: u64) -> Result<(), String> {
    let found = Store::open(path).and_then(|store| {
        let run = store.run::<Tour>(RUN)?;
        let right = run.steps() == steps && *run.state() == Tour::after(steps);
        Ok((right, run.steps()))
    });
    match found {
        Ok((true, _)) => Ok(()),
        Ok((false, found)) => Err(format!("I2: {found} steps are there, {steps} were made")),
        Err(error) => Err(format!("I2: {:?}: {error}", error.kind())),
    }
}

#[cfg(unix)]
fn symlink(path: &Path, link: &Path) -> Result<(), String> {
    std::os::unix::fs::symlink(path, link).map_err(|error| error.to_string())
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> Result<(), String> {
    Err("symlinks are only known for Unix here".to_owned())
}

/// The child: does what it is told, and says what came of it.
pub(crate) fn take_part(args: &Args) -> Result<(), String> {
    let mut store: Option<Store> = None;
    // Not waited for; it ends with its input, which is ours.
    let mut left = Vec::new();
    while let Ok(told) = hear() {
        let options = Options::new();
        let done = match told.as_str() {
            "ready" => Ok("ready".to_owned()),
            "open" => options.open(&args.path).map(|opened| hold(&mut store, opened)),
            "create" => options.create(&args.path).map(|made| hold(&mut store, made)),
            "step" => step(store.as_ref()).map(|n| format!("stepped {n}")),
            "close" => store.take().map_or(Ok(()), Store::close).map(|()| "closed".to_owned()),
            "fork" => match store.as_ref().map_or_else(nothing_open, forked::fork) {
                // It has said all of it.
                Ok(()) => continue,
                Err(error) => Err(error),
            },
            "leave a child" => {
                left.push(leave_a_child().map_err(|error| error.to_string())?);
                Ok("left".to_owned())
            }
            other => return Err(format!("no such order: {other}")),
        };
        match done {
            Ok(said) => say(said)?,
            Err(error) => {
                say(format_args!("{:?} {}", error.kind(), error.to_string().replace('\n', " ")))?;
            }
        }
    }
    Ok(())
}

/// A child that lives until our input ends, and is past the moment in which it still has our files.
fn leave_a_child() -> std::io::Result<process::Child> {
    let mut child =
        Command::new("sh").args(["-c", "echo begun; exec cat"]).stdout(Stdio::piped()).spawn()?;
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut String::new())?;
    }
    Ok(child)
}

fn hold(store: &mut Option<Store>, opened: Store) -> String {
    let said = format!("ok {}", opened.epoch());
    *store = Some(opened);
    said
}

fn step(store: Option<&Store>) -> milepost::Result<u64> {
    let Some(store) = store else { return nothing_open() };
    take_step(&mut store.run::<Tour>(RUN)?)
}

fn nothing_open<T>() -> milepost::Result<T> {
    Err(milepost::Error::abort("nothing is open"))
}
