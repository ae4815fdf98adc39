//! Whole stores as earlier releases wrote them. What they hold is checked by class T16 of
//! `milepost torture`, which has the same files; here stands what needs the storage engine itself.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use milepost::{ErrorKind, MemoryDisk, Options};

use crate::support::{error, reframed, rows_of, with_row};

/// Where the payload of a frame begins, and with it, in the identity, the format.
const FORMAT_AT: usize = 21;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stores").join(name)
}

/// The bytes of a golden store; see `src/bin/milepost/torture/golden.rs`.
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

/// Every byte that is not zero as a part of its own run; longer than needed, and as true.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    for (nth, part) in bytes.chunks(64).enumerate() {
        let used = part.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used > 0 {
            out.extend_from_slice(&((nth * 64) as u32).to_le_bytes());
            out.extend_from_slice(&(used as u32).to_le_bytes());
            out.extend_from_slice(&part[..used]);
        }
    }
    out
}

/// The store as a program of the next format would have left it.
fn of_the_next_format(bytes: &[u8]) -> Vec<u8> {
    let rows = rows_of(bytes, "meta");
    let (key, row) = rows.iter().find(|(key, _)| key == b"identity").unwrap();
    assert_eq!(row[FORMAT_AT], 1, "the format is the first number of the identity");
    with_row(bytes, "meta", key, Some(&reframed(0, key, row, |row| row[FORMAT_AT] = 3)))
}

/// Against: an old program that takes a newer store for its own, or for a damaged one that could be
/// repaired, or that leaves a trace in it.
#[test]
fn a_golden_store_of_the_next_format_is_refused_and_stays_as_it_is() {
    for (old, new) in
        [("format-1-closed", "format-3-closed"), ("format-1-killed", "format-3-killed")]
    {
        let new = path(&format!("{new}.store"));
        // What was released stays as it is: only an empty file is filled.
        let is_empty = fs::metadata(&new).unwrap().len() == 0;
        if std::env::var_os("MILEPOST_BLESS").is_some() && is_empty {
            let old = expand(&fs::read(path(&format!("{old}.store"))).unwrap());
            let mut bytes = of_the_next_format(&old);
            // The storage engine closed it; a killed one has this flag of redb's.
            bytes[9] |= if new.ends_with("format-3-killed.store") { 2 } else { 0 };
            fs::write(&new, pack(&bytes)).unwrap();
        }
        let bytes = expand(&fs::read(&new).unwrap());
        for options in [Options::new(), Options::new().verify_on_open_bytes(0)] {
            let disk = Arc::new(MemoryDisk::from_bytes(bytes.clone()));
            let error = error(options.open_on(disk.clone()));
            assert_eq!(error.kind(), ErrorKind::TooNew, "{error}");
            assert!(disk.to_bytes() == bytes, "{} was changed", new.display());
        }
    }
}
