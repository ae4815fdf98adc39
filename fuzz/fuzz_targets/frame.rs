//! Bytes as a row: a frame that was never written, and a payload that was never encoded, under a
//! checksum that holds. Reading them must neither panic nor take memory that they only claim to need;
//! and what is accepted once must stay what it is when it is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost::testing::hostile::{FrameHeader, OWN_HEADER, open_frame, read_and_write, seal_frame};
use milepost_fuzz::memory::peak_of;
use milepost_fuzz::panics;

const LIMIT: usize = 1 << 20;

/// What a list may be given room for before its elements are there: serde's caution, a level.
const CAUTION: usize = 8 << 20;

fuzz_target!(
    init: panics::keep_quiet(),
    |data: &[u8]| panics::play(|| {
        let [table, key_len, rest @ ..] = data else { return };
        let Some((key, rest)) = rest.split_at_checked(usize::from(*key_len)) else { return };
        as_a_frame(*table, key, rest);
        as_a_payload(*table, key, rest);
    })
);

fn as_a_frame(table: u8, key: &[u8], bytes: &[u8]) {
    if let Ok((header, payload)) = open_frame(table, key, bytes, LIMIT) {
        assert_eq!((payload, &*seal_frame(table, key, header, payload)), (&bytes[21..], bytes));
    }
    let (_, peak) = peak_of(|| read_and_write(table, key, bytes, LIMIT).is_ok());
    assert!(peak < 64 * bytes.len() + CAUTION, "{} bytes took {peak}", bytes.len());
}

fn as_a_payload(table: u8, key: &[u8], bytes: &[u8]) {
    let header = match bytes {
        // Other codecs and versions, now and then.
        [255, codec, schema_version, ..] => {
            FrameHeader { codec: *codec, schema_version: u32::from(*schema_version), ..OWN_HEADER }
        }
        _ => OWN_HEADER,
    };
    let row = seal_frame(table, key, header, bytes);
    let (read, peak) = peak_of(|| read_and_write(table, key, &row, LIMIT));
    assert!(peak < 64 * bytes.len() + CAUTION, "{} bytes took {peak}", bytes.len());
    if let Ok(once) = read {
        let twice = read_and_write(table, key, &once, LIMIT);
        assert_eq!(twice.ok(), Some(once), "what was read and written is read as something else");
    }
}
