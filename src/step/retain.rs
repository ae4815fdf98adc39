//! Which checkpoints go, and that they go a few at a time.

use std::collections::BTreeSet;
use std::fmt;

use super::history::{Removal, history_of, newest, parsed, record_at, unless_damaged};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{CheckpointId, RunName};
use crate::ledger::{
    CheckpointRecord, ChunkList, IntentRecord, Kept, OUTSTANDING, Place, checkpoint_key,
    checkpoints_of, intent_of_key,
};
use crate::store::{Plan, Read, Retention, Table, misplaced};

/// How many rows one commit changes to let checkpoints go, about: a step waits no longer than for
/// these.
const SLICE_ROWS: usize = 2_000;
/// How many checkpoints a step looks at. Where more than this many in a row are pinned, only
/// [`Checkpoints::apply`](crate::Checkpoints::apply) comes to those behind them.
const LOOKED_AT: usize = 64;

/// What a retention would let go of, before it does.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionPlan {
    /// Of which run.
    pub run: RunName,
    /// Which checkpoints go, oldest first.
    pub going: Vec<CheckpointId>,
    /// How many stay.
    pub staying: u64,
    /// The size of the states that go, each counted whole, in bytes.
    pub logical_bytes: u64,
    /// What their rows take in the file, in bytes: chunks that something else refers to are not
    /// among them, nor what has to be written for those that stay.
    pub physical_bytes: u64,
    pub(super) places: Vec<u64>,
}

/// What a retention let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Freed {
    /// How many checkpoints.
    pub checkpoints: u64,
    /// The size of their states, each counted whole, in bytes.
    pub logical_bytes: u64,
    /// What their rows took in the file, in bytes, less what was written in their place. The file
    /// uses that room again; it does not become shorter.
    pub physical_bytes: u64,
}

/// A checkpoint that may go.
pub(super) struct Due {
    pub(super) place: Place,
    pub(super) record: CheckpointRecord,
    /// What its row takes, in bytes.
    pub(super) row_bytes: u64,
}

/// Lets go of what is due of a run, in a plan that does something else: not much at once.
pub(super) fn sweep(plan: &mut Plan<'_>, run: &RunName, policy: Retention) -> Result<()> {
    let mut room = SLICE_ROWS;
    // What is damaged stays, for a repair to look at, and stops no step.
    let due = unless_damaged(due(plan, run, policy, plan.believed(), LOOKED_AT).map(Some))?;
    let going: BTreeSet<u64> = due
        .unwrap_or_default()
        .into_iter()
        .take_while(|due| takes(&mut room, &due.record))
        .map(|due| due.place.sequence)
        .collect();
    if !going.is_empty()
        && let Some(removal) = unless_damaged(Removal::of(plan, run, &going).map(Some))?
    {
        removal.plan(plan, run)?;
    }
    Ok(())
}

/// Whether there is room left before this one goes too.
pub(super) fn takes(room: &mut usize, record: &CheckpointRecord) -> bool {
    let rows = match &record.state {
        Kept::Chunks(list) => ChunkList::from_bytes(&list.0).map_or(4, |list| list.chunks.len()),
        Kept::Whole(_) | Kept::Changed { .. } => 4,
    };
    let had = *room;
    *room = room.saturating_sub(rows);
    had > 0
}

/// The checkpoints of a run that a policy lets go, oldest first, among the `most` oldest.
pub(super) fn due(
    rows: &impl Read,
    run: &RunName,
    policy: Retention,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Due>> {
    let history = history_of(rows, run)?;
    let (mut newer, mut bytes) = (history.count, history.logical_bytes);
    let mut doubts = None;
    let mut found = Vec::new();
    if newer <= policy.keep_last && bytes <= policy.keep_bytes {
        return Ok(found);
    }
    let mut from = Vec::new();
    let mut looked_at = 0;
    // Two at a time: whether the first goes depends on where the second stands.
    while let [row, behind @ ..] =
        rows.scan(Table::Checkpoints, &checkpoints_of(run), &from, 2)?.as_slice()
    {
        let (place, record) = parsed(rows, row)?;
        newer = newer.saturating_sub(1);
        looked_at += 1;
        if looked_at > most || !policy.lets_go(newer, record.at, bytes, now) {
            break;
        }
        let doubts = match &mut doubts {
            Some(doubts) => doubts,
            None => doubts.insert(unsettled(rows, run)?),
        };
        let next = behind.first().map(|row| parsed(rows, row)).transpose()?;
        let next = next.map(|(place, _)| place.sequence);
        from = checkpoint_key(run, place.sequence.saturating_add(1));
        if !record.pinned && !is_doubted(doubts, place.sequence, next) {
            bytes = bytes.saturating_sub(record.len);
            found.push(Due { place, record, row_bytes: row.1.len() as u64 });
        }
    }
    Ok(found)
}

/// Removes those of the planned ones that may still go, and for which there is room in one commit;
/// takes them off the list.
pub(super) fn remove_some(
    plan: &mut Plan<'_>,
    run: &RunName,
    planned: &mut &[u64],
) -> Result<Freed> {
    let newest = newest(plan, run)?.map(|(place, _)| place.sequence);
    let doubts = unsettled(plan, run)?;
    let mut freed = Freed::default();
    let mut going = BTreeSet::new();
    let mut room = SLICE_ROWS;
    while let Some((sequence, rest)) = planned.split_first() {
        let place = Place { run: run.clone(), sequence: *sequence };
        let record = record_at(plan, &place)?;
        if record.as_ref().is_some_and(|record| !takes(&mut room, record)) {
            break;
        }
        *planned = rest;
        let next = next_of(plan, &place)?;
        let Some(record) = record.filter(|record| {
            !record.pinned && newest != Some(*sequence) && !is_doubted(&doubts, *sequence, next)
        }) else {
            continue;
        };
        freed.checkpoints += 1;
        freed.logical_bytes += record.len;
        going.insert(*sequence);
    }
    freed.physical_bytes = Removal::of(plan, run, &going)?.plan(plan, run)?;
    Ok(freed)
}

fn next_of(rows: &impl Read, place: &Place) -> Result<Option<u64>> {
    let from = checkpoint_key(&place.run, place.sequence.saturating_add(1));
    let next = rows.scan(Table::Checkpoints, &checkpoints_of(&place.run), &from, 1)?.pop();
    Ok(next.map(|row| parsed(rows, &row)).transpose()?.map(|(place, _)| place.sequence))
}

/// The numbers of the run's intents that are not settled. They count with those of checkpoints, so
/// it is known which was first.
pub(super) fn unsettled(rows: &impl Read, run: &RunName) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for (key, row) in rows.scan(Table::Intents, OUTSTANDING, &[], usize::MAX)? {
        if rows.parse::<IntentRecord>(&key, &row)?.run.as_ref() == Some(run) {
            let intent = intent_of_key(&key).ok_or_else(|| misplaced(Table::Intents, &key))?;
            numbers.push(intent.sequence());
        }
    }
    Ok(numbers)
}

/// Whether this is the last checkpoint before something that is not settled.
fn is_doubted(unsettled: &[u64], sequence: u64, next: Option<u64>) -> bool {
    unsettled.iter().any(|number| *number > sequence && next.is_none_or(|next| *number < next))
}

impl fmt::Debug for RetentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RetentionPlan {
    /// For people: what would go.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} checkpoints go ({} bytes of states, {} in the file), {} stay",
            self.run,
            self.going.len(),
            self.logical_bytes,
            self.physical_bytes,
            self.staying
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_checkpoint_before_what_is_not_settled_is_held_for_it() {
        // Checkpoints 10, 20 and 30, an intent between the first two and one behind the last.
        let held = |intent: u64| {
            [(10, Some(20)), (20, Some(30)), (30, None)]
                .map(|(sequence, next)| is_doubted(&[intent], sequence, next))
        };
        assert_eq!(held(5), [false, false, false]);
        assert_eq!(held(15), [true, false, false]);
        assert_eq!(held(35), [false, false, true]);
    }
}
