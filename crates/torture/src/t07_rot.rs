//! T7: bit rot of a store that was closed in order. Every byte of its file flipped, zeroed and set,
//! the file cut and extended; then it is opened, scanned, asked for every key, written and closed.
//!
//! The damaged stores are opened by a child, which is asked for one case at a time: what brings it
//! down or makes it hang is one crash, and the next case gets a new child. A byte that a sound life
//! of the store never reads cannot change anything, so of those only every 997th is tried.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use milepost::{Error, ErrorKind, Options, Store, Verification, verify};

use super::child::{Child, Said, hear, say};
use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::{Finding, Known};
use super::panics::words_of;
use super::past;
use super::patched::{Damage, Patched};
use super::sound::{known_of, orders_of, sound_store};
use super::system;
use super::t01_power_loss::spread;
use super::work::{RUN, Tour, take_step};

/// A store that is verified whole when it is opened, as all are up to 256 MiB.
pub(crate) struct Rot;

/// A store that is too large for that.
pub(crate) struct RotOfLarge;

/// Longer is a hang.
const PATIENCE: Duration = Duration::from_secs(5);
/// A child that wants more than this allocates past all limits: the store has 64 MiB of cache.
const ADDRESS_SPACE: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sound store
    store: PathBuf,
    /// Opened without being verified
    #[arg(long)]
    unverified: bool,
}

impl Class for Rot {
    fn id(&self) -> &'static str {
        "T7"
    }

    fn about(&self) -> &'static str {
        "bit rot of a closed store: every byte, and every length"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Rots::prepare(setting, false)?))
    }
}

impl Class for RotOfLarge {
    fn id(&self) -> &'static str {
        "T7b"
    }

    fn about(&self) -> &'static str {
        "the same, in a store too large to be verified when it is opened"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Rots::prepare(setting, true)?))
    }
}

struct Rots {
    unverified: bool,
    bytes: Vec<u8>,
    store: PathBuf,
    cases: Plan,
    /// Children that wait for their next case.
    idle: Mutex<Vec<Child>>,
}

/// Met only in a store that was not verified when it was opened.
const HIDDEN: &str = "a row was hidden until `verify` told";
const OVERWRITTEN: &str = "a row was overwritten, by a damaged list of free pages that `verify` tells of while it is closed";
/// A destructor of redb's that panics while another panic of redb's unwinds cannot be caught.
const ABORTED: &str = "the storage engine aborted the process";

impl Rots {
    fn prepare(setting: &Setting, unverified: bool) -> Result<Self, String> {
        let (bytes, known) = sound_store().map_err(|error| error.to_string())?;
        let name = if unverified { "t07b.mp" } else { "t07.mp" };
        let store = setting.folder.join(name);
        std::fs::write(&store, &bytes).map_err(|error| error.to_string())?;
        std::fs::write(store.with_extension("orders"), orders_of(&known))
            .map_err(|error| error.to_string())?;
        let cases = Plan::of(&bytes, &known, setting.seed, unverified)?;
        Ok(Self { unverified, bytes, store, cases, idle: Mutex::default() })
    }

    /// A child that waits for a case; a new one if all are busy.
    fn child(&self) -> Result<Child, String> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(child) = idle {
            return Ok(child);
        }
        let mut command = Child::command(&["rot"])?;
        command.arg(&self.store);
        if self.unverified {
            command.arg("--unverified");
        }
        Child::start(&mut command)
    }

    fn ask(&self, damage: Damage) -> Result<Outcome, String> {
        let mut child = self.child()?;
        child.tell(&damage.to_string())?;
        let said = match child.next(PATIENCE) {
            Said::Line(said) => said,
            Said::Nothing => return Ok(Outcome::Crash(format!("I7: hangs with {damage}"))),
            Said::Ended => {
                let end = child.wait()?;
                return Ok(Outcome::Crash(format!("I7: {end} with {damage}")));
            }
        };
        if !said.starts_with("aborts") {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
        let (what, why) = said.split_once(' ').unwrap_or((&said, ""));
        let why = || format!("{why}, with {damage}");
        Ok(match what {
            "same" => Outcome::Same,
            "error" => Outcome::TypedError,
            "hidden" if self.unverified => Outcome::Limit(HIDDEN),
            "overwritten" if self.unverified => Outcome::Limit(OVERWRITTEN),
            "aborts:" if self.unverified => Outcome::Limit(ABORTED),
            "wrong" => Outcome::Wrong(why()),
            "panic" | "aborts:" => Outcome::Crash(why()),
            _ => Outcome::Violation(why()),
        })
    }
}

impl Cases for Rots {
    fn count(&self, scale: f64) -> u64 {
        self.cases.count(scale)
    }

    fn run(&self, nth: u64, _: &mut Scene) -> Outcome {
        self.ask(self.cases.nth(nth, &self.bytes)).unwrap_or_else(Outcome::Violation)
    }
}

/// Which damage is the nth. Neighbours are five bytes apart, so that a part of the row is a sample
/// of the whole; five times the floor is every byte.
struct Plan {
    /// Bytes that are read by a sound life, and a few of the others.
    places: Vec<usize>,
    lengths: Vec<Damage>,
}

const STRIDE: u64 = 5;
/// Ways in which a byte is damaged: a bit of it turned, zeroed, set.
const WAYS: u64 = 3;
/// Of the bytes that are never read, one in so many.
const NEVER_READ_STRIDE: usize = 997;

impl Plan {
    fn of(bytes: &[u8], known: &Known, seed: u64, unverified: bool) -> Result<Self, String> {
        let disk = Arc::new(Patched::new(bytes.into(), Damage::None).watched());
        let sound = examine(unverified, &disk, known, Path::new("sound"));
        if sound != Verdict::Same {
            return Err(format!("the sound store does not pass: {sound}"));
        }
        let read = disk.read_bytes();
        let chosen =
            |(at, read): (usize, &bool)| (*read || at % NEVER_READ_STRIDE == 0).then_some(at);
        let places: Vec<_> = read.iter().enumerate().filter_map(chosen).collect();
        Ok(Self { places: strided(&places, seed), lengths: lengths(bytes.len()) })
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a scale times a number of bytes"
    )]
    fn count(&self, scale: f64) -> u64 {
        let all = self.places.len() as u64 * WAYS;
        let part = (all as f64 / STRIDE as f64 * scale).ceil() as u64;
        self.lengths.len() as u64 + part.min(all)
    }

    fn nth(&self, nth: u64, bytes: &[u8]) -> Damage {
        let lengths = self.lengths.len() as u64;
        let index = |n: u64| usize::try_from(n).unwrap_or(0);
        if let Some(damage) = self.lengths.get(index(nth.min(lengths))) {
            return *damage;
        }
        let nth = nth - lengths;
        let place = index((nth / WAYS) % self.places.len().max(1) as u64);
        let at = self.places.get(place).copied().unwrap_or_default();
        let was = bytes.get(at).copied().unwrap_or_default();
        let turned = was ^ (1 << (at % 8));
        let value = match nth % WAYS {
            0 => turned,
            1 if was != 0 => 0,
            2 if was != 0xFF => 0xFF,
            // It is that already: another bit.
            _ => was ^ (1 << ((at + 3) % 8)),
        };
        Damage::Byte { at, value }
    }
}

/// All of them, each fifth first, from an offset that the seed decides; and of each fifth some from
/// everywhere first.
fn strided(places: &[usize], seed: u64) -> Vec<usize> {
    let stride = usize::try_from(STRIDE).unwrap_or(1);
    let first = usize::try_from(seed % STRIDE).unwrap_or(0);
    let fifth = |pass: usize| {
        let fifth: Vec<_> =
            places.iter().skip((first + pass) % stride).step_by(stride).copied().collect();
        let order = (0..fifth.len() as u64).map(|nth| spread(nth, fifth.len()));
        order.filter_map(|nth| fifth.get(nth).copied()).collect::<Vec<_>>()
    };
    (0..stride).flat_map(fifth).collect()
}

/// Cuts and extensions, around every boundary there is.
fn lengths(len: usize) -> Vec<Damage> {
    let cuts = [0, 1, 9, 10, 63, 64, 128, 192, 319, 320, 321, 511, 512, 4_095, 4_096, 4_097];
    let pages = (0..len).step_by(4_096).flat_map(|at| [at, at + 17, at + 4_095]);
    let near = [1, 2, 511, 512, 513].map(|less| len.saturating_sub(less));
    let lens: Vec<_> = cuts.into_iter().chain(pages).chain(near).filter(|cut| *cut < len).collect();
    let more = [1, 7, 320, 511, 512, 4_095, 4_096, 4_097, 65_536, 1 << 20];
    let longer = more
        .into_iter()
        .flat_map(|more| [0, 0xFF, 0x5A].map(|fill| Damage::Length { len: len + more, fill }));
    lens.into_iter().map(|len| Damage::Length { len, fill: 0 }).chain(longer).collect()
}

/// The child: one answer for each damage it is told of.
pub(crate) fn serve(args: &Args) -> Result<(), String> {
    system::limit_address_space(ADDRESS_SPACE)?;
    std::panic::set_hook(Box::new(|panic| {
        // The last words of a process that is about to abort.
        if words_of(panic.payload()) == "panic in a destructor during cleanup" {
            let _ = say("aborts: a destructor panicked while a panic unwound");
        }
    }));
    let bytes: Arc<[u8]> = std::fs::read(&args.store).map_err(|error| error.to_string())?.into();
    let orders = std::fs::read_to_string(args.store.with_extension("orders"));
    let known = known_of(&orders.map_err(|error| error.to_string())?);
    let file = args.store.with_extension(std::process::id().to_string());
    while let Ok(line) = hear() {
        let disk = Arc::new(Patched::new(bytes.clone(), line.parse()?));
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            examine(args.unverified, &disk, &known, &file)
        }));
        say(verdict.unwrap_or_else(|panic| Verdict::Panic(words_of(&*panic).to_owned())))?;
    }
    Ok(())
}

fn options(unverified: bool) -> Options {
    let options = Options::new().cache_bytes(1 << 20);
    if unverified { options.verify_on_open_bytes(0) } else { options }
}

/// What a damaged store came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Same,
    Error,
    Hidden(String),
    Overwritten(String),
    Wrong(String),
    Violation(String),
    Panic(String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // One line, whatever an error says.
        match self {
            Self::Same => f.write_str("same"),
            Self::Error => f.write_str("error"),
            Self::Hidden(what) => write!(f, "hidden {}", what.replace('\n', " ")),
            Self::Overwritten(what) => write!(f, "overwritten {}", what.replace('\n', " ")),
            Self::Wrong(what) => write!(f, "wrong {}", what.replace('\n', " ")),
            Self::Violation(what) => write!(f, "violation {}", what.replace('\n', " ")),
            Self::Panic(words) => {
                write!(f, "panic crossed the API: {}", words.replace('\n', " "))
            }
        }
    }
}

/// Opens, scans, asks for everything, writes, closes, and opens once more.
fn examine(unverified: bool, disk: &Arc<Patched>, known: &Known, file: &Path) -> Verdict {
    let options = options(unverified);
    let store = match options.open_on(disk.clone()) {
        Ok(store) => store,
        Err(error) if disk.was_changed() => {
            return Verdict::Violation(format!("I9: refused, and written to: {error}"));
        }
        Err(error) => return refusal(&error),
    };
    let finding = match live(&options, store, disk, known.clone()) {
        Ok(()) => return Verdict::Same,
        Err(finding) => finding,
    };
    let (what, is_absence) = match finding {
        Finding::Refused(error) => return refusal(&error),
        Finding::Wrong(what) => (what, false),
        Finding::Absent(what) | Finding::Violation(what) => (what, true),
    };
    // Without verification a damaged index can hide a row; it is `verify` that tells, of some damage
    // only while the store is closed.
    let finds = |verified: milepost::Result<Verification>| verified.is_ok_and(|v| !v.is_sound());
    let verified = options.open_on(Arc::new(disk.anew())).and_then(|store| store.verify());
    if !unverified || !is_absence {
        Verdict::Wrong(what)
    } else if finds(verified) {
        Verdict::Hidden(what)
    } else if finds(disk.anew().write_to(file).and_then(|()| verify(file, &options))) {
        // The list of free pages was damaged: what the store wrote took the place of what was there.
        Verdict::Overwritten(what)
    } else {
        Verdict::Wrong(format!("{what}, and `verify` finds nothing"))
    }
}

fn live(
    options: &Options,
    store: Store,
    disk: &Arc<Patched>,
    mut known: Known,
) -> Result<(), Finding> {
    known.check(&store)?;
    known.settle_calls(&store)?;
    past::check(&store)?;
    let mut run = store.run::<Tour>(RUN)?;
    known.begun = take_step(&mut run)?;
    known.acknowledged = known.begun;
    drop(run);
    known.epoch = store.epoch().get();
    store.close()?;
    let store = options.open_on(disk.clone())?;
    known.check(&store)?;
    past::check(&store)?;
    store.close()?;
    Ok(())
}

/// What damage may be called.
fn refusal(error: &Error) -> Verdict {
    match error.kind() {
        ErrorKind::Damaged
        | ErrorKind::Invalid
        | ErrorKind::TooNew
        // The commit met the damage half-way.
        | ErrorKind::Uncertain(_)
        | ErrorKind::Poisoned => Verdict::Error,
        kind => Verdict::Violation(format!("I7: damage is called {kind:?}: {error}")),
    }
}
