//! Retention: which checkpoints go. Against one that goes while it is the newest, pinned, or the last
//! before an effect that is not settled; and against a store that grows for ever.

use std::time::Duration;

use milepost::testing::Rng;
use milepost::{
    CheckpointFilter, CheckpointId, Endpoint, Labels, Options, Probe, Retention, Run, Sent, Store,
};

use crate::large_state::{Blob, chunks_in, leave, words};
use crate::support::{Counter, ORDERS, clock, count, days, on_disk, second};

fn keep_last(keep_last: u64) -> Retention {
    Retention { keep_last, keep_for: Duration::ZERO, keep_bytes: u64::MAX }
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

fn ids(store: &Store) -> Vec<CheckpointId> {
    let all = CheckpointFilter::new().page(1_000);
    store.checkpoints().list(&all).unwrap().checkpoints.iter().map(|known| known.id).collect()
}

fn save(store: &Store, run: &mut Run<Counter>, n: u64) -> CheckpointId {
    count(run, n).unwrap();
    store.checkpoints().save(run.name().as_str(), &Labels::new()).unwrap()
}

#[test]
fn only_the_last_so_many_stay_and_they_stay_what_they_are() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().retention(keep_last(5)).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    let mut saved = Vec::new();
    for n in 1..=60 {
        clock.advance(second(1));
        saved.insert(0, save(&store, &mut run, n));
        assert_eq!(ids(&store), saved[..saved.len().min(5)]);
    }
    for (nth, id) in (0..).zip(&saved[..5]) {
        assert_eq!(store.checkpoints().load::<Counter>(id).unwrap().seen.len(), 60 - nth);
    }
    assert_sound(&store);
}

#[test]
fn a_young_checkpoint_stays_however_many_there_are() {
    let clock = clock();
    let policy = Retention { keep_for: days(1), ..keep_last(2) };
    let (_, store) = on_disk(&Options::new().retention(policy).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=20 {
        save(&store, &mut run, n);
    }
    assert_eq!(ids(&store).len(), 20);
    clock.advance(days(1) + second(1));
    save(&store, &mut run, 21);
    assert_eq!(ids(&store).len(), 2);
    assert_sound(&store);
}

#[test]
fn the_oldest_go_while_all_states_together_are_too_large() {
    let policy = Retention { keep_bytes: 500_000, ..Retention::default() };
    let (disk, store) = on_disk(&Options::new().retention(policy));
    let mut rng = Rng::of(1, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    for n in 1..=8 {
        let words = words(&mut rng, 200_000);
        run.step(n.to_string(), n, |tx| {
            tx.state.words = words;
            tx.checkpoint(Labels::new())
        })
        .unwrap();
        assert_sound(&store);
    }
    assert_eq!(ids(&store).len(), 2);
    let with_two = chunks_in(&disk.to_bytes());
    assert!(with_two < 80, "{with_two} chunks");
    // Even if the newest alone is more.
    drop(run);
    let run = store.open_run::<Blob>("run").retention(Retention { keep_bytes: 1, ..policy });
    let mut run = run.open().unwrap();
    run.step("last", 9, |tx| tx.checkpoint(Labels::new())).unwrap();
    assert_eq!(ids(&store).len(), 1);
    assert_sound(&store);
}

#[test]
fn retention_is_on_by_default() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=130 {
        clock.advance(days(1) / 2);
        save(&store, &mut run, n);
    }
    assert_eq!(ids(&store).len(), 100);
}

#[test]
fn what_is_pinned_stays_and_does_not_save_its_neighbours() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().retention(keep_last(2)).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    let pinned = save(&store, &mut run, 1);
    store.checkpoints().pin(&pinned).unwrap();
    for n in 2..=9 {
        clock.advance(second(1));
        save(&store, &mut run, n);
    }
    assert_eq!(ids(&store).len(), 3);
    assert_eq!(ids(&store)[2], pinned);
    assert_eq!(store.checkpoints().load::<Counter>(&pinned).unwrap().seen, [1]);
    assert_sound(&store);
}

/// Never knows.
struct Silent;

impl Endpoint<u64, u64> for Silent {
    fn call(&mut self, _: &milepost::Delivery<u64>) -> Sent<u64> {
        Sent::Ambiguous("timeout".into())
    }

    fn probe(&mut self, _: &milepost::Delivery<u64>) -> Probe<u64> {
        Probe::Unknown
    }
}

#[test]
fn the_checkpoint_before_an_effect_in_doubt_stays_until_it_is_settled() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().retention(keep_last(1)).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    save(&store, &mut run, 1);
    clock.advance(second(1));
    let before = save(&store, &mut run, 2);
    let order = run.step("order", 3, |tx| tx.emit(&ORDERS, &7u64)).unwrap().into_outcome();
    store.relay(&ORDERS).deliver(&mut Silent).unwrap();
    for n in 4..=9 {
        clock.advance(second(1));
        save(&store, &mut run, n);
        assert!(ids(&store).contains(&before));
    }
    assert_eq!(ids(&store).len(), 2);
    let planned = store.checkpoints().plan("run", keep_last(1)).unwrap();
    assert_eq!(planned.going, []);
    store.intents().confirm(&order, Some(&1u64), "anna").unwrap();
    clock.advance(second(1));
    save(&store, &mut run, 10);
    assert_eq!(ids(&store).len(), 1);
    assert_sound(&store);
}

#[test]
fn a_plan_says_what_goes_and_changes_nothing_until_it_is_applied() {
    let clock = clock();
    let (disk, store) =
        on_disk(&Options::new().retention(Retention::keep_all()).clock(clock.clone()));
    let mut rng = Rng::of(2, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    let mut saved = Vec::new();
    for n in 1..=6 {
        clock.advance(second(1));
        leave(&mut run, n, &words(&mut rng, if n < 4 { 150_000 } else { 900 }));
        saved.push(store.checkpoints().save("run", &Labels::new()).unwrap());
    }
    clock.advance(second(1));
    let before = disk.to_bytes();
    let planned = store.checkpoints().plan("run", keep_last(2)).unwrap();
    assert!(disk.to_bytes() == before, "a plan changes nothing");
    assert_eq!(planned.going, saved[..4]);
    assert_eq!(planned.staying, 2);
    assert!(planned.to_string().starts_with("run: 4 checkpoints go ("), "{planned}");
    assert!(planned.logical_bytes > 450_000 && planned.physical_bytes > 400_000, "{planned}");
    store.checkpoints().pin(&saved[1]).unwrap();
    let freed = store.checkpoints().apply(&planned).unwrap();
    assert_eq!(freed.checkpoints, 3);
    assert!(freed.physical_bytes < planned.physical_bytes && freed.physical_bytes > 250_000);
    assert_eq!(ids(&store), [saved[5], saved[4], saved[1]]);
    assert_sound(&store);
    // Done twice, it finds nothing to do.
    assert_eq!(store.checkpoints().apply(&planned).unwrap().checkpoints, 0);
}

/// Against: a plan of before, by which the last state before an effect in doubt goes.
#[test]
fn what_was_planned_to_go_stays_if_it_has_become_the_last_one_before_an_effect_in_doubt() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().retention(Retention::keep_all()).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    let mut saved = Vec::new();
    for n in 1..=3 {
        clock.advance(second(1));
        saved.push(save(&store, &mut run, n));
    }
    clock.advance(second(1));
    let planned = store.checkpoints().plan("run", keep_last(1)).unwrap();
    assert_eq!(planned.going, saved[..2]);
    run.step("order", 4, |tx| tx.emit(&ORDERS, &7u64)).unwrap();
    store.relay(&ORDERS).deliver(&mut Silent).unwrap();
    saved.push(save(&store, &mut run, 5));
    store.checkpoints().delete(&saved[2]).unwrap();
    assert_eq!(store.checkpoints().apply(&planned).unwrap().checkpoints, 1);
    assert_eq!(ids(&store), [saved[3], saved[1]]);
    assert_sound(&store);
}

/// Against: figures that nobody has added up.
#[test]
fn what_a_plan_says_in_bytes_is_what_comes_free() {
    let (_, store) = on_disk(&Options::new().retention(Retention::keep_all()));
    let mut rng = Rng::of(3, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    for n in 1..=5 {
        leave(&mut run, n, &words(&mut rng, 150_000));
        store.checkpoints().save("run", &Labels::new()).unwrap();
    }
    let all = store.checkpoints().list(&CheckpointFilter::new()).unwrap().checkpoints;
    let planned = store.checkpoints().plan("run", keep_last(2)).unwrap();
    let freed = store.checkpoints().apply(&planned).unwrap();
    assert_eq!(freed.checkpoints, 3);
    assert_eq!(freed.logical_bytes, planned.logical_bytes);
    assert_eq!(freed.logical_bytes, all[2..].iter().map(|known| known.bytes).sum::<u64>());
    // Nothing is shared, and nothing has to be written.
    assert_eq!(freed.physical_bytes, planned.physical_bytes);
    let rows = freed.logical_bytes..freed.logical_bytes + 10_000;
    assert!(rows.contains(&freed.physical_bytes), "{freed:?}");
}

/// Against: room that is said to come free, and is taken by what has to be written instead.
#[test]
fn what_is_written_in_the_place_of_what_goes_is_not_counted_as_free() {
    let (_, store) = on_disk(&Options::new().retention(Retention::keep_all()));
    let mut rng = Rng::of(4, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    let mut words = words(&mut rng, 9_000);
    for n in 1..=2 {
        words[0] += 1;
        leave(&mut run, n, &words);
        store.checkpoints().save("run", &Labels::new()).unwrap();
    }
    // The first one stands whole; without it, the second one has to.
    let planned = store.checkpoints().plan("run", keep_last(1)).unwrap();
    let freed = store.checkpoints().apply(&planned).unwrap();
    assert!(planned.physical_bytes > 8_000 && freed.physical_bytes < 1_000, "{planned} {freed:?}");
}

#[test]
fn much_is_let_go_of_in_many_small_commits() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().retention(Retention::keep_all()).clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    let labels = || Labels::new();
    run.batch((1..=1_500u64).map(|n| (n.to_string(), n, n)), |tx, n| {
        tx.state.sum = n;
        tx.checkpoint(labels())
    })
    .unwrap();
    clock.advance(second(1));
    let first = store.newest_commit().unwrap().get();
    let planned = store.checkpoints().plan("run", keep_last(10)).unwrap();
    let freed = store.checkpoints().apply(&planned).unwrap();
    assert_eq!((freed.checkpoints, ids(&store).len()), (1_490, 10));
    assert!(store.newest_commit().unwrap().get() - first >= 3);
    assert_sound(&store);
}
