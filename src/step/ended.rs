//! Runs that were ended: noted down, and after their time removed, when another run is ended.

use super::forget::{readable, settled_at};
use super::history::parsed;
use super::remove::{begin_removal, forget_end};
use super::retain::unsettled;
use crate::error::Result;
use crate::id::RunName;
use crate::ledger::{ENDS, RunEnd, checkpoints_of, end_key, end_of_key, ended_key};
use crate::store::{HoldKind, Plan, Read, Table};

/// How many runs go with one that is ended, at most, and how many are looked at for it.
const GOING: usize = 2;
const LOOKED_AT: usize = 8;
/// How many rows are read at once.
const READ_AT_ONCE: usize = 256;

/// Notes down that a run was ended, and lets those go whose time is over.
pub(super) fn end(plan: &mut Plan<'_>, run: &RunName) -> Result<()> {
    forget_end(plan, run)?;
    let number = plan.take_id();
    note_end(plan, run, &RunEnd { number, at: plan.lived(), name_stays: true })?;
    forget_ended(plan)
}

fn note_end(plan: &mut Plan<'_>, run: &RunName, end: &RunEnd) -> Result<()> {
    plan.put_aside(&ended_key(run), end)?;
    plan.put_aside(&end_key(end.number, run), end)
}

/// Begins to remove the runs that were ended first, if their time is over.
fn forget_ended(plan: &mut Plan<'_>) -> Result<()> {
    let policy = plan.settled_retention();
    let (next, now) = (plan.next_id(), plan.believed());
    let mut gone = 0;
    for (key, row) in plan.scan(Table::Meta, ENDS, &[], LOOKED_AT)? {
        let Some(line) = readable(plan.parse::<RunEnd>(&key, &row).map(Some))? else { continue };
        let Some((number, run)) = end_of_key(&key) else { continue };
        let end = readable(plan.record::<RunEnd>(&ended_key(&run)))?;
        let Some(end) = end.filter(|end| *end == line && end.number == number) else {
            plan.forget(Table::Meta, &key);
            continue;
        };
        let at = settled_at(plan, end.at)?;
        if gone == GOING || !policy.lets_run_go(next.saturating_sub(number), at, now) {
            break;
        }
        if plan.is_held(HoldKind::Run, run.as_str().as_bytes()) {
            continue;
        }
        if !unsettled(plan, &run)?.is_empty() {
            // Its turn comes again after all those that were ended until now.
            forget_end(plan, &run)?;
            let number = plan.take_id();
            note_end(plan, &run, &RunEnd { number, ..end })?;
        } else if is_pinned(plan, &run)? {
            // It stays, and stops no other.
            forget_end(plan, &run)?;
        } else if readable(begin_removal(plan, &run, &end).map(Some))?.is_some() {
            gone += 1;
        }
    }
    Ok(())
}

/// Whether a checkpoint of the run is pinned, or cannot be read.
fn is_pinned(rows: &impl Read, run: &RunName) -> Result<bool> {
    let mut from = Vec::new();
    loop {
        let page = rows.scan(Table::Checkpoints, &checkpoints_of(run), &from, READ_AT_ONCE)?;
        let Some((last, _)) = page.last() else { return Ok(false) };
        from = [last.as_slice(), &[0]].concat();
        for row in &page {
            if readable(parsed(rows, row).map(Some))?.is_none_or(|(_, record)| record.pinned) {
                return Ok(true);
            }
        }
    }
}
