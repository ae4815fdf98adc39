//! `verify`: is everything that was written still there, and still what was written?

use std::fmt;
use std::path::Path;

use super::check::{ExpiryIndex, Fault, fault_of, is_stranger};
use super::references::References;
use crate::error::Result;
use crate::store::{Inspection, META_HEAD, Options, Read, Store, Sum, Table, row_name};

/// The most damaged rows of one table that are named; the rest are counted.
const NAMED: usize = 100;

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// What the storage engine's own check of every page found, if anything.
    pub pages: Option<String>,
    /// That the newest commits are missing, although they were acknowledged; known after a kill, not
    /// after a power cut.
    pub lost_commits: Option<String>,
    /// That a newer program wrote the store, so that only that one can tell how it is.
    pub newer: Option<String>,
    /// Whether the head row, which carries the accumulators, could be read.
    pub head_readable: bool,
    /// Each table.
    pub tables: Vec<TableCheck>,
    /// What is wrong with what tables say of one another: an index, or how many refer to a chunk.
    pub indexes: Vec<String>,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableCheck {
    /// Its name.
    pub name: &'static str,
    /// Rows that were found.
    pub rows: u64,
    /// Rows there should be; `None` if the accumulators cannot be read.
    pub rows_expected: Option<u64>,
    /// Whether count and sum of the rows are what the accumulator says: a row that is missing, or
    /// was changed together with its checksum, is found by this alone.
    pub sum_matches: bool,
    /// How many rows are damaged.
    pub damaged_rows: u64,
    /// The first hundred of them.
    pub damaged: Vec<DamagedRow>,
    /// How many rows a newer program wrote: whether they are whole, only that one can tell.
    pub newer_rows: u64,
    /// Why part of the table could not be reached, if so.
    pub unreachable: Option<String>,
    /// How many damaged rows were never rows of this table: they are in the place of a page of it, and
    /// none of its rows is accounted for by them.
    strangers: u64,
    /// Whether the rows that are not damaged are by themselves what the accumulator says.
    intact_match: bool,
}

/// One row that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRow {
    /// Table and key.
    pub row: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Verifies the store at `path`, which nobody may have open: every page, every frame, every record,
/// every accumulator, every index. Nothing of it is changed.
///
/// # Errors
/// `NotFound`, `Invalid` or `Locked`, as for opening it, also when it is open under another name;
/// `Io` if it cannot be read: each read is tried three times, and one that fails for good is never
/// taken for damage. Damage is not an error here, it is what the verification reports.
pub fn verify(path: impl AsRef<Path>, options: &Options) -> Result<Verification> {
    look(&Inspection::of_path(path.as_ref(), options)?)
}

impl Store {
    /// Verifies this open store from the disk up: every page, every frame, every record, every
    /// accumulator, every index. Nothing is changed; steps wait for it.
    ///
    /// # Errors
    /// `Invalid` when the store was closed; `Io` if it cannot be
    /// read. Damage is not an error here, it is what the verification tells.
    pub fn verify(&self) -> Result<Verification> {
        Inspection::of_store(self, look)
    }
}

impl Verification {
    /// What of it a newer program wrote, if anything.
    pub(super) fn newer(&self) -> Option<String> {
        let rows: u64 = self.tables.iter().map(|table| table.newer_rows).sum();
        let rows = (rows > 0).then(|| format!("{rows} rows were written by a newer program"));
        self.newer.clone().or(rows)
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.pages.is_none()
            && self.lost_commits.is_none()
            && self.newer.is_none()
            && self.head_readable
            && self.indexes.is_empty()
            && self.tables.iter().all(TableCheck::is_sound)
    }
}

impl TableCheck {
    /// Whether nothing is wrong with this table.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.sum_matches
            && self.damaged_rows == 0
            && self.newer_rows == 0
            && self.unreachable.is_none()
    }

    /// Whether rows may be missing.
    pub(super) fn misses_rows(&self) -> bool {
        self.rows_expected.is_none_or(|expected| expected > self.own_rows())
    }

    /// Whether rows are here that are not those that were committed, and no damaged or missing row
    /// explains it: a row may be one of an earlier commit, or one that was removed since.
    pub(super) fn holds_other_rows(&self) -> bool {
        let has_more = self.rows_expected.is_some_and(|expected| expected < self.own_rows());
        let is_explained = self.damaged_rows > 0 || self.newer_rows > 0 || self.misses_rows();
        !self.sum_matches && !self.intact_match && (has_more || !is_explained)
    }

    /// The rows, without those that never were of this table.
    fn own_rows(&self) -> u64 {
        self.rows.saturating_sub(self.strangers)
    }

    /// How many rows there should be and are not.
    #[must_use]
    pub fn missing_rows(&self) -> u64 {
        self.rows_expected.map_or(0, |expected| expected.saturating_sub(self.own_rows()))
    }
}

/// Reads everything there is.
///
/// # Errors
/// `Io` if the disk failed to give it.
pub(super) fn look(inspection: &Inspection) -> Result<Verification> {
    let mut indexes = Indexes::default();
    let tables =
        Table::ALL.into_iter().map(|table| look_at(inspection, table, &mut indexes)).collect();
    let expiry = indexes.expiry.fault().into_iter();
    inspection.check_read()?;
    Ok(Verification {
        pages: inspection.pages.clone(),
        lost_commits: inspection.lost.clone(),
        newer: inspection.newer.clone(),
        head_readable: inspection.expected(Table::Meta).is_some(),
        tables,
        indexes: expiry.chain(indexes.references.faults()).collect(),
    })
}

/// What tables say of one another.
#[derive(Default)]
struct Indexes {
    expiry: ExpiryIndex,
    references: References,
}

impl Indexes {
    fn take_in(&mut self, rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) {
        self.expiry.take_in(rows, table, key, bytes);
        self.references.take_in(rows, table, key, bytes);
    }
}

fn look_at(inspection: &Inspection, table: Table, indexes: &mut Indexes) -> TableCheck {
    let (mut found, mut intact) = (Sum::default(), Sum::default());
    let mut damaged = Vec::new();
    let (mut damaged_rows, mut newer_rows, mut strangers) = (0, 0, 0);
    let unreachable = inspection.walk(table, |key, bytes| {
        let is_counted = !(table == Table::Meta && key == META_HEAD);
        if is_counted {
            found.add(table, key, bytes);
        }
        let Some(rows) = inspection.rows() else { return };
        match fault_of(rows, table, key, bytes) {
            None => {
                indexes.take_in(rows, table, key, bytes);
                if is_counted {
                    intact.add(table, key, bytes);
                }
            }
            Some(Fault::Newer(_)) => newer_rows += 1,
            Some(Fault::Damaged(reason)) => {
                damaged_rows += 1;
                strangers += u64::from(is_stranger(table, key, bytes));
                if damaged.len() < NAMED {
                    damaged.push(DamagedRow { row: row_name(table, key), reason });
                }
            }
        }
    });
    let expected = inspection.expected(table);
    TableCheck {
        name: table.name(),
        rows: found.count,
        rows_expected: expected.map(|sum| sum.count),
        sum_matches: expected == Some(found),
        damaged_rows,
        damaged,
        newer_rows,
        unreachable: if inspection.is_readable() {
            unreachable
        } else {
            Some("the file cannot be opened".to_owned())
        },
        strangers,
        intact_match: expected == Some(intact),
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_sound() {
            let rows: u64 = self.tables.iter().map(|table| table.rows).sum();
            return write!(f, "sound: {rows} rows in {} tables", self.tables.len());
        }
        if let Some(pages) = &self.pages {
            writeln!(f, "pages: {pages}")?;
        }
        if let Some(lost) = &self.lost_commits {
            writeln!(f, "commits: {lost}")?;
        }
        if let Some(newer) = &self.newer {
            writeln!(f, "{newer}")?;
        }
        if !self.head_readable {
            writeln!(f, "the head row, which carries the accumulators, cannot be read")?;
        }
        for table in self.tables.iter().filter(|table| !table.is_sound()) {
            writeln!(
                f,
                "{}: {} rows, {} damaged, {} missing, {} of a newer program{}",
                table.name,
                table.rows,
                table.damaged_rows,
                table.missing_rows(),
                table.newer_rows,
                if table.sum_matches { "" } else { ", not the sum that was committed" }
            )?;
            for row in &table.damaged {
                writeln!(f, "  {}: {}", row.row, row.reason)?;
            }
        }
        self.indexes.iter().try_for_each(|fault| writeln!(f, "index: {fault}"))
    }
}
