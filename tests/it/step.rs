//! The step: all of it or none of it, and once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use milepost::{
    Done, Error, ErrorKind, IntentState, Key, Limits, Options, Position, Result, Run, Store, Topic,
    TopicName, Versioned,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::{
    Content, Counter, ORDERS, T0, clock, count, error, key_of, killed, kind, on_disk, open_bytes,
    rows_of, second, seen,
};

const TEXTS: Topic<String, u64> = Topic::new("t");
const PAIRS: Topic<(String, u32), u64> = Topic::new("orders");

/// Everything a step can ask for at once.
fn full_step(run: &mut Run<Counter>, n: u64) -> Result<Done<u64>> {
    run.step(key_of(n), n, |tx| {
        tx.state.sum += n;
        tx.state.seen.push(n);
        tx.put(key_of(n), &n)?;
        tx.emit(&ORDERS, &n)?;
        Ok(tx.state.sum)
    })
}

fn content(store: &Store) -> Content {
    let keys: Vec<_> = (0..30).map(key_of).collect();
    Content::of(store, &keys, "orders").unwrap()
}

/// Against: an input that is done twice because the program was started again.
#[test]
fn a_key_seen_before_gives_its_outcome_and_does_not_run_the_closure() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(full_step(&mut run, 3).unwrap(), Done::Fresh(3));
    assert_eq!(full_step(&mut run, 5).unwrap(), Done::Fresh(8));
    let asked_again = |run: &mut Run<Counter>| {
        let done = run.step("key-00003", 9, |_| -> Result<u64> { panic!("ran again") }).unwrap();
        assert_eq!(done, Done::Duplicate(3));
        assert!(!done.is_fresh());
        assert_eq!(run.position(), &Position::Index(5), "a repeat moves nothing");
    };
    asked_again(&mut run);
    let crashed = killed(&disk);
    drop((run, store));
    for disk in [disk, crashed] {
        let store = Options::new().open_on(disk).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        asked_again(&mut run);
        assert_eq!(run.state().seen, [3, 5]);
        drop(run);
        assert_eq!(content(&store).intents.len(), 2);
    }
}

/// Against: state, key, position, row and intent that come back from a crash without one another.
#[test]
fn what_a_step_wrote_comes_back_together() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=10 {
        full_step(&mut run, n).unwrap();
        let found = content(&Options::new().open_on(killed(&disk)).unwrap());
        assert_eq!(found.steps, n);
        assert_eq!(found.position, Position::Index(n));
        assert_eq!(found.state.seen, (1..=n).collect::<Vec<_>>());
        assert_eq!(found.keys.len() as u64, n);
        assert_eq!(found.rows, (1..=n).map(|n| (key_of(n), n)).collect::<BTreeMap<_, _>>());
        assert_eq!(found.intents.len() as u64, n);
    }
}

/// Against: another order under a key that was used, taken for a repeat of the first.
#[test]
fn the_same_key_with_another_request_is_a_conflict() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let buy = || Key::new("order").request(&("BTC", 1u32)).unwrap();
    let sell = Key::new("order").request(&("BTC", 2u32)).unwrap();
    run.step(buy(), 1, |_| Ok(1u64)).unwrap();
    let refused = error(run.step(sell, 2, |_| -> Result<u64> { panic!("ran") }));
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(run.step(buy(), 2, |_| Ok(2u64)).unwrap(), Done::Duplicate(1));
    // Whoever does not say what is asked for gets what is there.
    assert_eq!(run.step("order", 2, |_| Ok(2u64)).unwrap(), Done::Duplicate(1));
    assert_eq!(run.steps(), 1);
}

/// A step that spoils everything it is handed and then ends in `end`.
fn spoil(run: &mut Run<Counter>, end: fn() -> Error) -> Result<Done<u64>> {
    run.step("key-00009", 9, |tx| {
        tx.state.sum = 999;
        tx.state.seen.clear();
        tx.put("key-00001", &999u64)?;
        tx.put("key-00009", &999u64)?;
        tx.remove("key-00002")?;
        tx.emit(&ORDERS, &999u64)?;
        Err(end())
    })
}

/// Against: half a step that stays when its closure fails.
#[test]
fn a_closure_that_fails_or_panics_leaves_no_trace_and_the_run_goes_on() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    full_step(&mut run, 1).unwrap();
    full_step(&mut run, 2).unwrap();
    let untouched = |run: &mut Run<Counter>| {
        assert_eq!(run.state(), &Counter { sum: 3, seen: vec![1, 2] });
        assert_eq!(run.position(), &Position::Index(2));
        assert_eq!(run.steps(), 2);
        assert_eq!(run.get("key-00001").unwrap(), Some(1u64));
        assert_eq!(run.get("key-00002").unwrap(), Some(2u64));
        assert_eq!(run.get::<u64>("key-00009").unwrap(), None);
        assert_eq!(seen(run, "key-00009").unwrap(), None);
        assert_eq!(store.intents().outstanding("orders", 99).unwrap().len(), 2);
    };
    let newest = store.newest_commit().unwrap();
    let refused = error(spoil(&mut run, || Error::abort("no")));
    assert_eq!(refused.kind(), ErrorKind::Aborted);
    assert!(format!("{refused:#}").ends_with(": no"), "{refused:#}");
    untouched(&mut run);
    let panicked = catch_unwind(AssertUnwindSafe(|| spoil(&mut run, || panic!("the closure"))));
    assert!(panicked.is_err());
    untouched(&mut run);
    // An error of the crate's own passes through as it is.
    let own = run.step("x", 9, |tx| tx.put("", &1u64));
    assert_eq!(kind(own), ErrorKind::Invalid);
    untouched(&mut run);
    assert_eq!(store.newest_commit().unwrap(), newest, "nothing was committed");

    assert_eq!(full_step(&mut run, 9).unwrap(), Done::Fresh(12));
    drop(run);
    let after = content(&open_bytes(&disk.to_bytes()).unwrap());
    assert_eq!(after.state.seen, [1, 2, 9]);
    assert_eq!(after.intents.len(), 3, "and no number of an intent was lost on the way");
    let numbers: Vec<_> = after.intents.keys().map(milepost::IntentId::sequence).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

thread_local! {
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

/// A state whose type reads it at one time, and at another does not.
#[derive(Debug, Default, Serialize)]
struct Moody {
    sum: u64,
}

impl Versioned for Moody {
    const NAME: &'static str = "moody";
    const VERSION: u32 = 1;
}

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Moody")]
        struct Plain {
            sum: u64,
        }
        if REFUSES.get() {
            return Err(D::Error::custom("not today"));
        }
        Plain::deserialize(from).map(|plain| Self { sum: plain.sum })
    }
}

/// Against: a run that goes on from the default of its type, and saves that, because a step has failed
/// and the state from before it could not be read. (`undo.rs` has large states, whose run is `Poisoned`.)
#[test]
fn a_run_whose_state_does_not_come_back_after_a_failed_step_makes_no_other() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Moody>("run").unwrap();
    let step = |run: &mut Run<Moody>, n: u64| {
        run.step(key_of(n), n, |tx| {
            tx.state.sum += n;
            Ok(tx.state.sum)
        })
    };
    step(&mut run, 5).unwrap();
    REFUSES.set(true);
    assert!(run.step("no", 6, |_| Err::<(), _>(Error::abort("no"))).is_err());
    REFUSES.set(false);
    assert_eq!(run.state().sum, 5);
    step(&mut run, 6).unwrap();
    assert_eq!(run.state().sum, 11);
    drop(run);
    let run = store.run::<Moody>("run").unwrap();
    assert_eq!(run.state().sum, 11);
}

/// Against: the same in a batch, where items before the failing one have been done already.
#[test]
fn a_batch_is_all_or_nothing() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let batch = |run: &mut Run<Counter>, fail_at: u64, panic: bool| {
        run.batch((2..=20u64).map(|n| (key_of(n), n, n)), |tx, n| {
            tx.state.sum += n;
            tx.state.seen.push(n);
            tx.put(key_of(n), &n)?;
            tx.emit(&ORDERS, &n)?;
            assert!(!(panic && n == fail_at), "the closure");
            if n == fail_at { Err(Error::abort("no")) } else { Ok(tx.state.sum) }
        })
    };
    let before = content_of(&store, &mut run);
    for fail_at in [2, 11, 20] {
        assert_eq!(kind(batch(&mut run, fail_at, false)), ErrorKind::Aborted);
        assert_eq!(content_of(&store, &mut run), before, "failed at {fail_at}");
        assert!(catch_unwind(AssertUnwindSafe(|| batch(&mut run, fail_at, true))).is_err());
        assert_eq!(content_of(&store, &mut run), before, "panicked at {fail_at}");
    }
    let commit = store.newest_commit().unwrap();
    let done = batch(&mut run, 0, false).unwrap();
    assert_eq!(store.newest_commit().unwrap().get(), commit.get() + 1, "one commit");
    assert_eq!(done.len(), 19);
    assert!(done.iter().all(Done::is_fresh));
    assert_eq!(run.state().sum, 210);
    assert_eq!(run.position(), &Position::Index(20));
    // All of them seen: nothing changes, and each has its own outcome.
    let again = batch(&mut run, 5, true).unwrap();
    assert_eq!(again[0], Done::Duplicate(3));
    assert_eq!(again[18], Done::Duplicate(210));
    assert_eq!(run.steps(), 20);
}

fn content_of(store: &Store, run: &mut Run<Counter>) -> impl PartialEq + std::fmt::Debug + use<> {
    let keys: Vec<_> = (0..30).map(|n| seen(run, &key_of(n)).unwrap()).collect();
    let rows: Vec<_> = (0..30).map(|n| run.get::<u64>(key_of(n)).unwrap()).collect();
    let intents = store.intents().outstanding("orders", usize::MAX).unwrap();
    (keys, rows, intents, run.state().clone(), run.position().clone(), run.steps())
}

/// Against: a feed that repeats an input inside one batch.
#[test]
fn a_key_twice_in_one_batch_is_done_once() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let items = [("a", 1u64, 1u64), ("b", 2, 2), ("a", 3, 4), ("b", 4, 8), ("c", 5, 16)];
    let done = run
        .batch(items, |tx, n| {
            tx.state.sum += n;
            Ok(tx.state.sum)
        })
        .unwrap();
    use Done::{Duplicate, Fresh};
    assert_eq!(done, [Fresh(1), Fresh(3), Duplicate(1), Duplicate(3), Fresh(19)]);
    assert_eq!(run.steps(), 3);
    assert_eq!(run.position(), &Position::Index(5));
    // An empty batch is nothing, and not an error.
    assert!(run.batch([("x", 1u64, ()); 0], |_, ()| Ok(())).unwrap().is_empty());
}

/// Against: a batch whose second half conflicts with its first.
#[test]
fn a_conflict_inside_a_batch_refuses_all_of_it() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let key = |request: u32| Key::new("a").request(&request).unwrap();
    let refused = run.batch([(key(1), 1u64, ()), (key(2), 2, ())], |_, ()| Ok(()));
    assert_eq!(kind(refused), ErrorKind::Conflict);
    assert_eq!(run.steps(), 0);
    assert_eq!(seen(&mut run, "a").unwrap(), None);
}

/// Against: keys and values over their limits that fail at the disk, or only at the next reading.
#[test]
fn what_is_over_a_limit_is_refused_before_anything_is_written() {
    let limits = Limits { key_bytes: 16, value_bytes: 100, rows_per_step: 5 };
    let (disk, store) = on_disk(&Options::new().limits(limits));
    let mut run = store.run::<Counter>("run").unwrap();
    let newest = store.newest_commit().unwrap();
    let over = |result: Result<Done<()>>, what: &str| {
        let refused = error(result);
        assert_eq!(refused.kind(), ErrorKind::LimitExceeded, "{what}: {refused}");
        assert!(refused.to_string().contains("Limits::"), "{what}: {refused}");
    };
    let long = "x".repeat(17);
    over(run.step(&long, 1, |_| Ok(())), "a key");
    over(run.step("a", 1, |tx| tx.put(&long, &1u64)), "the key of a row");
    over(run.step("a", 1, |tx| tx.remove(&long)), "the key of a row to remove");
    over(run.step("a", 1, |tx| tx.put("r", &"x".repeat(100))), "a row");
    over(run.step("a", 1, |tx| tx.emit(&TEXTS, &"x".repeat(100)).map(drop)), "a payload");
    let grown = run.step("a", 1, |tx| {
        tx.state.seen = vec![1; 100];
        Ok(())
    });
    over(grown, "a state");
    assert_eq!(kind(run.step("a", 1, |_| Ok("x".repeat(100)))), ErrorKind::LimitExceeded);
    assert_eq!(kind(store.claim::<u64>("s", &long, &1)), ErrorKind::LimitExceeded);
    // The run, the key and three rows are five; one more is too many.
    let rows = |n: u64| {
        move |tx: &mut milepost::Tx<'_, Counter>| -> Result<()> {
            (0..n).try_for_each(|n| tx.put(format!("r{n}"), &n))
        }
    };
    over(run.step("a", 1, rows(4)), "rows");
    assert_eq!(kind(run.step("", 1, |_| Ok(()))), ErrorKind::Invalid, "an empty key");
    assert_eq!(store.newest_commit().unwrap(), newest);
    assert_eq!(run.state(), &Counter::default());

    // At the limit all of it goes.
    run.step("x".repeat(16), 1, rows(3)).unwrap();
    run.step("b", 2, |tx| tx.put("x".repeat(16), &"x".repeat(99))).unwrap();
    drop((run, store));
    let store = Options::new().limits(limits).open_on(disk).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.get("x".repeat(16)).unwrap(), Some("x".repeat(99)));
    assert_eq!(run.get("r2").unwrap(), Some(2u64));
}

/// Against: inputs fed out of order, or a feed that starts again at the front, without a word.
#[test]
fn the_position_never_goes_back_unless_asked() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.position(), &Position::Start);
    count(&mut run, 5).unwrap();
    let refused = error(count(&mut run, 4));
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("rewind"), "{refused}");
    assert_eq!(kind(run.step("x", Position::Token("t".into()), |_| Ok(()))), ErrorKind::Invalid);
    assert_eq!(run.state().seen, [5]);
    // The same place again is no step back.
    run.step("second of five", 5, |_| Ok(())).unwrap();
    run.rewind(3).unwrap();
    assert_eq!(run.position(), &Position::Index(3));
    drop((run, store));
    let store = Options::new().open_on(disk).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.position(), &Position::Index(3), "durable");
    count(&mut run, 4).unwrap();
    assert_eq!(count(&mut run, 5).unwrap(), Done::Duplicate(5), "what was done stays done");
    assert_eq!(run.state().seen, [5, 4]);
    run.rewind(Position::Start).unwrap();
    run.step("t", Position::Token("any".into()), |_| Ok(())).unwrap();
}

/// Against: one partition that holds up, or drags back, the others.
#[test]
fn offsets_of_partitions_come_back_each_for_itself() {
    let at = |pairs: &[(&str, u64)]| {
        Position::Offsets(pairs.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect())
    };
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("a", at(&[("p0", 5)]), |_| Ok(())).unwrap();
    run.step("b", at(&[("p1", 2)]), |_| Ok(())).unwrap();
    assert_eq!(kind(run.step("c", at(&[("p0", 4), ("p1", 9)]), |_| Ok(()))), ErrorKind::Invalid);
    drop((run, store));
    let store = Options::new().open_on(disk).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.position(), &at(&[("p0", 5), ("p1", 2)]));
}

/// Against: two handles on one run, each with a state of its own.
#[test]
fn a_run_opened_twice_is_a_conflict_until_the_first_is_dropped() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let refused = error(store.run::<Counter>("run"));
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("run"), "{refused}");
    assert_eq!(kind(store.clone().run::<Counter>("run")), ErrorKind::Conflict);
    store.run::<Counter>("another").unwrap();
    drop(run);
    assert_eq!(store.run::<Counter>("run").unwrap().steps(), 1);
    // A refused opening holds nothing.
    assert_eq!(kind(store.run::<Other>("run")), ErrorKind::SchemaMismatch);
    store.run::<Counter>("run").unwrap();
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Other {
    name: String,
}

impl milepost::Versioned for Other {
    const NAME: &'static str = "other";
    const VERSION: u32 = 1;
}

/// Against: keys and rows of one run that are found by another.
#[test]
fn two_runs_share_nothing_however_their_names_and_keys_are_cut() {
    let store = Store::in_memory().unwrap();
    let mut one = store.run::<Counter>("ab").unwrap();
    let mut two = store.run::<Counter>("a").unwrap();
    one.step("c", 1, |tx| tx.put("c", &1u64)).unwrap();
    assert!(two.step("bc", 1, |tx| tx.put("x", &2u64)).unwrap().is_fresh());
    assert!(two.step("c", 1, |tx| tx.put("y", &3u64)).unwrap().is_fresh());
    assert_eq!(two.get::<u64>("bc").unwrap(), None);
    assert_eq!(two.get::<u64>("c").unwrap(), None);
    assert_eq!(one.get("c").unwrap(), Some(1u64));
}

/// Against: rows that read differently inside the step that writes them and after it.
#[test]
fn rows_are_read_as_earlier_steps_and_this_one_left_them() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("1", 1, |tx| {
        assert_eq!(tx.get::<u64>("a")?, None);
        tx.put("a", &1u64)?;
        assert_eq!(tx.get("a")?, Some(1u64));
        tx.put("a", &2u64)?;
        tx.put("b", &3u64)?;
        tx.remove("b")?;
        assert_eq!(tx.get::<u64>("b")?, None);
        tx.put("c", &4u64)
    })
    .unwrap();
    run.step("2", 2, |tx| {
        assert_eq!(tx.get("a")?, Some(2u64));
        assert_eq!(tx.get::<u64>("b")?, None);
        tx.remove("a")?;
        assert_eq!(tx.get::<u64>("a")?, None);
        tx.remove("never there")
    })
    .unwrap();
    drop((run, store));
    let store = Options::new().open_on(disk).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.get::<u64>("a").unwrap(), None);
    assert_eq!(run.get("c").unwrap(), Some(4u64));
    assert_eq!(kind(run.get::<String>("c")), ErrorKind::SchemaMismatch);
}

/// Against: rows of one batch item that the next one does not see.
#[test]
fn items_of_a_batch_see_the_rows_and_states_of_those_before_them() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let chained = run
        .batch((1..=5u64).map(|n| (key_of(n), n, n)), |tx, n| {
            let before: u64 = tx.get("chain")?.unwrap_or(0);
            tx.put("chain", &(before * 10 + n))?;
            tx.state.sum += 1;
            Ok((before, tx.state.sum))
        })
        .unwrap();
    assert_eq!(chained[4], Done::Fresh((1_234, 5)));
    assert_eq!(run.get("chain").unwrap(), Some(12_345u64));
}

/// Against: an outcome read as a type it was not written as.
#[test]
fn an_outcome_of_another_type_is_a_mismatch_and_the_closure_does_not_run() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("text", 1, |_| Ok("filled at 101.5".to_owned())).unwrap();
    run.step("pair", 2, |_| Ok((300u32, 7u8))).unwrap();
    let refused = error(run.step("text", 3, |_| -> Result<(u64, u64)> { panic!("ran") }));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert_eq!(kind(run.step("pair", 3, |_| Ok(1u8))), ErrorKind::SchemaMismatch, "left over");
    assert_eq!(kind(run.step("pair", 3, |_| Ok(()))), ErrorKind::SchemaMismatch, "left over");
    assert_eq!(kind(run.step("pair", 3, |_| Ok([1u64; 9]))), ErrorKind::SchemaMismatch, "short");
    let as_written = run.step("text", 3, |_| Ok(String::new())).unwrap();
    assert_eq!(as_written, Done::Duplicate("filled at 101.5".to_owned()));
    assert_eq!(run.steps(), 2);
}

mod versions {
    use serde::{Deserialize, Serialize};

    macro_rules! version {
        ($module:ident, $name:literal, $version:literal, { $($field:ident: $type:ty),* }) => {
            pub mod $module {
                #[derive(Debug, Default, super::Serialize, super::Deserialize)]
                pub struct State { $(pub $field: $type),* }
                impl milepost::Versioned for State {
                    const NAME: &'static str = $name;
                    const VERSION: u32 = $version;
                }
            }
        };
    }
    version!(one, "position", 1, { cash: u64, name: String });
    version!(two, "position", 2, { cash: u64, name: String, lots: Vec<u64> });
    version!(changed, "position", 1, { cash: u64, name: String, lots: Vec<u64> });
    version!(shorter, "position", 1, { cash: u64 });
    version!(renamed, "holdings", 1, { cash: u64, name: String });
}

/// Against: bytes of one version read as another.
#[test]
fn a_state_of_another_version_or_name_is_refused_and_not_changed() {
    use versions::{changed, one, renamed, shorter, two};
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<one::State>("old").unwrap();
    run.step("k", 1, |tx| {
        tx.state.cash = 300;
        tx.state.name = "x".into();
        Ok(())
    })
    .unwrap();
    store.run::<two::State>("new").unwrap();
    drop((run, store));
    let disk = killed(&disk);
    let store = Options::new().open_on(disk.clone()).unwrap();
    let runs = rows_of(&disk.to_bytes(), "runs");

    let older = error(store.run::<two::State>("old"));
    assert_eq!(older.kind(), ErrorKind::SchemaMismatch);
    let says = |error: &Error, what: &str| {
        assert!(error.to_string().contains(what), "{what:?} is missing: {error}");
    };
    says(&older, "position");
    says(&older, "version 1");
    says(&older, "version 2");
    says(&older, "old");
    let newer = error(store.run::<one::State>("new"));
    assert_eq!(newer.kind(), ErrorKind::TooNew);
    says(&newer, "upgrade");
    let named = error(store.run::<renamed::State>("old"));
    assert_eq!(named.kind(), ErrorKind::SchemaMismatch);
    says(&named, "holdings");
    let grown = error(store.run::<changed::State>("old"));
    assert_eq!(grown.kind(), ErrorKind::SchemaMismatch, "{grown}");
    says(&grown, "Raise `VERSION`");
    says(&grown, "field `lots` is new");
    let cut = error(store.run::<shorter::State>("old"));
    assert_eq!(cut.kind(), ErrorKind::SchemaMismatch, "{cut}");
    says(&cut, "field `name` is gone");

    assert!(rows_of(&disk.to_bytes(), "runs") == runs, "a refused opening changed a run");
    let run = store.run::<one::State>("old").unwrap();
    assert_eq!((run.state().cash, run.state().name.as_str()), (300, "x"));
    store.run::<two::State>("new").unwrap();
}

/// Against: an input that kills the program again and again, unnoticed.
#[test]
fn recovery_attempts_grow_with_every_crash_and_end_with_a_step() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    assert_eq!(run.recovery_attempts(), 0);
    let mut disk = killed(&disk);
    for attempt in 1..=4 {
        let store = Options::new().open_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(run.recovery_attempts(), attempt);
        assert!(run.step("bad", 2, |_| -> Result<()> { Err(Error::abort("boom")) }).is_err());
        assert_eq!(run.recovery_attempts(), attempt, "a failing step is no progress");
        disk = killed(&disk);
    }
    let store = Options::new().open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 2).unwrap();
    assert_eq!(run.recovery_attempts(), 0);
    drop((run, store));
    let store = Options::new().open_on(disk).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().recovery_attempts(), 0, "closed in order");
}

/// Against: names that break the rows' keys.
#[test]
fn names_that_are_no_names_are_refused() {
    let store = Store::in_memory().unwrap();
    for name in ["", "a\nb", "a\0", &"x".repeat(201)] {
        assert_eq!(kind(store.run::<Counter>(name)), ErrorKind::Invalid);
        assert_eq!(kind(store.claim::<u64>(name, "k", &1)), ErrorKind::Invalid);
        assert_eq!(kind(store.intents().outstanding(name, 1)), ErrorKind::Invalid);
        assert_eq!(kind(TopicName::new(name)), ErrorKind::Invalid);
    }
    let longest = "ö".repeat(100);
    let mut run = store.run::<Counter>(&longest).unwrap();
    count(&mut run, 1).unwrap();
    drop(run);
    assert_eq!(store.run::<Counter>(&longest).unwrap().steps(), 1);
}

/// Against: an intent that cannot be read back as what was emitted.
#[test]
fn an_intent_keeps_its_payload_its_run_and_its_external_id() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let id =
        run.step("k", 1, |tx| tx.emit(&PAIRS, &("BTC".to_owned(), 5u32))).unwrap().into_outcome();
    drop((run, store));
    let store = Options::new().open_on(disk).unwrap();
    let intent = store.intent(&PAIRS, &id).unwrap().unwrap();
    assert_eq!(intent.payload, ("BTC".to_owned(), 5));
    assert_eq!(intent.state, IntentState::Prepared);
    assert_eq!(intent.run.unwrap().as_str(), "run");
    assert_eq!((intent.attempts, intent.probed), (0, 0));
    assert!(intent.external_id.as_str().len() <= 36);
    assert_eq!(
        kind(store.intent(&Topic::<Vec<String>, u64>::new("orders"), &id)),
        ErrorKind::SchemaMismatch
    );
}

/// Against: a message about a key that shows it in hex, so that nobody finds the order it names.
#[test]
fn an_error_about_a_key_a_row_or_an_intent_names_it_as_its_user_does() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("btc-5m").unwrap();
    let key = |request: u32| Key::new("order-117").request(&request).unwrap();
    run.step(key(1), 1, |tx| tx.put("last-fill", &1u64)).unwrap();
    let about =
        [error(run.step(key(2), 2, |_| Ok(()))), error(run.step("order-117", 2, |_| Ok(1u128)))];
    for error in about {
        let message = error.to_string();
        assert!(message.contains("order-117") && message.contains("btc-5m"), "{message}");
    }
    let message = error(run.get::<String>("last-fill")).to_string();
    assert!(message.contains("last-fill") && message.contains("btc-5m"), "{message}");
}

/// Against: a closure that lives by another clock than its store.
#[test]
fn a_step_is_told_the_time_of_the_stores_clock_and_the_epoch() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.created(), T0);
    clock.advance(second(7));
    let told = run.step("k", 1, |tx| Ok((tx.now().as_ms(), tx.epoch().get()))).unwrap();
    assert_eq!(told.into_outcome(), (T0.after(second(7)).as_ms(), store.epoch().get()));
}

/// Against: payloads of users in logs.
#[test]
fn nothing_of_a_state_or_a_payload_is_printed() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Other>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state.name = "SECRET".into();
        tx.put("row", &"SECRET".to_owned())?;
        assert!(!format!("{tx:?}").contains("SECRET"));
        Ok("SECRET".to_owned())
    })
    .unwrap();
    let refused = error(run.step("k", 2, |_| Ok(1u128)));
    let wrong = error(run.get::<u128>("row"));
    let printed = format!("{run:?} {store:?} {refused} {refused:?} {wrong} {wrong:?}");
    assert!(!printed.contains("SECRET"), "{printed}");
    assert!(printed.contains("steps: 1"), "{printed}");
}
