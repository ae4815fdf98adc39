//! The bytes of a fake disk, in pages that copies share.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const PAGE: usize = 4096;

/// The bytes of a disk. A copy shares its pages until one of the two is written, so that thousands
/// of images of one disk cost little more than the disk.
#[derive(Clone, Default)]
pub struct Platter {
    len: u64,
    /// `None` is a page of zeros. Those past the last one are zeros too.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Platter {
    /// A disk that holds these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut platter = Self::default();
        platter.resize(bytes.len() as u64);
        platter.put(0, bytes);
        platter
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All its bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(usize::MAX)];
        self.fill(0, &mut bytes);
        bytes
    }

    /// Fills `out` with the bytes at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range goes past the end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(offset, out.len())?;
        self.fill(offset, out);
        Ok(())
    }

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range goes past the end; nothing was written then.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        self.put(offset, bytes);
        Ok(())
    }

    /// Writes what of `bytes` lies within the length, and drops the rest: what becomes of a write
    /// behind the end of a file that was never made longer.
    pub fn write_within(&mut self, offset: u64, bytes: &[u8]) {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        self.put(offset, bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    /// Cuts or extends it; new bytes are zero.
    pub fn resize(&mut self, len: u64) {
        self.len = len;
        let keep = usize::try_from(len.div_ceil(PAGE as u64)).unwrap_or(usize::MAX);
        self.pages.truncate(keep);
        let inside = usize::try_from(len % PAGE as u64).unwrap_or_default();
        // What is cut off must not come back when it is extended again.
        if inside > 0
            && self.pages.len() == keep
            && let Some(Some(last)) = self.pages.last_mut()
            && let Some(cut) = Arc::make_mut(last).get_mut(inside..)
        {
            cut.fill(0);
        }
    }

    /// What is left of [`resize`](Self::resize) when it ends half-way: real disks take and give back
    /// blocks one after the other, here of 1 KiB.
    pub fn resize_half(&mut self, len: u64) {
        let half = self.len.midpoint(len) / 1024 * 1024;
        // Not at a page, if there is room for that: storage engines know what to do with pages.
        let aside = if half.is_multiple_of(PAGE as u64) { half + 1024 } else { half };
        self.resize(if aside < self.len.max(len) { aside } else { half });
    }

    /// Turns over the bits of `mask` in one byte; nothing happens past the end.
    pub fn flip(&mut self, at: u64, mask: u8) {
        let mut byte = [0];
        if self.read(at, &mut byte).is_ok() {
            let [byte] = byte;
            self.put(at, &[byte ^ mask]);
        }
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn fill(&self, offset: u64, out: &mut [u8]) {
        for (page, inside, part) in spans(offset, out.len()) {
            let Some(to) = out.get_mut(part) else { continue };
            match self.pages.get(page).and_then(Option::as_ref).and_then(|page| page.get(inside)) {
                Some(bytes) => to.copy_from_slice(bytes),
                None => to.fill(0),
            }
        }
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (page, inside, part) in spans(offset, bytes.len()) {
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            let (Some(slot), Some(new)) = (self.pages.get_mut(page), bytes.get(part)) else {
                continue;
            };
            if let Ok(whole) = <&[u8; PAGE]>::try_from(new) {
                // Without copying the old page first.
                *slot = Some(Arc::new(*whole));
            } else if let Some(old) =
                Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; PAGE]))).get_mut(inside)
            {
                old.copy_from_slice(new);
            }
        }
    }
}

/// The pages that a range touches: which, where in the page, and where in the range.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = start.checked_add(done).filter(|_| done < len)?;
        let inside = at % PAGE;
        let size = (PAGE - inside).min(len - done);
        let span = (at / PAGE, inside..inside + size, done..done + size);
        done += size;
        Some(span)
    })
}

impl PartialEq for Platter {
    fn eq(&self, other: &Self) -> bool {
        let page = |of: &Self, nth: usize| of.pages.get(nth).cloned().flatten();
        let same = |nth| match (page(self, nth), page(other, nth)) {
            (Some(one), Some(two)) => Arc::ptr_eq(&one, &two) || one == two,
            (Some(one), None) | (None, Some(one)) => one.iter().all(|byte| *byte == 0),
            (None, None) => true,
        };
        self.len == other.len && (0..self.pages.len().max(other.pages.len())).all(same)
    }
}

impl Eq for Platter {}

impl fmt::Debug for Platter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Platter({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..20_000, prop::collection::vec(any::<u8>(), 0..9_000))
                .prop_map(|(at, bytes)| Step::Write(at, bytes)),
            (0u64..25_000).prop_map(Step::Resize),
        ]
    }

    proptest! {
        /// Against: an image that shares a page it should not, or zeros that are none.
        #[test]
        fn a_platter_is_a_row_of_bytes_and_its_copies_stay_as_they_were(
            first in prop::collection::vec(any::<u8>(), 0..20_000),
            steps in prop::collection::vec(step(), 0..12),
        ) {
            let mut platter = Platter::from_bytes(&first);
            let mut model = first;
            for step in steps {
                let (copy, before) = (platter.clone(), model.clone());
                match step {
                    Step::Resize(len) => {
                        platter.resize(len);
                        model.resize(usize::try_from(len).unwrap(), 0);
                    }
                    Step::Write(at, bytes) => {
                        let start = usize::try_from(at).unwrap();
                        let room = model.len().saturating_sub(start).min(bytes.len());
                        prop_assert_eq!(
                            platter.write(at, &bytes).is_ok(),
                            start + bytes.len() <= model.len()
                        );
                        platter.write_within(at, &bytes);
                        if room > 0 {
                            model[start..start + room].copy_from_slice(&bytes[..room]);
                        }
                    }
                }
                prop_assert_eq!(&platter.to_vec(), &model);
                prop_assert_eq!(&copy.to_vec(), &before);
                prop_assert_eq!(platter == copy, model == before);
            }
        }
    }
}
