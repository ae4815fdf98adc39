#![allow(clippy::items_after_statements, reason = "a type stands beside the one test it is for")]

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::*;

fn of<T: Serialize + ?Sized>(request: &T) -> Fingerprint {
    fingerprint(request).unwrap().0
}

fn shape_of<T: Serialize + ?Sized>(request: &T) -> u32 {
    fingerprint(request).unwrap().1
}

/// All of them differ.
#[track_caller]
fn differ(requests: &[(&str, Fingerprint)]) {
    for (nth, (name, one)) in requests.iter().enumerate() {
        for (other_name, other) in &requests[..nth] {
            assert_ne!(one, other, "{name} and {other_name} look alike");
        }
    }
}

macro_rules! differ {
    ($($request:expr),* $(,)?) => { differ(&[$((stringify!($request), of(&$request))),*]) };
}

/// JSON out of few parts, so that two of them are often alike but for one.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(-64), Just(127)].prop_map(Value::from),
        prop_oneof![Just(u64::MAX), Just(1 << 63), Just(128)].prop_map(Value::from),
        prop_oneof![Just(1.0), Just(-1.0), Just(0.5), Just(1e300)].prop_map(Value::from),
        prop_oneof![Just(""), Just("a"), Just("b"), Just("1"), Just("ab"), Just("\u{0}")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]{0,2}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Against: a request that gets the stored answer of another one: `{"qty": -1}` that of
    /// `{"qty": 1}`.
    #[test]
    fn two_json_values_have_one_fingerprint_if_and_only_if_they_are_equal(
        one in any_json(),
        other in any_json(),
    ) {
        prop_assert_eq!(of(&one) == of(&other), one == other, "{} {}", one, other);
    }

    #[test]
    fn two_integers_have_one_fingerprint_if_and_only_if_they_are_equal(
        one: i64, other: i64, unsigned: u64, wide: i128,
    ) {
        prop_assert_eq!(of(&one) == of(&other), one == other);
        prop_assert_eq!(of(&one) == of(&unsigned), i128::from(one) == i128::from(unsigned));
        prop_assert_eq!(of(&one) == of(&wide), i128::from(one) == wide);
        prop_assert_eq!(of(&one), of(&i128::from(one)), "a field that was widened");
    }

    #[test]
    fn two_floats_have_one_fingerprint_if_and_only_if_their_bits_are_equal(one: u64, other: u64) {
        let bits = |bits| of(&f64::from_bits(bits));
        prop_assert_eq!(bits(one) == bits(other), one == other);
    }

    #[test]
    fn two_structures_of_texts_have_one_fingerprint_if_and_only_if_they_are_equal(
        one in prop::collection::vec(prop::option::of("[ab]{0,2}"), 0..4),
        other in prop::collection::vec(prop::option::of("[ab]{0,2}"), 0..4),
    ) {
        prop_assert_eq!(of(&one) == of(&other), one == other);
        let bytes = |list: &[Option<String>]| of(&list.iter().flatten().map(String::as_bytes).collect::<Vec<_>>());
        let texts = |list: &[Option<String>]| list.iter().flatten().cloned().collect::<Vec<_>>();
        prop_assert_eq!(bytes(&one) == bytes(&other), texts(&one) == texts(&other));
    }
}

#[test]
fn the_pairs_that_were_one_request_are_two() {
    differ!(json!({"qty": 1}), json!({"qty": -1}));
    differ!(json!({"qty": 99}), json!({"qty": -50}));
}

#[derive(Serialize)]
struct Buy {
    qty: u64,
    price: u64,
}

#[derive(Serialize)]
struct Sell {
    qty: u64,
    price: u64,
}

#[derive(Serialize)]
struct Cents(u64);

#[derive(Serialize)]
struct Pair(u64, u64);

#[derive(Serialize)]
struct Nothing;

#[derive(Serialize)]
enum Order {
    Buy,
    Sell,
    Limit(u64),
    Stop(u64),
    Range(u64, u64),
    At { price: u64 },
    Below { price: u64 },
}

#[test]
fn types_lengths_and_kinds_tell_requests_apart() {
    differ!((), Nothing, false, 0u8, 0.0f64, -0.0f64, 0.0f32, '0', "0", "", Vec::<u8>::new());
    differ!(None::<u8>, Some(None::<u8>), Some(Some(0u8)), Some(0u8), 0u8, Some(()), ());
    differ!(1u8, 1.0f64, 1.0f32, true, "1", '1', [1u8], (1u8, 1u8), vec![1u8], Cents(1));
    differ!(f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f32::NAN);
    differ!("ab", ("a", "b"), ["a", "b"].as_slice(), "a\u{0}b", ["ab"].as_slice(), ("ab", ""));
    differ!(Buy { qty: 1, price: 2 }, Sell { qty: 1, price: 2 }, Buy { qty: 2, price: 1 });
    differ!(Pair(1, 2), (1u64, 2u64), [1u64, 2].as_slice(), Pair(2, 1));
    differ!(
        Order::Buy,
        Order::Sell,
        Order::Limit(1),
        Order::Stop(1),
        Order::Range(1, 2),
        Order::At { price: 1 },
        Order::Below { price: 1 },
    );
    let map = |entries: &[(&'static str, u64)]| entries.iter().copied().collect::<BTreeMap<_, _>>();
    differ!(
        map(&[]),
        map(&[("qty", 1), ("price", 2)]),
        map(&[("qty", 2), ("price", 1)]),
        Buy { qty: 1, price: 2 },
        map(&[("qty", 1)]),
        [("qty", 1u64)].as_slice(),
    );
    differ!(u64::MAX, i64::MIN, u128::MAX, i128::MIN, i128::MAX, -1i8);
    struct Raw<'a>(&'a [u8]);
    impl Serialize for Raw<'_> {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(self.0)
        }
    }
    differ!(Raw(b"ab"), "ab", b"ab".to_vec(), b"ab");
}

#[test]
fn what_is_no_difference_of_the_value_is_none_of_the_request() {
    let forwards: HashMap<u32, &str> = (0..100).map(|n| (n, "x")).collect();
    let backwards: HashMap<u32, &str> = (0..100).rev().map(|n| (n, "x")).collect();
    assert_eq!(of(&forwards), of(&backwards));
    let one: HashSet<u32> = (0..100).collect();
    let other: HashSet<u32> = (0..100).rev().collect();
    assert_eq!(of(&one), of(&other));
    assert_eq!(of(&100u32), of(&100u64));
    assert_eq!(of(&100u32), of(&100i8));
    assert_eq!(of("a"), of(&"a".to_owned()));
    assert_eq!(of(&Box::new(Some(1u8))), of(&Some(1u8)));
    #[derive(Serialize)]
    #[serde(rename = "Buy")]
    struct Turned {
        price: u32,
        qty: u128,
    }
    assert_eq!(of(&Buy { qty: 1, price: 2 }), of(&Turned { price: 2, qty: 1 }));
}

/// Against: every stored fingerprint that changes when any crate of the program turns on a feature of
/// `serde_json`.
#[test]
fn a_number_as_text_is_the_number_unless_that_would_lose_digits() {
    #[derive(Serialize)]
    #[serde(rename = "$serde_json::private::Number")]
    struct Number {
        #[serde(rename = "$serde_json::private::Number")]
        text: &'static str,
    }
    let number = |text| of(&Number { text });
    assert_eq!(number("1"), of(&json!(1)));
    assert_eq!(number("-1"), of(&json!(-1)));
    assert_eq!(number("18446744073709551615"), of(&json!(u64::MAX)));
    assert_eq!(number("0.5"), of(&json!(0.5)));
    let texts = ["1", "1.0", "1.00", "1e0", "0.1", "0.10000000000000000000001", "1e400", "2e400"];
    let all: Vec<_> = texts.into_iter().map(|text| (text, number(text))).collect();
    differ(&all);
}

#[test]
fn a_shape_is_of_the_type_and_a_value_does_not_change_it() {
    #[derive(Serialize)]
    struct Pay {
        account: String,
        cents: u64,
        tags: Vec<String>,
        memo: Option<String>,
        order: Order,
        any: Value,
    }
    let pay = |cents: u8, memo, order, any| Pay {
        account: "a".repeat(usize::from(cents)),
        cents: cents.into(),
        tags: vec!["t".into(); cents.into()],
        memo,
        order,
        any,
    };
    let one = pay(0, None, Order::Buy, json!(null));
    let other = pay(9, Some("rent".into()), Order::Range(1, 2), json!({"a": [1]}));
    assert_eq!(shape_of(&one), shape_of(&other));
    assert_ne!(of(&one), of(&other));
    #[derive(Serialize)]
    #[serde(rename = "Buy")]
    struct Longer {
        qty: u64,
        price: u64,
        memo: Option<String>,
    }
    let buy = Buy { qty: 1, price: 2 };
    assert_ne!(shape_of(&buy), shape_of(&Longer { qty: 1, price: 2, memo: None }));
    assert_ne!(shape_of(&buy), shape_of(&Sell { qty: 1, price: 2 }));
    assert_ne!(shape_of(&1u64), shape_of("1"));
    assert_eq!(shape_of(&json!(1)), shape_of(&json!({"a": 1})));
}

/// Against: a stack that ends, which cannot be caught.
#[test]
fn a_request_that_is_nested_too_deep_is_refused() {
    let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    assert!(fingerprint(&nested(LEVELS_MAX)).is_ok());
    let error = fingerprint(&nested(LEVELS_MAX + 1)).unwrap_err();
    assert!(error.to_string().contains("128 levels"), "{error}");
}
