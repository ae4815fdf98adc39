//! One writer: the lock, and what happens when the file under an open store is taken away.

use std::fs;
use std::path::PathBuf;

use milepost::{ErrorKind, Store};

use crate::support::{Child, Counter, count, error, kind};

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    (folder, path)
}

/// Against: two writers in one process, each sure of its own history.
#[test]
fn a_second_opener_in_the_same_process_is_refused() {
    let (_folder, path) = folder();
    let store = Store::create(&path).unwrap();
    let refused = error(Store::open(&path));
    assert_eq!(refused.kind(), ErrorKind::Locked);
    let own_pid = std::process::id().to_string();
    assert!(refused.to_string().contains(&format!("pid {own_pid}")), "{refused}");
    assert_eq!(kind(Store::open_or_create(&path)), ErrorKind::Locked);
    drop(store);
    Store::open(&path).unwrap();
}

/// Against: a second process that sends the same orders, and a person who cannot find the first.
#[test]
fn a_second_process_is_refused_and_told_who_holds_the_store() {
    let (_folder, path) = folder();
    Store::create(&path).unwrap().close().unwrap();
    let mut child = Child::start("hold", &path);
    let epoch = child.says().unwrap();
    let refused = error(Store::open(&path));
    assert_eq!(refused.kind(), ErrorKind::Locked);
    let message = refused.to_string();
    assert!(message.contains(&format!("pid {}", child.pid())), "{message}");
    assert!(message.contains(&epoch), "{message} {epoch}");
    assert!(message.contains("bot.mp") && message.contains("host"), "{message}");
    child.kill();
}

/// Against: a lock that outlives its holder, so that a killed bot cannot start again.
#[test]
fn a_killed_holder_leaves_no_lock_and_its_epoch_is_over() {
    let (_folder, path) = folder();
    let first = Store::create(&path).unwrap();
    let epoch = first.epoch();
    first.close().unwrap();
    let mut child = Child::start("hold", &path);
    child.says().unwrap();
    child.kill();
    let store = Store::open(&path).unwrap();
    assert!(!store.was_closed_in_order());
    assert_eq!(store.epoch().get(), epoch.get() + 2);
}

/// Against: a lock file somebody has "cleaned up", which lets a second writer in.
#[test]
fn without_its_lock_file_the_store_is_still_held() {
    let (folder, path) = folder();
    let store = Store::create(&path).unwrap();
    fs::remove_file(folder.path().join("bot.mp.lock")).unwrap();
    assert_eq!(kind(Store::open(&path)), ErrorKind::Locked);
    let mut child = Child::start("open", &path);
    assert!(child.says().unwrap().starts_with("Locked"));
    child.wait();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
}

/// Against: a lock that a child of this process keeps alive between its fork and its exec, so that
/// the next open is refused in the name of nobody.
#[test]
fn what_was_closed_opens_again_while_children_are_being_started() {
    let (_folder, path) = folder();
    Store::create(&path).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = std::process::Command::new("true").status();
                }
            });
        }
        let opened: Vec<_> = (0..60).map(|_| Store::open(&path).and_then(Store::close)).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for result in opened {
            result.unwrap();
        }
    });
}

/// Against: the same file under a second name, which has another lock file.
#[cfg(unix)]
#[test]
fn under_another_name_the_store_is_still_held() {
    let (folder, path) = folder();
    let _store = Store::create(&path).unwrap();
    let other = folder.path().join("other.mp");
    fs::hard_link(&path, &other).unwrap();
    assert_eq!(kind(Store::open(&other)), ErrorKind::Locked);
    let mut child = Child::start("open", &other);
    assert!(child.says().unwrap().starts_with("Locked"));
    child.wait();
}

/// Against: a message that names the holder before last, while the new one is still opening.
#[test]
fn the_message_never_names_a_holder_that_is_gone() {
    let (folder, path) = folder();
    Store::create(&path).unwrap().close().unwrap();
    let lock = fs::File::open(folder.path().join("bot.mp.lock")).unwrap();
    // As a process does that has taken the lock and not opened the store yet.
    lock.lock().unwrap();
    let message = error(Store::open(&path)).to_string();
    // Nobody has signed: the last one who did let go of it.
    let own = format!("pid {}", std::process::id());
    assert!(!message.contains(&own), "names the holder before: {message}");
}

/// What becomes of a live writer whose file is taken away by `take`.
#[cfg(unix)]
fn a_writer_whose_file_is_gone(take: impl FnOnce(&std::path::Path)) {
    let (folder, path) = folder();
    let store = Store::create(&path).unwrap();
    let kept = folder.path().join("kept.mp");
    fs::hard_link(&path, &kept).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=5 {
        count(&mut run, n).unwrap();
    }
    take(&path);
    let another = fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
    let there = another.then(|| fs::read(&path).unwrap());

    let refused = error(count(&mut run, 6));
    assert_eq!(refused.kind(), ErrorKind::Fenced, "{refused}");
    assert!(refused.to_string().contains("bot.mp"), "{refused}");
    // And so for ever, whatever is called.
    assert_eq!(kind(count(&mut run, 7)), ErrorKind::Fenced);
    assert_eq!(kind(store.recovery()), ErrorKind::Fenced);
    assert_eq!(kind(store.run::<Counter>("other")), ErrorKind::Fenced);
    assert_eq!(kind(store.claim::<u64>("s", "k", &1)), ErrorKind::Fenced);
    drop(run);
    assert_eq!(kind(store.close()), ErrorKind::Fenced);
    let still = another.then(|| fs::read(&path).unwrap());
    assert!(still == there, "the file that stands at the path now was changed");

    let store = Store::open(&kept).unwrap();
    assert!(!store.was_closed_in_order(), "a fenced writer did not close in order");
    let run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.state().seen, [1, 2, 3, 4, 5], "an acknowledged step is lost");
}

/// Against: commits into a file that nobody will ever open again.
#[cfg(unix)]
#[test]
fn a_writer_whose_file_was_removed_stops() {
    a_writer_whose_file_is_gone(|path| fs::remove_file(path).unwrap());
}

/// Against: a writer that goes on beside the one that restored a backup over its file.
#[cfg(unix)]
#[test]
fn a_writer_whose_file_was_replaced_stops() {
    a_writer_whose_file_is_gone(|path| {
        let restored = path.with_extension("restored");
        Store::create(&restored).unwrap().close().unwrap();
        fs::rename(&restored, path).unwrap();
    });
}

/// Against: the same, when the file was only moved away.
#[cfg(unix)]
#[test]
fn a_writer_whose_file_was_renamed_stops() {
    a_writer_whose_file_is_gone(|path| fs::rename(path, path.with_extension("old")).unwrap());
}

/// Against: a symlink put in the file's place, which leads to the very same file.
#[cfg(unix)]
#[test]
fn a_writer_whose_path_became_a_symlink_stops() {
    a_writer_whose_file_is_gone(|path| {
        let moved = path.with_extension("moved");
        fs::rename(path, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, path).unwrap();
    });
}
