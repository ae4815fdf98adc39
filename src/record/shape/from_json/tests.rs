//! There and back: what a shape shows as JSON is read as the bytes it was shown from.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Entries;
use crate::record::{Maps, Shape, encode};

const OUT_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Side {
    Buy,
    Sell(u16),
    Both { bid: i128, ask: Option<char> },
    Inside(Box<Book>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    small: (i8, u8, i16, u16),
    wide: (i64, u64, i128, u128),
    floats: (f32, f64),
    text: String,
    list: Vec<Option<bool>>,
    sides: Vec<Side>,
    by_name: BTreeMap<String, i64>,
    by_number: BTreeMap<(u64, char), Vec<u8>>,
    unit: (),
    array: [u16; 3],
}

fn back<T: DeserializeOwned + 'static>(json: &str) -> Result<Vec<u8>, String> {
    let json = format!("{{\"before\":[1,{{}}],\"state\":{json},\"behind\":null}}");
    let shape = Shape::of::<T>().unwrap();
    shape
        .read_json(json.as_bytes(), "state", OUT_MAX, Entries::Sorted)
        .map_err(|error| error.to_string())
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        Just(Side::Buy),
        any::<u16>().prop_map(Side::Sell),
        (any::<i128>(), any::<Option<char>>()).prop_map(|(bid, ask)| Side::Both { bid, ask }),
    ]
}

prop_compose! {
    fn book()(
        small in any::<(i8, u8, i16, u16)>(),
        wide in any::<(i64, u64, i128, u128)>(),
        floats in any::<(f32, f64)>(),
        text in any::<String>(),
        list in any::<Vec<Option<bool>>>(),
        sides in prop::collection::vec(side(), 0..4),
        by_name in prop::collection::btree_map(any::<String>(), any::<i64>(), 0..6),
        by_number in prop::collection::btree_map(any::<(u64, char)>(), any::<Vec<u8>>(), 0..6),
        array in any::<[u16; 3]>(),
    ) -> Book {
        Book { small, wide, floats, text, list, sides, by_name, by_number, unit: (), array }
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same_bytes(inner in book(), outer in book()) {
        let mut book = outer;
        book.sides.push(Side::Inside(Box::new(inner)));
        let bytes = encode(&book).unwrap();
        let json = Shape::of::<Book>().unwrap().to_json(&bytes, Maps::Pairs, OUT_MAX).unwrap();
        prop_assert_eq!(back::<Book>(&json).unwrap(), bytes);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".*", at in any::<prop::sample::Index>()) {
        let _ = back::<Book>(&text);
        let mut json = serde_json::to_string(&Side::Both { bid: -5, ask: Some('x') }).unwrap();
        json.truncate(at.index(json.len()));
        let _ = back::<Side>(&json);
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    price: u16,
    note: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Orders {
    orders: Vec<Order>,
    by_name: BTreeMap<String, Order>,
}

/// Against: a message that leaves whoever edited a file of a thousand lines alone with it.
#[test]
fn what_does_not_fit_is_told_with_the_path_of_its_field() {
    let told = |json: &str, path: &str, why: &str| {
        let error = back::<Orders>(json).unwrap_err();
        assert!(error.starts_with(path) && error.contains(why), "{error}");
    };
    let order = r#"{"price":1,"note":null}"#;
    told(
        &format!(r#"{{"orders":[{order},{{"price":70000,"note":null}}],"by_name":{{}}}}"#),
        "state.orders[1].price: ",
        "70000 is no u16",
    );
    told(
        &format!(r#"{{"orders":[{order}],"by_name":{{"x":{{"price":"1","note":null}}}}}}"#),
        r#"state.by_name["x"].price: "#,
        "a text, where the shape has: u16",
    );
    told(r#"{"orders":[],"by_name":{"x":{"price":1}}}"#, r#"state.by_name["x"]: "#, "\"note\"");
    told(r#"{"orders":[],"by_name":{},"more":1}"#, "state.more: ", "no such field");
    told(r#"{"orders":[],"orders":[],"by_name":{}}"#, "state.orders: ", "twice");
    told(r#"{"orders":{},"by_name":{}}"#, "state.orders: ", "an object, where the shape has: list");
    told(
        &format!(r#"{{"orders":[],"by_name":{{"x":{order},"x":{order}}}}}"#),
        "state.by_name: ",
        "twice",
    );
}

/// Against: a state that is another one because an editor has sorted its fields.
#[test]
fn fields_and_entries_may_stand_in_any_order() {
    let one = back::<Order>(r#"{"price":7,"note":"x"}"#).unwrap();
    assert_eq!(
        back::<Order>(r#"{ "note":"x",\n"price" : 7 }"#.replace("\\n", "\n").as_str()),
        Ok(one)
    );
    let sorted = back::<BTreeMap<String, u8>>(r#"{"a":1,"bb":2,"c":3}"#).unwrap();
    assert_eq!(back::<BTreeMap<String, u8>>(r#"{"c":3,"a":1,"bb":2}"#).unwrap(), sorted);
    assert_eq!(sorted, encode(&BTreeMap::from([("a", 1u8), ("bb", 2), ("c", 3)])).unwrap());
}

type All = (f64, f64, f32, f64, f32, u128, i128);

/// Against: numbers that are another one when they come back.
#[test]
fn numbers_that_json_does_not_have_come_back() {
    let all = (f64::NAN, f64::INFINITY, f32::NEG_INFINITY, -0.0f64, 0.1f32, u128::MAX, i128::MIN);
    let bytes = encode(&all).unwrap();
    let json = Shape::of::<All>().unwrap().to_json(&bytes, Maps::Pairs, OUT_MAX).unwrap();
    assert_eq!(back::<All>(&json).unwrap(), bytes, "{json}");
    assert!(back::<f32>("1e300").unwrap_err().contains("no f32"));
    assert!(back::<u8>("-1").is_err() && back::<u8>("1.5").is_err() && back::<i8>("128").is_err());
}

/// Against: a text of a few bytes that ends the process.
#[test]
fn a_shape_that_goes_round_in_itself_and_a_deep_text_come_to_an_end() {
    let round: Shape = serde_json::from_str(r#"[{"option":0}]"#).unwrap();
    assert!(round.read_json(br#"{"state":1}"#, "state", OUT_MAX, Entries::Sorted).is_err());
    let lists: Shape = serde_json::from_str(r#"[{"list":0}]"#).unwrap();
    let deep = format!(r#"{{"state":{}"#, "[".repeat(100_000));
    assert!(lists.read_json(deep.as_bytes(), "state", OUT_MAX, Entries::Sorted).is_err());
    let nowhere: Shape = serde_json::from_str(r#"[{"list":7}]"#).unwrap();
    assert!(nowhere.read_json(br#"{"state":[1]}"#, "state", OUT_MAX, Entries::Sorted).is_err());
    let long = format!(r#"{{"state":"{}"}}"#, "x".repeat(1_000));
    let text: Shape = serde_json::from_str(r#"["text"]"#).unwrap();
    assert!(text.read_json(long.as_bytes(), "state", 100, Entries::Sorted).is_err());
}
