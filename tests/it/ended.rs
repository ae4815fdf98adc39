//! Runs that are ended and removed, and what else is bounded by default. Against a store that keeps each
//! run of each day for ever; a run of the same name that is taken for the old one, or is new although it
//! was not; and a removal that a kill leaves half done.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use milepost::{
    Autosave, Delivery, Disk, Endpoint, ErrorKind, Key, Labels, ManualClock, MemoryDisk, Options,
    RepairOptions, Sent, SettledRetention, Store, Timestamp, Topic, TopicName, repair,
};

use crate::large_state::{Blob, leave, words};
use crate::support::{
    Counter, ORDERS, clock, count, days, error, key_of, killed, kind, on_disk, rows_of, second,
    seen, with_row,
};

const LATER: Topic<u64, u64> = Topic::new("later");

#[derive(Default)]
struct Market(Vec<String>);

impl Endpoint<u64, u64> for Market {
    fn call(&mut self, order: &Delivery<u64>) -> Sent<u64> {
        self.0.push(order.external_id.to_string());
        Sent::Confirmed(7)
    }
}

/// A step of a run with a key that lives so long, a row and an order, which is delivered.
fn trade(store: &Store, run: &str, topic: &str, n: u64, market: &mut Market) {
    let topic = &Topic::from(TopicName::new(topic).unwrap());
    let run = store.open_run(run).init(Counter::default);
    let mut run = run.autosave(Autosave::every_steps(1)).open().unwrap();
    run.step(Key::new(key_of(n)).expires_after(days(365)), n, |tx| {
        tx.state.seen.push(n);
        tx.put("last", &n)?;
        tx.emit(topic, &n)
    })
    .unwrap();
    drop(run);
    store.relay(topic).deliver(market).unwrap();
}

fn is_there(store: &Store, run: &str) -> bool {
    match store.inspect_run(run) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => panic!("{error}"),
    }
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

/// How many rows of a run of this name are left, in the tables that a removal empties.
fn left_of(bytes: &[u8], run: &str) -> usize {
    let has = |key: &[u8]| key.windows(run.len()).any(|part| part == run.as_bytes());
    let tables = ["runs", "checkpoints", "keys", "expiry", "rows", "meta", "quarantine"];
    let rows = tables.into_iter().flat_map(|table| rows_of(bytes, table));
    rows.filter(|(key, row)| has(key) || (key.len() == 16 && has(row))).count()
}

/// Against: a run that is taken for the one that was removed: a step that is not made because the old
/// one made it, an order under an id that the market knows, or a file that keeps what is gone.
#[test]
fn a_run_that_is_removed_is_wholly_gone_and_another_of_its_name_is_new() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    for n in 0..40 {
        trade(&store, "old-run", "orders", n, &mut market);
        trade(&store, "other", "orders", n, &mut market);
    }
    let mut large = store.run::<Blob>("old-large").unwrap();
    for n in 0..3 {
        leave(&mut large, n, &words(&mut milepost::testing::Rng::of(1, "w", n), 200_000));
        store.checkpoints().save("old-large", &Labels::new()).unwrap();
    }
    drop(large);
    store.remove_run("old-run").unwrap();
    store.remove_run("old-large").unwrap();
    assert_sound(&store);
    assert_eq!(left_of(&disk.to_bytes(), "old-run"), 0);
    assert_eq!(left_of(&disk.to_bytes(), "old-large"), 0);
    assert!(rows_of(&disk.to_bytes(), "contents").is_empty(), "chunks are left");
    assert_eq!(kind(store.remove_run("old-run")), ErrorKind::NotFound);

    for n in 0..40 {
        trade(&store, "old-run", "orders", n, &mut market);
    }
    let run = store.run::<Counter>("old-run").unwrap();
    assert_eq!((run.steps(), run.state().seen.len()), (40, 40));
    let mut other = store.run::<Counter>("other").unwrap();
    assert_eq!(other.steps(), 40);
    // Its own keys are known still.
    let repeated = other.step(key_of(3), u64::MAX, |tx| tx.emit(&ORDERS, &1u64)).unwrap();
    assert!(!repeated.is_fresh());
    assert_eq!(market.0.iter().collect::<BTreeSet<_>>().len(), 120, "an id was given out twice");
    // The clock passes what the old keys were listed for: none of the new ones goes with it.
    drop((run, other));
    clock.advance(days(400));
    trade(&store, "old-run", "orders", 900, &mut market);
    assert_sound(&store);
}

/// A disk that keeps what it had at each flush.
#[derive(Debug, Default)]
struct Album(MemoryDisk, Mutex<Vec<Vec<u8>>>);

impl Disk for Album {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.1.lock().unwrap().push(self.0.to_bytes());
        self.0.sync()
    }
}

/// Against: a kill in the middle of a removal that leaves keys without their run: a run of the name
/// would skip what it has not done.
#[test]
fn a_kill_in_the_middle_leaves_a_run_that_is_there_or_gone_and_never_a_part_for_good() {
    const KEYS: u64 = 5_000;
    let album = Arc::new(Album::default());
    let store = Options::new().create_on(album.clone()).unwrap();
    let mut run = store.run::<Counter>("old-run").unwrap();
    let items = (0..KEYS).map(|n| (Key::new(key_of(n)).expires_after(days(n % 7 + 1)), n, n));
    run.batch(items, |tx, n| {
        tx.state.sum += n;
        tx.put(format!("row-{}", n % 100), &n)?;
        Ok(n)
    })
    .unwrap();
    drop(run);
    album.1.lock().unwrap().clear();
    store.remove_run("old-run").unwrap();
    let album = std::mem::take(&mut *album.1.lock().unwrap());
    assert!(album.len() > 3, "a removal of several commits: {}", album.len());
    let mut seen_gone = 0;
    for (nth, bytes) in album.iter().enumerate() {
        let open = || Options::new().open_on(Arc::new(MemoryDisk::from_bytes(bytes.clone())));
        let store = open().unwrap();
        assert_sound(&store);
        if is_there(&store, "old-run") {
            let mut run = store.run::<Counter>("old-run").unwrap();
            assert_eq!((run.steps(), run.state().sum), (KEYS, KEYS * (KEYS - 1) / 2), "{nth}");
            assert_eq!(seen(&mut run, &key_of(KEYS - 1)).unwrap(), Some(KEYS - 1));
            continue;
        }
        seen_gone += 1;
        // As if it had never been, and no key of it is left for the new one.
        let mut run = store.run::<Counter>("old-run").unwrap();
        assert_eq!((run.steps(), run.state().sum), (0, 0), "{nth}");
        assert_eq!(seen(&mut run, &key_of(KEYS - 1)).unwrap(), None, "{nth}");
        assert_eq!(run.get::<u64>("row-7").unwrap(), None);
        assert_sound(&store);
        drop((run, store));

        // And if nobody asks for it, the steps of others take it away.
        let disk = Arc::new(MemoryDisk::from_bytes(bytes.clone()));
        let store = Options::new().open_on(disk.clone()).unwrap();
        let mut other = store.run::<Counter>("other").unwrap();
        for n in 0..40 {
            count(&mut other, n).unwrap();
        }
        assert_eq!(left_of(&disk.to_bytes(), "old-run"), 0, "{nth}");
        assert_sound(&store);
    }
    assert!(seen_gone > 1);
}

/// Against: a run that goes while a handle writes it, or while nobody knows what became of its order.
#[test]
fn a_run_that_is_open_or_has_effects_that_are_not_settled_is_not_removed() {
    let store = Store::in_memory().unwrap();
    assert_eq!(kind(store.remove_run("run")), ErrorKind::NotFound);
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("k", 1, |tx| tx.emit(&ORDERS, &1u64)).unwrap();
    assert_eq!(kind(store.remove_run("run")), ErrorKind::Conflict);
    drop(run);
    let refused = error(store.remove_run("run"));
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("not settled"), "{refused}");
    assert_eq!(store.run::<Counter>("run").unwrap().steps(), 1);
    store.relay(&ORDERS).deliver(&mut Market::default()).unwrap();
    store.remove_run("run").unwrap();
    assert!(!is_there(&store, "run"));
}

/// A run for each day, which is ended.
fn a_day(store: &Store, day: u64, market: &mut Market) {
    let name = format!("day-{day:04}");
    for n in 0..4 {
        trade(store, &name, "orders", n, market);
    }
    store.run::<Counter>(&name).unwrap().end().unwrap();
}

/// Against: a job of every day whose store keeps each of its runs for ever.
#[test]
fn ended_runs_go_after_their_time_and_the_file_stays_flat() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    let (mut steady, mut runs) = (0, 0);
    for day in 0..500 {
        a_day(&store, day, &mut market);
        clock.advance(days(1));
        runs = rows_of(&disk.to_bytes(), "runs").len() * usize::from(day % 100 == 99)
            + runs * usize::from(day % 100 != 99);
        assert!(runs <= 93, "{runs} runs are kept");
        if day == 150 {
            steady = store.size().unwrap().live_bytes;
        }
    }
    // What is in use, and not the length of the file: that grows by half at a time.
    let end = store.size().unwrap();
    let live = end.live_bytes;
    assert!(live <= steady + steady / 4, "{steady} bytes after 150 days, {live} after 500");
    assert!(end.file_bytes <= 5 * live, "{end:?}");
    assert!(is_there(&store, "day-0420") && !is_there(&store, "day-0400"));
    assert_sound(&store);
    assert_eq!(market.0.iter().collect::<BTreeSet<_>>().len(), 2_000);
}

/// Against: a job that is started once more for a day of long ago, whose keys are forgotten, and does
/// all of it again.
#[test]
fn the_name_of_a_run_that_its_retention_removed_stays_taken_until_it_is_removed_by_hand() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    a_day(&store, 0, &mut market);
    clock.advance(days(91));
    a_day(&store, 91, &mut market);
    store.run::<Counter>("other").unwrap().step("k", 1, |_| Ok(())).unwrap();
    assert!(!is_there(&store, "day-0000"));
    let gone = error(store.run::<Counter>("day-0000"));
    assert_eq!(gone.kind(), ErrorKind::BeyondHorizon, "{gone}");
    assert!(gone.to_string().contains("remove_run"), "{gone}");
    let saved = store.checkpoints().save("other", &Labels::new()).unwrap();
    assert_eq!(kind(store.checkpoints().fork(&saved, "day-0000")), ErrorKind::BeyondHorizon);
    drop(store);
    // Nor is it new when the note of it is damaged.
    let bytes = disk.to_bytes();
    let note = b"run-removed/day-0000".as_slice();
    let (_, mut row) = rows_of(&bytes, "meta").into_iter().find(|(key, _)| key == note).unwrap();
    *row.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::write(&path, with_row(&bytes, "meta", note, Some(&row))).unwrap();
    let options = Options::new().clock(clock);
    repair(&path, &RepairOptions::new().options(options.clone())).unwrap();
    let store = options.open(&path).unwrap();
    assert_eq!(kind(store.run::<Counter>("day-0000")), ErrorKind::BeyondHorizon);
    assert!(store.inspect_table("meta", None, 100).unwrap().len() > 3);
    store.remove_run("day-0000").unwrap();
    assert_eq!(store.run::<Counter>("day-0000").unwrap().steps(), 0);
    assert_sound(&store);
}

/// Against: a retention that takes what is still worked on, not settled, or pinned.
#[test]
fn a_run_that_was_opened_again_is_in_doubt_or_is_pinned_stays() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    // Each with a state of its own: a checkpoint is pinned wherever it is.
    for (n, name) in (1..).zip(["again", "open", "doubt", "pinned", "gone"]) {
        trade(&store, name, "orders", n, &mut market);
    }
    store.run::<Counter>("doubt").unwrap().step("k", 9, |tx| tx.emit(&LATER, &1u64)).unwrap();
    let saved = store.checkpoints().save("pinned", &Labels::new()).unwrap();
    store.checkpoints().pin(&saved).unwrap();
    for name in ["again", "open", "doubt", "pinned", "gone"] {
        store.run::<Counter>(name).unwrap().end().unwrap();
    }
    drop(store.run::<Counter>("again").unwrap());
    let open = store.run::<Counter>("open").unwrap();
    clock.advance(days(1_000));
    for day in 0..4 {
        a_day(&store, day, &mut market);
    }
    for name in ["again", "open", "doubt", "pinned"] {
        assert!(is_there(&store, name), "{name}");
    }
    assert!(!is_there(&store, "gone"));
    open.end().unwrap();
    store.relay(&LATER).deliver(&mut market).unwrap();
    clock.advance(days(91));
    // Two go with each that is ended, and four days were ended before those.
    for day in 5..8 {
        a_day(&store, day, &mut market);
    }
    assert!(!is_there(&store, "open") && !is_there(&store, "doubt"));
    assert!(is_there(&store, "again") && is_there(&store, "pinned"));
    assert_sound(&store);
}

#[test]
fn a_store_that_is_told_to_keeps_all_ended_runs() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let options = options.settled_retention(SettledRetention::keep_all());
    let (_, store) = on_disk(&options);
    let mut market = Market::default();
    for day in 0..20 {
        a_day(&store, day, &mut market);
        clock.advance(days(100));
    }
    assert!((0..20).all(|day| is_there(&store, &format!("day-{day:04}"))));
}

/// Against: a bot with a topic for each day, each of which keeps its last orders because nothing is
/// settled in it any more.
#[test]
fn topics_in_which_nothing_is_settled_any_more_become_empty_too() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    for day in 0..200 {
        // Not in the order of their days.
        let topic = format!("orders-{:03}", day * 77 % 200);
        for n in 0..4 {
            trade(&store, "bot", &topic, 10 * day + n, &mut market);
        }
        clock.advance(days(1));
    }
    let kept = rows_of(&disk.to_bytes(), "intents").len();
    assert!((30 * 4..=60 * 4).contains(&kept), "{kept} are kept");
    assert_sound(&store);
}

fn settled_at(store: &Store) -> Vec<u64> {
    let settled = store.intents().settled("orders", usize::MAX).unwrap();
    settled.iter().map(|intent| intent.changed.as_ms()).collect()
}

/// Against: a machine without a battery for its clock: what was settled before the time server answered
/// counts as fifty years old.
#[test]
fn what_was_settled_while_the_clock_stood_in_1970_is_kept_as_long_as_all_else() {
    let clock = ManualClock::new(Timestamp::from_ms(40_000));
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut market = Market::default();
    (0..20).for_each(|n| trade(&store, "bot", "orders", n, &mut market));
    store.run::<Counter>("bot").unwrap().end().unwrap();
    drop(store);
    clock.reboot();
    clock.set(crate::support::T0);
    let store = options.open_on(killed(&disk)).unwrap();
    (20..30).for_each(|n| trade(&store, "other", "orders", n, &mut market));
    store.run::<Counter>("other").unwrap().end().unwrap();
    assert_eq!(settled_at(&store).len(), 30);
    assert!(is_there(&store, "bot"));
    clock.advance(days(29));
    trade(&store, "third", "orders", 31, &mut market);
    assert_eq!(settled_at(&store).len(), 31);
    clock.advance(days(2));
    (32..50).for_each(|n| trade(&store, "third", "orders", n, &mut market));
    assert_eq!(settled_at(&store).len(), 19);
    clock.advance(days(60));
    store.run::<Counter>("third").unwrap().end().unwrap();
    assert!(!is_there(&store, "bot"));
    assert_sound(&store);
}

/// Against: a clock that falls back to 1970 under an open store.
#[test]
fn a_clock_that_falls_back_makes_nothing_old() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    trade(&store, "bot", "orders", 0, &mut market);
    clock.set(Timestamp::from_ms(1_000));
    clock.advance(second(5));
    (1..20).for_each(|n| trade(&store, "bot", "orders", n, &mut market));
    assert_eq!(settled_at(&store).len(), 20);
    assert!(settled_at(&store).iter().all(|ms| *ms >= crate::support::T0.as_ms()));
}
