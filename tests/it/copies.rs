//! Which file is the store: copies of it, and what is no copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use milepost::{
    Claimed, Error, ErrorKind, ExternalId, Incarnation, OnCopy, Options, RepairOptions, Result,
    Store, repair, verify,
};
use tempfile::TempDir;

use crate::support::{Child, Counter, ORDERS, count, error, key_of, kind};

/// A folder, and a store of three steps in it, closed.
fn closed() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fill(&path);
    (folder, path)
}

fn fill(path: &Path) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=3 {
        count(&mut run, n).unwrap();
    }
}

fn on_copy(on_copy: OnCopy) -> Options {
    Options::new().on_copy(on_copy)
}

/// Emits the next order, and says under which external id.
fn send(store: &Store) -> ExternalId {
    let mut run = store.run::<Counter>("run").unwrap();
    let n = run.steps() + 1;
    let id = run.step(key_of(n), n, |tx| tx.emit(&ORDERS, &n)).unwrap().into_outcome();
    store.intent(&ORDERS, &id).unwrap().unwrap().external_id
}

fn is_held(store: &Store) -> bool {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = format!("key-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    match store.claim::<u64>("scope", key.as_str(), &1) {
        Ok(Claimed::Fresh(_)) => false,
        Ok(_) => panic!("nobody claimed it before"),
        Err(error) => error.kind() == ErrorKind::Unreconciled,
    }
}

/// Refused, without a byte of it changed, however often; and the message says what to do.
#[track_caller]
fn assert_refused(path: &Path) {
    let bytes = fs::read(path).unwrap();
    for _ in 0..2 {
        let refused = error(Store::open(path));
        assert_eq!(refused.kind(), ErrorKind::OlderCopy, "{refused}");
        let message = refused.to_string();
        assert!(message.contains("OnCopy::Moved") && message.contains("OnCopy::Copy"), "{message}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert_eq!(kind(Store::open_or_create(path)), ErrorKind::OlderCopy);
        assert!(fs::read(path).unwrap() == bytes, "the copy was changed");
    }
}

/// The original and the copy both emit the next order: never under one external id.
fn assert_apart(original: &Path, copy: &Path) -> (Incarnation, Incarnation) {
    let store = on_copy(OnCopy::Copy).open(copy).unwrap();
    assert!(is_held(&store), "a copy sends before it was reconciled");
    let other = Store::open(original).unwrap();
    assert!(!is_held(&other), "the original has to be reconciled");
    for _ in 0..3 {
        assert_ne!(send(&store), send(&other), "an external id is used twice");
    }
    let lives = (other.incarnation().unwrap(), store.incarnation().unwrap());
    assert!(lives.0 < lives.1);
    store.reconcile("ben: looked").unwrap();
    store.close().unwrap();
    other.close().unwrap();
    // From now on it is a store of its own, and knows its file.
    for _ in 0..2 {
        let store = Store::open(copy).unwrap();
        assert_eq!(store.incarnation().unwrap(), lives.1);
        assert!(store.recovery().unwrap().unreconciled.is_empty());
        store.close().unwrap();
        Store::open(original).unwrap().close().unwrap();
    }
    lives
}

/// Against: a bot on a copy of the file, made with `cp` while the other bot runs, that sends its orders
/// under the external ids of the original.
#[test]
fn a_copy_of_a_live_store_is_refused_and_is_a_store_of_its_own_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let copy = folder.path().join("copy.mp");
    let store = Store::create(&path).unwrap();
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    fs::copy(&path, &copy).unwrap();
    assert_refused(&copy);
    store.close().unwrap();
    assert_apart(&path, &copy);
}

/// Against: the same with a copy of a closed store, and with an older one.
#[test]
fn a_copy_of_a_closed_store_is_refused_and_is_a_store_of_its_own_when_told() {
    let (folder, path) = closed();
    let (one, two) = (folder.path().join("one.mp"), folder.path().join("two.mp"));
    fs::copy(&path, &one).unwrap();
    send(&Store::open(&path).unwrap());
    fs::copy(&path, &two).unwrap();
    assert_refused(&one);
    assert_refused(&two);
    let first = assert_apart(&path, &one).1;
    let second = assert_apart(&path, &two).1;
    assert_ne!(first, second, "two copies are in one incarnation");
    // A copy of the copy, with its lock file.
    let third = folder.path().join("three.mp");
    fs::copy(&one, &third).unwrap();
    fs::copy(folder.path().join("one.mp.lock"), folder.path().join("three.mp.lock")).unwrap();
    assert_refused(&third);
    let third = assert_apart(&one, &third).1;
    assert!(third != first && third != second);
}

/// Against: an original that is set back later and comes to the incarnation that a copy of it is in.
#[test]
fn an_original_that_is_set_back_never_comes_to_the_incarnation_of_a_copy() {
    let (folder, path) = closed();
    let (copy, backup) = (folder.path().join("copy.mp"), fs::read(&path).unwrap());
    fs::copy(&path, &copy).unwrap();
    let (_, life) = assert_apart(&path, &copy);
    for _ in 0..3 {
        fs::write(&path, &backup).unwrap();
        let store = on_copy(OnCopy::Copy).open(&path).unwrap();
        assert!(store.incarnation().unwrap() < life);
    }
}

/// Against: a commit of the original that a copy says was not made.
#[test]
fn a_copy_does_not_say_what_became_of_commits_after_it_was_made() {
    let (folder, path) = closed();
    let copy = folder.path().join("copy.mp");
    fs::copy(&path, &copy).unwrap();
    let original = Store::open(&path).unwrap();
    let mut run = original.run::<Counter>("run").unwrap();
    count(&mut run, 4).unwrap();
    let commit = original.newest_commit().unwrap();
    let store = on_copy(OnCopy::Copy).open(&copy).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 10..15 {
        count(&mut run, n).unwrap();
    }
    assert_eq!(kind(store.resolve(commit)), ErrorKind::Damaged);
}

/// Against: an operator who is called because the file was renamed, or has a second name.
#[test]
fn a_rename_a_hard_link_and_another_folder_are_no_copies() {
    let (folder, path) = closed();
    let life = Store::open(&path).unwrap().incarnation().unwrap();
    let moved = folder.path().join("moved.mp");
    fs::rename(&path, &moved).unwrap();
    let store = Store::open(&moved).unwrap();
    assert_eq!(store.incarnation().unwrap(), life);
    assert!(!is_held(&store));
    store.close().unwrap();
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::hard_link(&moved, other.join("link.mp")).unwrap();
    Store::open(other.join("link.mp")).unwrap().close().unwrap();
    fs::rename(&moved, other.join("bot.mp")).unwrap();
    fs::remove_file(folder.path().join("moved.mp.lock")).unwrap();
    for _ in 0..2 {
        let store = Store::open(other.join("bot.mp")).unwrap();
        assert_eq!(store.run::<Counter>("run").unwrap().steps(), 3);
    }
}

/// Against: a backup, a virus scanner or an indexer that reads the file, or changes its times, rights or
/// attributes, after which the store is refused.
#[test]
fn whoever_reads_the_file_or_touches_it_leaves_it_the_store() {
    let (folder, path) = closed();
    for command in [
        "cp bot.mp backup",
        "cp -a bot.mp backup-a",
        "tar cf backup.tar bot.mp",
        "touch -d 2001-01-01 bot.mp",
        "chmod 0640 bot.mp",
        "cat backup > bot.mp",
        "mv bot.mp elsewhere && mv elsewhere bot.mp",
    ] {
        let shell = Command::new("sh").args(["-c", command]).current_dir(folder.path()).status();
        if !shell.is_ok_and(|status| status.success()) {
            println!("skipped: `{command}` is not to be had here");
            continue;
        }
        Store::open(&path).unwrap_or_else(|error| panic!("{command}: {error}")).close().unwrap();
        fs::copy(&path, folder.path().join("backup")).unwrap();
    }
}

/// Against: a tool that keeps all it can (rights, times, attributes) and makes a copy that passes.
#[test]
fn every_tool_that_copies_makes_a_copy() {
    let (folder, path) = closed();
    for (n, command) in [
        "cp -a bot.mp COPY",
        "cp --reflink=auto --preserve=all bot.mp COPY",
        "rsync -aAXH bot.mp COPY",
        "tar --xattrs -cf - bot.mp | (mkdir t && cd t && tar --xattrs -xpf -) && mv t/bot.mp COPY",
        "dd if=bot.mp of=COPY status=none",
        "cat bot.mp > COPY",
    ]
    .into_iter()
    .enumerate()
    {
        let copy = folder.path().join(format!("copy-{n}.mp"));
        let command = command.replace("COPY", copy.to_str().unwrap());
        let shell = Command::new("sh").args(["-c", &command]).current_dir(folder.path()).status();
        if !shell.is_ok_and(|status| status.success()) {
            println!("skipped: `{command}` is not to be had here");
            continue;
        }
        assert_refused(&copy);
        assert_apart(&path, &copy);
    }
}

/// Against: a store moved to another disk by a tool that copies, which has to be reconciled for nothing;
/// or one that is refused again at the next opening.
#[test]
fn a_store_that_was_moved_continues_as_it_was() {
    let (folder, path) = closed();
    let store = Store::open(&path).unwrap();
    let (life, id) = (store.incarnation().unwrap(), store.id());
    let before = send(&store);
    store.close().unwrap();
    let moved = folder.path().join("moved.mp");
    fs::copy(&path, &moved).unwrap();
    fs::remove_file(&path).unwrap();
    assert_refused(&moved);
    let store = on_copy(OnCopy::Moved).open(&moved).unwrap();
    assert_eq!((store.incarnation().unwrap(), store.id()), (life, id));
    assert!(!is_held(&store));
    assert_ne!(send(&store), before);
    store.close().unwrap();
    for options in [on_copy(OnCopy::Refuse), on_copy(OnCopy::Moved), on_copy(OnCopy::Copy)] {
        let store = options.open(&moved).unwrap();
        assert_eq!(store.incarnation().unwrap(), life, "an option changes what is no copy");
        assert!(store.recovery().unwrap().unreconciled.is_empty());
        store.close().unwrap();
    }
}

/// Against: an older state that is taken for the store because it was said to have been moved.
#[test]
fn an_older_state_that_is_said_to_have_been_moved_is_refused() {
    let (folder, path) = closed();
    let backup = folder.path().join("backup");
    fs::copy(&path, &backup).unwrap();
    let before = Store::open(&path).unwrap().incarnation().unwrap();
    let store = Store::open(&path).unwrap();
    send(&store);
    store.close().unwrap();
    fs::rename(&backup, &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let refused = error(on_copy(OnCopy::Moved).open(&path));
    assert_eq!(refused.kind(), ErrorKind::OlderCopy, "{refused}");
    assert!(refused.to_string().contains("was acknowledged"), "{refused}");
    assert!(fs::read(&path).unwrap() == bytes);
    assert_refused(&path);
    let store = on_copy(OnCopy::Copy).open(&path).unwrap();
    assert!(store.incarnation().unwrap() > before && is_held(&store));
}

/// Against: a copy of another store over this one's file, in place, so that the inode is the same.
#[test]
fn another_stores_bytes_in_this_ones_file_are_a_copy() {
    let (folder, path) = closed();
    let other = folder.path().join("other.mp");
    Store::create(&other).unwrap().close().unwrap();
    fs::copy(&path, &other).unwrap();
    assert_refused(&other);
    assert_apart(&path, &other);
}

/// Against: a lock file that was deleted, and a message that names it as the only way to know.
#[test]
fn a_copy_is_known_with_and_without_its_lock_file() {
    let (folder, path) = closed();
    fs::remove_file(folder.path().join("bot.mp.lock")).unwrap();
    Store::open(&path).unwrap().close().unwrap();
    let copy = folder.path().join("copy.mp");
    fs::copy(&path, &copy).unwrap();
    fs::copy(folder.path().join("bot.mp.lock"), folder.path().join("copy.mp.lock")).unwrap();
    assert_refused(&copy);
    fs::remove_file(folder.path().join("copy.mp.lock")).unwrap();
    assert_refused(&copy);
}

/// Against: a store that was killed right after it was moved or copied, and asks again, or forgets.
#[test]
fn a_kill_after_the_opening_changes_nothing_of_what_was_decided() {
    let (folder, path) = closed();
    let copy = folder.path().join("copy.mp");
    fs::copy(&path, &copy).unwrap();
    on_copy(OnCopy::Copy).open(&copy).unwrap().close().unwrap();
    let life = Store::open(&copy).unwrap().incarnation().unwrap();
    let mut child = Child::start("hold", &copy);
    child.says().unwrap();
    child.kill();
    let store = Store::open(&copy).unwrap();
    assert!(!store.was_closed_in_order());
    assert_eq!(store.incarnation().unwrap(), life);
    assert!(is_held(&store));
}

/// Against: a repair that makes a copy the original, or that is itself taken for a copy.
#[test]
fn a_repaired_store_is_no_copy_and_a_repaired_copy_is_one() {
    let damage = |path: &Path| {
        let bytes = fs::read(path).unwrap();
        let (key, mut row) = crate::support::rows_of(&bytes, "keys").remove(0);
        *row.last_mut().unwrap() ^= 1;
        fs::write(path, crate::support::with_row(&bytes, "keys", &key, Some(&row))).unwrap();
    };
    let (folder, path) = closed();
    let copy = folder.path().join("copy.mp");
    fs::copy(&path, &copy).unwrap();
    damage(&path);
    damage(&copy);
    assert!(repair(&path, &RepairOptions::new()).unwrap().kept.is_some());
    let store = Store::open(&path).unwrap();
    assert!(!is_held(&store));
    let life = store.incarnation().unwrap();
    let backup = folder.path().join("backup.mp");
    fs::copy(&path, &backup).unwrap();
    assert_refused(&backup);

    assert!(repair(&copy, &RepairOptions::new()).unwrap().kept.is_some());
    let store = Store::open(&copy).unwrap();
    assert!(is_held(&store), "a repaired copy sends");
    assert!(store.incarnation().unwrap() > life);
    assert!(verify(&path, &Options::new()).is_err(), "it is open");
    drop(store);
    assert!(verify(&copy, &Options::new()).unwrap().is_sound());
}

/// Against: a store on a disk of the caller's own, or one that was made on one, which is refused because
/// it has no file that it could be in.
#[test]
fn a_store_that_was_in_no_file_is_at_home_in_the_first() {
    let (disk, store) = crate::support::on_disk(&Options::new());
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    store.close().unwrap();
    Options::new().open_on(crate::support::killed(&disk)).unwrap().close().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("bot.mp"), folder.path().join("copy.mp"));
    fs::write(&path, disk.to_bytes()).unwrap();
    Store::open(&path).unwrap().close().unwrap();
    fs::copy(&path, &copy).unwrap();
    assert_refused(&copy);
}

/// The message of a store that is gone.
#[track_caller]
fn assert_gone(refused: &Error, commit: &str) {
    assert_eq!(refused.kind(), ErrorKind::OlderCopy, "{refused}");
    for part in ["there was one", "bot.mp.lock", commit, "accept_deleted"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
}

/// Against: a store that was deleted by mistake, or whose disk is missing, and an empty one in its place
/// to which every order is new.
#[test]
fn no_empty_store_is_made_where_one_was() {
    let (folder, path) = closed();
    let lock = folder.path().join("bot.mp.lock");
    let store = Store::open(&path).unwrap();
    let id = store.id();
    store.close().unwrap();
    let kept = folder.path().join("kept");
    fs::rename(&path, &kept).unwrap();
    for _ in 0..2 {
        assert_gone(&error(Store::open_or_create(&path)), &id.to_string());
        assert_gone(&error(Store::create(&path)), &id.to_string());
        assert_eq!(kind(Store::open(&path)), ErrorKind::NotFound);
        assert!(!path.exists());
    }
    // Put back, it is as it was.
    fs::rename(&kept, &path).unwrap();
    let store = Store::open_or_create(&path).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().steps(), 3);
    store.close().unwrap();
    // Deleted on purpose: both files, or the option.
    fs::remove_file(&path).unwrap();
    let store = Options::new().accept_deleted().open_or_create(&path).unwrap();
    assert!(store.was_created() && store.id() != id);
    store.close().unwrap();
    Store::open(&path).unwrap().close().unwrap();
    fs::remove_file(&path).unwrap();
    fs::remove_file(&lock).unwrap();
    assert!(Store::open_or_create(&path).unwrap().was_created());
}

/// Against: the same after a kill, and by the lock file of a store that had not got further than its
/// first commit.
#[test]
fn no_empty_store_is_made_where_a_killed_one_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    Store::create(&path).unwrap().close().unwrap();
    let mut child = Child::start("hold", &path);
    child.says().unwrap();
    child.kill();
    fs::remove_file(&path).unwrap();
    assert_gone(&error(Store::open_or_create(&path)), "commit");
    assert_gone(&error(Store::create(&path)), "commit");
    // A lock file without a note is of no store: whoever took it never opened one.
    fs::write(folder.path().join("bot.mp.lock"), b"").unwrap();
    Store::open_or_create(&path).unwrap();
}

/// A file system in a file, which can be mounted; it is unmounted when dropped.
struct Mounted {
    folder: TempDir,
}

impl Mounted {
    /// Makes one with these commands, in each of which IMAGE and AT are replaced.
    fn make(commands: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("at")).unwrap();
        let mounted = Self { folder };
        commands.iter().all(|command| mounted.run(command)).then_some(mounted)
    }

    fn run(&self, command: &str) -> bool {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let command = command.replace("IMAGE", &at("image")).replace("AT", &at("at"));
        let output = Command::new("sh").args(["-c", &command]).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("at").join(name)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.run("umount AT");
    }
}

const MOUNT: &str = "mount -o loop IMAGE AT";

/// Against: a volume that was mounted again, under another device number, as after a reboot or when a
/// container is started again, and a store on it that is refused.
#[test]
fn a_remount_is_no_copy_and_a_snapshot_is_one() {
    for (kind, commands) in [
        ("ext4", ["truncate -s 64M IMAGE", "mkfs.ext4 -q IMAGE"]),
        ("ext4 that keeps no birth time", ["truncate -s 64M IMAGE", "mkfs.ext4 -q -I 128 IMAGE"]),
        ("xfs", ["truncate -s 512M IMAGE", "mkfs.xfs -q IMAGE"]),
        ("btrfs", ["truncate -s 256M IMAGE", "mkfs.btrfs -q IMAGE"]),
    ] {
        let Some(disk) = Mounted::make(&[commands[0], commands[1], MOUNT]) else {
            println!("skipped: no {kind} can be made and mounted here (it needs root)");
            continue;
        };
        let path = disk.at("bot.mp");
        fill(&path);
        let (copy, life) = (disk.at("copy.mp"), Store::open(&path).unwrap().incarnation().unwrap());
        for round in 0..3 {
            assert!(disk.run("umount AT"));
            // In another place among the devices.
            let other = (round == 1)
                .then(|| Mounted::make(&["truncate -s 64M IMAGE", "mkfs.ext4 -q IMAGE", MOUNT]));
            assert!(disk.run(MOUNT), "{kind}");
            let store = Store::open(&path).unwrap_or_else(|error| panic!("{kind}: {error}"));
            assert_eq!(store.incarnation().unwrap(), life, "{kind}");
            store.close().unwrap();
            drop(other);
            if round == 1 {
                fs::copy(&path, &copy).unwrap();
            }
        }
        assert_refused(&copy);
        if kind.starts_with("ext4") {
            // A file restored into the inode of the one that was deleted.
            let has_met = (0..8).any(|n| {
                let lost = disk.at(&format!("lost-{n}.mp"));
                let again = disk.at(&format!("again-{n}.mp"));
                fs::copy(&path, &lost).unwrap();
                on_copy(OnCopy::Moved).open(&lost).unwrap().close().unwrap();
                let (bytes, inode) = (fs::read(&lost).unwrap(), inode_of(&lost));
                fs::remove_file(&lost).unwrap();
                fs::write(&again, bytes).unwrap();
                assert_refused(&again);
                inode_of(&again) == inode
            });
            assert!(has_met, "{kind}: no inode was used again");
        }
        if kind == "btrfs" && disk.run("btrfs -q subvolume snapshot AT AT/snapshot") {
            let snapshot = disk.at("snapshot/bot.mp");
            assert_refused(&snapshot);
            assert_apart(&path, &snapshot);
        }
    }
}

#[cfg(unix)]
fn inode_of(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

#[cfg(not(unix))]
fn inode_of(_path: &Path) -> u64 {
    0
}

/// Against: a container that was stopped and started again with the same upper layer, and a store in it
/// that is refused; and an image with a store in it, of which each container is a copy.
#[test]
fn a_container_that_is_started_again_has_the_same_store() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &str| {
        let shell = Command::new("sh").args(["-c", command]).current_dir(folder.path()).output();
        shell.is_ok_and(|output| output.status.success())
    };
    // The upper layer on a file system that an overlay can use.
    let up = "mount -t overlay -o lowerdir=low,upperdir=up,workdir=work overlay at";
    if !run("mkdir low up work at") || !run(up) {
        println!("skipped: no overlay can be mounted here (it needs root)");
        return Ok(());
    }
    let path = folder.path().join("at/bot.mp");
    fill(&path);
    let restarted = (0..2)
        .map(|_| {
            let is_up = run("umount at") && run(up);
            is_up.then(|| Store::open(&path).and_then(Store::close))
        })
        .collect::<Vec<_>>();
    // An image with the store in it.
    let baked =
        run("umount at") && run("cp up/bot.mp low/ && rm -rf up work && mkdir up work") && run(up);
    let refused = baked.then(|| kind(Store::open(&path)));
    let moved = baked.then(|| on_copy(OnCopy::Moved).open(&path).and_then(Store::close));
    let again = run("umount at") && run(up);
    let again = again.then(|| Store::open(&path).and_then(Store::close));
    run("umount at");
    for opened in restarted {
        opened.expect("the overlay is mounted")?;
    }
    assert_eq!(refused, Some(ErrorKind::OlderCopy));
    moved.expect("the overlay is mounted")?;
    again.expect("the overlay is mounted")
}
