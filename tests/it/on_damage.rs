//! A run whose record was damaged: what it goes on from, and that nobody has to guess. Against one that
//! begins anew without a word, and one that can never be opened again.

use std::fs;
use std::path::{Path, PathBuf};

use milepost::{
    Autosave, CheckpointFilter, CheckpointId, Done, ErrorKind, Labels, MemoryDisk, OnDamage,
    Options, Position, RepairOptions, Run, Store, Versioned, repair, verify,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::support::{Counter, ORDERS, count, error, kind, on_disk, rows_of, with_row};

/// Three steps, a checkpoint behind the second, and then the record of the run is damaged.
fn damaged(checkpoints: &[u64]) -> (TempDir, PathBuf, Vec<CheckpointId>) {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let mut ids = Vec::new();
    for n in 1..=3 {
        count(&mut run, n).unwrap();
        if checkpoints.contains(&n) {
            ids.push(store.checkpoints().save("run", &Labels::new()).unwrap());
        }
    }
    drop((run, store));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, disk.to_bytes()).unwrap();
    flip(&path, "runs", |_| true);
    (folder, path, ids)
}

fn flip(path: &Path, table: &'static str, is: impl Fn(&[u8]) -> bool) {
    let bytes = fs::read(path).unwrap();
    let (key, mut row) = rows_of(&bytes, table).into_iter().rfind(|(key, _)| is(key)).unwrap();
    *row.last_mut().unwrap() ^= 1;
    fs::write(path, with_row(&bytes, table, &key, Some(&row))).unwrap();
}

/// Damages and repairs the record of the run of a store that lies on a disk of its own.
fn broken(disk: &MemoryDisk) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, disk.to_bytes()).unwrap();
    flip(&path, "runs", |_| true);
    repair(&path, &RepairOptions::new()).unwrap();
    (folder, path)
}

fn open(store: &Store, on_damage: OnDamage) -> milepost::Result<Run<Counter>> {
    store.open_run("run").init(Counter::default).on_damage(on_damage).open()
}

fn mend(path: &Path) -> Store {
    repair(path, &RepairOptions::new()).unwrap();
    assert!(verify(path, &Options::new()).unwrap().is_sound());
    Store::open(path).unwrap()
}

#[test]
fn a_damaged_run_falls_back_only_when_it_is_asked_to_and_says_on_what() {
    let (_folder, path, ids) = damaged(&[1, 2]);
    // Where it stands it is damaged, whatever is asked: nothing was put aside yet.
    let store = Options::new().verify_on_open_bytes(0).open(&path).unwrap();
    assert_eq!(kind(open(&store, OnDamage::StartFresh)), ErrorKind::Damaged);
    drop(store);

    let store = mend(&path);
    let number = store.quarantine().list().unwrap()[0].number;
    for refused in [error(store.run::<Counter>("run")), error(open(&store, OnDamage::Fail))] {
        assert_eq!(refused.kind(), ErrorKind::Damaged);
        assert!(refused.to_string().contains("on_damage"), "{refused}");
    }
    let mut run = open(&store, OnDamage::FallBack).unwrap();
    let fell_back = run.fell_back().unwrap().clone();
    assert_eq!((fell_back.quarantined, fell_back.checkpoint), (number, Some(ids[1])));
    assert_eq!((fell_back.position, fell_back.passed_over), (Position::Index(2), 0));
    assert_eq!((run.state().seen.as_slice(), run.steps()), ([1, 2].as_slice(), 2));
    // What was done after the checkpoint is done, and not in the state.
    assert!(matches!(count(&mut run, 3).unwrap(), Done::Duplicate(_)));
    count(&mut run, 4).unwrap();
    assert_eq!(run.state().seen, [1, 2, 4]);

    // From now on it is a run like any other, and the damaged record is still there.
    drop((run, store));
    let store = Store::open(&path).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.fell_back(), run.state().seen.as_slice()), (None, [1, 2, 4].as_slice()));
    assert_eq!(store.quarantine().list().unwrap()[0].number, number);
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_checkpoint_that_is_damaged_too_is_passed_over() {
    let (_folder, path, ids) = damaged(&[1, 2]);
    let store = mend(&path);
    drop(store);
    flip(&path, "checkpoints", |key| key[0] == 1);
    let store = Options::new().verify_on_open_bytes(0).open(&path).unwrap();
    let run = open(&store, OnDamage::FallBack).unwrap();
    let fell_back = run.fell_back().unwrap();
    assert_eq!((fell_back.checkpoint, fell_back.passed_over), (Some(ids[0]), 1));
    assert_eq!(run.state().seen, [1]);
}

#[test]
fn a_run_without_a_whole_checkpoint_is_left_alone_until_it_may_begin_anew() {
    let (_folder, path, _) = damaged(&[]);
    let store = mend(&path);
    assert_eq!(kind(open(&store, OnDamage::FallBack)), ErrorKind::Damaged);
    let run = open(&store, OnDamage::StartFresh).unwrap();
    assert_eq!((run.state().seen.len(), run.steps()), (0, 0));
    assert_eq!(run.fell_back().unwrap().checkpoint, None);
    assert!(store.verify().unwrap().is_sound());
}

/// Against: a state that does not know what the run has sent, and decides on it once more.
#[test]
fn a_run_that_has_emitted_since_sends_nothing_before_the_store_was_reconciled() {
    for (emits_at, falls_back, must_reconcile) in [
        (1, OnDamage::FallBack, false),
        (3, OnDamage::FallBack, true),
        (1, OnDamage::StartFresh, true),
        (0, OnDamage::StartFresh, false),
    ] {
        let (disk, store) = on_disk(&Options::new());
        let mut run = store.run::<Counter>("run").unwrap();
        for n in 1..=3u64 {
            run.step(n.to_string(), n, |tx| {
                if n == emits_at { tx.emit(&ORDERS, &n).map(drop) } else { Ok(()) }
            })
            .unwrap();
            if n == 2 {
                store.checkpoints().save("run", &Labels::new()).unwrap();
            }
        }
        drop((run, store));
        let (_folder, path) = broken(&disk);
        let store = Store::open(&path).unwrap();
        let life = store.incarnation().unwrap();
        let run = open(&store, falls_back).unwrap();
        let case = format!("{falls_back:?}, emitted at {emits_at}");
        assert_eq!(run.fell_back().unwrap().must_reconcile, must_reconcile, "{case}");
        assert_eq!(!store.recovery().unwrap().unreconciled.is_empty(), must_reconcile, "{case}");
        assert_eq!(store.incarnation().unwrap() > life, must_reconcile, "{case}");
        let refused = must_reconcile.then_some(ErrorKind::Unreconciled);
        let claimed = store.claim::<u64>("s", "k", &1);
        assert_eq!(claimed.err().map(|error| error.kind()), refused, "{case}");
    }
}

/// Against: the advice to restore a record from before the run had been damaged for the first time.
#[test]
fn a_run_that_is_damaged_twice_is_said_to_be_where_its_newest_record_is() {
    let (_folder, path, _) = damaged(&[2]);
    let store = mend(&path);
    let mut run = open(&store, OnDamage::FallBack).unwrap();
    count(&mut run, 4).unwrap();
    store.checkpoints().save("run", &Labels::new()).unwrap();
    drop((run, store));
    flip(&path, "runs", |_| true);
    let store = mend(&path);
    let newest = store.quarantine().list().unwrap().pop().unwrap().number;
    let refused = error(store.run::<Counter>("run")).to_string();
    assert!(refused.contains(&format!("number {newest} in")), "{refused}");
    let run = open(&store, OnDamage::FallBack).unwrap();
    assert_eq!(run.fell_back().unwrap().quarantined, newest);
    assert_eq!(run.state().seen, [1, 2, 4]);
}

/// Against: a run that saves nothing before it has made as many steps as the one before it.
#[test]
fn a_run_that_begins_anew_saves_its_checkpoints_from_the_beginning() {
    let (_folder, path, _) = damaged(&[3]);
    let store = mend(&path);
    let anew = store.open_run("run").init(Counter::default).on_damage(OnDamage::StartFresh);
    let mut run = anew.autosave(Autosave::every_steps(2)).open().unwrap();
    for n in 4..=5 {
        count(&mut run, n).unwrap();
    }
    let page = store.checkpoints().list(&CheckpointFilter::new().run("run")).unwrap();
    let steps: Vec<_> = page.checkpoints.iter().map(|checkpoint| checkpoint.steps).collect();
    assert_eq!(steps, [2, 3]);
}

#[test]
fn a_checkpoint_that_went_to_quarantine_with_the_run_counts_as_passed_over() {
    let (_folder, path, ids) = damaged(&[1, 2]);
    flip(&path, "checkpoints", |key| key[0] == 1);
    let store = mend(&path);
    let run = open(&store, OnDamage::FallBack).unwrap();
    let fell_back = run.fell_back().unwrap();
    assert_eq!((fell_back.checkpoint, fell_back.passed_over), (Some(ids[0]), 1));
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Another(u8);

impl Versioned for Another {
    const NAME: &'static str = "another";
    const VERSION: u32 = 1;
}

#[test]
fn a_run_falls_back_on_a_state_of_its_own_type_alone() {
    let (_folder, path, _) = damaged(&[2]);
    let store = mend(&path);
    let refused = store.open_run::<Another>("run").on_damage(OnDamage::FallBack);
    assert_eq!(kind(refused.open()), ErrorKind::SchemaMismatch);
    assert_eq!(kind(store.run::<Counter>("run")), ErrorKind::Damaged, "nothing was changed");
    assert_eq!(open(&store, OnDamage::FallBack).unwrap().state().seen, [1, 2]);
}
