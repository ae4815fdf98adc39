//! T9: a real full disk, by the process's limit on the size of files, and on a small file system of
//! its own where one may be mounted. It is filled by steps, and while the store is made; then there
//! is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use milepost::testing::Rng;
use milepost::{Error, ErrorKind, OnCopy, Options, Store};

use super::child::{Child, Said, say};
use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::Known;
use super::supervisor::{PATIENCE, judge, listen};
use super::system;
use super::work::{RUN, Tour, key_of, step};

pub(crate) struct FullDisk;

/// How many cases a scale of 1 stands for.
const CASES: f64 = 20.0;
const KIB: u64 = 1 << 10;
/// The file that is removed when there is to be room again.
const BALLAST: &str = "ballast";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    path: PathBuf,
    #[arg(long)]
    seed: u64,
    /// How much room there is, in KiB; beyond what the store takes, if it is made before
    #[arg(long)]
    room: u64,
    /// The store is made in that room
    #[arg(long)]
    create: bool,
    /// The room is that of the file system, and not a limit of this process
    #[arg(long)]
    small_disk: bool,
    /// Where to leave a copy of the store in the end
    #[arg(long)]
    copy: Option<PathBuf>,
}

impl Class for FullDisk {
    fn id(&self) -> &'static str {
        "T9"
    }

    fn about(&self) -> &'static str {
        "a real full disk: a limit on the size of files, and a small file system"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let mounted = mounted("true", &setting.folder, 64).status();
        let may_mount = mounted.is_ok_and(|status| status.success());
        if !may_mount {
            eprintln!(
                "T9: no file system may be mounted here (`unshare -rm`): its cases run under a \
                 limit on the size of files in its place"
            );
        }
        Ok(Box::new(Full { may_mount }))
    }
}

struct Full {
    may_mount: bool,
}

impl Cases for Full {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a scale times a small number"
    )]
    fn count(&self, scale: f64) -> u64 {
        (CASES * scale).ceil().max(CASES) as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let folder = match scene.folder() {
            Ok(folder) => folder,
            Err(error) => return Outcome::Violation(error),
        };
        let small_disk = self.may_mount && nth % 2 == 1;
        let create = nth % 4 >= 2;
        let room = if create { scene.rng.below(2_400) } else { scene.rng.below(1_500) };
        let case = Case { small_disk, create, room, seed: scene.rng.next_u64() };
        case.run(&folder).unwrap_or_else(Outcome::Violation)
    }
}

struct Case {
    small_disk: bool,
    create: bool,
    room: u64,
    seed: u64,
}

/// What a new store takes, and what must be left for the folder's own blocks.
const SMALL_DISK_KIB: u64 = 6 * KIB;

impl Case {
    fn run(&self, folder: &Path) -> Result<Outcome, String> {
        let small = folder.join("small");
        fs::create_dir(&small).map_err(|error| error.to_string())?;
        let copy = folder.join("copy.mp");
        let path = small.join("bot.mp");
        let mut command = if self.small_disk {
            // The mount is in a name space of the child's, and goes with it.
            mounted_child(&small, SMALL_DISK_KIB)?
        } else {
            // Ignored, the signal leaves the error `EFBIG` of the write.
            Child::after("sh", "trap '' XFSZ; exec \"$@\"", &["full"])?
        };
        command.arg(&path).arg("--seed").arg(self.seed.to_string());
        command.arg("--room").arg(self.room.to_string()).arg("--copy").arg(&copy);
        if self.create {
            command.arg("--create");
        }
        if self.small_disk {
            command.arg("--small-disk");
        }
        let mut known = Known::default();
        if let Err(why) = follow(Child::start(&mut command)?, &mut known)? {
            return Ok(Outcome::Violation(format!("{why}, with {} KiB of room", self.room)));
        }
        Ok(match judge(&copy, &mut known, true) {
            Ok(()) => Outcome::Same,
            Err(finding) => finding.of_a_sound_store("when there was room again"),
        })
    }
}

/// Hears the child to its end.
pub(crate) fn follow(mut child: Child, known: &mut Known) -> Result<Result<(), String>, String> {
    let mut failed = false;
    let mut went_on = false;
    loop {
        let line = match child.next(PATIENCE) {
            Said::Line(line) => line,
            Said::Nothing => return Ok(Err("I7: hangs on a full disk".to_owned())),
            Said::Ended => break,
        };
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["failed"] => failed = true,
            ["uncertain"] => {}
            ["error", ..] => return Ok(Err(format!("I7: {line}"))),
            ["copied"] => went_on = true,
            _ => {
                let before = known.acknowledged;
                if let Err(why) = listen(&line, &mut child, known) {
                    return Ok(Err(why));
                }
                if line.starts_with("open ") && failed && known.acknowledged != before {
                    return Ok(Err("I1: what failed for want of room is there".to_owned()));
                }
            }
        }
    }
    let status = child.wait()?;
    if !status.success() || !went_on {
        return Ok(Err(format!("I7: it did not go on with room again: {status}")));
    }
    Ok(Ok(()))
}

/// A command that runs where `folder` is a small file system of its own.
fn mounted(program: &str, folder: &Path, kib: u64) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &mount(kib), "small"]).arg(folder).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn mounted_child(folder: &Path, kib: u64) -> Result<Command, String> {
    let inner = Child::command(&["full"])?;
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &mount(kib), "small"]).arg(folder);
    command.arg(inner.get_program()).args(inner.get_args());
    Ok(command)
}

fn mount(kib: u64) -> String {
    format!("mount -t tmpfs -o size={kib}k,mode=700 none \"$1\" && shift && exec \"$@\"")
}

/// The child: works until there is no room, is given room, and goes on.
pub(crate) fn fill(args: &Args) -> Result<(), String> {
    let text = |error: Error| format!("{:?} {error}", error.kind()).replace('\n', " ");
    let mut rng = Rng::new(args.seed);
    if !args.create {
        Store::create(&args.path).and_then(Store::close).map_err(text)?;
    }
    take_room(args)?;
    match Store::open_or_create(&args.path) {
        Ok(store) => {
            match work(&store, &mut rng, u64::MAX)? {
                Some(error) if error.kind() == ErrorKind::NoSpace => {}
                Some(error) => return Err(format!("a full disk is called {}", text(error))),
                None => return Err("a full disk is not told of".to_owned()),
            }
            say("failed")?;
            poisoned(&store)?;
        }
        // Nothing is there, or what was there is as it was.
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            if args.create && args.path.exists() {
                return Err("what could not be made is there".to_owned());
            }
        }
        Err(error) => return Err(text(error)),
    }
    // Still without room: that it is said, if it cannot be opened, is all that is asked.
    match Store::open_or_create(&args.path).and_then(Store::close) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NoSpace => {}
        Err(error) => return Err(text(error)),
    }
    make_room(args)?;
    let store = Store::open_or_create(&args.path).map_err(text)?;
    if let Some(error) = work(&store, &mut rng, 3)? {
        return Err(text(error));
    }
    store.close().map_err(text)?;
    if let Some(copy) = &args.copy {
        fs::copy(&args.path, copy).map_err(|error| error.to_string())?;
        // Out of the mount, which goes with this process.
        let moved = Options::new().on_copy(OnCopy::Moved).open(copy);
        moved.and_then(Store::close).map_err(text)?;
    }
    say("copied")
}

/// Steps with rows that need room; the error that ended them.
pub(crate) fn work(store: &Store, rng: &mut Rng, most: u64) -> Result<Option<Error>, String> {
    let mut run = match store.run::<Tour>(RUN) {
        Ok(run) => run,
        Err(error) => return Ok(Some(error)),
    };
    say(format_args!("open {} {}", store.epoch(), run.steps()))?;
    for _ in 0..most {
        let n = run.steps() + 1;
        let bulk = vec![7_u8; usize::try_from(rng.below(60_000)).unwrap_or(0)];
        say(format_args!("begin {n}"))?;
        let done = run.step(key_of(n), n, |tx| {
            tx.put(format!("bulk-{n}"), &bulk)?;
            step(tx, n)
        });
        if let Err(error) = done {
            return Ok(Some(error));
        }
        say(format_args!("done {n}"))?;
    }
    Ok(None)
}

/// The handle that failed takes nothing more.
pub(crate) fn poisoned(store: &Store) -> Result<(), String> {
    match store.claim::<u64>("s", "k", &1) {
        Err(error) if error.kind() == ErrorKind::Poisoned => Ok(()),
        Err(error) => Err(format!("after the failure: {:?} {error}", error.kind())),
        Ok(_) => Err("a handle whose commit failed goes on".to_owned()),
    }
}

fn take_room(args: &Args) -> Result<(), String> {
    if !args.small_disk {
        let has = fs::metadata(&args.path).map_or(0, |metadata| metadata.len());
        return system::limit_file_size(Some(has + args.room * KIB));
    }
    let has = fs::metadata(&args.path).map_or(0, |metadata| metadata.len()) / KIB;
    let ballast = SMALL_DISK_KIB.saturating_sub(has + args.room);
    let ballast = vec![1; usize::try_from(ballast * KIB).unwrap_or(0)];
    // As much of it as there is room for.
    let _ = fs::write(args.path.with_file_name(BALLAST), ballast);
    Ok(())
}

fn make_room(args: &Args) -> Result<(), String> {
    if !args.small_disk {
        return system::limit_file_size(None);
    }
    fs::remove_file(args.path.with_file_name(BALLAST)).map_err(|error| error.to_string())
}
