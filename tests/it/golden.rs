//! Whole stores as released programs wrote them. What they hold is checked by class T16 of
//! `crates/torture`, which has the same files; here is what needs the storage engine itself.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use milepost::{Durability, ErrorKind, MemoryDisk, Options, Reopen};

use crate::support::{error, reframed, rows_of, with_row};

/// Where the payload of a frame begins, and with it, in the identity, the format.
const FORMAT_AT: usize = 21;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/stores/{name}.store"))
}

/// The bytes of a golden store; see `crates/torture/src/golden.rs`.
pub fn expand(packed: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut bytes = vec![0; u64::from_le_bytes(packed[..8].try_into().unwrap()) as usize];
    let mut rest = &packed[8..];
    while !rest.is_empty() {
        let (at, len) = (number(rest), number(&rest[4..]));
        bytes[at..at + len].copy_from_slice(&rest[8..8 + len]);
        rest = &rest[8 + len..];
    }
    bytes
}

/// The store as a program of the next format would have left it.
fn of_the_next_format(bytes: &[u8]) -> Vec<u8> {
    let rows = rows_of(bytes, "meta");
    let (key, row) = rows.iter().find(|(key, _)| key == b"identity").unwrap();
    assert_eq!(row[FORMAT_AT], 1, "the format is the first number of the identity");
    with_row(bytes, "meta", key, Some(&reframed(0, key, row, |row| row[FORMAT_AT] = 2)))
}

/// Against: an old program that takes a newer store for its own, or for a damaged one that could be
/// repaired, or that leaves a trace in it.
#[test]
fn a_golden_store_of_the_next_format_is_refused_and_stays_as_it_is() {
    let ways = [
        Options::new(),
        Options::new().verify_on_open_bytes(0),
        Options::new().durability(Durability::TwoPhase),
        Options::new().reopen(Reopen::Instant),
    ];
    for name in ["format-1-closed", "format-1-killed"] {
        let mut bytes = of_the_next_format(&expand(&fs::read(path(name)).unwrap()));
        // The storage engine closed it; a killed one has this flag of redb's.
        bytes[9] |= if name.ends_with("killed") { 2 } else { 0 };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bot.mp");
        fs::write(&file, &bytes).unwrap();
        for options in &ways {
            let disk = Arc::new(MemoryDisk::from_bytes(bytes.clone()));
            let refused = error(options.open_on(disk.clone()));
            assert_eq!(refused.kind(), ErrorKind::TooNew, "{refused}");
            assert!(disk.to_bytes() == bytes, "{name} was changed");
            assert_eq!(error(options.open(&file)).kind(), ErrorKind::TooNew);
            assert!(fs::read(&file).unwrap() == bytes, "{name} was changed");
        }
    }
}
