//! Rows to be written, of one plan or of a whole group.

use std::collections::BTreeMap;

use super::line;
use super::rows::{Before, Rows, Value};
use super::tables::Table;
use crate::record::{Header, KeyList, seal};
use crate::seq::CommitSeq;

/// How much memory a group gets for the rows of a table before the first of them comes.
const RESERVE_BYTES_MAX: usize = 1 << 20;
/// How much memory is kept from one plan to the next.
const KEEP_BYTES_MAX: usize = 64 << 10;

/// Rows to be written: a value, or `None` for a row that goes.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    tables: [Rows; Table::ALL.len()],
    /// Lists of keys that grow while a group is open, and become rows when it closes.
    pub(super) lists: BTreeMap<(Table, Vec<u8>), (Header, KeyList)>,
    pub(super) listed_bytes: usize,
    pub(super) rows: usize,
    puts: usize,
}

impl Overlay {
    /// One that is likely to take as much as `other` did.
    pub(super) fn as_large_as(other: &Self) -> Self {
        let mut overlay = Self::default();
        for (rows, like) in overlay.tables.iter_mut().zip(&other.tables) {
            rows.reserve(like.bytes().min(RESERVE_BYTES_MAX));
        }
        overlay
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Value<'_>> {
        self.tables.get(table.index())?.get(key)
    }

    /// Whether it writes or removes this row.
    pub(super) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.get(table, key).is_some()
    }

    pub(super) fn set(&mut self, table: Table, key: &[u8], value: Value<'_>) {
        let rows = self.tables.get_mut(table.index()).expect("there is a slot for each table");
        if rows.set(key, value) == Before::Absent {
            self.rows += 1;
            self.puts += usize::from(value.is_some());
        }
    }

    /// How many rows it writes; those that only go are not among them.
    pub(super) fn puts(&self) -> usize {
        self.puts
    }

    /// About how much memory its rows take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.listed_bytes + self.tables.iter().map(Rows::bytes).sum::<usize>()
    }

    /// The list of this row, to be added to.
    pub(super) fn list(&mut self, row: (Table, Vec<u8>), header: Header) -> &mut KeyList {
        &mut self.lists.entry(row).or_insert_with(|| (header, KeyList::default())).1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 && self.lists.is_empty()
    }

    /// Takes over what a whole plan wrote.
    pub(super) fn merge(&mut self, plan: &mut Self) {
        for (table, rows) in Table::ALL.into_iter().zip(&plan.tables) {
            for (key, value) in rows.iter() {
                self.set(table, key, value);
            }
        }
        for (row, (header, keys)) in std::mem::take(&mut plan.lists) {
            self.listed_bytes += keys.len_bytes();
            self.list(row, header).append(&keys);
        }
    }

    /// Forgets all rows, and keeps the memory unless it is much.
    pub(super) fn clear(&mut self) {
        if self.bytes() > KEEP_BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.tables.iter_mut().filter(|rows| !rows.is_empty()).for_each(Rows::clear);
        self.lists.clear();
        (self.listed_bytes, self.rows, self.puts) = (0, 0, 0);
    }

    /// The lists as rows, once the group is closed.
    pub(super) fn lists(&self) -> impl Iterator<Item = (Table, &[u8], Vec<u8>)> {
        self.lists.iter().map(|((table, key), (header, keys))| {
            (*table, key.as_slice(), seal(table.id(), key, *header, &keys.pack()))
        })
    }

    pub(super) fn rows_of(&self, table: Table) -> Option<&Rows> {
        self.tables.get(table.index())
    }
}

/// Memory that one plan leaves to the next.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) writes: Option<Box<Overlay>>,
    pub(super) row: Vec<u8>,
}

impl Scratch {
    /// What the next plan gets: no more than is kept of the rows.
    pub(super) fn of(writes: Box<Overlay>, mut row: Vec<u8>) -> Self {
        if row.capacity() > KEEP_BYTES_MAX {
            row = Vec::new();
        }
        Self { writes: Some(writes), row }
    }
}

/// Plans that become one transaction.
pub(super) struct Group {
    pub(super) seq: CommitSeq,
    pub(super) rows: Overlay,
}

impl line::Group for Group {
    fn following(&self) -> Self {
        Self { seq: self.seq.next(), rows: Overlay::as_large_as(&self.rows) }
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn size(&self) -> usize {
        self.rows.puts()
    }
}
