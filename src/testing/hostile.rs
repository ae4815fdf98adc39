//! Hostile bytes: what fuzzers and tests need to take rows apart, to put wrong ones together, and to
//! plant them in the bytes of a store.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::ledger::{
    AuditRecord, CheckpointRow, ContentRecord, IntentRecord, KeyRecord, QuarantineRecord,
    RowRecord, RunRecord, SchemaRecord,
};
use crate::record::{CODEC_BINCODE, Header, encode, open_frame as open, seal};
use crate::store::{Read, Record, Table, frame_of};

/// What stands in front of a row's payload, beside its length and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// How the payload is encoded.
    pub codec: u8,
    /// Under which schema; 0 for the store's own records.
    pub schema_id: u32,
    /// In which version of it.
    pub schema_version: u32,
}

impl From<Header> for FrameHeader {
    fn from(header: Header) -> Self {
        let Header { codec, schema_id, schema_version } = header;
        Self { codec, schema_id, schema_version }
    }
}

impl From<FrameHeader> for Header {
    fn from(header: FrameHeader) -> Self {
        let FrameHeader { codec, schema_id, schema_version } = header;
        Self { codec, schema_id, schema_version }
    }
}

/// The header of the store's own records.
pub const OWN_HEADER: FrameHeader =
    FrameHeader { codec: CODEC_BINCODE, schema_id: 0, schema_version: 1 };

/// A row as the store would write it: the frame around a payload, with a checksum that holds. Tables
/// go by their numbers.
#[must_use]
pub fn seal_frame(table: u8, key: &[u8], header: FrameHeader, payload: &[u8]) -> Vec<u8> {
    seal(table, key, header.into(), payload)
}

/// The header and the payload of a row, if its bytes are what was written under this key of this
/// table.
///
/// # Errors
/// `Damaged`, `TooNew`, `LimitExceeded` past `limit` bytes; `Invalid` for a table that does not
/// exist.
pub fn open_frame<'a>(
    table: u8,
    key: &[u8],
    bytes: &'a [u8],
    limit: usize,
) -> Result<(FrameHeader, &'a [u8])> {
    let (header, payload) = frame_of(table_of(table)?, key, bytes, limit)?;
    Ok((header.into(), payload))
}

/// Reads a row as the store does, and writes what came of it as a row again. Rows of which the
/// payload is no record of ours come back as they were.
///
/// # Errors
/// Those of reading it.
pub fn read_and_write(table: u8, key: &[u8], bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
    let rows = Nowhere(limit);
    match table_of(table)? {
        table @ (Table::Meta | Table::Expiry) => {
            let (header, payload) = frame_of(table, key, bytes, limit)?;
            Ok(seal(table.id(), key, header, payload))
        }
        Table::Schemas => again::<SchemaRecord>(&rows, key, bytes),
        Table::Runs => again::<RunRecord>(&rows, key, bytes),
        Table::Checkpoints => again::<CheckpointRow>(&rows, key, bytes),
        Table::Contents => again::<ContentRecord>(&rows, key, bytes),
        Table::Keys => again::<KeyRecord>(&rows, key, bytes),
        Table::Intents => again::<IntentRecord>(&rows, key, bytes),
        Table::Quarantine => again::<QuarantineRecord>(&rows, key, bytes),
        Table::Rows => again::<RowRecord>(&rows, key, bytes),
        Table::Audit => again::<AuditRecord>(&rows, key, bytes),
    }
}

fn again<T: Record>(rows: &Nowhere, key: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let record: T = rows.parse(key, bytes)?;
    let payload = encode(&record).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(seal(T::TABLE.id(), key, Header::own(T::VERSION), &payload))
}

fn table_of(table: u8) -> Result<Table> {
    Table::from_id(table).ok_or_else(|| Error::invalid(format!("there is no table {table}")))
}

/// No rows at all, and a limit for those that are brought along.
struct Nowhere(usize);

impl Read for Nowhere {
    fn get(&self, _: Table, _: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn scan(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn scan_back(&self, _: Table, _: &[u8], _: &[u8], _: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    fn value_limit(&self) -> usize {
        self.0
    }
}

/// Where a row stands in the bytes of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The number of its table.
    pub table: u8,
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes, frame included.
    pub at: Range<usize>,
}

impl Spot {
    /// All rows in the bytes of a store whose checksums hold. Among them are older versions of rows,
    /// on pages that are free by now.
    #[must_use]
    pub fn all(image: &[u8]) -> Vec<Self> {
        let pages = image.chunks(PAGE_BYTES).enumerate();
        pages
            .filter(|(_, page)| page.first() == Some(&LEAF))
            .flat_map(|(nth, _)| spots_of_leaf(image, nth * PAGE_BYTES).unwrap_or_default())
            .collect()
    }

    /// Changes the row's payload, and makes its checksum hold again. A row has to stay as long as it
    /// is: what is cut off becomes zeros, what is too much is dropped.
    pub fn reseal(&self, image: &mut [u8], change: impl FnOnce(&mut Vec<u8>)) {
        let Some(row) = image.get_mut(self.at.clone()) else { return };
        let Ok(frame) = open(self.table, &self.key, row, usize::MAX) else { return };
        let mut payload = frame.payload.to_vec();
        let (header, len) = (frame.header, payload.len());
        change(&mut payload);
        payload.resize(len, 0);
        row.copy_from_slice(&seal(self.table, &self.key, header, &payload));
    }
}

/// The storage engine's leaf page: its kind, a byte, the number of pairs in two, the ends of all keys
/// and then of all values in four each, counted from the page's start; then the keys, then the values.
const LEAF: u8 = 1;
const PAGE_BYTES: usize = 4096;
const PAIRS_AT: usize = 2;
const ENDS_AT: usize = 4;

fn spots_of_leaf(image: &[u8], page: usize) -> Option<Vec<Spot>> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = image.get(page + at..page + at + len)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let pairs = number(PAIRS_AT, 2)?;
    let end = |nth: usize| number(ENDS_AT + 4 * nth, 4);
    let mut key_start = ENDS_AT + 8 * pairs;
    let mut value_start = end(pairs.checked_sub(1)?)?;
    let mut spots = Vec::new();
    for nth in 0..pairs {
        let (key_end, value_end) = (end(nth)?, end(pairs + nth)?);
        let key = image.get(page + key_start..page + key_end)?;
        let at = page + value_start..page + value_end;
        let row = image.get(at.clone())?;
        let is_of = |table: &Table| open(table.id(), key, row, usize::MAX).is_ok();
        if let Some(table) = Table::ALL.iter().find(|table| is_of(table)) {
            spots.push(Spot { table: table.id(), key: key.to_vec(), at });
        }
        (key_start, value_start) = (key_end, value_end);
    }
    Some(spots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryDisk, Options};
    use std::sync::Arc;

    fn image() -> Vec<u8> {
        let disk = Arc::new(MemoryDisk::new());
        let store = Options::new().create_on(disk.clone()).unwrap();
        drop(store.claim::<u64>("s", "known", &1).unwrap());
        drop(store);
        disk.to_bytes()
    }

    #[test]
    fn the_rows_of_a_store_are_found_in_its_bytes() {
        let spots = Spot::all(&image());
        let named = |key: &[u8]| spots.iter().any(|spot| spot.key.ends_with(key));
        assert!(named(b"known") && named(b"head") && named(b"identity"), "{spots:?}");
    }

    #[test]
    fn a_resealed_row_is_still_a_row_and_another_one() {
        let mut image = image();
        let spot = Spot::all(&image).into_iter().find(|spot| spot.key.ends_with(b"known")).unwrap();
        let before = image[spot.at.clone()].to_vec();
        spot.reseal(&mut image, |payload| payload[0] ^= 1);
        assert!(Spot::all(&image).contains(&spot));
        assert_ne!(image[spot.at.clone()], before);
    }

    #[test]
    fn a_row_that_is_read_and_written_is_the_same_row() {
        let image = image();
        for spot in Spot::all(&image) {
            let row = &image[spot.at.clone()];
            let again = read_and_write(spot.table, &spot.key, row, 1 << 20).unwrap();
            assert_eq!(again, row, "{spot:?}");
        }
    }

    #[test]
    fn a_table_that_does_not_exist_is_no_table() {
        assert!(open_frame(3, b"key", &[], 100).is_err());
        assert!(read_and_write(200, b"key", &[], 100).is_err());
    }
}
