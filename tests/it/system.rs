//! What a store asks of the operating system, call by call: what must be durable before what, and
//! what becomes of a call that fails.

use std::fs;
use std::path::{Path, PathBuf};

use milepost::testing::{SystemCall, SystemFault, SystemKind, on_system};
use milepost::{ErrorKind, Options, RepairOptions, Resolution, Store, repair, verify};
use tempfile::TempDir;

use crate::damage::furnished;
use crate::support::{Counter, count, error, key_of, kind, rows_of, with_row};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EPERM: i32 = 1;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    (folder, path)
}

/// A store at `path` with so many steps, closed.
fn closed_store(path: &Path, steps: u64) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=steps {
        count(&mut run, n).unwrap();
    }
    drop(run);
    store.close().unwrap();
}

/// A store with one damaged key, which a repair puts in quarantine.
fn damaged_store(path: &Path) -> Vec<u8> {
    let whole = furnished();
    let (key, mut row) = rows_of(&whole, "keys").remove(0);
    *row.last_mut().unwrap() ^= 1;
    let damaged = with_row(&whole, "keys", &key, Some(&row));
    fs::write(path, &damaged).unwrap();
    damaged
}

fn index_of(calls: &[SystemCall], is: impl Fn(&SystemCall) -> bool) -> Option<usize> {
    calls.iter().position(is)
}

/// Against: a process killed in `create` or in `repair` between the rename and the flush of the
/// folder. The next one opened the file and acknowledged steps in it, and a power cut took its name.
#[test]
fn the_first_acknowledgement_comes_after_the_name_of_the_file_is_durable() {
    let (_folder, path) = folder();
    // As a kill between the two leaves it.
    let killed = SystemFault::once(SystemKind::FlushFolder, 0, EIO);
    let (made, _) = on_system(&[killed], || Store::create(&path));
    assert_eq!(kind(made), ErrorKind::Io);
    assert!(path.exists(), "it has its name, and the name is not durable");
    let (store, log) = on_system(&[], || Store::open(&path).unwrap());
    let flushes = log.calls.iter().filter(|call| **call == SystemCall::FlushFolder).count();
    assert_eq!(flushes, 1, "the opening flushes the folder, once: {:?}", log.calls.len());
    let mut run = store.run::<Counter>("run").unwrap();
    let (_, log) = on_system(&[], || count(&mut run, 1).unwrap());
    assert!(!log.calls.contains(&SystemCall::FlushFolder), "and no step does");
}

/// Against: an opening that goes on although the folder cannot be flushed.
#[test]
fn an_opening_that_cannot_make_the_name_durable_is_refused_and_changes_nothing() {
    let (_folder, path) = folder();
    closed_store(&path, 3);
    let before = fs::read(&path).unwrap();
    let failing = SystemFault::once(SystemKind::FlushFolder, 0, EIO);
    let (opened, log) = on_system(&[failing], || Store::open(&path));
    assert_eq!((kind(opened), log.hits), (ErrorKind::Io, 1));
    assert!(fs::read(&path).unwrap() == before, "changed");
    assert_eq!(Store::open(&path).unwrap().run::<Counter>("run").unwrap().steps(), 3);
}

/// Against: the damaged file, which is the evidence, lost by a power cut in a repair on a file system
/// without hard links: it was copied, the copy was not flushed, and the original was replaced.
#[test]
fn without_hard_links_the_copy_of_the_damaged_file_is_durable_before_the_file_is_replaced() {
    let (folder, path) = folder();
    let damaged = damaged_store(&path);
    let no_links = SystemFault::from_then_on(SystemKind::Link, 0, EPERM);
    let (done, log) = on_system(&[no_links], || repair(&path, &RepairOptions::new()).unwrap());
    let kept = done.kept.unwrap();
    assert!(fs::read(&kept).unwrap() == damaged, "the evidence is not what it was");
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    // In this order: the copy is flushed, has its name, the name is flushed, the file is replaced.
    let calls = log.calls;
    let named = |to: &Path| {
        index_of(&calls, |call| matches!(call, SystemCall::Rename { to: name, .. } if name == to))
    };
    let kept_at = named(&kept).unwrap();
    let SystemCall::Rename { file: copy, .. } = calls[kept_at] else { unreachable!() };
    let is_of_copy = |call: &SystemCall| matches!(call, SystemCall::Write { file, .. } | SystemCall::Resize { file, .. } if *file == copy);
    let written = calls.iter().rposition(is_of_copy).unwrap();
    let flushed = index_of(&calls, |call| *call == SystemCall::Flush { file: copy }).unwrap();
    let name_flushed =
        kept_at + index_of(&calls[kept_at..], |call| *call == SystemCall::FlushFolder).unwrap();
    let replaced = named(&path).unwrap();
    let order = [written, flushed, kept_at, name_flushed, replaced];
    assert!(order.is_sorted_by(|one, two| one < two), "{order:?}");
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 3, "the store, its lock and the damaged file");
}

/// Against: evidence of an earlier repair overwritten by that of the next one in the same second.
#[test]
fn without_hard_links_no_earlier_evidence_is_written_over() {
    let (_folder, path) = folder();
    let clock = crate::support::clock();
    let options = || RepairOptions::new().options(Options::new().clock(clock.clone()));
    let no_links = SystemFault::from_then_on(SystemKind::Link, 0, EPERM);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let damaged = damaged_store(&path);
        let (done, _) = on_system(&[no_links], || repair(&path, &options()).unwrap());
        kept.push((done.kept.unwrap(), damaged));
    }
    assert_eq!(
        kept.iter().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>().len(),
        3
    );
    for (name, damaged) in kept {
        assert!(fs::read(&name).unwrap() == damaged, "{}", name.display());
    }
}

/// Against: a repair that fails half-way, and leaves neither the store nor what it was.
#[test]
fn a_repair_of_which_any_call_fails_leaves_the_damaged_file_or_the_repaired_one_and_the_evidence() {
    for (links, errno) in [(true, EIO), (false, ENOSPC)] {
        for nth in 0.. {
            let (folder, path) = folder();
            let damaged = damaged_store(&path);
            let mut faults = vec![SystemFault::once(SystemKind::Change, nth, errno)];
            if !links {
                faults.push(SystemFault::from_then_on(SystemKind::Link, 0, EPERM));
            }
            let (done, log) = on_system(&faults, || repair(&path, &RepairOptions::new()));
            if log.counts[0] <= nth {
                assert!(done.is_ok() && nth > 20, "{nth}: {done:?}");
                break;
            }
            let what = format!("links {links}, call {nth}, error {errno}: {done:?}");
            if let Err(error) = &done {
                assert!([ErrorKind::Io, ErrorKind::NoSpace].contains(&error.kind()), "{what}");
            }
            let is_damaged = |path: &Path| fs::read(path).unwrap() == damaged;
            let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let evidence = names().filter(|name| is_damaged(name)).count();
            assert!(evidence > 0, "the evidence is gone: {what}");
            if !is_damaged(&path) {
                assert!(verify(&path, &Options::new()).unwrap().is_sound(), "{what}");
            }
            // The next one comes to an end, and keeps the evidence too.
            repair(&path, &RepairOptions::new()).unwrap();
            assert!(verify(&path, &Options::new()).unwrap().is_sound(), "{what}");
            assert!(names().any(|name| is_damaged(&name)), "the evidence is gone: {what}");
        }
    }
}

/// What was found is sound, or that the disk failed.
#[track_caller]
fn sound_or_io(found: milepost::Result<milepost::Verification>, what: &str) -> bool {
    match found {
        // The reads that failed came after the verdict, when the store was closed.
        Ok(found) => assert!(found.is_sound(), "{what}: {found}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
            return true;
        }
    }
    false
}

/// Against: a sound store that was called damaged, and replaced by a repair, because one read of it
/// failed once.
#[test]
fn a_read_that_fails_once_is_tried_again_and_one_that_fails_for_good_is_no_verdict() {
    let (folder, path) = folder();
    closed_store(&path, 5);
    let before = fs::read(&path).unwrap();
    let options = RepairOptions::new().accept_missing_rows();
    let mut refused = 0;
    for nth in 0.. {
        let what = format!("read {nth}");
        let once = SystemFault::once(SystemKind::Read, nth, EIO);
        let (found, log) = on_system(&[once], || verify(&path, &Options::new()));
        assert!(found.unwrap().is_sound(), "{what}");
        if log.hits == 0 {
            break;
        }
        let (done, _) = on_system(&[once], || repair(&path, &RepairOptions::new()));
        assert_eq!(done.unwrap().kept, None, "{what}");
        let for_good = SystemFault::from_then_on(SystemKind::Read, nth, EIO);
        let (found, _) = on_system(&[for_good], || verify(&path, &Options::new()));
        refused += u64::from(sound_or_io(found, &what));
        let (done, _) = on_system(&[for_good], || repair(&path, &options));
        match done {
            Ok(done) => assert_eq!(done.kept, None, "{what}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}"),
        }
        assert!(fs::read(&path).unwrap() == before, "{what}: changed");
    }
    assert!(refused > 10, "{refused} were refused");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the store and its lock");
}

/// Against: rows of a damaged store that were left out of the repaired one, because they could not be
/// read for a moment.
#[test]
fn a_repair_leaves_nothing_out_that_it_could_not_read_for_a_moment() {
    let (_folder, path) = folder();
    let options = RepairOptions::new().accept_missing_rows();
    let mut refused = 0;
    for nth in 0.. {
        let damaged = damaged_store(&path);
        let for_good = SystemFault::from_then_on(SystemKind::Read, nth, EIO);
        let (done, log) = on_system(&[for_good], || repair(&path, &options));
        match done {
            Ok(done) => assert_eq!((done.missing, done.quarantined), (0, 1), "read {nth}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Io, "read {nth}: {error}");
                assert!(fs::read(&path).unwrap() == damaged, "read {nth}: changed");
                refused += 1;
            }
        }
        if log.hits == 0 {
            break;
        }
    }
    assert!(refused > 10, "{refused} were refused");
}

/// Against: an open store that is called unsound because the disk failed for a moment.
#[test]
fn an_open_store_is_not_called_unsound_for_a_read_that_failed() {
    let (_folder, path) = folder();
    let store = Store::create(&path).unwrap();
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    let mut refused = 0;
    for nth in 0.. {
        let for_good = SystemFault::from_then_on(SystemKind::Read, nth, EIO);
        let (found, log) = on_system(&[for_good], || store.verify());
        refused += u64::from(sound_or_io(found, &format!("read {nth}")));
        if log.hits == 0 {
            break;
        }
        let once = SystemFault::once(SystemKind::Read, nth, EIO);
        assert!(on_system(&[once], || store.verify()).0.unwrap().is_sound(), "read {nth}");
    }
    assert!(refused > 5, "{refused} were refused");
}

/// Against: a store that is replaced by a repair while it is open under another name.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_is_open_under_another_name_is_neither_verified_nor_repaired_nor_opened() {
    let (folder, path) = folder();
    let store = Store::create(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let other = folder.path().join("other.mp");
    fs::hard_link(&path, &other).unwrap();
    assert_eq!(kind(verify(&other, &Options::new())), ErrorKind::Locked);
    assert_eq!(kind(repair(&other, &RepairOptions::new())), ErrorKind::Locked);
    assert_eq!(kind(Store::open(&other)), ErrorKind::Locked);
    count(&mut run, 2).unwrap();
    drop(run);
    store.close().unwrap();
    assert!(verify(&other, &Options::new()).unwrap().is_sound());
}

/// Against: the same when somebody cleaned up the lock file.
#[cfg(target_os = "linux")]
#[test]
fn a_store_whose_lock_file_was_removed_is_neither_verified_nor_repaired_while_it_is_open() {
    let (_folder, path) = folder();
    let store = Store::create(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    for _ in 0..2 {
        fs::remove_file(format!("{}.lock", path.display())).unwrap();
        let refused = error(verify(&path, &Options::new()));
        assert_eq!(refused.kind(), ErrorKind::Locked, "{refused}");
        assert_eq!(kind(repair(&path, &RepairOptions::new())), ErrorKind::Locked);
        assert_eq!(kind(Store::open(&path)), ErrorKind::Locked);
    }
    count(&mut run, 2).unwrap();
    drop(run);
    store.close().unwrap();
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
}

/// Against: a store that is opened while it is being verified or repaired under another name.
#[cfg(target_os = "linux")]
#[test]
fn the_lock_on_the_file_is_there_for_as_long_as_the_store_is_open_and_no_longer() {
    let (folder, path) = folder();
    closed_store(&path, 3);
    let other = folder.path().join("other.mp");
    fs::hard_link(&path, &other).unwrap();
    // Killed: redb walks the file when it is opened, and lets go of its locks after that.
    let mut child = crate::support::Child::start("hold", &path);
    child.says().unwrap();
    assert_eq!(kind(verify(&other, &Options::new())), ErrorKind::Locked);
    child.kill();
    let store = Store::open(&path).unwrap();
    assert_eq!(kind(verify(&other, &Options::new())), ErrorKind::Locked);
    let clone = store.clone();
    store.close().unwrap();
    assert!(verify(&other, &Options::new()).unwrap().is_sound());
    drop(Store::open(&path).unwrap());
    drop(clone);
}

/// Against: `close` that says all is well after the file was taken away.
#[cfg(unix)]
#[test]
fn a_close_after_the_file_was_taken_away_says_so_each_time_it_is_asked() {
    for with_a_step in [false, true] {
        let (_folder, path) = folder();
        let store = Store::create(&path).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        count(&mut run, 1).unwrap();
        fs::rename(&path, format!("{}.moved", path.display())).unwrap();
        if with_a_step {
            assert_eq!(kind(count(&mut run, 2)), ErrorKind::Fenced);
        }
        let (second, third) = (store.clone(), store.clone());
        assert_eq!(kind(store.close()), ErrorKind::Fenced, "{with_a_step}");
        assert_eq!(kind(second.close()), ErrorKind::Fenced, "{with_a_step}");
        assert_eq!(kind(count(&mut run, 3)), ErrorKind::Fenced, "{with_a_step}");
        assert_eq!(kind(third.newest_commit()), ErrorKind::Fenced, "{with_a_step}");
        assert_eq!(kind(third.flush()), ErrorKind::Fenced, "{with_a_step}");
    }
}

/// Against: a second `close` that fails where the first did not.
#[test]
fn a_second_close_after_a_clean_one_is_clean() {
    let (_folder, path) = folder();
    let store = Store::create(&path).unwrap();
    let clone = store.clone();
    store.close().unwrap();
    clone.clone().close().unwrap();
    assert_eq!(kind(clone.newest_commit()), ErrorKind::Invalid);
}

/// Against: handles that say "closed" after a close that failed, so that the failure is taken for a
/// clean end.
#[test]
fn after_a_flush_that_failed_every_call_says_poisoned_and_not_closed() {
    for errno in [EIO, ENOSPC] {
        for in_the_close in [false, true] {
            let (_folder, path) = folder();
            let store = Store::create(&path).unwrap();
            let mut run = store.run::<Counter>("run").unwrap();
            count(&mut run, 1).unwrap();
            let handle = store.clone();
            let failing = SystemFault::from_then_on(SystemKind::Flush, 0, errno);
            let what = format!("errno {errno}, in the close: {in_the_close}");
            let ((), log) = on_system(&[failing], || {
                if !in_the_close {
                    assert!(matches!(kind(count(&mut run, 2)), ErrorKind::Uncertain(_)), "{what}");
                }
                let closed = kind(store.close());
                let expected = matches!(closed, ErrorKind::Uncertain(_)) == in_the_close;
                assert!(expected && closed != ErrorKind::Invalid, "{what}: {closed:?}");
            });
            assert!(log.hits > 0);
            assert_eq!(kind(count(&mut run, 3)), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.flush()), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.newest_commit()), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.incarnation()), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.verify()), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.run::<Counter>("other")), ErrorKind::Poisoned, "{what}");
            assert_eq!(kind(handle.clone().close()), ErrorKind::Poisoned, "{what}");
        }
    }
}

/// Against: a number that `resolve` does not know after reopening.
#[test]
fn every_uncertain_commit_is_resolved_after_reopening_also_when_all_later_calls_failed() {
    let mut uncertain = 0;
    for (errno, stays) in [(EIO, true), (ENOSPC, true), (EIO, false)] {
        {
            for nth in 0.. {
                let (_folder, path) = folder();
                closed_store(&path, 2);
                let fault =
                    SystemFault { stays, ..SystemFault::once(SystemKind::Change, nth, errno) };
                let (told, log) = on_system(&[fault], || {
                    let store = Store::open(&path)?;
                    let mut run = store.run::<Counter>("run")?;
                    for n in 3..=5 {
                        count(&mut run, n)?;
                    }
                    drop(run);
                    store.close()
                });
                if log.hits == 0 {
                    told.unwrap();
                    break;
                }
                // The same after each of some openings that fail as well.
                for _ in 0..2 {
                    let all = SystemFault::from_then_on(SystemKind::Change, 0, errno);
                    let (again, _) = on_system(&[all], || Store::open(&path).map(drop));
                    assert!(again.is_err(), "call {nth}: opened on a disk that fails");
                }
                let store = Store::open(&path).unwrap();
                let steps = store.run::<Counter>("run").unwrap().steps();
                let Some(ErrorKind::Uncertain(seq)) = told.err().map(|error| error.kind()) else {
                    continue;
                };
                uncertain += 1;
                let first = store.resolve(seq).unwrap_or_else(|error| {
                    panic!("errno {errno}, stays {stays}, call {nth}: commit {seq}: {error}")
                });
                drop(store);
                let store = Store::open(&path).unwrap();
                assert_eq!(store.resolve(seq).unwrap(), first, "the answer changed: call {nth}");
                let key = key_of(steps);
                assert!(
                    crate::support::seen(&mut store.run("run").unwrap(), &key).unwrap().is_some()
                );
                assert!(matches!(first, Resolution::Committed | Resolution::NotCommitted));
            }
        }
    }
    assert!(uncertain > 8, "{uncertain} commits were uncertain");
}

/// Against: a commit that was not committed, and that `resolve` calls committed after a repair: the
/// repaired file went on with its number.
#[test]
fn a_commit_that_is_not_on_disk_is_not_committed_after_a_repair_either() {
    let (_folder, path) = folder();
    closed_store(&path, 2);
    let store = Store::open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 3).unwrap();
    // The write of the header fails: not on disk, and the caller cannot know.
    let uncertain = (0..).find_map(|nth| {
        let fault = SystemFault::from_then_on(SystemKind::Write, nth, EIO);
        match on_system(&[fault], || count(&mut run, 4)).0 {
            Err(error) => Some(error.kind()),
            Ok(_) => None,
        }
    });
    drop((run, store));
    let bytes = fs::read(&path).unwrap();
    let newest = {
        let store = Store::open(&path).unwrap();
        let under_way = milepost::CommitSeq::new(store.newest_commit().unwrap().get() - 1);
        assert_eq!(store.resolve(under_way).unwrap(), Resolution::NotCommitted);
        under_way
    };
    println!("{uncertain:?}, {newest}");
    // The same after a repair of the file as the crash left it.
    let (key, mut row) = rows_of(&bytes, "keys").remove(0);
    *row.last_mut().unwrap() ^= 1;
    fs::write(&path, with_row(&bytes, "keys", &key, Some(&row))).unwrap();
    fs::remove_file(format!("{}.lock", path.display())).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.resolve(newest).unwrap(), Resolution::NotCommitted);
}
