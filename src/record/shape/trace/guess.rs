//! The values that are made up for types that check what they read. The first of each kind is taken
//! by nearly all of them.

/// Dates, ids, numbers, addresses: what texts are most often read as.
pub(super) const TEXTS: &[&str] = &[
    "",
    "a",
    "0",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00:00:00",
    "1970-01-01T00:00:00",
    "1970-01-01T00:00:00+00:00[UTC]",
    "PT0S",
    "UTC",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "127.0.0.1:1",
    "http://localhost/",
    "a@b.c",
    "USD",
    "A",
];

pub(super) const NUMBERS: &[u8] = &[0, 1, 2, 10, 100];

/// Lengths of byte strings: of ids, hashes and keys.
pub(super) const BYTE_LENGTHS: &[usize] = &[0, 16, 32, 20, 12, 8, 4, 64];

/// How many elements a list has, beyond what is needed to see one.
pub(super) const COUNTS: &[usize] = &[0, 1, 2];
