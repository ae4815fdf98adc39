//! What can be stored: types whose bytes come back, and equal values with equal bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use milepost::{Claimed, Codec, ErrorKind, Key, Options, Result, Store, Topic, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::support::{
    clock, error, killed, kind, on_disk, open_bytes, reframed, rows_of, varint, with_row,
};

const ORDERS: Topic<Chain, u64> = Topic::new("orders");

macro_rules! versioned {
    ($($type:ty),*) => {
        $(impl Versioned for $type {
            const NAME: &'static str = stringify!($type);
            const VERSION: u32 = 1;
        })*
    };
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Hashed {
    map: HashMap<String, u64>,
    set: HashSet<u64>,
    nested: BTreeMap<u8, HashSet<String>>,
}
versioned!(Hashed);

/// Against: a state that is the same and has other bytes, because a hash map was filled otherwise.
#[test]
fn equal_states_give_equal_bytes_in_whatever_order_they_were_made() {
    let bytes = |order: &mut dyn Iterator<Item = u64>| {
        let (disk, store) = on_disk(&Options::new().clock(clock()));
        let mut run = store.run::<Hashed>("run").unwrap();
        let numbers: Vec<_> = order.collect();
        run.step("k", 1, |tx| {
            for n in &numbers {
                tx.state.map.insert(format!("m{n}"), *n);
                tx.state.set.insert(*n);
                let nested = tx.state.nested.entry(u8::try_from(n % 3).unwrap()).or_default();
                nested.insert(n.to_string());
            }
            Ok(tx.state.clone())
        })
        .unwrap();
        let row = rows_of(&disk.to_bytes(), "runs").pop().unwrap();
        let outcome = rows_of(&disk.to_bytes(), "keys").pop().unwrap();
        (row, outcome)
    };
    assert!(bytes(&mut (0..200)) == bytes(&mut (0..200).rev()));
}

/// Against: a state of maps and sets that comes back with something missing.
#[test]
fn a_state_of_maps_and_sets_comes_back_whole() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Hashed>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state.map = (0..100).map(|n| (n.to_string(), n)).collect();
        tx.state.set = (0..100).collect();
        Ok(())
    })
    .unwrap();
    let before = run.state().clone();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.run::<Hashed>("run").unwrap().state(), &before);
}

/// Claims twice with equal requests that were made in different order.
fn is_one_request<Q: Serialize>(make: impl Fn(HashSet<u64>) -> Q) -> bool {
    let store = Store::in_memory().unwrap();
    let one = make((0..100).collect());
    let two = make((0..100).rev().collect());
    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", "k", &one) else { panic!() };
    claim.complete(&1).unwrap();
    match store.claim::<u64>("s", "k", &two) {
        Ok(Claimed::Done(1)) => true,
        Err(error) if error.kind() == ErrorKind::Conflict => false,
        other => panic!("{other:?}"),
    }
}

/// Against: a repeat of the very same request that is called a conflict, because of a hash set.
#[test]
fn equal_requests_are_one_request_whatever_the_order_of_their_hash_sets() {
    #[derive(Serialize)]
    struct Named {
        ids: HashSet<u64>,
    }
    #[derive(Serialize)]
    struct Newtype(HashSet<u64>);
    assert!(is_one_request(|set| set), "a set");
    assert!(is_one_request(|set| Named { ids: set }), "a field");
    assert!(is_one_request(Newtype), "a newtype");
    assert!(is_one_request(|set| vec![Some(set)]), "inside others");
}

/// Against: the same behind a box, which serde shows as a plain list.
#[test]
fn equal_requests_are_one_request_behind_boxes_too() {
    assert!(is_one_request(Box::new), "a box");
    assert!(is_one_request(std::cell::RefCell::new), "a cell");
    assert!(is_one_request(|set| vec![Box::new(Some(std::cell::RefCell::new(set)))]), "all");
}

fn outcome_of_first_write<R: Serialize + DeserializeOwned + 'static>(outcome: R) -> Result<()> {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Hashed>("run").unwrap();
    run.step("k", 1, |_| Ok(outcome)).map(drop)
}

/// Against: a value that is stored and cannot be read back, found out only after the restart.
#[test]
fn a_type_that_does_not_come_back_is_refused_and_the_attribute_is_named() {
    #[derive(Serialize, Deserialize)]
    struct SkippedIf {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
        size: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct Skipped {
        #[serde(skip_serializing, default)]
        #[expect(dead_code, reason = "written, and never read again: that is the point")]
        lost: u64,
        size: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct Inner {
        a: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Buy { size: u64 },
    }
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }
    let refused = |result: Result<()>, name: &str| {
        let refused = error(result);
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert!(refused.to_string().contains(name), "{name} is not named: {refused}");
        assert!(refused.to_string().contains("Nothing was written"), "{refused}");
    };
    let none = SkippedIf { limit: None, size: 1 };
    refused(outcome_of_first_write(none), "skip_serializing_if");
    refused(outcome_of_first_write(Skipped { lost: 1, size: 2 }), "skip_serializing");
    refused(outcome_of_first_write(Flat { inner: Inner { a: 1 } }), "flatten");
    refused(outcome_of_first_write(Tagged::Buy { size: 1 }), "tag");
    refused(outcome_of_first_write(Untagged::Number(1)), "untagged");
    // The same in a payload, a row and a state.
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Hashed>("run").unwrap();
    let emitted = run
        .step("k", 1, |tx| tx.emit(&Topic::<_, u64>::new("t"), &Tagged::Buy { size: 1 }).map(drop));
    refused(emitted.map(drop), "tag");
    let put = run.step("k", 1, |tx| tx.put("r", &Untagged::Number(1)));
    refused(put.map(drop), "untagged");
    assert_eq!(run.steps(), 0);
}

/// Against: a field left out only now and then, after the type's first write was found sound.
#[test]
fn a_field_that_is_skipped_only_later_is_refused_then() {
    #[derive(Serialize, Deserialize)]
    struct Order {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
        size: u64,
    }
    outcome_of_first_write(Order { limit: Some(1), size: 1 }).unwrap();
    let later = outcome_of_first_write(Order { limit: None, size: 1 });
    assert_eq!(kind(later), ErrorKind::Invalid);
}

/// Against: the same in a tuple struct, which does not say that it skips.
#[test]
fn an_element_that_is_skipped_only_later_is_refused_then() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order(#[serde(skip_serializing_if = "Option::is_none")] Option<u8>, u8);
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Hashed>("run").unwrap();
    run.step("first", 1, |_| Ok(Order(Some(1), 2))).unwrap();
    if let Err(error) = run.step("later", 2, |_| Ok(Order(None, 1))) {
        return assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    // It was acknowledged; then it must also be there.
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Hashed>("run").unwrap();
    let again = run.step("later", 2, |_| -> Result<Order> { panic!("ran") });
    assert_eq!(again.unwrap().into_outcome(), Order(None, 1));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Event {
    Buy { size: u64 },
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Journal {
    /// Empty in the default, so the first write of the type shows nothing of `Event`.
    events: Vec<Event>,
}
versioned!(Journal);

/// Against: an acknowledged state that no program can read again, because what its type cannot do
/// was not in its first value.
#[test]
fn a_state_whose_parts_have_no_shape_is_refused_before_there_is_one() {
    let store = Store::in_memory().unwrap();
    let refused = error(store.run::<Journal>("run"));
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    for named in ["Journal", "`events[]`", "`tag`", "Codec::Json"] {
        assert!(refused.to_string().contains(named), "{named} is not named: {refused}");
    }
}

/// The same, by the way out that the error names.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    events: Vec<Event>,
}

impl Versioned for Told {
    const NAME: &'static str = "told";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

/// Against: a way out that leads nowhere.
#[test]
fn a_state_that_has_no_shape_is_kept_as_json() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Told>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state.events.push(Event::Buy { size: u64::MAX });
        Ok(())
    })
    .unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let run = store.run::<Told>("run").unwrap();
    assert_eq!(run.state().events, [Event::Buy { size: u64::MAX }]);
    let shown = store.inspect_run("run").unwrap().state_json;
    assert_eq!(shown, format!(r#"{{"events":[{{"kind":"Buy","size":{}}}]}}"#, u64::MAX));
}

/// Against: a failing step after that, which puts an empty state in the place of the real one.
#[test]
fn a_failing_step_never_leaves_an_emptier_state_than_it_found() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Told>("run").unwrap();
    let _ = run.step("k", 1, |tx| {
        tx.state.events.push(Event::Buy { size: 1 });
        Ok(())
    });
    let before = run.state().clone();
    let failed = run.step("bad", 2, |_| -> Result<()> { Err(milepost::Error::abort("no")) });
    assert_eq!(kind(failed), ErrorKind::Aborted);
    assert_eq!(run.state(), &before);
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Ids(HashSet<u64>);

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::box_collection, reason = "a box is what hides the set")]
struct Holder {
    ids: Ids,
    boxed: Box<HashSet<u64>>,
}
versioned!(Holder);

/// Against: an outcome that was stored and then is "of another type", since its set came back in
/// another order.
#[test]
fn an_outcome_with_a_hidden_hash_set_is_refused_or_given_back() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Hashed>("run").unwrap();
    run.step("first", 1, |_| Ok(Holder::default())).unwrap();
    let full = Holder { ids: Ids((0..50).collect()), boxed: Box::new((0..50).collect()) };
    if let Err(error) = run.step("later", 2, |_| Ok(full.clone())) {
        return assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Hashed>("run").unwrap();
    let again = run.step("later", 2, |_| -> Result<Holder> { panic!("ran") });
    assert_eq!(again.unwrap().into_outcome(), full);
}

/// Against: a request that cannot be encoded and still claims its key.
#[test]
fn a_request_that_cannot_be_encoded_claims_nothing() {
    #[derive(Serialize)]
    struct Refuses(#[serde(serialize_with = "refuse")] u64);
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    fn refuse<S: serde::Serializer>(_: &u64, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not today"))
    }
    let store = Store::in_memory().unwrap();
    let refused = error(store.claim::<u64>("s", "k", &Refuses(1)));
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("not today"), "{refused}");
    assert_eq!(kind(Key::new("k").request(&Refuses(1))), ErrorKind::Invalid);
    assert!(matches!(store.claim::<u64>("s", "k", &1).unwrap(), Claimed::Fresh(_)));
}

/// Against: numbers at their ends, floats that are no numbers and odd text that come back changed.
#[test]
fn awkward_values_come_back_as_they_were() {
    type Awkward = (f64, f32, u128, i128, char, String, Vec<u8>, Option<Option<()>>, [u8; 32]);
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Hashed>("run").unwrap();
    let value: Awkward = (
        f64::NEG_INFINITY,
        -0.0,
        u128::MAX,
        i128::MIN,
        '\u{10ffff}',
        "\0ö\u{202e}".into(),
        (0..=255).collect(),
        Some(None),
        [251; 32],
    );
    run.step("k", 1, |_| Ok(value.clone())).unwrap();
    run.step("nan", 2, |_| Ok(f64::NAN)).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Hashed>("run").unwrap();
    let back: Awkward =
        run.step("k", 3, |_| -> Result<Awkward> { panic!() }).unwrap().into_outcome();
    assert_eq!(back, value);
    assert!(back.1.is_sign_negative());
    let nan = run.step("nan", 3, |_| -> Result<f64> { panic!() }).unwrap().into_outcome();
    assert_eq!(nan.to_bits(), f64::NAN.to_bits());
}

/// A chain of boxes, as deep as its bytes say.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
enum Chain {
    #[default]
    End,
    Link(Box<Chain>),
}
versioned!(Chain);

fn chain(levels: usize) -> Chain {
    (1..levels).fold(Chain::End, |chain, _| Chain::Link(chain.into()))
}

/// Against: a state of many levels that is acknowledged, and that no program dares to read again.
#[test]
fn a_value_of_more_than_128_levels_is_refused_before_anything_is_written() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Chain>("run").unwrap();
    run.step("deepest", 1, |tx| {
        tx.state = chain(128);
        tx.put("row", &chain(128))?;
        tx.emit(&ORDERS, &chain(128))?;
        Ok(chain(128))
    })
    .unwrap();
    let refused = |result: Result<()>| {
        let refused = error(result);
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        let said = refused.to_string();
        assert!(said.contains("128 levels") && said.contains("Nothing was written"), "{said}");
    };
    refused(run.step("a", 2, |_| Ok(chain(129))).map(drop));
    refused(run.step("a", 2, |tx| tx.put("row", &chain(129))).map(drop));
    refused(run.step("a", 2, |tx| tx.emit(&ORDERS, &chain(129))).map(drop));
    refused(
        run.step("a", 2, |tx| {
            tx.state = chain(129);
            Ok(())
        })
        .map(drop),
    );
    refused(
        run.step("a", 2, |tx| {
            tx.state = chain(10_000);
            Ok(())
        })
        .map(drop),
    );
    assert_eq!(kind(Key::new("k").request(&chain(129))), ErrorKind::Invalid);
    assert_eq!(run.state(), &chain(128));
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Chain>("run").unwrap();
    assert_eq!((run.state(), run.steps()), (&chain(128), 1));
    assert_eq!(run.get("row").unwrap(), Some(chain(128)));
    let again = run.step("deepest", 3, |_| -> Result<Chain> { panic!("ran") }).unwrap();
    assert_eq!(again.into_outcome(), chain(128));
}

/// Against: a record of some thousand bytes that ends the process which reads it, by its stack.
#[test]
fn a_record_that_goes_on_for_ever_is_an_error_and_not_the_end_of_the_process() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Chain>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.put("row", &chain(2))?;
        Ok(chain(2))
    })
    .unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let forged = |table, id: u8, short: &[u8]| {
        let (key, row) = rows_of(&bytes, table).pop().unwrap();
        let row = reframed(id, &key, &row, |row| {
            // A payload: its codec, its length, its bytes.
            let payload = [&[1, short.len() as u8], short].concat();
            let at = row.windows(payload.len()).rposition(|part| part == payload).unwrap();
            let deep = [vec![1], varint(500_000), vec![1; 500_000]].concat();
            row.splice(at..at + payload.len(), deep);
        });
        open_bytes(&with_row(&bytes, table, &key, Some(&row))).unwrap()
    };
    let refused =
        error(forged("rows", 11, &[1, 0]).run::<Chain>("run").unwrap().get::<Chain>("row"));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch, "{refused}");
    assert!(refused.to_string().contains("128 levels"), "{refused}");
    let store = forged("keys", 5, &[1, 0]);
    let mut run = store.run::<Chain>("run").unwrap();
    let again = run.step("k", 2, |_| -> Result<Chain> { panic!("ran again") });
    assert_eq!(kind(again), ErrorKind::SchemaMismatch);
    assert_eq!(kind(forged("runs", 2, &[0]).run::<Chain>("run")), ErrorKind::SchemaMismatch);
}
