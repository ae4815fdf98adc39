//! Where mutants are built: a copy of the sources, in which one bug follows the other, so that each
//! build costs what the bug changes. Whatever is slow without optimizations has them: for the torture
//! that is all of it, for the tests what they depend on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::table::{Finder, Mutant};

/// Quickly built, and still in seconds what takes minutes without it.
const QUICK: &str = "--config=profile.dev.package.\"*\".opt-level=3";

/// The tests that look for bugs.
const TESTS: [&str; 2] = ["--package=milepost", "--test=it"];

/// Who finds a bug takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Workshop {
    folder: tempfile::TempDir,
    target: PathBuf,
    /// What was built of the sources as they stand now.
    built: RefCell<BTreeSet<&'static [&'static str]>>,
}

/// What somebody who looks for bugs says.
pub(crate) enum Found {
    /// How many cases failed, and the first of them in words.
    Bug(String),
    Nothing,
    /// It could not look: nothing was built, no case was run, or it has not come to an end.
    NoAnswer(String),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bug(what) => write!(f, "found it: {what}"),
            Self::Nothing => f.write_str("found nothing"),
            Self::NoAnswer(why) => write!(f, "did not look: {why}"),
        }
    }
}

impl Workshop {
    pub(crate) fn open() -> Self {
        let folder = tempfile::Builder::new().prefix("milepost-mutants-").tempdir().unwrap();
        let root = root();
        for name in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root.join(name), folder.path().join(name)).unwrap();
        }
        for name in ["src", "tests", "examples", "crates"] {
            copy_folder(&root.join(name), &folder.path().join(name));
        }
        // Cargo wants to see every target that is named, also those that nobody builds.
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
        for path in named.map(|path| path.trim_end_matches('"')) {
            let path = folder.path().join(path);
            if !path.exists() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "fn main() {}\n").unwrap();
            }
        }
        // Kept, so that dependencies are built once and not with every run.
        let target = this_program().ancestors().nth(2).unwrap().join("mutants");
        Self { target, folder, built: RefCell::default() }
    }

    /// Puts a bug into the sources, until what is returned is dropped.
    pub(crate) fn patch(&self, mutant: &Mutant) -> impl Drop {
        let mut sound = Vec::new();
        for patch in mutant.patches {
            let path = self.folder.path().join(patch.file);
            let source = fs::read_to_string(&path).unwrap();
            fs::write(&path, source.replace(patch.is, patch.becomes)).unwrap();
            sound.push((path, source));
        }
        self.built.borrow_mut().clear();
        Patched { workshop: self, sound }
    }

    /// Builds the sources as they stand, as far as it takes, and has somebody look for bugs.
    pub(crate) fn ask(&self, finder: Finder) -> Found {
        let build: &'static [_] = match finder {
            Finder::Class(..) => &["build", "--release", "--package=milepost-torture"],
            Finder::Test(_) => &["test", QUICK, TESTS[0], TESTS[1], "--no-run"],
        };
        if let Err(why) = self.build(build) {
            return Found::NoAnswer(why);
        }
        match finder {
            Finder::Class(class, images) => {
                let program = self.target.join("release/torture");
                torture(&program.with_extension(env::consts::EXE_EXTENSION), class, images)
            }
            Finder::Test(name) => self.test(name),
        }
    }

    /// Checks that the library compiles as it is now, with all that the finders use of it.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.build(&["check", "--package=milepost", "--package=milepost-torture"])
    }

    fn build(&self, what: &'static [&'static str]) -> Result<(), String> {
        if !self.built.borrow_mut().insert(what) {
            return Ok(());
        }
        let built = self.cargo(what).output().unwrap();
        if built.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }

    fn test(&self, name: &str) -> Found {
        let mut cargo = self.cargo(&["test", QUICK, TESTS[0], TESTS[1]]);
        let Some(said) = run(cargo.args(["--", "--exact", name])) else {
            return Found::NoAnswer(format!("no end within {PATIENCE:?}"));
        };
        let words = said.out.lines().chain(said.err.lines());
        let mut words = words.skip_while(|line| !line.contains(" panicked at "));
        match (said.is_success, said.out.contains("running 1 test")) {
            (_, false) => Found::NoAnswer(format!("no such test: {}", said.err)),
            (true, _) => Found::Nothing,
            (false, _) => Found::Bug(cut(words.nth(1).unwrap_or("it fails, and says no more"))),
        }
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(args)
            .args(["--quiet", "--offline", "--locked", "--all-features"])
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(self.folder.path())
            .env("CARGO_INCREMENTAL", "1")
            .env("RUSTFLAGS", "-A warnings");
        cargo
    }
}

struct Patched<'w> {
    workshop: &'w Workshop,
    sound: Vec<(PathBuf, String)>,
}

impl Drop for Patched<'_> {
    fn drop(&mut self) {
        // Backwards: two patches may be of one file.
        for (path, source) in self.sound.iter().rev() {
            fs::write(path, source).unwrap();
        }
        self.workshop.built.borrow_mut().clear();
    }
}

/// A class that was prepared, has run, and in which a case failed. A class that cannot be prepared
/// fails, too, but says nothing of what its cases can see.
fn torture(program: &Path, class: &str, images: u32) -> Found {
    let mut command = Command::new(program);
    command.args(["--json", "--seed", "1", "--class", class]);
    let Some(said) = run(command.args(["--images", &images.to_string()])) else {
        return Found::NoAnswer(format!("no end within {PATIENCE:?}"));
    };
    let report = serde_json::from_str::<serde_json::Value>(&said.out).unwrap_or_default();
    let class_said = |what: &str| report.pointer("/classes/0")?.get(what)?.as_u64();
    let count = |what: &str| class_said(what).unwrap_or(0);
    let (runs, failed) = (count("runs"), count("wrong") + count("crash") + count("violations"));
    let marker = format!("{class}: ");
    let told = said.err.lines().find_map(|line| line.strip_prefix(&marker));
    match (runs, failed) {
        (0, _) => Found::NoAnswer(said.err),
        (_, 0) if said.is_success => Found::Nothing,
        (_, 0) => Found::NoAnswer(format!("it fails, and no case does: {}", said.err)),
        _ => Found::Bug(format!("{failed} of {runs}: {}", cut(told.unwrap_or_default()))),
    }
}

/// All classes of the torture, by name.
pub(crate) fn classes() -> BTreeSet<String> {
    let said = run(Command::new(this_program()).args(["--class", "none"])).unwrap();
    let known = said.err.split("known: ").nth(1).unwrap();
    known.trim().split(", ").map(str::to_owned).collect()
}

/// The root of the workspace, from which the table names its files.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn this_program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_torture"))
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}

struct Said {
    is_success: bool,
    out: String,
    err: String,
}

/// Runs it to its end; `None` if that does not come.
fn run(command: &mut Command) -> Option<Said> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let out = read_all(child.stdout.take().unwrap());
    let err = read_all(child.stderr.take().unwrap());
    let Ok(out) = out.recv_timeout(PATIENCE) else {
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    };
    let err = err.recv().unwrap_or_default();
    Some(Said { is_success: child.wait().unwrap().success(), out, err })
}

fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        // Whoever waited for it may have lost patience.
        let _ = send.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receive
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
