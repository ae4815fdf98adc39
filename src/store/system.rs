//! What a store in a file asks of the operating system, so that tests can see each call and have it
//! fail: reads, writes and flushes of files, names in a folder, and the flush of a folder.
//!
//! What is done to the lock file is not among them: it is never flushed, and nothing depends on it. Nor
//! is the extended attribute that marks the file, but its flush is; without the mark the file is still
//! known by its inode. All other calls that change a file or a folder are: seen with `strace`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// One call.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests look at it"))]
pub(crate) enum Asked<'a> {
    /// Makes a file that was not there.
    Create(&'a Path),
    /// Reads a file.
    Read,
    /// Writes these bytes at an offset.
    Write(&'a File, u64, &'a [u8]),
    /// Cuts or extends it.
    Resize(&'a File, u64),
    /// Makes what was written and its length durable.
    Flush(&'a File),
    /// Gives a file a second name.
    Link(&'a Path),
    /// Gives a file another name, in place of the file that has it.
    Rename(&'a Path, &'a Path),
    /// Takes a name away.
    Remove(&'a Path),
    /// Makes the names in a folder durable.
    FlushFolder,
}

/// Sees the calls of one thread.
#[cfg(feature = "testing")]
pub(crate) trait Watch {
    /// In front of a call: an error takes its place.
    fn before(&mut self, asked: &Asked<'_>) -> io::Result<()>;
    /// After a call that succeeded.
    fn after(&mut self, asked: &Asked<'_>);
}

#[cfg(feature = "testing")]
thread_local! {
    static WATCH: std::cell::RefCell<Option<Box<dyn Watch>>> = const { std::cell::RefCell::new(None) };
}

/// Has this thread's calls watched, or not any more.
#[cfg(feature = "testing")]
pub(crate) fn watch(by: Option<Box<dyn Watch>>) {
    WATCH.with_borrow_mut(|watch| *watch = by);
}

/// Makes the call, unless a test has it fail.
#[cfg(feature = "testing")]
pub(super) fn ask<T>(asked: Asked<'_>, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    WATCH.with_borrow_mut(|watch| watch.as_mut().map_or(Ok(()), |watch| watch.before(&asked)))?;
    let done = call()?;
    WATCH.with_borrow_mut(|watch| {
        if let Some(watch) = watch {
            watch.after(&asked);
        }
    });
    Ok(done)
}

/// Makes the call.
#[cfg(not(feature = "testing"))]
pub(super) fn ask<T>(_: Asked<'_>, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// Makes a file that was not there.
pub(super) fn create_new(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    ask(Asked::Create(path), || options.read(true).write(true).create_new(true).open(path))
}

/// Flushes a file, its length and its times.
pub(super) fn flush(file: &File) -> io::Result<()> {
    ask(Asked::Flush(file), || file.sync_all())
}

pub(super) fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    ask(Asked::Link(to), || fs::hard_link(from, to))
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(Asked::Rename(from, to), || fs::rename(from, to))
}

/// Takes a name away, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match ask(Asked::Remove(path), || fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub(super) fn flush_folder(folder: &Path) -> io::Result<()> {
    ask(Asked::FlushFolder, || File::open(folder).and_then(|folder| folder.sync_all()))
}
