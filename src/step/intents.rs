//! Intents after their step: looked at, and settled by a person.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::forget::{forget_audit, forget_settled};
use super::values::{Place, encode_value, read_value};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId, RunName, TopicName};
use crate::ledger::{
    AuditAction, AuditEntry, AuditRecord, IntentEvent, IntentRecord, SettledBy, Stage, audit_key,
    intent_key, intent_of_key, next_stage, topic_prefix,
};
use crate::record::Typed;
use crate::seq::Epoch;
use crate::store::{HoldKind, Plan, Read, Store, Table, Unreconciled, misplaced};
use crate::topic::Topic;

/// How far an intent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentState<O> {
    /// Durable, not sent.
    Prepared,
    /// Being sent by this process.
    InFlight,
    /// Sent or not: nobody knows.
    InDoubt {
        /// What went wrong.
        why: String,
    },
    /// Done.
    Confirmed {
        /// What the receiver answered; `None` if a person or a presumption confirmed it without.
        outcome: Option<O>,
        /// Who said so.
        by: SettledBy,
    },
    /// Refused for good.
    Rejected {
        /// The reason given.
        why: String,
        /// Who said so.
        by: SettledBy,
    },
}

/// One intent with its payload and, once there is one, its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent<P, O> {
    /// Which one.
    pub id: IntentId,
    /// The id it carries to the receiver, the same for every attempt.
    pub external_id: ExternalId,
    /// What is to be done.
    pub payload: P,
    /// How far it is.
    pub state: IntentState<O>,
    /// How often it was handed to the receiver.
    pub attempts: u32,
    /// How often a probe told what had become of it.
    pub probed: u32,
    /// The run whose step emitted it.
    pub run: Option<RunName>,
    /// When that was.
    pub created: Timestamp,
}

/// One intent without its payload, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntentSummary {
    /// Which one.
    pub id: IntentId,
    /// The id it carries to the receiver.
    pub external_id: ExternalId,
    /// How far it is; an outcome is left out.
    pub state: IntentState<()>,
    /// How often it was handed to the receiver.
    pub attempts: u32,
    /// How often a probe told what had become of it.
    pub probed: u32,
    /// When it was emitted.
    pub created: Timestamp,
    /// When it last changed.
    pub changed: Timestamp,
}

/// The intents of a store, for looking at them and for settling by hand what nobody knows.
#[derive(Clone)]
pub struct Intents {
    store: Store,
}

impl Store {
    /// The intents of this store.
    #[must_use]
    pub fn intents(&self) -> Intents {
        Intents { store: self.clone() }
    }

    /// One intent of a topic, if there is one of that id.
    ///
    /// # Errors
    /// `Invalid` if the id is of another topic; `Damaged` if its record is; `SchemaMismatch` if its
    /// payload is not a `P` or its outcome not an `O`; `Poisoned`.
    pub fn intent<P, O>(&self, topic: &Topic<P, O>, id: &IntentId) -> Result<Option<Intent<P, O>>>
    where
        P: Serialize + DeserializeOwned + 'static,
        O: Serialize + DeserializeOwned + 'static,
    {
        if id.topic().as_str() != topic.as_str() {
            return Err(Error::invalid(format!("intent {id} is not of the topic \"{topic}\"")));
        }
        let rows = self.read()?;
        let Some(record) = find(&*rows, id)? else { return Ok(None) };
        let payload = record.payload.as_ref().ok_or_else(|| payload_lost(id))?;
        let stage = effective(self, id, &record)?;
        // What was settled meanwhile may be of a schema that is newer than the rows above.
        let rows = self.read()?;
        Ok(Some(Intent {
            payload: read_value(&*rows, self.schemas(), payload, || payload_name(id))?,
            state: state_of(stage, |outcome| {
                let what = || format!("the outcome of intent {id}");
                read_value(&*rows, self.schemas(), &outcome, what)
            })?,
            id: id.clone(),
            external_id: record.external_id,
            attempts: record.attempts,
            probed: record.probed,
            run: record.run,
            created: record.created,
        }))
    }
}

impl Intents {
    /// The intents of a topic that are not settled, oldest first, at most `most`.
    ///
    /// # Errors
    /// `Invalid` for a bad topic name; `Damaged` if a record is; `Poisoned`.
    pub fn outstanding(&self, topic: impl AsRef<str>, most: usize) -> Result<Vec<IntentSummary>> {
        self.list(topic.as_ref(), false, most)
    }

    /// The intents of a topic that are settled, oldest first, at most `most`.
    ///
    /// # Errors
    /// `Invalid` for a bad topic name; `Damaged` if a record is; `Poisoned`.
    pub fn settled(&self, topic: impl AsRef<str>, most: usize) -> Result<Vec<IntentSummary>> {
        self.list(topic.as_ref(), true, most)
    }

    fn list(&self, topic: &str, settled: bool, most: usize) -> Result<Vec<IntentSummary>> {
        let prefix = topic_prefix(&TopicName::new(topic)?, settled);
        let rows = self.store.read()?;
        let listed = rows.scan(Table::Intents, &prefix, &[], most)?;
        listed
            .iter()
            .map(|(key, row)| {
                let record = rows.parse::<IntentRecord>(key, row)?;
                let id = id_of(key)?;
                let stage = effective(&self.store, &id, &record)?;
                Ok(IntentSummary {
                    state: state_of(stage, |_| Ok(()))?,
                    id,
                    external_id: record.external_id,
                    attempts: record.attempts,
                    probed: record.probed,
                    created: record.created,
                    changed: record.changed,
                })
            })
            .collect()
    }

    /// Says that an effect in doubt was done, with the receiver's answer if you have it. `note`: who
    /// decided, and how they know. When it returns, decision and note are durable.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not in doubt; and those of a commit.
    pub fn confirm<O: Serialize + DeserializeOwned + 'static>(
        &self,
        id: &IntentId,
        outcome: Option<&O>,
        note: &str,
    ) -> Result<()> {
        let outcome = match outcome {
            Some(outcome) => {
                let (view, place) = (self.store.view()?, Place::Answer(id.topic()));
                Some(encode_value(&view, self.store.schemas(), place, outcome)?)
            }
            None => None,
        };
        self.decide(id, AuditAction::Confirm, note, |plan| {
            let outcome = outcome.map(|outcome| outcome.stored(plan)).transpose()?;
            Ok(IntentEvent::Confirm { outcome, by: SettledBy::Person })
        })
    }

    /// Says that an effect that is in doubt, or not sent yet, was not done and shall not be.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is settled or being sent; and those of a commit.
    pub fn reject(&self, id: &IntentId, note: &str) -> Result<()> {
        let event = IntentEvent::Reject { why: note.to_owned(), by: SettledBy::Person };
        self.decide(id, AuditAction::Reject, note, |_| Ok(event))
    }

    /// Says that an effect in doubt was not done and cannot be done any more by what was sent: the
    /// relay sends it again.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if it is not in doubt; and those of a commit.
    pub fn resend(&self, id: &IntentId, note: &str) -> Result<()> {
        let event = IntentEvent::NotApplied { by: SettledBy::Person };
        self.decide(id, AuditAction::Resend, note, |_| Ok(event))
    }

    /// What people decided, oldest first, at most `most`.
    ///
    /// # Errors
    /// `Damaged` if a record is; `Poisoned`.
    pub fn audit(&self, most: usize) -> Result<Vec<AuditEntry>> {
        let rows = self.store.read()?;
        let listed = rows.scan(Table::Audit, &[], &[], most)?;
        listed.iter().map(|(key, row)| Ok(rows.parse::<AuditRecord>(key, row)?.entry())).collect()
    }

    fn decide(
        &self,
        id: &IntentId,
        action: AuditAction,
        note: &str,
        event: impl FnOnce(&mut Plan<'_>) -> Result<IntentEvent>,
    ) -> Result<()> {
        self.store.commit(|plan| {
            let event = event(plan)?;
            let record = find(plan, id)?.ok_or_else(|| no_such(id))?;
            if record.stage == Stage::InFlight && !is_abandoned(plan, id, record.epoch) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("intent {id} is being sent now: wait for its answer"),
                ));
            }
            step_on(plan, id, record, event)?;
            let number = plan.take_id();
            let audit = AuditRecord {
                intent: Some(id.clone()),
                claim: None,
                action,
                note: note.to_owned(),
                at: plan.lived(),
                epoch: plan.epoch(),
            };
            plan.put(&audit_key(number), &audit)?;
            forget_audit(plan)
        })
    }
}

pub(super) fn step_on(
    plan: &mut Plan<'_>,
    id: &IntentId,
    mut record: IntentRecord,
    event: IntentEvent,
) -> Result<Stage> {
    if matches!(event, IntentEvent::Send) {
        Unreconciled::refuse(plan)?;
    }
    let was_settled = record.stage.is_settled();
    let stage = if is_abandoned(plan, id, record.epoch) && record.stage == Stage::InFlight {
        abandon(record.stage)
    } else {
        record.stage
    };
    match &event {
        IntentEvent::Send => record.attempts = record.attempts.saturating_add(1),
        IntentEvent::Confirm { by: SettledBy::Probe, .. }
        | IntentEvent::NotApplied { by: SettledBy::Probe } => {
            record.probed = record.probed.saturating_add(1);
        }
        _ => {}
    }
    record.stage = next_stage(stage, event).map_err(|error| {
        Error::new(ErrorKind::Conflict, format!("intent {id}: {error}. Nothing was changed"))
    })?;
    record.epoch = plan.epoch();
    // A clock that stands back would make it old at once.
    record.changed = plan.lived();
    if record.stage.is_settled() && !was_settled {
        plan.delete(Table::Intents, &intent_key(id, false))?;
    }
    plan.put(&intent_key(id, record.stage.is_settled()), &record)?;
    if record.stage.is_settled() && !was_settled {
        forget_settled(plan, id)?;
    }
    Ok(record.stage)
}

/// Whether nobody is sending it, whatever its record says.
fn is_abandoned(plan: &Plan<'_>, id: &IntentId, epoch: Epoch) -> bool {
    epoch != plan.epoch() || !plan.is_held(HoldKind::Topic, id.topic().as_str().as_bytes())
}

pub(super) fn abandon(stage: Stage) -> Stage {
    // `InFlight` always takes it; any other stage is as it is.
    next_stage(stage.clone(), IntentEvent::Abandon).unwrap_or(stage)
}

/// The stage, seen from outside: what nobody is sending is in doubt.
pub(super) fn effective(store: &Store, id: &IntentId, record: &IntentRecord) -> Result<Stage> {
    if record.stage != Stage::InFlight {
        return Ok(record.stage.clone());
    }
    // Of an older opening, nobody is sending it, whoever holds the topic now.
    if record.epoch != store.epoch() {
        return Ok(abandon(Stage::InFlight));
    }
    let held = (HoldKind::Topic, id.topic().as_str().as_bytes());
    let key = intent_key(id, false);
    let now = match store.unattended(held, Table::Intents, &key)? {
        // Whoever sent it let go of the topic only when the end was durable.
        Some(row) => abandon(store.read()?.parse::<IntentRecord>(&key, &row)?.stage),
        None => find(&*store.read()?, id)?.map_or(Stage::InFlight, |now| now.stage),
    };
    Ok(now)
}

pub(super) fn find(rows: &impl Read, id: &IntentId) -> Result<Option<IntentRecord>> {
    match rows.record(&intent_key(id, false))? {
        Some(record) => Ok(Some(record)),
        None => rows.record(&intent_key(id, true)),
    }
}

fn state_of<O>(
    stage: Stage,
    outcome_of: impl FnOnce(Typed) -> Result<O>,
) -> Result<IntentState<O>> {
    Ok(match stage {
        Stage::Prepared => IntentState::Prepared,
        Stage::InFlight => IntentState::InFlight,
        Stage::InDoubt { why } => IntentState::InDoubt { why },
        Stage::Confirmed { outcome, by } => {
            IntentState::Confirmed { outcome: outcome.map(outcome_of).transpose()?, by }
        }
        Stage::Rejected { why, by } => IntentState::Rejected { why, by },
    })
}

pub(super) fn payload_name(id: &IntentId) -> String {
    format!("the payload of intent {id}")
}

pub(super) fn id_of(key: &[u8]) -> Result<IntentId> {
    intent_of_key(key).ok_or_else(|| misplaced(Table::Intents, key))
}

pub(super) fn no_such(id: &IntentId) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no intent {id}"))
}

pub(super) fn payload_lost(id: &IntentId) -> Error {
    Error::damaged(format!(
        "the record of intent {id} was damaged and its payload is in quarantine: ask the receiver \
         for its external id, then confirm or reject it"
    ))
}

impl fmt::Debug for Intents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intents").finish_non_exhaustive()
    }
}
