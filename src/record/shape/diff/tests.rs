//! What is said of two shapes that differ.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

fn shape<T: DeserializeOwned + 'static>() -> Arc<Shape> {
    Shape::of::<T>().unwrap()
}

fn said(differences: &[Difference]) -> Vec<String> {
    differences.iter().map(ToString::to_string).collect()
}

macro_rules! differ {
    ({ $($was:tt)* }, { $($is:tt)* }, $said:expr) => {{
        let was = {
            #[derive(Deserialize)]
            #[expect(dead_code, reason = "only its shape is asked for")]
            $($was)*
            shape::<S>()
        };
        let is = {
            #[derive(Deserialize)]
            #[expect(dead_code, reason = "only its shape is asked for")]
            $($is)*
            shape::<S>()
        };
        assert_eq!(said(&was.differences(&is)), $said as &[&str]);
        assert_ne!(was.fingerprint(), is.fingerprint());
    }};
}

/// Against: "the type has changed", in a state of a hundred fields.
#[test]
fn every_difference_is_named_by_its_field() {
    differ!(
        {
            struct S {
                cash: u64,
                fee: u8,
            }
        },
        {
            struct S {
                cash: f64,
                fee: u8,
            }
        },
        &["field `cash` was u64 and is now f64"]
    );
    differ!(
        {
            struct S {
                bid: i64,
                ask: i64,
                old: u8,
            }
        },
        {
            struct S {
                ask: i64,
                bid: i64,
                new: Option<u8>,
            }
        },
        &[
            "field `old` is gone",
            "field `new` is new",
            "field `bid` stands in another place",
            "field `ask` stands in another place"
        ]
    );
    differ!(
        {
            struct S {
                book: BTreeMap<String, Vec<(u8, Option<u16>)>>,
            }
        },
        {
            struct S {
                book: BTreeMap<String, Vec<(u8, Option<String>)>>,
            }
        },
        &["field `book[][].1.Some` was u16 and is now String"]
    );
    differ!(
        {
            enum S {
                Buy,
                Sell(u8),
                Hold,
            }
        },
        {
            enum S {
                Buy(u8),
                Sell(u16),
                Short,
            }
        },
        &[
            "variant `Hold` is gone",
            "variant `Short` is new",
            "variant `Buy` was without a value and is now with one",
            "field `Sell` was u8 and is now u16"
        ]
    );
    differ!(
        {
            struct S(Vec<[u8; 20]>);
        },
        {
            struct S(Vec<[u8; 32]>);
        },
        &["field `[]` was [u8; 20] and is now [u8; 32]"]
    );
    differ!(
        {
            struct S(u8);
        },
        {
            struct S(i8);
        },
        &["the type itself was u8 and is now i8"]
    );
}

/// Against: a type that has to be migrated because it was moved, renamed or wrapped.
#[test]
fn a_new_name_of_a_type_is_no_difference() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is asked for")]
    struct Cents(i64);
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is asked for")]
    struct Pence(i64);
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is asked for")]
    struct One {
        price: Cents,
        fee: Cents,
        next: Option<Box<One>>,
    }
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape is asked for")]
    struct Two {
        price: i64,
        fee: Pence,
        next: Option<Box<Two>>,
    }
    assert_eq!(shape::<One>(), shape::<Two>());
    assert_eq!(shape::<One>().fingerprint(), shape::<Two>().fingerprint());
}
