//! Where a store is, and what is there instead of one.

use std::fs;
use std::path::{Path, PathBuf};

use milepost::{ErrorKind, Options, Store};
use redb::{Database, TableDefinition};

use crate::support::{
    Child, Counter, count, error, is_root, kind, open_bytes, payload_of, reframed, rows_of,
    with_row,
};

/// A folder, and the path of a store in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    (folder, path)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A store with a few steps, closed in order.
fn small_store(path: &Path) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=3 {
        count(&mut run, n).unwrap();
    }
}

/// Every file that is no store, with a name for messages.
fn impostors(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let at = |name: &str| folder.join(name);
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("notes.txt"), b"buy milk").unwrap();
    fs::write(at("long.txt"), vec![b'x'; 20_000]).unwrap();
    fs::create_dir(at("folder")).unwrap();
    let other = Database::create(at("other.redb")).unwrap();
    let txn = other.begin_write().unwrap();
    txn.open_table(TableDefinition::<u64, &str>::new("songs")).unwrap().insert(1, "x").unwrap();
    txn.commit().unwrap();
    vec![
        ("an empty file", at("empty")),
        ("a short text", at("notes.txt")),
        ("a long text", at("long.txt")),
        ("a folder", at("folder")),
        ("another program's redb file", at("other.redb")),
    ]
}

/// Against: a bot with a wrong path that is told something else than "wrong path".
#[test]
fn what_is_no_store_is_refused_as_such() {
    let (folder, _) = folder();
    for (what, path) in impostors(folder.path()) {
        let error = error(Store::open(&path));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{what}: {error}");
        assert_eq!(kind(Options::new().open_or_create(&path)), ErrorKind::Invalid, "{what}");
    }
}

/// Against: a file of another program that is written to before it is known to be no store.
#[test]
fn what_is_no_store_is_not_changed() {
    let (folder, _) = folder();
    for (what, path) in impostors(folder.path()) {
        let before = fs::read(&path).ok();
        assert!(Store::open(&path).is_err());
        assert!(fs::read(&path).ok() == before, "{what} was changed");
    }
}

/// Against: lock files left beside every file that somebody once mistook for a store.
#[test]
fn opening_a_wrong_path_leaves_no_litter() {
    let (folder, path) = folder();
    impostors(folder.path());
    #[cfg(unix)]
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    let before = names_in(folder.path());
    assert_eq!(kind(Store::open(&path)), ErrorKind::NotFound);
    for name in &before {
        assert!(Store::open(folder.path().join(name)).is_err());
    }
    assert_eq!(names_in(folder.path()), before);
}

/// Against: a missing folder made in passing, or a message that does not say what is missing.
#[test]
fn a_missing_folder_is_said_and_not_made() {
    let (folder, _) = folder();
    let path = folder.path().join("missing/bot.mp");
    for error in [error(Store::open(&path)), error(Store::create(&path))] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("missing/bot.mp"), "{error}");
    }
    assert!(names_in(folder.path()).is_empty());
}

/// Against: a path through a file taken for a missing store, and so for a fresh start.
#[test]
fn a_file_where_the_folder_should_be_is_an_error_of_its_own() {
    let (folder, _) = folder();
    fs::write(folder.path().join("file"), b"x").unwrap();
    let path = folder.path().join("file/bot.mp");
    assert_eq!(kind(Store::open(&path)), ErrorKind::Io);
    assert_eq!(kind(Store::create(&path)), ErrorKind::Io);
    assert_eq!(kind(Store::open_or_create(&path)), ErrorKind::Io);
}

/// Against: a store opened through a symlink, so that the lock stands beside another name.
#[cfg(unix)]
#[test]
fn a_symlink_is_refused_whether_it_leads_to_a_store_or_nowhere() {
    use std::os::unix::fs::symlink;
    let (folder, path) = folder();
    small_store(&path);
    let link = folder.path().join("link");
    let dangling = folder.path().join("dangling");
    symlink(&path, &link).unwrap();
    symlink(folder.path().join("nothing"), &dangling).unwrap();
    for link in [&link, &dangling] {
        let error = error(Store::open(link));
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("symlink"), "{error}");
        assert_eq!(kind(Store::create(link)), ErrorKind::Conflict);
        assert_eq!(kind(Store::open_or_create(link)), ErrorKind::Invalid);
    }
    assert!(!folder.path().join("nothing").exists(), "made through a dangling link");
}

/// Against: a lock file that is a symlink to a file of somebody else, which would be written over.
#[cfg(unix)]
#[test]
fn a_lock_file_that_is_a_symlink_is_refused() {
    let (folder, path) = folder();
    small_store(&path);
    let precious = folder.path().join("precious");
    fs::write(&precious, b"keep me").unwrap();
    let lock = folder.path().join("bot.mp.lock");
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&precious, &lock).unwrap();
    assert_eq!(kind(Store::open(&path)), ErrorKind::Invalid);
    assert_eq!(fs::read(&precious).unwrap(), b"keep me");
}

/// Against: waiting for ever on a pipe that has the store's name.
#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let (_folder, path) = folder();
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: no mkfifo here");
        return;
    }
    let kind = crate::support::within(crate::support::second(10), move || kind(Store::open(path)));
    assert_eq!(kind, ErrorKind::Invalid);
}

/// Against: a store cut short that opens with part of its history, or brings the program down.
#[test]
fn a_truncated_store_is_refused_at_every_length_and_not_changed() {
    let (_folder, path) = folder();
    small_store(&path);
    let whole = fs::read(&path).unwrap();
    let end = whole.len();
    let lengths =
        [1, 9, 320, 4_095, 4_096, 4_097, 8_192, end / 4, end / 2, end - 4_096, end - 512, end - 1];
    for len in lengths {
        fs::write(&path, &whole[..len]).unwrap();
        let error = error(Store::open(&path));
        let expected = [ErrorKind::Invalid, ErrorKind::Damaged];
        assert!(expected.contains(&error.kind()), "{len} of {end}: {error}");
        assert!(error.to_string().contains("bot.mp"), "{error}");
        assert!(fs::read(&path).unwrap() == whole[..len], "{len} of {end}: changed");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(Store::open(&path).unwrap().run::<Counter>("run").unwrap().steps(), 3);
}

/// Against: the same after a crash, when redb's own repair runs over what is left.
#[test]
fn a_store_truncated_after_a_crash_is_refused_or_whole_and_never_partly_there() {
    let (disk, store) = crate::support::on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=20 {
        count(&mut run, n).unwrap();
    }
    let whole = disk.to_bytes();
    for len in (4_096..whole.len()).step_by(whole.len() / 40).chain([whole.len() - 1]) {
        match open_bytes(&whole[..len]) {
            Ok(store) => assert_eq!(store.run::<Counter>("run").unwrap().steps(), 20, "{len}"),
            Err(error) => assert!(
                [ErrorKind::Invalid, ErrorKind::Damaged].contains(&error.kind()),
                "{len}: {error}"
            ),
        }
    }
}

/// Against: bytes glued behind a store (a bad copy) that are taken for part of it.
#[test]
fn bytes_behind_a_store_are_cut_off_and_never_part_of_it() {
    let (_folder, path) = folder();
    small_store(&path);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(&[9; 777]);
    fs::write(&path, &bytes).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(store.verify().unwrap().is_sound());
    store.close().unwrap();
    let after = fs::read(&path).unwrap();
    assert_eq!(after.len() % 4096, 0);
    assert!(!after.windows(777).any(|part| part == [9; 777]), "they are still there");
}

/// The bytes of a store as if a newer program had written its format.
fn newer_format(bytes: &[u8]) -> Vec<u8> {
    let rows = rows_of(bytes, "meta");
    let (key, row) = rows.iter().find(|(key, _)| key == b"identity").unwrap();
    assert_eq!(payload_of(row)[0], 1, "the format is the first number of the identity");
    with_row(bytes, "meta", key, Some(&reframed(0, key, row, |row| row[21] = 2)))
}

/// Against: an old program that reads a store of a newer format as if it were its own.
#[test]
fn a_store_of_a_newer_format_is_refused() {
    let (_folder, path) = folder();
    small_store(&path);
    fs::write(&path, newer_format(&fs::read(&path).unwrap())).unwrap();
    let error = error(Store::open(&path));
    assert_eq!(error.kind(), ErrorKind::TooNew, "{error}");
    assert!(error.to_string().contains("format 2"), "{error}");
    assert_eq!(kind(Store::open_or_create(&path)), ErrorKind::TooNew);
}

/// Against: an old program that writes into the file it has just refused.
#[test]
fn a_store_of_a_newer_format_is_not_changed() {
    let (_folder, path) = folder();
    small_store(&path);
    let newer = newer_format(&fs::read(&path).unwrap());
    fs::write(&path, &newer).unwrap();
    assert_eq!(kind(Store::open(&path)), ErrorKind::TooNew);
    assert!(fs::read(&path).unwrap() == newer, "changed");
}

/// Against: the same after a crash of the newer program: its file must wait for it as it is.
#[test]
fn a_crashed_store_of_a_newer_format_is_not_changed_either() {
    let (disk, _store) = crate::support::on_disk(&Options::new());
    let mut newer = newer_format(&disk.to_bytes());
    newer[9] |= 2; // redb's own flag: it was not closed
    let disk = std::sync::Arc::new(milepost::MemoryDisk::from_bytes(newer.clone()));
    assert_eq!(kind(Options::new().open_on(disk.clone())), ErrorKind::TooNew);
    assert!(disk.to_bytes() == newer, "changed");
}

/// Against: a second store written over the first.
#[test]
fn creating_over_anything_is_a_conflict_and_changes_nothing() {
    let (folder, path) = folder();
    small_store(&path);
    let before = fs::read(&path).unwrap();
    let error = error(Store::create(&path));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("bot.mp"), "{error}");
    assert!(fs::read(&path).unwrap() == before, "changed");
    for (what, path) in impostors(folder.path()) {
        assert_eq!(kind(Store::create(&path)), ErrorKind::Conflict, "{what}");
    }
}

/// Against: an empty store made without a word where a history was expected.
#[test]
fn open_or_create_says_which_of_the_two_it_did() {
    let (_folder, path) = folder();
    let store = Store::open_or_create(&path).unwrap();
    assert!(store.was_created());
    store.close().unwrap();
    let store = Store::open_or_create(&path).unwrap();
    assert!(!store.was_created());
    assert!(!Store::in_memory().unwrap().was_created() || Store::in_memory().is_ok());
}

/// Against: a crash in the middle of an earlier `create`, whose leftover blocks the next one.
#[test]
fn what_a_crashed_create_left_behind_is_harmless() {
    let (folder, path) = folder();
    let building = folder.path().join("bot.mp.creating");
    fs::write(&building, b"half a store").unwrap();
    small_store(&path);
    assert!(!building.exists());
    assert_eq!(Store::open(&path).unwrap().run::<Counter>("run").unwrap().steps(), 3);
}

/// Against: a leftover that is a symlink, through which the new store would be written.
#[cfg(unix)]
#[test]
fn a_leftover_that_is_a_symlink_is_not_followed() {
    let (folder, path) = folder();
    let precious = folder.path().join("precious");
    fs::write(&precious, b"keep me").unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join("bot.mp.creating")).unwrap();
    small_store(&path);
    assert_eq!(fs::read(&precious).unwrap(), b"keep me");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

/// Against: a file at the path that no program can open, because the disk was full.
#[cfg(unix)]
#[test]
fn a_create_that_fails_leaves_nothing_at_its_path() {
    for kib in [1, 8, 64, 1_024, 1_600] {
        let (folder, path) = folder();
        let mut child = Child::spawn(Child::with_file_limit("create", &path, kib));
        let said = child.says().unwrap();
        if said.starts_with("ok") {
            continue;
        }
        assert!(said.starts_with("NoSpace"), "{kib} KiB: {said}");
        child.wait();
        let left = names_in(folder.path());
        assert!(left.iter().all(|name| name == "bot.mp.lock"), "{kib} KiB: {left:?}");
        // And the next try, with room, works.
        small_store(&path);
    }
}

/// Against: a full disk that costs what was acknowledged before it was full.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_costs_nothing_that_was_acknowledged() {
    let (_folder, path) = folder();
    Store::create(&path).unwrap().close().unwrap();
    let kib = fs::metadata(&path).unwrap().len() / 1_024 + 600;
    let mut child = Child::spawn(Child::with_file_limit("work", &path, kib));
    let (mut done, mut failed, mut then) = (0, None, None);
    while let Some(said) = child.says() {
        match said.split_once(' ') {
            Some(("done", n)) => done = n.parse().unwrap(),
            Some(("failed", rest)) => failed = Some(rest.to_owned()),
            Some(("then", kind)) => then = Some(kind.to_owned()),
            _ => {}
        }
    }
    child.wait();
    let failed = failed.expect("the limit was never reached");
    let failed_kind = failed.split(' ').nth(1).unwrap();
    assert!(failed_kind == "NoSpace" || failed_kind.starts_with("Uncertain"), "{failed}");
    assert_eq!(then.unwrap(), "Poisoned");
    let store = Store::open(&path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let certain = failed_kind == "NoSpace";
    assert!(run.steps() == done || (!certain && run.steps() == done + 1), "{failed}");
    assert_eq!(run.get::<Vec<u8>>(format!("{done}")).unwrap().unwrap().len(), 50_000);
    // With room again it goes on.
    count(&mut run, 1_000).unwrap();
}

/// Against: orders and balances that any user of the machine can read.
#[cfg(unix)]
#[test]
fn the_store_and_its_lock_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    small_store(&path);
    for name in names_in(folder.path()) {
        let mode = fs::metadata(folder.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(names_in(folder.path()), ["bot.mp", "bot.mp.lock"]);
}

/// Against: a folder or a file that cannot be written, found out only by the first commit.
#[cfg(unix)]
#[test]
fn a_folder_or_a_file_that_cannot_be_written_is_said_at_once() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let (folder, path) = folder();
    small_store(&path);
    let new = folder.path().join("new.mp");
    mode(&path, 0o444);
    mode(&folder.path().join("bot.mp.lock"), 0o444);
    mode(folder.path(), 0o555);
    let before = names_in(folder.path());
    for (task, path) in [("create", &new), ("open", &path)] {
        let mut command = Child::command(task, path);
        if is_root() {
            command.uid(65_534).gid(65_534);
        }
        let Ok(probe) = command.output() else {
            println!("skipped: running as root, and nobody may not run this binary");
            return mode(folder.path(), 0o755);
        };
        let said = String::from_utf8_lossy(&probe.stdout).into_owned();
        let said = said.split("child: ").nth(1).unwrap_or_default();
        assert!(said.starts_with("Io "), "{task}: {said}");
        assert!(said.contains(".mp") && said.contains("writable"), "{task}: {said}");
    }
    assert_eq!(names_in(folder.path()), before);
    mode(folder.path(), 0o755);
}

/// Against: the check that the file is still there, made against a path that now means another one.
#[test]
fn a_relative_path_still_means_the_same_file_after_the_program_has_moved() {
    let (folder, path) = folder();
    let mut child = Child::start("relative", folder.path());
    let said = child.says().unwrap();
    assert!(said.starts_with("ok"), "{said}");
    child.wait();
    assert_eq!(Store::open(&path).unwrap().run::<Counter>("run").unwrap().steps(), 1);
}

/// Against: two threads that both make the store, one over the other.
#[test]
fn of_many_who_create_at_once_exactly_one_does() {
    let (_folder, path) = folder();
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Options::new().create(&path))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(made, 1);
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(
            [ErrorKind::Conflict, ErrorKind::Locked].contains(&error.kind()),
            "{:?} {error}",
            error.kind()
        );
    }
}
