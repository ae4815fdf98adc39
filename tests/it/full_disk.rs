//! A full disk must cost nothing but the step it refuses: on file systems as they are, and on the
//! fake disk, which fails half-way as they do.
//!
//! The story: on ext4 with blocks of 1 KiB, growing the file failed half-way and left it longer, with
//! a length of no whole number of pages. The step said `NoSpace`, as it should; but from then on the
//! store was `Damaged`, and `repair` read nothing: every acknowledged step was out of reach.

use std::fs;
use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{Call, Effect, Fault, Image, Platter, SimDisk};
use milepost::{Durability, ErrorKind, Options, Reopen, RepairOptions, Store};

use crate::support::{Counter, count, error, is_root};

/// The bytes that a row is made of.
fn row(n: u64, bytes: usize) -> Vec<u8> {
    vec![(n % 251) as u8; bytes]
}

fn fill(store: &Store, bytes: usize) -> (u64, milepost::Error) {
    let mut run = store.run::<Counter>("run").unwrap();
    let mut acknowledged = 0;
    loop {
        let n = acknowledged + 1;
        let done = run.step(format!("key-{n}"), n, |tx| {
            tx.put(format!("row-{n}"), &row(n, bytes))?;
            tx.state.sum += 1;
            Ok(())
        });
        match done {
            Ok(_) => acknowledged = n,
            Err(error) => return (acknowledged, error),
        }
    }
}

/// All of the steps are there, and nothing else.
fn check(store: &Store, acknowledged: u64, bytes: usize, what: &str) {
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.state().sum, acknowledged, "{what}");
    for n in 1..=acknowledged {
        let found = run.get::<Vec<u8>>(&format!("row-{n}")).unwrap();
        assert_eq!(found, Some(row(n, bytes)), "{what}: row {n}");
    }
    count(&mut run, 1_000_000).unwrap_or_else(|error| panic!("{what}: it takes no step: {error}"));
}

/// A file system of its own, on a file; gone when it is dropped.
pub struct Mounted {
    folder: tempfile::TempDir,
}

pub fn runs(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Mounted {
    pub fn new(mkfs: &[&str], mib: u64) -> Result<Self, String> {
        if !is_root() {
            return Err("only root may mount a file system".to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        fs::create_dir(&mount).unwrap();
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let (image, mount) = (image.to_str().unwrap(), mount.to_str().unwrap());
        if !runs(mkfs[0], &[&mkfs[1..], &[image]].concat()) {
            return Err(format!("{mkfs:?} does not work here"));
        }
        if !runs("mount", &["-o", "loop", image, mount]) {
            return Err(format!("what {} makes cannot be mounted here", mkfs[0]));
        }
        Ok(Self { folder })
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("mount").join(name)
    }
}

impl Mounted {
    /// Takes it off and mounts it again, as after a power cut.
    pub fn remount(&self) {
        let (image, mount) = (self.folder.path().join("image"), self.path(""));
        let (image, mount) = (image.to_str().unwrap(), mount.to_str().unwrap());
        // A process that another test has just forked may have a file of it open until it calls `exec`;
        // taken off lazily, what is mounted next would be the same file system, shut down or not.
        let is_off = (0..200).any(|_| {
            runs("umount", &[mount]) || {
                std::thread::sleep(Duration::from_millis(50));
                false
            }
        });
        assert!(is_off, "it cannot be taken off: something uses it");
        assert!(runs("mount", &["-o", "loop", image, mount]), "it cannot be mounted again");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        runs("umount", &["-l", self.path("").to_str().unwrap()]);
    }
}

/// Makes a store beside a file that takes room, fills the disk, frees the room, and looks.
fn one_life(disk: &Mounted, filler_kib: usize, bytes: usize, what: &str) {
    let (path, filler) = (disk.path("s.milepost"), disk.path("filler"));
    fs::write(&filler, vec![1; filler_kib << 10]).unwrap();
    let store = Store::create(&path).unwrap();
    let (acknowledged, why) = fill(&store, bytes);
    assert!(acknowledged > 0, "{what}: {why}");
    let said = why.to_string();
    match why.kind() {
        ErrorKind::NoSpace => {
            assert!(said.contains("nothing of this commit is on disk"), "{what}: {said}");
        }
        // Where blocks cannot be taken beforehand, a commit can fail in the middle.
        ErrorKind::Uncertain(_) if what.contains("ext2") => {}
        kind => panic!("{what}: {kind:?}: {said}"),
    }
    // The length was put back at once, and not only by the next opening.
    assert_eq!(fs::metadata(&path).unwrap().len() % 4096, 0, "{what}");
    drop(store);
    fs::remove_file(&filler).unwrap();
    let sound = milepost::verify(&path, &Options::new()).unwrap();
    assert!(sound.is_sound(), "{what}: {sound}");
    assert_eq!(milepost::repair(&path, &RepairOptions::new()).unwrap().kept, None, "{what}");
    let store = Store::open(&path).unwrap_or_else(|error| panic!("{what}: out of reach: {error}"));
    let there = store.run::<Counter>("run").unwrap().state().sum;
    assert!(
        there == acknowledged || matches!(why.kind(), ErrorKind::Uncertain(_)),
        "{what}: {there} of {acknowledged}"
    );
    check(&store, there, bytes, what);
    store.close().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len() % 4096, 0, "{what}");
}

/// Against: acknowledged steps out of reach after a growth that failed half-way on a full disk.
#[test]
fn a_real_full_disk_costs_only_the_step_that_was_refused() {
    let kinds: [&[&str]; 3] = [
        &["mkfs.ext4", "-q", "-F", "-b", "1024"],
        &["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal"],
        &["mkfs.ext2", "-q", "-F", "-b", "1024"],
    ];
    for mkfs in kinds {
        for (filler_kib, bytes) in [(8_000, 20_000), (10_003, 20_000), (12_500, 3_000)] {
            let what = format!("{}, {filler_kib} KiB taken, rows of {bytes} bytes", mkfs.join(" "));
            match Mounted::new(mkfs, 16) {
                Ok(disk) => one_life(&disk, filler_kib, bytes, &what),
                Err(why) => println!("skipped: {why}"),
            }
        }
    }
}

/// A store on a file system that is full to the last block, with what `prepare` makes before.
pub fn on_a_full_disk(prepare: impl FnOnce(&Path)) -> Result<Mounted, String> {
    let disk = Mounted::new(&["mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0"], 16)?;
    prepare(&disk.path("s.milepost"));
    let mut filler = fs::File::create(disk.path("filler")).unwrap();
    while filler.write_all(&[1; 1024]).and_then(|()| filler.sync_all()).is_ok() {}
    Ok(disk)
}

/// The names in the folder of a store.
fn names(disk: &Mounted) -> Vec<String> {
    let entries = fs::read_dir(disk.path("")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Against: a repair that finds no room, and loses the damaged file, or leaves a part of the new one.
#[test]
fn a_repair_on_a_full_disk_leaves_everything_as_it_was() {
    let disk = on_a_full_disk(|path| {
        let store = Store::create(path).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        for n in 1..=300 {
            run.step(format!("key-{n}"), n, |tx| tx.put(format!("row-{n}"), &row(n, 3_000)))
                .unwrap();
        }
        drop(run);
        store.close().unwrap();
        let mut bytes = fs::read(path).unwrap();
        let place = bytes.windows(600).position(|part| part == row(7, 600)).unwrap();
        bytes[place + 100] ^= 1;
        fs::write(path, &bytes).unwrap();
    });
    let disk = match disk {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: {why}"),
    };
    let (path, before) = (disk.path("s.milepost"), names(&disk));
    let damaged = fs::read(&path).unwrap();
    let options = RepairOptions::new();
    assert_eq!(error(milepost::repair(&path, &options)).kind(), ErrorKind::NoSpace);
    assert_eq!(names(&disk), before);
    assert!(fs::read(&path).unwrap() == damaged, "the evidence was changed");
    fs::remove_file(disk.path("filler")).unwrap();
    let repair = milepost::repair(&path, &options).unwrap();
    assert_eq!(repair.quarantined, 1);
    assert!(fs::read(repair.kept.unwrap()).unwrap() == damaged);
    assert_eq!(Store::open(&path).unwrap().run::<Counter>("run").unwrap().steps(), 300);
}

/// Against: a lock file that is emptied to be written again, for which there is no room then: the
/// note of the last acknowledged commit is lost, by which an older copy is known.
#[test]
fn a_full_disk_does_not_cost_the_note_of_the_last_commit() {
    let disk = on_a_full_disk(|path| {
        let store = Store::create(path).unwrap();
        count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
        store.close().unwrap();
    });
    let disk = match disk {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: {why}"),
    };
    let path = disk.path("s.milepost");
    let store = Store::open(&path).unwrap();
    let note = || fs::read_to_string(disk.path("s.milepost.lock")).unwrap();
    let signed = note();
    assert!(signed.starts_with("store ") && signed.contains(" commit "), "{signed:?}");
    assert!(signed.contains(&format!("pid {}", std::process::id())), "{signed:?}");
    drop(store);
    assert!(note().starts_with("store "), "{}", note());
}

/// What a process leaves that was killed, or that closed the store, and how many steps it had made.
fn left(options: &Options, closed: bool) -> (Vec<u8>, u64) {
    let disk = Arc::new(SimDisk::new());
    let store = options.create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=3 {
        run.step(format!("key-{n}"), n, |tx| {
            tx.put(format!("row-{n}"), &row(n, 300))?;
            tx.state.sum += 1;
            Ok(())
        })
        .unwrap();
    }
    let killed = disk.live();
    drop((run, store));
    (if closed { disk.live() } else { killed }.to_vec(), 3)
}

fn modes() -> [Options; 3] {
    let options = Options::new;
    [options(), options().durability(Durability::TwoPhase), options().reopen(Reopen::Instant)]
}

/// Against: a file that an older program, or a crash in the middle of growing it, left longer than
/// its layout, and that never opens. Whatever the tail holds.
#[test]
fn a_file_with_a_tail_opens_and_loses_nothing_but_the_tail() {
    for options in modes() {
        for closed in [true, false] {
            let (bytes, steps) = left(&options, closed);
            for tail in [1, 512, 1024, 3072, 4095, 4096, 5120, 8192, 9216, 1 << 20, (1 << 20) + 7] {
                for with in [0, 0xA5] {
                    let what = format!("{options:?}, closed {closed}: a tail of {tail} × {with}");
                    let longer = [bytes.as_slice(), &vec![with; tail]].concat();
                    let disk = Arc::new(SimDisk::from_bytes(&longer));
                    let store = options.open_on(disk.clone()).unwrap_or_else(|error| {
                        panic!("{what}: {error}");
                    });
                    check(&store, steps, 300, &what);
                    let sound = store.verify().unwrap();
                    assert!(sound.is_sound(), "{what}: {sound}");
                    store.close().unwrap();
                    assert_eq!(disk.live().len() % 4096, 0, "{what}");
                }
            }
        }
    }
}

/// Against: `verify` that calls such a file damaged, and `repair` that reads nothing of it, or
/// replaces it.
#[test]
fn a_file_with_a_tail_is_sound_and_is_looked_into_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    for closed in [true, false] {
        let (bytes, steps) = left(&Options::new(), closed);
        let longer = [bytes.as_slice(), &[7; 3072]].concat();
        let path = folder.path().join(format!("closed-{closed}.milepost"));
        fs::write(&path, &longer).unwrap();
        let found = milepost::verify(&path, &Options::new()).unwrap();
        assert!(found.is_sound(), "{found}");
        let repair = milepost::repair(&path, &RepairOptions::new()).unwrap();
        assert_eq!((repair.kept, repair.quarantined), (None, 0));
        assert!(fs::read(&path).unwrap() == longer, "it was changed");
        check(&Store::open(&path).unwrap(), steps, 300, "after it");
    }
}

/// Against: bytes cut off a file that is then refused: what it holds is not known.
#[test]
fn a_file_with_a_tail_that_is_refused_keeps_every_byte() {
    use redb::{Database, TableDefinition};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.redb");
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    let table = TableDefinition::<u64, u64>::new("mine");
    txn.open_table(table).unwrap().insert(1, 1).unwrap();
    txn.commit().unwrap();
    drop(db);
    let longer = [fs::read(&path).unwrap().as_slice(), &[9; 1024]].concat();
    fs::write(&path, &longer).unwrap();
    assert_eq!(error(Store::open(&path)).kind(), ErrorKind::Invalid);
    assert!(fs::read(&path).unwrap() == longer, "another program's file was changed");
    // Cut short is not healed: that is damage.
    let (bytes, _) = left(&Options::new(), true);
    let short = &bytes[..bytes.len() - 1024];
    let disk = Arc::new(SimDisk::from_bytes(short));
    let refused = error(Options::new().open_on(disk.clone()));
    assert_eq!(refused.kind(), ErrorKind::Damaged, "{refused}");
    assert!(disk.live().to_vec() == short, "damage was changed");
}

/// Against: a crash in the middle of healing, after which the store does not open, or is another one.
#[test]
fn a_healing_that_is_cut_short_at_any_operation_costs_nothing() {
    for options in modes() {
        for closed in [true, false] {
            let (bytes, steps) = left(&options, closed);
            let longer = [bytes.as_slice(), &[7; 5120]].concat();
            let disk = Arc::new(SimDisk::from_bytes(&longer));
            disk.record();
            drop(options.open_on(disk.clone()).unwrap());
            let trace = disk.trace();
            let mut tried = 0;
            for point in 0..trace.points() {
                for image in Image::every(trace.unsynced(point)) {
                    let what = format!("{options:?}, closed {closed}, point {point}, {image:?}");
                    let left = Arc::new(SimDisk::of(trace.cut(point, &image)));
                    let store = options.open_on(left).unwrap_or_else(|error| {
                        panic!("{what}: {error}");
                    });
                    check(&store, steps, 300, &what);
                    tried += 1;
                }
            }
            assert!(tried > 20, "{tried}");
        }
    }
}

/// Fills a fake disk on which a call fails, and looks at what a kill and a power cut leave.
fn a_call_fails(options: &Options, base: &Platter, fault: Fault) -> bool {
    let what = format!("{options:?}, {fault:?}");
    let disk = Arc::new(SimDisk::of(base.clone()));
    let store = options.open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    disk.arm([fault]);
    let mut acknowledged = 0;
    let failed = (1..=4).find_map(|n| {
        let done = run.step(format!("key-{n}"), n, |tx| {
            tx.put(format!("row-{n}"), &row(n, 150_000))?;
            tx.state.sum += 1;
            Ok(())
        });
        acknowledged += u64::from(done.is_ok());
        done.err()
    });
    let Some(failed) = failed else { return false };
    let uncertain = matches!(failed.kind(), ErrorKind::Uncertain(_));
    assert!(uncertain || failed.kind() == ErrorKind::NoSpace, "{what}: {failed}");
    let cut = disk.durable();
    drop((run, store));
    for left in [cut, disk.live()] {
        let store = options.open_on(Arc::new(SimDisk::of(left))).unwrap_or_else(|error| {
            panic!("{what}: out of reach: {error}");
        });
        let there = store.run::<Counter>("run").unwrap().state().sum;
        let most = acknowledged + u64::from(uncertain);
        assert!((acknowledged..=most).contains(&there), "{what}: {there} of {acknowledged}");
        check(&store, there, 150_000, &what);
    }
    true
}

/// Against: a fake disk that fails more kindly than real ones, so that no test sees what they do: a
/// growth that ends half-way, a quota, room that is found missing by the flush.
#[test]
fn a_fake_disk_that_is_full_as_real_ones_are_costs_only_the_step_that_was_refused() {
    for options in modes() {
        let disk = Arc::new(SimDisk::new());
        options.create_on(disk.clone()).unwrap().close().unwrap();
        let base = disk.live();
        for (call, effect) in [
            (Call::Resize, Effect::Half),
            (Call::Resize, Effect::All),
            (Call::Sync, Effect::Nothing),
            (Call::Sync, Effect::Half),
            (Call::Sync, Effect::Forgotten),
        ] {
            for (error, stays) in [(StorageFull, false), (QuotaExceeded, true)] {
                let fault = Fault { stays, ..Fault::of(call, 0).effect(effect).error(error) };
                let hit = (0..)
                    .take_while(|nth| a_call_fails(&options, &base, Fault { nth: *nth, ..fault }));
                assert!(hit.count() > 1, "{call:?}");
            }
        }
    }
}

/// Against: a fake disk that leaves whole pages only, which the storage engine can read.
#[test]
fn a_resize_that_ends_half_way_leaves_no_whole_page() {
    let disk = SimDisk::from_bytes(&[1; 8192]);
    disk.arm([Fault::of(Call::Resize, 0).effect(Effect::Half).error(StorageFull)]);
    milepost::Disk::set_len(&disk, 1 << 20).unwrap_err();
    let len = disk.live().len();
    assert!(len > 8192 && len < 1 << 20 && !len.is_multiple_of(4096), "{len}");
    assert_eq!(disk.cut(&Image::HalfResized(1)).len() % 1024, 0);
}

/// Against: a mount that is left behind.
#[test]
fn a_file_system_of_a_test_goes_with_it() {
    let at = match Mounted::new(&["mkfs.ext4", "-q", "-F"], 16) {
        Ok(disk) => disk.path(""),
        Err(why) => return println!("skipped: {why}"),
    };
    assert!(!Path::new(&at).exists());
}
