//! What a store needs of a disk, as a trait small enough to fake, and the disks we bring: a file and
//! memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::owner::number_of;
use super::system::{Asked, ask};

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
    /// Whatever the operating system says; the length may be any between the old one and the new
    /// one then. The next opening of the store heals that.
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
    /// The numbers of both open files.
    numbers: Vec<i32>,
    /// Whether its locks stay until they are released on purpose.
    is_held: AtomicBool,
}

impl FileDisk {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let clone = file.try_clone()?;
        let numbers = [&file, &clone].into_iter().filter_map(number_of).collect();
        let backend = FileBackend::new(clone).map_err(io::Error::other)?;
        Ok(Self { backend, file, numbers, is_held: AtomicBool::new(false) })
    }

    pub(super) fn numbers(&self) -> &[i32] {
        &self.numbers
    }

    /// Whether its locks stay when redb closes it: see [`Hold`](super::hold::Hold).
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Acquire)
    }

    pub(super) fn set_held(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Release);
    }

    /// redb's backend, for its locks.
    pub(super) fn backend(&self) -> &FileBackend {
        &self.backend
    }

    /// Makes the file longer, or leaves it as long as it was.
    ///
    /// The length changes in one call of the system, after the blocks are there: a process that is
    /// killed in between leaves the old length. A call that fails may have done a part of its work,
    /// so whatever failed, the old length is set again; that also frees the blocks that were taken.
    fn grow(&self, now: u64, len: u64) -> io::Result<()> {
        self.reserve(now, len)
            .and_then(|()| self.backend.set_len(len))
            .map_err(|error| self.put_back(now, error))
    }

    /// Sets the length that the file had before `error`, and checks it. If that fails too, the error
    /// says so; the next opening heals the file.
    fn put_back(&self, len: u64, error: io::Error) -> io::Error {
        let found = self.backend.set_len(len).and_then(|()| self.backend.len());
        let what = match found {
            Ok(found) if found == len => return error,
            Ok(found) => format!("is {found} bytes now"),
            Err(also) => format!("could not be set again ({also})"),
        };
        io::Error::new(
            error.kind(),
            format!(
                "{error}; and the length of the file, which was {len} bytes, {what}: nothing is \
                 lost by that, the next opening puts it right"
            ),
        )
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// That the file system still serves the file, after a flush of it that went well.
    ///
    /// On Linux a flush during which ext4 or xfs shuts itself down may return as if all were well,
    /// while blocks that it wrote for the first time are lost. Both refuse every read from the moment
    /// they are shut down, also one of the cache: so one byte tells.
    fn is_served(&self) -> io::Result<()> {
        match self.backend.read(0, &mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            read => read,
        }
    }

    /// Takes the blocks of a longer file now, so that a full disk is found while the step can still
    /// be refused, not while its commit is half written. The length stays as it is, where the file
    /// system can do that.
    #[cfg(target_os = "linux")]
    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        // Some file systems know only the one that makes the file longer too.
        for flags in [FallocateFlags::KEEP_SIZE, FallocateFlags::empty()] {
            let taken = (0..SIGNALS_MAX)
                .map(|_| fallocate(&self.file, flags, from, to - from))
                .find(|taken| *taken != Err(Errno::INTR));
            match taken {
                Some(Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL)) => {}
                Some(Err(errno)) => return Err(errno.into()),
                // A timer that rings all the time must not end the store: without blocks taken
                // beforehand, a full disk is found by the writes.
                Some(Ok(())) | None => break,
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn reserve(&self, _from: u64, _to: u64) -> io::Result<()> {
        let _ = &self.file;
        Ok(())
    }
}

/// How many signals may interrupt one reservation of blocks before the store does without it.
#[cfg(target_os = "linux")]
const SIGNALS_MAX: usize = 64;

impl Disk for FileDisk {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        ask(Asked::Read, || self.backend.read(offset, out))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        ask(Asked::Write(&self.file, offset, bytes), || self.backend.write(offset, bytes))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.backend.len()?;
        ask(Asked::Resize(&self.file, len), || {
            if len > now { self.grow(now, len) } else { self.backend.set_len(len) }
        })
    }

    fn sync(&self) -> io::Result<()> {
        ask(Asked::Flush(&self.file), || {
            self.backend.sync_data()?;
            self.is_served()
        })
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
        out.copy_from_slice(bytes.get(range).expect("`range_within` has checked the range"));
        Ok(())
    }

    fn write(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let range = range_within(offset, new.len(), bytes.len())?;
        let old = bytes.get_mut(range).expect("`range_within` has checked the range");
        old.copy_from_slice(new);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn file_disk() -> (tempfile::TempDir, FileDisk) {
        let folder = tempfile::tempdir().unwrap();
        let options = File::options().read(true).write(true).create_new(true).clone();
        let disk = FileDisk::new(options.open(folder.path().join("disk")).unwrap()).unwrap();
        (folder, disk)
    }

    /// Against: a file whose end has no blocks, so that a full disk is found by a commit that is
    /// half written.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_grows_has_its_blocks() {
        use std::os::unix::fs::MetadataExt;
        let (_folder, disk) = file_disk();
        for len in [8 << 10, 1 << 20, 3 << 20] {
            disk.set_len(len).unwrap();
            let metadata = disk.file.metadata().unwrap();
            assert_eq!(metadata.len(), len);
            assert!(metadata.blocks() * 512 >= len, "{} blocks for {len}", metadata.blocks());
        }
    }

    /// Against: a growth that fails, leaves the file longer, and makes a store of it that never opens
    /// again. Blocks that were taken are given back.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_growth_that_fails_leaves_the_length_and_no_blocks_behind_it() {
        use std::os::unix::fs::MetadataExt;
        let (_folder, disk) = file_disk();
        disk.set_len(8 << 10).unwrap();
        let before = disk.file.metadata().unwrap().blocks();
        disk.reserve(8 << 10, 1 << 20).unwrap();
        disk.file.set_len(9 << 10).unwrap();
        let error = disk.put_back(8 << 10, io::ErrorKind::StorageFull.into());
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.len().unwrap(), 8 << 10);
        assert_eq!(disk.file.metadata().unwrap().blocks(), before);
        // Longer than any file may be.
        disk.set_len(u64::MAX >> 1).unwrap_err();
        assert_eq!(disk.len().unwrap(), 8 << 10);
    }

    /// Against: a failure to put the length back that passes for a success.
    #[test]
    fn a_length_that_cannot_be_put_back_is_told_under_the_kind_of_the_first_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, [7; 100]).unwrap();
        let disk = FileDisk::new(File::open(&path).unwrap()).unwrap();
        let error = disk.put_back(50, io::ErrorKind::QuotaExceeded.into());
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert!(error.to_string().contains("which was 50 bytes, could not be set"), "{error}");
    }
}
