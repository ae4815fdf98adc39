//! Shapes of many kinds of types: traced whole, told apart by field, and shown as what `serde_json`
//! makes of the same value.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::json::Maps;
use super::*;
use crate::record::{decode, encode};

/// Long enough for every test.
const OUT_MAX: usize = 1 << 20;

fn shape<T: DeserializeOwned + 'static>() -> Arc<Shape> {
    Shape::of::<T>().unwrap()
}

fn json<T: Serialize + DeserializeOwned + 'static>(value: &T) -> String {
    shape::<T>().to_json(&encode(value).unwrap(), Maps::Pairs, OUT_MAX).unwrap()
}

/// The value is shown as `serde_json` shows it.
#[track_caller]
fn is_shown<T: Serialize + DeserializeOwned + 'static>(value: &T) {
    assert_eq!(json(value), serde_json::to_string(value).unwrap());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Side {
    Buy,
    Sell(u16),
    Both { bid: i128, ask: Option<char> },
    Pair(bool, String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cents(i64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Nothing;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wide {
    signed: (i8, i16, i32, i64),
    unsigned: (u16, u32, u64, u128),
    float: (f32, f64),
    text: String,
    bytes: Vec<u8>,
    list: Vec<Option<bool>>,
    sides: VecDeque<Side>,
    book: BTreeMap<String, Cents>,
    nested: BTreeMap<String, BTreeMap<String, Vec<Side>>>,
    unit: (),
    nothing: Nothing,
    array: [u16; 3],
    long: [u8; 32],
    tree: Tree,
    result: Result<Cents, Side>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Tree {
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
    leaves: Vec<Tree>,
    weight: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Formula {
    Sum(Box<Formula>, Box<Formula>),
    Many(Vec<Formula>),
    Named(BTreeMap<String, Formula>),
    Of { side: Side, inner: Box<Formula> },
    Number(i64),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        Just(Side::Buy),
        any::<u16>().prop_map(Side::Sell),
        (any::<i128>(), any::<Option<char>>()).prop_map(|(bid, ask)| Side::Both { bid, ask }),
        any::<(bool, String)>().prop_map(|(a, b)| Side::Pair(a, b)),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = any::<u64>().prop_map(|weight| Tree { weight, ..Tree::default() });
    leaf.prop_recursive(4, 16, 3, |inner| {
        let child = prop::option::of(inner.clone().prop_map(Box::new));
        (child.clone(), child, prop::collection::vec(inner, 0..3), any::<u64>())
            .prop_map(|(left, right, leaves, weight)| Tree { left, right, leaves, weight })
    })
}

fn formula() -> impl Strategy<Value = Formula> {
    let leaf = any::<i64>().prop_map(Formula::Number);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        prop_oneof![
            (boxed.clone(), boxed.clone()).prop_map(|(a, b)| Formula::Sum(a, b)),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Formula::Many),
            prop::collection::btree_map("[a-z\"]{0,4}", inner, 0..2).prop_map(Formula::Named),
            (side(), boxed).prop_map(|(side, inner)| Formula::Of { side, inner }),
        ]
    })
}

fn finite() -> impl Strategy<Value = (f32, f64)> {
    any::<(f32, f64)>().prop_filter("JSON has no others", |(a, b)| a.is_finite() && b.is_finite())
}

fn wide() -> impl Strategy<Value = Wide> {
    // One entry at most: serde_json writes a map in its own order, we by the bytes of the keys.
    let book = prop::collection::btree_map(any::<String>(), any::<i64>().prop_map(Cents), 0..2);
    let inner =
        prop::collection::btree_map("[a-z]{1,3}", prop::collection::vec(side(), 0..3), 0..2);
    (
        (any::<(i8, i16, i32, i64)>(), any::<(u16, u32, u64, u128)>(), finite()),
        (any::<String>(), any::<Vec<u8>>(), any::<Vec<Option<bool>>>(), any::<[u16; 3]>()),
        (prop::collection::vec_deque(side(), 0..4), book, any::<[u8; 32]>(), tree()),
        (
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..2),
            prop_oneof![any::<i64>().prop_map(|n| Ok(Cents(n))), side().prop_map(Err)],
        ),
    )
        .prop_map(
            |(
                (signed, unsigned, float),
                (text, bytes, list, array),
                (sides, book, long, tree),
                (nested, result),
            )| Wide {
                signed,
                unsigned,
                float,
                text,
                bytes,
                list,
                sides,
                book,
                nested,
                unit: (),
                nothing: Nothing,
                array,
                long,
                tree,
                result,
            },
        )
}

proptest! {
    #[test]
    fn every_value_is_shown_as_serde_json_shows_it(wide in wide(), formula in formula()) {
        prop_assert_eq!(json(&wide), serde_json::to_string(&wide).unwrap());
        prop_assert_eq!(json(&formula), serde_json::to_string(&formula).unwrap());
    }

    #[test]
    fn no_bytes_make_the_view_panic_or_write_more_than_it_may(bytes in any::<Vec<u8>>()) {
        for shape in [shape::<Wide>(), shape::<Formula>(), shape::<Vec<()>>()] {
            if let Ok(json) = shape.to_json(&bytes, Maps::Pairs, 1_000) {
                prop_assert!(json.len() <= 1_000);
            }
        }
    }

    #[test]
    fn no_bytes_that_are_read_as_a_shape_make_anything_panic(
        bytes in any::<Vec<u8>>(),
        nodes in prop::collection::vec((17u8..24, 0u8..6, 0u8..6), 1..6),
    ) {
        // Half of the cases are shapes that point anywhere, themselves included.
        let mut made = vec![u8::try_from(nodes.len()).unwrap()];
        for (kind, a, b) in nodes {
            match kind {
                17 | 18 => made.extend([kind, a]),
                19 | 20 => made.extend([kind, a, b]),
                21 => made.extend([kind, 1, a]),
                22 => made.extend([kind, 1, 1, b'x', a]),
                _ => made.extend([kind, 1, 1, b'x', 1, a]),
            }
        }
        for bytes in [bytes, made] {
            if let Ok(shape) = decode::<Shape>(&bytes) {
                let _ = shape.to_json(&[0; 400], Maps::Pairs, 4_000);
                let _ = shape.to_json(&[1; 400], Maps::Pairs, 4_000);
                prop_assert!(shape.differences(&shape).is_empty());
                let _ = shape.differences(&super::tests::shape::<Wide>());
            }
        }
    }
}

/// Against: a variant that is only reached through others, and is missing from the shape.
#[test]
fn every_variant_is_seen_however_deep_it_stands() {
    let value = Formula::Of {
        side: Side::Pair(true, "x".into()),
        inner: Box::new(Formula::Named([("a".to_owned(), Formula::Many(vec![]))].into())),
    };
    is_shown(&value);
    assert_eq!(json(&Some(value.clone())), json(&value));
    let variants = |shape: &Shape| {
        let of = |node: &node::Node| if let node::Node::Enum(v) = node { v.len() } else { 0 };
        shape.nodes.iter().map(of).collect::<Vec<_>>()
    };
    // Each named type stands once, and points back to itself.
    assert_eq!(variants(&shape::<Formula>()).iter().sum::<usize>(), 5 + 4);
    assert_eq!(variants(&shape::<Formula>()).iter().filter(|count| **count > 0).count(), 2);
}

/// Against: types that know themselves only through one another.
#[test]
fn types_that_hold_one_another_come_to_an_end() {
    #[derive(Serialize, Deserialize)]
    struct Account {
        orders: Vec<Order>,
        parent: Option<Box<Account>>,
    }
    #[derive(Serialize, Deserialize)]
    enum Order {
        On(Box<Account>),
        Next(Box<Order>),
        Both(Box<Order>, Box<Order>),
        Empty,
    }
    #[derive(Serialize, Deserialize)]
    struct Lists(Vec<Lists>);
    let account = || Account { orders: vec![], parent: None };
    is_shown(&Account {
        orders: vec![Order::Both(
            Box::new(Order::Next(Box::new(Order::Empty))),
            Box::new(Order::On(Box::new(account()))),
        )],
        parent: Some(Box::new(account())),
    });
    is_shown(&Lists(vec![Lists(vec![]), Lists(vec![Lists(vec![])])]));
}

/// Against: two types of one name, or one with other parameters, that are taken for each other.
#[test]
fn types_of_one_name_are_told_apart() {
    mod other {
        #[derive(serde::Serialize, serde::Deserialize)]
        pub(super) struct Cents {
            pub(super) whole: i64,
        }
    }
    #[derive(Serialize, Deserialize)]
    struct Held<T> {
        value: T,
    }
    is_shown(&(Cents(1), other::Cents { whole: 2 }));
    is_shown(&(
        Held { value: 7u8 },
        Held { value: "x".to_owned() },
        Held { value: Held { value: 1 } },
    ));
}

/// Against: types of the standard library, and types that check what they read, without a shape.
#[test]
fn types_that_check_what_they_read_are_given_what_they_take() {
    #[derive(Serialize, Deserialize)]
    #[serde(try_from = "String", into = "String")]
    #[derive(Clone)]
    struct Symbol(String);
    impl TryFrom<String> for Symbol {
        type Error = String;
        fn try_from(text: String) -> Result<Self, String> {
            if text.is_empty() { Err("a symbol is not empty".into()) } else { Ok(Self(text)) }
        }
    }
    impl From<Symbol> for String {
        fn from(symbol: Symbol) -> Self {
            symbol.0
        }
    }
    #[derive(Clone, Serialize, Deserialize)]
    #[serde(from = "String", into = "String")]
    struct First(String);
    impl From<String> for First {
        fn from(text: String) -> Self {
            assert!(!text.is_empty(), "a name has a first letter");
            Self(text)
        }
    }
    impl From<First> for String {
        fn from(first: First) -> Self {
            first.0
        }
    }
    #[derive(Serialize, Deserialize)]
    struct Checked {
        first: First,
        symbol: Symbol,
        other: Option<Symbol>,
        size: NonZeroU32,
        wait: Duration,
        name: crate::id::RunName,
        at: crate::clock::Timestamp,
        seen: BTreeSet<u64>,
        range: std::ops::Range<u8>,
        path: std::path::PathBuf,
    }
    is_shown(&Checked {
        first: First::from("Ada".to_owned()),
        symbol: Symbol("SPY".into()),
        other: None,
        size: NonZeroU32::MIN,
        wait: Duration::from_millis(1_500),
        name: crate::id::RunName::new("x").unwrap(),
        at: crate::clock::Timestamp::from_ms(7),
        seen: [3].into(),
        range: 1..5,
        path: "a/b".into(),
    });
    let address: std::net::IpAddr = [127, 0, 0, 1].into();
    assert_eq!(json(&address), r#"{"V4":[127,0,0,1]}"#, "as it is stored");
}

/// Against: a number that JSON readers round, or a float that becomes null.
#[test]
fn numbers_are_exact_and_those_that_json_lacks_are_text() {
    assert_eq!(json(&(u64::MAX, i128::MIN)), format!("[{},{}]", u64::MAX, i128::MIN));
    assert_eq!(
        json(&(f64::NAN, f64::INFINITY, f32::NEG_INFINITY)),
        r#"["NaN","Infinity","-Infinity"]"#
    );
    let keyed: HashMap<u64, char> = [(7, 'x')].into();
    assert_eq!(json(&keyed), r#"[[7,"x"]]"#, "keys that are no strings");
    assert_eq!(json(&(-0.0f64, 1e300, 0.1f32)), "[-0.0,1e+300,0.1]");
}

/// Against: a few bytes that become a text without an end.
#[test]
fn what_is_shown_has_a_limit_and_so_has_its_depth() {
    #[derive(Serialize, Deserialize)]
    struct Chain(Option<Box<Chain>>);
    let many = encode(&(1u64 << 40)).unwrap();
    assert_eq!(shape::<Vec<()>>().to_json(&many, Maps::Pairs, 100), Err(ViewError::Long(100)));
    let mut deep = vec![1; 100_000];
    deep.push(0);
    assert_eq!(shape::<Chain>().to_json(&deep, Maps::Pairs, OUT_MAX), Err(ViewError::Deep));
    assert!(matches!(shape::<u8>().to_json(&[], Maps::Pairs, OUT_MAX), Err(ViewError::Unfit(_))));
    assert!(matches!(
        shape::<u8>().to_json(&[1, 2], Maps::Pairs, OUT_MAX),
        Err(ViewError::Unfit(_))
    ));
    assert!(matches!(
        shape::<Side>().to_json(&[9], Maps::Pairs, OUT_MAX),
        Err(ViewError::Unfit(_))
    ));
}

fn refused<T: DeserializeOwned + 'static>() -> String {
    Shape::of::<T>().unwrap_err().to_string()
}

/// Against: "cannot be traced", and nobody knows what to change.
#[test]
fn a_type_without_a_shape_is_named_with_the_place_and_the_attribute() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        A { x: u8 },
    }
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(tag = "kind", content = "of")]
    enum Adjacent {
        A(u8),
        B(String),
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: BTreeMap<String, u8>,
    }
    #[derive(Serialize, Deserialize)]
    struct Aliased {
        #[serde(alias = "old")]
        new: u8,
    }
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "u64")]
    struct Never;
    impl TryFrom<u64> for Never {
        type Error = &'static str;
        fn try_from(_: u64) -> Result<Self, &'static str> {
            Err("never good enough")
        }
    }
    #[derive(Deserialize)]
    struct Holder<T> {
        #[expect(dead_code, reason = "only its shape is asked for")]
        list: Vec<Option<T>>,
    }
    let said = refused::<Holder<Tagged>>();
    assert!(said.contains("`list[].Some`") && said.contains("`tag`"), "{said}");
    let said = refused::<Holder<Adjacent>>();
    assert!(said.contains("`content`"), "{said}");
    assert!(refused::<Flat>().contains("`flatten`"), "{}", refused::<Flat>());
    assert!(refused::<Aliased>().contains("`alias`"), "{}", refused::<Aliased>());
    let said = refused::<(u8, [Never; 2])>();
    assert!(said.contains("never good enough") && said.contains("`[][]`"), "{said}");
    // Where none is needed, it is known all the same what there would be.
    assert!(Shape::of::<Holder<Never>>().is_ok());
    let said = refused::<serde_json::Value>();
    assert!(said.contains("serde_json") && said.contains("anything"), "{said}");
}

/// Against: a shape that depends on what else was traced before, and differs in the next process.
#[test]
fn a_shape_is_the_same_each_time_and_comes_back_from_its_bytes() {
    let one = trace::trace::<Wide>().unwrap();
    assert_eq!(one, trace::trace::<Wide>().unwrap());
    assert_eq!(decode::<Shape>(&encode(&one).unwrap()).unwrap(), one);
    assert!(one.differences(&shape::<Wide>()).is_empty());
    assert!(!one.differences(&shape::<Tree>()).is_empty());
}

/// Against: a fingerprint in a store that a later release computes otherwise.
#[test]
fn the_bytes_of_a_shape_are_what_they_always_were() {
    let bytes = encode(&*shape::<(Side, Tree, Vec<[u8; 32]>)>()).unwrap();
    let golden = include_str!("../../../tests/golden/shape.hex").trim_end();
    let byte = |at| u8::from_str_radix(&golden[at..at + 2], 16).unwrap();
    assert_eq!(bytes, (0..golden.len()).step_by(2).map(byte).collect::<Vec<_>>());
}
