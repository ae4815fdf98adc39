//! Reading rows: the [`Read`] every floor above uses, and the durable state it reads by default.

use std::sync::{Arc, OnceLock};

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable};

use super::fault::{shielded, storage_error};
use super::owner::Owner;
use super::tables::{Record, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::record::{
    CODEC_BINCODE, FrameError, Header, PAYLOAD_BYTES_MAX, decode, open_frame, unpack,
};

/// A row as it stands: key and framed value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Rows that can be looked up and walked in the order of their keys.
pub(crate) trait Read {
    /// The bytes of a row, framed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The first `most` rows whose keys begin with `prefix` and are not below `from`.
    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>>;

    /// The last `most` rows whose keys begin with `prefix` and are below `below`, last one first.
    fn scan_back(&self, table: Table, prefix: &[u8], below: &[u8], most: usize)
    -> Result<Vec<Row>>;

    /// Whether the durable state has this row.
    fn is_durable(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.get(table, key)?.is_some())
    }

    /// The longest value there can be, in bytes.
    fn value_limit(&self) -> usize;

    /// Refuses a value of the user's that is too large.
    fn check_value(&self, len: usize) -> Result<()> {
        check_len(len, self.value_limit())
    }

    /// A record, with its frame and its layout checked.
    fn record<T: Record>(&self, key: &[u8]) -> Result<Option<T>> {
        match self.get(T::TABLE, key)? {
            Some(bytes) => self.parse(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The record in the bytes of a row.
    fn parse<T: Record>(&self, key: &[u8], bytes: &[u8]) -> Result<T> {
        let payload = own_payload::<T>(key, bytes, own_record_limit(self.value_limit()))?;
        decode(payload).map_err(|error| unreadable(T::TABLE, key, &error.to_string()))
    }
}

/// The payload of a record of our own, in a layout and a codec that this program knows.
fn own_payload<'a, T: Record>(key: &[u8], bytes: &'a [u8], limit: usize) -> Result<&'a [u8]> {
    let (header, payload) = frame_of(T::TABLE, key, bytes, limit)?;
    if header.schema_version > T::VERSION || header.codec != CODEC_BINCODE {
        let why = format!(
            "its layout version is {}, its codec {}; this program knows {} and {CODEC_BINCODE}",
            header.schema_version,
            header.codec,
            T::VERSION
        );
        return Err(too_new(T::TABLE, key, &why));
    }
    Ok(payload)
}

/// The keys of a list, with a `None` at its end if it is cut short. A list is as long as a group makes
/// it, not as a value may be.
pub(crate) fn list_of<'b, T: Record>(
    row: &[u8],
    bytes: &'b [u8],
) -> Result<impl Iterator<Item = Option<Vec<u8>>> + use<'b, T>> {
    own_payload::<T>(row, bytes, PAYLOAD_BYTES_MAX).map(unpack)
}

/// A record of our own carries up to two of the user's values, an order and its answer, and a little of
/// its own beside them. What could not be decoded is not written.
pub(super) fn own_record_limit(value_limit: usize) -> usize {
    value_limit.saturating_mul(2).saturating_add(64 << 10).min(PAYLOAD_BYTES_MAX)
}

pub(super) fn check_len(len: usize, limit: usize) -> Result<()> {
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

/// The header and the payload of a row, if its bytes are what was written there.
pub(crate) fn frame_of<'a>(
    table: Table,
    key: &[u8],
    bytes: &'a [u8],
    limit: usize,
) -> Result<(Header, &'a [u8])> {
    let frame = open_frame(table.id(), key, bytes, limit).map_err(|error| match error {
        FrameError::Long { .. } => Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "{} is over the limit: {error}. Raise `Limits::value_bytes` to read it",
                row_name(table, key)
            ),
        ),
        FrameError::Newer(_) | FrameError::Flagged(_) => too_new(table, key, &error.to_string()),
        error => unreadable(table, key, &error.to_string()),
    })?;
    Ok((frame.header, frame.payload))
}

fn too_new(table: Table, key: &[u8], why: &str) -> Error {
    Error::new(
        ErrorKind::TooNew,
        format!(
            "{} was written by a newer program: {why}. Upgrade this one; nothing was changed",
            row_name(table, key)
        ),
    )
}

pub(super) fn unreadable(table: Table, key: &[u8], why: &str) -> Error {
    Error::damaged(format!(
        "{} is damaged: {why}. Nothing was changed; close the store and run `repair` on it",
        row_name(table, key)
    ))
}

/// A row that cannot stand under its key.
pub(crate) fn misplaced(table: Table, key: &[u8]) -> Error {
    Error::damaged(format!(
        "{} is not what its key says. Nothing was changed; close the store and run `repair` on it",
        row_name(table, key)
    ))
}

/// How a row is named in messages: as text, a dot for each byte that is none, long ones cut.
pub(crate) fn row_name(table: Table, key: &[u8]) -> String {
    const SHOWN: usize = 96;
    let shown = key.get(..SHOWN).unwrap_or(key);
    // The bytes in front of names and numbers behind them are ours; what people know is between.
    let text = String::from_utf8_lossy(shown);
    let text: String = text
        .chars()
        .map(|c| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '·' } else { c })
        .collect();
    let cut = if shown.len() < key.len() { "…" } else { "" };
    format!("the row \"{text}{cut}\" of table {}", table.name())
}

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The durable state as of one commit.
pub(crate) struct Snapshot {
    /// There until it is dropped.
    txn: Option<ReadTransaction>,
    tables: [OnceLock<Rows>; Table::ALL.len()],
    value_limit: usize,
    owner: Owner,
}

impl Drop for Snapshot {
    /// In a forked child redb's own lists may be locked for ever: it forgets them.
    fn drop(&mut self) {
        if !self.owner.is_here() {
            let tables =
                std::mem::replace(&mut self.tables, std::array::from_fn(|_| OnceLock::new()));
            std::mem::forget((self.txn.take(), tables));
        }
    }
}

impl Snapshot {
    pub(super) fn take(db: &redb::Database, value_limit: usize) -> Result<Arc<Self>> {
        let txn = shielded("begin reading", || db.begin_read().map_err(storage_error))?;
        let tables = std::array::from_fn(|_| OnceLock::new());
        Ok(Arc::new(Self { txn: Some(txn), tables, value_limit, owner: Owner::this() }))
    }

    /// What is read while there is nothing to read: every look-up is an error, none finds a row missing.
    pub(super) fn of_nothing() -> Result<Arc<Self>> {
        let backend = redb::backends::InMemoryBackend::new();
        let db = redb::Builder::new().create_with_backend(backend).map_err(storage_error)?;
        Self::take(&db, 0)
    }

    fn rows(&self, table: Table) -> Result<&Rows> {
        self.owner.check()?;
        let slot = self.tables.get(table.index()).expect("there is a slot for each table");
        if let Some(rows) = slot.get() {
            return Ok(rows);
        }
        let txn = self.txn.as_ref().ok_or_else(|| Error::invalid("a snapshot that was dropped"))?;
        let rows = txn.open_table(table.definition()).map_err(storage_error)?;
        Ok(slot.get_or_init(|| rows))
    }

    /// Calls `each` for the rows whose keys begin with `prefix`, from `from` on, while it says true.
    pub(super) fn walk(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<()> {
        shielded("walk a table", || {
            let start = prefix.max(from);
            let rows = self.rows(table)?.range::<&[u8]>(start..).map_err(storage_error)?;
            for row in rows {
                let (key, value) = row.map_err(storage_error)?;
                if !key.value().starts_with(prefix) || !each(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl Snapshot {
    /// Calls `each` for the rows behind `after`, from the last one on.
    pub(super) fn walk_back(
        &self,
        table: Table,
        after: Option<&[u8]>,
        each: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        shielded("walk a table backwards", || {
            let rows = self.rows(table)?.range::<&[u8]>(..).map_err(storage_error)?;
            for row in rows.rev() {
                let (key, value) = row.map_err(storage_error)?;
                if after.is_some_and(|after| key.value() <= after) {
                    break;
                }
                each(key.value(), value.value());
            }
            Ok(())
        })
    }
}

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        shielded("look up a row", || {
            let row = ReadableTable::get(self.rows(table)?, key).map_err(storage_error)?;
            Ok(row.map(|guard| guard.value().to_vec()))
        })
    }

    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        if most > 0 {
            self.walk(table, prefix, from, |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                rows.len() < most
            })?;
        }
        Ok(rows)
    }

    fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        below: &[u8],
        most: usize,
    ) -> Result<Vec<Row>> {
        if below <= prefix {
            return Ok(Vec::new());
        }
        shielded("walk a table backwards", || {
            let rows = self.rows(table)?.range::<&[u8]>(prefix..below).map_err(storage_error)?;
            let mut found = Vec::new();
            for row in rows.rev().take(most) {
                let (key, value) = row.map_err(storage_error)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(found)
        })
    }

    fn value_limit(&self) -> usize {
        self.value_limit
    }
}
