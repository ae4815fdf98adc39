//! A state and a row of arbitrary bytes, read as types that never wrote them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use milepost::testing::Rng;
use milepost::testing::hostile::Spot;
use milepost::{ErrorKind, MemoryDisk, Options, Result, Run, Store, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Outcome, byte};

/// How long the payload is, in bytes; one of them is its length.
const LEN: usize = 40;
const FILLER: u8 = 0xA7;
/// The number of the table of runs.
const RUNS: u8 = 2;

/// A store of which the state and a row are to be replaced.
pub(super) struct Payloads {
    image: Vec<u8>,
    rows: Vec<Spot>,
}

impl Payloads {
    pub(super) fn new() -> Result<Self, String> {
        let image = image().map_err(|error| format!("making a store: {error}"))?;
        let mut rows = Spot::all(&image);
        rows.retain(|spot| place_of(image.get(spot.at.clone()).unwrap_or_default()).is_some());
        if rows.len() < 2 {
            return Err("the state and the row were not found in the bytes of the store".into());
        }
        Ok(Self { image, rows })
    }

    /// Puts a payload into the state or into the row, and reads that as one type after the other:
    /// each is refused as another type, or decodes.
    pub(super) fn case(&self, rng: &mut Rng) -> Outcome {
        let payload: Vec<u8> = (0..LEN).map(|_| likely_byte(rng)).collect();
        let mut image = self.image.clone();
        let is_state = rng.one_in(2);
        for spot in self.rows.iter().filter(|spot| (spot.table == RUNS) == is_state) {
            spot.reseal(&mut image, |record| {
                let place = place_of(record).and_then(|at| record.get_mut(at..at + LEN));
                if let Some(place) = place {
                    place.copy_from_slice(&payload);
                }
            });
        }
        let read = if is_state { read_state } else { read_row };
        read(image).unwrap_or_else(|outcome| outcome)
    }
}

/// A state of another type is refused before it is decoded, that of the type it has decodes or not;
/// so it is when it is shown by its shape.
fn read_state(image: Vec<u8>) -> Result<Outcome, Outcome> {
    let disk = Arc::new(MemoryDisk::from_bytes(image));
    let store = options().open_on(disk).map_err(|error| violation("opening", error.kind()))?;
    refused::<Number>(&store, ErrorKind::SchemaMismatch)?;
    refused::<Maps>(&store, ErrorKind::SchemaMismatch)?;
    refused::<Chain>(&store, ErrorKind::SchemaMismatch)?;
    refused::<Renamed>(&store, ErrorKind::SchemaMismatch)?;
    refused::<Older>(&store, ErrorKind::TooNew)?;
    refused::<Newer>(&store, ErrorKind::SchemaMismatch)?;
    let is_shown = match store.inspect_run("run") {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::Damaged => false,
        Err(error) => return Err(violation("inspecting", error.kind())),
    };
    let is_read = match store.run::<Written>("run") {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::SchemaMismatch => false,
        Err(error) => return Err(violation("the state", error.kind())),
    };
    match (is_shown, is_read) {
        (true, true) => Ok(Outcome::Same),
        (false, false) => Ok(Outcome::TypedError),
        _ => Err(Outcome::Wrong("a state is shown and not read, or read and not shown".into())),
    }
}

/// What came of reading the row as each type.
fn read_row(image: Vec<u8>) -> Result<Outcome, Outcome> {
    let disk = Arc::new(MemoryDisk::from_bytes(image));
    let store = options().open_on(disk).map_err(|error| violation("opening", error.kind()))?;
    let run = store.run::<Written>("run").map_err(|error| violation("the run", error.kind()))?;
    let mut decoded = 0;
    for read_as in [
        read_as::<Number>,
        read_as::<Text>,
        read_as::<Nested>,
        read_as::<Maps>,
        read_as::<Choice>,
        read_as::<Chain>,
        read_as::<Wide>,
    ] {
        decoded += read_as(&run)?;
    }
    Ok(if decoded == 0 { Outcome::TypedError } else { Outcome::Same })
}

fn violation(what: &str, kind: ErrorKind) -> Outcome {
    Outcome::Violation(format!("I7: {what}: {kind:?}"))
}

/// Whether the row could be read as this type.
fn read_as<T: State>(run: &Run<Written>) -> Result<u32, Outcome> {
    match run.get::<T>("row") {
        Ok(_) => Ok(1),
        Err(error) if error.kind() == ErrorKind::SchemaMismatch => Ok(0),
        Err(error) => Err(violation(std::any::type_name::<T>(), error.kind())),
    }
}

fn refused<T: State>(store: &Store, expected: ErrorKind) -> Result<(), Outcome> {
    match store.run::<T>("run") {
        Err(error) if error.kind() == expected => Ok(()),
        Err(error) => Err(violation(T::NAME, error.kind())),
        Ok(_) => Err(Outcome::Wrong(format!("`{}` {} was opened", T::NAME, T::VERSION))),
    }
}

/// Small numbers and the marks of longer ones come up most in real payloads.
fn likely_byte(rng: &mut Rng) -> u8 {
    match rng.below(4) {
        0 => u8::try_from(rng.below(4)).unwrap_or(0),
        1 => 249 + u8::try_from(rng.below(6)).unwrap_or(0),
        _ => byte(rng),
    }
}

/// Where the encoded state stands in a record.
fn place_of(record: &[u8]) -> Option<usize> {
    let mut written = [FILLER; LEN];
    if let Some(first) = written.first_mut() {
        *first = u8::try_from(LEN - 1).unwrap_or(0);
    }
    record.windows(LEN).position(|found| found == written)
}

fn options() -> Options {
    Options::new().cache_bytes(1 << 20).verify_on_open_bytes(0)
}

fn image() -> Result<Vec<u8>> {
    let disk = Arc::new(MemoryDisk::new());
    let store = options().create_on(disk.clone())?;
    let mut run = store.run::<Written>("run")?;
    run.step("key", 1, |tx| {
        tx.state.0 = vec![FILLER; LEN - 1];
        tx.put("row", &Written(vec![FILLER; LEN - 1]))
    })?;
    drop(run);
    store.close()?;
    Ok(disk.to_bytes())
}

trait State: Versioned + Serialize + DeserializeOwned + Default + 'static {}

macro_rules! state {
    ($($name:ident($inner:ty) $as:literal $version:literal;)*) => {
        $(
            #[derive(Debug, Default, Serialize, Deserialize)]
            struct $name($inner);

            impl Versioned for $name {
                const NAME: &'static str = $as;
                const VERSION: u32 = $version;
            }

            impl State for $name {}
        )*
    };
}

state! {
    Written(Vec<u8>) "state" 2;
    Number(u64) "state" 2;
    Text(String) "state" 2;
    Nested(Vec<Vec<Option<(i128, char)>>>) "state" 2;
    Maps((HashMap<String, BTreeSet<u16>>, BTreeMap<i64, bool>)) "state" 2;
    Choice(Vec<Either>) "state" 2;
    Chain(Option<Box<Link>>) "state" 2;
    Wide((f32, f64, [u8; 3], Option<Option<u64>>, (), u128)) "state" 2;
    Renamed(Vec<u8>) "other" 2;
    Older(Vec<u8>) "state" 1;
    Newer(Vec<u8>) "state" 3;
}

#[derive(Debug, Serialize, Deserialize)]
enum Either {
    Unit,
    New(String),
    Pair(u8, i16),
    Full { name: Box<str>, by: Option<Box<Either>> },
}

/// As deep as the bytes say.
#[derive(Debug, Serialize, Deserialize)]
struct Link {
    value: u8,
    next: Option<Box<Link>>,
}
