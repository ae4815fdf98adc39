//! T16: stores as earlier releases left them, closed and killed, must open and hold what was in them;
//! a store that claims a newer format must be refused, and stay byte for byte as it is.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use milepost::testing::hostile::Spot;
use milepost::{Durability, ErrorKind, MemoryDisk, Options, Reopen, SettledRetention, Store};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::golden::{Golden, RELEASED};
use super::judge::Finding;
use super::past;

pub(crate) struct Formats;

impl Class for Formats {
    fn id(&self) -> &'static str {
        "T16"
    }

    fn about(&self) -> &'static str {
        "stores of every released format, and of formats to come"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(All))
    }
}

struct All;

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
enum Way {
    File,
    Memory,
    Unverified,
    TwoPhase,
    Instant,
}

const WAYS: [Way; 5] = [Way::File, Way::Memory, Way::Unverified, Way::TwoPhase, Way::Instant];

impl Way {
    fn options(self) -> Options {
        // The stores are from 2023: what is settled in them is long over.
        let options = Options::new().settled_retention(SettledRetention::keep_all());
        match self {
            Self::File | Self::Memory => options,
            Self::Unverified => options.verify_on_open_bytes(0),
            Self::TwoPhase => options.durability(Durability::TwoPhase),
            Self::Instant => options.reopen(Reopen::Instant),
        }
    }
}

impl Cases for All {
    fn count(&self, _: f64) -> u64 {
        (RELEASED.len() * WAYS.len() + 1) as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let nth = usize::try_from(nth).unwrap_or(0);
        let way = WAYS.get(nth % WAYS.len()).copied().unwrap_or(Way::File);
        let nth = nth / WAYS.len() % (RELEASED.len() + 1);
        let path = match scene.folder() {
            Ok(folder) => folder.join("old.mp"),
            Err(error) => return Outcome::Violation(error),
        };
        let came_to = match RELEASED.get(nth) {
            Some(golden) => opened(golden, way, &path),
            None => of_the_next_format().and_then(|bytes| refused(&bytes, &path)),
        };
        came_to.unwrap_or_else(Outcome::Violation)
    }
}

/// Where a golden store lies, so that it can be opened, and looked at again.
enum Place<'p> {
    File(&'p Path),
    Memory(Arc<MemoryDisk>),
}

impl<'p> Place<'p> {
    fn of(way: Way, path: &'p Path, bytes: &[u8]) -> Result<Self, String> {
        if !matches!(way, Way::File) {
            return Ok(Self::Memory(Arc::new(MemoryDisk::from_bytes(bytes.to_vec()))));
        }
        fs::write(path, bytes).map_err(|error| error.to_string())?;
        Ok(Self::File(path))
    }

    fn open(&self, options: &Options) -> milepost::Result<Store> {
        match self {
            Self::File(path) => options.open(path),
            Self::Memory(disk) => options.open_on(disk.clone()),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => fs::read(path).map_err(|error| error.to_string()),
            Self::Memory(disk) => Ok(disk.to_bytes()),
        }
    }
}

fn opened(golden: &Golden, way: Way, path: &Path) -> Result<Outcome, String> {
    let place = Place::of(way, path, &golden.bytes()?)?;
    let mut known = golden.known();
    let options = way.options();
    let mut work = || {
        let store = place.open(&options)?;
        known.check(&store)?;
        past::check(&store)?;
        if !store.verify()?.is_sound() {
            return Err(Finding::Violation("verify finds fault with it as it was".to_owned()));
        }
        known.settle_all(&store)?;
        known.epoch = store.epoch().get();
        store.close()?;
        let store = place.open(&options)?;
        known.check(&store)?;
        if !store.verify()?.is_sound() {
            return Err(Finding::Violation("verify finds fault with it".to_owned()));
        }
        Ok(())
    };
    Ok(match work() {
        Ok(()) => Outcome::Same,
        Err(finding) => finding.of_a_sound_store(&format!("{} by {way:?}", golden.name)),
    })
}

/// A released store whose identity says the next format. The storage engine's page checksums no longer
/// hold, so it is opened in ways that do not verify them; `tests/it/golden.rs` has the others.
fn of_the_next_format() -> Result<Vec<u8>, String> {
    let released = RELEASED.first().ok_or("there is no released store")?;
    let mut bytes = released.bytes()?;
    let identities = Spot::all(&bytes).into_iter().filter(|spot| spot.key == b"identity");
    for identity in identities.collect::<Vec<_>>() {
        identity
            .reseal(&mut bytes, |payload| payload.iter_mut().take(1).for_each(|byte| *byte += 1));
    }
    if bytes == released.bytes()? {
        return Err("no identity was found in the released store".to_owned());
    }
    Ok(bytes)
}

fn refused(bytes: &[u8], path: &Path) -> Result<Outcome, String> {
    let (way, name) = (Way::Unverified, "a store of the next format");
    let place = Place::of(way, path, bytes)?;
    for _ in 0..2 {
        match place.open(&way.options()) {
            Ok(_) => return Ok(Outcome::Wrong(format!("{name} was opened by {way:?}"))),
            Err(error) if error.kind() == ErrorKind::TooNew => {}
            Err(error) => {
                return Ok(Outcome::Violation(format!("{name}: {:?}: {error}", error.kind())));
            }
        }
    }
    if place.bytes()? == bytes {
        return Ok(Outcome::TypedError);
    }
    Ok(Outcome::Violation(format!("I9: {name} was changed by {way:?}")))
}
