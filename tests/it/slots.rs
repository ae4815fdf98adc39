//! Damage to the header of the storage engine's file, where both commit slots are, with and without the
//! note beside it that says how far the store had come.

use std::fs;
use std::path::{Path, PathBuf};

use milepost::{Durability, ErrorKind, OnCopy, Options, RepairOptions, Store, repair, verify};

use crate::support::{Counter, count, error, kind};

/// Other histories are in `older_slot`. After this one the close cuts off pages that the commit before it
/// lists as free.
const STEPS: u64 = 6;

/// What of the file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Newest,
    Older,
    Both,
    Start,
}

/// How a store was left: closed or killed, and with one flush a commit or two.
#[derive(Debug, Clone, Copy)]
struct Left {
    is_closed: bool,
    durability: Durability,
}

/// What became of the lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    Kept,
    Zeroed,
    Missing,
}

const LOCKS: [Lock; 3] = [Lock::Kept, Lock::Zeroed, Lock::Missing];

fn ways() -> Vec<Left> {
    let modes = [Durability::OnePhase, Durability::TwoPhase];
    let ways =
        modes.map(|durability| [true, false].map(|is_closed| Left { is_closed, durability }));
    ways.into_iter().flatten().collect()
}

fn lock_of(path: &Path) -> PathBuf {
    format!("{}.lock", path.display()).into()
}

/// Leaves a store with some steps at the path.
fn leave(path: &Path, left: Left) {
    let store = Options::new().durability(left.durability).create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=STEPS {
        count(&mut run, n).unwrap();
    }
    // What a kill leaves of both files.
    let (bytes, lock) = (fs::read(path).unwrap(), fs::read(lock_of(path)).unwrap());
    drop(run);
    store.close().unwrap();
    if !left.is_closed {
        fs::write(path, bytes).unwrap();
        fs::write(lock_of(path), lock).unwrap();
    }
}

fn damage(path: &Path, place: Place, with_zeros: bool, lock: Lock) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let newest = usize::from(bytes[9] & 1);
    let slot = |nth: usize| 64 + nth * 128..64 + nth * 128 + 128;
    let (first, second) = match place {
        Place::Newest => (slot(newest), None),
        Place::Older => (slot(newest ^ 1), None),
        Place::Both => (slot(0), Some(slot(1))),
        Place::Start => (0..(64 << 10).min(bytes.len()), None),
    };
    for range in [Some(first), second].into_iter().flatten() {
        if with_zeros {
            bytes[range].fill(0);
        } else {
            bytes[range][40] ^= 0x10;
        }
    }
    fs::write(path, &bytes).unwrap();
    match lock {
        Lock::Kept => {}
        Lock::Zeroed => {
            let len = fs::metadata(lock_of(path)).unwrap().len();
            fs::write(lock_of(path), vec![0; usize::try_from(len).unwrap()]).unwrap();
        }
        Lock::Missing => fs::remove_file(lock_of(path)).unwrap(),
    }
    bytes
}

/// Calls `each` for every combination: a path, the bytes there, and what was done to them.
fn combinations(places: &[Place], mut each: impl FnMut(&Path, &[u8], Left, Place, Lock, &str)) {
    for left in ways() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bot.mp");
        leave(&path, left);
        let (whole, note) = (fs::read(&path).unwrap(), fs::read(lock_of(&path)).unwrap());
        for &place in places {
            for lock in LOCKS {
                for with_zeros in [true, false] {
                    if place == Place::Start && !with_zeros {
                        continue;
                    }
                    fs::write(&path, &whole).unwrap();
                    fs::write(lock_of(&path), &note).unwrap();
                    let bytes = damage(&path, place, with_zeros, lock);
                    let what = format!("{left:?}, {place:?}, zeros {with_zeros}, lock {lock:?}");
                    each(&path, &bytes, left, place, lock, &what);
                }
            }
        }
    }
}

/// Against: a damaged store that opens as an empty one, in which every order is new; and one that opens
/// as it was a commit before, without a word.
#[test]
fn a_store_whose_newest_commit_cannot_be_found_is_damaged_and_never_empty_or_older() {
    let places = [Place::Newest, Place::Both, Place::Start];
    combinations(&places, |path, bytes, left, _, _, what| {
        let options = Options::new().durability(left.durability);
        for opened in [options.open(path), options.open_or_create(path)] {
            let refused = error(opened);
            assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
        }
        assert!(fs::read(path).unwrap() == bytes, "{what}: changed");
        assert!(!verify(path, &Options::new()).unwrap().is_sound(), "{what}: called sound");
    });
}

/// Against: a file that is out of reach although one of its two slots is intact: the storage engine
/// opens no file of which one slot is zeros.
#[test]
fn a_repair_gives_back_what_the_other_slot_leads_to_and_keeps_the_damaged_file() {
    combinations(&[Place::Newest], |path, bytes, left, _, _, what| {
        let careful = repair(path, &RepairOptions::new());
        let is_known = left.is_closed;
        let done = match careful {
            Ok(done) => {
                assert!(is_known, "{what}: a commit may be missing, and that was not accepted");
                done
            }
            Err(refused) => {
                assert!(!is_known, "{what}: {refused}");
                assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
                assert!(fs::read(path).unwrap() == bytes, "{what}: changed");
                repair(path, &RepairOptions::new().accept_missing_rows()).unwrap()
            }
        };
        assert!(fs::read(done.kept.unwrap()).unwrap() == bytes, "{what}: the evidence");
        assert_eq!(done.found.lost_commits.is_some(), !is_known, "{what}");
        let store = Store::open(path).unwrap();
        let steps = store.run::<Counter>("run").unwrap().steps();
        assert_eq!(steps, if is_known { STEPS } else { STEPS - 1 }, "{what}");
        drop(store);
        assert!(verify(path, &Options::new()).unwrap().is_sound(), "{what}");
    });
}

/// Against: rows that are all there, and were given up with a slot that nobody needs.
#[test]
fn damage_to_the_older_slot_costs_nothing() {
    combinations(&[Place::Older], |path, bytes, left, _, _, what| {
        // A case before may have put a repaired file here.
        let options = Options::new().durability(left.durability).on_copy(OnCopy::Moved);
        match options.open(path) {
            Ok(store) => {
                assert_eq!(store.run::<Counter>("run").unwrap().steps(), STEPS, "{what}");
            }
            Err(refused) => {
                assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
                assert!(fs::read(path).unwrap() == bytes, "{what}: changed");
                repair(path, &RepairOptions::new().options(options.clone())).unwrap();
                let store = options.open(path).unwrap();
                assert_eq!(store.run::<Counter>("run").unwrap().steps(), STEPS, "{what}");
            }
        }
    });
}

/// Against: a repair that makes something up where nothing can be read.
#[test]
fn where_no_slot_is_left_a_repair_is_refused_and_changes_nothing() {
    combinations(&[Place::Both, Place::Start], |path, bytes, _, _, _, what| {
        let options = RepairOptions::new().accept_missing_rows();
        let refused = error(repair(path, &options));
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{what}: {refused}");
        for said in ["Restore a copy", "not looked for page by page", "Nothing was changed"] {
            assert!(refused.to_string().contains(said), "{what}: {refused}");
        }
        assert!(fs::read(path).unwrap() == bytes, "{what}: changed");
        let files = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 2, "{what}: a file was left");
    });
}

/// Against: a text file of somebody else's that is called a damaged store.
#[test]
fn only_zeros_and_what_the_lock_file_speaks_of_are_a_damaged_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    leave(&path, ways()[0]);
    fs::write(&path, vec![b'x'; 90_000]).unwrap();
    assert_eq!(kind(Store::open(&path)), ErrorKind::Damaged, "the lock file says what it was");
    let text = folder.path().join("notes.txt");
    fs::write(&text, vec![b'x'; 90_000]).unwrap();
    assert_eq!(kind(Store::open(&text)), ErrorKind::Invalid);
    fs::write(&text, vec![0; 90_000]).unwrap();
    assert_eq!(kind(Store::open(&text)), ErrorKind::Damaged);
}
