//! T8: bits rot in what a crash left, in both durability modes.
//!
//! With one fsync a commit, the newest commit is told from one cut short by its checksums alone. So
//! damage to it after an unclean stop takes back that one commit, whole, and nobody can tell; the
//! manual says so at [`Durability`](milepost::Durability), and it is counted apart here. With two
//! fsyncs a commit the same is a wrong answer.

use std::sync::Arc;

use milepost::testing::{Change, HEADER_BYTES, Platter, Rng, SECTOR_BYTES, SimDisk};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::sim::{Judge, Mode, Story, in_time, is_damage, tell_all};
use super::t01_power_loss::{draw, place, scaled};

pub(crate) struct RotAfterCrash;

impl Class for RotAfterCrash {
    fn id(&self) -> &'static str {
        "T8"
    }

    fn about(&self) -> &'static str {
        "bit rot after a crash, with one and with two fsyncs a commit"
    }

    fn prepare(&self, setting: &Setting) -> Result<Box<dyn Cases>, String> {
        let mut stories = tell_all(setting.seed)?;
        // `Reopen::Instant` reads no pages when it opens, and says so.
        stories.retain(|story| story.mode != Mode::Instant);
        Ok(Box::new(Rotten(stories)))
    }
}

struct Rotten(Vec<Story>);

impl Cases for Rotten {
    fn count(&self, scale: f64) -> u64 {
        // So many in each of the two modes.
        2 * scaled(20_000, scale)
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let Some((story, point)) = place(&self.0, nth) else {
            return Outcome::Violation("there is no story".to_owned());
        };
        let image = draw(&story.trace, point, &mut scene.rng);
        let whole = story.trace.cut(point, &image);
        let mut left = whole.clone();
        // Damage that changes nothing is none.
        for _ in 0..16 {
            rot(&mut left, story.trace.unsynced(point), &mut scene.rng);
            if left != whole {
                break;
            }
        }
        let turned = newest_bit(&left) != newest_bit(&whole);
        in_time(|| look(story, point, &left, turned))
    }
}

/// One bit, one byte, one sector or one page; in the header, in what was written last, or anywhere.
fn rot(left: &mut Platter, last: &[Change], rng: &mut Rng) {
    let at = match (
        rng.below(4),
        last.get(usize::try_from(rng.below(last.len() as u64)).unwrap_or(0)),
    ) {
        (0, _) => rng.below(HEADER_BYTES as u64),
        (1, Some(Change::Write { offset, bytes })) => offset + rng.below(bytes.len() as u64),
        _ => rng.below(left.len()),
    };
    let zeros = |left: &mut Platter, size: u64| {
        let size = usize::try_from(size).unwrap_or(SECTOR_BYTES);
        left.write_within(at - at % size as u64, &vec![0; size]);
    };
    match rng.below(8) {
        0 => zeros(left, SECTOR_BYTES as u64),
        1 => zeros(left, 4096),
        2 => left.write_within(at, &[0xff]),
        3 => left.write_within(at, &[0]),
        _ => left.flip(at, 1 << rng.below(8)),
    }
}

/// With two phases, and no lock file that would tell: a crash between the phases looks the same.
const TURNED: &str = "the one bit that says which of two whole commits is the newer was turned";

/// redb's bit for the newer commit, which is under no checksum.
fn newest_bit(bytes: &Platter) -> u8 {
    let mut flags = [0];
    // Too short a file is refused in any case.
    let _ = bytes.read(9, &mut flags);
    let [flags] = flags;
    flags & 1
}

/// The same answers, a typed error that has touched nothing, or the one thing the manual admits.
fn look(story: &Story, point: usize, left: &Platter, turned: bool) -> Outcome {
    let disk = Arc::new(SimDisk::of(left.clone()));
    let allowed = story.allowed(point);
    let judge = Judge::new(story, allowed.clone());
    let mut actor = match judge.open(&disk) {
        Ok(actor) => actor,
        Err(error) if !is_damage(&error) => {
            return Outcome::Violation(format!("{}: {:?} {error}", story.name, error.kind()));
        }
        Err(_) if disk.live() == *left => return Outcome::TypedError,
        Err(error) => {
            return Outcome::Violation(format!(
                "{}: I9: refused, and changed: {error}",
                story.name
            ));
        }
    };
    let before = story.before(*allowed.start());
    let found = judge.find(&mut actor, allowed);
    match found {
        Ok(Ok(_)) => Outcome::Same,
        Err(error) if is_damage(&error) => Outcome::TypedError,
        Err(error) => Outcome::Violation(format!("{}: {:?} {error}", story.name, error.kind())),
        Ok(Err(what)) => match judge.find(&mut actor, before..=before) {
            Ok(Ok(_)) if story.mode == Mode::OnePhase => Outcome::RolledBack,
            Ok(Ok(_)) if turned => Outcome::Limit(TURNED),
            Ok(Ok(_)) => judge.wrong("I2, a silent roll-back", &what),
            _ => judge.wrong("I3", &what),
        },
    }
}
