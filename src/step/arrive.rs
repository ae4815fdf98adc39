//! Runs that come from elsewhere: what another program had done is written down as if steps of ours
//! had, in one commit. A note beside the run says what was brought, so that the same is not brought
//! twice, and a run that has gone on is not set back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::history::{Moment, newest, save};
use super::labels::Labels;
use super::on_damage::refuse_quarantined;
use super::remove::forget_end;
use super::rows::row_value;
use super::schema::{Known, schema_for};
use super::state::{self, Stored};
use super::tx::check_key;
use super::unfit::unstorable;
use super::valid::write_valid;
use super::values::{Encoded, NewSchemas, Place, encode_under};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Fingerprint, RunName};
use crate::ledger::{
    CheckpointRecord, CheckpointRow, Form, KeyRecord, KeyState, RowRecord, RunRecord, TypeVersion,
    Versioned, row_key, run_key, step_key,
};
use crate::position::Position;
use crate::record::{Payload, Typed, encode};
use crate::store::{Plan, Read, Schemas, Table, View};

/// The row in which a run keeps what was brought: one of the user's own, so nobody else needs to know
/// of it.
const NOTE: &[u8] = b"milepost/arrived";

/// A run as it comes.
pub(super) struct Arrival<'a> {
    pub(super) run: &'a RunName,
    pub(super) position: Position,
    pub(super) steps: u64,
    /// All that is brought beside the state, in bytes.
    pub(super) content: &'a [u8],
    /// What the source has, and a run has no place for.
    pub(super) beside: String,
}

/// How a run was left by what was brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Brought {
    content: Fingerprint,
    position: Position,
    steps: u64,
    pub(super) beside: String,
}

impl Brought {
    /// Whether the run has made no step since.
    pub(super) fn is_untouched(&self, run: &RunRecord) -> bool {
        self.position == run.position && self.steps == run.steps
    }
}

/// A state as it is brought, in bytes.
pub(super) struct Brings {
    known: Known,
    payload: Payload,
}

impl Brings {
    /// Calls code of the user's: made before the call joins.
    ///
    /// # Errors
    /// Those of writing a state.
    pub(super) fn of<S>(rows: &impl Read, state: &S) -> Result<Self>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
    {
        let payload = write_valid(rows, state)?.bytes;
        Ok(Self { known: Known::of(&TypeVersion::of::<S>())?, payload })
    }
}

/// Whether the run is there, and was brought.
///
/// # Errors
/// `Damaged` if its record, or the note of it, is.
pub(super) fn was_brought(rows: &impl Read, run: &RunName) -> Result<bool> {
    let is_there = rows.record::<RunRecord>(&run_key(run))?.is_some();
    Ok(is_there && brought_to(rows, run)?.is_some())
}

/// Plans a run with this state; `false` if the same was brought before, and nothing is planned then.
///
/// # Errors
/// `Conflict` if there is a run of that name which has gone on since, had another content, or was not
/// brought at all and has made a step; `Damaged` if it is in quarantine; those of writing a state.
pub(super) fn bring_run(plan: &mut Plan<'_>, arrival: Arrival<'_>, state: &Brings) -> Result<bool> {
    let Brings { known, payload } = state;
    // With their lengths: the content of one is not to be taken for the end of the other.
    let parts = encode(&(known.name(), payload.bytes(), arrival.content))
        .map_err(|error| Error::invalid(error.to_string()))?;
    let content = Fingerprint::of_bytes(&parts);
    let Arrival { run, position, steps, beside, .. } = arrival;
    let before = plan.record::<RunRecord>(&run_key(run))?;
    if let (Some(record), Some(brought)) = (&before, brought_to(plan, run)?) {
        refuse_gone_on(run, record, &brought)?;
        if brought.content == content {
            return Ok(false);
        }
        return Err(conflict(
            run,
            "was imported before, from a source that was not the same, or with another state",
        ));
    }
    refuse_stranger(run, before.as_ref())?;
    let brought = Brought { content, position, steps, beside };
    put_run(plan, (run, known), before, payload.clone(), &brought)?;
    Ok(true)
}

/// Plans a checkpoint that was made elsewhere, as one more step of the run: pinned, because whoever
/// kept it had no retention. If `order` is behind what was brought before, the run's state becomes
/// this one.
///
/// # Errors
/// `Conflict` if the run has gone on since the last one, or was not brought and has made a step; those
/// of writing a state and of labels.
pub(super) fn bring_checkpoint(
    plan: &mut Plan<'_>,
    run: &RunName,
    Brings { known, payload }: &Brings,
    (labels, at): (&Labels, Option<Timestamp>),
    order: String,
) -> Result<()> {
    labels.check()?;
    let before = plan.record::<RunRecord>(&run_key(run))?;
    let brought = brought_to(plan, run)?;
    match (&before, &brought) {
        (Some(record), Some(brought)) => refuse_gone_on(run, record, brought)?,
        _ => refuse_stranger(run, before.as_ref())?,
    }
    let last = before.as_ref().and(brought);
    let steps = last.as_ref().map_or(1, |last| last.steps.saturating_add(1));
    let is_newest = last.as_ref().is_none_or(|last| order >= last.beside);
    let now = Brought {
        content: Fingerprint::of_bytes(payload.bytes()),
        position: Position::Start,
        steps,
        beside: if is_newest { order } else { last.map_or(order, |last| last.beside) },
    };
    let newer = match &before {
        Some(record) if !is_newest => Some(state::read(plan, record.state.clone(), run)?),
        _ => None,
    };
    // The checkpoint is taken of the run's own state: an older one is the run's for a moment.
    let (schema, stored) = put_run(plan, (run, known), before, payload.clone(), &now)?;
    let moment = Moment {
        run,
        schema,
        position: &Position::Start,
        steps,
        labels,
        at: None,
        automatic: false,
        number: None,
    };
    let id = save(plan, &moment, &stored)?;
    if let Some((place, record)) = newest(plan, run)?.filter(|(_, record)| record.id == id) {
        let at = at.unwrap_or(record.at).min(record.at);
        let (identifying, labels) = (labels.identifying.clone(), labels.beside.clone());
        let record = CheckpointRow::Checkpoint(Box::new(CheckpointRecord {
            at,
            pinned: true,
            identifying,
            labels,
            ..record
        }));
        plan.put(&place.key(), &record)?;
    }
    let Some(newer) = newer else { return Ok(()) };
    let record = plan.record::<RunRecord>(&run_key(run))?;
    put_run(plan, (run, known), record, newer.whole().into_owned(), &now).map(drop)
}

fn put_run(
    plan: &mut Plan<'_>,
    (run, known): (&RunName, &Known),
    before: Option<RunRecord>,
    payload: Payload,
    brought: &Brought,
) -> Result<(u32, Stored)> {
    if before.is_none() {
        refuse_quarantined(plan, run)?;
    }
    let created = before.as_ref().map_or(plan.now(), |record| record.created);
    let large = match before {
        Some(record) => state::read(plan, record.state, run)?.large,
        None => None,
    };
    let stored = state::write(plan, large.as_ref(), payload)?;
    let schema = schema_for(plan, known)?;
    let record = RunRecord {
        position: brought.position.clone(),
        steps: brought.steps,
        schema,
        state: stored.row.clone(),
        epoch: plan.epoch(),
        recovery_attempts: 0,
        created,
        changed: plan.now(),
    };
    plan.put(&run_key(run), &record)?;
    forget_end(plan, run)?;
    let schema_of_note = Known::of_value(Place::Row, 1, Form::of_value::<Brought>()?);
    let note = Payload::of(brought).map_err(|error| unstorable(&error))?;
    let note =
        RowRecord::Value(Typed { schema: schema_for(plan, &schema_of_note)?, payload: note });
    plan.put(&row_key(run, NOTE), &note)?;
    Ok((schema, stored))
}

/// What was brought to a run, if anything was.
///
/// # Errors
/// `Damaged` if the note of it is.
pub(super) fn brought_to(rows: &impl Read, run: &RunName) -> Result<Option<Brought>> {
    let key = row_key(run, NOTE);
    // A type of the store's own: what is known of the program's types is not asked.
    let row = rows.record::<RowRecord>(&key)?;
    row.map(|row| row_value(rows, &Schemas::default(), &row, &key)).transpose()
}

fn refuse_gone_on(run: &RunName, record: &RunRecord, brought: &Brought) -> Result<()> {
    if brought.is_untouched(record) {
        return Ok(());
    }
    Err(conflict(
        run,
        &format!(
            "has gone on since it was imported: it was at {} after {} steps, and is at {} after {}",
            brought.position, brought.steps, record.position, record.steps
        ),
    ))
}

/// A run that nobody brought may be there, if it has not begun.
fn refuse_stranger(run: &RunName, record: Option<&RunRecord>) -> Result<()> {
    match record {
        Some(record) if record.steps > 0 || record.position != Position::Start => {
            Err(conflict(run, "is there already, and was not imported"))
        }
        _ => Ok(()),
    }
}

fn conflict(run: &RunName, why: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the run \"{run}\" {why}. Nothing was written: import into another run, or store"),
    )
}

/// An outcome as it is kept with a key.
///
/// # Errors
/// `Invalid` for one that cannot be stored, `LimitExceeded` for one that is too large.
pub(super) fn outcome_to_bring<R: Serialize + DeserializeOwned + 'static>(
    view: &View<'_>,
    outcomes: &mut Outcomes,
    outcome: &R,
) -> Result<Encoded> {
    let schema = outcomes.0.schema_of::<R>(view, view.schemas(), Place::Step)?;
    encode_under(view, schema, outcome)
}

/// The schemas of the outcomes that are brought in one call.
#[derive(Default)]
pub(super) struct Outcomes(NewSchemas);

/// Plans a key of the run as one that was seen, and never expires. One that is there stays as it is.
///
/// # Errors
/// `Invalid` or `LimitExceeded` for a bad key.
pub(super) fn bring_key(
    plan: &mut Plan<'_>,
    run: &RunName,
    key: &[u8],
    outcome: Encoded,
) -> Result<()> {
    check_key(plan.limits(), key)?;
    let row = step_key(run, key);
    if plan.get(Table::Keys, &row)?.is_some() {
        return Ok(());
    }
    let record = KeyRecord {
        state: KeyState::Done { outcome: outcome.stored(plan)? },
        request: None,
        epoch: plan.epoch(),
        changed: plan.now(),
        ttl_ms: None,
        deadline: None,
    };
    plan.put_aside(&row, &record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::encode;

    #[test]
    fn the_bytes_of_a_note_stay_what_they_are() {
        let brought = Brought {
            content: Fingerprint::of_bytes(b"x"),
            position: Position::Index(6),
            steps: 300,
            beside: "b".into(),
        };
        let hash = blake3::hash(b"x");
        let wanted = [&hash.as_bytes()[..16], &[1, 6, 251, 44, 1, 1, b'b']].concat();
        assert_eq!(encode(&brought).unwrap(), wanted);
    }
}
