//! How [`Json`] is stored: as plain JSON, so that whoever looks at a state sees its fields, and beside
//! it what plain JSON loses: the order of fields, and the digits of numbers that have others than
//! Python would give them.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::json::Json;
use crate::number::{digits_of, is_number, plain};

#[derive(Serialize, Deserialize)]
struct Stored {
    document: Value,
    /// Of each object whose fields are not in the order of their names: its number, and for each field
    /// which of the sorted ones it is. Objects are counted from the outside in, by sorted names.
    order: Vec<(usize, Vec<usize>)>,
    /// Which of the texts are the digits of a number, counted in the same way.
    numbers: Vec<usize>,
}

/// What was met so far on the way through a document.
#[derive(Default)]
struct Count {
    objects: usize,
    texts: usize,
}

impl Count {
    fn object(&mut self) -> usize {
        self.objects += 1;
        self.objects - 1
    }

    fn text(&mut self) -> usize {
        self.texts += 1;
        self.texts - 1
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.check(1).map_err(S::Error::custom)?;
        let mut stored = Stored { document: Value::Null, order: Vec::new(), numbers: Vec::new() };
        stored.document = put(self, &mut Count::default(), &mut stored);
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Stored { document, order, numbers } = Stored::deserialize(deserializer)?;
        let mut rest = (order.into_iter().peekable(), numbers.into_iter().peekable());
        let json = take(document, &mut Count::default(), &mut rest).ok_or_else(|| {
            D::Error::custom("its order or its numbers are not those of its document")
        })?;
        if rest.0.peek().is_some() || rest.1.peek().is_some() {
            return Err(D::Error::custom("it has the order or the digits of more than there is"));
        }
        Ok(json)
    }
}

fn put(json: &Json, count: &mut Count, beside: &mut Stored) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Text(text) => {
            count.text();
            Value::String(text.clone())
        }
        Json::Number(digits) => plain(digits).unwrap_or_else(|| {
            beside.numbers.push(count.text());
            Value::String(digits.clone())
        }),
        Json::List(items) => items.iter().map(|item| put(item, count, beside)).collect(),
        Json::Object(fields) => {
            let number = count.object();
            let mut sorted: Vec<_> = fields.iter().enumerate().collect();
            sorted.sort_by_key(|(_, (name, _))| name);
            let mut order = vec![0; fields.len()];
            for (rank, (nth, _)) in sorted.iter().enumerate() {
                order.get_mut(*nth).into_iter().for_each(|place| *place = rank);
            }
            if !order.is_sorted() {
                beside.order.push((number, order));
            }
            let fields = sorted.into_iter();
            fields.map(|(_, (name, value))| (name.clone(), put(value, count, beside))).collect()
        }
    }
}

type Beside = (
    std::iter::Peekable<std::vec::IntoIter<(usize, Vec<usize>)>>,
    std::iter::Peekable<std::vec::IntoIter<usize>>,
);

fn take(value: Value, count: &mut Count, beside: &mut Beside) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(is) => Json::Bool(is),
        Value::Number(number) => Json::Number(digits_of(&number)?),
        Value::String(text) => {
            let number = count.text();
            if beside.1.next_if_eq(&number).is_none() {
                Json::Text(text)
            } else if is_number(&text) {
                Json::Number(text)
            } else {
                return None;
            }
        }
        Value::Array(items) => {
            let items = items.into_iter().map(|item| take(item, count, beside));
            Json::List(items.collect::<Option<_>>()?)
        }
        Value::Object(fields) => {
            let number = count.object();
            let order = beside.0.next_if(|(of, _)| *of == number).map(|(_, order)| order);
            let fields = sorted(fields).into_iter();
            let fields = fields.map(|(name, value)| Some((name, take(value, count, beside)?)));
            in_order(fields.collect::<Option<_>>()?, order)?
        }
    })
}

/// Some other crate may have asked `serde_json` to keep the order of maps.
fn sorted(fields: Map<String, Value>) -> Vec<(String, Value)> {
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn in_order(fields: Vec<(String, Json)>, order: Option<Vec<usize>>) -> Option<Json> {
    let Some(order) = order else { return Some(Json::Object(fields)) };
    if order.len() != fields.len() {
        return None;
    }
    let mut fields: Vec<_> = fields.into_iter().map(Some).collect();
    // A rank that is named twice finds nothing the second time.
    let ordered = order.into_iter().map(|rank| fields.get_mut(rank)?.take());
    Some(Json::Object(ordered.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json() -> impl Strategy<Value = Json> {
        let number = prop_oneof![
            any::<u64>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(|float| Json::Number(match float {
                float if float.is_nan() => "NaN".to_owned(),
                float if float.is_infinite() => "-Infinity".to_owned(),
                float => format!("{float:e}"),
            })),
            prop::sample::select(vec!["1.50", "-0", "1E5", "123456789012345678901234567890"])
                .prop_map(|digits| Json::Number(digits.to_owned())),
        ];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<String>().prop_map(Json::from),
            number,
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Json::List),
                prop::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back_with_its_order_and_its_digits(json in json()) {
            let bytes = serde_json::to_vec(&serde_json::to_value(&json).unwrap()).unwrap();
            let back: Json = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(back.to_string(), json.to_string());
            prop_assert!(back == json);
        }

        #[test]
        fn what_is_written_is_read_as_the_same(json in json()) {
            prop_assert!(json.to_string().parse::<Json>().unwrap() == json);
        }
    }

    #[test]
    fn the_fields_are_there_for_whoever_looks() {
        let json: Json = r#"{"b": [1.50, "x"], "a": 600.0}"#.parse().unwrap();
        let wanted =
            r#"{"document":{"a":600.0,"b":["1.50","x"]},"numbers":[0],"order":[[0,[1,0]]]}"#;
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(serde_json::to_value(&json).unwrap(), wanted);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for bad in [
            r#"{"document":{"a":1,"b":2},"order":[[0,[1,1]]],"numbers":[]}"#,
            r#"{"document":{"a":1,"b":2},"order":[[0,[0]]],"numbers":[]}"#,
            r#"{"document":{"a":1},"order":[[1,[0]]],"numbers":[]}"#,
            r#"{"document":["x"],"order":[],"numbers":[0]}"#,
            r#"{"document":["1"],"order":[],"numbers":[1]}"#,
        ] {
            assert!(serde_json::from_str::<Json>(bad).is_err(), "{bad}");
        }
        let twice = Json::Object(vec![("a".into(), Json::Null), ("a".into(), Json::Null)]);
        assert!(serde_json::to_value(&twice).is_err());
    }
}
