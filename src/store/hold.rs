//! The lock on the store's own file. The lock file goes with a name; this one goes with the file: a
//! store that is open under another name (a hard link), or whose lock file was removed, is found by
//! it.
//!
//! Who works on a store holds it alone, who looks into one holds it together with others who look.
//! On Linux it is a lock of the open file over all its bytes, within which redb takes its own while
//! it has the file open. redb releases its locks between two openings of one database, and a lock of
//! ours with them; so nothing is released while a store is held. Elsewhere, two locks of one open file
//! may be in each other's way, and who works on a store relies on redb's own.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use super::disk::FileDisk;
use super::owner::Owner;
use crate::error::{Error, ErrorKind, Result};

/// The lock; released when this is dropped.
#[derive(Debug)]
pub(super) struct Hold {
    disk: Arc<FileDisk>,
    owner: Owner,
}

impl Hold {
    /// For work on the store.
    ///
    /// # Errors
    /// `Locked` if it is held.
    pub(super) fn to_work(disk: &Arc<FileDisk>, path: &Path) -> Result<Option<Self>> {
        if !cfg!(target_os = "linux") {
            return Ok(None);
        }
        Self::of(disk, path, disk.backend().try_lock_range(Bound::Unbounded, Bound::Unbounded))
    }

    /// For a look into the store.
    ///
    /// # Errors
    /// `Locked` if somebody works on it.
    pub(super) fn to_look(disk: &Arc<FileDisk>, path: &Path) -> Result<Option<Self>> {
        let (start, end) = (Bound::Unbounded, Bound::Unbounded);
        Self::of(disk, path, disk.backend().try_lock_shared_range(start, end))
    }

    fn of(
        disk: &Arc<FileDisk>,
        path: &Path,
        taken: Result<bool, BackendError>,
    ) -> Result<Option<Self>> {
        match taken {
            Ok(true) => {
                disk.set_held(true);
                Ok(Some(Self { disk: disk.clone(), owner: Owner::this() }))
            }
            Ok(false) => Err(Error::new(
                ErrorKind::Locked,
                format!(
                    "{} is open in another place: under another name of the same file, or its lock \
                     file was removed while it was open, or another program has it open. A store has \
                     one writer: close it there first",
                    path.display()
                ),
            )),
            // A file system without them: the lock file alone is left.
            Err(BackendError::Unsupported) => Ok(None),
            Err(BackendError::Io(error)) => Err(Error::io(
                format!(
                    "locking {}, for which the file system needs working locks",
                    path.display()
                ),
                error,
            )),
            Err(error) => {
                Err(Error::io(format!("locking {}", path.display()), std::io::Error::other(error)))
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A forked child shares the lock with its parent, and would release it for both.
        if self.owner.is_here() {
            self.disk.set_held(false);
            // Also for a child process that is being started and has the file open for a moment.
            let _ = self.disk.backend().close();
        }
    }
}
