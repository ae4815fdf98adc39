//! A run is removed: its row in one commit, with a note that the rest of it goes; then the rest, slice
//! by slice; with the last slice the note goes too. Killed in between, the run is gone, and what is
//! left of it goes with the commits that come, or at once when its name is used.

use std::collections::{BTreeMap, BTreeSet};

use super::content::{distinct, referrers, release_all};
use super::forget::readable;
use super::history::{Removal, history_of, parsed, unless_damaged};
use super::retain::{takes, unsettled};
use super::state::list_of as chunks_of;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{
    ChunkList, ExpiryRecord, Kept, KeyRecord, QuarantineRecord, REMOVING, RunEnd, RunRecord,
    checkpoints_of, end_key, ended_key, expiry_tick, history_key, removed_key, removing_key,
    row_key, run_key, run_of_history_key, run_of_removing_key, run_of_step_key, sequence_of_key,
    step_key,
};
use crate::record::{KeyList, unnamed};
use crate::store::{HoldKind, Plan, Read, Store, Table, list_of};

/// How many rows one commit of a removal takes away, about.
const SLICE_ROWS: usize = 2_000;
/// How many rows a commit of something else takes away on the side.
const ASIDE_ROWS: usize = 200;
/// How many rows are read at once.
const READ_AT_ONCE: usize = 256;

impl Store {
    /// Removes a run: its state, its keys with their outcomes, its own rows, its checkpoints, pinned
    /// ones too, and what of it is in quarantine. When it returns, all of that is durably gone, and a
    /// run that is opened under the name begins as one that has never been: what was done under the
    /// keys of the old one is new to it. What the run has emitted is not touched, and the ids of the
    /// new one's effects differ from those of the old.
    ///
    /// The run is gone with the first commit, and the rest of it follows, some 2,000 rows a commit, so
    /// that no step waits long. After a crash in between, what is left goes with the commits that come
    /// later, or when this is called again or the run is opened.
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Import;
    /// # impl milepost::Versioned for Import {
    /// #     const NAME: &'static str = "import";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// let mut run = store.run::<Import>("import-2026-02")?;
    /// run.step("line-1", 1, |_| Ok(()))?;
    /// drop(run);
    /// store.remove_run("import-2026-02")?;
    /// assert_eq!(store.run::<Import>("import-2026-02")?.steps(), 0);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such run; `Conflict` if it is open in this process, or has emitted
    /// effects that are not settled; `Damaged` if a record that it needs is, of the run's state or of
    /// what follows: close the store, run `repair` on it, and call this again; those of a commit.
    pub fn remove_run(&self, name: &str) -> Result<()> {
        let run = RunName::new(name)?;
        let hold = self.hold(HoldKind::Run, name.as_bytes())?;
        let _hold = hold.ok_or_else(|| {
            conflict(&run, "is open in this process: drop its handle first. Nothing was changed")
        })?;
        self.commit(|plan| {
            let is_known = plan.get(Table::Runs, &run_key(&run))?.is_some()
                || is_gone(plan, &run)?
                || history_of(plan, &run)?.count > 0
                || !quarantined(plan, &run)?.is_empty();
            if !is_known {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("there is no run \"{run}\" in this store"),
                ));
            }
            let open = unsettled(plan, &run)?.len();
            if open > 0 {
                return Err(conflict(
                    &run,
                    &format!(
                        "has emitted {open} effects that are not settled: deliver or settle them \
                         first. Nothing was changed"
                    ),
                ));
            }
            let end = RunEnd { number: 0, at: plan.lived(), name_stays: false };
            begin_removal(plan, &run, &end)
        })?;
        finish_removal(self, &run)
    }
}

/// Takes the run's row away, and notes down that the rest of it goes. The caller has seen that nobody
/// has the run open and that nothing it has emitted is open.
pub(super) fn begin_removal(plan: &mut Plan<'_>, run: &RunName, end: &RunEnd) -> Result<()> {
    if let Some(record) = plan.record::<RunRecord>(&run_key(run))? {
        if record.state.is_chunked() {
            let list = chunks_of(&record.state).ok_or_else(|| {
                Error::damaged(format!(
                    "the state of the run \"{run}\" has a list of chunks that is none. Nothing was \
                     changed; close the store and run `repair` on it"
                ))
            })?;
            check_counts(plan, &list)?;
            release_all(plan, &list.chunks)?;
        }
        plan.forget(Table::Runs, &run_key(run));
    }
    forget_end(plan, run)?;
    plan.forget(Table::Meta, &removed_key(run));
    plan.put_aside(&removing_key(run), end)?;
    plan.note_removals(true);
    Ok(())
}

/// The run is not ended, or not any more.
pub(super) fn forget_end(plan: &mut Plan<'_>, run: &RunName) -> Result<()> {
    let key = ended_key(run);
    // A damaged note ends no run: its line in the order has no note beside it then, and goes.
    if let Some(end) = readable(plan.record::<RunEnd>(&key))? {
        plan.forget(Table::Meta, &key);
        plan.forget(Table::Meta, &end_key(end.number, run));
    }
    Ok(())
}

/// Reads the counts of chunks before the first of them is changed: a plan that goes on after damage was
/// found has released all or none.
fn check_counts(rows: &impl Read, list: &ChunkList) -> Result<()> {
    distinct(&list.chunks).into_iter().try_for_each(|id| referrers(rows, id).map(drop))
}

/// Removes what is left of a run that is being removed; nothing if none is.
///
/// # Errors
/// `Damaged` or `TooNew` if a record is; those of a commit. What was removed before stays so.
pub(super) fn finish_removal(store: &Store, run: &RunName) -> Result<()> {
    while !store.commit(|plan| remove_some(plan, run, SLICE_ROWS))? {}
    Ok(())
}

/// Removes a little of a run that is being removed, in a plan that does something else. What is damaged
/// stops no step.
pub(super) fn forget_removed(plan: &mut Plan<'_>) -> Result<()> {
    if !plan.may_have_removals() {
        return Ok(());
    }
    let next = plan.scan(Table::Meta, REMOVING, &[], 1)?.pop();
    let Some(run) = next.and_then(|(key, _)| run_of_removing_key(&key)) else {
        plan.note_removals(false);
        return Ok(());
    };
    match unless_damaged(remove_some(plan, &run, ASIDE_ROWS).map(Some)) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            plan.note_removals(false);
            Ok(())
        }
        Err(error) if matches!(error.kind(), ErrorKind::TooNew | ErrorKind::LimitExceeded) => {
            plan.note_removals(false);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Removes about so many rows; whether nothing is left.
fn remove_some(plan: &mut Plan<'_>, run: &RunName, mut room: usize) -> Result<bool> {
    let key = removing_key(run);
    let Some(end) = plan.record::<RunEnd>(&key)? else { return Ok(true) };
    // The last steps of the run may be in the same group: what they list is seen when it is durable.
    if !plan.is_durable(Table::Meta, &key)? {
        return Ok(false);
    }
    let is_empty = remove_checkpoints(plan, run, &mut room)?
        && remove_keys(plan, run, &mut room)?
        && remove_rows(plan, run, &mut room)?;
    if !is_empty {
        return Ok(false);
    }
    for key in quarantined(plan, run)? {
        plan.forget(Table::Quarantine, &key);
    }
    plan.forget(Table::Meta, &key);
    if end.name_stays {
        plan.put_aside(&removed_key(run), &end)?;
    }
    Ok(true)
}

fn remove_checkpoints(plan: &mut Plan<'_>, run: &RunName, room: &mut usize) -> Result<bool> {
    let mut from = Vec::new();
    loop {
        let page = plan.scan(Table::Checkpoints, &checkpoints_of(run), &from, READ_AT_ONCE)?;
        let Some((last, _)) = page.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        let mut going = BTreeSet::new();
        let mut is_full = false;
        for row in &page {
            let (place, record) = parsed(plan, row)?;
            if let Kept::Chunks(list) = &record.state
                && let Some(list) = ChunkList::from_bytes(&list.0)
            {
                check_counts(plan, &list)?;
            }
            if !takes(room, &record) {
                is_full = true;
                break;
            }
            going.insert(place.sequence);
        }
        Removal::of(plan, run, &going)?.plan(plan, run)?;
        if is_full {
            return Ok(false);
        }
    }
    plan.forget(Table::Checkpoints, &history_key(run));
    Ok(true)
}

/// Removes keys, and takes those that expire off the index of expiry.
fn remove_keys(plan: &mut Plan<'_>, run: &RunName, room: &mut usize) -> Result<bool> {
    let mut ticks: BTreeMap<Timestamp, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let prefix = step_key(run, &[]);
    let removed = each_row(plan, Table::Keys, &prefix, room, |plan, key, row| {
        let deadline = plan.parse::<KeyRecord>(key, row)?.deadline;
        if let Some(deadline) = deadline {
            ticks.entry(expiry_tick(deadline)).or_default().insert(key.to_vec());
        }
        Ok(())
    });
    // Also when it ended at a key that cannot be read: those before it are gone.
    for (tick, keys) in ticks {
        unlist(plan, tick, keys)?;
    }
    removed
}

fn remove_rows(plan: &mut Plan<'_>, run: &RunName, room: &mut usize) -> Result<bool> {
    each_row(plan, Table::Rows, &row_key(run, &[]), room, |_, _, _| Ok(()))
}

/// Removes rows after `each` was called with them, while there is room; whether that were all.
fn each_row(
    plan: &mut Plan<'_>,
    table: Table,
    prefix: &[u8],
    room: &mut usize,
    mut each: impl FnMut(&Plan<'_>, &[u8], &[u8]) -> Result<()>,
) -> Result<bool> {
    let mut from = Vec::new();
    loop {
        let page = plan.scan(table, prefix, &from, READ_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(true) };
        from = [last.as_slice(), &[0]].concat();
        for (key, row) in &page {
            if *room == 0 {
                return Ok(false);
            }
            each(plan, key, row)?;
            plan.forget(table, key);
            *room -= 1;
        }
    }
}

/// Takes keys off the lists of what falls due at a tick.
fn unlist(plan: &mut Plan<'_>, tick: Timestamp, mut keys: BTreeSet<Vec<u8>>) -> Result<()> {
    for (row, bytes) in plan.scan(Table::Expiry, &tick.as_ms().to_be_bytes(), &[], usize::MAX)? {
        // What is damaged stays; `repair` makes the index again, out of the keys.
        let Ok(listed) = list_of::<ExpiryRecord>(&row, &bytes) else { continue };
        let Some(listed) = listed.collect::<Option<Vec<_>>>() else { continue };
        let before = listed.len();
        let mut rest = KeyList::default();
        let mut left = 0;
        for key in listed {
            if !keys.remove(&key) {
                rest.push(&key);
                left += 1;
            }
        }
        if left == 0 {
            plan.forget(Table::Expiry, &row);
        } else if left < before {
            plan.put_list::<ExpiryRecord>(&row, &rest)?;
        }
    }
    Ok(())
}

/// The keys of what is in quarantine of a run.
fn quarantined(rows: &impl Read, run: &RunName) -> Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    for (key, row) in rows.scan(Table::Quarantine, &[], &[], usize::MAX)? {
        let QuarantineRecord { table, key: place, .. } = rows.parse(&key, &row)?;
        let table = Table::from_id(table);
        if table.and_then(|table| run_of_row(table, &place.0)).as_ref() == Some(run) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The run that a row belongs to.
pub(crate) fn run_of_row(table: Table, key: &[u8]) -> Option<RunName> {
    match table {
        Table::Runs => RunName::new(std::str::from_utf8(key).ok()?).ok(),
        Table::Keys => run_of_step_key(key),
        Table::Checkpoints => {
            sequence_of_key(key).map(|place| place.run).or_else(|| run_of_history_key(key))
        }
        Table::Rows => RunName::new(unnamed(key, 0)?.0).ok(),
        _ => None,
    }
}

fn is_gone(rows: &impl Read, run: &RunName) -> Result<bool> {
    let is_there = |key: &[u8]| Ok(rows.get(Table::Meta, key)?.is_some());
    Ok(is_there(&removing_key(run))? || is_there(&removed_key(run))?)
}

/// A run that is being removed, or whose retention has removed it, does not begin again by itself.
///
/// # Errors
/// `Conflict`, or `BeyondHorizon`: its keys are forgotten.
pub(crate) fn refuse_gone(rows: &impl Read, run: &RunName) -> Result<()> {
    if rows.get(Table::Meta, &removing_key(run))?.is_some() {
        return Err(conflict(
            run,
            "is being removed: call `Store::remove_run` to have that finished. Nothing was written",
        ));
    }
    let Some(end) = rows.record::<RunEnd>(&removed_key(run))? else { return Ok(()) };
    Err(Error::new(
        ErrorKind::BeyondHorizon,
        format!(
            "the run \"{run}\" was ended ({} ms after 1970), and its retention has removed it with its keys: what \
             it has done would count as new. Use another name; or call `Store::remove_run`, which \
             frees this one. Nothing was written",
            end.at.as_ms()
        ),
    ))
}

fn conflict(run: &RunName, why: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("the run \"{run}\" {why}"))
}
