//! The file of a savepoint, and what must hold of whatever is made of it.

use std::cell::Cell;

use milepost::testing::{import_savepoint_bytes, reseal_savepoint, savepoint_bytes};
use milepost::{CheckpointId, Error, ErrorKind, Limits, Options, SavepointOptions, Store};

use crate::memory::peak_of;
use crate::questions::{Book, options};

/// What a store takes by itself while it commits, and serde's caution.
const CAUTION: usize = 24 << 20;
/// An object of two letters in JSON is a node of a tree in memory.
const TIMES: usize = 256;

fn store() -> Store {
    let limits = Limits { value_bytes: 1 << 20, ..Limits::default() };
    small(options()).limits(limits).in_memory().unwrap()
}

fn small(options: Options) -> Options {
    options.cache_bytes(1 << 16)
}

thread_local! {
    /// A store in which nothing is: making one takes longer than most of what is played.
    static UNTOUCHED: Cell<Option<Store>> = const { Cell::new(None) };
}

/// The first byte says whether the rest is made to hold; the rest is the file.
pub fn play(data: &[u8]) {
    let [mode, file @ ..] = data else { return };
    let is_forged = mode % 2 == 1;
    let bytes = if is_forged { reseal_savepoint(file) } else { file.to_vec() };
    let mut how = SavepointOptions::new();
    if is_forged {
        how = how.edited();
    }
    let first = UNTOUCHED.take().unwrap_or_else(store);
    let (done, peak) = peak_of(|| import_savepoint_bytes(&first, &bytes, &how));
    assert!(peak < TIMES * bytes.len() + CAUTION, "{} bytes took {peak}", bytes.len());
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            assert_honest(&error);
            // Nothing was written, so the next one may have it.
            return UNTOUCHED.set(Some(first));
        }
    };
    assert!(done.changed && done.must_reconcile, "{done:?}");
    assert!(first.verify().unwrap().is_sound());
    let again = import_savepoint_bytes(&first, &bytes, &how).unwrap();
    assert!(!again.changed && again.id == done.id, "{again:?}");
    // It is a state of this type, or the error says what it is.
    if let Err(error) = first.run::<Book>(done.run.as_str()) {
        assert_honest(&error);
    }
    let mut known = None;
    for json in [false, true] {
        match savepoint_bytes(&first.checkpoints(), &done.id, json) {
            Ok(file) => {
                let shown = carried(&file, &done.id);
                assert!(*known.get_or_insert(shown.clone()) == shown, "the forms differ");
            }
            // Its bytes do not fit its shape, or JSON has no word for them.
            Err(error) => assert!(json, "{error}"),
        }
    }
}

/// Imports what was exported into a new store, exports it from there, and says what it is.
fn carried(file: &[u8], id: &CheckpointId) -> Vec<u8> {
    let store = store();
    let done = import_savepoint_bytes(&store, file, &SavepointOptions::new()).unwrap();
    assert_eq!(done.id, *id);
    let known = store.checkpoints().show(id).unwrap();
    let mut shown = format!("{} {known:?} {:?}", done.run, known.labels).into_bytes();
    let again = savepoint_bytes(&store.checkpoints(), id, false).unwrap();
    // The state is the end of the file.
    let len = usize::try_from(known.bytes).unwrap();
    shown.extend_from_slice(&again[again.len() - len..]);
    shown
}

fn assert_honest(error: &Error) {
    use ErrorKind::{Damaged, Invalid, LimitExceeded, SchemaMismatch, TooNew};
    let honest =
        matches!(error.kind(), Damaged | Invalid | LimitExceeded | SchemaMismatch | TooNew);
    assert!(honest, "{:?}: {error}", error.kind());
}
