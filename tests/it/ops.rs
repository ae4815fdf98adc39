//! Looking after a store: what `verify` finds, what `repair` keeps, what quarantine gives back.

use std::fs;
use std::path::{Path, PathBuf};

use milepost::{
    Done, ErrorKind, IntentState, Key, OnCopy, Options, RepairOptions, Result, SettledBy, Store,
    repair, verify,
};
use tempfile::TempDir;

use crate::damage::furnished;
use crate::support::{
    Counter, ORDERS, clock, count, error, key_of, kind, on_disk, payload_of, reframed, rows_of,
    second, seen, with_row,
};

fn on_file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The store with the last byte of this row flipped.
fn with_damage(bytes: &[u8], table: &'static str, nth: usize) -> (Vec<u8>, Vec<u8>) {
    let (key, mut row) = rows_of(bytes, table).remove(nth);
    *row.last_mut().unwrap() ^= 1;
    (with_row(bytes, table, &key, Some(&row)), key)
}

fn nth_of(bytes: &[u8], table: &'static str, is: impl Fn(&[u8]) -> bool) -> usize {
    rows_of(bytes, table).iter().position(|(key, _)| is(key)).unwrap()
}

fn check(path: &Path) -> milepost::Verification {
    verify(path, &Options::new()).unwrap()
}

/// Against: a repair that touches what is whole.
#[test]
fn a_sound_store_is_called_sound_and_a_repair_leaves_it_alone() {
    let (folder, path) = on_file(&furnished());
    let before = fs::read(&path).unwrap();
    let found = check(&path);
    assert!(found.is_sound(), "{found}");
    assert!(found.tables.iter().any(|table| table.name == "keys" && table.rows == 9));
    let done = repair(&path, &RepairOptions::new()).unwrap();
    assert_eq!((done.kept, done.quarantined), (None, 0));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the store and its lock");
}

/// Against: a verification that can only be had by stopping the bot, or that disturbs it.
#[test]
fn an_open_store_can_be_verified_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("bot.mp")).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=50 {
        count(&mut run, n).unwrap();
    }
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
    count(&mut run, 51).unwrap();
    assert!(store.verify().unwrap().is_sound());
    assert_eq!(kind(verify(folder.path().join("bot.mp"), &Options::new())), ErrorKind::Locked);
}

/// Against: a row that is simply gone, which no checksum of rows can find: a second order.
#[test]
fn a_missing_key_is_found_and_not_repaired_away_without_a_word() {
    let whole = furnished();
    let at = nth_of(&whole, "keys", |key| key.ends_with(key_of(3).as_bytes()));
    let (key, _) = rows_of(&whole, "keys").remove(at);
    let damaged = with_row(&whole, "keys", &key, None);
    let (_folder, path) = on_file(&damaged);
    let found = check(&path);
    let keys = found.tables.iter().find(|table| table.name == "keys").unwrap();
    assert_eq!((keys.missing_rows(), keys.sum_matches, keys.damaged_rows), (1, false, 0));
    assert!(found.to_string().contains("1 missing"), "{found}");

    let refused = error(repair(&path, &RepairOptions::new()));
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("accept_missing_rows"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), damaged);

    let done = repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
    assert_eq!((done.missing, done.quarantined), (1, 0));
    assert_eq!(fs::read(done.kept.unwrap()).unwrap(), damaged, "the damaged file is kept");
    assert!(check(&path).is_sound());
}

/// Against: a damaged key that is taken for new, and the order that is sent a second time.
#[test]
fn a_damaged_key_still_counts_as_seen_after_the_repair_and_after_the_quarantine_is_emptied() {
    let whole = furnished();
    let at = nth_of(&whole, "keys", |key| key.ends_with(key_of(3).as_bytes()));
    let (damaged, _) = with_damage(&whole, "keys", at);
    let (_folder, path) = on_file(&damaged);
    let found = check(&path);
    assert!(!found.is_sound() && found.to_string().contains("1 damaged"), "{found}");
    let done = repair(&path, &RepairOptions::new()).unwrap();
    assert_eq!((done.missing, done.quarantined), (0, 1));
    assert!(check(&path).is_sound(), "{}", check(&path));

    let store = Store::open(&path).unwrap();
    let ask = || {
        let mut run = store.run::<Counter>("run").unwrap();
        let again = run.step(key_of(3), 100, |_| -> Result<u64> { panic!("done again") });
        assert_eq!(kind(again), ErrorKind::Damaged);
        assert_eq!(seen(&mut run, &key_of(2)).unwrap(), Some(3));
        assert_eq!(run.state().seen, [1, 2, 3, 4, 5, 6]);
    };
    ask();
    let quarantine = store.quarantine();
    let put_aside = quarantine.list().unwrap();
    assert_eq!(put_aside.len(), 1);
    assert_eq!(put_aside[0].table, "keys");
    assert!(put_aside[0].key.ends_with(key_of(3).as_bytes()));
    assert_eq!(kind(quarantine.restore(put_aside[0].number)), ErrorKind::Damaged);
    quarantine.drop(put_aside[0].number).unwrap();
    assert_eq!(kind(quarantine.show(put_aside[0].number)), ErrorKind::NotFound);
    ask();
}

/// Against: a record that was put aside and cannot be had back when it turns out to be fine.
#[test]
fn what_can_be_read_after_all_goes_back_where_it_stood() {
    let whole = furnished();
    for (table, is) in [("keys", key_of(3)), ("rows", key_of(3)), ("runs", "run".to_owned())] {
        let at = nth_of(&whole, table, |key| key.ends_with(is.as_bytes()));
        let (_, good) = rows_of(&whole, table).remove(at);
        let (damaged, _) = with_damage(&whole, table, at);
        let (_folder, path) = on_file(&damaged);
        repair(&path, &RepairOptions::new()).unwrap();

        // Somebody mends the byte in quarantine.
        let repaired = fs::read(&path).unwrap();
        let (number, row) = rows_of(&repaired, "quarantine").remove(0);
        let mended = reframed(10, &number, &row, |row| {
            let at = row
                .windows(good.len())
                .position(|part| part[..part.len() - 1] == good[..good.len() - 1]);
            let at = at.unwrap();
            row[at..at + good.len()].copy_from_slice(&good);
        });
        assert_ne!(payload_of(&mended), payload_of(&row));
        fs::write(&path, with_row(&repaired, "quarantine", &number, Some(&mended))).unwrap();

        let store = Options::new().open(&path).unwrap();
        let number = store.quarantine().list().unwrap()[0].number;
        store.quarantine().restore(number).unwrap();
        assert!(store.quarantine().list().unwrap().is_empty());
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(seen(&mut run, &key_of(3)).unwrap(), Some(6), "{table}");
        assert_eq!(run.get::<u64>(key_of(3)).unwrap(), Some(3), "{table}");
        assert_eq!(run.state().seen, [1, 2, 3, 4, 5, 6], "{table}");
    }
}

/// Against: an effect that is sent again because its record could not be read.
#[test]
fn a_damaged_intent_is_in_doubt_until_a_person_settles_it() {
    let whole = furnished();
    let outstanding = nth_of(&whole, "intents", |key| key[0] == 0);
    let settled = nth_of(&whole, "intents", |key| key[0] == 1);
    for at in [outstanding, settled] {
        let (damaged, _) = with_damage(&whole, "intents", at);
        let (_folder, path) = on_file(&damaged);
        repair(&path, &RepairOptions::new()).unwrap();
        let store = Store::open(&path).unwrap();
        let before = Store::in_memory().unwrap().recovery().unwrap();
        assert!(before.is_settled());
        let listed = store.intents().outstanding("orders", 100).unwrap();
        let lost: Vec<_> = listed
            .iter()
            .filter(|intent| {
                matches!(&intent.state, IntentState::InDoubt { why } if why.contains("damaged"))
            })
            .collect();
        assert_eq!(lost.len(), 1);
        assert_eq!(lost[0].external_id.as_str().len(), 34);
        store.intents().confirm(&lost[0].id, None::<&u64>, "asked the desk").unwrap();
        let now = store.intents().settled("orders", 100).unwrap();
        let now = now.iter().find(|intent| intent.id == lost[0].id).unwrap();
        assert!(
            matches!(now.state, IntentState::Confirmed { by: SettledBy::Person, .. }),
            "{:?}",
            now.state
        );
    }
}

/// Against: a run that begins at the first input again because its record could not be read.
#[test]
fn a_damaged_run_is_not_begun_anew_before_somebody_says_so() {
    let whole = furnished();
    let (damaged, _) = with_damage(&whole, "runs", nth_of(&whole, "runs", |key| key == b"run"));
    let (_folder, path) = on_file(&damaged);
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    let refused = error(store.run::<Counter>("run"));
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("quarantine"), "{refused}");
    assert_eq!(store.run::<Counter>("other").unwrap().steps(), 1);
    let number = store.quarantine().list().unwrap()[0].number;
    store.quarantine().drop(number).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.steps(), 0);
    assert!(matches!(run.step(key_of(3), 1, |_| Ok(0u64)).unwrap(), Done::Duplicate(6)));
}

/// Against: `None` for a row of the user's that was there.
#[test]
fn a_damaged_row_of_the_users_own_is_an_error_and_can_be_written_anew() {
    let whole = furnished();
    let at = nth_of(&whole, "rows", |key| key.ends_with(key_of(3).as_bytes()));
    let (damaged, _) = with_damage(&whole, "rows", at);
    let (_folder, path) = on_file(&damaged);
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.get::<u64>(key_of(3))), ErrorKind::Damaged);
    assert_eq!(run.get::<u64>(key_of(2)).unwrap(), Some(2));
    run.step("new", 100, |tx| tx.put(key_of(3), &33u64)).unwrap();
    assert_eq!(run.get::<u64>(key_of(3)).unwrap(), Some(33));
    let number = store.quarantine().list().unwrap()[0].number;
    assert!(store.quarantine().restore(number).is_err(), "something new stands there");
}

/// Against: keys that never expire because the index lost them.
#[test]
fn an_index_that_does_not_match_its_table_is_found_and_made_anew() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || Key::new("k").expires_after(second(10));
    run.step(key(), 1, |_| Ok(1u64)).unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let (index, _) = rows_of(&bytes, "expiry").remove(0);
    let (_folder, path) = on_file(&with_row(&bytes, "expiry", &index, None));
    let found = check(&path);
    assert_eq!(found.indexes.len(), 1, "{found}");
    repair(&path, &RepairOptions::new().options(options.clone())).unwrap();
    assert!(check(&path).is_sound(), "{}", check(&path));
    let store = options.open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(!run.step(key(), 2, |_| Ok(1u64)).unwrap().is_fresh());
    clock.advance(second(20));
    assert!(run.step(key(), 3, |_| Ok(1u64)).unwrap().is_fresh(), "its time was over");
}

/// Against: rot in the file itself, where redb's own checksums stop everything: what is still there
/// must come out.
#[test]
fn what_rot_has_left_of_a_file_comes_out_of_it() {
    let whole = furnished();
    // Inside the outcome of one key, on its page.
    let at = nth_of(&whole, "keys", |key| key.ends_with(key_of(3).as_bytes()));
    let (_, row) = rows_of(&whole, "keys").remove(at);
    let mut rotten = whole.clone();
    let mut flipped = 0;
    for start in 0..rotten.len() - row.len() {
        if rotten[start..start + row.len()] == row {
            rotten[start + row.len() - 1] ^= 0x40;
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    let (_folder, path) = on_file(&rotten);
    assert_eq!(kind(Store::open(&path)), ErrorKind::Damaged);
    assert!(check(&path).pages.is_some());
    assert_eq!(fs::read(&path).unwrap(), rotten, "nothing was changed");
    let done = repair(&path, &RepairOptions::new()).unwrap();
    assert_eq!((done.quarantined, done.missing), (1, 0), "{}", done.found);
    let store = Store::open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in [1, 2, 4, 5, 6] {
        assert!(seen(&mut run, &key_of(n)).unwrap().is_some(), "{n}");
    }
    assert_eq!(kind(seen(&mut run, &key_of(3))), ErrorKind::Damaged);
    assert!(store.verify().unwrap().is_sound());
}

/// Against: a repair that makes an empty store out of a file it cannot read.
#[test]
fn a_file_of_which_nothing_can_be_read_is_left_as_it_is() {
    let mut bytes = furnished();
    bytes[64..4096].fill(0xAA);
    let (_folder, path) = on_file(&bytes);
    for options in [RepairOptions::new(), RepairOptions::new().accept_missing_rows()] {
        assert_eq!(kind(repair(&path, &options)), ErrorKind::Damaged);
    }
    assert!(!check(&path).is_sound());
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// Opens what a kill leaves, although it is in another file here.
fn open_killed(path: &Path) -> milepost::Result<Store> {
    Options::new().on_copy(OnCopy::Moved).open(path)
}

/// What a kill leaves in the folder of an open store.
fn killed_folder(from: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["bot.mp", "bot.mp.lock"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("bot.mp");
    (folder, path)
}

/// Against: damage to the newest commit after a kill, which the storage engine takes for a commit cut
/// short and rolls back without a word: its key would be new again.
#[test]
fn after_a_kill_a_flipped_byte_never_loses_an_acknowledged_commit_without_a_word() {
    let live = tempfile::tempdir().unwrap();
    let store = Store::create(live.path().join("bot.mp")).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=6 {
        count(&mut run, n).unwrap();
    }
    let (_folder, path) = killed_folder(live.path());
    let whole = fs::read(&path).unwrap();
    let note = fs::read(live.path().join("bot.mp.lock")).unwrap();
    let mut lost = 0;
    let mut same = 0;
    let stretch = (0..whole.len()).filter(|at| *at < 320 || whole[*at] != 0);
    for at in stretch.step_by(41) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        fs::write(path.with_extension("mp.lock"), &note).unwrap();
        match open_killed(&path) {
            Err(error) if error.to_string().contains("was acknowledged") => {
                lost += 1;
                assert_eq!(error.kind(), ErrorKind::Damaged);
                assert_eq!(fs::read(&path).unwrap(), bytes, "byte {at}: the evidence");
            }
            Err(_) => {}
            Ok(store) => {
                let mut run = store.run::<Counter>("run").unwrap();
                assert!(seen(&mut run, &key_of(6)).unwrap().is_some(), "byte {at}: new again");
                same += 1;
            }
        }
    }
    assert!(lost > 0 && same > 0, "{lost} lost and told, {same} the same");
}

/// Against: an older copy put in the store's place, which would send again what was sent since.
#[test]
fn an_older_copy_is_not_taken_for_the_store_and_can_be_repaired_if_that_is_meant() {
    let live = tempfile::tempdir().unwrap();
    let store = Store::create(live.path().join("bot.mp")).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let older = fs::read(live.path().join("bot.mp")).unwrap();
    let sent = |store: &Store, run: &mut milepost::Run<Counter>| {
        let id = run.step(key_of(2), 2, |tx| tx.emit(&ORDERS, &2u64)).unwrap().into_outcome();
        store.intent(&ORDERS, &id).unwrap().unwrap().external_id
    };
    let since = sent(&store, &mut run);
    let (_folder, path) = killed_folder(live.path());
    fs::write(&path, &older).unwrap();

    assert_eq!(kind(Store::open(&path)), ErrorKind::OlderCopy);
    let refused = error(open_killed(&path));
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(check(&path).lost_commits.is_some());
    assert_eq!(kind(open_killed(&path)), ErrorKind::Damaged, "looking changes nothing");
    assert_eq!(kind(repair(&path, &RepairOptions::new())), ErrorKind::Damaged);
    repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
    assert!(check(&path).is_sound());
    let store = Store::open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.steps(), 1);
    assert_ne!(sent(&store, &mut run), since, "an external id is used twice");
}

/// Against: a new store that is refused because of an old one of the same name.
#[test]
fn another_store_in_the_place_of_a_killed_one_opens() {
    let live = tempfile::tempdir().unwrap();
    let store = Store::create(live.path().join("bot.mp")).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let (_folder, path) = killed_folder(live.path());
    fs::remove_file(&path).unwrap();
    Options::new().accept_deleted().create(&path).unwrap().close().unwrap();
    Store::open(&path).unwrap();
}
