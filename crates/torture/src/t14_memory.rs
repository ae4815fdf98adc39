//! T14: memory. The allocator fails at the Nth call, which ends the process as any Rust program ends
//! then: by an abort, at a point that no handler sees. And records whose checksums hold but whose
//! length fields lie, read in 256 MiB of address space.

use std::path::Path;
use std::sync::Arc;

use milepost::testing::Rng;
use milepost::testing::hostile::Spot;
use milepost::{Error, MemoryDisk, Options, Store};

use super::child::{Child, Said, say};
use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::judge::{Finding, Known};
use super::past;
use super::sound::sound_store;
use super::supervisor::{Death, End, Life, PATIENCE, judge, tell};
use super::work::{RUN, Tour, take_step};
use super::{allocator, life, system};

pub(crate) struct Memory;

/// How many cases a scale of 1 stands for.
const CASES: f64 = 300.0;
/// Of so many cases one is about records that lie.
const HOSTILE_EVERY: u64 = 3;
/// How many records that lie a child reads.
const HOSTILE_AT_ONCE: u64 = 20;
const ADDRESS_SPACE: u64 = 256 << 20;
/// What the life whose allocations fail does.
const ACTS: u64 = 10;

// A group would be called as the one of the life's arguments is.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// A life whose allocation of this number fails
    #[arg(long)]
    fail_at: Option<u64>,
    #[command(flatten)]
    life: life::Args,
}

impl Class for Memory {
    fn id(&self) -> &'static str {
        "T14"
    }

    fn about(&self) -> &'static str {
        "memory: the Nth allocation fails; lying lengths in 256 MiB"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let folder = tempfile::Builder::new()
            .prefix("t14-")
            .tempdir_in(&setting.folder)
            .map_err(|error| error.to_string())?;
        let path = folder.path().join("bot.mp");
        let life = Life { acts: ACTS, fail_at: Some(u64::MAX), ..Life::new(setting.seed, false) };
        match tell(&path, &life, &mut Known::default())? {
            End::Closed(counts) => {
                let allocations = counts.iter().find(|(what, ..)| what == "allocations");
                let allocations = allocations.map_or(0, |(_, calls, _)| *calls);
                Ok(Box::new(Failures { allocations }))
            }
            end => Err(format!("a life without a failure ended so: {end:?}")),
        }
    }
}

struct Failures {
    /// Of a life that nothing happens to.
    allocations: u64,
}

impl Cases for Failures {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a scale times a small number"
    )]
    fn count(&self, scale: f64) -> u64 {
        (CASES * scale).ceil() as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let path = match scene.folder() {
            Ok(folder) => folder.join("bot.mp"),
            Err(error) => return Outcome::Violation(error),
        };
        let (round, place) = (nth / HOSTILE_EVERY, nth % HOSTILE_EVERY);
        let came_to = if place == 0 {
            hostile(&path, scene.rng.next_u64())
        } else {
            // Spread over the whole life at first, and every one in the end.
            let spread = round * (HOSTILE_EVERY - 1) + place - 1;
            let fail_at = 1 + spread.wrapping_mul(6_364_136_223) % self.allocations.max(1);
            fail(&path, scene.seed, fail_at)
        };
        came_to.unwrap_or_else(Outcome::Violation)
    }
}

/// A life that ends at an allocation, and what it leaves behind.
fn fail(path: &Path, seed: u64, fail_at: u64) -> Result<Outcome, String> {
    let mut known = Known::default();
    let life =
        Life { acts: ACTS, fail_at: Some(fail_at), death: Death::None, ..Life::new(seed, false) };
    match tell(path, &life, &mut known)? {
        // Threads take turns, so a life may need a few allocations less than the one that counted.
        End::Killed | End::Closed(_) => {}
        End::Failed(why) => return Ok(Outcome::Crash(format!("allocation {fail_at}: {why}"))),
    }
    Ok(match judge(path, &mut known, true) {
        Ok(()) => Outcome::Same,
        Err(finding) => finding.of_a_sound_store(&format!("after allocation {fail_at} failed")),
    })
}

/// The child: a life, with an allocation that fails; or a reader of records that lie.
pub(crate) fn work(args: &Args) -> Result<(), String> {
    let Some(fail_at) = args.fail_at else { return read_hostile(&args.life) };
    allocator::fail_at(fail_at);
    life::live(&args.life)
}

fn hostile(path: &Path, seed: u64) -> Result<Outcome, String> {
    let mut command = Child::command(&["memory"])?;
    command.arg(path).arg("--seed").arg(seed.to_string());
    command.args(["--acts", "0", "--next-call", "0"]);
    // Each thread's own arena would be reserved whole, and the limit be spent on nothing.
    command.env("MALLOC_ARENA_MAX", "1");
    let mut child = Child::start(&mut command)?;
    let mut refused = 0;
    for _ in 0..HOSTILE_AT_ONCE {
        match child.next(PATIENCE) {
            Said::Line(line) if line == "refused" => refused += 1,
            Said::Line(line) if line == "read" => {}
            Said::Line(line) => return Ok(Outcome::Crash(line)),
            Said::Nothing => return Ok(Outcome::Crash("I7: hangs on a record that lies".into())),
            Said::Ended => {
                let end = child.wait()?;
                return Ok(Outcome::Crash(format!("I7: a record that lies: {end}")));
            }
        }
    }
    child.wait()?;
    Ok(if refused > 0 { Outcome::TypedError } else { Outcome::Same })
}

fn read_hostile(args: &life::Args) -> Result<(), String> {
    let (bytes, _) = sound_store().map_err(|error| error.to_string())?;
    let spots = Spot::all(&bytes);
    if spots.is_empty() {
        return Err("a store without records".to_owned());
    }
    system::limit_address_space(ADDRESS_SPACE)?;
    let mut rng = Rng::new(args.seed());
    for _ in 0..HOSTILE_AT_ONCE {
        let mut bad = bytes.clone();
        lie(&mut bad, &spots, &mut rng);
        let disk = Arc::new(MemoryDisk::from_bytes(bad));
        // Unverified, since the page's own checksum does not hold; the record's does.
        let options = Options::new().verify_on_open_bytes(0).cache_bytes(1 << 20);
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            read_all(&options, disk).is_ok()
        }));
        say(match read {
            Ok(true) => "read",
            Ok(false) => "refused",
            Err(_) => "I7: a panic crossed the API",
        })?;
    }
    Ok(())
}

fn read_all(options: &Options, disk: Arc<MemoryDisk>) -> Result<(), Finding> {
    let store = options.open_on(disk)?;
    // A record that lies may say anything; only that it is said in bounds is asked here.
    if let Err(Finding::Refused(error)) = Known::default().check(&store) {
        return Err(error.into());
    }
    take_all(&store)?;
    Ok(())
}

fn take_all(store: &Store) -> Result<(), Error> {
    store.recovery()?;
    if let Err(Finding::Refused(error)) = past::check(store) {
        return Err(error);
    }
    for settled in [false, true] {
        let intents = store.intents();
        let topic = &super::work::TOPIC;
        let listed = if settled {
            intents.settled(topic, usize::MAX)
        } else {
            intents.outstanding(topic, usize::MAX)
        };
        for intent in listed? {
            store.intent(topic, &intent.id)?;
        }
    }
    for n in 1..=6 {
        drop(store.claim::<u64>(super::work::SCOPE, super::work::call_key(n), &n)?);
    }
    take_step(&mut store.run::<Tour>(RUN)?)?;
    Ok(())
}

/// Puts a length that lies into the payload of some record, where a length may stand, and makes its
/// checksum hold. Of a record that was written more than once, into all its versions: nobody can tell
/// here which of them counts.
fn lie(bytes: &mut [u8], spots: &[Spot], rng: &mut Rng) {
    let number =
        |rng: &mut Rng, below: usize| usize::try_from(rng.below(below as u64)).unwrap_or(0);
    let Some(chosen) = spots.get(number(rng, spots.len())) else { return };
    let place = number(rng, chosen.at.len().saturating_sub(FRAME_BYTES));
    // bincode's mark for a number of eight bytes, and one that no machine has the memory for.
    let length = if rng.one_in(2) { u64::MAX >> rng.below(36) } else { 1 << (28 + rng.below(36)) };
    let lies: Vec<u8> = std::iter::once(0xFD).chain(length.to_le_bytes()).collect();
    for spot in spots.iter().filter(|spot| (spot.table, &spot.key) == (chosen.table, &chosen.key)) {
        spot.reseal(bytes, |payload| {
            let end = payload.len().min(place + lies.len());
            if let Some(room) = payload.get_mut(place..end) {
                room.iter_mut().zip(&lies).for_each(|(byte, lie)| *byte = *lie);
            }
        });
    }
}

const FRAME_BYTES: usize = 21;
