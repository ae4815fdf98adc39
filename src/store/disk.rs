//! What a store needs of a disk, as a trait small enough to fake, and the disks we bring: a file,
//! memory, and a shadow that keeps every write to itself.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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

const SHADOW_PAGE: u64 = 4096;

/// Reads through to a disk and keeps every write in memory, so that the disk can be opened, checked
/// and closed without one of its bytes changing: what redb calls repair must never touch evidence.
#[derive(Debug)]
pub(super) struct Shadow {
    below: Arc<dyn Disk>,
    state: Mutex<ShadowState>,
}

#[derive(Debug)]
struct ShadowState {
    len: u64,
    /// Below this, bytes that were never written here are the disk's; above, they are zero.
    from_below: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Shadow {
    pub(super) fn over(below: Arc<dyn Disk>) -> io::Result<Self> {
        let len = below.len()?;
        let state = ShadowState { len, from_below: len, pages: BTreeMap::new() };
        Ok(Self { below, state: Mutex::new(state) })
    }

    /// The page as it stands: written here, or below, or zero.
    fn page(&self, state: &ShadowState, page: u64) -> io::Result<Box<[u8]>> {
        if let Some(bytes) = state.pages.get(&page) {
            return Ok(bytes.clone());
        }
        let start = page * SHADOW_PAGE;
        let mut bytes = vec![0; usize::try_from(SHADOW_PAGE).unwrap_or(4096)];
        let have = state.from_below.saturating_sub(start).min(SHADOW_PAGE);
        if have > 0
            && let Some(part) = usize::try_from(have).ok().and_then(|have| bytes.get_mut(..have))
        {
            self.below.read(start, part)?;
        }
        Ok(bytes.into())
    }

    /// Calls `each` with the page, the offset in it and the length, for every page of a range.
    fn pages(
        offset: u64,
        len: usize,
        mut each: impl FnMut(u64, usize, usize) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset + len as u64;
        let mut at = offset;
        while at < end {
            let inside = at % SHADOW_PAGE;
            let part = (SHADOW_PAGE - inside).min(end - at);
            let (Ok(inside), Ok(size)) = (usize::try_from(inside), usize::try_from(part)) else {
                return Err(io::ErrorKind::OutOfMemory.into());
            };
            each(at / SHADOW_PAGE, inside, size)?;
            at += part;
        }
        Ok(())
    }
}

impl Disk for Shadow {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset + out.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        let len = rest.len();
        Self::pages(offset, len, |page, inside, size| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(size);
            rest = after;
            if let Some(bytes) = state.pages.get(&page) {
                part.copy_from_slice(bytes.get(inside..inside + size).unwrap_or_default());
            } else {
                let bytes = self.page(&state, page)?;
                part.copy_from_slice(bytes.get(inside..inside + size).unwrap_or_default());
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset + bytes.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = bytes;
        Self::pages(offset, bytes.len(), |page, inside, size| {
            let (part, after) = rest.split_at(size);
            rest = after;
            let mut whole = self.page(&state, page)?;
            if let Some(old) = whole.get_mut(inside..inside + size) {
                old.copy_from_slice(part);
            }
            state.pages.insert(page, whole);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.len = len;
        state.from_below = state.from_below.min(len);
        let last = len.div_ceil(SHADOW_PAGE);
        state.pages.split_off(&last);
        if !len.is_multiple_of(SHADOW_PAGE)
            && let Some(page) = state.pages.get_mut(&(len / SHADOW_PAGE))
            && let Ok(keep) = usize::try_from(len % SHADOW_PAGE)
            && let Some(cut) = page.get_mut(keep..)
        {
            cut.fill(0);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u64..20_000, prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Op::Write(at, bytes)),
            (0u64..25_000).prop_map(Op::SetLen),
        ]
    }

    proptest! {
        #[test]
        fn a_shadow_reads_like_the_disk_it_stands_for_and_leaves_it_alone(
            first in prop::collection::vec(any::<u8>(), 0..20_000),
            ops in prop::collection::vec(op(), 0..12),
        ) {
            let below = Arc::new(MemoryDisk::from_bytes(first.clone()));
            let shadow = Shadow::over(below.clone()).unwrap();
            let model = MemoryDisk::from_bytes(first.clone());
            for op in ops {
                match op {
                    Op::Write(at, bytes) => {
                        prop_assert_eq!(
                            shadow.write(at, &bytes).is_ok(),
                            model.write(at, &bytes).is_ok()
                        );
                    }
                    Op::SetLen(len) => {
                        shadow.set_len(len).unwrap();
                        model.set_len(len).unwrap();
                    }
                }
                let mut seen = vec![0; usize::try_from(shadow.len().unwrap()).unwrap()];
                shadow.read(0, &mut seen).unwrap();
                prop_assert_eq!(&seen, &model.to_bytes());
            }
            prop_assert_eq!(below.to_bytes(), first);
        }
    }
}
