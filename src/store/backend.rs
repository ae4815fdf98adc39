//! A [`Disk`] as redb wants to see it, counting what goes through.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

use super::disk::{Disk, FileDisk};
use super::owner::Owner;
use super::shadow::Gate;

/// redb keeps its header, with both commit slots, in the first bytes of the file.
const REDB_HEADER_BYTES: u64 = 320;

/// What has gone through a backend since it was made.
#[derive(Debug, Default)]
pub(super) struct Probe {
    header_writes: AtomicU64,
    len: AtomicU64,
}

impl Probe {
    /// Writes that touched redb's header. A commit that failed before its first one is not on disk.
    pub(super) fn header_writes(&self) -> u64 {
        self.header_writes.load(Ordering::SeqCst)
    }

    /// The length of the file as last seen or set, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }
}

/// A byte of redb's header that redb leaves alone.
const MARK_OFFSET: u64 = 10;
const MARK: u8 = 0xF5;

/// Notes in the file that a flush of it failed. What was written before may then be in the cache
/// alone, and no later flush need bring it to the disk; the note is in that same cache, and is gone
/// with it.
pub(super) fn mark_unsynced(disk: &dyn Disk) {
    // If this fails too, nothing can be noted; the handle is poisoned either way.
    let _ = disk.write(MARK_OFFSET, &[MARK]);
}

/// If a flush of this file failed since it was last in the cache as it is on the disk: writes all
/// of it anew, so that what can be read is durable before anybody builds on it.
pub(super) fn make_up_for_unsynced(disk: &dyn Disk) -> io::Result<()> {
    let mut mark = [0];
    disk.read(MARK_OFFSET, &mut mark)?;
    if mark != [MARK] {
        return Ok(());
    }
    let len = disk.len()?;
    let mut bytes = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (part, _) = bytes.split_at_mut(part);
        disk.read(at, part)?;
        disk.write(at, part)?;
        at += part.len() as u64;
    }
    disk.sync()?;
    // Last: a crash before this does it all again.
    disk.write(MARK_OFFSET, &[0])?;
    disk.sync()
}

/// The medium: a file, whose locks redb takes, or a disk without locks.
#[derive(Debug, Clone)]
pub(super) enum Medium {
    File(Arc<FileDisk>),
    Disk(Arc<dyn Disk>),
}

impl Medium {
    /// The numbers of its open files.
    pub(super) fn numbers(&self) -> &[i32] {
        match self {
            Self::File(file) => file.numbers(),
            Self::Disk(_) => &[],
        }
    }

    /// Whether its locks stay when redb has closed it.
    fn is_held(&self) -> bool {
        matches!(self, Self::File(file) if file.is_held())
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::File(file) => file.clone(),
            Self::Disk(disk) => disk.clone(),
        }
    }

    /// The file, unless it is a disk of the caller's own.
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::File(file) => Some(file.file()),
            Self::Disk(_) => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Backend {
    medium: Medium,
    disk: Arc<dyn Disk>,
    probe: Arc<Probe>,
    /// The handle asks before; this is the last door to the file.
    owner: Owner,
}

impl Backend {
    pub(super) fn new(medium: Medium, probe: Arc<Probe>) -> Self {
        let disk = medium.disk();
        Self { medium, disk, probe, owner: Owner::this() }
    }

    /// The medium behind a gate: redb's locks are taken on the medium, its writes go to the gate.
    pub(super) fn gated(medium: Medium, gate: Arc<Gate>, probe: Arc<Probe>) -> Self {
        Self { medium, disk: gate, probe, owner: Owner::this() }
    }

    fn locks(&self) -> Result<&redb::backends::FileBackend, BackendError> {
        // Unlocking in a forked child would free the lock of its parent.
        self.owner.check_io().map_err(BackendError::Io)?;
        match &self.medium {
            Medium::File(file) => Ok(file.backend()),
            Medium::Disk(_) => Err(BackendError::Unsupported),
        }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.owner.check_io()?;
        let len = self.disk.len()?;
        self.probe.len.store(len, Ordering::Relaxed);
        Ok(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.owner.check_io()?;
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.owner.check_io()?;
        self.disk.set_len(len)?;
        self.probe.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.owner.check_io()?;
        self.disk.sync().inspect_err(|_| mark_unsynced(&*self.disk))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.owner.check_io()?;
        if offset < REDB_HEADER_BYTES {
            // Before the write: one that fails may still have reached the disk.
            self.probe.header_writes.fetch_add(1, Ordering::SeqCst);
        }
        self.disk.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.owner.check_io()?;
        if self.medium.is_held() {
            return Ok(());
        }
        self.locks().map_or(Ok(()), StorageBackend::close)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.locks()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.medium.is_held() {
            return Ok(());
        }
        self.locks()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks()?.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;

    /// Against: redb's destructor, which in a child that a bare `clone` has made writes into the file
    /// of the parent, without a call of ours before it.
    #[test]
    fn a_child_that_the_c_library_did_not_report_reaches_no_byte_of_the_file() {
        let calls: [fn(&Backend) -> io::Result<()>; 5] = [
            |backend| backend.write(0, &[1]),
            |backend| backend.read(0, &mut [0]),
            |backend| backend.set_len(8),
            |backend| backend.sync_data(),
            |backend| backend.len().map(drop),
        ];
        for call in calls {
            let disk = Arc::new(MemoryDisk::from_bytes(vec![0; 4]));
            let mut backend = Backend::new(Medium::Disk(disk.clone()), Arc::default());
            let before = disk.to_bytes();
            backend.owner = Owner::of_another_process();
            assert!(call(&backend).is_err());
            assert_eq!(disk.to_bytes(), before);
        }
    }
}
