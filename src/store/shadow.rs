//! Disks that keep writes to themselves: a [`Shadow`] for ever, so that a store can be looked into
//! without one of its bytes changing; a [`Gate`] until it is opened, so that nothing of a file is
//! changed before it has been proven to be a store that this program can read.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::Disk;

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

const WITHIN_A_PAGE: &str = "`pages` cuts a range into parts that lie within a page";

impl ShadowState {
    /// Refuses a range past the end; offsets come out of a file that nobody has proven yet.
    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Shadow {
    pub(super) fn over(below: Arc<dyn Disk>) -> io::Result<Self> {
        let len = below.len()?;
        let state = ShadowState { len, from_below: len, pages: BTreeMap::new() };
        Ok(Self { below, state: Mutex::new(state) })
    }

    /// Lets go of everything that was written.
    fn forget(&mut self) {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).pages.clear();
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
        state.check(offset, out.len())?;
        let mut rest = out;
        let len = rest.len();
        Self::pages(offset, len, |page, inside, size| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(size);
            rest = after;
            if let Some(bytes) = state.pages.get(&page) {
                part.copy_from_slice(bytes.get(inside..inside + size).expect(WITHIN_A_PAGE));
            } else {
                let bytes = self.page(&state, page)?;
                part.copy_from_slice(bytes.get(inside..inside + size).expect(WITHIN_A_PAGE));
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.check(offset, bytes.len())?;
        let mut rest = bytes;
        Self::pages(offset, bytes.len(), |page, inside, size| {
            let (part, after) = rest.split_at(size);
            rest = after;
            let mut whole = self.page(&state, page)?;
            let old = whole.get_mut(inside..inside + size).expect(WITHIN_A_PAGE);
            old.copy_from_slice(part);
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

/// Holds writes back and remembers their order; opened, hands them on in that order, syncs included,
/// and holds nothing back from then on. A crash in between is a crash of the writer: the disk sees
/// the same writes in the same order, some of them later.
#[derive(Debug)]
pub(super) struct Gate {
    below: Arc<dyn Disk>,
    is_open: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    shadow: Shadow,
    log: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    Write(u64, Box<[u8]>),
    SetLen(u64),
    Sync,
}

impl Gate {
    pub(super) fn before(below: Arc<dyn Disk>) -> io::Result<Self> {
        let held = Held { shadow: Shadow::over(below.clone())?, log: Vec::new() };
        Ok(Self { below, is_open: AtomicBool::new(false), held: Mutex::new(held) })
    }

    /// Hands on what was held back. After an error the gate stays shut, and the disk is as a crash
    /// in the middle of these writes would leave it.
    pub(super) fn open(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for op in std::mem::take(&mut held.log) {
            match op {
                Op::Write(offset, bytes) => self.below.write(offset, &bytes)?,
                Op::SetLen(len) => self.below.set_len(len)?,
                Op::Sync => self.below.sync()?,
            }
        }
        held.shadow.forget();
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// Does it to the disk below, or to the shadow and the log.
    fn through<T>(
        &self,
        below: impl FnOnce(&dyn Disk) -> io::Result<T>,
        held: impl FnOnce(&mut Held) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.is_open.load(Ordering::Acquire) {
            let mut state = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_open.load(Ordering::Acquire) {
                return held(&mut state);
            }
        }
        below(&*self.below)
    }
}

impl Disk for Gate {
    fn len(&self) -> io::Result<u64> {
        self.through(Disk::len, |held| held.shadow.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        // One of the two runs; the borrow checker has to be told so.
        let out = std::cell::RefCell::new(out);
        self.through(
            |below| below.read(offset, &mut out.borrow_mut()),
            |held| held.shadow.read(offset, &mut out.borrow_mut()),
        )
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.through(
            |below| below.write(offset, bytes),
            |held| {
                held.shadow.write(offset, bytes)?;
                held.log.push(Op::Write(offset, bytes.into()));
                Ok(())
            },
        )
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.through(
            |below| below.set_len(len),
            |held| {
                held.shadow.set_len(len)?;
                held.log.push(Op::SetLen(len));
                Ok(())
            },
        )
    }

    fn sync(&self) -> io::Result<()> {
        self.through(Disk::sync, |held| {
            held.log.push(Op::Sync);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;
    use proptest::prelude::*;

    #[test]
    fn an_offset_at_the_end_of_all_numbers_is_refused() {
        let shadow = Shadow::over(Arc::new(MemoryDisk::from_bytes(vec![7; 8]))).unwrap();
        assert!(shadow.read(u64::MAX - 1, &mut [0; 4]).is_err());
        assert!(shadow.write(u64::MAX - 1, &[0; 4]).is_err());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..20_000, prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0u64..25_000).prop_map(Step::SetLen),
        ]
    }

    proptest! {
        #[test]
        fn a_gate_changes_nothing_until_it_is_opened_and_then_everything(
            first in prop::collection::vec(any::<u8>(), 0..20_000),
            before in prop::collection::vec(op(), 0..8),
            after in prop::collection::vec(op(), 0..8),
        ) {
            let below = Arc::new(MemoryDisk::from_bytes(first.clone()));
            let gate = Gate::before(below.clone()).unwrap();
            let model = MemoryDisk::from_bytes(first.clone());
            let apply = |op: &Step| match op {
                Step::Write(at, bytes) => {
                    assert_eq!(gate.write(*at, bytes).is_ok(), model.write(*at, bytes).is_ok());
                }
                Step::SetLen(len) => {
                    gate.set_len(*len).unwrap();
                    model.set_len(*len).unwrap();
                }
            };
            before.iter().for_each(apply);
            prop_assert_eq!(below.to_bytes(), first);
            gate.open().unwrap();
            prop_assert_eq!(below.to_bytes(), model.to_bytes());
            after.iter().for_each(apply);
            prop_assert_eq!(below.to_bytes(), model.to_bytes());
        }

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
                    Step::Write(at, bytes) => {
                        prop_assert_eq!(
                            shadow.write(at, &bytes).is_ok(),
                            model.write(at, &bytes).is_ok()
                        );
                    }
                    Step::SetLen(len) => {
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
