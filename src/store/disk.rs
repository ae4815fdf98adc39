//! What a store needs of a disk, as a trait small enough to fake, and the disks we bring: a file and
//! memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A disk: a row of bytes that can be read, written, resized and flushed.
///
/// Assumed of it: after [`sync`](Disk::sync) returns, all earlier writes and resizes survive power
/// loss. Before that any subset of them may survive, in any order, a write also in part.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As [`len`](Disk::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// An error too when the range goes past the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`; the range lies within the length.
    ///
    /// # Errors
    /// Whatever the operating system says; part of the bytes may have been written.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts or extends it; new bytes are zero.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Flushes: after it returns `Ok`, what was written before it is durable.
    ///
    /// # Errors
    /// After an error, nothing is known of the writes since the last good one.
    fn sync(&self) -> io::Result<()>;
}

/// A file, through redb's own backend, so that redb's locks on it are taken too.
#[derive(Debug)]
pub(super) struct FileDisk {
    backend: FileBackend,
    file: File,
}

impl FileDisk {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let backend = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        Ok(Self { backend, file })
    }

    /// redb's backend, for its locks.
    pub(super) fn backend(&self) -> &FileBackend {
        &self.backend
    }

    /// Takes the blocks of a longer file now, so that a full disk is found while the step can still
    /// be refused, not while its commit is half written.
    #[cfg(target_os = "linux")]
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _from: u64, _to: u64) -> io::Result<()> {
        let _ = &self.file;
        Ok(())
    }
}

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.backend.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.backend.len()?;
        if len > now {
            self.reserve(now, len)?;
        }
        self.backend.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.backend.sync_data()
    }
}

/// A disk in memory: gone with its last handle. For tests, and for runs that need no file.
#[derive(Default)]
pub struct MemoryDisk(RwLock<Vec<u8>>);

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(RwLock::new(bytes))
    }

    /// A copy of all its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.0.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "MemoryDisk({len} bytes)")
    }
}

/// The byte range `offset..offset + len`, if it lies inside `total` bytes.
fn range_within(offset: u64, len: usize, total: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(len)).filter(|end| *end <= total);
    match (start, end) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Disk for MemoryDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = range_within(offset, out.len(), bytes.len())?;
        out.copy_from_slice(bytes.get(range).unwrap_or_default());
        Ok(())
    }

    fn write(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let range = range_within(offset, new.len(), bytes.len())?;
        if let Some(old) = bytes.get_mut(range) {
            old.copy_from_slice(new);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
