//! How a run is opened, a step without a position, and what is listed: runs and rows.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use milepost::testing::crash_matrix;
use milepost::{
    Autosave, Done, Error, ErrorKind, MemoryDisk, Options, OrAbort, Pending, Position, Result, Run,
    RunSummary, Store, Timestamp, Versioned,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    Counter, T0, clock, count, error, key_of, killed, kind, on_disk, second, with_row,
};

/// A state that has no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    owner: String,
    cents: i64,
}

impl Versioned for Account {
    const NAME: &'static str = "account";
    const VERSION: u32 = 3;
}

fn ada() -> Account {
    Account { owner: "Ada".into(), cents: 10 }
}

/// Against: a first state that replaces the one that is stored, or a run that is begun by a typing
/// error in its name.
#[test]
fn the_first_state_is_made_once_and_never_for_a_run_that_is_there() {
    let (disk, store) = on_disk(&Options::new());
    assert_eq!(kind(store.open_run::<Account>("a").open()), ErrorKind::NotFound);
    assert_eq!(store.runs().count(), 0, "nothing was written");
    let made = Cell::new(0);
    let init = || {
        made.set(made.get() + 1);
        ada()
    };
    let mut run = store.open_run("a").init(init).open().unwrap();
    assert_eq!((run.state(), made.get()), (&ada(), 1));
    run.step("k", 1, |tx| {
        tx.state.cents += 5;
        Ok(())
    })
    .unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let run = store.open_run("a").init(init).open().unwrap();
    assert_eq!((run.state().cents, made.get()), (15, 1));
    drop(run);
    assert_eq!(store.open_run::<Account>("a").open().unwrap().state().cents, 15);
}

/// Against: a step that fails in a run without a default, and leaves it without a state.
#[test]
fn a_step_is_undone_without_a_default() {
    let store = Store::in_memory().unwrap();
    let mut run = store.open_run("a").init(ada).open().unwrap();
    let refused = run.step("k", 1, |tx| {
        tx.state.cents = 0;
        tx.state.owner = "twelve".parse::<u8>().or_abort()?.to_string();
        Ok(())
    });
    let refused = error(refused);
    assert_eq!(refused.kind(), ErrorKind::Aborted);
    assert!(refused.downcast_ref::<std::num::ParseIntError>().is_some());
    assert!(refused.downcast_ref::<std::io::Error>().is_none());
    assert_eq!(run.state(), &ada());
}

/// Against: what was asked for at opening, and is forgotten.
#[test]
fn autosave_and_retention_count_from_the_opening() {
    let store = Store::in_memory().unwrap();
    let few = milepost::Retention { keep_last: 2, keep_for: second(0), keep_bytes: u64::MAX };
    let run = store.open_run("run").init(Counter::default).autosave(Autosave::every_steps(1));
    let mut run = run.retention(few).open().unwrap();
    (1..=5).for_each(|n| assert!(count(&mut run, n).unwrap().is_fresh()));
    let page = store.checkpoints().list(&milepost::CheckpointFilter::new()).unwrap();
    assert_eq!(page.checkpoints.iter().map(|known| known.steps).collect::<Vec<_>>(), [5, 4]);
}

/// Against: a web hook that moves a position it knows nothing of, or that counts twice.
#[test]
fn a_step_without_a_position_leaves_it_where_it_is() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let hook = |run: &mut Run<Counter>, key: &str| {
        run.step(key, (), |tx| {
            tx.state.sum += 1;
            Ok(tx.state.sum)
        })
        .unwrap()
    };
    assert_eq!(hook(&mut run, "evt-2"), Done::Fresh(1));
    assert_eq!(run.position(), &Position::Start);
    count(&mut run, 7).unwrap();
    assert_eq!(hook(&mut run, "evt-1"), Done::Fresh(9));
    assert_eq!(hook(&mut run, "evt-2"), Done::Duplicate(1));
    assert_eq!((run.next_index(), run.steps()), (8, 3));
    run.submit("evt-3", (), |_| Ok(())).unwrap().wait().unwrap();
    run.batch([("evt-4", (), 1), ("evt-5", (), 2)], |_, _| Ok(())).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.position(), run.steps()), (&Position::Index(7), 6));
}

fn listed(store: &Store) -> Vec<RunSummary> {
    store.runs().collect::<Result<_>>().unwrap()
}

/// Against: a run that is missing from the list, or is listed twice where two pages meet.
#[test]
fn every_run_is_listed_once_in_the_order_of_the_names() {
    let (disk, store) = on_disk(&Options::new());
    for runs in [0, 1, 63, 64, 65, 128, 150] {
        for n in 0..runs {
            store.run::<Counter>(&format!("run-{n:03}")).unwrap();
        }
        let names: Vec<String> = listed(&store).iter().map(|run| run.name.to_string()).collect();
        assert_eq!(names, (0..runs).map(|n| format!("run-{n:03}")).collect::<Vec<_>>());
    }
    store.remove_run("run-070").unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.runs().count(), 149);
}

/// Against: a list that says another thing than the run itself.
#[test]
fn a_listed_run_says_what_the_run_says() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.open_run("a").init(ada).open().unwrap();
    clock.advance(second(9));
    run.step("k", 4, |tx| {
        tx.state.owner = "x".repeat(200_000);
        Ok(())
    })
    .unwrap();
    let all = listed(&store);
    let known = &all[0];
    assert_eq!((known.schema.as_str(), known.version), ("account", 3));
    assert_eq!((&known.position, known.steps), (run.position(), 1));
    assert_eq!((known.created, known.changed), (T0, Timestamp::from_ms(T0.as_ms() + 9_000)));
    assert!((200_000..200_100).contains(&known.bytes), "{}", known.bytes);
}

/// Against: one damaged run that hides all those after it.
#[test]
fn a_damaged_run_is_an_error_in_its_place_and_the_others_are_listed() {
    let (disk, store) = on_disk(&Options::new());
    for name in ["a", "b", "c"] {
        count(&mut store.run::<Counter>(name).unwrap(), 1).unwrap();
    }
    store.close().unwrap();
    let bytes = with_row(&disk.to_bytes(), "runs", b"b", Some(b"no frame"));
    let store = Options::new().open_on(Arc::new(MemoryDisk::from_bytes(bytes))).unwrap();
    let all: Vec<Result<RunSummary>> = store.runs().collect();
    assert_eq!(all.len(), 3);
    let names: Vec<_> =
        all.iter().filter_map(|run| run.as_ref().ok()).map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert_eq!(all[1].as_ref().unwrap_err().kind(), ErrorKind::Damaged);
}

type Model = BTreeMap<String, u64>;

fn under(model: &Model, prefix: &str) -> Vec<(Vec<u8>, u64)> {
    let rows = model.iter().filter(|(key, _)| key.starts_with(prefix));
    rows.map(|(key, value)| (key.clone().into_bytes(), *value)).collect()
}

/// Against: a row that a step has removed or written and a scan does not know of, a row of another run,
/// and a page that ends in the middle of what was changed.
#[test]
fn a_scan_within_a_step_and_after_it_is_what_a_map_would_say() {
    let (disk, store) = on_disk(&Options::new());
    let mut other = store.run::<Counter>("runs").unwrap();
    other.step("k", 0, |tx| tx.put("a/001", &99u64)).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let mut rng = milepost::testing::Rng::of(7, "rows", 0);
    let mut model = Model::new();
    for step in 0..40u64 {
        let mut seen = model.clone();
        run.batch((0..3).map(|part| (step * 3 + part, step, ())), |tx, ()| {
            for _ in 0..20 {
                let folder = ["a/", "b/", "b"][rng.below(3) as usize];
                let key = format!("{folder}{:03}", rng.below(120));
                if rng.below(4) == 0 {
                    tx.remove(&key)?;
                    seen.remove(&key);
                } else {
                    let value = rng.below(1_000);
                    tx.put(&key, &value)?;
                    seen.insert(key, value);
                }
            }
            for prefix in ["", "a/", "b", "b/", "c", "a/0"] {
                let rows = tx.rows::<u64>(prefix).collect::<Result<Vec<_>>>()?;
                assert_eq!(rows, under(&seen, prefix), "\"{prefix}\" in step {step}");
            }
            Ok(())
        })
        .unwrap();
        model = seen;
        let rows = run.rows::<u64>("b").collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(rows, under(&model, "b"));
    }
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map_or_else(Vec::new, |(key, _): &(Vec<u8>, u64)| key.clone());
        let page = run.rows::<u64>("").after(after).take(7).collect::<Result<Vec<_>>>().unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, under(&model, ""));
    assert_eq!(run.rows::<u64>("b/").after("a/500").count(), under(&model, "b/").len());
    assert_eq!(run.rows::<u64>("a/").after("b").count(), 0);
}

/// Against: a row of another type that is read as this one, and one damaged row that hides the rest.
#[test]
fn a_row_that_cannot_be_read_is_an_error_in_its_place() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("k", 0, |tx| {
        tx.put("1", &1u64)?;
        tx.put("2", &"two".to_owned())?;
        tx.put("3", &3u64)?;
        let kinds: Vec<_> =
            tx.rows::<u64>("").map(|row| row.map_err(|error| error.kind())).collect();
        assert_eq!(kinds.len(), 3);
        assert_eq!(kinds[1], Err(ErrorKind::SchemaMismatch));
        Ok(())
    })
    .unwrap();
    let kinds: Vec<_> = run.rows::<u64>("").map(|row| row.map_err(|error| error.kind())).collect();
    assert_eq!(kinds[1], Err(ErrorKind::SchemaMismatch));
    assert_eq!((&kinds[0], &kinds[2]), (&Ok((b"1".to_vec(), 1)), &Ok((b"3".to_vec(), 3))));
}

fn add(tx: &mut milepost::Tx<'_, Counter>, n: u64) -> Result<()> {
    tx.state.sum = tx.state.sum.checked_add(n).ok_or_else(|| Error::abort("too large"))?;
    tx.state.seen.push(n);
    Ok(())
}

/// Against: a stream whose last inputs are left out, or whose commits are of another size.
#[test]
fn a_stream_is_cut_into_commits_of_n() {
    for (inputs, per_commit, batches) in
        [(0, 3, 0), (1, 3, 1), (3, 3, 1), (7, 3, 3), (9, 3, 3), (5, 99, 1)]
    {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let before = store.newest_commit().unwrap().get();
        let items = (1..=inputs).map(|n| (key_of(n), n, n));
        let done = run.batches(items.clone(), per_commit, add).unwrap();
        assert_eq!((done.batches, done.fresh, done.repeats), (batches, inputs, 0));
        assert_eq!(run.state().seen, (1..=inputs).collect::<Vec<_>>());
        assert_eq!(store.newest_commit().unwrap().get() - before, batches);
        let again = run.batches(items, per_commit, |_, _| -> Result<()> { panic!("again") });
        let again = again.unwrap();
        assert_eq!((again.fresh, again.repeats), (0, inputs));
    }
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.batches([("k", 1, 1)], 0, add)), ErrorKind::Invalid);
}

/// Against: an import that fails in the middle, of which nobody knows how far it came, and one that does
/// what is durable again.
#[test]
fn a_failure_in_the_middle_says_what_is_durable_and_the_keys_resume_it() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let items = || (1..=10).map(|n| (key_of(n), n, n));
    let failed = run.batches(items(), 3, |tx, n| {
        add(tx, n)?;
        if n == 8 { Err(Error::abort("line 8 is broken")) } else { Ok(()) }
    });
    let failed = error(failed);
    assert_eq!(failed.kind(), ErrorKind::Aborted);
    assert!(failed.to_string().starts_with("after 6 items"), "{failed}");
    assert_eq!((run.next_index(), run.state().seen.len()), (7, 6));
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let done = run.batches(items(), 4, add).unwrap();
    assert_eq!((done.fresh, done.repeats), (4, 6));
    assert_eq!(run.state().seen, (1..=10).collect::<Vec<_>>());
}

/// Against: a kill between two batches, or in one, after which an input is missing or counts twice.
#[test]
fn no_kill_loses_an_item_of_a_stream_or_counts_it_twice() {
    let import = |store: &Store, _: &mut milepost::testing::Outside<'_, ()>| -> Result<()> {
        let mut run = store.run::<Counter>("run")?;
        run.batches((1..=8u64).map(|n| (n, n, n)), 3, add).map(drop)
    };
    let state = |store: &Store, (): &()| store.run::<Counter>("run").unwrap().state().clone();
    let crashes = crash_matrix((), import).check(state).unwrap();
    assert!(crashes.kills_at_flush >= 5, "{crashes}");
}

/// A state that may go to another thread, and may not be shared.
type Lone = Run<Cell<u64>>;

const fn is_send<T: Send>() {}
const fn is_shared<T: Send + Sync>() {}

/// Against: a handle that a server cannot hand to its threads: a field that is not `Send` breaks the
/// build here, and not that of users.
const _: () = {
    is_shared::<Store>();
    is_shared::<Run<Counter>>();
    is_send::<Lone>();
    is_send::<Pending<u64>>();
    is_shared::<milepost::Claim<u64>>();
    is_shared::<milepost::Doubt<u64>>();
    is_shared::<Error>();
    is_shared::<Options>();
};
