//! The way back from JSON: what [`to_json`](super::json) shows, as the bytes it was shown from. Driven
//! by the shape, straight from the text: no number is wider or narrower than its field, and whoever
//! edited the text is told the field that does not fit.

use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use thiserror::Error;

use super::node::Shape;

mod value;
mod writer;

#[cfg(test)]
mod tests;

use value::Value;
use writer::Writer;

pub(crate) use writer::Entries;

/// Why a text is not a value of this shape.
#[derive(Debug, Error)]
#[error("{path}: {why}")]
pub(crate) struct FromJsonError {
    /// Which field, such as `state.orders[3].price`.
    path: String,
    why: serde_json::Error,
}

/// The bytes of the value in one field of the object that `json` is.
pub(super) fn from_json(
    shape: &Shape,
    json: &[u8],
    field: &'static str,
    out_max: usize,
    entries: Entries,
) -> Result<Vec<u8>, FromJsonError> {
    let mut writer = Writer { shape, out: Vec::new(), out_max, entries, path: Vec::new() };
    let mut text = serde_json::Deserializer::from_slice(json);
    let read = (&mut text).deserialize_map(Envelope { field, writer: &mut writer });
    match read.and_then(|()| text.end()) {
        Ok(()) => Ok(writer.out),
        Err(why) => Err(FromJsonError { path: writer.path_from(field), why }),
    }
}

/// The object around the value; whatever else is in it was read before.
struct Envelope<'w, 's> {
    field: &'static str,
    writer: &'w mut Writer<'s>,
}

impl<'de> Visitor<'de> for Envelope<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.field {
                found = true;
                map.next_value_seed(Value { writer: self.writer, node: 0, depth: 0 })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(de::Error::missing_field(self.field)) }
    }
}
