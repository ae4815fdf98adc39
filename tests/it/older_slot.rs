//! What a repair gives back where two commits are in one file: the newest whose place in the header is
//! damaged and the one before it, or pages of an earlier commit in the place of newer ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use milepost::{
    Durability, ErrorKind, OnCopy, Options, Reopen, RepairOptions, Store, repair, verify,
};
use tempfile::TempDir;

use crate::support::{Counter, count, key_of, seen};

const PAGE: usize = 4_096;

/// What happened before the store was left, after which so many steps are acknowledged.
#[derive(Debug, Clone, Copy)]
enum History {
    /// Steps.
    Plain(u64),
    /// Steps, a close, and more steps.
    Reopened(u64, u64),
    /// Steps, and rows that were removed, so that a close cuts off most of the file.
    Emptied(u64),
    /// The same, and the file was made shorter before it was left.
    Compacted(u64),
    /// Steps and a close, and then the next epoch, in which nothing was done.
    Begun(u64),
}

#[derive(Debug, Clone, Copy)]
struct Left {
    history: History,
    durability: Durability,
    reopen: Reopen,
    is_closed: bool,
}

impl History {
    fn all() -> Vec<Self> {
        let mut all: Vec<_> = (1..=12).map(Self::Plain).collect();
        all.extend([(1, 1), (2, 3), (5, 2), (3, 7)].map(|(a, b)| Self::Reopened(a, b)));
        all.extend([3, 4].map(Self::Emptied));
        all.extend([3, 4].map(Self::Compacted));
        all.extend([1, 4, 6].map(Self::Begun));
        all
    }

    fn steps(self) -> u64 {
        match self {
            Self::Plain(steps) | Self::Begun(steps) => steps,
            Self::Reopened(first, more) => first + more,
            // One puts the rows, one removes them.
            Self::Emptied(steps) | Self::Compacted(steps) => steps + 2,
        }
    }

    /// Lives it, and returns the store as it is when it is left.
    fn live(self, path: &Path, options: &Options) -> Store {
        let store = options.create(path).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let (Self::Plain(first)
        | Self::Begun(first)
        | Self::Reopened(first, _)
        | Self::Emptied(first)
        | Self::Compacted(first)) = self;
        for n in 1..=first {
            count(&mut run, n).unwrap();
        }
        match self {
            Self::Plain(_) => {}
            Self::Reopened(..) | Self::Begun(_) => {
                drop(run);
                store.close().unwrap();
                let store = options.open(path).unwrap();
                let mut run = store.run::<Counter>("run").unwrap();
                for n in first + 1..=self.steps() {
                    count(&mut run, n).unwrap();
                }
                drop(run);
                return store;
            }
            Self::Emptied(_) | Self::Compacted(_) => {
                for (n, is_put) in [(first + 1, true), (first + 2, false)] {
                    run.step(key_of(n), n, |tx| {
                        tx.state.sum += n;
                        tx.state.seen.push(n);
                        for row in 0..40 {
                            let (key, value) = (format!("row-{row}"), "x".repeat(20_000));
                            if is_put { tx.put(&key, &value)? } else { tx.remove(&key)? }
                        }
                        Ok(tx.state.sum)
                    })
                    .unwrap();
                }
                if matches!(self, Self::Compacted(_)) {
                    drop(run);
                    store.compact().unwrap();
                    return store;
                }
            }
        }
        drop(run);
        store
    }
}

fn lock_of(path: &Path) -> PathBuf {
    format!("{}.lock", path.display()).into()
}

/// Leaves a store of this history in a folder.
fn leave(left: Left) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let options =
        Options::new().durability(left.durability).reopen(left.reopen).compact_on_close_bytes(0);
    let store = left.history.live(&path, &options);
    // What a kill leaves of both files.
    let (bytes, lock) = (fs::read(&path).unwrap(), fs::read(lock_of(&path)).unwrap());
    store.close().unwrap();
    if !left.is_closed {
        fs::write(&path, bytes).unwrap();
        fs::write(lock_of(&path), lock).unwrap();
    }
    (folder, path)
}

/// Zeroes the place of the newest commit.
fn damage_newest(bytes: &mut [u8]) {
    let newest = 64 + 128 * usize::from(bytes[9] & 1);
    bytes[newest..newest + 128].fill(0);
}

/// Checks that the store is as it was after so many steps, in every way.
#[track_caller]
fn assert_is_as_after(steps: u64, of: u64, path: &Path, what: &str) {
    let store = Options::new().on_copy(OnCopy::Moved).open(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.steps(), steps, "{what}");
    assert_eq!(run.state().seen, (1..=steps).collect::<Vec<_>>(), "{what}");
    assert_eq!(run.state().sum, steps * (steps + 1) / 2, "{what}");
    for n in 1..=of {
        let outcome = (n <= steps).then_some(n * (n + 1) / 2);
        assert_eq!(seen(&mut run, &key_of(n)).unwrap(), outcome, "{what}: key {n}");
    }
    drop(run);
    store.close().unwrap();
    let found = verify(path, &Options::new()).unwrap();
    assert!(found.is_sound(), "{what}: {found}");
}

/// Against: a file that was closed cleanly, of which one byte in the header is damaged, and all of which
/// is out of reach because the close cut off pages that the commit before it lists as free; a mix of two
/// commits; a last commit that is lost without a word.
#[test]
fn after_any_history_the_commit_before_a_damaged_one_is_given_back_as_it_was() {
    let modes = [
        (Durability::OnePhase, Reopen::Verified),
        (Durability::OnePhase, Reopen::Instant),
        (Durability::TwoPhase, Reopen::Verified),
    ];
    let (mut complete, mut lost) = (0, 0);
    for (nth, history) in History::all().into_iter().enumerate() {
        for (durability, reopen) in modes {
            for is_closed in [true, false] {
                // The kinds of history that depend on the note are had with it and without it.
                let both = matches!(history, History::Begun(_) | History::Compacted(_));
                let notes = if both { vec![true, false] } else { vec![nth % 2 == 0] };
                for has_note in notes {
                    let left = Left { history, durability, reopen, is_closed };
                    let what = format!("{left:?}, note {has_note}");
                    let (_folder, path) = leave(left);
                    let mut bytes = fs::read(&path).unwrap();
                    damage_newest(&mut bytes);
                    fs::write(&path, &bytes).unwrap();
                    if !has_note {
                        fs::remove_file(lock_of(&path)).unwrap();
                    }
                    let steps = history.steps();
                    match repair(&path, &RepairOptions::new()) {
                        Ok(done) => {
                            complete += 1;
                            assert_eq!((done.missing, done.quarantined), (0, 0), "{what}");
                            assert_eq!(done.found.lost_commits, None, "{what}");
                            assert_is_as_after(steps, steps, &path, &what);
                            assert!(!is_unreconciled(&path), "{what}");
                        }
                        Err(refused) => {
                            lost += 1;
                            assert!(!is_closed, "{what}: {refused}");
                            assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
                            assert!(fs::read(&path).unwrap() == bytes, "{what}: changed");
                            let accepted = RepairOptions::new().accept_missing_rows();
                            let done = repair(&path, &accepted).unwrap();
                            assert!(done.found.lost_commits.is_some(), "{what}");
                            // The damaged commit held no step after a compaction, or where an epoch
                            // was begun.
                            let held =
                                !matches!(history, History::Begun(_) | History::Compacted(_));
                            assert_is_as_after(steps - u64::from(held), steps, &path, &what);
                            assert!(is_unreconciled(&path), "{what}");
                        }
                    }
                }
            }
        }
    }
    assert!(complete > 80 && lost > 50, "{complete} {lost}");
}

/// Checks that the run is refused, or is where it was, and that each key of it counts as seen.
#[track_caller]
fn assert_nothing_is_forgotten(steps: u64, path: &Path, what: &str) {
    let store = Options::new().on_copy(OnCopy::Moved).open(path).unwrap();
    let Ok(mut run) = store.run::<Counter>("run") else { return };
    assert_eq!(run.steps(), steps, "{what}");
    for n in 1..=steps {
        assert_ne!(seen(&mut run, &key_of(n)).ok(), Some(None), "{what}: key {n} is new");
    }
}

/// Whether the store has to be reconciled; then it is.
fn is_unreconciled(path: &Path) -> bool {
    let store = Options::new().on_copy(OnCopy::Moved).open(path).unwrap();
    match store.reconcile("asked all receivers") {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::Conflict => false,
        Err(error) => panic!("{error}"),
    }
}

/// Against: a write that was lost, so that a page of an earlier commit is where one of the newest should
/// be, and a repair that takes its rows over: their checksums hold, and a run goes back to where it was
/// while its keys do not.
#[test]
fn a_page_of_an_earlier_commit_never_passes_for_one_of_the_newest() {
    let (mut exact, mut refused_once, mut mixed) = (0, 0, 0);
    for is_closed in [true, false] {
        for with_slot in [true, false] {
            for (first, steps) in [(2, 3), (3, 5), (4, 8), (5, 7)] {
                let left = |steps| Left {
                    history: History::Plain(steps),
                    durability: Durability::OnePhase,
                    reopen: Reopen::Verified,
                    is_closed,
                };
                let older = earlier(left(first), steps, is_closed);
                let (_folder, path, newer) = older.1;
                let older = older.0;
                let differ: Vec<_> = (1..newer.len() / PAGE)
                    .filter(|page| {
                        let range = page * PAGE..page * PAGE + PAGE;
                        older.get(range.clone()).is_some_and(|page| page != &newer[range])
                    })
                    .collect();
                assert!(!differ.is_empty());
                let note = fs::read(lock_of(&path)).unwrap();
                let alone = differ.iter().map(|page| BTreeSet::from([*page]));
                let all_but = differ.iter().map(|but| {
                    differ.iter().filter(|page| *page != but).copied().collect::<BTreeSet<_>>()
                });
                for stale in alone.chain(all_but) {
                    let what = format!("closed {is_closed}, slot {with_slot}, {steps}: {stale:?}");
                    let mut bytes = newer.clone();
                    for page in stale {
                        let range = page * PAGE..page * PAGE + PAGE;
                        bytes[range.clone()].copy_from_slice(&older[range]);
                    }
                    if !with_slot {
                        damage_newest(&mut bytes);
                    }
                    fs::write(&path, &bytes).unwrap();
                    fs::write(lock_of(&path), &note).unwrap();
                    let options = Options::new().on_copy(OnCopy::Moved);
                    let careful = RepairOptions::new().options(options);
                    match repair(&path, &careful) {
                        Ok(done) if done.quarantined == 0 => {
                            exact += 1;
                            assert_is_as_after(steps, steps, &path, &what);
                        }
                        // Rows that were put aside are not missed by the count of them: then they
                        // were rows of this table, and nothing is forgotten.
                        Ok(_) => assert_nothing_is_forgotten(steps, &path, &what),
                        Err(refused) => {
                            refused_once += 1;
                            assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
                            assert!(fs::read(&path).unwrap() == bytes, "{what}: changed");
                            if repair(&path, &careful.accept_missing_rows()).is_ok() {
                                mixed += 1;
                                assert!(is_unreconciled(&path), "{what}: without a word");
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(exact > 5 && refused_once > 20 && mixed > 5, "{exact} {refused_once} {mixed}");
}

type Kept = (TempDir, PathBuf, Vec<u8>);

/// One store after the steps of its history, and after more.
fn earlier(left: Left, steps: u64, is_closed: bool) -> (Vec<u8>, Kept) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = left.history.live(&path, &Options::new());
    let older = fs::read(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in left.history.steps() + 1..=steps {
        count(&mut run, n).unwrap();
    }
    drop(run);
    let (bytes, lock) = (fs::read(&path).unwrap(), fs::read(lock_of(&path)).unwrap());
    store.close().unwrap();
    if !is_closed {
        fs::write(&path, bytes).unwrap();
        fs::write(lock_of(&path), lock).unwrap();
    }
    let newer = fs::read(&path).unwrap();
    (older, (folder, path, newer))
}
