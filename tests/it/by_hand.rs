//! What a person settles or puts back, and what a waker does while the store is closed. Against a claim
//! that stays damaged for ever; a row that was put back and is written over by a step that never saw it;
//! and a close that waits for itself.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use milepost::testing::{Call, SimDisk};
use milepost::{AuditAction, Claimed, ErrorKind, Options, RepairOptions, Store, repair};

use crate::support::{
    Counter, count, error, key_of, killed, kind, on_disk, reframed, rows_of, second, with_row,
    within,
};

/// The store of a repair that found this row of a table with another last byte.
fn repaired(
    bytes: &[u8],
    table: &'static str,
    is: impl Fn(&[u8]) -> bool,
) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let (key, good) = rows_of(bytes, table).into_iter().find(|(key, _)| is(key)).unwrap();
    let mut row = good.clone();
    *row.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::write(&path, with_row(bytes, table, &key, Some(&row))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    (folder, path, good)
}

/// The bit is turned back in quarantine, as by a program that can read what was put aside.
fn mend(path: &Path, good: &[u8]) {
    let bytes = std::fs::read(path).unwrap();
    let (number, row) = rows_of(&bytes, "quarantine").remove(0);
    let mended = reframed(10, &number, &row, |row| {
        let but_last = &good[..good.len() - 1];
        let at = row.windows(but_last.len()).position(|part| part == but_last).unwrap();
        row[at..at + good.len()].copy_from_slice(good);
    });
    std::fs::write(path, with_row(&bytes, "quarantine", &number, Some(&mended))).unwrap();
}

/// Two payments: one in doubt, one settled.
fn payments() -> Vec<u8> {
    let (disk, store) = on_disk(&Options::new());
    drop(store.claim::<u64>("pay", "doubt", "100 EUR").unwrap());
    let Claimed::Fresh(claim) = store.claim::<u64>("pay", "done", "5 EUR").unwrap() else {
        panic!()
    };
    claim.complete(&7).unwrap();
    drop(store);
    killed(&disk).to_bytes()
}

/// Against: a payment whose record was damaged: every call is `Damaged`, for ever, and nobody can say
/// what the bank answered.
#[test]
fn a_claim_whose_record_was_damaged_is_settled_by_a_person_with_an_audit_row() {
    for (first, key) in [(0, "doubt"), (1, "done")] {
        let bytes = payments();
        let (_folder, path, _) = repaired(&bytes, "keys", |row| row[0] == first);
        let store = Store::open(&path).unwrap();
        assert_eq!(kind(store.claim::<u64>("pay", key, "100 EUR")), ErrorKind::Damaged);
        let lost = store.doubt::<u64>("pay", key).unwrap();
        assert!(lost.why().contains("quarantine"), "{}", lost.why());
        // One holder at a time, and nothing without a note: perhaps it was settled before.
        assert_eq!(kind(store.doubt::<u64>("pay", key)), ErrorKind::Conflict);
        assert_eq!(kind(lost.release()), ErrorKind::Invalid);
        let lost = store.doubt::<u64>("pay", key).unwrap();
        assert_eq!(kind(lost.confirm(&1)), ErrorKind::Invalid);
        assert_eq!(kind(store.claim::<u64>("pay", key, "100 EUR")), ErrorKind::Damaged);
        let lost = store.doubt::<u64>("pay", key).unwrap();
        lost.confirm_with_note(&9, "Ada: the bank has it").unwrap();
        let audit = store.intents().audit(9).unwrap();
        assert_eq!(audit[0].action, AuditAction::Confirm);
        assert_eq!(audit[0].claim.as_ref().unwrap().1, key.as_bytes());
        assert!(matches!(store.claim::<u64>("pay", key, "100 EUR").unwrap(), Claimed::Done(9)));
        assert_eq!(kind(store.doubt::<u64>("pay", key)), ErrorKind::Conflict);
        // What is in quarantine does not take the place of what was said.
        let number = store.quarantine().list().unwrap()[0].number;
        assert!(store.quarantine().restore(number).is_err());
        assert!(store.verify().unwrap().is_sound());
    }
}

#[test]
fn a_damaged_claim_that_a_person_frees_is_new_again() {
    let bytes = payments();
    let (_folder, path, _) = repaired(&bytes, "keys", |row| row[0] == 0);
    let store = Store::open(&path).unwrap();
    let lost = store.doubt::<u64>("pay", "doubt").unwrap();
    lost.release_with_note("Ada: no such payment").unwrap();
    let Claimed::Fresh(claim) = store.claim::<u64>("pay", "doubt", "100 EUR").unwrap() else {
        panic!()
    };
    claim.complete(&3).unwrap();
    drop((claim, store));
    let store = Store::open(&path).unwrap();
    assert!(matches!(store.claim::<u64>("pay", "doubt", "100 EUR").unwrap(), Claimed::Done(3)));
    assert_eq!(store.intents().audit(9).unwrap()[0].action, AuditAction::Release);
    assert!(store.verify().unwrap().is_sound());
}

/// Against: a row that was put back during a closure that had seen it damaged, and then went for good.
#[test]
fn a_row_is_not_put_back_under_a_step_that_has_not_seen_it() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("k", 1, |tx| tx.put("fees", &700u64)).unwrap();
    count(&mut run, 2).unwrap();
    drop((run, store));
    let (_folder, path, good) = repaired(&disk.to_bytes(), "rows", |key| key.ends_with(b"fees"));
    mend(&path, &good);
    let store = Store::open(&path).unwrap();
    let number = store.quarantine().list().unwrap()[0].number;
    let mut run = store.run::<Counter>("run").unwrap();
    let beside = store.clone();
    let refused = run.step("late", 3, |tx| {
        // The damaged row is begun anew, from nothing.
        assert_eq!(kind(tx.get::<u64>("fees")), ErrorKind::Damaged);
        let refused = error(beside.quarantine().restore(number));
        tx.state.sum += 1;
        Ok(refused.to_string())
    });
    let refused = refused.unwrap().into_outcome();
    assert!(refused.contains("is open in this process"), "{refused}");
    drop(run);
    store.quarantine().restore(number).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.get::<u64>("fees").unwrap(), Some(700));
    run.step(key_of(9), 9, |tx| tx.put("fees", &701u64)).unwrap();
    assert_eq!(run.get::<u64>("fees").unwrap(), Some(701));
}

struct Closes(Mutex<Option<Store>>, mpsc::Sender<Option<ErrorKind>>);

impl Wake for Closes {
    fn wake(self: Arc<Self>) {
        let store = self.0.lock().unwrap().take().unwrap();
        self.1.send(store.close().err().map(|error| error.kind())).unwrap();
    }
}

/// Against: a close that commits what was submitted, wakes who waits for it, and is called by that one:
/// it waited for itself, for ever.
#[test]
fn a_waker_that_closes_the_store_that_is_being_closed_is_refused_and_does_not_hang() {
    within(second(30), || {
        // The commit is made by the helper, or by the close: often enough by the close.
        let mut refused = 0;
        for _ in 0..20 {
            let disk = Arc::new(SimDisk::default());
            let store = Options::new().create_on(disk.clone()).unwrap();
            disk.slow_down(Call::Sync, Duration::from_millis(5));
            let mut run = store.run::<Counter>("run").unwrap();
            let first = run.submit("a", 1, |_| Ok(())).unwrap();
            let mut pending = pin!(run.submit("b", 2, |_| Ok(())).unwrap());
            let (told, tells) = mpsc::channel();
            let waker: Waker = Arc::new(Closes(Mutex::new(Some(store.clone())), told)).into();
            if pending.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                continue;
            }
            let closed = store.close();
            drop(first);
            match tells.recv().unwrap() {
                Some(ErrorKind::Conflict) => {
                    refused += 1;
                    closed.unwrap();
                }
                Some(kind) => panic!("{kind:?}"),
                None => closed.unwrap(),
            }
            drop(run);
        }
        println!("{refused} of 20 were refused");
    });
}
