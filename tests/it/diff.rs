//! What is different between two checkpoints, by field. Against a difference that is not told, and one
//! that cannot be found again.

use std::collections::{BTreeMap, HashMap};

use milepost::{CheckpointId, Codec, ErrorKind, Labels, Store, Versioned};
use serde::{Deserialize, Serialize};

use crate::support::kind;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Portfolio {
    cash: i64,
    orders: Vec<Order>,
    by_number: HashMap<u64, String>,
    limits: BTreeMap<String, Option<f64>>,
}

#[derive(Clone, Serialize, Deserialize)]
enum Order {
    Market { size: u128 },
    Limit { size: u128, price: f32 },
}

impl Versioned for Portfolio {
    const NAME: &'static str = "portfolio";
    const VERSION: u32 = 1;
}

/// Saves a state as the first step of a run of its own.
fn saved<S>(store: &Store, run: &str, state: S) -> CheckpointId
where
    S: Versioned + Default + Serialize + serde::de::DeserializeOwned + 'static,
{
    let mut run_of = store.run::<S>(run).unwrap();
    run_of
        .step("set", 1, |tx| {
            tx.state = state;
            Ok(())
        })
        .unwrap();
    store.checkpoints().save(run, &Labels::new()).unwrap()
}

fn fields(store: &Store, a: &CheckpointId, b: &CheckpointId) -> Vec<(String, String, String)> {
    let diff = store.checkpoints().diff(a, b).unwrap();
    assert_eq!((diff.before.id, diff.after.id), (*a, *b));
    let text = |side: Option<String>| side.unwrap_or_else(|| "-".into());
    diff.changes
        .into_iter()
        .map(|change| (change.field, text(change.before), text(change.after)))
        .collect()
}

fn line(field: &str, before: &str, after: &str) -> (String, String, String) {
    (field.into(), before.into(), after.into())
}

#[test]
fn two_states_are_told_apart_field_by_field() {
    let store = Store::in_memory().unwrap();
    let first = Portfolio {
        cash: 5,
        orders: vec![Order::Market { size: u128::MAX }, Order::Market { size: 2 }],
        by_number: (0..50).map(|n| (n, format!("order {n}"))).collect(),
        limits: [("BTC/USD".to_owned(), Some(0.1)), ("ETH".to_owned(), None)].into(),
    };
    let mut second = first.clone();
    second.orders.insert(1, Order::Limit { size: 7, price: 0.5 });
    second.by_number.remove(&7);
    second.by_number.insert(100, "order 100".into());
    second.limits.insert("BTC/USD".into(), Some(f64::NAN));
    let (a, b) = (saved(&store, "a", first.clone()), saved(&store, "b", second));
    assert_eq!(
        fields(&store, &a, &b),
        [
            line("by_number[\"100\"]", "-", "\"order 100\""),
            line("by_number[\"7\"]", "\"order 7\"", "-"),
            line("limits[\"BTC/USD\"]", "0.1", "\"NaN\""),
            line("orders[1]", "-", "{\"Limit\":{\"size\":7,\"price\":0.5}}"),
        ]
    );
    assert_eq!(fields(&store, &a, &a), []);
    let shown = format!("{:?}", store.checkpoints().diff(&a, &b).unwrap());
    assert!(shown.contains("limits") && !shown.contains("NaN"), "{shown}");
}

/// The next version of the same type, which says what it is in JSON.
#[derive(Default, Serialize, Deserialize)]
struct Account {
    cash: i64,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

impl Versioned for Account {
    const NAME: &'static str = "portfolio";
    const VERSION: u32 = 2;
    const CODEC: Codec = Codec::Json;
}

#[test]
fn two_versions_and_codecs_of_a_type_can_be_compared() {
    let store = Store::in_memory().unwrap();
    let a = saved(&store, "a", Portfolio { cash: 5, ..Portfolio::default() });
    let b = saved(&store, "b", Account { cash: 5, rest: [("margin".to_owned(), 3)].into() });
    assert_eq!(
        fields(&store, &a, &b),
        [
            line("by_number", "{}", "-"),
            line("limits", "{}", "-"),
            line("margin", "-", "3"),
            line("orders", "[]", "-"),
        ]
    );
    let json = store.checkpoints().state_json(&a).unwrap();
    assert_eq!(json, r#"{"cash":5,"orders":[],"by_number":[],"limits":{}}"#);
    let none = "0".repeat(64).parse::<CheckpointId>();
    assert_eq!(kind(store.checkpoints().diff(&a, &none.unwrap())), ErrorKind::NotFound);
}
