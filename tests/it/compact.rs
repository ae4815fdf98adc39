//! Making the file shorter.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use milepost::testing::{Call, Effect, Fault, Image, Platter, SimDisk};
use milepost::{ErrorKind, OnCopy, Options, Result, Store, StoreSize, compact, verify};

use crate::support::{Counter, count, error, is_root, key_of, kind, seen};

/// How many rows there are first, and how many stay.
const ROWS: u64 = 400;
const KEPT: u64 = 20;

/// A store whose file is mostly free: rows of which most are gone. Its steps are keys 1 to 3.
fn spread(store: &Store, row_bytes: usize) -> Result<()> {
    let mut run = store.run::<Counter>("run")?;
    count(&mut run, 1)?;
    let puts = (0..ROWS).map(|n| (format!("row-{n}"), n)).collect::<Vec<_>>();
    run.step(key_of(2), 2, |tx| {
        tx.state.seen.push(2);
        puts.iter().try_for_each(|(key, n)| tx.put(key, &bulk(*n, row_bytes)))
    })?;
    // Every twentieth stays, so that what is in use lies all over the file.
    run.step(key_of(3), 3, |tx| {
        tx.state.seen.push(3);
        let mut gone = puts.iter().filter(|(_, n)| n % (ROWS / KEPT) != 0);
        gone.try_for_each(|(key, _)| tx.remove(key))
    })?;
    Ok(())
}

fn bulk(n: u64, len: usize) -> String {
    char::from(b'a' + (n % 26) as u8).to_string().repeat(len)
}

/// All that a store of [`spread`] must hold.
#[track_caller]
fn assert_intact(store: &Store, row_bytes: usize) {
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.state().seen[..3], [1, 2, 3]);
    for n in 0..ROWS {
        let row = run.get::<String>(format!("row-{n}")).unwrap();
        let expected = (n % (ROWS / KEPT) == 0).then(|| bulk(n, row_bytes));
        assert!(row == expected, "row {n}");
    }
    assert_eq!(seen(&mut run, &key_of(1)).unwrap(), Some(1));
    drop(run);
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

/// Never compacts by itself.
fn by_hand() -> Options {
    Options::new().compact_on_close_bytes(0).cache_bytes(4 << 20)
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// Against: a file that stays as long as it ever was.
#[test]
fn a_closed_store_is_made_shorter_and_nothing_else_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = by_hand().create(&path).unwrap();
    spread(&store, 40_000).unwrap();
    let life = store.incarnation().unwrap();
    store.close().unwrap();
    let before = len(&path);
    assert!(before > 8 << 20, "{before}");
    let done = compact(&path, &by_hand()).unwrap();
    assert!(done.before.file_bytes >= before);
    assert_eq!(done.after.file_bytes, len(&path));
    assert!(done.after.file_bytes < before / 4, "{done:?}");
    assert_eq!(done.before.live_bytes, done.after.live_bytes);
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    let store = by_hand().open(&path).unwrap();
    assert!(store.was_closed_in_order());
    assert_eq!(store.incarnation().unwrap(), life);
    assert_intact(&store, 40_000);
    // Again: as short as it can be, more or less.
    let again = store.compact().unwrap();
    assert!(again.after.file_bytes <= done.after.file_bytes * 2, "{again:?}");
}

/// Against: numbers that say nothing of the file.
#[test]
fn the_size_tells_the_file_and_what_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = by_hand().create(&path).unwrap();
    let empty = store.size().unwrap();
    assert_eq!(empty.file_bytes, len(&path));
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("put", 1, |tx| tx.put("row", &bulk(7, 1 << 20))).unwrap();
    let StoreSize { file_bytes, live_bytes, .. } = store.size().unwrap();
    assert_eq!(file_bytes, len(&path));
    assert!(live_bytes > empty.live_bytes + (1 << 20), "{live_bytes}");
    run.step("remove", 2, |tx| tx.remove("row")).unwrap();
    assert!(store.size().unwrap().live_bytes < empty.live_bytes + 10_000);
    drop(run);
    let again = store.size().unwrap();
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    // The opening wrote its own rows.
    assert!(store.size().unwrap().live_bytes.abs_diff(again.live_bytes) < 1_000);
}

/// Against: a file that only a person ever makes shorter; or one that is made shorter although nobody
/// wants that.
#[test]
fn a_file_of_which_most_is_free_is_made_shorter_when_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let lens = [0, 1_000, 256 << 20].map(|most| {
        let path = folder.path().join(format!("{most}.mp"));
        let options = by_hand().compact_on_close_bytes(most);
        let store = options.create(&path).unwrap();
        spread(&store, 40_000).unwrap();
        store.close().unwrap();
        let store = by_hand().open(&path).unwrap();
        assert!(store.was_closed_in_order());
        assert_intact(&store, 40_000);
        store.close().unwrap();
        len(&path)
    });
    let [never, too_much_in_use, shorter] = lens;
    assert_eq!(never, too_much_in_use);
    assert!(shorter < never / 4, "{lens:?}");
}

/// Against: a bot that fails, loses a step or does one twice because the file was made shorter beside
/// it.
#[test]
fn it_is_made_shorter_beside_a_running_bot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = by_hand().create(&path).unwrap();
    spread(&store, 40_000).unwrap();
    let before = len(&path);
    let done = AtomicBool::new(false);
    let (steps, compactions) = std::thread::scope(|scope| {
        let bots: Vec<_> = (0..3)
            .map(|bot| {
                let (store, done) = (&store, &done);
                scope.spawn(move || {
                    let mut run = store.run::<Counter>(&format!("bot-{bot}")).unwrap();
                    let mut n = 0;
                    while !done.load(Ordering::Relaxed) || n < 20 {
                        n += 1;
                        count(&mut run, n).unwrap();
                        assert_eq!(run.get::<u64>("none").unwrap(), None);
                        store.recovery().unwrap();
                    }
                    n
                })
            })
            .collect();
        let mut compactions = 0;
        for _ in 0..20 {
            match store.compact() {
                Ok(_) => compactions += 1,
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}"),
            }
        }
        done.store(true, Ordering::Relaxed);
        (bots.into_iter().map(|bot| bot.join().unwrap()).collect::<Vec<_>>(), compactions)
    });
    assert!(compactions > 0, "always refused");
    store.close().unwrap();
    assert!(len(&path) < before / 4);
    let store = by_hand().open(&path).unwrap();
    assert_intact(&store, 40_000);
    for (bot, steps) in steps.into_iter().enumerate() {
        assert_eq!(store.run::<Counter>(&format!("bot-{bot}")).unwrap().steps(), steps);
    }
}

/// Against: a step's closure that waits for itself for ever, or loses the rows that it reads.
#[test]
fn inside_a_step_it_is_done_or_refused() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let inside = store.compact().map(drop).and_then(|()| {
        run.step("k", 1, |tx| {
            match store.compact() {
                Ok(_) => {}
                Err(refused) => assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}"),
            }
            tx.get::<u64>("row").map(|row| row.is_none())
        })
    });
    assert!(inside.unwrap().into_outcome());
    store.clone().close().unwrap();
    assert_eq!(kind(store.compact()), ErrorKind::Invalid);
}

/// Against: a kill after it, after which what the lock file says is not what is in the file.
#[test]
fn what_the_lock_file_says_of_the_newest_commit_stays_true() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = by_hand().create(&path).unwrap();
    spread(&store, 4_000).unwrap();
    let newest = store.newest_commit().unwrap();
    store.compact().unwrap();
    assert_eq!(store.newest_commit().unwrap(), newest);
    let killed = folder.path().join("killed.mp");
    fs::copy(&path, &killed).unwrap();
    fs::copy(folder.path().join("bot.mp.lock"), folder.path().join("killed.mp.lock")).unwrap();
    let store = by_hand().on_copy(OnCopy::Moved).open(&killed).unwrap();
    assert!(!store.was_closed_in_order());
    assert_intact(&store, 4_000);
}

/// A store of [`spread`] on a disk that remembers, without a compaction.
fn on_sim_disk() -> (Arc<SimDisk>, Store) {
    let disk = Arc::new(SimDisk::new());
    let store = by_hand().create_on(disk.clone()).unwrap();
    spread(&store, 2_000).unwrap();
    (disk, store)
}

fn reopened(left: Platter) -> Result<Store> {
    by_hand().open_on(Arc::new(SimDisk::of(left)))
}

/// Against: rows that are lost when the power goes while pages are moved, whatever of the unflushed
/// writes is left.
#[test]
fn a_crash_at_any_write_of_it_loses_nothing() {
    let (disk, store) = on_sim_disk();
    disk.record();
    let done = store.compact().unwrap();
    assert!(done.after.file_bytes < done.before.file_bytes / 2, "{done:?}");
    drop(store);
    let trace = disk.trace();
    let mut images = 0;
    let mut lens = BTreeSet::new();
    for point in 0..trace.points() {
        let unsynced = trace.unsynced(point);
        let few = [
            Image::Nothing,
            Image::Everything,
            Image::HeaderOnly,
            Image::WithoutHeader,
            Image::ResizesLost,
            Image::Random { seed: point as u64 },
            Image::Torn { count: unsynced.len(), seed: point as u64 },
        ];
        // All that have a name at some, and a few at every one.
        let all = if point % 40 == 7 { Image::every(unsynced) } else { Vec::new() };
        for image in few.into_iter().chain(all) {
            let left = trace.cut(point, &image);
            lens.insert(left.len());
            let store = reopened(left).unwrap_or_else(|error| panic!("{point} {image:?}: {error}"));
            if images % 9 == 0 {
                assert_intact(&store, 2_000);
            }
            let run = store.run::<Counter>("run").unwrap();
            assert_eq!(run.state().seen, [1, 2, 3], "{point} {image:?}");
            images += 1;
        }
    }
    assert!(images > 500 && lens.len() > 1, "{images} images, {lens:?}");
}

/// Against: a disk that fails or is full while pages are moved, and takes the store with it.
#[test]
fn a_call_that_fails_in_it_loses_nothing_and_the_handle_says_so() {
    let (disk, store) = on_sim_disk();
    disk.arm([]);
    let before = disk.count(Call::Change);
    store.compact().unwrap();
    let calls = disk.count(Call::Change) - before;
    drop(store);
    assert!(calls > 20, "{calls}");
    let kinds = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other];
    for (nth, error_kind) in (0..calls).step_by(3).flat_map(|nth| kinds.map(|kind| (nth, kind))) {
        let (disk, store) = on_sim_disk();
        let effect = if nth % 2 == 0 { Effect::Nothing } else { Effect::Half };
        disk.arm([Fault {
            call: Call::Change,
            nth,
            effect,
            error: error_kind,
            stays: nth % 4 == 0,
        }]);
        let failed = error(store.compact());
        assert!([ErrorKind::NoSpace, ErrorKind::Io].contains(&failed.kind()), "{nth}: {failed}");
        assert_eq!(kind(store.claim::<u64>("s", "k", &1)), ErrorKind::Poisoned, "{nth}");
        assert_eq!(kind(store.compact()), ErrorKind::Poisoned, "{nth}");
        assert!(store.close().is_err());
        disk.arm([]);
        // As a process that opens it again finds it, and as a power cut leaves it.
        for left in [disk.live(), disk.durable()] {
            let store = reopened(left).unwrap_or_else(|error| panic!("{nth}: {error}"));
            assert_intact(&store, 2_000);
            store.compact().unwrap();
            assert_intact(&store, 2_000);
        }
    }
}

/// Against: a compaction that needs room on a disk that is full, which is when it is wanted.
#[test]
fn on_a_full_disk_it_makes_room() {
    if !is_root() {
        println!("skipped: only root may mount a small disk");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let shell = |command: &str| {
        let status = std::process::Command::new("sh")
            .args(["-c", command])
            .current_dir(folder.path())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let made =
        "mkdir at && truncate -s 64M image && mkfs.ext4 -q -b 1024 image && mount -o loop image at";
    if !shell(made) {
        println!("skipped: no ext4 can be mounted here");
        return;
    }
    let path = folder.path().join("at/bot.mp");
    let outcome = std::panic::catch_unwind(|| {
        let store = by_hand().create(&path).unwrap();
        spread(&store, 40_000).unwrap();
        store.close().unwrap();
        let before = len(&path);
        // Until nothing goes on it any more.
        let _ = shell("dd if=/dev/zero of=at/ballast bs=1k 2>/dev/null");
        let done = compact(&path, &by_hand()).unwrap();
        assert!(done.after.file_bytes < before / 4, "{done:?}");
        let store = by_hand().open(&path).unwrap();
        assert_intact(&store, 40_000);
        store.close().unwrap();
    });
    shell("umount at");
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
