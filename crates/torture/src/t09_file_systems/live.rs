//! The child: lives on the file system that was mounted for it, until that fails it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use milepost::testing::Rng;
use milepost::{Error, ErrorKind, Labels, OnCopy, Options, RepairOptions, Store};

use crate::child::say;
use crate::system;
use crate::t09_full_disk::{poisoned, work};
use crate::work::RUN;

/// How the file system fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum End {
    /// It has no room.
    Full,
    /// Files may not be longer.
    Limit,
    /// The user may not have more.
    Quota,
    /// It has no room, and what there was is in pieces of 4 KiB.
    Pieces,
    /// It has no room for other blocks than those that a copy of the store shares with it.
    Shared,
    /// It is mounted read-only, while the store is closed.
    ReadOnly,
    /// It is shut down under the store, as a power cut does.
    ShutDown,
    /// Its device goes away under the store.
    Gone,
}

impl End {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Limit => "limit",
            Self::Quota => "quota",
            Self::Pieces => "pieces",
            Self::Shared => "shared",
            Self::ReadOnly => "read-only",
            Self::ShutDown => "shut-down",
            Self::Gone => "gone",
        }
    }

    fn is_for_want_of_room(self) -> bool {
        !matches!(self, Self::ReadOnly | Self::ShutDown | Self::Gone)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    folder: PathBuf,
    #[arg(long)]
    end: End,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    folder: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    end: End,
    /// How much room there is, in KiB, beyond what the store takes when it is made
    #[arg(long)]
    room: u64,
    /// What is mounted
    #[arg(long)]
    image: PathBuf,
    /// A commit may fail in the middle
    #[arg(long)]
    may_fail_late: bool,
    /// Where to leave a copy of the store in the end
    #[arg(long)]
    copy: PathBuf,
}

const BALLAST: &str = "ballast";
const KIB: u64 = 1 << 10;

/// Whether the file system can fail in this way.
pub(crate) fn probe(args: &Probe) -> Result<(), String> {
    let folder = args.folder.as_path();
    fs::write(folder.join("probe"), [1; 10_000]).map_err(|error| error.to_string())?;
    match args.end {
        End::Quota => quota(folder, Some(8 << 10)),
        End::Shared => share(folder, "probe"),
        End::ReadOnly => remount(folder, "ro"),
        End::ShutDown => shut_down(folder),
        End::Gone => device_of(folder).map(drop),
        End::Full | End::Limit | End::Pieces => Ok(()),
    }
}

pub(crate) fn live(args: &Args) -> Result<(), String> {
    let mut rng = Rng::new(args.seed);
    let path = args.folder.join("bot.mp");
    let store = Store::create(&path).map_err(text)?;
    if let Some(error) = work(&store, &mut rng, 2)? {
        return Err(text(error));
    }
    store.close().map_err(text)?;
    take_room(args)?;
    match args.end {
        End::ReadOnly => read_only(&args.folder, &path)?,
        End::ShutDown | End::Gone => {
            lose_the_disk(args, &path, &mut rng)?;
            bring_it_back(args)?;
        }
        _ => {
            fill(args, &path, &mut rng)?;
            on_the_full_disk(args, &path)?;
            make_room(args)?;
        }
    }
    let sound = milepost::verify(&path, &Options::new()).map_err(text)?;
    if !sound.is_sound() {
        return Err(format!("not sound with room again: {sound}").replace('\n', " "));
    }
    let store = Store::open(&path).map_err(text)?;
    if let Some(error) = work(&store, &mut rng, 3)? {
        return Err(text(error));
    }
    store.close().map_err(text)?;
    fs::copy(&path, &args.copy).map_err(|error| error.to_string())?;
    // Out of the mount, which goes with this process.
    let moved = Options::new().on_copy(OnCopy::Moved).open(&args.copy);
    moved.and_then(Store::close).map_err(text)?;
    say("copied")
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn text(error: Error) -> String {
    format!("{:?} {error}", error.kind()).replace('\n', " ")
}

/// Works until there is no room.
fn fill(args: &Args, path: &Path, rng: &mut Rng) -> Result<(), String> {
    let store = match Store::open(path) {
        Ok(store) => store,
        Err(error) if error.kind() == ErrorKind::NoSpace => return Ok(()),
        // What an opening writes is nobody's step.
        Err(error) if is_late(args, &error) => return Ok(()),
        Err(error) => return Err(text(error)),
    };
    match work(&store, rng, u64::MAX)? {
        Some(error) if error.kind() == ErrorKind::NoSpace => say("failed")?,
        Some(error) if is_late(args, &error) => say("uncertain")?,
        Some(error) => return Err(format!("a full disk is called {}", text(error))),
        None => return Err("a full disk is not told of".to_owned()),
    }
    poisoned(&store)?;
    // At once, and not only when it is opened again.
    let len = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if len % 4096 == 0 { Ok(()) } else { Err(format!("the file was left {len} bytes long")) }
}

fn is_late(args: &Args, error: &Error) -> bool {
    (args.may_fail_late || args.end == End::Shared)
        && matches!(error.kind(), ErrorKind::Uncertain(_))
}

/// Everything else that is done to a store: as long as there is no room it says so, or does it, and
/// leaves nothing that its error does not name.
fn on_the_full_disk(args: &Args, path: &Path) -> Result<(), String> {
    let mut said = String::new();
    let mut full = |what: &str, error: Error| {
        let is_full = error.kind() == ErrorKind::NoSpace || is_late(args, &error);
        let error = text(error);
        said.push_str(&error);
        if is_full { Ok(()) } else { Err(format!("{what} on a full disk: {error}")) }
    };
    match milepost::verify(path, &Options::new()) {
        Ok(found) if found.is_sound() => {}
        Ok(found) => return Err(format!("on the full disk: {found}").replace('\n', " ")),
        Err(error) => full("verify", error)?,
    }
    match milepost::repair(path, &RepairOptions::new()) {
        Ok(repair) if repair.kept.is_none() => {}
        Ok(repair) => return Err(format!("a sound store was repaired: {repair:?}")),
        Err(error) => full("repair", error)?,
    }
    let other = args.folder.join("other.mp");
    match Store::create(&other) {
        Ok(store) => drop(store),
        Err(error) => {
            full("create", error)?;
            if other.exists() {
                return Err("what could not be made is there".to_owned());
            }
        }
    }
    if let Err(error) = save_and_export(args, path) {
        full("export", error)?;
    }
    for entry in fs::read_dir(&args.folder).map_err(|error| error.to_string())? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let name = name.to_string_lossy();
        let is_ours = ["creating", "exporting", "repairing", "damaged"]
            .iter()
            .any(|word| name.contains(word));
        if is_ours && !said.contains(&*name) {
            return Err(format!("{name} is left over"));
        }
    }
    Ok(())
}

fn save_and_export(args: &Args, path: &Path) -> Result<(), Error> {
    let store = Store::open(path)?;
    let checkpoints = store.checkpoints();
    let id = checkpoints.save(RUN, &Labels::new())?;
    checkpoints.export(&id, args.folder.join("out.savepoint"))?;
    checkpoints.export_json(&id, args.folder.join("out.json"))
}

/// A store that cannot be written is refused, and nothing of it is lost.
fn read_only(folder: &Path, path: &Path) -> Result<(), String> {
    let before = fs::read(path).map_err(|error| error.to_string())?;
    remount(folder, "ro")?;
    match Store::open(path) {
        Err(error) if error.kind() == ErrorKind::Io => {}
        Err(error) => return Err(format!("read-only is called {}", text(error))),
        Ok(_) => return Err("it was opened on a read-only file system".to_owned()),
    }
    for failed in [
        milepost::verify(path, &Options::new()).map(|found| found.is_sound()),
        milepost::repair(path, &RepairOptions::new()).map(|repair| repair.kept.is_none()),
    ] {
        match failed {
            Ok(true) => {}
            Ok(false) => return Err("a sound store is called damaged when read-only".to_owned()),
            Err(error) if error.kind() == ErrorKind::Io => {}
            Err(error) => return Err(format!("read-only is called {}", text(error))),
        }
    }
    remount(folder, "rw")?;
    let after = fs::read(path).map_err(|error| error.to_string())?;
    if before == after { Ok(()) } else { Err("a refused store was changed".to_owned()) }
}

/// Works, has the disk taken away, and works on until that is noticed.
fn lose_the_disk(args: &Args, path: &Path, rng: &mut Rng) -> Result<(), String> {
    let store = Store::open(path).map_err(text)?;
    let most = 1 + rng.below(12);
    if let Some(error) = work(&store, rng, most)? {
        return Err(text(error));
    }
    if args.end == End::ShutDown {
        shut_down(&args.folder)?;
    } else {
        take_device(args)?;
    }
    // A step that is still acknowledged is one that a power cut would have lost.
    match work(&store, rng, 50)? {
        Some(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)) => {}
        Some(error) => return Err(format!("a disk that is gone is called {}", text(error))),
        None => return Err("a disk that is gone is not told of".to_owned()),
    }
    say("uncertain")?;
    poisoned(&store)
}

fn bring_it_back(args: &Args) -> Result<(), String> {
    run("umount", &[&args.folder]).or_else(|_| run("umount", &[Path::new("-l"), &args.folder]))?;
    let kind = run("blkid", &[Path::new("-p"), Path::new("-s"), Path::new("TYPE"), &args.image])?;
    // Without a journal, this is what a machine does when it starts.
    if kind.contains("ext") {
        let _ = run("e2fsck", &[Path::new("-fy"), &args.image]);
    }
    let options = if kind.contains("xfs") { "loop,nouuid" } else { "loop" };
    run("mount", &[Path::new("-o"), Path::new(options), &args.image, &args.folder]).map(drop)
}

fn take_room(args: &Args) -> Result<(), String> {
    let path = args.folder.join("bot.mp");
    let len = fs::metadata(&path).map_err(|error| error.to_string())?.len();
    let room = args.room * KIB;
    let ballast = args.folder.join(BALLAST);
    fs::create_dir(&ballast).map_err(|error| error.to_string())?;
    match args.end {
        End::Limit => return system::limit_file_size(Some(len + room)),
        End::Quota => return quota(&args.folder, Some(len / KIB + 512 + args.room)),
        End::Shared => share(&args.folder, "bot.mp")?,
        _ => {}
    }
    match args.end {
        End::Pieces => {
            // Twice as much, of which every other piece is given back.
            system::fill(&args.folder, &ballast, 2 * room + 512 * KIB)?;
            let mut pieces = 0;
            let piece = |nth: u64| args.folder.join(BALLAST).join(format!("piece-{nth}"));
            while fs::write(piece(pieces), [1; 4096]).is_ok() && pieces < 5_000 {
                pieces += 1;
            }
            for nth in (0..=pieces).step_by(2) {
                let _ = fs::remove_file(piece(nth));
            }
            Ok(())
        }
        End::Full | End::Shared => system::fill(&args.folder, &ballast, room),
        _ => Ok(()),
    }
}

fn make_room(args: &Args) -> Result<(), String> {
    debug_assert!(args.end.is_for_want_of_room());
    match args.end {
        End::Limit => system::limit_file_size(None),
        End::Quota => quota(&args.folder, None),
        _ => fs::remove_dir_all(args.folder.join(BALLAST)).map_err(|error| error.to_string()),
    }
}

/// A limit on what this user, or everything in the folder, may take, in KiB.
fn quota(folder: &Path, kib: Option<u64>) -> Result<(), String> {
    if run("stat", &[Path::new("-fc"), Path::new("%T"), folder])?.contains("btrfs") {
        let word = Path::new;
        let _ = run("btrfs", &[word("quota"), word("enable"), folder]);
        let limit = kib.map_or_else(|| "none".to_owned(), |kib| format!("{kib}K"));
        return run("btrfs", &[word("qgroup"), word("limit"), word(&limit), folder]).map(drop);
    }
    Err("only the quotas of btrfs are known here".to_owned())
}

/// A copy that shares the blocks.
fn share(folder: &Path, name: &str) -> Result<(), String> {
    let copy = folder.join("copy");
    run("cp", &[Path::new("--reflink=always"), &folder.join(name), &copy]).map(drop)
}

fn remount(folder: &Path, how: &str) -> Result<(), String> {
    run("mount", &[Path::new("-o"), Path::new(&format!("remount,{how}")), folder]).map(drop)
}

/// As a power cut: what no flush has written is lost.
fn shut_down(folder: &Path) -> Result<(), String> {
    let said = run(
        "xfs_io",
        &["-x", "-c", "shutdown"].map(Path::new).into_iter().chain([folder]).collect::<Vec<_>>(),
    )?;
    if said.trim().is_empty() { Ok(()) } else { Err(said) }
}

fn device_of(folder: &Path) -> Result<String, String> {
    let arguments = ["-no", "SOURCE"].map(Path::new);
    let device = run("findmnt", &[arguments.as_slice(), &[folder]].concat())?;
    let device = device.lines().last().unwrap_or_default().trim().to_owned();
    if device.starts_with("/dev/loop") { Ok(device) } else { Err(format!("on {device}")) }
}

/// What is on the device now is kept; then it is as long as one block, and every call beyond fails.
fn take_device(args: &Args) -> Result<(), String> {
    let device = device_of(&args.folder)?;
    let kept = args.image.with_extension("kept");
    run("sync", &[Path::new("-f"), &args.folder])?;
    run("cp", &[Path::new("--sparse=always"), &args.image, &kept])?;
    fs::File::options()
        .write(true)
        .open(&args.image)
        .and_then(|image| image.set_len(4096))
        .map_err(|error| error.to_string())?;
    run("losetup", &[Path::new("-c"), Path::new(&device)])?;
    fs::rename(&kept, &args.image).map_err(|error| error.to_string())
}

/// What the program says, if it succeeds.
fn run(program: &str, arguments: &[&Path]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{program} {arguments:?}: {}", said.trim()).replace('\n', " "))
}
