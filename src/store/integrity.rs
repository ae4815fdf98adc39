//! The accumulators: one for each table, count, size and order-free sum of row hashes, in the same
//! commit as the rows. A checksum of rows cannot find a row that is missing; this does.

use serde::{Deserialize, Serialize};

use super::tables::Table;

/// How many rows a table has, how many bytes they are, and the sum of their hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    /// Keys and values.
    pub(super) bytes: u64,
    hash: [u8; 16],
}

impl Sum {
    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((key.len() + value.len()) as u64);
        self.turn(u128::wrapping_add, table, key, value);
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub((key.len() + value.len()) as u64);
        self.turn(u128::wrapping_sub, table, key, value);
    }

    fn turn(&mut self, by: fn(u128, u128) -> u128, table: Table, key: &[u8], value: &[u8]) {
        let sum = by(u128::from_le_bytes(self.hash), row_hash(table, key, value));
        self.hash = sum.to_le_bytes();
    }
}

/// Up to here a row is copied together before it is hashed, in bytes.
const SMALL_BYTES: usize = 512;

fn row_hash(table: Table, key: &[u8], value: &[u8]) -> u128 {
    let len = (key.len() as u64).to_le_bytes();
    let parts: [&[u8]; 4] = [&[table.id()], &len, key, value];
    let total = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut whole = [0; SMALL_BYTES];
    // In one call where that is possible: most rows are small, and four would cost twice as much.
    let hash = if let Some(whole) = whole.get_mut(..total) {
        let mut rest = &mut *whole;
        for part in parts {
            let (place, behind) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = behind;
        }
        blake3::hash(whole)
    } else {
        parts.iter().fold(&mut blake3::Hasher::new(), |hasher, part| hasher.update(part)).finalize()
    };
    let mut short = [0; 16];
    short.copy_from_slice(hash.as_bytes().split_at(16).0);
    u128::from_le_bytes(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_rows_does_not_matter_and_what_is_removed_leaves_no_trace() {
        let (mut one, mut two) = (Sum::default(), Sum::default());
        one.add(Table::Keys, b"a", b"1");
        one.add(Table::Keys, b"b", b"2");
        two.add(Table::Keys, b"b", b"2");
        two.add(Table::Keys, b"c", b"3");
        two.add(Table::Keys, b"a", b"1");
        assert_ne!(one, two);
        two.remove(Table::Keys, b"c", b"3");
        assert_eq!(one, two);
    }

    #[test]
    fn the_bytes_are_those_of_the_keys_and_values_that_are_there() {
        let mut sum = Sum::default();
        sum.add(Table::Keys, b"a", b"12");
        sum.add(Table::Keys, b"bc", b"3456");
        assert_eq!(sum.bytes, 9);
        sum.remove(Table::Keys, b"a", b"12");
        assert_eq!(sum.bytes, 6);
    }

    #[test]
    fn a_row_of_another_table_or_cut_elsewhere_counts_differently() {
        let sum = |table, key: &[u8], value: &[u8]| {
            let mut sum = Sum::default();
            sum.add(table, key, value);
            sum
        };
        assert_ne!(sum(Table::Keys, b"ab", b"c"), sum(Table::Runs, b"ab", b"c"));
        assert_ne!(sum(Table::Keys, b"ab", b"c"), sum(Table::Keys, b"a", b"bc"));
    }
}
