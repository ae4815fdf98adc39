//! A state of arbitrary bytes, and the types as which somebody might open it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use milepost::testing::hostile::Spot;
use milepost::{ErrorKind, MemoryDisk, Store, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pages::Pages;
use crate::questions::options;

/// The shortest and the longest payload, in bytes: it has to be found again in the record, and stays
/// behind one byte of length.
pub const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 8..=250;

const FILLER: u8 = 0xA7;

/// Opens a store whose run and whose row hold these bytes as every type there is. A type either
/// decodes them, and then a row's value gives the same bytes again, or the error says that it is
/// another type. There is no migration of states yet: once there is, it belongs here.
pub fn play(payload: &[u8]) {
    let payload = payload.get(..payload.len().min(*PAYLOAD_BYTES.end())).unwrap_or_default();
    if !PAYLOAD_BYTES.contains(&payload.len()) {
        return;
    }
    let image = image_of(payload);
    let store = options().open_on(Arc::new(MemoryDisk::from_bytes(image))).unwrap();
    read_as::<Number>(&store);
    read_as::<Text>(&store);
    read_as::<Bytes>(&store);
    read_as::<Nested>(&store);
    read_as::<Maps>(&store);
    read_as::<Choice>(&store);
    read_as::<Chain>(&store);
    read_as::<Wide>(&store);
    assert_eq!(kind_of::<Renamed>(&store), Some(ErrorKind::SchemaMismatch));
    assert_eq!(kind_of::<Older>(&store), Some(ErrorKind::TooNew));
    assert_eq!(kind_of::<Newer>(&store), Some(ErrorKind::SchemaMismatch));
}

/// Whether the run, and the row in it, are read as this type without more than an error.
fn read_as<T: State>(store: &Store) {
    match store.run::<T>("run") {
        Err(error) => assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}"),
        Ok(mut run) => {
            if let Err(error) = run.get::<T>("row") {
                assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
            }
            // What was read can be written, or the error says why not; nothing else changes.
            let stepped = run.step("next", u64::MAX, |tx| tx.get::<T>("row").map(|_| 1u64));
            if let Err(error) = stepped {
                let honest = [ErrorKind::SchemaMismatch, ErrorKind::Invalid];
                assert!(honest.contains(&error.kind()), "{error}");
            }
        }
    }
}

fn kind_of<T: State>(store: &Store) -> Option<ErrorKind> {
    store.run::<T>("run").err().map(|error| error.kind())
}

/// A store whose run and whose row hold exactly these bytes as their payloads.
fn image_of(payload: &[u8]) -> Vec<u8> {
    // By length: only the bytes differ.
    static IMAGES: Mutex<BTreeMap<usize, (Vec<u8>, Pages, Vec<Spot>)>> =
        Mutex::new(BTreeMap::new());
    let mut images = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let (image, pages, spots) = images.entry(payload.len()).or_insert_with(|| {
        let image = written(payload.len());
        let mut spots = Spot::all(&image);
        spots.retain(|spot| place_of(&image[spot.at.clone()], payload.len()).is_some());
        (image.clone(), Pages::of(&image), spots)
    });
    assert!(spots.len() >= 2, "the run and its row are to be found");
    let mut changed = image.clone();
    for spot in spots {
        spot.reseal(&mut changed, |record| {
            if let Some(at) = place_of(record, payload.len()) {
                record[at..at + payload.len()].copy_from_slice(payload);
            }
        });
    }
    pages.fix_up(&mut changed);
    changed
}

/// Where the encoded state stands in a record.
fn place_of(record: &[u8], len: usize) -> Option<usize> {
    let mut written = vec![FILLER; len];
    written[0] = u8::try_from(len - 1).ok()?;
    record.windows(len).position(|found| found == written)
}

fn written(len: usize) -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new());
    let store = options().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Bytes>("run").unwrap();
    let state = || Bytes(vec![FILLER; len - 1]);
    run.step("key", 1, |tx| {
        tx.state = state();
        tx.put("row", &state())
    })
    .unwrap();
    drop((run, store));
    disk.to_bytes()
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
    Bytes(Vec<u8>) "state" 2;
    Number(u64) "state" 2;
    Text(String) "state" 2;
    Nested(Vec<Vec<Option<(i128, char)>>>) "state" 2;
    Maps((HashMap<String, BTreeSet<u16>>, BTreeMap<i64, HashSet<bool>>)) "state" 2;
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
