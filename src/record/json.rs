//! The other codec: JSON, for types whose bytes have to say what they are. Objects are sorted by
//! key, so that equal values give equal bytes.
//!
//! Every value is proven to come back when it is written, not only the first of a shape: a type that
//! needs this codec is one of which serde shows us no more than the value at hand.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::codec::{self, DecodeError, EncodeError};

/// The canonical JSON of `value`, which is proven to be read back as the same.
pub(super) fn encode_guarded<T: Serialize + DeserializeOwned>(
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    let unfaithful = |why: String| EncodeError::Unfaithful { name: type_name::<T>(), why };
    let json = encode(value)?;
    let back: T = decode(&json).map_err(|error| unfaithful(error.to_string()))?;
    // JSON has one word for `None` and `Some(None)`: the other codec tells them apart, where it can.
    if encode(&back)? != json || codec::encode(value).ok() != codec::encode(&back).ok() {
        return Err(unfaithful("as JSON it is another one when it is read".to_owned()));
    }
    Ok(json)
}

/// The canonical JSON of one field of the object that `json` is.
pub(crate) fn sorted(json: &[u8], field: &'static str) -> Result<Vec<u8>, serde_json::Error> {
    struct Field(&'static str);

    impl<'de> Visitor<'de> for Field {
        type Value = Option<serde_json::Value>;

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
    let mut found = text.deserialize_map(Field(field))?.unwrap_or_default();
    found.sort_all_objects();
    serde_json::to_vec(&found)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let refused = |error: serde_json::Error| EncodeError::Refused {
        name: type_name::<T>(),
        why: format!("as JSON: {error}"),
    };
    let mut json = serde_json::to_value(value).map_err(refused)?;
    // Some other crate may have asked serde_json to keep the order of maps.
    json.sort_all_objects();
    serde_json::to_vec(&json).map_err(refused)
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
        let json = encode_guarded(&loose).unwrap();
        assert_eq!(decode::<Loose>(&json).unwrap(), loose);
    }

    #[test]
    fn equal_values_give_equal_json_in_whatever_order_they_were_made() {
        let one: HashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
        let two: HashMap<u64, u64> = (0..100).rev().map(|n| (n, n)).collect();
        assert_eq!(encode_guarded(&one).unwrap(), encode_guarded(&two).unwrap());
    }

    #[test]
    fn what_json_cannot_say_is_refused_when_it_is_written() {
        assert!(encode_guarded(&f64::NAN).is_err(), "it would come back as null");
        assert!(encode_guarded(&Some(None::<u8>)).is_err(), "it would come back as None");
        assert!(encode_guarded(&BTreeMap::from([((1u8, 2u8), 3u8)])).is_err(), "a key");
        let set: std::collections::HashSet<u64> = (0..100).collect();
        let error = encode_guarded(&set).unwrap_err().to_string();
        assert!(error.contains("hash set"), "{error}");
    }
}
