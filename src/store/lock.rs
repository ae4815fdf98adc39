//! One writer: a lock on `<store>.lock`, held as long as the store is open.
//!
//! The lock file is never deleted: whoever deleted it could hand a second process a lock on another
//! file of the same name. It says for people who holds it, and for the next opening which commit was
//! the last to be acknowledged. That note stays when the store is closed, so an older copy that is put
//! in its place is told. It is never flushed: after a power cut it may be old or gone, and then says
//! nothing; after a kill it is exact, and tells a commit that was lost to damage from one that was cut
//! short.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::head::Head;
use super::owner::{Owner, number_of};
use super::place::{Place, private};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::seq::{COUNT_MAX, CommitSeq, Epoch, Incarnation};

#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
    /// What the holder before left.
    left: Option<Note>,
    signed: bool,
    owner: Owner,
}

/// The last commit that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    store: String,
    epoch: Epoch,
    commit: CommitSeq,
    /// In which life of the store that was.
    pub(super) life: Incarnation,
}

/// How long a note is.
const NOTE_BYTES: u64 = 6 + 32 + 7 + 20 + 8 + 20 + 6 + 20 + 1;

impl Note {
    /// Always as long, so that one takes the place of the other in one write.
    fn text(store: StoreId, head: &Head) -> String {
        let (epoch, commit, life) = (head.epoch.get(), head.seq.get(), head.incarnation.get());
        format!("store {store} epoch {epoch:020} commit {commit:020} life {life:020}\n")
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.split(' ');
        let mut after = |name: &str| words.next().filter(|word| *word == name).and(words.next());
        let store = after("store")?.to_owned();
        // Numbers that no store reaches were not written by one: counting on from them would end it.
        let mut number =
            |name: &str| after(name)?.parse().ok().filter(|number| *number < COUNT_MAX);
        let epoch = Epoch::new(number("epoch")?);
        let commit = CommitSeq::new(number("commit")?);
        // An older program did not write it.
        let life = Incarnation::new(number("life").unwrap_or_default());
        Some(Self { store, epoch, commit, life })
    }

    /// The epoch and the commit it speaks of, if it is about this store.
    pub(super) fn reached(&self, store: StoreId) -> Option<(Epoch, CommitSeq)> {
        (self.store == store.to_string()).then_some((self.epoch, self.commit))
    }

    /// Refuses a store whose newest commit is older than one that was acknowledged.
    ///
    /// # Errors
    /// `OlderCopy` for one that was closed in order, for then it is an older copy: what was sent since
    /// is not in it. `Damaged` for one that was not, which may have lost its newest commits.
    pub(super) fn check(&self, store: StoreId, head: &Head) -> Result<()> {
        if !self.is_behind(store, head) {
            return Ok(());
        }
        let (kind, what) = if head.clean {
            (ErrorKind::OlderCopy, "the file is an older copy")
        } else {
            (ErrorKind::Damaged, "the file is damaged, or is an older copy")
        };
        Err(Error::new(
            kind,
            format!(
                "commit {} was acknowledged and is not in the file, whose newest is {}: {what}. \
                 Nothing was changed. Restore a newer copy; or, if an older one was put here on \
                 purpose, open it with `Options::on_copy(OnCopy::Copy)`, and reconcile it with \
                 your receivers",
                self.commit, head.seq
            ),
        ))
    }

    /// What is said where a store was and is none.
    pub(super) fn store_is_gone(&self, path: &Path) -> Error {
        Error::new(
            ErrorKind::OlderCopy,
            format!(
                "there is no store at {}, and there was one: {} says that store {} had reached commit \
                 {} there. It was deleted or moved, or its volume is not mounted. In an empty store \
                 in its place every request would be new. Nothing was changed. Put the file back; or, \
                 if it was deleted on purpose, delete the lock file too, or use \
                 `Options::accept_deleted`",
                path.display(),
                beside(path, "lock").display(),
                self.store,
                self.commit
            ),
        )
    }

    /// Whether a store with this head has all that was acknowledged.
    pub(super) fn vouches_for(&self, store: StoreId, head: &Head) -> bool {
        self.reached(store).is_some_and(|reached| reached <= (head.epoch, head.seq))
    }

    /// Whether the store with this head is older than it was when this was noted down.
    pub(super) fn is_behind(&self, store: StoreId, head: &Head) -> bool {
        self.reached(store).is_some_and(|reached| reached > (head.epoch, head.seq))
    }
}

impl LockFile {
    /// Takes the lock that goes with the store at `store`, or says who holds it.
    pub(super) fn take(store: &Path) -> Result<Self> {
        let path = beside(store, "lock");
        Place::refuse_symlink(&path)?;
        let file = private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .open(&path)
            .map_err(|error| Error::io(format!("opening the lock {}", path.display()), error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(store, &path)),
            Err(TryLockError::Error(error)) => {
                return Err(Error::io(
                    format!(
                        "locking {}, for which the file system needs working locks",
                        path.display()
                    ),
                    error,
                ));
            }
        }
        let mut text = String::new();
        let _ = (&file).take(4096).read_to_string(&mut text);
        // Who is named in it is gone. The note stays until this opening has dealt with it.
        let note = text.lines().next().filter(|line| line.starts_with("store "));
        let _ = file.set_len(note.map_or(0, |note| note.len() as u64 + 1));
        let lock =
            Self { file, path, left: Note::read(&text), signed: false, owner: Owner::this() };
        // Somebody may have deleted the file between our opening and our locking it.
        if Place::of_file(&lock.file)? != Place::at(&lock.path)? {
            return Err(Error::new(
                ErrorKind::Locked,
                format!(
                    "{} was replaced while it was being locked: try again",
                    lock.path.display()
                ),
            ));
        }
        Ok(lock)
    }

    /// The number of the open lock file.
    pub(super) fn number(&self) -> Option<i32> {
        number_of(&self.file)
    }

    /// What the holder before left.
    pub(super) fn left(&self) -> Option<&Note> {
        self.left.as_ref()
    }

    /// Writes who holds the lock, for the message to the next one, and the first note. A failure
    /// costs only those.
    pub(super) fn sign(&mut self, store: StoreId, head: &Head, now: Timestamp) {
        let since = now.as_ms() / 1000;
        let text = format!(
            "{}pid {}\nhost {}\nsince_unix {since}\nepoch {}\n",
            Note::text(store, head),
            std::process::id(),
            host(),
            head.epoch
        );
        // Written over, and then cut: on a full disk a file that was emptied first could not be
        // written again, and the note of before would be lost.
        let _ = write_at_start(&self.file, text.as_bytes())
            .and_then(|()| self.file.set_len(text.len() as u64));
        self.signed = true;
    }

    /// Notes down that a commit is durable, before anybody is told.
    pub(super) fn note(&mut self, store: StoreId, head: &Head) {
        if self.signed && self.owner.is_here() {
            let _ = write_at_start(&self.file, Note::text(store, head).as_bytes());
        }
    }
}

impl Drop for LockFile {
    /// Nobody holds it now: not by name, and not through a child process that is being started and
    /// has this file open for a moment. The note stays.
    fn drop(&mut self) {
        // The lock is the parent's as well, and unlocking would free it for both.
        if !self.owner.is_here() {
            return;
        }
        if self.signed {
            let _ = self.file.set_len(NOTE_BYTES);
        }
        let _ = self.file.unlock();
    }
}

/// `<store>.<suffix>`, in the same folder.
pub(super) fn beside(store: &Path, suffix: &str) -> PathBuf {
    let mut name = store.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn write_at_start(file: &File, bytes: &[u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, 0)
}

#[cfg(not(unix))]
fn write_at_start(mut file: &File, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::{Seek, Write};
    file.rewind()?;
    file.write_all(bytes)
}

fn locked(store: &Path, lock: &Path) -> Error {
    let mut text = String::new();
    let _ = File::open(lock).and_then(|file| file.take(4096).read_to_string(&mut text));
    let holder = text.lines().filter(|line| !line.starts_with("store "));
    let holder = holder.collect::<Vec<_>>().join(" ");
    let holder = match named_pid(&text) {
        None => "an unknown process".to_owned(),
        Some(pid) if is_gone(pid) => format!(
            "process {pid}, which signed last, is not seen here; a child that it forked still has the \
             lock file open, or a process in another container has it, or one that has only just \
             taken it: {holder}"
        ),
        Some(_) => holder,
    };
    Error::new(
        ErrorKind::Locked,
        format!(
            "{} is open in another place ({holder}): a store has one writer. Stop that one, or \
             open another file",
            store.display()
        ),
    )
}

/// The process that a lock file names.
fn named_pid(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix("pid ")?.parse().ok())
}

/// Whether there is no such process, where that can be seen.
fn is_gone(pid: u32) -> bool {
    let processes = Path::new("/proc");
    processes.join("self").exists() && !processes.join(pid.to_string()).exists()
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::head::ClockMark;
    use super::*;

    fn head(epoch: u64, commit: u64, life: u64) -> Head {
        Head {
            epoch: Epoch::new(epoch),
            seq: CommitSeq::new(commit),
            incarnation: Incarnation::new(life),
            ..Head::first(ClockMark::default())
        }
    }

    /// Against: a note that is cut short when the store is closed, and says nothing then.
    #[test]
    fn a_note_is_as_long_as_what_stays_of_the_lock_file() {
        let store = StoreId::fixed();
        for (epoch, commit, life) in [(1, 2, 3), (COUNT_MAX - 1, COUNT_MAX - 1, COUNT_MAX - 1)] {
            let head = head(epoch, commit, life);
            let text = Note::text(store, &head);
            assert_eq!(text.len() as u64, NOTE_BYTES);
            let note = Note::read(&text).unwrap();
            assert_eq!(note.reached(store), Some((head.epoch, head.seq)));
            assert_eq!(note.life, head.incarnation);
        }
    }

    /// Against: a store that counts on from numbers that somebody else wrote, to where it is refused
    /// for ever.
    #[test]
    fn a_note_with_numbers_that_no_store_reaches_is_none() {
        let text = Note::text(StoreId::fixed(), &head(1, COUNT_MAX, 1));
        assert_eq!(Note::read(&text), None);
    }
}
