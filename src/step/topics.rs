//! The two types of a topic: checked together, before anything is emitted under it or sent.

use std::any::{TypeId, type_name};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::values::{NewSchemas, Place, Schema};
use crate::error::{Error, ErrorKind, Result};
use crate::id::TopicName;
use crate::store::{Read, Schemas};

/// The schemas that the payloads and the outcomes of a topic are written under; those that are new are
/// among `new`. Calls code of the user's.
///
/// # Errors
/// `Invalid` if a type cannot be stored; `SchemaMismatch` if the topic has other types, in this
/// program or in the store: both are named.
pub(super) fn schemas_of_topic<P, O>(
    rows: &impl Read,
    schemas: &Schemas,
    new: &mut NewSchemas,
    topic: &TopicName,
) -> Result<(Schema, Schema)>
where
    P: Serialize + DeserializeOwned + 'static,
    O: Serialize + DeserializeOwned + 'static,
{
    let types = (TypeId::of::<P>(), TypeId::of::<O>());
    if let Some((payload, answer)) = schemas.topic(types, topic.as_str()) {
        return Ok((Schema::Stored(payload), Schema::Stored(answer)));
    }
    let names = format!("`Topic<{}, {}>`", type_name::<P>(), type_name::<O>());
    let of_this = |error: Error| match error.kind() {
        ErrorKind::SchemaMismatch => error.context(&names),
        _ => error,
    };
    if let Some(others) = schemas.other_types_of(types, topic.as_str()) {
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "this program has two topics of the name \"{topic}\", {others} and {names}: a topic \
                 has one type of payload and one of outcome. Use one constant for it, or give one of \
                 the two another name. Nothing was written"
            ),
        ));
    }
    let payload = new.schema_of::<P>(rows, schemas, Place::Payload(topic)).map_err(of_this)?;
    let answer = new.schema_of::<O>(rows, schemas, Place::Answer(topic)).map_err(of_this)?;
    let durable = |place: Place<'_>, of| schemas.written(place.kind() as u8, of, topic.as_str());
    schemas.note_types(types, topic.as_str(), names);
    if let Some(payload) = durable(Place::Payload(topic), types.0)
        && let Some(answer) = durable(Place::Answer(topic), types.1)
    {
        schemas.note_topic(types, topic.as_str(), (payload, answer));
    }
    Ok((payload, answer))
}
