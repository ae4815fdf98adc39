//! Stores that were repaired after the loss of what they count by: nothing is given out twice, and no
//! answer is made up.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use milepost::{
    Claimed, CommitSeq, ErrorKind, IntentId, Key, Labels, OnCopy, Options, RepairOptions,
    Resolution, Store, Versioned, repair, verify,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::large_state::{Blob, leave, words};
use crate::support::{
    Counter, ORDERS, T0, clock, count, error, killed, kind, on_disk, reframed, rows_of, second,
    with_row,
};

fn on_file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Flips a bit at the end of a row.
fn damage(path: &Path, table: &'static str, is: impl Fn(&[u8]) -> bool) {
    let bytes = fs::read(path).unwrap();
    let (key, mut row) = rows_of(&bytes, table).into_iter().find(|(key, _)| is(key)).unwrap();
    *row.last_mut().unwrap() ^= 1;
    fs::write(path, with_row(&bytes, table, &key, Some(&row))).unwrap();
}

/// Somebody turns the bit back that [`damage`] turned, in quarantine.
fn mend_in_quarantine(path: &Path, good: &[u8]) {
    let bytes = fs::read(path).unwrap();
    let (number, row) = rows_of(&bytes, "quarantine").remove(0);
    let mended = reframed(10, &number, &row, |row| {
        let but_last = &good[..good.len() - 1];
        let at = row.windows(but_last.len()).position(|part| part == but_last).unwrap();
        row[at..at + good.len()].copy_from_slice(good);
    });
    fs::write(path, with_row(&bytes, "quarantine", &number, Some(&mended))).unwrap();
}

fn lose_the_head(path: &Path, options: &Options) {
    damage(path, "meta", |key| key == b"head");
    assert_eq!(kind(options.open(path)), ErrorKind::Damaged);
    let how = RepairOptions::new().options(options.clone());
    assert_eq!(kind(repair(path, &how)), ErrorKind::Damaged, "nobody has agreed");
    repair(path, &how.accept_missing_rows()).unwrap();
    assert!(verify(path, options).unwrap().is_sound());
}

/// Sends an order, and has a person settle another one, which takes a number too.
fn send(store: &Store, n: u64) -> (IntentId, String) {
    let mut run = store.run::<Counter>("run").unwrap();
    let key = format!("{}-{n}", store.epoch());
    let step = run.step(key, n, |tx| Ok((tx.emit(&ORDERS, &n)?, tx.emit(&ORDERS, &n)?)));
    let (first, second) = step.unwrap().into_outcome();
    store.intents().reject(&second, "anna").unwrap();
    let intent = store.intent(&ORDERS, &first).unwrap().unwrap();
    (first, intent.external_id.to_string())
}

/// Against: a head that is lost twice in a store's life. Each time it began with the same numbers: the
/// second order took the place of the first, under its name at the exchange.
#[test]
fn what_a_store_without_a_head_gave_out_is_never_given_out_again() {
    let options = Options::new();
    let (disk, store) = on_disk(&options);
    let mut given = vec![send(&store, 1)];
    let mut epochs = vec![store.epoch()];
    drop(store);
    let (_folder, path) = on_file(&disk.to_bytes());
    for n in 2..6 {
        lose_the_head(&path, &options);
        let store = Store::open(&path).unwrap();
        given.push(send(&store, n));
        epochs.push(store.epoch());
        for (n, (id, external)) in (1u64..).zip(&given) {
            let intent = store.intent(&ORDERS, id).unwrap().expect("an order is gone");
            assert_eq!((intent.payload, intent.external_id.as_str()), (n, external.as_str()));
        }
        assert_eq!(store.intents().audit(99).unwrap().len(), given.len());
        store.close().unwrap();
    }
    let names: BTreeSet<_> = given.iter().map(|(_, external)| external).collect();
    assert_eq!(names.len(), given.len(), "an external id is used twice");
    assert!(epochs.is_sorted_by(|one, two| one < two), "an epoch comes again: {epochs:?}");
}

/// Against: a request that was done and forgotten, and is new again because the store no longer knows
/// that it forgets.
#[test]
fn what_a_store_without_a_head_may_have_forgotten_is_beyond_its_horizon() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let key = || Key::new("k").expires_after(second(10)).issued_at(T0);
    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", key(), &1) else { panic!() };
    claim.complete(&1).unwrap();
    clock.advance(second(60));
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    drop(store);
    let (_folder, path) = on_file(&disk.to_bytes());
    lose_the_head(&path, &options);
    let store = options.open(&path).unwrap();
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
    store.reconcile("anna: the desk knows of one").unwrap();
    let new = Key::new("new").expires_after(second(10)).issued_at(T0.after(second(60)));
    assert!(matches!(store.claim::<u64>("s", new, &1).unwrap(), Claimed::Fresh(_)));
}

/// A store that was killed twice; the commits of which nobody was told, and their answers.
fn killed_twice() -> (Vec<u8>, [(CommitSeq, Resolution); 4]) {
    let (mut disk, mut store) = on_disk(&Options::new());
    let mut known = Vec::new();
    for n in 1..=2 {
        count(&mut store.run::<Counter>("run").unwrap(), n).unwrap();
        let last = store.newest_commit().unwrap();
        known.push((last, Resolution::Committed));
        known.push((CommitSeq::new(last.get() + 1), Resolution::NotCommitted));
        disk = killed(&disk);
        store = Options::new().open_on(disk.clone()).unwrap();
    }
    drop(store);
    (disk.to_bytes(), known.try_into().unwrap())
}

/// Against: an order that was not committed, of which it is said that it was, because the record of the
/// crash was damaged and put aside.
#[test]
fn after_a_repair_no_commit_of_a_damaged_crash_is_said_to_be_on_disk() {
    let (bytes, known) = killed_twice();
    let [(one, _), (behind_one, _), (two, _), (behind_two, _)] = known;
    let rows = rows_of(&bytes, "meta");
    let crashes = rows.iter().filter(|(key, _)| key.starts_with(b"unclean/"));
    assert_eq!(crashes.count(), 2);
    for nth in 0..2 {
        let (_folder, path) = on_file(&bytes);
        let mut seen = std::cell::Cell::new(0);
        damage(&path, "meta", |key| {
            let is = key.starts_with(b"unclean/");
            let now = seen.get();
            seen.set(now + usize::from(is));
            is && now == nth
        });
        assert!(*seen.get_mut() > nth);
        let (lost, kept) = if nth == 0 {
            (behind_one, [two, behind_two])
        } else {
            (behind_two, [one, behind_one])
        };
        let store = Store::open(&path).unwrap();
        assert_eq!(kind(store.resolve(lost)), ErrorKind::Damaged);
        drop(store);
        let done = repair(&path, &RepairOptions::new()).unwrap();
        assert_eq!(done.quarantined, 1);
        assert!(verify(&path, &Options::new()).unwrap().is_sound());

        let store = Store::open(&path).unwrap();
        let refused = error(store.resolve(lost));
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
        assert_eq!(store.resolve(kept[0]).unwrap(), Resolution::Committed);
        assert_eq!(store.resolve(kept[1]).unwrap(), Resolution::NotCommitted);
        let number = store.quarantine().list().unwrap()[0].number;
        assert_eq!(kind(store.quarantine().restore(number)), ErrorKind::Damaged);
        store.quarantine().drop(number).unwrap();
        assert_eq!(kind(store.resolve(lost)), ErrorKind::Damaged);
    }
}

/// Against: the same when the record of the crash is gone, or the head with all its numbers.
#[test]
fn after_a_loss_no_commit_is_said_to_be_on_disk_that_was_not() {
    let (bytes, known) = killed_twice();
    let rows = rows_of(&bytes, "meta");
    let (gone, _) = rows.iter().find(|(key, _)| key.starts_with(b"unclean/")).unwrap();
    let (_folder, path) = on_file(&with_row(&bytes, "meta", gone, None));
    repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
    let store = Store::open(&path).unwrap();
    let [_, (behind_one, _), rest @ ..] = known;
    assert_eq!(kind(store.resolve(behind_one)), ErrorKind::Damaged);
    for (commit, truth) in rest {
        assert_eq!(store.resolve(commit).unwrap(), truth);
    }
    drop(store);

    let (_folder, path) = on_file(&bytes);
    lose_the_head(&path, &Options::new());
    let store = Store::open(&path).unwrap();
    count(&mut store.run::<Counter>("run").unwrap(), 3).unwrap();
    for (commit, truth) in known {
        assert_eq!(store.resolve(commit).unwrap(), truth, "{commit}");
    }
    // The one that was under way when the head was lost.
    let under_way = CommitSeq::new(known[3].0.get() + 3);
    assert_eq!(kind(store.resolve(under_way)), ErrorKind::Damaged);
    // What comes after the repair is known again.
    let newest = store.newest_commit().unwrap();
    assert!(newest > known[3].0);
    let copy = fs::read(&path).unwrap();
    drop(store);
    // Under another name: beside its lock it would be told for an older copy.
    let path = path.with_file_name("copy.mp");
    fs::write(&path, copy).unwrap();
    let store = Options::new().on_copy(OnCopy::Moved).open(&path).unwrap();
    assert_eq!(store.resolve(newest).unwrap(), Resolution::Committed);
    let behind = CommitSeq::new(newest.get() + 1);
    assert_eq!(store.resolve(behind).unwrap(), Resolution::NotCommitted);
}

/// Of the same bytes as [`Counter`], and another thing.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    balance: u64,
    orders: Vec<u64>,
}

impl Versioned for Account {
    const NAME: &'static str = "account";
    const VERSION: u32 = 1;
}

/// Against: a state that is read as another type, because the name of its own was damaged and put aside,
/// and its number was given to the next new one.
#[test]
fn the_number_of_a_damaged_schema_is_not_given_to_another_type() {
    let (disk, store) = on_disk(&Options::new());
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    drop(store);
    let (_folder, path) = on_file(&disk.to_bytes());
    damage(&path, "schemas", |_| true);
    repair(&path, &RepairOptions::new()).unwrap();
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.run::<Account>("new").unwrap().steps(), 0);
    let refused = error(store.run::<Account>("run"));
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    let refused = error(store.run::<Counter>("run"));
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    assert!(refused.to_string().contains("quarantine"), "{refused}");
    // A new run of that type is no harm.
    count(&mut store.run::<Counter>("other").unwrap(), 1).unwrap();
}

/// Against: commits that were acknowledged and are not in the copy that was put in the store's place,
/// whose numbers are given to others.
#[test]
fn the_commits_that_an_older_copy_lacks_are_not_said_to_be_on_disk() {
    let live = tempfile::tempdir().unwrap();
    let store = Store::create(live.path().join("bot.mp")).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let older = fs::read(live.path().join("bot.mp")).unwrap();
    let known = store.newest_commit().unwrap();
    for n in 2..=4 {
        count(&mut run, n).unwrap();
    }
    let lost = store.newest_commit().unwrap();
    let (folder, path) = on_file(&older);
    fs::copy(live.path().join("bot.mp.lock"), folder.path().join("bot.mp.lock")).unwrap();
    repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
    let store = Store::open(&path).unwrap();
    for n in known.get() + 1..=lost.get() + 1 {
        let refused = error(store.resolve(CommitSeq::new(n)));
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{n}: {refused}");
    }
}

/// Against: a key that goes back where it stood and is not listed where its time ends: it never expires,
/// and the store is called damaged from then on.
#[test]
fn a_key_that_is_restored_from_quarantine_expires_like_any_other() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || Key::new("k").expires_after(second(3_600));
    run.step(key(), 1, |_| Ok(1u64)).unwrap();
    drop((run, store));
    let (_, good) = rows_of(&disk.to_bytes(), "keys").remove(0);
    let (_folder, path) = on_file(&disk.to_bytes());
    damage(&path, "keys", |_| true);
    repair(&path, &RepairOptions::new().options(options.clone())).unwrap();
    mend_in_quarantine(&path, &good);
    let store = options.open(&path).unwrap();
    let number = store.quarantine().list().unwrap()[0].number;
    store.quarantine().restore(number).unwrap();
    let found = store.verify().unwrap();
    assert!(found.indexes.is_empty(), "{found}");
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(!run.step(key(), 2, |_| Ok(1u64)).unwrap().is_fresh());
    clock.advance(second(3_602));
    count(&mut run, 2).unwrap();
    assert!(run.step(key(), 3, |_| Ok(1u64)).unwrap().is_fresh(), "it never expires");
}

/// Against: a run that goes back where it stood and is not counted among those who refer to its chunks:
/// they go with the next one who lets go of them, and the run with them.
#[test]
fn a_run_that_is_restored_from_quarantine_refers_to_its_chunks_again() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Blob>("run").unwrap();
    let words = words(&mut milepost::testing::Rng::of(1, "words", 0), 200_000);
    leave(&mut run, 1, &words);
    let saved = store.checkpoints().save("run", &Labels::new()).unwrap();
    drop((run, store));
    let (_, good) = rows_of(&disk.to_bytes(), "runs").remove(0);
    let (_folder, path) = on_file(&disk.to_bytes());
    damage(&path, "runs", |_| true);
    repair(&path, &RepairOptions::new()).unwrap();
    mend_in_quarantine(&path, &good);
    let store = Store::open(&path).unwrap();
    store.quarantine().restore(store.quarantine().list().unwrap()[0].number).unwrap();
    let found = store.verify().unwrap();
    assert!(found.indexes.is_empty(), "{found}");
    store.checkpoints().delete(&saved).unwrap();
    let mut run = store.run::<Blob>("run").unwrap();
    assert!(run.state().words == words);
    leave(&mut run, 2, &[]);
    drop((run, store));
    assert_eq!(rows_of(&fs::read(&path).unwrap(), "contents"), [], "a chunk was left behind");
}

/// Against: a stand-in in the way of the very record it stands in for.
#[test]
fn a_schema_and_a_crash_that_were_mended_go_back_and_give_their_answers() {
    let (bytes, known) = killed_twice();
    let (_folder, path) = on_file(&bytes);
    let (_, schema) = rows_of(&bytes, "schemas").remove(0);
    damage(&path, "schemas", |_| true);
    repair(&path, &RepairOptions::new()).unwrap();
    mend_in_quarantine(&path, &schema);
    let store = Store::open(&path).unwrap();
    assert_eq!(kind(store.run::<Counter>("run")), ErrorKind::Damaged);
    store.quarantine().restore(store.quarantine().list().unwrap()[0].number).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().steps(), 2);
    drop(store);

    let (_folder, path) = on_file(&bytes);
    let is_crash = |key: &[u8]| key.starts_with(b"unclean/");
    let crash = rows_of(&bytes, "meta").into_iter().find(|(key, _)| is_crash(key)).unwrap().1;
    damage(&path, "meta", is_crash);
    repair(&path, &RepairOptions::new()).unwrap();
    mend_in_quarantine(&path, &crash);
    let store = Store::open(&path).unwrap();
    assert_eq!(kind(store.resolve(known[0].0)), ErrorKind::Damaged);
    store.quarantine().restore(store.quarantine().list().unwrap()[0].number).unwrap();
    for (commit, truth) in known {
        assert_eq!(store.resolve(commit).unwrap(), truth);
    }
}

/// Against: a repair whose own stand-in is the next fault: for a schema under no schema's number.
#[test]
fn a_row_under_a_key_that_no_row_has_is_put_aside_without_a_trace() {
    let whole = crate::damage::furnished();
    for (table, id) in [("schemas", 1), ("intents", 7)] {
        let (key, row) = rows_of(&whole, table).remove(0);
        let longer = [key.as_slice(), b"x"].concat();
        let row = reframed(id, &longer, &row, |_| ());
        let (_folder, path) = on_file(&with_row(&whole, table, &longer, Some(&row)));
        let done = repair(&path, &RepairOptions::new()).unwrap();
        assert_eq!(done.quarantined, 1, "{table}: {}", done.found);
        let found = verify(&path, &Options::new()).unwrap();
        assert!(found.is_sound(), "{table}: {found}");
    }
}

/// Against: forged rows that a repair takes over, and of which the store is no sounder than before; or
/// over which opening, asking, verifying or repairing panics.
#[test]
fn whatever_is_forged_a_repaired_store_is_sound_and_works() {
    let whole = crate::damage::furnished();
    let mut rng = milepost::testing::Rng::new(77);
    let tables = [
        ("meta", 0),
        ("schemas", 1),
        ("runs", 2),
        ("keys", 5),
        ("intents", 7),
        ("rows", 11),
        ("audit", 12),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    for case in 0..25 {
        let mut bytes = whole.clone();
        let mut what = Vec::new();
        for _ in 0..=rng.below(2) {
            let (table, id) = tables[rng.below(7) as usize];
            let rows = rows_of(&bytes, table);
            if rows.is_empty() {
                continue;
            }
            let (key, row) = &rows[rng.below(rows.len() as u64) as usize];
            let mut place = key.clone();
            if rng.one_in(5) {
                match rng.below(3) {
                    0 => place.truncate(rng.below(place.len() as u64 + 1) as usize),
                    1 => place.push(rng.next_u64() as u8),
                    _ if place.is_empty() => {}
                    _ => {
                        let at = rng.below(place.len() as u64) as usize;
                        place[at] ^= 1 << rng.below(8);
                    }
                }
            }
            let row = reframed(id, &place, row, |row| {
                let at = 21 + rng.below(row.len() as u64 - 21) as usize;
                match rng.below(5) {
                    0 => row[at] ^= 1 << rng.below(8),
                    1 => row[at] = 247 + rng.below(9) as u8,
                    2 => row.truncate(at),
                    3 => drop(row.splice(at..=at, crate::support::varint(u64::MAX - rng.below(2)))),
                    _ => {}
                }
            });
            what.push(format!("{table} {key:?} -> {place:?}"));
            bytes = with_row(&bytes, table, &place, Some(&row));
        }
        fs::write(&path, &bytes).unwrap();
        let _ = fs::remove_file(folder.path().join("bot.mp.lock"));
        if let Ok(store) = Options::new().open(&path) {
            let _ = store.recovery();
            if let Ok(mut run) = store.run::<Counter>("run") {
                let _ = count(&mut run, 100);
            }
            let _ = store.claim::<u64>("s", "done", &1).map(drop);
            let _ = store.quarantine().list().map(drop);
            let _ = store.intents().audit(9);
        }
        fs::write(&path, &bytes).unwrap();
        let _ = fs::remove_file(folder.path().join("bot.mp.lock"));
        match repair(&path, &RepairOptions::new().accept_missing_rows()) {
            Err(error) if error.kind() == ErrorKind::TooNew => continue,
            done => drop(done.unwrap()),
        }
        let found = verify(&path, &Options::new()).unwrap();
        assert!(found.is_sound(), "{case} {what:?}: {found}");
        let store = Store::open(&path).unwrap();
        let mut run = store.run::<Counter>("anew").unwrap();
        count(&mut run, 1).unwrap();
        drop(run);
        store.close().unwrap();
        let found = verify(&path, &Options::new()).unwrap();
        assert!(found.is_sound(), "{case} {what:?}: {found}");
    }
}
