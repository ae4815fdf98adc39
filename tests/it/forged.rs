//! Records that hold a lie under a checksum that holds: written by somebody who knows how, or by a
//! machine whose memory was bad. They may lie, but nothing overflows, and nothing is given out twice.

use std::fs;
use std::sync::Arc;

use milepost::{
    CommitSeq, ErrorKind, Key, MemoryDisk, Options, RepairOptions, Resolution, Result, Store,
    Versioned, repair, verify,
};
use serde::{Deserialize, Serialize};

use crate::damage::furnished;
use crate::support::{
    Counter, ORDERS, clock, count, error, key_of, killed, kind, on_disk, open_bytes, payload_of,
    reframed, rows_of, second, seen, varint, varint_at, with_row,
};

/// The numbers at the beginning of the head, in their order.
const INCARNATION: usize = 0;
const EPOCH: usize = 1;
const COMMIT: usize = 2;
const NEXT_ID: usize = 3;

/// Where the n-th of these numbers stands in the head's payload.
fn place_in_head(head: &[u8], nth: usize) -> (usize, usize) {
    let mut at = 0;
    for _ in 0..nth.min(COMMIT) {
        at = varint_at(head, at).1;
    }
    if nth == NEXT_ID {
        at = varint_at(head, at).1;
        // Whether it was closed, the clock's mark with the machine's own clock, and no suspicion of it.
        let (_, boot) = varint_at(head, at + 1);
        let behind = if head[boot] == 0 { boot + 1 } else { varint_at(head, boot + 17).1 };
        assert_eq!(head[behind], 0);
        at = behind + 1;
    }
    (at, varint_at(head, at).1)
}

/// The store with another number in its head.
fn with_head(bytes: &[u8], nth: usize, number: u64) -> Vec<u8> {
    let head = rows_of(bytes, "meta").into_iter().find(|(key, _)| key == b"head").unwrap().1;
    let forged = reframed(0, b"head", &head, |row| {
        let (from, to) = place_in_head(payload_of(row), nth);
        row.splice(21 + from..21 + to, varint(number));
    });
    with_row(bytes, "meta", b"head", Some(&forged))
}

/// Against: a number from the file that wraps when the store counts on from it: a panic where sums are
/// checked, and elsewhere an epoch, a commit or an external id that is given out a second time.
#[test]
fn a_head_with_numbers_that_no_store_reaches_is_damaged_and_nothing_is_changed() {
    let bytes = furnished();
    for nth in [INCARNATION, EPOCH, COMMIT, NEXT_ID] {
        for number in [u64::MAX, u64::MAX - 1, u64::MAX - 2, u64::MAX - 1_000_000, 1 << 63] {
            let forged = with_head(&bytes, nth, number);
            for options in [Options::new(), Options::new().verify_on_open_bytes(0)] {
                let disk = Arc::new(MemoryDisk::from_bytes(forged.clone()));
                let refused = error(options.open_on(disk.clone()));
                assert_eq!(refused.kind(), ErrorKind::Damaged, "{nth} {number}: {refused}");
                assert!(refused.to_string().contains(&number.to_string()), "{refused}");
                assert!(disk.to_bytes() == forged, "{nth} {number}: changed");
            }
            // After a crash too.
            let mut crashed = forged.clone();
            crashed[9] |= 2;
            let disk = Arc::new(MemoryDisk::from_bytes(crashed.clone()));
            assert_eq!(kind(Options::new().open_on(disk.clone())), ErrorKind::Damaged);
            assert!(disk.to_bytes() == crashed, "{nth} {number}: changed after a crash");
        }
        // Large, but a number that can be counted on from.
        let store = open_bytes(&with_head(&bytes, nth, 1 << 62)).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        run.step("new", 7, |tx| tx.emit(&ORDERS, &7u64)).unwrap();
        drop(run);
        store.close().unwrap();
    }
}

/// Against: a repair that believes such a head, and gives its numbers to the new file.
#[test]
fn a_head_with_such_numbers_is_found_and_can_be_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    for nth in [INCARNATION, EPOCH, COMMIT, NEXT_ID] {
        let forged = with_head(&furnished(), nth, u64::MAX);
        fs::write(&path, &forged).unwrap();
        let found = verify(&path, &Options::new()).unwrap();
        assert!(!found.head_readable && !found.is_sound(), "{found}");
        assert_eq!(kind(repair(&path, &RepairOptions::new())), ErrorKind::Damaged);
        assert!(fs::read(&path).unwrap() == forged);
        repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
        let store = Store::open(&path).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(seen(&mut run, &key_of(6)).unwrap(), Some(21));
        count(&mut run, 7).unwrap();
        drop(run);
        store.close().unwrap();
        assert!(verify(&path, &Options::new()).unwrap().is_sound());
    }
}

/// Against: a format that nobody ever wrote, read as if it were ours.
#[test]
fn a_store_of_format_0_is_damaged() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "meta");
    let (key, row) = rows.iter().find(|(key, _)| key == b"identity").unwrap();
    let forged = with_row(&bytes, "meta", key, Some(&reframed(0, key, row, |row| row[21] = 0)));
    assert_eq!(kind(open_bytes(&forged)), ErrorKind::Damaged);
}

/// Against: a run whose count of steps wraps: its keys would be written and its state would not.
#[test]
fn a_run_that_has_made_more_steps_than_there_are_numbers_takes_no_more() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "runs");
    let (key, row) = rows.iter().find(|(key, _)| key == b"run").unwrap();
    assert_eq!(payload_of(row)[..3], [1, 6, 6], "position 6, and 6 steps");
    let forged = |steps| {
        let row = reframed(2, key, row, |row| drop(row.splice(23..24, varint(steps))));
        let disk = Arc::new(MemoryDisk::from_bytes(with_row(&bytes, "runs", key, Some(&row))));
        (Options::new().open_on(disk.clone()).unwrap(), disk)
    };
    let (store, disk) = forged(u64::MAX);
    let mut run = store.run::<Counter>("run").unwrap();
    let refused = error(count(&mut run, 7));
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    assert_eq!((run.state().sum, run.steps()), (21, u64::MAX));
    let batch = run.batch([("a", 8u64, ()), ("b", 9, ())], |_, ()| Ok(0u64));
    assert_eq!(kind(batch), ErrorKind::Damaged);
    drop((run, store));
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(seen(&mut run, &key_of(3)).unwrap(), Some(6), "what was seen is still seen");
    for key in [&key_of(7), "a", "b"] {
        assert_eq!(seen(&mut run, key).unwrap(), None, "{key} was written");
    }
    // The last one there is room for.
    let (store, _disk) = forged(u64::MAX - 1);
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 7).unwrap();
    assert_eq!((run.state().sum, run.steps()), (28, u64::MAX));
    assert_eq!(kind(count(&mut run, 8)), ErrorKind::Damaged);
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct New;

impl Versioned for New {
    const NAME: &'static str = "new";
    const VERSION: u32 = 1;
}

/// Against: a new type that takes the number of another one, whose runs then have no name of their own.
#[test]
fn a_new_type_never_takes_the_number_of_another_one() {
    let bytes = furnished();
    let (key, row) = rows_of(&bytes, "schemas").remove(0);
    for number in [u32::MAX.to_be_bytes().to_vec(), vec![0, 0, 0, 1, 0]] {
        let moved = reframed(1, &number, &row, |row| row[22] = b'x');
        let forged = with_row(&bytes, "schemas", &number, Some(&moved));
        let disk = Arc::new(MemoryDisk::from_bytes(forged.clone()));
        let store = Options::new().open_on(disk.clone()).unwrap();
        let refused = error(store.run::<New>("new"));
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
        assert_eq!(store.run::<Counter>("run").unwrap().steps(), 6);
        drop(store);
        assert_eq!(rows_of(&disk.to_bytes(), "schemas"), rows_of(&forged, "schemas"));
        assert!(rows_of(&forged, "schemas").iter().any(|(found, _)| *found == key));
    }
}

/// Against: a question about a commit that panics, or is answered by a number that wrapped to it.
#[test]
fn the_last_commit_of_a_crash_may_have_any_number() {
    let (disk, store) = on_disk(&Options::new());
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    drop(store);
    let crashed = killed(&disk);
    drop(Options::new().open_on(crashed.clone()).unwrap());
    let bytes = crashed.to_bytes();
    let rows = rows_of(&bytes, "meta");
    let (key, row) = rows.iter().find(|(key, _)| key.starts_with(b"unclean/")).unwrap();
    let forged = |last| {
        let row = reframed(0, key, row, |row| {
            row.truncate(21);
            row.extend_from_slice(&varint(last));
        });
        open_bytes(&with_row(&bytes, "meta", key, Some(&row))).unwrap()
    };
    let store = forged(u64::MAX - 1);
    assert_eq!(store.resolve(CommitSeq::new(0)).unwrap(), Resolution::Committed);
    assert_eq!(kind(store.resolve(CommitSeq::new(u64::MAX))), ErrorKind::Invalid);
    // The very last one says that nobody knows.
    let store = forged(u64::MAX);
    assert_eq!(kind(store.resolve(CommitSeq::new(0))), ErrorKind::Damaged);
    assert_eq!(kind(store.resolve(CommitSeq::new(u64::MAX))), ErrorKind::Invalid);
}

/// Against: missing rows whose number wraps to none, so that a repair forgets them without a word.
#[test]
fn missing_rows_are_not_counted_past_the_end_to_none() {
    let bytes = furnished();
    let head = rows_of(&bytes, "meta").into_iter().find(|(key, _)| key == b"head").unwrap().1;
    let forged = reframed(0, b"head", &head, |row| {
        let (_, mut at) = place_in_head(payload_of(row), NEXT_ID);
        // The horizon of keys, and that of intents.
        at = varint_at(payload_of(row), at).1;
        at = varint_at(payload_of(row), at).1;
        let (tables, mut at) = varint_at(payload_of(row), at);
        for _ in 0..tables {
            let (table, (count, behind)) = (row[21 + at], varint_at(payload_of(row), at + 1));
            let said =
                if matches!(table, 5 | 7) { varint(count + (1 << 63)) } else { varint(count) };
            let grown = said.len();
            row.splice(21 + at + 1..21 + behind, said);
            // The bytes of its rows, and the sum of their hashes.
            at = varint_at(payload_of(row), at + 1 + grown).1 + 16;
        }
        assert_eq!(at, row.len() - 21);
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let forged = with_row(&bytes, "meta", b"head", Some(&forged));
    fs::write(&path, &forged).unwrap();
    let refused = error(repair(&path, &RepairOptions::new()));
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("accept_missing_rows"), "{refused}");
    assert!(fs::read(&path).unwrap() == forged);
}

/// Against: a calendar row that names no time, in front of all others, so that no key is ever
/// forgotten again.
#[test]
fn a_calendar_row_without_a_time_does_not_end_all_forgetting() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || Key::new("k").expires_after(second(10));
    run.step(key(), 1, |_| Ok(1u64)).unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let (_, row) = rows_of(&bytes, "expiry").remove(0);
    let row = reframed(6, &[0, 0], &row, |_| ());
    let forged = with_row(&bytes, "expiry", &[0, 0], Some(&row));
    let store = options.open_on(Arc::new(MemoryDisk::from_bytes(forged))).unwrap();
    clock.advance(second(60));
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(run.step(key(), 2, |_| Ok(1u64)).unwrap().is_fresh(), "its time was over");
}

/// Against: deadlines and lives at the end of all numbers, whose sum with the time is over at once.
#[test]
fn a_claim_with_a_life_of_all_numbers_is_never_over() -> Result<()> {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    drop(store.claim::<u64>("s", "open", &1)?);
    drop(store);
    let bytes = disk.to_bytes();
    let (key, row) = &rows_of(&bytes, "keys")[0];
    // The life is the last but one of its fields: none.
    assert!(row.ends_with(&[0, 0]));
    let row = reframed(5, key, row, |row| {
        row.truncate(row.len() - 2);
        row.push(1);
        row.extend_from_slice(&varint(u64::MAX));
        row.push(0);
    });
    let forged = Arc::new(MemoryDisk::from_bytes(with_row(&bytes, "keys", key, Some(&row))));
    let store = options.open_on(forged)?;
    let milepost::Claimed::InDoubt(doubt) = store.claim::<u64>("s", "open", &1)? else { panic!() };
    doubt.confirm(&5)?;
    clock.advance(second(1_000));
    let mut run = store.run::<Counter>("run")?;
    count(&mut run, 1)?;
    let again = store.claim::<u64>("s", "open", &1)?;
    assert!(matches!(again, milepost::Claimed::Done(5)), "{again:?}");
    Ok(())
}

/// Against: a name that no call would take, read from a record and handed on as a checked one: to a
/// receiver as a client order id, to a log with its line breaks.
#[test]
fn a_record_with_a_name_that_no_call_takes_is_damaged() {
    let bytes = furnished();
    let (key, row) = &rows_of(&bytes, "intents")[0];
    let forged = |from: &[u8], to: &[u8]| {
        let row = reframed(7, key, row, |row| {
            let at = row.windows(from.len()).position(|part| part == from).unwrap();
            row.splice(at..at + from.len(), to.iter().copied());
        });
        open_bytes(&with_row(&bytes, "intents", key, Some(&row))).unwrap()
    };
    assert!(forged(b"\x03run", b"\x03nur").recovery().is_ok());
    for (from, to) in [
        (b"\x03run".as_slice(), b"\x03r\nn".as_slice()),
        (b"\x03run", b"\x00"),
        (b"\x22mp", b"\x22MP"),
        (b"\x22mp", b"\x22p"),
    ] {
        let refused = error(forged(from, to).recovery());
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    }
    let (key, row) = &rows_of(&bytes, "audit")[0];
    let row = reframed(12, key, row, |row| {
        let at = row.windows(7).position(|part| part == b"\x06orders").unwrap();
        row.splice(at..at + 7, [0]);
    });
    let store = open_bytes(&with_row(&bytes, "audit", key, Some(&row))).unwrap();
    assert_eq!(kind(store.intents().audit(9)), ErrorKind::Damaged);
}
