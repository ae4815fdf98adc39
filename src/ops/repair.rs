//! `repair`: a new file out of everything that can be read. What cannot goes to quarantine, and the
//! damaged file is kept.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::check::{Fault, fault_of};
use super::references::{References, listed_in};
use super::salvage::highest_of;
use super::stand_in::{StandIn, stand_in, stand_in_place};
use super::verify::{Verification, look};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{
    CheckpointRow, ContentRecord, ExpiryRecord, KeyRecord, QuarantineRecord, SchemaRecord,
    chunk_of_key, count_key, expiry_key_of_tick, expiry_tick, history_key, id_key, quarantine_key,
    schema_key, sequence_of_key,
};
use crate::record::{Bytes, ChunkId, KeyList};
use crate::seq::Epoch;
use crate::store::{
    Inspection, META_UNRECONCILED, Options, Read, Rebuild, Table, Unclean, Unreconciled, rebuild,
    unclean_key,
};

/// What a repair may do.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    options: Options,
    accept_missing_rows: bool,
}

impl RepairOptions {
    /// Repairs only what can be repaired without forgetting anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cache and clock to work with.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Goes on even if rows are missing that the accumulators know of, or are not those of the newest
    /// commit. A missing key counts as new:
    /// a request that was carried out may be carried out again. So nothing is sent or claimed then
    /// before [`Store::reconcile`](crate::Store::reconcile) was called. Restore a copy instead, if
    /// there is one.
    #[must_use]
    pub fn accept_missing_rows(mut self) -> Self {
        self.accept_missing_rows = true;
        self
    }
}

/// What a repair came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// What was found before it.
    pub found: Verification,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// Rows that are missing, and were not found again.
    pub missing: u64,
    /// Where the damaged file is kept; `None` if nothing was wrong and nothing was changed.
    pub kept: Option<PathBuf>,
}

/// Repairs the store at `path`, which nobody may have open. Everything that can be read goes into a
/// new file, which then takes the place of the damaged one; the damaged one is kept beside it as
/// `<store>.damaged-<time>`. When it returns, that is durable; a crash before leaves all as it was.
///
/// It gives back one commit or nothing, and never rows of two commits as if they were of one. Where the
/// place of the newest commit in the file's header is damaged, that is the commit before it, if each of
/// its pages is what was written. After a close that one holds the same rows. Otherwise the last commit
/// may be lost, which is said and has to be accepted. Where a page of an earlier commit is in the place
/// of a newer one, the sums over the rows find it, and that has to be accepted too; only in a table of
/// which rows are damaged as well the sums say nothing. If the places of both commits are damaged, or
/// the beginning of the file, nothing can be read: rows are not looked for page by page.
///
/// What cannot be read goes to quarantine with key, bytes and reason. A damaged key still counts as
/// seen; a damaged intent is in doubt; a run whose record is damaged is not begun anew before
/// somebody drops it from quarantine; a damaged row of your own is an error when it is read. If the head
/// is lost, which says how far the store has come, it goes on far behind every number it may have given
/// out; a request that it may have forgotten is beyond its horizon.
///
/// # Errors
/// `NotFound`, `Invalid` or `Locked`, as for opening it; `Damaged` if nothing of it can be read, or
/// rows are missing and that was not accepted; `TooNew` if a newer program wrote any of it: what that
/// one can read must not be put aside; `Io` if the disk failed to give what is on it, which is no
/// damage; `Io` or `NoSpace` if the new file cannot be written. Nothing was changed then.
pub fn repair(path: impl AsRef<Path>, options: &RepairOptions) -> Result<Repair> {
    let inspection = Inspection::of_path(path.as_ref(), &options.options)?;
    let found = look(&inspection)?;
    if found.is_sound() {
        return Ok(Repair { found, quarantined: 0, missing: 0, kept: None });
    }
    if !inspection.is_readable() {
        return Err(Error::damaged(format!(
            "nothing of {} can be read ({}): what leads to its rows is lost, and they are not looked \
             for page by page. Restore a copy, and keep this file until that is done. Nothing was \
             changed",
            path.as_ref().display(),
            found.pages.as_deref().unwrap_or("no reason given")
        )));
    }
    if let Some(newer) = found.newer() {
        return Err(too_new(&newer));
    }
    if let (Some(lost), false) = (&found.lost_commits, options.accept_missing_rows) {
        return Err(Error::damaged(lost.clone()));
    }
    let missing = missing_rows(&found);
    if missing.is_none_or(|missing| missing > 0) && !options.accept_missing_rows {
        return Err(Error::damaged(format!(
            "{} of {} cannot be found again: a missing key would count as new. Restore a copy; or \
             reconcile with your receivers, then repair with `accept_missing_rows`. Nothing was \
             changed",
            missing.map_or_else(
                || "an unknown number of rows".to_owned(),
                |missing| format!("{missing} rows")
            ),
            path.as_ref().display()
        )));
    }
    let others = tables_with_other_rows(&found);
    if !others.is_empty() && !options.accept_missing_rows {
        return Err(Error::damaged(format!(
            "rows of {} in {} are not those of the newest commit: some may be of an earlier one, and \
             nothing says which. Restore a copy; or reconcile with your receivers, then repair with \
             `accept_missing_rows`. Nothing was changed",
            others.join(", "),
            path.as_ref().display()
        )));
    }
    let mut quarantined = 0;
    // Among what is missing may be the record of a crash, or commits that one would speak of. No store
    // has an epoch 0.
    let may_miss_a_crash = found.lost_commits.is_some()
        || found.tables.iter().any(|table| table.name == Table::Meta.name() && table.misses_rows());
    let highest = highest_of(&inspection);
    let kept = rebuild(inspection, &options.options, highest, |inspection, new| {
        if may_miss_a_crash || inspection.copied.is_some() {
            new.put(&unclean_key(Epoch::default()), &Unclean::LOST)?;
        }
        let is_lossy = found.lost_commits.is_some() || missing != Some(0);
        let why = is_lossy.then(|| why_unreconciled(missing)).into_iter();
        let why = why.chain((!others.is_empty()).then(|| why_other_rows(&others)));
        let why = why.chain(inspection.copied.map(why_copied)).collect::<Vec<_>>();
        if !why.is_empty() {
            let all = why.into_iter().fold(Unreconciled::default(), Unreconciled::and);
            new.put(META_UNRECONCILED, &all)?;
        }
        let mut work = Work {
            inspection,
            new,
            quarantined: 0,
            now: options.options.now(),
            expiry: BTreeMap::new(),
            chunks: sound_chunks(inspection),
            references: References::default(),
        };
        work.copy_all()?;
        quarantined = work.quarantined;
        Ok(())
    })?;
    Ok(Repair { found, quarantined, missing: missing.unwrap_or(0), kept: Some(kept) })
}

fn why_unreconciled(missing: Option<u64>) -> String {
    let rows = missing.map_or_else(|| "an unknown number of".to_owned(), |rows| rows.to_string());
    format!("it was repaired, and {rows} rows or the newest commits of it were lost")
}

fn why_other_rows(tables: &[&str]) -> String {
    format!("it was repaired, and rows of {} may be of an earlier commit", tables.join(", "))
}

fn why_copied(why: &str) -> String {
    format!("it was repaired as a copy ({why}), and the original may have sent since")
}

fn too_new(what: &str) -> Error {
    Error::new(
        ErrorKind::TooNew,
        format!("{what}: upgrade this one, and repair the store with that. Nothing was changed"),
    )
}

/// How many rows are missing; `None` if nobody can say. The expiry index is made anew, so what is
/// missing of it does not count.
fn missing_rows(found: &Verification) -> Option<u64> {
    let tables = found.tables.iter().filter(|table| table.name != Table::Expiry.name());
    tables
        .map(|table| table.rows_expected.map(|_| table.missing_rows()))
        .try_fold(0u64, |all, missing| Some(all.saturating_add(missing?)))
}

/// The tables that hold rows of another commit than the newest. The expiry index is rebuilt.
fn tables_with_other_rows(found: &Verification) -> Vec<&'static str> {
    let tables = found.tables.iter().filter(|table| table.name != Table::Expiry.name());
    tables.filter(|table| table.holds_other_rows()).map(|table| table.name).collect()
}

struct Work<'a> {
    inspection: &'a Inspection,
    new: &'a mut Rebuild,
    quarantined: u64,
    now: Timestamp,
    /// The expiry index as the keys give it.
    expiry: BTreeMap<Timestamp, KeyList>,
    /// The chunks that are what their names say.
    chunks: HashSet<ChunkId>,
    /// Who refers to them, of what has been copied.
    references: References,
}

fn sound_chunks(inspection: &Inspection) -> HashSet<ChunkId> {
    let mut sound = HashSet::new();
    let Some(rows) = inspection.rows() else { return sound };
    inspection.walk(Table::Contents, |key, bytes| {
        if fault_of(rows, Table::Contents, key, bytes).is_none() {
            sound.extend(chunk_of_key(key));
        }
    });
    sound
}

impl Work<'_> {
    fn copy_all(&mut self) -> Result<()> {
        for table in Table::ALL {
            if table == Table::Expiry {
                continue;
            }
            let mut outcome = Ok(());
            self.inspection.walk(table, |key, bytes| {
                if outcome.is_ok() {
                    outcome = self.see_to(table, key, bytes);
                }
            });
            outcome?;
        }
        for (tick, keys) in std::mem::take(&mut self.expiry) {
            self.new.put_payload::<ExpiryRecord>(&expiry_key_of_tick(tick), &keys.pack())?;
        }
        for (run, history) in std::mem::take(&mut self.references.histories) {
            self.new.put(&history_key(&run), &CheckpointRow::History(history))?;
        }
        for (id, count) in std::mem::take(&mut self.references.listed) {
            if count > 1 {
                self.new.put(&count_key(id), &ContentRecord::Count(count))?;
            }
        }
        // The numbers of schemas that are lost stay taken: under one that was given to another type, a
        // value would be read as something else.
        for schema in self.references.missing_schemas() {
            self.new.put(&schema_key(schema), &SchemaRecord::lost(self.now))?;
        }
        Ok(())
    }

    fn see_to(&mut self, table: Table, key: &[u8], bytes: &[u8]) -> Result<()> {
        let Some(rows) = self.inspection.rows() else { return Ok(()) };
        match fault_of(rows, table, key, bytes) {
            Some(Fault::Damaged(reason)) => return self.quarantine(table, key, bytes, reason),
            Some(Fault::Newer(why)) => return Err(too_new(&why)),
            None => {}
        }
        let lost = listed_in(rows, table, key, bytes);
        let lost = lost.iter().filter(|id| !self.chunks.contains(id)).count();
        if lost > 0 {
            let reason = format!("{lost} chunks of its state are missing or damaged");
            return self.quarantine(table, key, bytes, reason);
        }
        // Indexes and counts are made anew, out of what is copied. Chunks come behind those who list
        // them; one that nobody lists any more stays in the damaged file alone.
        match table {
            Table::Checkpoints => {
                let CheckpointRow::Checkpoint(record) = rows.parse(key, bytes)? else {
                    return Ok(());
                };
                if let Some(place) = sequence_of_key(key) {
                    self.new.put(&id_key(&record.id, &place), &CheckpointRow::Id)?;
                }
            }
            Table::Contents => {
                let is_listed =
                    chunk_of_key(key).is_some_and(|id| self.references.listed.contains_key(&id));
                if !is_listed {
                    return Ok(());
                }
            }
            _ => {}
        }
        self.references.take_in(rows, table, key, bytes);
        if table == Table::Keys
            && let Some(deadline) = rows.parse::<KeyRecord>(key, bytes)?.deadline
        {
            self.expiry.entry(expiry_tick(deadline)).or_default().push(key);
        }
        self.new.copy(table, key, bytes)
    }

    fn quarantine(&mut self, table: Table, key: &[u8], bytes: &[u8], reason: String) -> Result<()> {
        let number = self.new.take_id();
        let record = QuarantineRecord {
            table: table.id(),
            key: Bytes(key.to_vec()),
            bytes: Bytes(bytes.to_vec()),
            reason,
            at: self.now,
            epoch: self.inspection.epoch(),
        };
        self.new.put(&quarantine_key(number), &record)?;
        self.quarantined += 1;
        self.put_stand_in(table, key, number)
    }

    fn put_stand_in(&mut self, table: Table, key: &[u8], number: u64) -> Result<()> {
        let place = stand_in_place(table, key);
        match stand_in(self.inspection, table, key, number, self.now) {
            Some(StandIn::Key(record)) => self.new.put(&place, &record),
            Some(StandIn::Intent(record)) => self.new.put(&place, &*record),
            Some(StandIn::Row(record)) => self.new.put(&place, &record),
            Some(StandIn::Schema(record)) => self.new.put(&place, &record),
            Some(StandIn::Crash(record)) => self.new.put(&place, &record),
            Some(StandIn::RunEnd(record)) => self.new.put(&place, &record),
            Some(StandIn::Unreconciled(record)) => self.new.put(&place, &record),
            None => Ok(()),
        }
    }
}
