//! T18: keys come and expire, commit after commit; and a year of a bot that trades, under the retention
//! that a store has by default. The file stays in proportion to what is alive, and the memory to the
//! cache.
//!
//! Each case runs in a process of its own, so that its memory is its own. The disk is a file that is
//! never flushed: this class looks at sizes, not at what survives.

mod trade;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost::{Disk, Error, Key, ManualClock, Options, Run, Store, Timestamp, Versioned};
use serde::{Deserialize, Serialize};

use super::class::{Cases, Class, Outcome, Scene, Setting};

pub(crate) struct Endurance;

impl Class for Endurance {
    fn id(&self) -> &'static str {
        "T18"
    }

    fn about(&self) -> &'static str {
        "keys that expire through 20,000 commits, or a year of trades: the size of file and memory"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Marathon { folder: setting.folder.clone(), trades: setting.trades }))
    }
}

struct Marathon {
    folder: PathBuf,
    trades: u64,
}

/// How many trades the year has, unless it was told otherwise.
pub(crate) const TRADES: u64 = 20_000;
const COMMITS: u64 = 20_000;
/// A second a commit, so many keys are alive at a time.
const TTL_S: u64 = 1_500;
const CACHE_BYTES: u64 = 8 << 20;
const FILE_SLACK_BYTES: u64 = 8 << 20;
const MEMORY_SLACK_BYTES: u64 = 32 << 20;
/// Set for the process of a case.
const INSIDE: &str = "MILEPOST_TORTURE_ENDURANCE";

impl Cases for Marathon {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    fn count(&self, scale: f64) -> u64 {
        2 * scale.ceil() as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let ended = if std::env::var_os(INSIDE).is_some() {
            scene.folder().map_err(Outcome::Violation).and_then(|folder| {
                if nth.is_multiple_of(2) { run(&folder) } else { trade::run(&folder, self.trades) }
            })
        } else {
            in_a_process_of_its_own(self, scene.seed, nth)
        };
        ended.err().unwrap_or(Outcome::Same)
    }
}

fn in_a_process_of_its_own(marathon: &Marathon, seed: u64, nth: u64) -> Result<(), Outcome> {
    let failed = |error: io::Error| Outcome::Crash(format!("starting a process: {error}"));
    let output = Command::new(std::env::current_exe().map_err(failed)?)
        .args(["--class", "T18", "--seed", &seed.to_string()])
        .args(["--case", &nth.to_string(), "--trades", &marathon.trades.to_string(), "--folder"])
        .arg(&marathon.folder)
        .env(INSIDE, "1")
        .output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    let told = told.lines().find(|line| line.starts_with("T18: ")).unwrap_or(&told);
    let told = format!("{}, {}", output.status, told.trim_start_matches("T18: "));
    // Without an exit code it was a signal.
    Err(if output.status.code() == Some(1) {
        Outcome::Violation(told)
    } else {
        Outcome::Crash(told)
    })
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Count(u64);

impl Versioned for Count {
    const NAME: &'static str = "count";
    const VERSION: u32 = 1;
}

/// What is alive, as far as it was asked for.
#[derive(Debug, Default)]
struct Alive {
    keys: VecDeque<(Timestamp, u64)>,
    bytes: u64,
}

fn run(folder: &Path) -> Result<(), Outcome> {
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    let cache_bytes = usize::try_from(CACHE_BYTES).unwrap_or(usize::MAX);
    let options = Options::new().clock(clock.clone()).cache_bytes(cache_bytes);
    let mut path = folder.join("0.milepost");
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let store = options.create_on(disk(file)?).map_err(|error| refused(&error))?;
    let mut alive = Alive::default();
    let mut held = Some(begin(store)?);
    for n in 1..=COMMITS {
        let Some((run, _)) = &mut held else { break };
        clock.advance(Duration::from_secs(1));
        commit(run, n, &clock, &mut alive)?;
        if n.is_multiple_of(1_000) {
            alive.judge(&path)?;
        }
        if n.is_multiple_of(6_000) {
            // In order, and then as a kill would leave it: a copy, taken while it was open.
            let killed = folder.join(format!("{n}.milepost"));
            if n.is_multiple_of(12_000) {
                std::fs::copy(&path, &killed).map_err(no_file)?;
                path = killed;
            }
            drop(held.take());
            let file = File::options().read(true).write(true).open(&path);
            let store = options.open_on(disk(file)?).map_err(|error| refused(&error))?;
            held = Some(begin(store)?);
        }
    }
    judge_memory()
}

fn disk(file: io::Result<File>) -> Result<Arc<Unflushed>, Outcome> {
    Ok(Arc::new(Unflushed(Mutex::new(file.map_err(no_file)?))))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_file(error: io::Error) -> Outcome {
    Outcome::Crash(format!("a file of the case: {error}"))
}

fn begin(store: Store) -> Result<(Run<Count>, Store), Outcome> {
    let run = store.run("run").map_err(|error| refused(&error))?;
    Ok((run, store))
}

/// One commit: most often a step, now and then a batch.
fn commit(
    run: &mut Run<Count>,
    n: u64,
    clock: &ManualClock,
    alive: &mut Alive,
) -> Result<(), Outcome> {
    use milepost::Clock;
    let count = if n.is_multiple_of(200) { 40 } else { 1 };
    let outcome = vec![u8::try_from(n % 251).unwrap_or_default(); 1_000];
    let keys = (0..count).map(|nth| format!("a key of some length {n:08}-{nth:03}"));
    let items = keys.map(|key| (Key::new(key).expires_after(Duration::from_secs(TTL_S)), n, ()));
    let done = run.batch(items, |tx, ()| {
        tx.state.0 += 1;
        // Rows that are written over and over.
        tx.put(format!("row-{}", n % 50), &n)?;
        Ok(outcome.clone())
    });
    if !done.map_err(|error| refused(&error))?.iter().all(milepost::Done::is_fresh) {
        return Err(Outcome::Wrong(format!("I3: a key of commit {n} was not new")));
    }
    alive.take_in(clock.now(), count);
    Ok(())
}

impl Alive {
    /// Bytes of a key with its outcome, its frame and its place in the index.
    const KEY_BYTES: u64 = 1_000 + 2 * 40 + 80;

    fn take_in(&mut self, now: Timestamp, count: u64) {
        while self.keys.front().is_some_and(|(deadline, _)| *deadline <= now) {
            let gone = self.keys.pop_front().map_or(0, |(_, bytes)| bytes);
            self.bytes -= gone;
        }
        let bytes = count * Self::KEY_BYTES;
        self.keys.push_back((now.after(Duration::from_secs(TTL_S)), bytes));
        self.bytes += bytes;
    }

    fn judge(&self, path: &Path) -> Result<(), Outcome> {
        let file = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let most = 4 * self.bytes + FILE_SLACK_BYTES;
        if file <= most {
            return Ok(());
        }
        let alive = self.bytes;
        Err(Outcome::Violation(format!("the file has {file} bytes, of which {alive} are alive")))
    }
}

/// The most memory that this process has had, by the operating system's count.
fn judge_memory() -> Result<(), Outcome> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    // Elsewhere nobody counts it: the file alone is judged there.
    let peak = peak_kib.unwrap_or(0) << 10;
    if peak <= CACHE_BYTES + MEMORY_SLACK_BYTES {
        return Ok(());
    }
    Err(Outcome::Violation(format!("{peak} bytes of memory with a cache of {CACHE_BYTES}")))
}

fn refused(error: &Error) -> Outcome {
    Outcome::Violation(format!("I7: {:?}: {error}", error.kind()))
}

/// A file whose flushes do nothing.
#[derive(Debug)]
struct Unflushed(Mutex<File>);

impl Unflushed {
    fn at(&self, offset: u64) -> io::Result<MutexGuard<'_, File>> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }
}

impl Disk for Unflushed {
    fn len(&self) -> io::Result<u64> {
        Ok(self.at(0)?.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.at(offset)?.read_exact(out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.at(offset)?.write_all(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.at(0)?.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
