//! Quarantine: what could not be read, kept with all that is known of it.

use std::fmt;

use super::check::{Fault, fault_of};
use super::stand_in::{is_stand_in, stand_in_place};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{
    ExpiryRecord, KeyRecord, QuarantineRecord, RunRecord, expiry_key, quarantine_key,
    sequence_of_key,
};
use crate::seq::Epoch;
use crate::step::{put_back_checkpoint, put_back_state, refuse_gone, run_of_row};
use crate::store::{HoldKind, Plan, Read, Store, Table, row_name};

/// The quarantine of a store.
#[derive(Clone)]
pub struct Quarantine {
    store: Store,
}

/// One record in quarantine.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// Its number.
    pub number: u64,
    /// The table it stood in.
    pub table: String,
    /// The key it stood under.
    pub key: Vec<u8>,
    /// Its bytes as they were found, frame included.
    pub bytes: Vec<u8>,
    /// What was wrong with it.
    pub reason: String,
    /// When it was put here.
    pub at: Timestamp,
    /// In which opening of the store.
    pub epoch: Epoch,
}

impl Store {
    /// The quarantine of this store.
    #[must_use]
    pub fn quarantine(&self) -> Quarantine {
        Quarantine { store: self.clone() }
    }
}

impl Quarantine {
    /// What is in it, oldest first.
    ///
    /// # Errors
    /// `Damaged` if one of its own records is; `Poisoned`.
    pub fn list(&self) -> Result<Vec<Quarantined>> {
        let rows = self.store.read()?;
        let listed = rows.scan(Table::Quarantine, &[], &[], usize::MAX)?;
        listed
            .iter()
            .map(|(key, row)| {
                let number = key.as_slice().try_into().map_or(0, u64::from_be_bytes);
                Ok(shown(number, rows.parse(key, row)?))
            })
            .collect()
    }

    /// One record, with its bytes.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if its own record is; `Poisoned`.
    pub fn show(&self, number: u64) -> Result<Quarantined> {
        Ok(shown(number, find(&*self.store.read()?, number)?))
    }

    /// Puts a record back where it stood, if this program finds nothing wrong with it (any more):
    /// after an upgrade, or when it was quarantined by mistake.
    ///
    /// # Errors
    /// `NotFound`; `Damaged` if its bytes are still not what was written; `TooNew` if a newer program
    /// wrote them; `Conflict` if something has been written in its place since, if it is a row of a run
    /// that is open in this process, or of a run that is being removed; `BeyondHorizon` if the
    /// retention of its run has removed that; and those of a commit.
    pub fn restore(&self, number: u64) -> Result<()> {
        self.store.commit(|plan| {
            let QuarantineRecord { table, key, bytes, .. } = find(plan, number)?;
            let (key, bytes) = (key.0, bytes.0);
            let table = Table::from_id(table).ok_or_else(|| {
                Error::new(
                    ErrorKind::TooNew,
                    format!(
                        "number {number} comes from table {table}, unknown to this program: upgrade \
                         it. Nothing was changed"
                    ),
                )
            })?;
            match fault_of(plan, table, &key, &bytes) {
                Some(Fault::Damaged(why)) => {
                    return Err(Error::damaged(format!(
                        "number {number} still cannot be read: {why}. Nothing was changed: leave it, \
                         or drop it if it is not needed"
                    )));
                }
                Some(Fault::Newer(why)) => return Err(Error::new(ErrorKind::TooNew, why)),
                None => {}
            }
            if let Some(run) = run_of_row(table, &key) {
                refuse_gone(plan, &run)?;
                refuse_open(plan, table, &run)?;
            }
            clear_place(plan, table, &key, number)?;
            list_deadline(plan, table, &key, &bytes)?;
            put_back(plan, table, &key, &bytes)?;
            plan.delete(Table::Quarantine, &quarantine_key(number))
        })
    }

    /// Throws a record away for good. A key that stood under it still counts as seen; a run whose
    /// record it was begins anew.
    ///
    /// # Errors
    /// `NotFound`, and those of a commit.
    pub fn drop(&self, number: u64) -> Result<()> {
        self.store.commit(|plan| {
            find(plan, number)?;
            plan.delete(Table::Quarantine, &quarantine_key(number))
        })
    }
}

/// A step that is under way may write the row, and does not know that it was put back: so rows of the
/// user's own are put back while no step can be.
fn refuse_open(plan: &Plan<'_>, table: Table, run: &RunName) -> Result<()> {
    if table == Table::Rows && plan.is_held(HoldKind::Run, run.as_str().as_bytes()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the run \"{run}\" is open in this process, and a step of it would write over the \
                 row without having seen it: drop its handle first. Nothing was changed"
            ),
        ));
    }
    Ok(())
}

/// Writes a row where it stood, and whatever else has to know of it.
fn put_back(plan: &mut Plan<'_>, table: Table, key: &[u8], bytes: &[u8]) -> Result<()> {
    match table {
        Table::Checkpoints if sequence_of_key(key).is_some() => {
            return put_back_checkpoint(plan, key, bytes);
        }
        Table::Checkpoints | Table::Contents => {
            return Err(Error::invalid(
                "chunks, and what counts or lists checkpoints, were made anew by the repair: \
                 restore the run or the checkpoint itself, or drop this",
            ));
        }
        Table::Runs => put_back_state(plan, &plan.parse::<RunRecord>(key, bytes)?.state)?,
        _ => {}
    }
    plan.put_raw(table, key, bytes)
}

/// Takes away the stand-in that the repair left.
///
/// # Errors
/// `Conflict` if something else has been written there since.
fn clear_place(plan: &mut Plan<'_>, table: Table, key: &[u8], number: u64) -> Result<()> {
    let place = stand_in_place(table, key);
    if is_stand_in(plan, table, &place, number)? {
        plan.delete(table, &place)?;
    }
    for place in [place.as_slice(), key] {
        if plan.get(table, place)?.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{} has been written anew since. Nothing was changed: drop number {number} if \
                     that is right",
                    row_name(table, place)
                ),
            ));
        }
    }
    Ok(())
}

/// Lists a key that expires among those that fall due with it: the repair listed what it could read.
fn list_deadline(plan: &mut Plan<'_>, table: Table, key: &[u8], bytes: &[u8]) -> Result<()> {
    if table == Table::Keys
        && let Some(deadline) = plan.parse::<KeyRecord>(key, bytes)?.deadline
    {
        plan.enlist::<ExpiryRecord>(expiry_key(deadline, plan.seq()), key);
    }
    Ok(())
}

fn find(rows: &impl Read, number: u64) -> Result<QuarantineRecord> {
    rows.record(&quarantine_key(number))?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("there is no number {number} in quarantine: `list` has those that are"),
        )
    })
}

fn shown(number: u64, record: QuarantineRecord) -> Quarantined {
    let table = Table::from_id(record.table);
    Quarantined {
        number,
        table: table.map_or_else(|| record.table.to_string(), |table| table.name().to_owned()),
        key: record.key.0,
        bytes: record.bytes.0,
        reason: record.reason,
        at: record.at,
        epoch: record.epoch,
    }
}

impl fmt::Debug for Quarantined {
    /// Lengths, never the bytes: they are the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantined")
            .field("number", &self.number)
            .field("table", &self.table)
            .field("key_bytes", &self.key.len())
            .field("bytes", &self.bytes.len())
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Quarantine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quarantine").finish_non_exhaustive()
    }
}
