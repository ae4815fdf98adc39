//! The other codec: JSON, for types whose bytes have to say what they are. Objects are sorted by
//! key, but for those that have an order of their own, so that equal values give equal bytes.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::caught::caught;
use super::codec::{DecodeError, EncodeError};
use super::order::{self, Known, Unsure};
use super::proof::{Proven, differs, rounds_max};
use super::tree::{Tree, tree_of};

/// The canonical JSON of `value`, and the proof that it comes back: what is read from it is, as far as
/// serde shows, the same value. JSON alone would not say so: it has one word for `None`, `Some(None)`
/// and `()`.
pub(super) fn encode_guarded<T: Serialize + DeserializeOwned>(
    value: &T,
) -> Result<Proven<Vec<u8>, T>, EncodeError> {
    let of = type_name::<T>();
    let refused =
        |why: &dyn fmt::Display| EncodeError::Refused { name: of, why: format!("as JSON: {why}") };
    let tree = tree_of(value, true).map_err(|refusal| refused(&refusal))?;
    loop {
        let known = order::known(of);
        let known = known.as_deref();
        let (mut written, mut unsure) = (tree.clone(), Vec::new());
        written.sort(known, &mut unsure);
        let json = serde_json::to_vec(&written).map_err(|error| refused(&error))?;
        match prove::<T>(&written, known, &unsure, &json) {
            Ok(back) => return Ok(Proven { bytes: json, back }),
            Err(Unproven { is_other: true, .. }) if learn::<T>(known, &json) => {}
            Err(Unproven { why, .. }) => return Err(EncodeError::Unfaithful { name: of, why }),
        }
    }
}

/// Why a value is not proven to come back.
struct Unproven {
    why: String,
    /// It was read, and is another one.
    is_other: bool,
}

fn prove<T: Serialize + DeserializeOwned>(
    written: &Tree,
    known: Option<&Known>,
    unsure: &[Unsure],
    json: &[u8],
) -> Result<T, Unproven> {
    let of = type_name::<T>();
    let rounds = known.unwrap_or(&Known::default()).rounds(unsure, rounds_max(json.len()));
    let mut round = 1;
    loop {
        let back: T = read_back(json).map_err(|why| Unproven { why, is_other: false })?;
        let mut tree = caught(|| tree_of(&back, true))
            .map_err(|said| format!("its `Serialize` panics over it: {said}"))
            .and_then(|tree| tree.map_err(|refusal| refusal.to_string()))
            .map_err(|why| Unproven { why, is_other: false })?;
        tree.sort(known, &mut Vec::new());
        if tree != *written {
            let why = "as JSON it is another one when it is read".to_owned();
            let why = differs(written, &tree).map_or(why.clone(), |at| format!("{why}: {at}"));
            return Err(Unproven { why, is_other: true });
        }
        if round == rounds {
            if !unsure.is_empty() {
                order::came_back(of, unsure, rounds);
            }
            return Ok(back);
        }
        round += 1;
    }
}

fn read_back<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    caught(|| decode::<T>(json))
        .map_err(|said| format!("its `Deserialize` panics over it: {said}"))?
        .map_err(|error| error.to_string())
}

/// Looks for a container that has no order; whether one was found.
fn learn<T: Serialize + DeserializeOwned>(known: Option<&Known>, json: &[u8]) -> bool {
    let tree = || {
        let mut tree = tree_of(&read_back::<T>(json).ok()?, true).ok()?;
        tree.sort(known, &mut Vec::new());
        Some(tree)
    };
    order::learn(type_name::<T>(), known, rounds_max(json.len()), tree, Tree::reordered)
}

/// The JSON of one field of the object that `json` is, as it is there, but for the spaces between.
pub(crate) fn compact(json: &[u8], field: &'static str) -> Result<Vec<u8>, serde_json::Error> {
    let found = field_of(json, field)?;
    let (mut in_text, mut escaped) = (false, false);
    let keeps = |byte: &u8| {
        let keeps = in_text || !byte.is_ascii_whitespace();
        match byte {
            b'"' if !escaped => in_text = !in_text,
            _ => {}
        }
        escaped = in_text && !escaped && *byte == b'\\';
        keeps
    };
    Ok(found.get().bytes().filter(keeps).collect())
}

/// The same with all objects sorted by key: what an editor may have put into another order.
pub(crate) fn sorted(json: &[u8], field: &'static str) -> Result<Vec<u8>, serde_json::Error> {
    let mut found: serde_json::Value = serde_json::from_str(field_of(json, field)?.get())?;
    found.sort_all_objects();
    serde_json::to_vec(&found)
}

fn field_of<'j>(json: &'j [u8], field: &'static str) -> Result<&'j RawValue, serde_json::Error> {
    struct Field(&'static str);

    impl<'de> Visitor<'de> for Field {
        type Value = Option<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = None;
            while let Some(key) = map.next_key::<String>()? {
                if key == self.0 {
                    found = Some(map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut text = serde_json::Deserializer::from_slice(json);
    let found = text.deserialize_map(Field(field))?;
    found.ok_or_else(|| serde_json::Error::missing_field(field))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes)
        .map_err(|source| DecodeError::Json { name: type_name::<T>(), source })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Event {
        Buy { size: u64 },
        Sell { at: f64 },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Loose {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        note: Option<String>,
        events: Vec<Event>,
        #[serde(flatten)]
        rest: BTreeMap<String, u64>,
    }

    #[test]
    fn what_the_other_codec_refuses_comes_back_here() {
        let loose = Loose {
            note: None,
            events: vec![Event::Buy { size: u64::MAX }, Event::Sell { at: 0.1 + 0.2 }],
            rest: [("limit".to_owned(), 7)].into(),
        };
        let json = encode_guarded(&loose).unwrap().bytes;
        assert_eq!(decode::<Loose>(&json).unwrap(), loose);
    }

    #[test]
    fn equal_values_give_equal_json_in_whatever_order_they_were_made() {
        let one: HashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
        let two: HashMap<u64, u64> = (0..100).rev().map(|n| (n, n)).collect();
        assert_eq!(encode_guarded(&one).unwrap().bytes, encode_guarded(&two).unwrap().bytes);
    }

    #[test]
    fn spaces_between_go_and_those_in_texts_stay() {
        let json = br#"{ "other": 1, "state": { "a b" : [ 1.50 ,"x \\\" y\\\\" , "" ] } }"#;
        let compacted = compact(json, "state").unwrap();
        assert_eq!(compacted, br#"{"a b":[1.50,"x \\\" y\\\\",""]}"#);
        assert!(compact(json, "missing").is_err());
    }

    #[test]
    fn what_json_cannot_say_is_refused_when_it_is_written() {
        assert!(encode_guarded(&f64::NAN).is_err(), "it would come back as null");
        assert!(encode_guarded(&Some(None::<u8>)).is_err(), "it would come back as None");
        assert!(encode_guarded(&BTreeMap::from([((1u8, 2u8), 3u8)])).is_err(), "a key");
    }
}
