//! What a newer program wrote: refused as such, and left for that program as it is.

use std::fs;

use milepost::{
    Claimed, Delivery, Endpoint, ErrorKind, Options, RepairOptions, Sent, Store, repair, verify,
};

use crate::damage::furnished;
use crate::support::{
    Counter, ORDERS, error, key_of, kind, open_bytes, payload_of, reframed, rows_of, seen, with_row,
};

/// A store in which the row that ends so is as a newer program would have written it.
fn newer(table: &'static str, id: u8, key: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let bytes = furnished();
    let rows = rows_of(&bytes, table);
    let (key, row) = rows.iter().find(|(found, _)| found.ends_with(key)).unwrap();
    with_row(&bytes, table, key, Some(&reframed(id, key, row, change)))
}

/// The ways in which a frame says that it is of a newer program.
const WAYS: [fn(&mut Vec<u8>); 4] =
    [|row| row[2] = 2, |row| row[4] = 1, |row| row[4] = 0x80, |row| row[9] = 2];

struct Deaf;

impl Endpoint<u64, u64> for Deaf {
    fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
        panic!("sent")
    }
}

/// Against: a flag that says how the rest is to be read, such as compressed or encrypted, which is
/// passed over: the rest is read as something else, and written over.
#[test]
fn a_row_with_a_flag_this_program_does_not_know_is_too_new_wherever_it_stands() {
    let flagged = |table, id, key: &[u8]| newer(table, id, key, |row| row[4] = 4);
    for key in [b"head".as_slice(), b"identity"] {
        let refused = error(open_bytes(&flagged("meta", 0, key)));
        assert_eq!(refused.kind(), ErrorKind::TooNew);
        assert!(refused.to_string().contains("0x04"), "{refused}");
    }
    let open = |table, id, key: &[u8]| open_bytes(&flagged(table, id, key)).unwrap();
    assert_eq!(kind(open("runs", 2, b"run").run::<Counter>("run")), ErrorKind::TooNew);
    let store = open("keys", 5, key_of(3).as_bytes());
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(seen(&mut run, &key_of(3))), ErrorKind::TooNew);
    let store = open("keys", 5, b"done");
    assert_eq!(kind(store.claim::<u64>("s", "done", &1)), ErrorKind::TooNew);
    let store = open("rows", 11, key_of(2).as_bytes());
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.get::<u64>(key_of(2))), ErrorKind::TooNew);
    let bytes = furnished();
    let (intent, _) = rows_of(&bytes, "intents").remove(0);
    let store = open("intents", 7, &intent);
    assert_eq!(kind(store.recovery()), ErrorKind::TooNew);
    let delivered = store.relay(&ORDERS).deliver(&mut Deaf).unwrap();
    assert_eq!((delivered.set_aside, delivered.problems[0].kind), (1, ErrorKind::TooNew));
    let (schema, _) = rows_of(&bytes, "schemas").remove(0);
    assert_eq!(kind(open("schemas", 1, &schema).run::<Counter>("run")), ErrorKind::TooNew);
    let (audit, _) = rows_of(&bytes, "audit").remove(0);
    assert_eq!(kind(open("audit", 12, &audit).intents().audit(9)), ErrorKind::TooNew);
}

/// Against: an upgrade that was taken back for a day, and a repair in that day which puts aside what
/// the newer program wrote: its keys without an outcome, its runs begun anew.
#[test]
fn a_repair_leaves_alone_what_a_newer_program_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    for (table, id, key) in
        [("runs", 2, "run"), ("keys", 5, "key-00003"), ("rows", 11, "key-00002")]
    {
        for way in WAYS {
            let bytes = newer(table, id, key.as_bytes(), way);
            // Beside it something that is to be repaired.
            let (other, mut row) = rows_of(&bytes, "keys").pop().unwrap();
            *row.last_mut().unwrap() ^= 1;
            let bytes = with_row(&bytes, "keys", &other, Some(&row));
            fs::write(&path, &bytes).unwrap();

            let found = verify(&path, &Options::new()).unwrap();
            let counted = |table: &&milepost::TableCheck| table.newer_rows == 1;
            let counted: Vec<_> = found.tables.iter().filter(counted).collect();
            assert_eq!((counted.len(), counted[0].name), (1, table), "{found}");
            let damaged: u64 = found.tables.iter().map(|table| table.damaged_rows).sum();
            assert_eq!(damaged, 1, "{found}");
            assert!(!found.is_sound());
            assert!(found.to_string().contains("1 of a newer program"), "{found}");

            let any = RepairOptions::new().accept_missing_rows();
            for options in [RepairOptions::new(), any] {
                let refused = error(repair(&path, &options));
                assert_eq!(refused.kind(), ErrorKind::TooNew, "{refused}");
                assert!(refused.to_string().contains("upgrade"), "{refused}");
                assert!(fs::read(&path).unwrap() == bytes, "{table} was changed");
            }
        }
    }
}

/// Against: the same of a whole store, whose header an old program takes for a damaged one and makes
/// anew.
#[test]
fn a_repair_leaves_alone_a_store_that_a_newer_program_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let of_a_format: fn(&mut Vec<u8>) = |row| row[21] = 2;
    let headers = ["head", "identity"].into_iter().flat_map(|key| WAYS.map(|way| (key, way)));
    for (key, way) in headers.chain([("identity", of_a_format)]) {
        let bytes = newer("meta", 0, key.as_bytes(), way);
        let (other, mut row) = rows_of(&bytes, "keys").pop().unwrap();
        *row.last_mut().unwrap() ^= 1;
        let bytes = with_row(&bytes, "keys", &other, Some(&row));
        fs::write(&path, &bytes).unwrap();
        let found = verify(&path, &Options::new()).unwrap();
        assert!(found.newer.is_some() && !found.is_sound(), "{found}");
        for options in [RepairOptions::new(), RepairOptions::new().accept_missing_rows()] {
            assert_eq!(kind(repair(&path, &options)), ErrorKind::TooNew);
            assert!(fs::read(&path).unwrap() == bytes, "{key} was changed");
        }
    }
}

/// Against: a calendar in a newer layout, read in the old one and written back shorter.
#[test]
fn a_calendar_row_of_a_newer_program_is_left_as_it_is() {
    use crate::support::{clock, on_disk, second};
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    let key = milepost::Key::new("k").expires_after(second(10));
    run.step(key, 1, |_| Ok(1u64)).unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let (key, row) = rows_of(&bytes, "expiry").remove(0);
    for way in WAYS {
        let row = reframed(6, &key, &row, way);
        let disk = milepost::MemoryDisk::from_bytes(with_row(&bytes, "expiry", &key, Some(&row)));
        let disk = std::sync::Arc::new(disk);
        clock.advance(second(60));
        let store = options.open_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        assert!(!run.step("k", 2, |_| Ok(1u64)).unwrap().is_fresh());
        run.step("other", 2, |_| Ok(1u64)).unwrap();
        let newer: u64 = store.verify().unwrap().tables.iter().map(|table| table.newer_rows).sum();
        assert_eq!(newer, 1);
        drop((run, store));
        assert_eq!(rows_of(&disk.to_bytes(), "expiry"), [(key.clone(), row)]);
    }
}

/// Against: an outcome in an encoding of a newer program, of which it is said that its type is wrong.
#[test]
fn a_payload_in_an_encoding_this_program_does_not_know_is_too_new() {
    let in_codec_9 = |table, id, key: &[u8], payload: &[u8]| {
        open_bytes(&newer(table, id, key, |row| {
            let payload = [&[1], payload].concat();
            let at = payload_of(row).windows(payload.len()).rposition(|part| part == payload);
            row[21 + at.unwrap()] = 9;
        }))
    };
    // A payload is its codec, its length and its bytes: the outcome, the row and the state.
    let store = in_codec_9("keys", 5, key_of(3).as_bytes(), &[1, 6]).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let refused = error(seen(&mut run, &key_of(3)));
    assert_eq!(refused.kind(), ErrorKind::TooNew, "{refused}");
    let store = in_codec_9("keys", 5, b"done", &[1, 5]).unwrap();
    match store.claim::<u64>("s", "done", &1) {
        Ok(Claimed::Fresh(_)) => panic!("claimed again"),
        refused => assert_eq!(kind(refused), ErrorKind::TooNew),
    }
    let store = in_codec_9("rows", 11, key_of(3).as_bytes(), &[1, 3]).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(run.get::<u64>(key_of(3))), ErrorKind::TooNew);
    let store: Store = in_codec_9("runs", 2, b"run", &[8, 21, 6, 1, 2, 3, 4, 5, 6]).unwrap();
    let refused = error(store.run::<Counter>("run"));
    assert_eq!(refused.kind(), ErrorKind::TooNew, "{refused}");
    assert!(refused.to_string().contains("codec 9"), "{refused}");
}
