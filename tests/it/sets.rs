//! Sets that are written as lists. A `with` module or `#[serde(into)]` copies a hash set into a `Vec`, in
//! the order of the moment, and nothing in the type says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

use milepost::{Codec, ErrorKind, Labels, Options, Store, Versioned};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{error, killed, on_disk};

/// Copies a container into a list when it is written.
mod as_list {
    use serde::de::DeserializeOwned;

    use super::*;

    pub(super) fn serialize<'a, C, T, S>(all: &'a C, out: S) -> Result<S::Ok, S::Error>
    where
        &'a C: IntoIterator<Item = T>,
        T: Serialize,
        S: Serializer,
    {
        all.into_iter().collect::<Vec<_>>().serialize(out)
    }

    pub(super) fn deserialize<'de, C, T, D>(from: D) -> Result<C, D::Error>
    where
        C: FromIterator<T>,
        T: DeserializeOwned,
        D: Deserializer<'de>,
    {
        Ok(Vec::<T>::deserialize(from)?.into_iter().collect())
    }
}

fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<HashMap<String, u64>, D::Error> {
    as_list::deserialize::<_, (String, u64), _>(from)
}

fn ids<'de, D: Deserializer<'de>>(from: D) -> Result<HashSet<u64>, D::Error> {
    as_list::deserialize::<_, u64, _>(from)
}

/// What it is stored as: by its types alone, two lists that have an order.
#[derive(Serialize, Deserialize)]
struct Lists {
    held: Vec<u64>,
    watched: Vec<String>,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Lists", into = "Lists")]
struct Sets {
    held: HashSet<u64>,
    watched: HashSet<String>,
}

impl From<Lists> for Sets {
    fn from(lists: Lists) -> Self {
        Self {
            held: lists.held.into_iter().collect(),
            watched: lists.watched.into_iter().collect(),
        }
    }
}

impl From<Sets> for Lists {
    fn from(sets: Sets) -> Self {
        Self { held: sets.held.into_iter().collect(), watched: sets.watched.into_iter().collect() }
    }
}

/// Of each number there is a type that this process has not met before; their bytes are the same.
macro_rules! state {
    ($name:ident, $codec:ident) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $name<const N: usize> {
            #[serde(serialize_with = "as_list::serialize", deserialize_with = "ids")]
            seen: HashSet<u64>,
            #[serde(serialize_with = "as_list::serialize", deserialize_with = "pairs")]
            sizes: HashMap<String, u64>,
            into: Sets,
            nested: BTreeMap<String, Sets>,
            /// Beside them, lists that keep their order.
            queue: Vec<u64>,
            filler: Vec<u64>,
        }

        impl<const N: usize> Versioned for $name<N> {
            const NAME: &'static str = stringify!($name);
            const VERSION: u32 = 1;
            const CODEC: Codec = Codec::$codec;
        }

        impl<const N: usize> $name<N> {
            fn of_two(filler: u64) -> Self {
                let sets = || Sets {
                    held: [7, 1_000].into(),
                    watched: ["SPY".to_owned(), "QQQ".to_owned()].into(),
                };
                Self {
                    seen: [3, 70_000].into(),
                    sizes: [("a".to_owned(), 2), ("b".to_owned(), 1)].into(),
                    into: sets(),
                    nested: [("x".to_owned(), sets())].into(),
                    queue: vec![2, 1],
                    filler: (0..filler).map(|n| n << 40).collect(),
                }
            }
        }
    };
}
state!(Binary, Binary);
state!(Json, Json);

/// The id of a checkpoint after the first step of the first run that this process has of the type.
fn first_id<S>(state: &S) -> String
where
    S: Versioned + Serialize + DeserializeOwned + Default + Debug + PartialEq + Clone + 'static,
{
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<S>("r").unwrap();
    run.step("k", 1, |tx| {
        tx.state = state.clone();
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    assert_eq!(run.state(), state);
    drop(run);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.run::<S>("r").unwrap().state(), state);
    store.checkpoints().latest("r").unwrap().unwrap().id.to_string()
}

macro_rules! first_ids {
    ($type:ident, $filler:expr, $($n:literal)*) => {
        HashSet::from([$(first_id(&$type::<$n>::of_two($filler))),*])
    };
}

/// Against: a set of two ids that is stored in one order or the other by chance, until a value shows
/// that it has none: equal states have two checkpoint ids.
#[test]
fn a_set_that_is_written_as_a_list_is_canonical_from_its_first_value() {
    let ids = first_ids!(Binary, 0, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    assert_eq!(ids.len(), 1, "{ids:?}");
    let ids = first_ids!(Json, 0, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    assert_eq!(ids.len(), 1, "{ids:?}");
}

/// Against: the same in a state of more than 64 KiB, of which not each save is proven.
#[test]
fn a_set_in_a_large_state_is_canonical_from_its_first_value() {
    let ids = first_ids!(Binary, 9_000, 20 21 22 23 24 25 26 27);
    assert_eq!(ids.len(), 1, "{ids:?}");
}

/// Against: the same in outcomes and rows, whose bytes are shown and compared.
#[test]
fn a_set_in_an_outcome_is_canonical_from_its_first_value() {
    fn shown<const N: usize>() -> String {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Binary<99>>("r").unwrap();
        let value = Json::<N>::of_two(0);
        run.step("k", 1, |tx| {
            tx.put("row", &value)?;
            Ok(value.clone())
        })
        .unwrap();
        let again = run.step("k", 1, |_| -> milepost::Result<Json<N>> { panic!("called") });
        assert_eq!(again.unwrap().into_outcome(), value);
        store.inspect_table("rows", None, 9).unwrap().remove(0).json
    }
    let all = [
        shown::<30>(),
        shown::<31>(),
        shown::<32>(),
        shown::<33>(),
        shown::<34>(),
        shown::<35>(),
        shown::<36>(),
        shown::<37>(),
        shown::<38>(),
        shown::<39>(),
        shown::<40>(),
        shown::<41>(),
    ];
    assert_eq!(HashSet::from(all).len(), 1);
}

/// Against: lists that are sorted because something beside them has no order, or since they were looked
/// at too closely.
#[test]
fn a_list_of_two_keeps_its_order_from_its_first_value() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Binary<50>>("r").unwrap();
    for (n, queue) in (1..).zip([vec![2, 1], vec![1, 2], vec![3, 1, 2], vec![9, 9, 1]]) {
        run.step(n.to_string(), n, |tx| {
            tx.state = Binary::of_two(0);
            tx.state.queue.clone_from(&queue);
            Ok(())
        })
        .unwrap();
        let _ = run.step("no", 99, |_| Err::<(), _>(milepost::Error::abort("stale feed")));
        assert_eq!(run.state().queue, queue);
    }
}

/// Against: a list that comes back in another order each time, taken for a set and sorted: what was on
/// top of the stack would be forgotten. It is refused by its field, with what to do.
#[test]
fn a_list_that_is_turned_round_when_it_is_read_is_refused_by_its_field() {
    macro_rules! stack {
        ($name:ident, $codec:ident) => {
            #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
            struct $name {
                n: u64,
                #[serde(deserialize_with = "turned_round")]
                stack: Vec<u64>,
            }

            impl Versioned for $name {
                const NAME: &'static str = stringify!($name);
                const VERSION: u32 = 1;
                const CODEC: Codec = Codec::$codec;
            }

            let store = Store::in_memory().unwrap();
            let mut run = store.run::<$name>("r").unwrap();
            let refused = error(run.step("k", 1, |tx| {
                tx.state.stack = vec![1, 2];
                Ok(())
            }));
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let said = refused.to_string();
            assert!(said.contains("`stack` differs in its order"), "{said}");
            assert!(said.contains("BTreeSet"), "{said}");
            assert_eq!(run.steps(), 0);
        };
    }
    fn turned_round<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().rev().collect())
    }
    stack!(Stack, Binary);
    stack!(StackJson, Json);
}
