//! What is acknowledged comes back as the same value: each value, in both codecs, not each type.

use std::any::type_name;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use milepost::{Codec, ErrorKind, Migrations, Options, Result, Store, Topic, Versioned};
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{error, killed, kind, on_disk};

const ORDERS: Topic<Lying, u64> = Topic::new("orders");

/// A state in the small codec and, under another name, the same in JSON.
macro_rules! both_codecs {
    ($($name:ident, $json:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        $(both_codecs!(one $name, Binary, $($(#[$meta])* $field: $type),*);
        both_codecs!(one $json, Json, $($(#[$meta])* $field: $type),*);)*
    };
    (one $name:ident, $codec:ident, $($(#[$meta:meta])* $field:ident: $type:ty),*) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $name { $($(#[$meta])* $field: $type),* }

        impl Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION: u32 = 1;
            const CODEC: Codec = Codec::$codec;
        }
    };
}

trait State: Versioned + Serialize + DeserializeOwned + Default + Debug + Clone + PartialEq {}
impl<S: Versioned + Serialize + DeserializeOwned + Default + Debug + Clone + PartialEq> State
    for S
{
}

/// A price above 0: its own `Deserialize` refuses, panics over, or changes another one.
macro_rules! price {
    ($name:ident, $attribute:meta) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(into = "u64")]
        #[$attribute]
        struct $name(u64);
        impl From<$name> for u64 {
            fn from(price: $name) -> u64 {
                price.0
            }
        }
        impl Default for $name {
            fn default() -> Self {
                Self(1)
            }
        }
    };
}
price!(Strict, serde(try_from = "u64"));
price!(Panicky, serde(from = "u64"));
price!(Lying, serde(from = "u64"));

impl TryFrom<u64> for Strict {
    type Error = &'static str;
    fn try_from(n: u64) -> std::result::Result<Self, &'static str> {
        if n > 0 { Ok(Self(n)) } else { Err("a price is above 0") }
    }
}
impl From<u64> for Panicky {
    fn from(n: u64) -> Self {
        assert!(n > 0, "a price is above 0");
        Self(n)
    }
}
impl From<u64> for Lying {
    fn from(n: u64) -> Self {
        Self(n.max(1))
    }
}

both_codecs! {
    StrictBook, StrictJson { last: Strict, holdings: i64 }
    PanickyBook, PanickyJson { last: Panicky, holdings: i64 }
    LyingBook, LyingJson { last: Lying, holdings: i64 }
}

/// A step with a good value, then one with a bad one, then one that fails: the bad one is `Invalid`, and
/// nothing of it is left, in memory or on the disk.
fn a_bad_value_is_found_at_the_step<S: State + 'static>(
    good: impl Fn(&mut S),
    bad: impl Fn(&mut S),
) {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<S>("r").unwrap();
    run.step("1", 1, |tx| {
        good(&mut tx.state);
        Ok(())
    })
    .unwrap();
    let before = run.state().clone();
    for _ in 0..2 {
        let refused = error(run.step("2", 2, |tx| {
            bad(&mut tx.state);
            Ok(())
        }));
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        let said = refused.to_string();
        assert!(said.contains(type_name::<S>()) && said.contains("Nothing was written"), "{said}");
        assert_eq!(run.state(), &before);
    }
    // The bot catches what fails in one tick, and goes on with the next.
    let tick = catch_unwind(AssertUnwindSafe(|| {
        run.step("3", 3, |_| -> Result<()> { Err(milepost::Error::abort("stale feed")) })
    }));
    assert_eq!(kind(tick.unwrap().map(drop)), ErrorKind::Aborted);
    assert_eq!(run.state(), &before);
    run.step("4", 4, |tx| {
        good(&mut tx.state);
        Ok(())
    })
    .unwrap();
    let expected = run.state().clone();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<S>("r").unwrap();
    assert_eq!(run.state(), &expected);
    assert!(run.step("2", 5, |_| Ok(())).unwrap().is_fresh(), "what was refused took no key");
}

/// Against: a price of 0 that was acknowledged, and that its own type refused to read: the run never
/// opened again, and `verify` found nothing.
#[test]
fn a_value_that_its_own_type_refuses_is_invalid_at_the_step() {
    let good = |n: &mut Strict, holdings: &mut i64| (*n, *holdings) = (Strict(5), 700);
    a_bad_value_is_found_at_the_step::<StrictBook>(
        |state| good(&mut state.last, &mut state.holdings),
        |state| state.last = Strict(0),
    );
    a_bad_value_is_found_at_the_step::<StrictJson>(
        |state| good(&mut state.last, &mut state.holdings),
        |state| state.last = Strict(0),
    );
}

/// Against: the same with a `Deserialize` that panics. The next step that failed could not be undone, its
/// state was the default from then on, and the one after that saved it: 700 held were 0.
#[test]
fn a_value_that_its_own_type_panics_over_is_invalid_at_the_step() {
    a_bad_value_is_found_at_the_step::<PanickyBook>(
        |state| (state.last, state.holdings) = (Panicky(5), 700),
        |state| state.last = Panicky(0),
    );
    a_bad_value_is_found_at_the_step::<PanickyJson>(
        |state| (state.last, state.holdings) = (Panicky(5), 700),
        |state| state.last = Panicky(0),
    );
}

/// Against: the same with one that reads another value without a word.
#[test]
fn a_value_that_its_own_type_changes_is_invalid_at_the_step() {
    a_bad_value_is_found_at_the_step::<LyingBook>(
        |state| (state.last, state.holdings) = (Lying(5), 700),
        |state| state.last = Lying(0),
    );
    a_bad_value_is_found_at_the_step::<LyingJson>(
        |state| (state.last, state.holdings) = (Lying(5), 700),
        |state| state.last = Lying(0),
    );
}

/// Against: an error of a state with forty fields that does not say which of them.
#[test]
fn the_field_of_a_bad_value_is_named() {
    fn said<S: State + 'static>(bad: impl FnOnce(&mut S)) -> String {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<S>("r").unwrap();
        let refused = run.step("k", 1, |tx| {
            bad(&mut tx.state);
            Ok(())
        });
        error(refused).to_string()
    }
    let strict = said::<StrictBook>(|state| state.last = Strict(0));
    assert!(strict.contains("`last`: a price is above 0"), "{strict}");
    for lying in [
        said::<LyingBook>(|state| state.last = Lying(0)),
        said::<LyingJson>(|state| state.last = Lying(0)),
    ] {
        assert!(lying.contains("`last` differs"), "{lying}");
    }
}

/// Against: the same in what is stored beside a state: outcomes, payloads, rows.
#[test]
fn outcomes_payloads_and_rows_are_proven_each_time_too() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<StrictBook>("r").unwrap();
    run.step("good", 1, |tx| {
        tx.put("row", &Panicky(1))?;
        tx.emit(&ORDERS, &Lying(1))?;
        Ok(Strict(1))
    })
    .unwrap();
    assert_eq!(kind(run.step("a", 2, |_| Ok(Strict(0))).map(drop)), ErrorKind::Invalid);
    let put = run.step("b", 2, |tx| tx.put("row", &Panicky(0)));
    assert_eq!(kind(put.map(drop)), ErrorKind::Invalid);
    let emitted = run.step("c", 2, |tx| tx.emit(&ORDERS, &Lying(0)).map(drop));
    assert_eq!(kind(emitted.map(drop)), ErrorKind::Invalid);
    assert_eq!(run.steps(), 1);
    let claimed = store.claim::<Strict>("s", "k", &1).unwrap();
    let milepost::Claimed::Fresh(claim) = claimed else { panic!("{claimed:?}") };
    assert_eq!(kind(claim.complete(&Strict(0))), ErrorKind::Invalid);
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Before {
    last: u64,
}

impl Versioned for Before {
    const NAME: &'static str = StrictBook::NAME;
    const VERSION: u32 = 0;
}

/// Against: the same in what a migration yields.
#[test]
fn what_a_migration_yields_is_proven_too() {
    let store = Store::in_memory().unwrap();
    drop(store.run::<Before>("r").unwrap());
    let migrations = Migrations::new()
        .step(|old: Before| Ok(StrictBook { last: Strict(old.last), holdings: 0 }));
    assert_eq!(
        kind(
            store
                .open_run::<StrictBook>("r")
                .init(StrictBook::default)
                .migrations(&migrations)
                .open()
        ),
        ErrorKind::Invalid
    );
    assert_eq!(store.run::<Before>("r").unwrap().state().last, 0, "nothing was changed");
}

/// A map that keeps the order in which it was filled.
#[derive(Debug, Default, Clone, PartialEq)]
struct Queue(Vec<(String, u64)>);

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, out: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Queue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Queue, A::Error> {
                let mut queue = Queue::default();
                while let Some(entry) = map.next_entry()? {
                    queue.0.push(entry);
                }
                Ok(queue)
            }
        }
        from.deserialize_map(Entries)
    }
}

/// A hash set that says of itself neither that it is one nor what it is.
#[derive(Debug, Default, Clone, PartialEq)]
struct Anonymous(HashSet<u64>);

impl Serialize for Anonymous {
    fn serialize<S: Serializer>(&self, out: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = out.serialize_seq(Some(self.0.len()))?;
        self.0.iter().try_for_each(|n| list.serialize_element(n))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for Anonymous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        HashSet::deserialize(from).map(Self)
    }
}

/// A hash set that is copied into a list when it is written, in the order of the moment.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Copied(#[serde(with = "copied")] HashSet<u64>);

mod copied {
    use std::collections::HashSet;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(set: &HashSet<u64>, out: S) -> Result<S::Ok, S::Error> {
        set.iter().copied().collect::<Vec<_>>().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HashSet<u64>, D::Error> {
        HashSet::deserialize(from)
    }
}

/// A hash set that says so only from inside.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Ids(HashSet<u64>);

both_codecs! {
    Line, LineJson { open: Queue, nested: Vec<Queue> }
    Seen, SeenJson {
        plain: HashSet<u64>,
        ids: Ids,
        anonymous: Anonymous,
        copied: Copied,
        map: HashMap<String, HashSet<u64>>,
        list: Vec<u64>,
        n: u64,
    }
}

fn queue(names: &[&str]) -> Queue {
    Queue(names.iter().map(|name| (*name).to_owned()).zip(0..).collect())
}

fn keeps_its_order<S: State + 'static>(fill: impl Fn(&mut S, Queue)) {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<S>("r").unwrap();
    let names = ["zed", "bob", "amy", "y", "x", "bobby", "a", "Ä", ""];
    for (nth, _) in (1..).zip(names) {
        run.step(nth.to_string(), nth as u64, |tx| {
            fill(&mut tx.state, queue(&names[..nth]));
            Ok(())
        })
        .unwrap();
        let before = run.state().clone();
        let failed = run.step("no", 99, |_| -> Result<()> { Err(milepost::Error::abort("no")) });
        assert_eq!(kind(failed.map(drop)), ErrorKind::Aborted);
        assert_eq!(run.state(), &before, "after a step that failed");
    }
    let expected = run.state().clone();
    drop((run, store));
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.run::<S>("r").unwrap().state(), &expected, "after a restart");
}

/// Against: a queue of orders in a map that keeps its order, which was sorted after a restart, and after
/// a step that failed: another order was the first one to be sent.
#[test]
fn a_map_that_keeps_its_order_keeps_it() {
    keeps_its_order::<Line>(|state, queue| {
        (state.open, state.nested) = (queue.clone(), vec![queue.clone(), Queue::default(), queue]);
    });
    keeps_its_order::<LineJson>(|state, queue| {
        (state.open, state.nested) = (queue.clone(), vec![queue.clone(), Queue::default(), queue]);
    });
}

/// Against: the order lost on the way through a savepoint, binary or JSON.
#[test]
fn a_map_that_keeps_its_order_keeps_it_in_a_savepoint_too() {
    fn through<S: State + 'static>(state: &S) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<S>("r").unwrap();
        run.step("k", 1, |tx| {
            tx.state = state.clone();
            tx.checkpoint(milepost::Labels::new())
        })
        .unwrap();
        let id = store.checkpoints().latest("r").unwrap().unwrap().id;
        let (binary, json) = (folder.path().join("b"), folder.path().join("j.json"));
        store.checkpoints().export(&id, &binary).unwrap();
        store.checkpoints().export_json(&id, &json).unwrap();
        for file in [binary, json] {
            let store = Store::in_memory().unwrap();
            store.import_savepoint(file, &milepost::SavepointOptions::new()).unwrap();
            assert_eq!(store.run::<S>("r").unwrap().state(), state);
        }
    }
    let open = queue(&["zed", "bob", "amy"]);
    through(&Line { open: open.clone(), nested: vec![open.clone()] });
    through(&LineJson { open: open.clone(), nested: vec![open] });
}

fn seen(numbers: &mut dyn Iterator<Item = u64>) -> Seen {
    let list: Vec<u64> = numbers.collect();
    let set: HashSet<u64> = list.iter().copied().collect();
    Seen {
        plain: set.clone(),
        ids: Ids(set.clone()),
        anonymous: Anonymous(set.clone()),
        copied: Copied(set.clone()),
        map: list.iter().map(|n| (n.to_string(), set.clone())).collect(),
        list: vec![3, 1, 2],
        n: 0,
    }
}

fn seen_json(of: Seen) -> SeenJson {
    let Seen { plain, ids, anonymous, copied, map, list, n } = of;
    SeenJson { plain, ids, anonymous, copied, map, list, n }
}

/// Against: steps that were refused by chance, half of those with two ids in a set: in JSON each of
/// them, in the small codec where serde shows a set as a list.
#[test]
fn hash_sets_are_taken_in_every_step_and_are_canonical() {
    fn taken<S: State + 'static>(make: impl Fn(&mut dyn Iterator<Item = u64>) -> S) {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<S>("r").unwrap();
        let mut ids = HashSet::new();
        for n in 0..60 {
            let up = make(&mut (0..n % 7));
            run.step(format!("up-{n}"), 2 * n, |tx| {
                tx.state = up;
                tx.checkpoint(milepost::Labels::new())
            })
            .unwrap();
            let one = store.checkpoints().latest("r").unwrap().unwrap();
            let down = make(&mut (0..n % 7).rev());
            run.step(format!("down-{n}"), 2 * n + 1, |tx| {
                tx.state = down;
                Ok(())
            })
            .unwrap();
            assert_eq!(run.state(), &make(&mut (0..n % 7)));
            ids.insert(store.inspect_run("r").unwrap().state_json);
            drop(one);
        }
        assert_eq!(ids.len(), 7, "seven different states, however they were made");
    }
    taken(seen);
    taken(|numbers| seen_json(seen(numbers)));
}

/// Against: a process that has not met a type yet, and so does not know what another one has sorted.
#[test]
fn a_set_that_another_process_has_sorted_is_read_by_this_one() {
    #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
    struct Outcome {
        ids: Anonymous,
    }
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Seen>("r").unwrap();
    let outcome = Outcome { ids: Anonymous((0..40).collect()) };
    run.step("k", 1, |_| Ok(outcome.clone())).unwrap();
    // Of the same bytes, and not met before in this process.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Other {
        ids: Anonymous,
    }
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Seen>("r").unwrap();
    let again = run.step("k", 2, |_| -> Result<Other> { panic!("called") });
    assert_eq!(again.unwrap().into_outcome().ids, outcome.ids);
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Holding {
    qty: u64,
    stop: Option<f64>,
    #[expect(clippy::option_option, reason = "JSON has one word for two of its values")]
    limit: Option<Option<u64>>,
    unit: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    note: Option<String>,
    /// Whatever else the exchange says.
    #[serde(flatten)]
    raw: BTreeMap<String, serde_json::Value>,
}

impl Versioned for Holding {
    const NAME: &'static str = "holding";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

/// Against: a state whose `flatten` or `skip_serializing_if` switched the proof off: a quantity of 1 was
/// 7 after a restart, and a stop that was no number was none.
#[test]
fn flatten_switches_no_proof_off() {
    let good = |state: &mut Holding| {
        (state.qty, state.stop, state.limit) = (1, Some(0.1 + 0.2), Some(Some(3)));
        state.raw.insert("venue".into(), "x".into());
    };
    let bad: [fn(&mut Holding); 6] = [
        |state| drop(state.raw.insert("qty".into(), 7.into())),
        |state| state.stop = Some(f64::NAN),
        |state| state.stop = Some(f64::NEG_INFINITY),
        |state| state.limit = Some(None),
        |state| state.unit = Some(()),
        |state| drop(state.raw.insert("note".into(), "n".into())),
    ];
    for bad in bad {
        a_bad_value_is_found_at_the_step::<Holding>(good, bad);
    }
}

/// Against: the flattened map being a hash map, in another order each time.
#[test]
fn a_flattened_hash_map_is_taken_in_every_step() {
    #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
    struct Loose {
        n: u64,
        #[serde(flatten)]
        rest: HashMap<String, u64>,
    }
    impl Versioned for Loose {
        const NAME: &'static str = "loose";
        const VERSION: u32 = 1;
        const CODEC: Codec = Codec::Json;
    }
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Loose>("r").unwrap();
    let mut shown = HashSet::new();
    for n in 1..40u64 {
        run.step(n.to_string(), n, |tx| {
            tx.state.rest = (0..4 + n % 2).map(|n| (format!("k{n}"), n)).collect();
            Ok(())
        })
        .unwrap();
        shown.insert(store.inspect_run("r").unwrap().state_json);
    }
    assert_eq!(shown.len(), 2, "equal states have equal bytes");
}

/// Against: attributes under which JSON reads another value than it wrote.
#[test]
fn tags_and_aliases_are_proven_value_by_value() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Loose {
        Small(u8),
        Large(u64),
        Text(String),
        Pair { a: u64 },
        Pairs { a: u64, b: u64 },
    }
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Empty,
        Order {
            #[serde(alias = "size")]
            qty: u64,
        },
        Raw(BTreeMap<String, u64>),
    }
    #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
    struct Journal {
        loose: Vec<Loose>,
        tagged: Vec<Tagged>,
    }
    impl Versioned for Journal {
        const NAME: &'static str = "journal";
        const VERSION: u32 = 1;
        const CODEC: Codec = Codec::Json;
    }
    let good = |state: &mut Journal| {
        state.loose = vec![Loose::Small(7), Loose::Large(700), Loose::Text("7".into())];
        let raw = [("qty".to_owned(), 1)].into();
        state.tagged = vec![Tagged::Empty, Tagged::Order { qty: 7 }, Tagged::Raw(raw)];
    };
    let bad: [fn(&mut Journal); 3] = [
        |state| state.loose.push(Loose::Large(7)),
        |state| state.loose.push(Loose::Pairs { a: 1, b: 2 }),
        |state| {
            let raw = [("kind".to_owned(), 1)].into();
            state.tagged.push(Tagged::Raw(raw));
        },
    ];
    for bad in bad {
        a_bad_value_is_found_at_the_step::<Journal>(good, bad);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Link {
    next: Option<Box<Link>>,
}

both_codecs! {
    Chain, ChainJson { head: Option<Box<Link>> }
}

/// Against: a chain of 10,000 links as JSON, which ended the process at the end of its stack.
#[test]
fn ten_thousand_levels_are_invalid_in_both_codecs() {
    fn refused<S: State + 'static>(set: impl Fn(&mut S, Option<Box<Link>>)) {
        let chain = |levels: u32| (0..levels).fold(None, |next, _| Some(Box::new(Link { next })));
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<S>("r").unwrap();
        run.step("shallow", 1, |tx| {
            set(&mut tx.state, chain(40));
            Ok(())
        })
        .unwrap();
        let before = run.state().clone();
        for levels in [70, 200, 10_000] {
            let refused = error(run.step("deep", 2, |tx| {
                set(&mut tx.state, chain(levels));
                Ok(())
            }));
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            assert!(refused.to_string().contains("128 levels"), "{refused}");
            assert_eq!(run.state(), &before);
        }
    }
    let on_a_small_stack = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        refused::<Chain>(|state, chain| state.head = chain);
        refused::<ChainJson>(|state, chain| state.head = chain);
    });
    on_a_small_stack.unwrap().join().unwrap();
}

/// A tick, which reads every price but one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
struct Tick(u64);

impl<'de> Deserialize<'de> for Tick {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match u64::deserialize(from)? {
            13 => Err(D::Error::custom("13 is no price")),
            n => Ok(Self(n)),
        }
    }
}

both_codecs!(one Ticks, Binary, ticks: Vec<Tick>);

/// Against: a large state that nobody can read, found by nobody for ever. What is proven of one when is
/// in docs/VALUES.md.
#[test]
fn a_large_state_is_proven_when_it_becomes_large_and_now_and_then() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Ticks>("r").unwrap();
    let large = |bad: bool| {
        let mut ticks: Vec<_> = (0..20_000).map(|n| Tick(1_000_000 + n)).collect();
        ticks[77] = Tick(if bad { 13 } else { 14 });
        ticks
    };
    let set = |run: &mut milepost::Run<Ticks>, n: u64, bad: bool| {
        run.step(n.to_string(), n, |tx| {
            tx.state.ticks = large(bad);
            Ok(())
        })
    };
    assert_eq!(kind(set(&mut run, 1, true).map(drop)), ErrorKind::Invalid, "becomes large");
    set(&mut run, 2, false).unwrap();
    assert_eq!(kind(set(&mut run, 3, true).map(drop)), ErrorKind::Invalid, "the first save of it");
    set(&mut run, 4, false).unwrap();
    let refused = (5..200).find(|n| set(&mut run, *n, true).is_err());
    assert!(refused.is_some_and(|n| n < 5 + 64), "{refused:?}: one of 64 is proven");
    // What is stored cannot be read then, and no step goes on from what is not.
    assert_eq!(kind(set(&mut run, 300, false).map(drop)), ErrorKind::Poisoned);
}

/// Against: a state that has become small again, and is still proven as seldom as a large one.
#[test]
fn a_state_that_becomes_small_again_is_proven_each_time() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Ticks>("r").unwrap();
    let mut set = |n: u64, ticks: Vec<Tick>| {
        run.step(n.to_string(), n, |tx| {
            tx.state.ticks = ticks;
            Ok(())
        })
    };
    let large: Vec<_> = (0..20_000).map(|n| Tick(1_000_000 + n)).collect();
    for round in 0..4u64 {
        set(10 * round, large.clone()).unwrap();
        set(10 * round + 1, large.clone()).unwrap();
        let bad = set(10 * round + 2, vec![Tick(1), Tick(13)]);
        assert_eq!(kind(bad.map(drop)), ErrorKind::Invalid);
        set(10 * round + 3, vec![Tick(1), Tick(2)]).unwrap();
    }
}
