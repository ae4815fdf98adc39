//! Checkpoints: immutable states, named by the hash of what they hold. Against one state with two
//! ids, a checkpoint that is not what was saved, one that goes while it is needed, and one that stays
//! in part.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use milepost::testing::Rng;
use milepost::{
    Autosave, CheckpointFilter, CheckpointId, ErrorKind, Labels, Options, Position, RepairOptions,
    Retention, Run, Store, Versioned, repair,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::large_state::{Blob, chunks_in, leave, words};
use crate::support::{
    Counter, clock, count, error, key_of, kind, on_disk, open_bytes, reframed, rows_of, second,
    with_row,
};

fn keep_all() -> Options {
    Options::new().retention(Retention::keep_all())
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

/// A run whose steps leave a checkpoint each; their ids.
fn history(store: &Store, run: &str, steps: u64) -> Vec<CheckpointId> {
    let mut run = store.run::<Counter>(run).unwrap();
    (1..=steps)
        .map(|n| {
            run.step(key_of(n), n, |tx| {
                tx.state.sum += n;
                tx.state.seen.push(n);
                tx.checkpoint(Labels::new().with("n", n.to_string()))
            })
            .unwrap();
            store.checkpoints().latest(run.name().as_str()).unwrap().unwrap().id
        })
        .collect()
}

#[test]
fn a_checkpoint_holds_the_state_of_its_step_and_of_no_other() {
    let (disk, store) = on_disk(&keep_all());
    let ids = history(&store, "run", 40);
    assert_sound(&store);
    drop(store);
    let store = open_bytes(&disk.to_bytes()).unwrap();
    for (n, id) in (1..).zip(&ids) {
        let state: Counter = store.checkpoints().load(id).unwrap();
        assert_eq!(state.seen, (1..=n).collect::<Vec<_>>());
        let known = store.checkpoints().show(id).unwrap();
        assert_eq!((known.position, known.steps), (Position::Index(n), n));
        assert_eq!(known.labels["n"], n.to_string());
    }
}

#[test]
fn a_step_that_fails_leaves_no_checkpoint() {
    let (_, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let failed = run.step("bad", 1, |tx| {
        tx.checkpoint(Labels::new())?;
        Err::<(), _>(milepost::Error::abort("no"))
    });
    assert_eq!(kind(failed), ErrorKind::Aborted);
    assert_eq!(store.checkpoints().latest("run").unwrap(), None);
    // A repeat does not run its closure, and saves nothing again.
    count(&mut run, 1).unwrap();
    let before = store.checkpoints().save("run", &Labels::new()).unwrap();
    count(&mut run, 1).unwrap();
    assert_eq!(store.checkpoints().latest("run").unwrap().unwrap().id, before);
}

#[test]
fn every_step_of_a_batch_has_its_own_checkpoint() {
    let (_, store) = on_disk(&keep_all());
    let mut run = store.run::<Blob>("run").unwrap();
    let mut rng = Rng::of(1, "words", 0);
    let states: Vec<Vec<u64>> =
        [10, 200_000, 100_000, 500, 200_000].map(|bytes| words(&mut rng, bytes)).into();
    let items = (1u64..).zip(&states).map(|(n, words)| (key_of(n), n, words));
    run.batch(items, |tx, words| {
        tx.state.words.clone_from(words);
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    assert_sound(&store);
    let page = store.checkpoints().list(&CheckpointFilter::new().run("run")).unwrap();
    assert_eq!(page.checkpoints.len(), states.len());
    for (known, words) in page.checkpoints.iter().rev().zip(&states) {
        assert!(store.checkpoints().load::<Blob>(&known.id).unwrap().words == *words);
    }
}

/// A state whose bytes have no order of their own.
#[derive(Default, Serialize, Deserialize)]
struct Unordered {
    by_name: HashMap<String, u64>,
}

impl Versioned for Unordered {
    const NAME: &'static str = "unordered";
    const VERSION: u32 = 1;
}

#[test]
fn the_same_state_has_the_same_id_in_whatever_order_a_map_iterates() {
    let ids: Vec<_> = [false, true]
        .into_iter()
        .map(|backwards| {
            let store = Store::in_memory().unwrap();
            let mut run = store.run::<Unordered>("run").unwrap();
            let mut names: Vec<u64> = (0..200).collect();
            if backwards {
                names.reverse();
            }
            run.step("key", 1, |tx| {
                tx.state.by_name.extend(names.iter().map(|n| (n.to_string(), *n)));
                Ok(())
            })
            .unwrap();
            store.checkpoints().save("run", &Labels::new().with("no", "part")).unwrap()
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn what_is_part_of_the_content_is_part_of_the_id_and_nothing_else() {
    let id = |run: &str, n: u64, labels: Labels| {
        let store = Store::in_memory().unwrap();
        count(&mut store.run::<Counter>(run).unwrap(), n).unwrap();
        store.checkpoints().save(run, &labels).unwrap()
    };
    let plain = id("run", 1, Labels::new());
    assert_eq!(id("other", 1, Labels::new()), plain);
    assert_eq!(id("run", 1, Labels::new().with("why", "upgrade")), plain);
    assert_ne!(id("run", 2, Labels::new()), plain);
    assert_ne!(id("run", 1, Labels::new().identifying("config", "9f3")), plain);
}

#[test]
fn saving_the_same_again_is_the_same_checkpoint() {
    let (_, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let once = store.checkpoints().save("run", &Labels::new()).unwrap();
    assert_eq!(store.checkpoints().save("run", &Labels::new()).unwrap(), once);
    assert_eq!(store.checkpoints().list(&CheckpointFilter::new()).unwrap().checkpoints.len(), 1);
    assert_eq!(kind(store.checkpoints().save("no run", &Labels::new())), ErrorKind::NotFound);
}

/// Against: a label that is dropped without a word because the run has just saved itself.
#[test]
fn a_state_that_is_there_already_is_found_under_a_new_label_too() {
    let (_, store) = on_disk(&keep_all());
    let run = store.open_run("run").init(Counter::default);
    let mut run = run
        .autosave(Autosave::every_steps(1).labels(Labels::new().with("why", "regular")))
        .open()
        .unwrap();
    count(&mut run, 1).unwrap();
    let checkpoints = store.checkpoints();
    let upgrade = Labels::new().with("why", "before the upgrade");
    let all = CheckpointFilter::new();
    for _ in 0..2 {
        let id = checkpoints.save("run", &upgrade).unwrap();
        let found = checkpoints.list(&all.clone().label("why", "before the upgrade")).unwrap();
        assert_eq!(found.checkpoints.len(), 1);
        assert_eq!(found.checkpoints[0].id, id);
        assert_eq!(
            checkpoints.list(&all.clone().label("why", "regular")).unwrap().checkpoints[0].id,
            id
        );
        checkpoints.save("run", &Labels::new()).unwrap();
        assert_eq!(checkpoints.list(&all).unwrap().checkpoints.len(), 2, "it was saved once more");
    }
    assert_sound(&store);
}

#[test]
fn labels_that_say_two_things_or_too_much_are_refused() {
    let (_, store) = on_disk(&Options::new());
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    let save = |labels| kind(store.checkpoints().save("run", &labels));
    assert_eq!(save(Labels::new().with("", "x")), ErrorKind::Invalid);
    assert_eq!(save(Labels::new().with("a", "x").identifying("a", "y")), ErrorKind::Invalid);
    assert_eq!(save(Labels::new().with("a", "x".repeat(513))), ErrorKind::LimitExceeded);
    assert_eq!(save(Labels::new().with("x".repeat(513), "")), ErrorKind::LimitExceeded);
    let many = |count| (0..count).fold(Labels::new(), |all, n| all.with(n.to_string(), ""));
    assert_eq!(save(many(33)), ErrorKind::LimitExceeded);
    // At the limits.
    let most = many(31).with("x".repeat(512), "y".repeat(512));
    assert!(store.checkpoints().save("run", &most).is_ok());
}

#[test]
fn an_id_is_found_by_its_first_digits_and_candidates_are_named() {
    let (_, store) = on_disk(&keep_all());
    let ids = history(&store, "run", 40);
    for id in &ids {
        let text = id.to_string();
        assert_eq!(store.checkpoints().find(&text).unwrap(), *id);
        assert_eq!(store.checkpoints().find(&text.to_uppercase()).unwrap(), *id);
        assert_eq!(text.parse::<CheckpointId>().unwrap(), *id);
        // The shortest prefix that no other has, odd or even.
        let others = |len: usize| {
            ids.iter().filter(|other| other.to_string().starts_with(&text[..len])).count()
        };
        let len = (1..=64).find(|len| others(*len) == 1).unwrap();
        assert_eq!(store.checkpoints().find(&text[..len]).unwrap(), *id);
        if len > 1 {
            let error = error(store.checkpoints().find(&text[..len - 1]));
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains(&text) || others(len - 1) > 8, "{error}");
        }
    }
    assert_eq!(kind(store.checkpoints().find("")), ErrorKind::Invalid);
    assert_eq!(kind(store.checkpoints().find("xyz")), ErrorKind::Invalid);
    assert_eq!(kind(store.checkpoints().find(&"0".repeat(40))), ErrorKind::NotFound);
    assert_eq!(kind("0".repeat(63).parse::<CheckpointId>()), ErrorKind::Invalid);
}

#[test]
fn a_list_is_newest_first_and_its_pages_join_without_a_gap() {
    let clock = clock();
    let (_, store) = on_disk(&keep_all().clock(clock.clone()));
    let mut runs = [store.run::<Counter>("a").unwrap(), store.run::<Counter>("b").unwrap()];
    let mut saved = Vec::new();
    for n in 1..=90u64 {
        clock.advance(second(1));
        let run = &mut runs[usize::from(n % 3 == 0)];
        count(run, n).unwrap();
        let labels = Labels::new().with("even", (n % 2 == 0).to_string());
        saved.push((n, store.checkpoints().save(run.name().as_str(), &labels).unwrap()));
    }
    saved.reverse();
    let pages = |filter: CheckpointFilter| {
        let (mut found, mut next) = (Vec::new(), Some(filter.clone()));
        while let Some(filter) = next {
            let page = store.checkpoints().list(&filter).unwrap();
            found.extend(page.checkpoints);
            next = page.next.map(|cursor| filter.behind(cursor));
        }
        found.iter().map(|known| known.id).collect::<Vec<_>>()
    };
    let expected = |takes: &dyn Fn(u64) -> bool| {
        saved.iter().filter(|(n, _)| takes(*n)).map(|(_, id)| *id).collect::<Vec<_>>()
    };
    let all = CheckpointFilter::new();
    for page in [1, 7, 50, 90, 91] {
        assert_eq!(pages(all.clone().page(page)), expected(&|_| true));
    }
    let next = |page| store.checkpoints().list(&all.clone().page(page)).unwrap().next;
    assert!(next(89).is_some() && next(90).is_none(), "there is another page, or there is none");
    assert_eq!(pages(all.clone().run("b").page(4)), expected(&|n| n % 3 == 0));
    assert_eq!(pages(all.clone().label("even", "true").page(9)), expected(&|n| n % 2 == 0));
    assert_eq!(pages(all.clone().positions(20..=29)), expected(&|n| (20..30).contains(&n)));
    assert_eq!(pages(all.clone().schema("counter")), expected(&|_| true));
    assert_eq!(pages(all.clone().schema("other")), []);
    let at = |n| crate::support::T0.after(second(n));
    assert_eq!(pages(all.clone().times(at(5)..=at(8))), expected(&|n| (5..9).contains(&n)));
    store.checkpoints().pin(&saved[3].1).unwrap();
    assert_eq!(pages(all.pinned()), [saved[3].1]);
}

#[test]
fn a_checkpoint_in_the_middle_goes_and_its_neighbours_stay_what_they_are() {
    let (_, store) = on_disk(&keep_all());
    let ids = history(&store, "run", 40);
    for nth in [17, 18, 0, 5, 39] {
        store.checkpoints().delete(&ids[nth]).unwrap();
        assert_eq!(kind(store.checkpoints().load::<Counter>(&ids[nth])), ErrorKind::NotFound);
        assert_sound(&store);
    }
    for (nth, id) in ids.iter().enumerate() {
        if ![17, 18, 0, 5, 39].contains(&nth) {
            assert_eq!(store.checkpoints().load::<Counter>(id).unwrap().seen.len(), nth + 1);
        }
    }
    assert_eq!(store.checkpoints().latest("run").unwrap().unwrap().id, ids[38]);
}

#[test]
fn what_is_pinned_is_not_deleted_before_it_is_unpinned() {
    let (_, store) = on_disk(&Options::new());
    let ids = history(&store, "run", 2);
    store.checkpoints().pin(&ids[0]).unwrap();
    assert!(store.checkpoints().show(&ids[0]).unwrap().pinned);
    assert_eq!(kind(store.checkpoints().delete(&ids[0])), ErrorKind::Conflict);
    store.checkpoints().unpin(&ids[0]).unwrap();
    store.checkpoints().delete(&ids[0]).unwrap();
    assert_eq!(kind(store.checkpoints().pin(&ids[0])), ErrorKind::NotFound);
    assert_sound(&store);
}

#[test]
fn a_checkpoint_of_a_large_state_keeps_its_chunks_and_gives_them_back() {
    let (disk, store) = on_disk(&keep_all());
    let mut rng = Rng::of(2, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    let first = words(&mut rng, 300_000);
    leave(&mut run, 1, &first);
    let alone = chunks_in(&disk.to_bytes());
    let id = store.checkpoints().save("run", &Labels::new()).unwrap();
    assert_eq!(chunks_in(&disk.to_bytes()), alone, "shared with the newest state");
    leave(&mut run, 2, &words(&mut rng, 100));
    assert_eq!(chunks_in(&disk.to_bytes()), alone);
    assert_sound(&store);
    assert!(store.checkpoints().load::<Blob>(&id).unwrap().words == first);
    store.checkpoints().fork(&id, "again").unwrap();
    store.checkpoints().delete(&id).unwrap();
    assert_sound(&store);
    let mut again = store.run::<Blob>("again").unwrap();
    assert!(again.state().words == first);
    assert_eq!((again.position(), again.steps()), (&Position::Index(1), 1));
    leave(&mut again, 2, &[]);
    assert_sound(&store);
    assert_eq!(chunks_in(&disk.to_bytes()), 0);
}

#[test]
fn a_fork_goes_on_from_the_checkpoint_and_leaves_the_run_alone() {
    let (_, store) = on_disk(&keep_all());
    let ids = history(&store, "run", 9);
    store.checkpoints().fork(&ids[4], "what if").unwrap();
    let mut fork = store.run::<Counter>("what if").unwrap();
    assert_eq!(fork.state().seen, [1, 2, 3, 4, 5]);
    assert!(count(&mut fork, 6).unwrap().is_fresh());
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen.len(), 9);
    assert_eq!(kind(store.checkpoints().fork(&ids[4], "run")), ErrorKind::Conflict);
    assert_sound(&store);
}

#[test]
fn another_type_or_version_is_told_before_its_bytes_are_read() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Newer(Counter);
    impl Versioned for Newer {
        const NAME: &'static str = "counter";
        const VERSION: u32 = 2;
    }
    let (_, store) = on_disk(&Options::new());
    let ids = history(&store, "run", 1);
    assert_eq!(kind(store.checkpoints().load::<Blob>(&ids[0])), ErrorKind::SchemaMismatch);
    assert_eq!(kind(store.checkpoints().load::<Newer>(&ids[0])), ErrorKind::SchemaMismatch);
}

#[test]
fn a_run_saves_every_so_many_steps_without_anybody_counting() {
    let (disk, store) = on_disk(&keep_all());
    let autosave = || Autosave::every_steps(5).labels(Labels::new().with("kind", "auto"));
    let run = store.open_run("run").init(Counter::default);
    let mut run = run.autosave(autosave()).open().unwrap();
    (1..=12).for_each(|n| assert!(count(&mut run, n).unwrap().is_fresh()));
    drop((run, store));
    // The count goes on in the next life.
    let store = open_bytes(&disk.to_bytes()).unwrap();
    let run = store.open_run("run").init(Counter::default);
    let mut run = run.autosave(autosave()).open().unwrap();
    (13..=21).for_each(|n| assert!(count(&mut run, n).unwrap().is_fresh()));
    let filter = CheckpointFilter::new().label("kind", "auto");
    let found = store.checkpoints().list(&filter).unwrap().checkpoints;
    assert_eq!(found.iter().map(|known| known.steps).collect::<Vec<_>>(), [20, 15, 10, 5]);
    assert!(found.iter().all(|known| known.automatic));
}

#[test]
fn a_run_saves_every_so_often_by_the_stores_clock() {
    let clock = clock();
    let (_, store) = on_disk(&keep_all().clock(clock.clone()));
    let run = store.open_run("run").init(Counter::default);
    let mut run = run.autosave(Autosave::every(second(10))).open().unwrap();
    for n in 1..=30 {
        clock.advance(second(3));
        count(&mut run, n).unwrap();
    }
    // One that was asked for counts too.
    let found = store.checkpoints().list(&CheckpointFilter::new()).unwrap().checkpoints;
    assert_eq!(
        found.iter().rev().map(|known| known.steps).collect::<Vec<_>>(),
        [4, 8, 12, 16, 20, 24, 28]
    );
}

#[test]
fn nothing_of_a_state_or_a_label_is_printed() {
    let (_, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 271_828).unwrap();
    let labels = Labels::new().with("token", "hunter2").identifying("account", "hunter3");
    store.checkpoints().save("run", &labels).unwrap();
    let known = store.checkpoints().latest("run").unwrap().unwrap();
    let autosave = Autosave::every_steps(1).labels(labels.clone());
    let page = store.checkpoints().list(&CheckpointFilter::new()).unwrap();
    let printed = format!("{known:?} {labels:?} {autosave:?} {page:?} {:?}", store.checkpoints());
    assert!(format!("{known:?}").contains("token"), "{printed}");
    assert!(printed.contains("Checkpoints {"), "{printed}");
    assert!(!printed.contains("hunter") && !printed.contains("271828,"), "{printed}");
}

/// A run with 40 checkpoints, each of which differs little from the one before; their ids, and what
/// they hold.
fn forty() -> (Vec<u8>, Vec<CheckpointId>, Vec<Vec<u64>>) {
    let (disk, store) = on_disk(&keep_all());
    let mut words = words(&mut Rng::of(3, "words", 0), 3_000);
    let mut run = store.run::<Blob>("run").unwrap();
    let (mut ids, mut states) = (Vec::new(), Vec::new());
    for n in 1..=40 {
        words[n as usize] ^= 0xff;
        leave(&mut run, n, &words);
        ids.push(store.checkpoints().save("run", &Labels::new()).unwrap());
        states.push(words.clone());
    }
    drop((run, store));
    (disk.to_bytes(), ids, states)
}

fn row_of(bytes: &[u8], nth: usize) -> (Vec<u8>, Vec<u8>) {
    let rows = rows_of(bytes, "checkpoints");
    rows.into_iter().filter(|(key, _)| key[0] == 1).nth(nth).unwrap()
}

#[test]
fn a_damaged_checkpoint_is_told_and_never_loaded_and_stops_no_step() {
    let (bytes, ids, states) = forty();
    for nth in [0, 3, 39] {
        let (key, row) = row_of(&bytes, nth);
        let mut flipped = row.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let resealed = reframed(3, &key, &row, |row| *row.last_mut().unwrap() ^= 1);
        for bad in [flipped, resealed] {
            let store = open_bytes(&with_row(&bytes, "checkpoints", &key, Some(&bad))).unwrap();
            for (id, words) in ids.iter().zip(&states) {
                match store.checkpoints().load::<Blob>(id) {
                    Ok(state) => assert!(state.words == *words),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Damaged, "{error}"),
                }
            }
            assert_eq!(kind(store.checkpoints().load::<Blob>(&ids[nth])), ErrorKind::Damaged);
            assert!(!store.verify().unwrap().is_sound());
            let run = store.open_run("run").init(Blob::default);
            let mut run = run.autosave(Autosave::every_steps(1)).open().unwrap();
            leave(&mut run, 41, &states[5]);
            let newest = store.checkpoints().latest("run").unwrap().unwrap().id;
            assert!(store.checkpoints().load::<Blob>(&newest).unwrap().words == states[5]);
        }
    }
}

/// Against: a checkpoint of a newer program that is taken for none at all: what comes behind it is based
/// on another one, or is saved too early, or its neighbours go.
#[test]
fn a_step_that_meets_a_checkpoint_of_a_newer_program_is_refused_and_leaves_no_trace() {
    let (bytes, _, states) = forty();
    let with_newer = |nth| {
        let (key, row) = row_of(&bytes, nth);
        let newer = reframed(3, &key, &row, |row| row[4] = 4);
        open_bytes(&with_row(&bytes, "checkpoints", &key, Some(&newer))).unwrap()
    };
    let refused = |store: &Store, run: &mut Run<Blob>, asked: bool| {
        let before = store.newest_commit().unwrap();
        let done = run.step("new", 41, |tx| {
            tx.state.words.clone_from(&states[5]);
            if asked { tx.checkpoint(Labels::new()) } else { Ok(()) }
        });
        let refused = error(done);
        assert_eq!(refused.kind(), ErrorKind::TooNew, "{refused}");
        assert_eq!((store.newest_commit().unwrap(), run.steps()), (before, 40));
        assert!(run.state().words == states[39]);
    };
    // The newest one: the new one may be based on it; and from it the steps are counted.
    let store = with_newer(39);
    let mut run = store.run::<Blob>("run").unwrap();
    refused(&store, &mut run, true);
    drop(run);
    let run = store.open_run::<Blob>("run").autosave(Autosave::every_steps(9));
    refused(&store, &mut run.open().unwrap(), false);
    // The oldest one: it is the first to go.
    let store = with_newer(0);
    let few = Retention { keep_last: 5, keep_for: Duration::ZERO, keep_bytes: u64::MAX };
    let run = store.open_run::<Blob>("run").retention(few);
    refused(&store, &mut run.open().unwrap(), true);
    let run = store.open_run::<Blob>("run").retention(Retention::keep_all());
    run.open().unwrap().step("new", 41, |tx| tx.checkpoint(Labels::new())).unwrap();
}

#[test]
fn repair_keeps_the_checkpoints_that_are_sound_and_their_index() {
    let (bytes, ids, states) = forty();
    let (key, _) = row_of(&bytes, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    std::fs::write(&path, with_row(&bytes, "checkpoints", &key, Some(b"no frame"))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    assert_sound(&store);
    let kept = |nth: usize| {
        let found = store.checkpoints().load::<Blob>(&ids[nth]);
        found.is_ok_and(|found| found.words == states[nth])
    };
    assert!((0..3).all(kept));
    assert!(!kept(3));
    // Those based on it went along, up to the next one that stands whole.
    assert!((32..40).all(kept));
}

#[test]
fn a_checkpoint_that_others_were_based_on_is_put_back_and_then_they_are() {
    let (bytes, ids, states) = forty();
    let (key, row) = row_of(&bytes, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    std::fs::write(&path, with_row(&bytes, "checkpoints", &key, Some(b"no frame"))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    // What a look into the kept file would bring: the row as it was.
    let store = Store::open(&path).unwrap();
    let put_aside = store.quarantine().list().unwrap();
    assert_eq!(put_aside.len(), 29, "it, and the 28 up to the next whole one");
    for record in &put_aside {
        assert_eq!(kind(store.quarantine().restore(record.number)), ErrorKind::Damaged);
    }
    drop(store);
    let mended = with_row(&std::fs::read(&path).unwrap(), "checkpoints", &key, Some(&row));
    let store = open_bytes(&mended).unwrap();
    for record in &put_aside[1..] {
        store.quarantine().restore(record.number).unwrap();
    }
    for (id, words) in ids.iter().zip(&states).skip(4) {
        assert!(store.checkpoints().load::<Blob>(id).unwrap().words == *words);
        store.checkpoints().delete(id).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Act {
    Step(u16),
    Save,
    Delete(usize),
    Pin(usize),
    Unpin(usize),
    Fork(usize),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => any::<u16>().prop_map(Act::Step),
        4 => Just(Act::Save),
        2 => any::<usize>().prop_map(Act::Delete),
        1 => any::<usize>().prop_map(Act::Pin),
        1 => any::<usize>().prop_map(Act::Unpin),
        1 => any::<usize>().prop_map(Act::Fork),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn checkpoints_are_what_a_list_of_states_would_be(
        acts in prop::collection::vec(act(), 1..40),
        large in any::<bool>(),
    ) {
        let (disk, mut store) = on_disk(&keep_all());
        let mut rng = Rng::of(5, "words", 0);
        let mut state = words(&mut rng, if large { 120_000 } else { 3_000 });
        let mut model: BTreeMap<u64, (CheckpointId, Vec<u64>, bool)> = BTreeMap::new();
        let mut run: Run<Blob> = store.run("run").unwrap();
        let (mut n, mut forks) = (1, 0);
        leave(&mut run, n, &state);
        for act in acts {
            let pick = |nth: usize| {
                let live: Vec<u64> = model.keys().copied().collect();
                (!live.is_empty()).then(|| live[nth % live.len()])
            };
            let checkpoints = store.checkpoints();
            match act {
                Act::Step(at) => {
                    n += 1;
                    let at = usize::from(at) % state.len();
                    state[at] = rng.next_u64();
                    leave(&mut run, n, &state);
                }
                Act::Save => {
                    let id = checkpoints.save("run", &Labels::new()).unwrap();
                    model.entry(n).or_insert((id, state.clone(), false));
                }
                Act::Delete(nth) => if let Some(n) = pick(nth) {
                    let (id, _, pinned) = &model[&n];
                    prop_assert_eq!(checkpoints.delete(id).is_err(), *pinned);
                    if !pinned { model.remove(&n); }
                },
                Act::Pin(nth) => if let Some(n) = pick(nth) {
                    checkpoints.pin(&model[&n].0).unwrap();
                    model.get_mut(&n).unwrap().2 = true;
                },
                Act::Unpin(nth) => if let Some(n) = pick(nth) {
                    checkpoints.unpin(&model[&n].0).unwrap();
                    model.get_mut(&n).unwrap().2 = false;
                },
                Act::Fork(nth) => if let Some(n) = pick(nth) {
                    forks += 1;
                    let name = format!("fork-{forks}");
                    checkpoints.fork(&model[&n].0, &name).unwrap();
                    prop_assert!(store.run::<Blob>(&name).unwrap().state().words == model[&n].1);
                },
                Act::Reopen => {
                    drop((run, checkpoints, store));
                    store = keep_all().open_on(disk.clone()).unwrap();
                    run = store.run("run").unwrap();
                    prop_assert!(run.state().words == state);
                }
            }
        }
        let found = store.verify().unwrap();
        prop_assert!(found.is_sound(), "{}", found);
        let all = CheckpointFilter::new().run("run").page(100);
        let listed = store.checkpoints().list(&all).unwrap().checkpoints;
        let ids: Vec<_> = model.values().rev().map(|(id, _, _)| *id).collect();
        prop_assert_eq!(listed.iter().map(|known| known.id).collect::<Vec<_>>(), ids);
        for (id, words, pinned) in model.values() {
            prop_assert!(store.checkpoints().load::<Blob>(id).unwrap().words == *words);
            prop_assert_eq!(store.checkpoints().show(id).unwrap().pinned, *pinned);
        }
    }
}

#[test]
fn an_autosave_of_a_long_time_is_never_due_early() {
    let (_, store) = on_disk(&keep_all());
    let run = store.open_run("run").init(Counter::default);
    let mut run = run.autosave(Autosave::every(Duration::MAX)).open().unwrap();
    count(&mut run, 1).unwrap();
    assert_eq!(store.checkpoints().latest("run").unwrap(), None);
}
