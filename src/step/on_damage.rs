//! What becomes of a run whose record was damaged and is in quarantine: nothing, unless somebody asks.

use super::content::refer;
use super::history::{newest_below, proven};
use super::reconcile::{has_emitted_since, set_back};
use super::remove::refuse_gone;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName};
use crate::ledger::{
    CheckpointRecord, ChunkList, Kept, Place, QuarantineRecord, RunRecord, run_key, sequence_of_key,
};
use crate::position::Position;
use crate::record::{CODEC_CHUNKS, Payload};
use crate::store::{Plan, Read, Table};

/// What to do about a run whose record was damaged, and which a repair put into quarantine: see
/// [`OpenRun::on_damage`](crate::OpenRun::on_damage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDamage {
    /// The run is not opened: the error says what to do.
    #[default]
    Fail,
    /// The run goes on from the newest of its checkpoints that is whole.
    FallBack,
    /// The run begins anew.
    StartFresh,
}

/// What a run that was opened in spite of damage goes on from.
///
/// What was done after that is not in its state. Its keys are still there, unless they have expired:
/// those inputs are duplicates. To have them in the state, work them in by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FellBack {
    /// The number in quarantine of the record that was damaged. It stays there.
    pub quarantined: u64,
    /// The checkpoint; `None` if the run begins anew.
    pub checkpoint: Option<CheckpointId>,
    /// The position the run goes on from.
    pub position: Position,
    /// How many of its checkpoints are newer than that one, and are not whole, those in quarantine
    /// included.
    pub passed_over: u64,
    /// Whether the run has emitted effects since, which its state does not know. Then nothing is sent or
    /// claimed before [`Store::reconcile`](crate::Store::reconcile) was called.
    pub must_reconcile: bool,
}

/// Where a run is in quarantine, with the reason: the newest record of it, if it was damaged before.
fn quarantined(rows: &impl Read, name: &RunName) -> Result<Option<(u64, String)>> {
    let mut newest = None;
    for (key, row) in rows.scan(Table::Quarantine, &[], &[], usize::MAX)? {
        let record = rows.parse::<QuarantineRecord>(&key, &row)?;
        if record.table == Table::Runs.id() && record.key.0 == run_key(name) {
            let number = key.as_slice().try_into().map_or(0, u64::from_be_bytes);
            newest = Some((number, record.reason));
        }
    }
    Ok(newest)
}

/// How many of a run's checkpoints behind this one are in quarantine.
fn quarantined_behind(rows: &impl Read, name: &RunName, sequence: u64) -> Result<u64> {
    let mut count = 0;
    for (key, row) in rows.scan(Table::Quarantine, &[], &[], usize::MAX)? {
        let record = rows.parse::<QuarantineRecord>(&key, &row)?;
        let place =
            sequence_of_key(&record.key.0).filter(|_| record.table == Table::Checkpoints.id());
        count += u64::from(place.is_some_and(|at| at.run == *name && at.sequence > sequence));
    }
    Ok(count)
}

/// A run whose record is in quarantine does not begin anew unless somebody asks for it, nor does one that
/// is removed.
pub(super) fn refuse_quarantined(rows: &impl Read, name: &RunName) -> Result<()> {
    refuse_gone(rows, name)?;
    match quarantined(rows, name)? {
        None => Ok(()),
        Some((number, reason)) => Err(Error::damaged(format!(
            "the run \"{name}\" was damaged ({reason}), and is number {number} in quarantine: restore \
             it; or open it with `open_run(..).on_damage(..)`, from its newest checkpoint or from the start"
        ))),
    }
}

/// How a run that was damaged begins again.
pub(super) struct Rescue {
    fell_back: FellBack,
    /// The number of the checkpoint that it goes on from; 0 if it begins anew.
    number: u64,
    /// That checkpoint and its state; `None` if the run begins anew.
    pub(super) from: Option<(CheckpointRecord, Vec<u8>)>,
}

impl Rescue {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.fell_back, self.number) == (&other.fell_back, other.number)
    }

    /// Plans it; the record if the run goes on from a checkpoint.
    pub(super) fn carry_out(
        self,
        plan: &mut Plan<'_>,
        name: &RunName,
    ) -> Result<(FellBack, Option<RunRecord>)> {
        let Self { mut fell_back, number, from } = self;
        let run = from.map(|(record, bytes)| begin_from(plan, record, bytes)).transpose()?;
        fell_back.must_reconcile = set_back_from(plan, name, number)?;
        Ok((fell_back, run))
    }
}

/// How the run begins again as was asked for; `None` if there is nothing to be done about it.
///
/// # Errors
/// `Damaged` if the run is in quarantine and that is to be left alone, or if no checkpoint is whole.
pub(super) fn rescue(
    rows: &impl Read,
    name: &RunName,
    on_damage: OnDamage,
) -> Result<Option<Rescue>> {
    let Some((number, reason)) = quarantined(rows, name)? else { return Ok(None) };
    let mut fell_back = FellBack {
        quarantined: number,
        checkpoint: None,
        position: Position::Start,
        passed_over: 0,
        must_reconcile: false,
    };
    match on_damage {
        OnDamage::Fail => refuse_quarantined(rows, name).map(|()| None),
        OnDamage::StartFresh => Ok(Some(Rescue { fell_back, number: 0, from: None })),
        OnDamage::FallBack => {
            let mut below = u64::MAX;
            while let Some((sequence, found)) = newest_below(rows, name, below)? {
                below = sequence;
                if let Some((record, bytes)) = whole(rows, name, sequence, found)? {
                    (fell_back.checkpoint, fell_back.position) =
                        (Some(record.id), record.position.clone());
                    fell_back.passed_over += quarantined_behind(rows, name, sequence)?;
                    let from = Some((record, bytes));
                    return Ok(Some(Rescue { fell_back, number: sequence, from }));
                }
                fell_back.passed_over += 1;
            }
            Err(Error::damaged(format!(
                "the run \"{name}\" was damaged ({reason}), is number {number} in quarantine, and none \
                 of its {} checkpoints is whole: restore it, or ask for it to begin anew",
                fell_back.passed_over
            )))
        }
    }
}

/// The run goes back to where its effects had this number, or to its beginning: if it has emitted some
/// since, the store has to be reconciled, and this is `true`.
fn set_back_from(plan: &mut Plan<'_>, name: &RunName, number: u64) -> Result<bool> {
    let has_emitted = has_emitted_since(plan, name, number)?;
    if has_emitted {
        let why = format!(
            "the run \"{name}\" was damaged, and goes on from an earlier state, and it has emitted \
             effects since"
        );
        set_back(plan, why)?;
    }
    Ok(has_emitted)
}

/// A checkpoint with its state, unless something of it is damaged.
fn whole(
    rows: &impl Read,
    name: &RunName,
    sequence: u64,
    found: Result<CheckpointRecord>,
) -> Result<Option<(CheckpointRecord, Vec<u8>)>> {
    let place = Place { run: name.clone(), sequence };
    let read = found.and_then(|record| {
        let (_, bytes) = proven(rows, &place, &record)?;
        Ok((record, bytes))
    });
    match read {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(None),
        read => read.map(Some),
    }
}

/// Plans what a run holds that begins with the state, the position and the steps of a checkpoint.
pub(super) fn begin_from(
    plan: &mut Plan<'_>,
    record: CheckpointRecord,
    bytes: Vec<u8>,
) -> Result<RunRecord> {
    let state = if let Kept::Chunks(list) = record.state {
        let chunks = ChunkList::from_bytes(&list.0).map(|list| list.chunks);
        refer(plan, &chunks.unwrap_or_default())?;
        Payload::from_parts(CODEC_CHUNKS, list.0)
    } else {
        Payload::from_parts(record.codec, bytes)
    };
    let now = plan.now();
    Ok(RunRecord {
        position: record.position,
        steps: record.steps,
        schema: record.schema,
        state,
        epoch: plan.epoch(),
        recovery_attempts: 0,
        created: now,
        changed: now,
    })
}
