//! The plan of a step: what it reads, through the commits that are under way, and what it will
//! write. Nothing touches redb before a plan is whole, so one that is refused leaves no trace.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::head::unclean_key;
use super::held::{Held, Hold, HoldKind};
use super::options::Limits;
use super::snapshot::{Read, Row, Snapshot, own_record_limit};
use super::tables::{Record, Table};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId, StoreId};
use crate::record::{EncodeError, Header, encode, seal};
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// Rows to be written: a value, or `None` for a row that goes.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    tables: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Table::ALL.len()],
    /// Payloads that grow while a group is open, and become rows when it closes.
    appends: BTreeMap<(Table, Vec<u8>), (Header, Vec<u8>)>,
    rows: usize,
    puts: usize,
    bytes: usize,
}

impl Overlay {
    fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.tables.get(table.index())?.get(key)
    }

    pub(super) fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        let Some(rows) = self.tables.get_mut(table.index()) else { return };
        let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.bytes += key.len() + size(&value);
        let is_put = value.is_some();
        match rows.insert(key, value) {
            None => {
                self.rows += 1;
                self.puts += usize::from(is_put);
            }
            Some(old) => self.bytes = self.bytes.saturating_sub(size(&old)),
        }
    }

    /// How many rows it writes; those that only go are not among them.
    pub(super) fn puts(&self) -> usize {
        self.puts
    }

    /// About how much memory its rows take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn append(&mut self, table: Table, key: Vec<u8>, header: Header, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.appends.entry((table, key)).or_insert_with(|| (header, Vec::new())).1.extend(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 && self.appends.is_empty()
    }

    /// Takes over what a whole plan wrote.
    pub(super) fn merge(&mut self, plan: Self) {
        for (table, rows) in Table::ALL.into_iter().zip(plan.tables) {
            for (key, value) in rows {
                self.set(table, key, value);
            }
        }
        for ((table, key), (header, bytes)) in plan.appends {
            self.append(table, key, header, &bytes);
        }
    }

    /// The appended payloads as rows, once the group is closed.
    pub(super) fn appended(&self) -> impl Iterator<Item = (Table, &[u8], Vec<u8>)> {
        self.appends.iter().map(|((table, key), (header, payload))| {
            (*table, key.as_slice(), seal(table.id(), key, *header, payload))
        })
    }

    pub(super) fn rows_of(&self, table: Table) -> &BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        static NONE: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        self.tables.get(table.index()).unwrap_or(&NONE)
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
    pub(super) newest_read: Cell<Depth>,
    /// Rows among the writes that only forget what has expired.
    pub(super) forgotten: usize,
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

    /// How many expired rows this plan may forget on the side; 0 for all but one of a group.
    pub(crate) fn forget_max(&self) -> usize {
        self.frame.forget_max
    }

    /// Removes a row that has expired: no part of the step, so it does not count against its limit.
    pub(crate) fn forget(&mut self, table: Table, key: Vec<u8>) {
        self.writes.set(table, key, None);
        self.forgotten += 1;
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
    pub(crate) fn put<T: Record>(&mut self, key: Vec<u8>, record: &T) -> Result<()> {
        let payload = encode(record).map_err(|error| refused(&error))?;
        check_len(payload.len(), own_record_limit(self.frame.limits.value_bytes))?;
        let row = seal(T::TABLE.id(), &key, Header::own(T::VERSION), &payload);
        self.write(T::TABLE, key, Some(row))
    }

    /// Removes a row, if it is there.
    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) -> Result<()> {
        self.write(table, key, None)
    }

    /// Puts back the bytes of a row as they are, framed.
    pub(crate) fn put_raw(&mut self, table: Table, key: Vec<u8>, row: Vec<u8>) -> Result<()> {
        self.write(table, key, Some(row))
    }

    /// Adds bytes to a row that only this group writes.
    pub(crate) fn append<T: Record>(&mut self, key: Vec<u8>, bytes: &[u8]) {
        self.writes.append(T::TABLE, key, Header::own(T::VERSION), bytes);
    }

    /// Refuses a value of the user's that is too large.
    pub(crate) fn check_value(&self, len: usize) -> Result<()> {
        check_len(len, self.frame.limits.value_bytes)
    }

    fn write(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<()> {
        let limit = self.frame.limits.rows_per_step;
        self.writes.set(table, key, value);
        if self.writes.rows > limit + self.forgotten {
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
                return Ok(value.clone());
            }
        }
        self.durable.get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>> {
        let start = prefix.max(from);
        let mut above: BTreeMap<&[u8], &Option<Vec<u8>>> = BTreeMap::new();
        for (depth, layer) in self.layers() {
            let rows = layer
                .rows_of(table)
                .range::<[u8], _>((std::ops::Bound::Included(start), std::ops::Bound::Unbounded));
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
                Some(value) => rows.insert(key.to_vec(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows.into_iter().take(most).collect())
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
