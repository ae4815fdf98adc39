//! The plan of a step: what it reads, through the commits that are under way, and what it will
//! write. Nothing touches redb before a plan is whole, so one that is refused leaves no trace.

use std::cell::Cell;

use super::head::{Horizon, unclean_key};
use super::held::{Held, Hold, HoldKind};
use super::layers::{Depth, Layers};
use super::marks::Due;
use super::numbers::Reserved;
use super::options::Limits;
use super::overlay::Overlay;
use super::retention::SettledRetention;
use super::rows::Value;
use super::snapshot::{Read, Row, check_len, own_record_limit};
use super::tables::{Record, Table};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::record::{
    EncodeError, FRAME_BYTES, Header, KeyList, encode_behind, seal, seal_in_place,
};
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// What is the same for every plan of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) store: StoreId,
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
    pub(super) settled: SettledRetention,
    /// How many expired rows this plan may forget on the side.
    pub(super) forget_max: usize,
}

/// A step in the making.
pub(crate) struct Plan<'a> {
    pub(super) under: Layers<'a>,
    pub(super) held: &'a Held,
    pub(super) frame: Frame,
    pub(super) writes: Box<Overlay>,
    /// Memory for the row that is written.
    pub(super) row: Vec<u8>,
    pub(super) next_id: u64,
    pub(super) reserved: &'a Reserved,
    pub(super) incarnation: Incarnation,
    pub(super) horizon: Horizon,
    /// What is known of what may go.
    pub(super) due: Due,
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
        self.horizon.keys
    }

    pub(crate) fn raise_horizon(&mut self, to: Timestamp) {
        self.horizon.keys = self.horizon.keys.max(to);
    }

    /// No number from this one on was given out before this plan.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Settled intents up to this number may have been forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.horizon.intents
    }

    pub(crate) fn raise_forgotten(&mut self, to: u64) {
        self.horizon.intents = self.horizon.intents.max(to);
    }

    pub(crate) fn settled_retention(&self) -> SettledRetention {
        self.frame.settled
    }

    pub(crate) fn limits(&self) -> Limits {
        self.frame.limits
    }

    /// How many expired rows this plan may forget on the side; 0 for all but one of a group, and
    /// while it is known that nothing is due.
    pub(crate) fn forget_max(&self) -> usize {
        if self.due.first > self.frame.believed { 0 } else { self.frame.forget_max }
    }

    /// Notes down when the first of the keys expires, so that nobody looks before. What the groups
    /// under way have listed cannot be seen yet: then nothing is known.
    pub(crate) fn nothing_due_before(&mut self, first: Timestamp) {
        if self.layers().above().all(|(_, layer)| layer.lists.is_empty()) {
            self.due.first = first;
        }
    }

    /// Whether there may be a run of which only a part is removed.
    pub(crate) fn may_have_removals(&self) -> bool {
        self.due.removals
    }

    /// Notes down whether there may be such a run.
    pub(crate) fn note_removals(&mut self, may_be: bool) {
        self.due.removals = may_be;
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

    /// A number for something of this name that tells what was before it: above all that has joined,
    /// and below all that a call under way has taken for what it may still add to the name. `None` if
    /// there is no such number.
    pub(crate) fn take_id_of(&mut self, name: &[u8]) -> Option<u64> {
        match self.reserved.first_of(name) {
            None => Some(self.take_id()),
            // Whatever else has this number is no checkpoint of the name, and was before it.
            Some(first) => first.checked_sub(1),
        }
    }

    /// In which life of the store this is planned.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Begins another life of the store: what it emits from here on has ids of its own.
    pub(crate) fn begin_life(&mut self) {
        self.incarnation = self.incarnation.next();
    }

    pub(crate) fn store(&self) -> StoreId {
        self.frame.store
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
        let mut row = std::mem::take(&mut self.row);
        row.clear();
        row.resize(FRAME_BYTES, 0);
        let mut row = encode_behind(row, record).map_err(|error| refused(&error))?;
        let limit = own_record_limit(self.frame.limits.value_bytes);
        check_len(row.len().saturating_sub(FRAME_BYTES), limit)?;
        seal_in_place(T::TABLE.id(), key, Header::own(T::VERSION), &mut row);
        self.write(T::TABLE, key, Some(&row))?;
        self.row = row;
        Ok(())
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

    /// Writes a whole list, which is no row of the step's.
    pub(crate) fn put_list<T: Record>(&mut self, row: &[u8], keys: &KeyList) -> Result<()> {
        self.aside += 1;
        let sealed = seal(T::TABLE.id(), row, Header::own(T::VERSION), &keys.pack());
        self.write(T::TABLE, row, Some(&sealed))
    }

    fn write(&mut self, table: Table, key: &[u8], value: Value<'_>) -> Result<()> {
        let limit = self.frame.limits.rows_per_step;
        self.touched(table);
        self.writes.set(table, key, value);
        if self.writes.rows > limit.saturating_add(self.aside) {
            return Err(too_many_rows(limit));
        }
        Ok(())
    }

    /// What was known of the index of expiry is no longer known.
    fn touched(&mut self, table: Table) {
        if table == Table::Expiry {
            self.due.first = Timestamp::default();
        }
    }

    /// What its reads go through, newest first.
    fn layers(&self) -> Layers<'_> {
        Layers { own: Some(&self.writes), ..self.under }
    }

    fn saw(&self, depth: Depth) {
        self.newest_read.set(self.newest_read.get().max(depth));
    }
}

impl Read for Plan<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (row, depth) = self.layers().get(table, key)?;
        self.saw(depth);
        Ok(row)
    }

    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>> {
        let (rows, depth) = self.layers().scan(table, prefix, from, most)?;
        self.saw(depth);
        Ok(rows)
    }

    fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        below: &[u8],
        most: usize,
    ) -> Result<Vec<Row>> {
        let (rows, depth) = self.layers().scan_back(table, prefix, below, most)?;
        self.saw(depth);
        Ok(rows)
    }

    fn is_durable(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.under.durable.get(table, key)?.is_some())
    }

    fn value_limit(&self) -> usize {
        self.frame.limits.value_bytes
    }
}

/// A step that writes more rows than one may.
pub(crate) fn too_many_rows(limit: usize) -> Error {
    Error::new(
        ErrorKind::LimitExceeded,
        format!(
            "a step of more than {limit} rows: split it, or raise `Limits::rows_per_step`. Nothing \
             was written"
        ),
    )
}

/// A value that cannot be written as it is.
pub(crate) fn refused(error: &EncodeError) -> Error {
    Error::invalid(format!("{error}. Nothing was written"))
}
