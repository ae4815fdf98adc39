//! Intents on their way to a receiver: what the relay reads, and writes of them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::intents::{abandon, find, id_of, no_such, payload_lost, payload_name, step_on};
use super::topics::schemas_of_topic;
use super::values::{Encoded, NewSchemas, Place, encode_value, read_value};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId, TopicName};
use crate::ledger::{IntentEvent, IntentRecord, Stage, intent_key, topic_prefix};
use crate::record::Typed;
use crate::store::{Hold, HoldKind, Plan, Read, Store, Table, Unreconciled};

/// An intent the relay has to see to.
pub(crate) struct Outstanding {
    pub(crate) id: IntentId,
    pub(crate) external_id: ExternalId,
    pub(crate) stage: Stage,
    pub(crate) payload: Option<Typed>,
    pub(crate) attempts: u32,
}

/// The outstanding intents of a topic after `after`, oldest first, at most `most`; an error in the place
/// of one whose record cannot be read. What an earlier epoch, or a relay that is gone, left in flight
/// is in doubt.
pub(crate) fn outstanding(
    store: &Store,
    topic: &TopicName,
    after: Option<&IntentId>,
    most: usize,
) -> Result<Vec<(IntentId, Result<Outstanding>)>> {
    let rows = store.read()?;
    // The key right behind another one: the same with a zero byte.
    let from = after.map_or_else(Vec::new, |id| [intent_key(id, false), vec![0]].concat());
    let listed = rows.scan(Table::Intents, &topic_prefix(topic, false), &from, most)?;
    listed
        .iter()
        .map(|(key, row)| {
            let id = id_of(key)?;
            let intent = rows.parse::<IntentRecord>(key, row).map(|record| Outstanding {
                id: id.clone(),
                external_id: record.external_id,
                // Asked by the relay that holds the topic, before it sends: none is in flight.
                stage: match record.stage {
                    Stage::InFlight => abandon(Stage::InFlight),
                    stage => stage,
                },
                payload: record.payload,
                attempts: record.attempts,
            });
            Ok((id, intent))
        })
        .collect()
}

/// Checks that these are the types of the topic, and that both can be stored: before anything is sent.
/// The type of the outcomes is stored, if nothing was emitted with it yet.
///
/// # Errors
/// `Invalid` if a type cannot be stored; `SchemaMismatch` if the topic has other types.
pub(crate) fn check_types<P, O>(store: &Store, topic: &TopicName) -> Result<()>
where
    P: Serialize + DeserializeOwned + 'static,
    O: Serialize + DeserializeOwned + 'static,
{
    let view = store.view()?;
    let new = &mut NewSchemas::default();
    let (_, answers) = schemas_of_topic::<P, O>(&view, store.schemas(), new, topic)?;
    if answers.is_new() {
        let ((), joined) = view.join(|plan| answers.write(plan))?;
        store.wait(joined)?;
    }
    Ok(())
}

/// Takes the topic: one relay delivers it at a time, and none before the store is reconciled.
pub(crate) fn reserve_topic(store: &Store, topic: &TopicName) -> Result<Hold> {
    Unreconciled::refuse(&*store.read()?)?;
    store.hold(HoldKind::Topic, topic.as_str().as_bytes())?.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "the topic \"{topic}\" is being delivered in this process already: wait for that relay"
            ),
        )
    })
}

/// What is to be done, as the receiver wants it.
pub(crate) fn payload_of<P>(store: &Store, intent: &Outstanding) -> Result<P>
where
    P: Serialize + DeserializeOwned + 'static,
{
    let payload = intent.payload.as_ref().ok_or_else(|| payload_lost(&intent.id))?;
    let what = || payload_name(&intent.id);
    read_value(&*store.read()?, store.schemas(), payload, what)
}

/// The receiver's answer, as it is stored.
pub(crate) fn outcome_of<O>(store: &Store, topic: &TopicName, outcome: &O) -> Result<Encoded>
where
    O: Serialize + DeserializeOwned + 'static,
{
    encode_value(&store.view()?, store.schemas(), Place::Answer(topic), outcome)
}

/// Moves an intent on and returns its new stage when that is durable. `was_in_doubt`: as it was
/// handed out by [`outstanding`], when what stood in flight had nobody at it.
pub(crate) fn advance(
    store: &Store,
    id: &IntentId,
    was_in_doubt: bool,
    event: impl FnOnce(&mut Plan<'_>) -> Result<IntentEvent>,
) -> Result<Stage> {
    store.commit(|plan| {
        let event = event(plan)?;
        let mut record = find(plan, id)?.ok_or_else(|| no_such(id))?;
        if was_in_doubt && record.stage == Stage::InFlight {
            record.stage = abandon(record.stage);
        }
        step_on(plan, id, record, event)
    })
}
