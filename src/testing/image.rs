//! What a power cut may leave of the writes that were not flushed.

use std::sync::Arc;

use super::platter::Platter;
use super::rng::Rng;

/// The storage engine's header: both commit slots stand in these first bytes of the file.
pub const HEADER_BYTES: usize = 320;

/// What a disk writes as a whole, or not at all.
pub const SECTOR_BYTES: usize = 512;

/// One change of a disk.
#[derive(Debug, Clone)]
pub enum Change {
    /// Bytes written at an offset.
    Write {
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// The disk cut or extended.
    Resize {
        /// To so many bytes.
        len: u64,
    },
}

impl Change {
    /// Whether it writes the storage engine's header.
    #[must_use]
    pub fn is_header(&self) -> bool {
        matches!(self, Self::Write { offset, .. } if *offset < HEADER_BYTES as u64)
    }

    fn is_resize(&self) -> bool {
        matches!(self, Self::Resize { .. })
    }

    pub(super) fn apply(&self, platter: &mut Platter) {
        match self {
            Self::Write { offset, bytes } => platter.write_within(*offset, bytes),
            Self::Resize { len } => platter.resize(*len),
        }
    }

    /// Only those sectors of a write that `keep` chooses, by their number in it.
    fn apply_sectors(&self, platter: &mut Platter, mut keep: impl FnMut(usize) -> bool) {
        match self {
            Self::Write { offset, bytes } => {
                let mut at = *offset;
                for (nth, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    if keep(nth) {
                        platter.write_within(at, sector);
                    }
                    at += sector.len() as u64;
                }
            }
            // Blocks are taken and given back one after the other.
            Self::Resize { len } => match (keep(0), keep(1)) {
                (true, true) => platter.resize(*len),
                (false, false) => {}
                _ => platter.resize_half(*len),
            },
        }
    }

    /// So many sectors, of a write.
    fn sectors(&self) -> u64 {
        match self {
            Self::Write { bytes, .. } => bytes.len().div_ceil(SECTOR_BYTES) as u64,
            Self::Resize { .. } => 2,
        }
    }
}

/// Which of the changes that were not flushed a power cut leaves. Numbers count those changes from
/// 0, in the order in which they were made.
///
/// Each of them is legal for a disk that promises nothing before a flush returns. A write behind the
/// end of a file whose lengthening was lost is lost with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// None of them.
    Nothing,
    /// All of them: the same as a kill.
    Everything,
    /// The first so many.
    First(usize),
    /// All but this one.
    Without(usize),
    /// This one alone.
    Only(usize),
    /// The first so many, of which the last, a change of the length, was done half-way.
    HalfResized(usize),
    /// Writes of the header alone, and changes of the length: the pages they point to are missing.
    HeaderOnly,
    /// All but writes of the header.
    WithoutHeader,
    /// All writes, but none of the changes of the length.
    ResizesLost,
    /// The last write of the header is cut at a byte: one side of it is new, the other old.
    HeaderCut {
        /// Where it is cut.
        at: usize,
        /// Whether the bytes in front of the cut are the new ones.
        is_front_new: bool,
        /// Whether the other changes are there, or none of them is.
        with_rest: bool,
    },
    /// The first so many, of which some are cut at sectors, the last one for certain.
    Torn {
        /// How many survive, in whole or in part.
        count: usize,
        /// Decides where they are cut.
        seed: u64,
    },
    /// Any subset, some of them cut at sectors, at times in another order.
    Random {
        /// Decides which.
        seed: u64,
    },
}

impl Image {
    /// Every image of these changes that does not leave something to chance, header cuts aside.
    #[must_use]
    pub fn every(changes: &[Change]) -> Vec<Self> {
        let count = changes.len();
        let mut images = vec![Self::Nothing];
        if count == 0 {
            return images;
        }
        images.push(Self::Everything);
        images.extend((1..count).map(Self::First));
        // The first alone and all but the last are among the prefixes.
        images.extend((0..count - 1).map(Self::Without));
        images.extend((1..count).map(Self::Only));
        if changes.iter().any(Change::is_header) && count > 1 {
            images.extend([Self::HeaderOnly, Self::WithoutHeader]);
        }
        if changes.iter().any(Change::is_resize) && count > 1 {
            images.push(Self::ResizesLost);
        }
        let resizes = changes.iter().enumerate().filter(|(_, change)| change.is_resize());
        images.extend(resizes.map(|(nth, _)| Self::HalfResized(nth + 1)));
        images
    }

    /// Puts on the disk what this image leaves of the changes.
    pub fn apply(&self, platter: &mut Platter, changes: &[Change]) {
        let keep = |platter: &mut Platter, keep: &dyn Fn(usize, &Change) -> bool| {
            for (_, change) in changes.iter().enumerate().filter(|(nth, it)| keep(*nth, it)) {
                change.apply(platter);
            }
        };
        match *self {
            Self::Nothing => {}
            Self::Everything => keep(platter, &|_, _| true),
            Self::First(count) => keep(platter, &|nth, _| nth < count),
            Self::Without(one) => keep(platter, &|nth, _| nth != one),
            Self::Only(one) => keep(platter, &|nth, _| nth == one),
            Self::HalfResized(count) => {
                keep(platter, &|nth, _| nth + 1 < count);
                if let Some(Change::Resize { len }) = changes.get(count.wrapping_sub(1)) {
                    platter.resize_half(*len);
                }
            }
            Self::HeaderOnly => {
                keep(platter, &|_, it| it.is_header() || it.is_resize());
            }
            Self::WithoutHeader => keep(platter, &|_, it| !it.is_header()),
            Self::ResizesLost => keep(platter, &|_, it| matches!(it, Change::Write { .. })),
            Self::HeaderCut { at, is_front_new, with_rest } => {
                cut_header(platter, changes, at, is_front_new, with_rest);
            }
            Self::Torn { count, seed } => tear(platter, changes, count, seed),
            Self::Random { seed } => scatter(platter, changes, seed),
        }
    }
}

fn cut_header(
    platter: &mut Platter,
    changes: &[Change],
    at: usize,
    is_front_new: bool,
    with_rest: bool,
) {
    let last = changes.iter().rposition(Change::is_header);
    for (nth, change) in changes.iter().enumerate() {
        match change {
            Change::Write { offset, bytes } if Some(nth) == last => {
                let (front, back) = bytes.split_at(at.min(bytes.len()));
                if is_front_new {
                    platter.write_within(*offset, front);
                } else {
                    platter.write_within(offset + front.len() as u64, back);
                }
            }
            change if with_rest => change.apply(platter),
            _ => {}
        }
    }
}

fn tear(platter: &mut Platter, changes: &[Change], count: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    for (nth, change) in changes.iter().take(count).enumerate() {
        let is_last = nth + 1 == count.min(changes.len());
        if !is_last && !rng.one_in(4) {
            change.apply(platter);
            continue;
        }
        // Cut in two, and either half is the one that was written; or here and there.
        let cut = rng.below(change.sectors() + 1);
        match rng.below(3) {
            0 => change.apply_sectors(platter, |sector| (sector as u64) < cut),
            1 => change.apply_sectors(platter, |sector| (sector as u64) >= cut),
            _ => change.apply_sectors(platter, |_| rng.one_in(2)),
        }
    }
}

fn scatter(platter: &mut Platter, changes: &[Change], seed: u64) {
    let mut rng = Rng::new(seed);
    let mut kept: Vec<&Change> = changes.iter().filter(|_| rng.one_in(2)).collect();
    if rng.one_in(4) {
        for nth in (1..kept.len()).rev() {
            let other = rng.below(nth as u64 + 1);
            kept.swap(nth, usize::try_from(other).unwrap_or(nth));
        }
    }
    let tears = rng.one_in(2);
    for change in kept {
        if tears && rng.one_in(3) {
            change.apply_sectors(platter, |_| rng.one_in(2));
        } else {
            change.apply(platter);
        }
    }
}
