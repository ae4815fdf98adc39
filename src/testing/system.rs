//! What a store in a file asks of the operating system, seen and disturbed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::store::{Asked, Watch, watch};

/// A call that changed a file or a folder, or a flush of one. Files are known by a number that no
/// other file of the log has, whatever their names are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemCall {
    /// A file was made.
    Create {
        /// Under which name.
        name: PathBuf,
        /// Which one it is.
        file: u64,
    },
    /// Bytes were written.
    Write {
        /// Into which file.
        file: u64,
        /// Where in it.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// A file was cut or extended.
    Resize {
        /// Which one.
        file: u64,
        /// To so many bytes.
        len: u64,
    },
    /// A file was flushed.
    Flush {
        /// Which one.
        file: u64,
    },
    /// A file has another name beside the one it had.
    Link {
        /// Which file.
        file: u64,
        /// The other name.
        to: PathBuf,
    },
    /// A file has another name in place of the one it had, and of the file that had that name.
    Rename {
        /// Which file.
        file: u64,
        /// The name it had.
        from: PathBuf,
        /// The name it has.
        to: PathBuf,
    },
    /// A name is gone.
    Remove {
        /// Which one.
        name: PathBuf,
    },
    /// The names in a folder were flushed.
    FlushFolder,
    /// What the work noted down with [`mark`].
    Mark(u64),
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemKind {
    /// A read of a file.
    Read,
    /// A write into a file.
    Write,
    /// A change of the length of a file.
    Resize,
    /// A flush of a file.
    Flush,
    /// A name that is made, changed or taken away.
    Name,
    /// A second name for a file.
    Link,
    /// A flush of a folder.
    FlushFolder,
    /// Any of them, reads aside.
    Change,
}

impl SystemKind {
    fn includes(self, asked: &Asked<'_>) -> bool {
        let kind = match asked {
            Asked::Read => Self::Read,
            Asked::Write(..) => Self::Write,
            Asked::Resize(..) => Self::Resize,
            Asked::Flush(_) => Self::Flush,
            Asked::FlushFolder => Self::FlushFolder,
            Asked::Link(..) => Self::Link,
            Asked::Create(_) | Asked::Rename(..) | Asked::Remove(_) => Self::Name,
        };
        kind == self
            || (self == Self::Change && kind != Self::Read)
            || (self == Self::Name && kind == Self::Link)
    }
}

/// A call that fails, or all from one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemFault {
    /// Which kind of call is counted.
    pub kind: SystemKind,
    /// Which one of them, from 0.
    pub nth: u64,
    /// The number of the error that the system gives.
    pub errno: i32,
    /// Whether half of the bytes of a write are written all the same.
    pub half: bool,
    /// Whether all calls of the kind after it fail too; of those nothing is done.
    pub stays: bool,
}

impl SystemFault {
    /// One call that fails, and does nothing.
    #[must_use]
    pub const fn once(kind: SystemKind, nth: u64, errno: i32) -> Self {
        Self { kind, nth, errno, half: false, stays: false }
    }

    /// This call and all of its kind after it fail.
    #[must_use]
    pub const fn from_then_on(kind: SystemKind, nth: u64, errno: i32) -> Self {
        Self { stays: true, ..Self::once(kind, nth, errno) }
    }
}

/// What was asked of the system, by one thread.
#[derive(Debug, Default)]
pub struct SystemLog {
    /// The calls that succeeded, reads aside, and the marks between them.
    pub calls: Vec<SystemCall>,
    /// How many calls were made to fail.
    pub hits: u64,
    /// How many calls of each fault's kind there were.
    pub counts: Vec<u64>,
}

/// Runs `work`, has these calls of the thread fail, and keeps what the others did. A store commits on
/// the thread of the caller, unless steps are submitted.
pub fn on_system<T>(faults: &[SystemFault], work: impl FnOnce() -> T) -> (T, SystemLog) {
    let log =
        Rc::new(RefCell::new(SystemLog { counts: vec![0; faults.len()], ..SystemLog::default() }));
    let watcher = Watcher { log: log.clone(), faults: faults.to_vec(), ..Watcher::default() };
    LOG.with_borrow_mut(|marked| *marked = Some(log.clone()));
    watch(Some(Box::new(watcher)));
    let unwatch = Unwatch;
    let done = work();
    drop(unwatch);
    let log = std::mem::take(&mut *log.borrow_mut());
    (done, log)
}

/// Notes a number down between the calls, if they are kept.
pub fn mark(number: u64) {
    LOG.with_borrow(|log| {
        if let Some(log) = log {
            log.borrow_mut().calls.push(SystemCall::Mark(number));
        }
    });
}

thread_local! {
    static LOG: RefCell<Option<Rc<RefCell<SystemLog>>>> = const { RefCell::new(None) };
}

/// Also when the work panics.
struct Unwatch;

impl Drop for Unwatch {
    fn drop(&mut self) {
        watch(None);
        LOG.with_borrow_mut(Option::take);
    }
}

#[derive(Default)]
struct Watcher {
    log: Rc<RefCell<SystemLog>>,
    faults: Vec<SystemFault>,
    /// The numbers of the files that are there, by what the system calls them.
    files: BTreeMap<u64, u64>,
    next: u64,
}

impl Watch for Watcher {
    fn before(&mut self, asked: &Asked<'_>) -> io::Result<()> {
        let mut hit = None;
        for (nth, fault) in self.faults.iter().enumerate() {
            if !fault.kind.includes(asked) {
                continue;
            }
            let mut log = self.log.borrow_mut();
            let Some(count) = log.counts.get_mut(nth) else { continue };
            let at = *count;
            *count += 1;
            if at == fault.nth || (at > fault.nth && fault.stays) {
                log.hits += 1;
                hit = Some((*fault, at == fault.nth));
            }
        }
        let Some((fault, is_first)) = hit else { return Ok(()) };
        if let (true, true, Asked::Write(file, offset, bytes)) = (fault.half, is_first, asked) {
            let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
            write_at(file, *offset, half)?;
            self.after(&Asked::Write(file, *offset, half));
        }
        Err(io::Error::from_raw_os_error(fault.errno))
    }

    fn after(&mut self, asked: &Asked<'_>) {
        let call = match *asked {
            Asked::Read => return,
            Asked::Create(name) => {
                // The system may give a new file the number of one that is gone.
                if let Some(number) = number_at(name) {
                    self.files.remove(&number);
                }
                SystemCall::Create { name: name.to_owned(), file: self.file_at(name) }
            }
            Asked::Write(file, offset, bytes) => {
                SystemCall::Write { file: self.file(number_of(file)), offset, bytes: bytes.into() }
            }
            Asked::Resize(file, len) => {
                SystemCall::Resize { file: self.file(number_of(file)), len }
            }
            Asked::Flush(file) => SystemCall::Flush { file: self.file(number_of(file)) },
            Asked::Link(to) => SystemCall::Link { file: self.file_at(to), to: to.to_owned() },
            Asked::Rename(from, to) => SystemCall::Rename {
                file: self.file_at(to),
                from: from.to_owned(),
                to: to.to_owned(),
            },
            Asked::Remove(name) => SystemCall::Remove { name: name.to_owned() },
            Asked::FlushFolder => SystemCall::FlushFolder,
        };
        self.log.borrow_mut().calls.push(call);
    }
}

impl Watcher {
    fn file_at(&mut self, name: &Path) -> u64 {
        self.file(number_at(name))
    }

    fn file(&mut self, number: Option<u64>) -> u64 {
        let next = &mut self.next;
        *self.files.entry(number.unwrap_or(u64::MAX)).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
}

#[cfg(unix)]
fn number_of(file: &File) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    file.metadata().ok().map(|metadata| metadata.ino())
}

#[cfg(unix)]
fn number_at(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Elsewhere a file has no number that std knows: all of them count as one.
#[cfg(not(unix))]
fn number_of(_: &File) -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn number_at(_: &Path) -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn write_at(_: &File, _: u64, _: &[u8]) -> io::Result<()> {
    Ok(())
}
