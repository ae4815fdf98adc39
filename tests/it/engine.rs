//! What the storage engine does by itself when the power goes, when a flush fails and when its bytes
//! are damaged; and what stands between that and a user. Each pair of tests, or halves of a test,
//! holds the reason for one shield of ours: if the first half fails, the shield has become needless.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use milepost::testing::{Call, Change, Effect, Fault, Image, Platter, SimDisk};
use milepost::{Disk, Durability, ErrorKind, Options, Result};
use redb::{
    Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, TableHandle,
};

use crate::support::{Counter, count, key_of, kind};

/// The fake disk as the storage engine wants to see it.
#[derive(Debug)]
struct Raw(Arc<SimDisk>);

impl StorageBackend for Raw {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

fn raw(disk: &Arc<SimDisk>) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(1 << 20).create_with_backend(Raw(disk.clone()))
}

/// Writes a row, and fills some pages with others.
fn put(db: &Database, key: u64) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    let mut table = txn.open_table(NUMBERS)?;
    for nth in 0..400 {
        table.insert(key * 1_000 + nth, nth)?;
    }
    drop(table);
    Ok(txn.commit()?)
}

fn has(db: &Database, key: u64) -> bool {
    let table = db.begin_read().unwrap().open_table(NUMBERS).unwrap();
    table.get(key * 1_000).unwrap().is_some()
}

/// Against: a crash in `create` after which there is a file, and it never opens. The engine leaves
/// one; ours has its name only once it is whole, and what a crash left is no hindrance.
#[test]
fn a_crash_inside_the_engines_create_leaves_a_file_that_never_opens_and_ours_never_does() {
    let disk = Arc::new(SimDisk::new());
    disk.record();
    drop(raw(&disk).unwrap());
    let trace = disk.trace();
    let mut ruins: Vec<Platter> = Vec::new();
    for point in 0..trace.points() {
        for image in Image::every(trace.unsynced(point)) {
            let left = trace.cut(point, &image);
            if raw(&Arc::new(SimDisk::of(left.clone()))).is_err() && !ruins.contains(&left) {
                ruins.push(left);
            }
        }
    }
    assert!(!ruins.is_empty(), "the engine has learned to do without our temporary file");

    let folder = tempfile::tempdir().unwrap();
    for (nth, ruin) in ruins.iter().enumerate() {
        let path = folder.path().join(format!("{nth}.mp"));
        std::fs::write(format!("{}.creating", path.display()), ruin.to_vec()).unwrap();
        assert_eq!(kind(Options::new().open(&path)), ErrorKind::NotFound);
        Options::new().create(&path).unwrap().close().unwrap();
        Options::new().open(&path).unwrap();
    }
}

/// Against: a commit that nobody has on disk, taken for one that is. The engine opens on it; the
/// shield is held by `what_resolve_calls_committed_survives_a_power_cut`.
#[test]
fn after_a_failed_flush_the_engine_alone_builds_on_what_is_not_on_the_disk() {
    let disk = Arc::new(SimDisk::new());
    let db = raw(&disk).unwrap();
    put(&db, 1).unwrap();
    disk.arm([Fault::of(Call::Sync, 0).effect(Effect::Forgotten).once()]);
    assert!(put(&db, 2).is_err());
    drop(db);
    disk.arm([]);
    let db = raw(&disk).unwrap();
    assert!(has(&db, 2), "it was accepted: reads see it");
    drop(db);
    let after_the_cut = catch_unwind(AssertUnwindSafe(|| {
        raw(&Arc::new(SimDisk::of(disk.durable()))).is_ok_and(|db| has(&db, 2))
    }));
    assert!(!matches!(after_the_cut, Ok(true)), "and is there after a power cut");
}

/// A store with three commits of its own, killed, and the pages that the newest of them wrote.
fn killed(durability: Durability) -> (Platter, Vec<Change>) {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().durability(durability).create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=2 {
        count(&mut run, n).unwrap();
    }
    disk.record();
    count(&mut run, 3).unwrap();
    let left = disk.live();
    let trace = disk.trace();
    let changes = (0..trace.points()).map(|point| trace.unsynced(point));
    let changes = changes.max_by_key(|changes| changes.len()).unwrap().to_vec();
    std::mem::forget((run, store));
    (left, changes)
}

/// Opens the store with one byte of the newest commit's pages turned over, each in turn; how many
/// steps are left, each time that it opens.
fn with_damage_in_the_newest_commit(durability: Durability) -> Vec<u64> {
    let (left, changes) = killed(durability);
    let mut opened = Vec::new();
    for change in changes.iter().filter(|change| !change.is_header()) {
        let Change::Write { offset, bytes } = change else { continue };
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
        for at in [*offset, offset + used / 2] {
            let mut bad = left.clone();
            bad.flip(at, 0x10);
            let options = Options::new().durability(durability);
            let Ok(store) = options.open_on(Arc::new(SimDisk::of(bad))) else { continue };
            opened.push(store.run::<Counter>("run").unwrap().steps());
        }
    }
    opened
}

/// Against: an acknowledged step that is gone without a word. With one fsync a commit, damage to the
/// newest commit cannot be told from a commit cut short; with two it is.
#[test]
fn damage_to_the_newest_commit_takes_it_back_with_one_fsync_and_is_told_with_two() {
    let one = with_damage_in_the_newest_commit(Durability::OnePhase);
    assert!(one.contains(&2), "a silent roll-back is what the manual warns of: {one:?}");
    assert!(one.iter().all(|steps| [2, 3].contains(steps)), "never more than one: {one:?}");
    let two = with_damage_in_the_newest_commit(Durability::TwoPhase);
    assert!(two.iter().all(|steps| *steps == 3), "{two:?}");
}

/// Reads everything that the engine finds, by itself.
fn walk(bytes: &Platter) -> Result<(), redb::Error> {
    let mut db = raw(&Arc::new(SimDisk::of(bytes.clone())))?;
    db.check_integrity()?;
    let txn = db.begin_read()?;
    for table in txn.list_tables()? {
        let rows: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(table.name());
        for row in txn.open_table(rows)?.iter()? {
            row?;
        }
    }
    Ok(())
}

/// Against: a panic of the engine that crosses our API and takes the bot down.
#[test]
fn whatever_bytes_make_the_engine_panic_are_an_error_here() {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.batch((0..300).map(|n| (key_of(n), n, n)), |_, n| Ok(n)).unwrap();
    let crashed = disk.live();
    drop((run, store));
    let mut panics = 0;
    for whole in [crashed, disk.live()] {
        let used = |page: &u64| {
            let mut bytes = [0; 64];
            whole.read(*page, &mut bytes).unwrap();
            bytes != [0; 64]
        };
        let pages = (1..whole.len() / 4096).map(|page| page * 4096).filter(used);
        let starts = pages.flat_map(|page| [page, page + 1, page + 2, page + 8]);
        for at in (0..320).step_by(5).chain(starts) {
            let mut bad = whole.clone();
            bad.flip(at, 0xff);
            if catch_unwind(|| drop(walk(&bad))).is_ok() {
                continue;
            }
            panics += 1;
            let ours = catch_unwind(|| {
                let store = Options::new().open_on(Arc::new(SimDisk::of(bad.clone())))?;
                let steps = store.run::<Counter>("run")?.steps();
                store.verify().map(|_| steps)
            });
            match ours.unwrap_or_else(|_| panic!("byte {at} crosses our API")) {
                Ok(steps) => assert_eq!(steps, 300, "byte {at}"),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Invalid),
                    "byte {at}: {error}"
                ),
            }
        }
    }
    println!("the engine alone panicked {panics} times");
    assert!(panics > 0, "the engine has learned not to panic");
}

/// Against: "nothing of it was changed" said of a file that was. Not verified, a store is refused by
/// whatever first reads the damage, and that may be the commit that raises the epoch.
#[test]
fn a_damaged_store_that_was_not_verified_is_refused_before_it_is_changed() {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 0..20 {
        run.step(key_of(n), n, |_| Ok(n)).unwrap();
    }
    drop(run);
    store.close().unwrap();
    let whole = disk.live();
    let options = Options::new().verify_on_open_bytes(0).cache_bytes(1 << 20);
    let mut refused = 0;
    for at in (4096..whole.len()).filter(|at| at % 4096 < 64 || at % 5 == 0) {
        let mut byte = [0];
        whole.read(at, &mut byte).unwrap();
        if byte == [0] {
            continue;
        }
        let mut bad = whole.clone();
        bad.flip(at, 0xff);
        let disk = Arc::new(SimDisk::of(bad.clone()));
        if options.open_on(disk.clone()).is_err() {
            refused += 1;
            assert!(disk.live() == bad, "byte {at}: refused, and changed");
        }
    }
    assert!(refused > 50, "{refused} were refused");
}

/// Against: a known key that is new, because a page of the index was damaged in a store that was cut
/// short while it was being closed: redb needs no walk then, and makes none.
#[test]
fn a_store_cut_short_while_it_was_being_closed_is_verified_all_the_same() {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.batch((0..300).map(|n| (key_of(n), n, n)), |_, n| Ok(n)).unwrap();
    drop(run);
    store.close().unwrap();
    let mut whole = disk.live();
    // All is written, and the flag that says so is not yet.
    whole.flip(9, 2);
    let mut refused = 0;
    for at in (4096..whole.len()).step_by(83) {
        let mut byte = [0];
        whole.read(at, &mut byte).unwrap();
        if byte == [0] {
            continue;
        }
        let mut bad = whole.clone();
        bad.flip(at, 0x10);
        let disk = Arc::new(SimDisk::of(bad));
        let answers = Options::new().cache_bytes(1 << 20).open_on(disk).and_then(|store| {
            let mut run = store.run::<Counter>("run")?;
            let items = (0..300).map(|n| (key_of(n), u64::MAX, ()));
            run.batch(items, |_, ()| -> milepost::Result<u64> {
                Err(milepost::Error::abort("new"))
            })
        });
        match answers {
            Ok(known) => assert_eq!(known.len(), 300, "byte {at}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 20, "{refused} were refused");
}
