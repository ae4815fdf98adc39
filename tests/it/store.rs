//! The life of a store: created, opened, closed, dropped, crashed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use milepost::{
    Claimed, CommitSeq, ErrorKind, Limits, MemoryDisk, Options, Resolution, Store, Topic,
};

use crate::support::{
    Child, Counter, count, error, key_of, killed, kind, on_disk, open_bytes, reframed, rows_of,
    second, seen, tampered, within,
};

const OWN: Topic<u64, u64> = Topic::new("own");
const T: Topic<u64, u64> = Topic::new("t");

/// Against: a store in memory that shares anything with another one.
#[test]
fn a_store_in_memory_works_and_is_alone() {
    let (one, two) = (Store::in_memory().unwrap(), Store::in_memory().unwrap());
    assert_ne!(one.id(), two.id());
    let mut run = one.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    assert_eq!(two.run::<Counter>("run").unwrap().steps(), 0);
}

/// Against: a store made over the bytes of another one, on a disk of the user's own.
#[test]
fn a_disk_with_bytes_on_it_is_opened_and_never_created_over() {
    let (disk, store) = on_disk(&Options::new());
    let id = store.id();
    store.close().unwrap();
    let before = disk.to_bytes();
    assert_eq!(kind(Options::new().create_on(disk.clone())), ErrorKind::Conflict);
    assert!(disk.to_bytes() == before, "changed");
    assert_eq!(Options::new().open_on(disk).unwrap().id(), id);
}

/// Against: an empty or foreign disk taken for a store; and a store whose beginning was zeroed taken
/// for something that never was one.
#[test]
fn a_disk_that_is_no_store_is_refused() {
    for (bytes, refused) in [
        (vec![], ErrorKind::Invalid),
        (vec![0; 10], ErrorKind::Invalid),
        (vec![0; 4_096], ErrorKind::Damaged),
        (vec![0xa5; 1 << 20], ErrorKind::Invalid),
    ] {
        let disk = Arc::new(MemoryDisk::from_bytes(bytes.clone()));
        assert_eq!(kind(Options::new().open_on(disk.clone())), refused);
        assert!(disk.to_bytes() == bytes, "changed");
    }
}

/// Against: two holders under one fencing token.
#[test]
fn every_open_is_a_new_epoch_of_the_same_store() {
    let (disk, store) = on_disk(&Options::new());
    let (id, mut before) = (store.id(), store.epoch());
    drop(store);
    let mut disk = killed(&disk);
    for round in 0..6 {
        let store = Options::new().open_on(disk.clone()).unwrap();
        assert_eq!(store.id(), id);
        assert!(store.epoch() > before, "{} after {before}", store.epoch());
        before = store.epoch();
        if round % 2 == 0 {
            disk = killed(&disk); // while it is open
        }
        drop(store);
    }
}

/// Against: a crash taken for a close, or a close for a crash.
#[test]
fn whether_it_was_closed_in_order_is_known() {
    let (disk, store) = on_disk(&Options::new());
    assert!(store.was_closed_in_order());
    let crashed = killed(&disk);
    drop(store);
    assert!(Options::new().open_on(killed(&disk)).unwrap().was_closed_in_order(), "dropped");
    assert!(!Options::new().open_on(crashed).unwrap().was_closed_in_order(), "killed");

    let store = Options::new().open_on(disk.clone()).unwrap();
    store.close().unwrap();
    assert!(Options::new().open_on(killed(&disk)).unwrap().was_closed_in_order(), "closed");

    let store = Options::new().open_on(disk.clone()).unwrap();
    std::mem::forget(store);
    assert!(!Options::new().open_on(killed(&disk)).unwrap().was_closed_in_order(), "forgotten");
}

/// Against: a program that panics, and is then taken for one that ended in order.
#[test]
fn a_store_dropped_by_a_panic_was_not_closed_in_order() {
    let (disk, store) = on_disk(&Options::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _store = store;
        panic!("the program");
    }));
    assert!(panicked.is_err());
    assert!(!Options::new().open_on(killed(&disk)).unwrap().was_closed_in_order());
}

/// Against: a call on a closed store that looks as if it had worked.
#[test]
fn after_close_every_call_is_refused() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("scope", "key", &1) else { panic!() };
    store.clone().close().unwrap();
    assert_eq!(kind(count(&mut run, 2)), ErrorKind::Invalid);
    assert_eq!(run.state().seen, [1], "a refused step leaves the state alone");
    assert_eq!(kind(run.rewind(0)), ErrorKind::Invalid);
    assert_eq!(kind(run.get::<u64>("x")), ErrorKind::Invalid);
    assert_eq!(kind(store.run::<Counter>("other")), ErrorKind::Invalid);
    assert_eq!(kind(store.claim::<u64>("scope", "other", &1)), ErrorKind::Invalid);
    assert_eq!(kind(claim.complete(&1)), ErrorKind::Invalid);
    assert_eq!(kind(store.recovery()), ErrorKind::Invalid);
    assert_eq!(kind(store.newest_commit()), ErrorKind::Invalid);
    assert_eq!(kind(store.resolve(CommitSeq::new(1))), ErrorKind::Invalid);
    assert_eq!(kind(store.intents().outstanding("t", 1)), ErrorKind::Invalid);
    // A second close has nothing to do.
    store.close().unwrap();
}

/// Against: a file that stays locked behind a handle somebody forgot to drop.
#[test]
fn close_lets_go_of_the_file_even_while_a_run_is_still_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = Store::create(&path).unwrap();
    let run = store.run::<Counter>("run").unwrap();
    store.close().unwrap();
    let again = Store::open(&path).unwrap();
    assert!(again.was_closed_in_order());
    drop(run);
    again.run::<Counter>("run").unwrap();
}

/// Against: work of handles that were never dropped, lost because nobody called `close`.
#[test]
fn without_any_close_nothing_acknowledged_is_lost() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=50 {
        count(&mut run, n).unwrap();
    }
    std::mem::forget((run, store));
    let store = Options::new().open_on(disk).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen, (1..=50).collect::<Vec<_>>());
}

/// Against: an answer about a commit that never was.
#[test]
fn resolve_knows_every_number_it_gave_out_and_no_other() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=5 {
        count(&mut run, n).unwrap();
    }
    let newest = store.newest_commit().unwrap();
    for n in 0..=newest.get() {
        assert_eq!(store.resolve(CommitSeq::new(n)).unwrap(), Resolution::Committed, "{n}");
    }
    for n in [newest.get() + 1, newest.get() + 100, u64::MAX] {
        assert_eq!(kind(store.resolve(CommitSeq::new(n))), ErrorKind::Invalid, "{n}");
    }
    // After a crash the next number is one that was perhaps under way, and was not committed.
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.resolve(newest).unwrap(), Resolution::Committed);
    let lost = CommitSeq::new(newest.get() + 1);
    assert_eq!(store.resolve(lost).unwrap(), Resolution::NotCommitted);
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 6).unwrap();
    assert!(store.newest_commit().unwrap() > lost);
    assert_eq!(store.resolve(lost).unwrap(), Resolution::NotCommitted, "for ever");
}

/// Against: an answer made up for a commit that is too long ago to be known.
#[test]
fn resolve_admits_what_it_has_forgotten() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=10 {
        count(&mut run, n).unwrap();
    }
    let store = open_bytes(&crashed_often(&killed(&disk))).unwrap();
    assert_eq!(kind(store.resolve(CommitSeq::new(3))), ErrorKind::NotFound);
    assert_eq!(store.resolve(CommitSeq::new(6)).unwrap(), Resolution::NotCommitted);
    assert_eq!(store.resolve(CommitSeq::new(8)).unwrap(), Resolution::Committed);
}

/// The store with 1,024 crashes noted down, all of them after commit 5.
fn crashed_often(disk: &Arc<MemoryDisk>) -> Vec<u8> {
    // One that is real, to copy from.
    drop(Options::new().open_on(disk.clone()).unwrap());
    let bytes = disk.to_bytes();
    let noted = |row: &&(Vec<u8>, Vec<u8>)| row.0.starts_with(b"unclean/");
    let (real, row) = rows_of(&bytes, "meta").iter().find(noted).unwrap().clone();
    tampered(&bytes, |txn| {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("meta");
        let mut rows = txn.open_table(table).unwrap();
        rows.remove(real.as_slice()).unwrap();
        for epoch in 1_000..2_024u64 {
            let key = [b"unclean/".as_slice(), &epoch.to_be_bytes()].concat();
            let row = reframed(0, &key, &row, |row| {
                row.truncate(21);
                row.push(5);
            });
            rows.insert(key.as_slice(), row.as_slice()).unwrap();
        }
    })
}

/// Against: a step that was acknowledged to a process, and is gone when that is killed.
#[test]
fn a_killed_process_leaves_every_step_that_was_acknowledged_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    Store::create(&path).unwrap().close().unwrap();
    for round in 1..=6u64 {
        let mut child = Child::start("steps", &path);
        let mut acknowledged = 0;
        for _ in 0..round * 7 {
            let said = child.says().unwrap();
            acknowledged = said.strip_prefix("done ").map_or(acknowledged, |n| n.parse().unwrap());
        }
        child.kill();
        let store = Store::open(&path).unwrap();
        assert!(!store.was_closed_in_order());
        let mut run = store.run::<Counter>("run").unwrap();
        let steps = run.steps();
        assert!(steps >= acknowledged, "{steps} of {acknowledged}");
        assert_eq!(run.state().seen, (1..=steps).collect::<Vec<_>>());
        assert_eq!(seen(&mut run, &key_of(steps)).unwrap(), Some(run.state().sum));
        assert_eq!(seen(&mut run, &key_of(steps + 1)).unwrap(), None);
    }
}

/// Against: a close inside a closure that waits for itself, and a step that is acknowledged after the
/// store was closed.
#[test]
fn a_store_can_be_closed_inside_a_step_which_is_then_refused() {
    within(second(20), || {
        for submits in [false, true] {
            let (disk, store) = on_disk(&Options::new());
            let mut run = store.run::<Counter>("run").unwrap();
            count(&mut run, 1).unwrap();
            let inside = store.clone();
            let close = move |tx: &mut milepost::Tx<'_, Counter>| {
                tx.state.sum = 700;
                inside.close()
            };
            let refused = if submits {
                kind(run.submit("a", 2, close))
            } else {
                kind(run.step("a", 2, close))
            };
            assert_eq!(refused, ErrorKind::Invalid, "submits: {submits}");
            assert_eq!((run.steps(), run.state().sum), (1, 1), "undone");
            assert_eq!(error(count(&mut run, 2)).kind(), ErrorKind::Invalid);
            let again = open_bytes(&disk.to_bytes()).unwrap();
            assert!(again.was_closed_in_order());
            let mut run = again.run::<Counter>("run").unwrap();
            assert_eq!((run.steps(), seen(&mut run, "a").unwrap()), (1, None));
        }
    });
}

/// Against: a store that is let go of inside a step of another one, and is then neither closed nor
/// ever free again.
#[test]
fn a_store_dropped_inside_a_step_of_another_one_is_closed_all_the_same() {
    within(second(20), || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.mp");
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        for submits in [false, true] {
            let other = Store::open_or_create(&path).unwrap();
            let mut others = other.run::<Counter>("run").unwrap();
            let n = others.steps() + 1;
            if submits {
                drop(others.submit(key_of(n), n, |_| Ok(())).unwrap());
            } else {
                others.step(key_of(n), n, |_| Ok(())).unwrap();
            }
            run.step(key_of(n), n, move |_| {
                drop((others, other));
                Ok(())
            })
            .unwrap();
            let again = Store::open(&path).unwrap();
            assert!(again.was_closed_in_order(), "submits: {submits}");
            assert_eq!(again.run::<Counter>("run").unwrap().steps(), n);
        }
    });
}

/// Against: a call that waits for the end of the closure it is made in.
#[test]
fn calls_on_the_store_inside_a_step_are_served() {
    within(second(20), || {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let mut other = store.run::<Counter>("other").unwrap();
        let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("scope", "open", &1) else { panic!() };
        let inside = store.clone();
        let done = run.step("a", 1, |tx| {
            tx.state.sum = 7;
            let id = tx.emit(&OWN, &1u64)?;
            count(&mut other, 1)?;
            let newest = inside.newest_commit()?;
            inside.run::<Counter>("third")?.step("k", 1, |tx| tx.emit(&T, &9u64))?;
            let claimed = inside.claim::<u64>("scope", "key", &1)?;
            assert!(matches!(claimed, Claimed::Fresh(_)));
            claim.complete(&1)?;
            assert!(inside.newest_commit()? > newest);
            assert_eq!(inside.resolve(newest)?, Resolution::Committed);
            assert_eq!(inside.recovery()?.claims_in_doubt.len(), 0);
            assert_eq!(inside.intents().outstanding("t", 1)?.len(), 1);
            assert_eq!(inside.intents().outstanding("own", 1)?.len(), 0, "not durable yet");
            assert_eq!(inside.intents().audit(1)?.len(), 0);
            assert_eq!(inside.relay(&T).deliver(&mut Anybody)?.confirmed, 1);
            inside.trust_clock()?;
            assert_eq!(inside.clock_suspect()?, None);
            inside.checkpoints().save("run", &milepost::Labels::new())?;
            other.rewind(0)?;
            assert_eq!(other.get::<u64>("x")?, None);
            assert!(inside.verify()?.is_sound());
            assert_eq!(kind(inside.run::<Counter>("run")), ErrorKind::Conflict, "it is open");
            Ok(id)
        });
        let id = done.unwrap().into_outcome();
        assert_eq!((run.state().sum, run.steps(), other.steps()), (7, 1, 1));
        assert_eq!(store.intents().outstanding("own", 9).unwrap()[0].id, id);
        assert!(matches!(store.claim::<u64>("scope", "open", &1).unwrap(), Claimed::Done(1)));
        assert!(store.verify().unwrap().is_sound());
    });
}

struct Anybody;

impl milepost::Endpoint<u64, u64> for Anybody {
    fn call(&mut self, delivery: &milepost::Delivery<u64>) -> milepost::Sent<u64> {
        milepost::Sent::Confirmed(delivery.payload)
    }
}

/// Against: options that refuse every step, or none.
#[test]
fn options_that_make_no_sense_are_refused() {
    let defaults = Limits::default();
    for limits in [
        Limits { key_bytes: 0, ..defaults },
        Limits { value_bytes: 0, ..defaults },
        Limits { rows_per_step: 0, ..defaults },
        Limits { value_bytes: 256 << 20, ..defaults },
        // Such a value could be written; with what stands beside it in its record, it could not be read.
        Limits { value_bytes: (255 << 20) + 1, ..defaults },
        Limits { value_bytes: (256 << 20) - 2, ..defaults },
    ] {
        assert_eq!(kind(Options::new().limits(limits).in_memory()), ErrorKind::Invalid);
    }
    let largest = Limits { value_bytes: 255 << 20, ..defaults };
    Options::new().limits(largest).in_memory().unwrap();
}

/// Against: options that work while the store is open and lose it at the next open.
#[test]
fn every_mode_of_durability_and_reopening_brings_everything_back() {
    use milepost::{Durability, Reopen};
    for durability in [Durability::OnePhase, Durability::TwoPhase] {
        for reopen in [Reopen::Verified, Reopen::Instant, Reopen::Auto] {
            let options = Options::new().durability(durability).reopen(reopen).cache_bytes(0);
            let (disk, store) = on_disk(&options);
            let mut run = store.run::<Counter>("run").unwrap();
            for n in 1..=20 {
                count(&mut run, n).unwrap();
            }
            let crashed = killed(&disk);
            drop((run, store));
            for disk in [crashed, disk] {
                let store = options.open_on(disk).unwrap();
                let mut run = store.run::<Counter>("run").unwrap();
                assert_eq!(run.steps(), 20, "{durability:?} {reopen:?}");
                assert_eq!(seen(&mut run, "key-00020").unwrap(), Some(210));
                count(&mut run, 21).unwrap();
            }
        }
    }
}

/// Against: a limit lowered between two openings that makes sound records look damaged.
#[test]
fn a_record_over_a_lowered_limit_is_not_called_damaged() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let long = 40_000;
    run.step("a", 1, |tx| {
        tx.state.seen = vec![u64::MAX; long];
        Ok(())
    })
    .unwrap();
    drop((run, store));
    let low = Options::new().limits(Limits { value_bytes: 1_000, ..Limits::default() });
    let store = low.open_on(disk.clone()).unwrap();
    let refused = error(store.run::<Counter>("run"));
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded, "{refused}");
    drop(store);
    assert_eq!(open_bytes(&disk.to_bytes()).unwrap().run::<Counter>("run").unwrap().steps(), 1);
}
