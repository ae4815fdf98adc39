//! A second process: this very test binary, started again to do one thing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use milepost::{Options, Store};

use super::{Counter, count};

const TASK: &str = "MILEPOST_IT_TASK";
const PATH: &str = "MILEPOST_IT_PATH";

/// A running child; it is killed when it is dropped.
pub struct Child {
    process: std::process::Child,
    said: BufReader<ChildStdout>,
    _stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts a child that does `task` with `path`.
    pub fn start(task: &str, path: &Path) -> Self {
        Self::spawn(Self::command(task, path))
    }

    pub fn command(task: &str, path: &Path) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "support::child::the_task_of_a_child", "--nocapture"])
            .env(TASK, task)
            .env(PATH, path);
        command
    }

    /// The command behind a limit on the size of files, in KiB; past it writes fail with `EFBIG`.
    #[cfg(unix)]
    pub fn with_file_limit(task: &str, path: &Path, kib: u64) -> Command {
        let inner = Self::command(task, path);
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""))
            .arg("bash")
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(TASK, task)
            .env(PATH, path);
        command
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        let stdin = process.stdin.take();
        Self { process, said, _stdin: stdin }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next thing it says, or `None` when it has ended.
    pub fn says(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if let Some(said) = line.trim_end().strip_prefix("child: ") {
                return Some(said.to_owned());
            }
            line.clear();
        }
        None
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn wait(mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether this process may do anything to any file, so that permissions prove nothing.
#[cfg(unix)]
pub fn is_root() -> bool {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    let root = std::fs::write(closed.join("x"), b"x").is_ok();
    root && std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// Says something to the test that has started this process.
pub fn say(text: impl std::fmt::Display) {
    println!("\nchild: {text}");
    std::io::stdout().flush().unwrap();
}

pub fn wait_to_be_killed() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Not a test: what a child does. Without its variable it does nothing.
#[test]
fn the_task_of_a_child() {
    let (Ok(task), Some(path)) = (std::env::var(TASK), std::env::var_os(PATH)) else { return };
    let path = Path::new(&path);
    match task.as_str() {
        "open" => report(Options::new().open(path)),
        "create" => report(Options::new().create(path)),
        "hold" => {
            let store = Store::open(path).unwrap();
            say(format!("epoch {}", store.epoch()));
            wait_to_be_killed();
        }
        "work" => work_until_it_fails(&Store::open(path).unwrap(), 200),
        "steps" => {
            let store = Store::open(path).unwrap();
            let mut run = store.run::<Counter>("run").unwrap();
            for n in run.steps() + 1.. {
                count(&mut run, n).unwrap();
                say(format!("done {n}"));
            }
        }
        "relative" => {
            std::env::set_current_dir(path).unwrap();
            let store = Store::create("bot.mp").unwrap();
            std::env::set_current_dir("/").unwrap();
            let mut run = store.run::<Counter>("run").unwrap();
            report(count(&mut run, 1).map(|_| store.clone()));
        }
        #[cfg(unix)]
        other => crate::fork::task(other, path),
        #[cfg(not(unix))]
        other => panic!("no such task: {other}"),
    }
}

fn report(opened: milepost::Result<Store>) {
    match opened {
        Ok(store) => say(format!("ok epoch {}", store.epoch())),
        Err(error) => say(format!("{:?} {error}", error.kind())),
    }
}

/// Steps with ever larger rows; says every number that was acknowledged, and how it ended.
fn work_until_it_fails(store: &Store, most: u64) {
    let mut run = store.run::<Counter>("run").unwrap();
    say("started");
    for n in 1..=most {
        let done = run.step(super::key_of(n), n, |tx| {
            tx.state.sum += n;
            tx.state.seen.push(n);
            tx.put(format!("{n}"), &vec![7u8; 50_000])?;
            Ok(tx.state.sum)
        });
        match done {
            Ok(_) => say(format!("done {n}")),
            Err(error) => {
                say(format!("failed {n} {:?} {error}", error.kind()));
                let after = count(&mut run, n + 1).unwrap_err();
                say(format!("then {:?}", after.kind()));
                return;
            }
        }
    }
}
