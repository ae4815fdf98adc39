//! Rows changed behind the store's back, through redb itself: its page checksums hold, ours do not.

use std::fs;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub const FRAME_BYTES: usize = 21;
const CRC_OFFSET: usize = 17;

/// The bytes of a store after `change` has been at it.
pub fn tampered(bytes: &[u8], change: impl FnOnce(&WriteTransaction)) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let db = Database::create(file.path()).unwrap();
    let txn = db.begin_write().unwrap();
    change(&txn);
    txn.commit().unwrap();
    drop(db);
    fs::read(file.path()).unwrap()
}

/// The rows of a table, in the order of their keys.
pub fn rows_of(bytes: &[u8], table: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let db = Database::create(file.path()).unwrap();
    let txn = db.begin_read().unwrap();
    let rows = txn.open_table(Rows::new(table)).unwrap();
    rows.iter()
        .unwrap()
        .map(|row| row.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).unwrap())
        .collect()
}

/// The store with this row, or without it.
pub fn with_row(bytes: &[u8], table: &'static str, key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    tampered(bytes, |txn| {
        let mut rows = txn.open_table(Rows::new(table)).unwrap();
        match value {
            Some(value) => drop(rows.insert(key, value).unwrap()),
            None => drop(rows.remove(key).unwrap()),
        }
    })
}

/// What stands behind the frame's header.
pub fn payload_of(row: &[u8]) -> &[u8] {
    &row[FRAME_BYTES..]
}

/// A row changed by somebody who knows how to make the checksum hold.
pub fn reframed(table: u8, key: &[u8], row: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut row = row.to_vec();
    change(&mut row);
    let len = u32::try_from(row.len() - FRAME_BYTES).unwrap();
    row[13..17].copy_from_slice(&len.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[table]);
    crc.update(&(key.len() as u64).to_le_bytes());
    crc.update(key);
    crc.update(&row[..CRC_OFFSET]);
    crc.update(&row[FRAME_BYTES..]);
    let crc = crc.finalize().to_le_bytes();
    row[CRC_OFFSET..FRAME_BYTES].copy_from_slice(&crc);
    row
}

/// bincode's number at `at`, and where it ends.
pub fn varint_at(bytes: &[u8], at: usize) -> (u64, usize) {
    let width = match bytes[at] {
        0..=250 => return (u64::from(bytes[at]), at + 1),
        251 => 2,
        252 => 4,
        253 => 8,
        other => panic!("no number begins with {other}"),
    };
    let mut number = [0; 8];
    number[..width].copy_from_slice(&bytes[at + 1..at + 1 + width]);
    (u64::from_le_bytes(number), at + 1 + width)
}

/// The number as bincode writes it.
pub fn varint(number: u64) -> Vec<u8> {
    match number {
        0..=250 => vec![number as u8],
        251..=0xffff => [&[251], &(number as u16).to_le_bytes()[..]].concat(),
        0x1_0000..=0xffff_ffff => [&[252], &(number as u32).to_le_bytes()[..]].concat(),
        _ => [&[253], &number.to_le_bytes()[..]].concat(),
    }
}
