//! Values without a `Versioned` of their own (payloads, answers, outcomes and rows) in the next release
//! of the program, whose types are no longer what they were.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Arc;

use milepost::{
    Claimed, Delivery, Done, Endpoint, ErrorKind, IntentId, IntentState, Migrations, Options,
    Probe, Result, Sent, Store, Topic, Versioned, repair, verify,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Counter, error, kind, on_disk, open_bytes, rows_of, with_row};

mod v1 {
    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Order {
        pub qty: u64,
        pub price: u64,
    }

    impl milepost::Versioned for Order {
        const NAME: &'static str = "order";
        const VERSION: u32 = 1;
    }
}

macro_rules! order {
    ($name:ident, $($field:ident: $type:ty),*) => {
        mod $name {
            #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
            pub struct Order { $(pub $field: $type),* }
        }
    };
}

order!(swapped, price: u64, qty: u64);
order!(renamed, quantity: u64, price: u64);
order!(signed, qty: i64, price: u64);
order!(float, qty: u64, price: f64);
order!(longer, qty: u64, price: u64, tif: String);
order!(shorter, qty: u64);

/// The next version, as it should be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    price: u64,
    qty: u64,
    note: String,
}

impl Versioned for Order {
    const NAME: &'static str = "order";
    const VERSION: u32 = 2;
}

fn migrations() -> Migrations {
    Migrations::new().step(|old: v1::Order| {
        Ok(Order { price: old.price, qty: old.qty, note: "from version 1".into() })
    })
}

const ORDER: v1::Order = v1::Order { qty: 5, price: 10_000 };

/// The topic of that name with these types.
fn orders<P, O>() -> Topic<P, O> {
    Topic::new("orders")
}

/// A store with one order in each place that values have; the intent is not sent.
fn written() -> (Vec<u8>, IntentId) {
    written_for::<v1::Order>()
}

/// The same, with outcomes of this type.
fn written_for<O: Serialize + DeserializeOwned + 'static>() -> (Vec<u8>, IntentId) {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("step", 1, |tx| {
        tx.put("row", &ORDER)?;
        Ok(ORDER)
    })
    .unwrap();
    let id = run.step("emit", 2, |tx| tx.emit(&orders::<_, O>(), &ORDER)).unwrap().into_outcome();
    let Claimed::Fresh(claim) = store.claim::<v1::Order>("calls", "call", &1).unwrap() else {
        panic!("a call of a new store is not new")
    };
    claim.complete(&ORDER).unwrap();
    drop((run, store));
    (disk.to_bytes(), id)
}

/// Takes orders of one type, and remembers what it was asked to send and to find out.
struct Exchange<P> {
    sent: Vec<P>,
    probed: Vec<P>,
}

impl<P> Default for Exchange<P> {
    fn default() -> Self {
        Self { sent: Vec::new(), probed: Vec::new() }
    }
}

impl<P: Clone + Serialize + DeserializeOwned + 'static> Endpoint<P, P> for Exchange<P> {
    fn call(&mut self, delivery: &Delivery<P>) -> Sent<P> {
        self.sent.push(delivery.payload.clone());
        Sent::Confirmed(delivery.payload.clone())
    }

    fn probe(&mut self, delivery: &Delivery<P>) -> Probe<P> {
        self.probed.push(delivery.payload.clone());
        Probe::Unknown
    }
}

/// Every place refuses the type, names the field, and shows the value to nobody.
fn refused_everywhere<P>(field: &str)
where
    P: Debug + Clone + PartialEq + Serialize + DeserializeOwned + 'static,
{
    let (bytes, id) = written();
    let store = open_bytes(&bytes).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let is_refused = |what: &str, refused: Result<()>| {
        let refused = error(refused);
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch, "{what}: {refused}");
        assert!(refused.to_string().contains(field), "{what}: {field} is not named: {refused}");
    };
    is_refused("a row", run.get::<P>("row").map(drop));
    let in_a_step = run.step("other", 3, |tx| tx.get::<P>("row").map(drop));
    is_refused("a row in a step", in_a_step.map(drop));
    let again = run.step("step", 1, |_| -> Result<P> { panic!("called again") });
    is_refused("an outcome", again.map(drop));
    let mut in_a_batch =
        |_: &mut milepost::Tx<'_, Counter>, ()| -> Result<P> { panic!("called again") };
    is_refused("in a batch", run.batch([("step", 1, ())], &mut in_a_batch).map(drop));
    is_refused("a claim", store.claim::<P>("calls", "call", &1).map(drop));
    is_refused("an intent", store.intent(&orders::<P, ()>(), &id).map(drop));
    let mut exchange = Exchange::<P>::default();
    is_refused("a relay", store.relay(&orders()).deliver(&mut exchange).map(drop));
    assert!(exchange.sent.is_empty() && exchange.probed.is_empty(), "it was shown");
    // What was refused is as it was, for the program that knows it.
    assert_eq!(run.get::<v1::Order>("row").unwrap(), Some(ORDER));
    let again = run.step("step", 1, |_| -> Result<v1::Order> { panic!("called again") }).unwrap();
    assert_eq!(again, Done::Duplicate(ORDER));
    let mut exchange = Exchange::<v1::Order>::default();
    assert_eq!(store.relay(&orders()).deliver(&mut exchange).unwrap().confirmed, 1);
    assert_eq!(exchange.sent, [ORDER]);
}

/// Against: a release in which two fields changed places sends an order for 10,000 at 5 in place of one
/// for 5 at 10,000, and answers a repeated step with it.
#[test]
fn two_fields_that_changed_places_are_never_read_as_each_other() {
    refused_everywhere::<swapped::Order>("qty");
}

/// Against: the same for a field that has another name or type, is new, or is gone: its bytes are read
/// without a word, an unsigned 5 as -3.
#[test]
fn a_field_that_was_renamed_retyped_added_or_removed_is_named() {
    refused_everywhere::<renamed::Order>("quantity");
    refused_everywhere::<signed::Order>("qty");
    refused_everywhere::<float::Order>("price");
    refused_everywhere::<longer::Order>("tif");
    refused_everywhere::<shorter::Order>("price");
}

/// Against: a tuple, an array or a number that has the same bytes by chance.
#[test]
fn types_of_the_same_bytes_are_told_apart() {
    refused_everywhere::<(u64, u64)>("(u64, u64)");
    refused_everywhere::<[u64; 2]>("u64");
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("l", 2, |tx| tx.put("five", &5u64)).unwrap();
    assert_eq!(kind(run.get::<i64>("five")), ErrorKind::SchemaMismatch);
    assert_eq!(kind(run.get::<u32>("five")), ErrorKind::SchemaMismatch);
    assert_eq!(kind(run.get::<f64>("five")), ErrorKind::SchemaMismatch);
    assert_eq!(kind(run.get::<Option<u8>>("five")), ErrorKind::SchemaMismatch);
    #[derive(Serialize, Deserialize)]
    struct Five(u64);
    assert_eq!(run.get::<Five>("five").unwrap().unwrap().0, 5, "a newtype is what it holds");
}

/// Against: an order to buy that is read as one to sell, by a release in which two variants changed
/// places.
#[test]
fn two_variants_that_changed_places_are_never_read_as_each_other() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Side {
        Buy,
        Sell,
    }
    mod swapped {
        #[derive(Debug, serde::Serialize, serde::Deserialize)]
        pub enum Side {
            Sell,
            Buy,
        }
    }
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.put("side", &Side::Buy)?;
        Ok(Side::Sell)
    })
    .unwrap();
    let refused = error(run.get::<swapped::Side>("side"));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert!(refused.to_string().contains("Buy"), "{refused}");
    let again = run.step("k", 1, |_| -> Result<swapped::Side> { panic!("called again") });
    assert_eq!(kind(again), ErrorKind::SchemaMismatch);
    assert_eq!(run.get::<Side>("side").unwrap(), Some(Side::Buy));
}

/// Against: a repeated step that answers with another number, because the literal in its closure is of
/// another integer type: 3 as -2.
#[test]
fn an_outcome_whose_literal_is_of_another_type_is_refused() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let shares: u64 = 3;
    assert_eq!(run.step("a", 1, |_| Ok(shares)).unwrap(), Done::Fresh(3));
    let refused = error(run.step("a", 1, |_| Ok(0)));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert!(refused.to_string().contains("was u64 and is now i32"), "{refused}");
    assert_eq!(kind(run.step("a", 1, |_| Ok(true))), ErrorKind::SchemaMismatch);
    assert_eq!(kind(run.step("a", 1, |_| Ok(Some(())))), ErrorKind::SchemaMismatch);
    assert_eq!(run.step("a", 1, |_| Ok(0u64)).unwrap(), Done::Duplicate(3));
    // Steps that answer with different types stand side by side.
    run.step("b", 2, |_| Ok("b".to_owned())).unwrap();
    // In one batch too, where the first outcome is not stored yet.
    let mut n = 0;
    let both = run.batch([("c", 3, ()), ("c", 3, ())], |_, ()| {
        n += 1;
        Ok(n)
    });
    assert_eq!(both.unwrap(), [Done::Fresh(1), Done::Duplicate(1)]);
}

/// Against: an operator who confirms an effect with a number of another type, which nobody can read.
#[test]
fn an_answer_of_another_type_than_the_topics_is_refused() {
    struct Slow;
    impl Endpoint<v1::Order, u64> for Slow {
        fn call(&mut self, _: &Delivery<v1::Order>) -> Sent<u64> {
            Sent::Ambiguous("timeout".into())
        }
    }
    let (bytes, id) = written_for::<u64>();
    let store = open_bytes(&bytes).unwrap();
    assert_eq!(store.relay(&orders()).deliver(&mut Slow).unwrap().in_doubt, 1);
    assert_eq!(kind(store.intents().confirm(&id, Some(&7), "anna")), ErrorKind::SchemaMismatch);
    store.intents().confirm(&id, Some(&7u64), "anna").unwrap();
    let intent = store.intent(&orders::<v1::Order, u64>(), &id).unwrap().unwrap();
    assert!(matches!(intent.state, IntentState::Confirmed { outcome: Some(7), .. }));
}

/// Against: a step of a release in which fields changed places, which emits beside what the release
/// before had emitted: which is which, no receiver could tell.
#[test]
fn a_topic_has_one_type_for_each_version() {
    let (bytes, _) = written();
    let store = open_bytes(&bytes).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let order = swapped::Order { price: 1, qty: 2 };
    let refused =
        error(run.step("k", 3, |tx| tx.emit(&orders::<_, v1::Order>(), &order).map(drop)));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert!(refused.to_string().contains("qty") && refused.to_string().contains("\"orders\""));
    assert_eq!(run.steps(), 2);
    run.step("k", 3, |tx| tx.emit(&Topic::<_, u64>::new("others"), &order).map(drop)).unwrap();
}

/// Against: a release that cannot change the type of an order at all while one is outstanding.
#[test]
fn a_value_of_an_older_version_is_migrated_wherever_it_is_read() {
    let (bytes, id) = written();
    let options = Options::new().value_migrations(migrations());
    let disk = Arc::new(milepost::MemoryDisk::from_bytes(bytes));
    let store = options.open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let new = Order { price: 10_000, qty: 5, note: "from version 1".into() };
    assert_eq!(run.get::<Order>("row").unwrap().as_ref(), Some(&new));
    let again = run.step("step", 1, |_| -> Result<Order> { panic!("called again") }).unwrap();
    assert_eq!(again.into_outcome(), new);
    let Claimed::Done(done) = store.claim::<Order>("calls", "call", &1).unwrap() else { panic!() };
    assert_eq!(done, new);
    assert_eq!(store.intent(&orders::<Order, Order>(), &id).unwrap().unwrap().payload, new);
    let own = Order { price: 7, qty: 8, note: "today's".into() };
    run.step("today", 3, |tx| {
        tx.put("row", &own)?;
        tx.emit(&orders::<_, Order>(), &own).map(drop)
    })
    .unwrap();
    let mut exchange = Exchange::<Order>::default();
    assert_eq!(store.relay(&orders()).deliver(&mut exchange).unwrap().confirmed, 2);
    assert_eq!(exchange.sent, [new, own.clone()]);
    assert_eq!(run.get::<Order>("row").unwrap(), Some(own));
    assert!(store.verify().unwrap().is_sound());
    drop((run, store));
    // The release before is told what it is; what it wrote itself it can still read.
    let store = Options::new().open_on(disk).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.get::<v1::Order>("row")), ErrorKind::TooNew);
    assert!(!run.step("step", 1, |_| Ok(ORDER)).unwrap().is_fresh());
}

/// Against: a version without a step to it, taken for one that needs none.
#[test]
fn a_version_without_a_migration_refuses_what_is_older_and_delivers_what_is_not() {
    let (bytes, id) = written();
    let options = Options::new().value_migrations(Migrations::new().version::<Order>());
    let disk = Arc::new(milepost::MemoryDisk::from_bytes(bytes));
    let store = options.open_on(disk).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.get::<Order>("row")), ErrorKind::SchemaMismatch);
    let own = Order { price: 7, qty: 8, note: String::new() };
    run.step("today", 3, |tx| tx.emit(&orders::<_, Order>(), &own).map(drop)).unwrap();
    let mut exchange = Exchange::<Order>::default();
    let delivered = store.relay(&orders()).deliver(&mut exchange).unwrap();
    assert_eq!((delivered.confirmed, delivered.set_aside), (1, 1));
    assert_eq!((&delivered.problems[0].id, exchange.sent), (&id, vec![own]));
}

/// A type that is written as a text and read as whatever is there, as some crates' decimals are.
#[derive(Debug, Clone, PartialEq)]
struct Decimal(u64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl serde::de::Visitor<'_> for Any {
            type Value = Decimal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a decimal")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Decimal, E> {
                text.parse().map(Decimal).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Against: an outcome whose type cannot be stored: the order is sent, and nobody can ever write down
/// what became of it; the orders after it are never sent.
#[test]
fn an_outcome_that_cannot_be_stored_is_found_out_before_anything_is_sent() {
    struct Sending(u32);
    impl Endpoint<v1::Order, Decimal> for Sending {
        fn call(&mut self, _: &Delivery<v1::Order>) -> Sent<Decimal> {
            self.0 += 1;
            Sent::Confirmed(Decimal(1))
        }

        fn probe(&mut self, _: &Delivery<v1::Order>) -> Probe<Decimal> {
            self.0 += 1;
            Probe::Applied(Decimal(1))
        }
    }
    let (bytes, id) = written_for::<u64>();
    let store = open_bytes(&bytes).unwrap();
    let mut sending = Sending(0);
    for _ in 0..2 {
        let refused = error(store.relay(&orders()).deliver(&mut sending));
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert!(refused.to_string().contains("Decimal"), "{refused}");
    }
    assert_eq!(sending.0, 0);
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.intents_prepared, recovery.intents_in_doubt), (vec![id], vec![]));
}

/// Against: the same of a claim, which is in doubt for ever, and of a step, whose closure was called.
#[test]
fn a_claim_or_a_step_whose_outcome_cannot_be_stored_is_refused_before_it_begins() {
    let store = Store::in_memory().unwrap();
    assert_eq!(kind(store.claim::<Decimal>("calls", "call", &1)), ErrorKind::Invalid);
    assert_eq!(kind(store.submit_claim::<Decimal>("calls", "call", &1)), ErrorKind::Invalid);
    assert!(store.recovery().unwrap().claims_in_doubt.is_empty());
    assert!(matches!(store.claim::<u64>("calls", "call", &1).unwrap(), Claimed::Fresh(_)));
    let mut run = store.run::<Counter>("run").unwrap();
    let called = RefCell::new(0);
    let step = run.step("k", 1, |_| {
        *called.borrow_mut() += 1;
        Ok(Decimal(1))
    });
    assert_eq!((kind(step), called.into_inner(), run.steps()), (ErrorKind::Invalid, 0, 0));
}

/// Against: one answer that cannot be stored, and the orders after it that are never tried.
#[test]
fn an_answer_that_cannot_be_stored_does_not_hold_up_the_others() {
    struct Verbose(Vec<u64>);
    impl Endpoint<u64, String> for Verbose {
        fn call(&mut self, delivery: &Delivery<u64>) -> Sent<String> {
            self.0.push(delivery.payload);
            Sent::Confirmed("x".repeat(if delivery.payload == 1 { 200 } else { 2 }))
        }
    }
    let limits = milepost::Limits { value_bytes: 100, ..Default::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=3u64 {
        run.step(n.to_string(), n, |tx| tx.emit(&orders::<_, String>(), &n).map(drop)).unwrap();
    }
    let mut verbose = Verbose(Vec::new());
    let relay = store.relay(&orders());
    let delivered = relay.deliver(&mut verbose).unwrap();
    assert_eq!((delivered.confirmed, delivered.in_doubt, delivered.set_aside), (2, 1, 1));
    assert_eq!(delivered.problems[0].kind, ErrorKind::LimitExceeded);
    assert_eq!(verbose.0, [1, 2, 3]);
    let doubt = store.recovery().unwrap().intents_in_doubt.remove(0);
    let state = store.intent(&orders::<u64, String>(), &doubt).unwrap().unwrap().state;
    let IntentState::InDoubt { why } = state else { panic!("{state:?}") };
    assert!(why.contains("could not be stored"), "{why}");
    relay.deliver(&mut verbose).unwrap();
    assert_eq!(verbose.0, [1, 2, 3], "what is in doubt was sent again");
}

thread_local! {
    /// The price that this release cannot read: it panics over it.
    static UNKNOWN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
struct Priced(u64);

impl<'de> Deserialize<'de> for Priced {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let n = u64::deserialize(from)?;
        assert!(n == 0 || n != UNKNOWN.get(), "no such currency");
        Ok(Self(n))
    }
}

/// Against: a payload over which `Deserialize` panics, as an `expect` in it does in the next release: the
/// panic ended each pass of the relay, and the orders after it were never sent.
#[test]
fn a_payload_whose_type_panics_over_it_is_set_aside() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=3u64 {
        run.step(n.to_string(), n, |tx| tx.emit(&orders::<_, Priced>(), &Priced(n)).map(drop))
            .unwrap();
    }
    let (relay, mut exchange) = (store.relay(&orders()), Exchange::<Priced>::default());
    UNKNOWN.set(2);
    for confirmed in [2, 0] {
        let delivered = relay.deliver(&mut exchange).unwrap();
        assert_eq!((delivered.confirmed, delivered.set_aside), (confirmed, 1));
        let problem = &delivered.problems[0];
        assert_eq!(problem.kind, ErrorKind::SchemaMismatch);
        assert!(problem.why.contains("no such currency"), "{}", problem.why);
        assert_eq!(exchange.sent, [Priced(1), Priced(3)]);
    }
    let id = store.recovery().unwrap().intents_prepared.remove(0);
    assert_eq!(kind(store.intent(&orders::<Priced, Priced>(), &id)), ErrorKind::SchemaMismatch);
    UNKNOWN.set(0);
    assert_eq!(relay.deliver(&mut exchange).unwrap().confirmed, 1);
    assert_eq!(exchange.sent, [Priced(1), Priced(3), Priced(2)]);
}

/// Against: a schema whose step was refused, remembered as if it were stored: the next value of the type
/// would be written under the number of another type.
#[test]
fn a_schema_of_a_step_that_was_refused_is_not_remembered() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let refused = run.step("k", 1, |tx| {
        tx.put("row", &ORDER)?;
        tx.emit(&orders::<_, u64>(), &ORDER)?;
        Err::<(), _>(milepost::Error::abort("no"))
    });
    assert_eq!(kind(refused), ErrorKind::Aborted);
    assert_eq!(rows_of(&disk.to_bytes(), "schemas").len(), 1, "the state's");
    run.step("l", 1, |tx| tx.put("five", &5u64)).unwrap();
    run.step("m", 2, |tx| {
        tx.put("row", &ORDER)?;
        tx.emit(&orders::<_, u64>(), &ORDER).map(drop)
    })
    .unwrap();
    drop((run, store));
    let store = open_bytes(&disk.to_bytes()).unwrap();
    assert!(store.verify().unwrap().is_sound());
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.get::<u64>("five").unwrap(), Some(5));
    assert_eq!(run.get::<v1::Order>("row").unwrap(), Some(ORDER));
}

/// Against: many steps on their way to the disk, each with a schema of its own for the same type.
#[test]
fn a_type_gets_one_schema_however_many_steps_bring_it_at_once() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let pending: Vec<_> = (1..=200u64)
        .map(|n| {
            run.submit(n.to_string(), n, |tx| {
                tx.put(n.to_string(), &ORDER)?;
                tx.emit(&orders::<_, u64>(), &ORDER)?;
                Ok(n)
            })
            .unwrap()
        })
        .collect();
    for pending in pending {
        assert!(pending.wait().unwrap().is_fresh());
    }
    run.batch((201..=400u64).map(|n| (n.to_string(), n, n)), |tx, n| tx.put("last", &n)).unwrap();
    drop((run, store));
    // The state, an outcome and a row of numbers, `()`, an order as a row and as a payload, and what
    // orders are answered with.
    assert_eq!(rows_of(&disk.to_bytes(), "schemas").len(), 7);
}

/// Against: a value whose schema was lost to damage, read as whatever type is asked for; or its number
/// given to another type, as which it is read then.
#[test]
fn a_value_without_its_schema_is_damaged_and_its_number_stays_taken() {
    let (bytes, _) = written();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    for (key, row) in rows_of(&bytes, "schemas").into_iter().skip(1) {
        let mut bad = row.clone();
        *bad.last_mut().unwrap() ^= 1;
        for bad in [None, Some(bad.as_slice())] {
            std::fs::write(&path, with_row(&bytes, "schemas", &key, bad)).unwrap();
            let found = verify(&path, &Options::new()).unwrap();
            assert!(!found.is_sound(), "{found}");
            assert!(found.to_string().contains("schema"), "{found}");
            let options = milepost::RepairOptions::new().accept_missing_rows();
            repair(&path, &options).unwrap();
            let found = verify(&path, &Options::new()).unwrap();
            assert!(found.is_sound(), "{found}");
            let store = Store::open(&path).unwrap();
            let mut run = store.run::<Counter>("run").unwrap();
            // Types that are new to the store get numbers of their own.
            run.step("new", 3, |tx| tx.put("new", &ORDER.qty.to_string())).unwrap();
            let again = run.step("step", 1, |_| -> Result<v1::Order> { panic!("called again") });
            let answers = [
                run.get::<v1::Order>("row").map(drop),
                again.map(drop),
                store.claim::<v1::Order>("calls", "call", &1).map(drop),
            ];
            let lost = answers.into_iter().filter_map(std::result::Result::err);
            for error in lost {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            }
            for foreign in [run.get::<String>("row").map(drop), run.get::<u64>("row").map(drop)] {
                assert!(
                    matches!(kind(foreign), ErrorKind::SchemaMismatch | ErrorKind::Damaged),
                    "it was read as something else"
                );
            }
        }
    }
}
