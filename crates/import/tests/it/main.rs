//! The files that a store replaces. Against a key that is lost on the way, a run that is set back, a
//! number or a field that comes back as another one, a damaged file that is taken for a whole one, and
//! a source that is changed.
#![allow(missing_docs, unreachable_pub, reason = "tests are not read as documentation")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for; helpers are tests too"
)]
#![allow(
    clippy::items_after_statements,
    clippy::cast_possible_truncation,
    reason = "a type stands beside the one test it is for; numbers of tests are small"
)]

mod documents;
mod registry;
mod run_folder;
mod support;
mod total;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use milepost::testing::{Effect, Fault, Image, SimDisk};
use milepost::{Error, ErrorKind, Options, Result, Store};
use milepost_import::ImportReport;
use tempfile::TempDir;

/// The samples, as the old programs wrote them.
fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A file of this name in a folder of its own.
fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// Whether an error says where: the file, the byte, and why.
#[track_caller]
fn says(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// Every file that differs from the sample by one byte, or ends earlier: is refused with a typed error
/// that names the file and the byte, or is another legal one; and is never changed. How many were
/// refused.
fn damaged_everywhere(sample: &[u8], name: &str, read: impl Fn(&Path) -> Result<()>) -> usize {
    let (_folder, path) = file(name, sample);
    // Written over in place: a file that is made anew is flushed by some file systems.
    let mut on_disk = fs::File::options().write(true).open(&path).unwrap();
    let mut refused = 0;
    let mut try_with = |bytes: &[u8]| {
        on_disk.seek(SeekFrom::Start(0)).unwrap();
        on_disk.write_all(bytes).unwrap();
        on_disk.set_len(bytes.len() as u64).unwrap();
        if let Err(error) = read(&path) {
            let kinds = [ErrorKind::Damaged, ErrorKind::TooNew, ErrorKind::SchemaMismatch];
            assert!(kinds.contains(&error.kind()), "{:?}: {error}", error.kind());
            says(&error, &[name, "byte "]);
            refused += 1;
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "the source was changed");
    };
    for at in 0..sample.len() {
        try_with(&sample[..at]);
        for flip in [0x01, 0x20, 0x80] {
            let mut bytes = sample.to_vec();
            bytes[at] ^= flip;
            try_with(&bytes);
        }
        let mut without = sample.to_vec();
        without.remove(at);
        try_with(&without);
    }
    refused
}

/// Cuts an import short at each call that changes the disk, by a kill and by a power cut; then imports
/// again on what is left, and holds what comes of it against the undisturbed import.
fn crashed_everywhere<T: PartialEq + std::fmt::Debug>(
    import: impl Fn(&Store) -> Result<ImportReport>,
    content: impl Fn(&Store) -> T,
) {
    let options = Options::new();
    let wanted = {
        let store = Store::in_memory().unwrap();
        assert!(!import(&store).unwrap().is_unchanged());
        content(&store)
    };
    let mut crashes = 0;
    for effect in [Effect::Nothing, Effect::Half, Effect::All] {
        for nth in 0.. {
            let disk = Arc::new(SimDisk::new());
            let store = options.create_on(disk.clone()).unwrap();
            disk.arm([Fault::at(nth).effect(effect)]);
            let ended = import(&store);
            let hits = disk.hits();
            drop(store);
            if hits == 0 {
                ended.unwrap();
                break;
            }
            crashes += 1;
            for left in [disk.live(), disk.cut(&Image::Nothing)] {
                let store = options.open_on(Arc::new(SimDisk::of(left))).unwrap();
                import(&store).unwrap();
                assert!(content(&store) == wanted, "{effect:?} {nth}: {:?}", content(&store));
                let before = store.newest_commit().unwrap();
                assert!(import(&store).unwrap().is_unchanged());
                assert_eq!(store.newest_commit().unwrap(), before);
                assert!(store.verify().unwrap().is_sound());
            }
        }
    }
    assert!(crashes > 5, "only {crashes} crashes");
}
