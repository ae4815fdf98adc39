//! One writer: a lock on `<store>.lock`, held as long as the store is open.
//!
//! The lock file is never deleted: whoever deleted it could hand a second process a lock on another
//! file of the same name. What it holds is for people.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::place::{Place, private};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::seq::Epoch;

#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
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
                        "locking {}: a store needs a file system with working locks",
                        path.display()
                    ),
                    error,
                ));
            }
        }
        let lock = Self { file, path };
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

    /// Writes who holds the lock, for the message to the next one. A failure costs only the message.
    pub(super) fn sign(&mut self, epoch: Epoch, now: Timestamp) {
        let since = now.as_ms() / 1000;
        let text = format!(
            "pid {}\nhost {}\nsince_unix {since}\nepoch {epoch}\n",
            std::process::id(),
            host()
        );
        let _ = self.file.set_len(0);
        let _ = self.file.rewind();
        let _ = self.file.write_all(text.as_bytes());
    }
}

impl Drop for LockFile {
    /// Nobody holds it now: not by name, and not through a child process that is being started and
    /// has this file open for a moment.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
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

fn locked(store: &Path, lock: &Path) -> Error {
    let mut text = String::new();
    let _ = File::open(lock).and_then(|file| file.take(4096).read_to_string(&mut text));
    let holder = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let holder = if holder.is_empty() { "an unknown process".to_owned() } else { holder };
    Error::new(
        ErrorKind::Locked,
        format!(
            "{} is open in another place ({holder}): a store has one writer. Stop that one, or \
             open another file",
            store.display()
        ),
    )
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .map_or_else(|| "unknown".to_owned(), |name| name.trim().to_owned())
}
