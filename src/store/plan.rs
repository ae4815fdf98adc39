//! The plan of a step: what it reads, through the commits that are under way, and what it will
//! write. Nothing touches redb before a plan is whole, so one that is refused leaves no trace.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::head::unclean_key;
use super::held::{Held, Hold, HoldKind};
use super::options::Limits;
use super::rows::{Before, Rows, Value};
use super::snapshot::{Read, Row, Snapshot, own_record_limit};
use super::tables::{Record, Table};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId, StoreId};
use crate::record::{EncodeError, Header, KeyList, encode, seal};
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// How much memory a group gets for the rows of a table before the first of them comes.
const RESERVE_BYTES_MAX: usize = 1 << 20;
/// How much memory is kept from one plan to the next.
const KEEP_BYTES_MAX: usize = 64 << 10;

/// Rows to be written: a value, or `None` for a row that goes.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    tables: [Rows; Table::ALL.len()],
    /// Lists of keys that grow while a group is open, and become rows when it closes.
    lists: BTreeMap<(Table, Vec<u8>), (Header, KeyList)>,
    listed_bytes: usize,
    rows: usize,
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

    fn get(&self, table: Table, key: &[u8]) -> Option<Value<'_>> {
        self.tables.get(table.index())?.get(key)
    }

    /// Whether it writes or removes this row.
    pub(super) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.get(table, key).is_some()
    }

    pub(super) fn set(&mut self, table: Table, key: &[u8], value: Value<'_>) {
        let Some(rows) = self.tables.get_mut(table.index()) else { return };
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
    fn list(&mut self, row: (Table, Vec<u8>), header: Header) -> &mut KeyList {
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

/// What is the same for every plan of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) store: StoreId,
    pub(super) incarnation: Incarnation,
    pub(super) epoch: Epoch,
    /// The number of the commit this plan will be part of.
    pub(super) seq: CommitSeq,
    pub(super) now: Timestamp,
    /// The latest moment that is believed: keys expire by it.
    pub(super) believed: Timestamp,
    /// That moment, and what the process's own clock has gone since.
    pub(super) lived: Timestamp,
    pub(super) horizon: Timestamp,
    pub(super) limits: Limits,
    /// How many expired rows this plan may forget on the side.
    pub(super) forget_max: usize,
}

/// How far from the disk the rows are that a plan has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    Durable,
    InFlight,
    Open,
}

/// A step in the making.
pub(crate) struct Plan<'a> {
    pub(super) open: &'a Overlay,
    pub(super) in_flight: Option<&'a Overlay>,
    pub(super) durable: &'a Snapshot,
    pub(super) held: &'a Held,
    pub(super) frame: Frame,
    pub(super) writes: Overlay,
    pub(super) next_id: u64,
    pub(super) new_horizon: Timestamp,
    /// Nothing expires before this moment, as far as is known.
    pub(super) first_due: Timestamp,
    pub(super) newest_read: Cell<Depth>,
    /// Rows among the writes that are not the step's own.
    pub(super) aside: usize,
}

impl Plan<'_> {
    pub(crate) fn epoch(&self) -> Epoch {
        self.frame.epoch
    }

    pub(crate) fn seq(&self) -> CommitSeq {
        self.frame.seq
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.frame.now
    }

    /// The latest moment that is believed: what expires, expires by it.
    pub(crate) fn believed(&self) -> Timestamp {
        self.frame.believed
    }

    /// A moment that is surely not before this step, should the wall clock stand back: the life of a key
    /// counts from it.
    pub(crate) fn lived(&self) -> Timestamp {
        self.frame.lived
    }

    /// Keys whose deadline is on or before it have been forgotten.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.frame.horizon.max(self.new_horizon)
    }

    pub(crate) fn raise_horizon(&mut self, to: Timestamp) {
        self.new_horizon = self.new_horizon.max(to);
    }

    pub(crate) fn limits(&self) -> Limits {
        self.frame.limits
    }

    /// How many expired rows this plan may forget on the side; 0 for all but one of a group, and
    /// while it is known that nothing is due.
    pub(crate) fn forget_max(&self) -> usize {
        if self.first_due > self.frame.believed { 0 } else { self.frame.forget_max }
    }

    /// Notes down when the first of the keys expires, so that nobody looks before. What the groups
    /// under way have listed cannot be seen yet: then nothing is known.
    pub(crate) fn nothing_due_before(&mut self, first: Timestamp) {
        if self.layers().all(|(_, layer)| layer.lists.is_empty()) {
            self.first_due = first;
        }
    }

    /// Removes a row that is no row of the step's (one that has expired, a chunk that nobody refers
    /// to any more), and does not count against its limit.
    pub(crate) fn forget(&mut self, table: Table, key: &[u8]) {
        self.writes.set(table, key, None);
        self.aside += 1;
    }

    /// A number that no intent, quarantined record or audit row of this store has had.
    pub(crate) fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// The number that [`take_id`](Plan::take_id) gives out next.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    pub(crate) fn external_id(&self, intent: &IntentId) -> ExternalId {
        ExternalId::derive(self.frame.store, self.frame.incarnation, intent)
    }

    /// Takes a name that only one holder in this process can have.
    pub(crate) fn hold(&self, kind: HoldKind, name: &[u8]) -> Option<Hold> {
        self.held.take(kind, name)
    }

    /// Whether this process holds the name now.
    pub(crate) fn is_held(&self, kind: HoldKind, name: &[u8]) -> bool {
        self.held.has(kind, name)
    }

    /// Whether the epoch ended without a close.
    pub(crate) fn ended_unclean(&self, epoch: Epoch) -> Result<bool> {
        Ok(self.get(Table::Meta, &unclean_key(epoch))?.is_some())
    }

    /// Writes one of the store's own records.
    ///
    /// # Errors
    /// `LimitExceeded` when the key, the record or the number of rows is over its limit.
    pub(crate) fn put<T: Record>(&mut self, key: &[u8], record: &T) -> Result<()> {
        let payload = encode(record).map_err(|error| refused(&error))?;
        check_len(payload.len(), own_record_limit(self.frame.limits.value_bytes))?;
        let row = seal(T::TABLE.id(), key, Header::own(T::VERSION), &payload);
        self.write(T::TABLE, key, Some(&row))
    }

    /// Removes a row, if it is there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) -> Result<()> {
        self.write(table, key, None)
    }

    /// Writes a record of the store's own that is no row of the step's, and does not count against
    /// its limit.
    pub(crate) fn put_aside<T: Record>(&mut self, key: &[u8], record: &T) -> Result<()> {
        self.aside += 1;
        self.put(key, record)
    }

    /// Puts back the bytes of a row as they are, framed.
    pub(crate) fn put_raw(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<()> {
        self.write(table, key, Some(row))
    }

    /// Adds a key to the list in a row that only this group writes.
    pub(crate) fn enlist<T: Record>(&mut self, row: Vec<u8>, key: &[u8]) {
        self.touched(T::TABLE);
        self.writes.listed_bytes += key.len();
        self.writes.list((T::TABLE, row), Header::own(T::VERSION)).push(key);
    }

    /// Writes a whole list.
    pub(crate) fn put_list<T: Record>(&mut self, row: &[u8], keys: &KeyList) -> Result<()> {
        let sealed = seal(T::TABLE.id(), row, Header::own(T::VERSION), &keys.pack());
        self.write(T::TABLE, row, Some(&sealed))
    }

    /// Refuses a value of the user's that is too large.
    pub(crate) fn check_value(&self, len: usize) -> Result<()> {
        check_len(len, self.frame.limits.value_bytes)
    }

    fn write(&mut self, table: Table, key: &[u8], value: Value<'_>) -> Result<()> {
        let limit = self.frame.limits.rows_per_step;
        self.touched(table);
        self.writes.set(table, key, value);
        if self.writes.rows > limit.saturating_add(self.aside) {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "a step of more than {limit} rows: split it, or raise `Limits::rows_per_step`. \
                     Nothing was written"
                ),
            ));
        }
        Ok(())
    }

    /// What was known of the index of expiry is no longer known.
    fn touched(&mut self, table: Table) {
        if table == Table::Expiry {
            self.first_due = Timestamp::default();
        }
    }

    /// The layers above the disk, newest first.
    fn layers(&self) -> impl Iterator<Item = (Depth, &Overlay)> {
        [
            // A plan's own writes are as durable as the rest of it.
            Some((Depth::Durable, &self.writes)),
            Some((Depth::Open, self.open)),
            self.in_flight.map(|group| (Depth::InFlight, group)),
        ]
        .into_iter()
        .flatten()
    }

    fn saw(&self, depth: Depth) {
        self.newest_read.set(self.newest_read.get().max(depth));
    }
}

impl Read for Plan<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        for (depth, layer) in self.layers() {
            if let Some(value) = layer.get(table, key) {
                self.saw(depth);
                return Ok(value.map(<[u8]>::to_vec));
            }
        }
        self.durable.get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>> {
        let start = prefix.max(from);
        let mut above: BTreeMap<&[u8], Value<'_>> = BTreeMap::new();
        for (depth, layer) in self.layers() {
            let rows = layer.rows_of(table).into_iter().flat_map(|rows| rows.from(start));
            for (key, value) in rows.take_while(|(key, _)| key.starts_with(prefix)) {
                self.saw(depth);
                above.entry(key).or_insert(value);
            }
        }
        let mut rows = BTreeMap::new();
        // Each row above hides at most one below.
        for (key, value) in
            self.durable.scan(table, prefix, from, most.saturating_add(above.len()))?
        {
            rows.insert(key, value);
        }
        for (key, value) in above {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(most).collect())
    }

    fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        below: &[u8],
        most: usize,
    ) -> Result<Vec<Row>> {
        let mut above: BTreeMap<&[u8], Value<'_>> = BTreeMap::new();
        for (depth, layer) in self.layers() {
            let rows = layer.rows_of(table).into_iter().flat_map(|rows| rows.from(prefix));
            for (key, value) in rows.take_while(|(key, _)| key.starts_with(prefix) && *key < below)
            {
                self.saw(depth);
                above.entry(key).or_insert(value);
            }
        }
        let durable =
            self.durable.scan_back(table, prefix, below, most.saturating_add(above.len()))?;
        let mut rows: BTreeMap<_, _> = durable.into_iter().collect();
        for (key, value) in above {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().rev().take(most).collect())
    }

    fn value_limit(&self) -> usize {
        self.frame.limits.value_bytes
    }
}

fn check_len(len: usize, limit: usize) -> Result<()> {
    if len <= limit {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "a value of {len} bytes is over the limit of {limit}: store less, or raise \
             `Limits::value_bytes`. Nothing was written"
        ),
    ))
}

/// A value that cannot be written as it is.
pub(crate) fn refused(error: &EncodeError) -> Error {
    Error::invalid(format!("{error}. Nothing was written"))
}
