//! The two commit slots in redb's header. A commit is written into the older one, and one bit says
//! which is the newer. Each has a checksum.
//!
//! After an unclean end in one-phase mode, redb takes a newest slot whose checksum fails for a commit
//! that was cut short, and falls back to the other. A slot is smaller than a sector, which a disk
//! writes as a whole or not at all, so on a file that is damage; only a note that vouches for the other
//! slot makes it harmless.
//!
//! What the older slot leads to is complete: redb overwrites no page of it before the next commit. But
//! it also lists the pages that the commit before it had freed, and a close cuts those off the end of
//! the file. redb then refuses the file, although nothing that is in use is missing: for a look at that
//! commit the file is taken to be longer than it is. Every page in use has its checksum, so a page that
//! really is missing is found.

use std::io;

use super::disk::Disk;

const HEADER_BYTES: usize = 320;
const FLAGS_AT: usize = 9;
const NEWEST: u8 = 1;
const RECOVERY_REQUIRED: u8 = 2;
const TWO_PHASE: u8 = 4;
const SLOTS_AT: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const CHECKSUM_BYTES: usize = 16;

/// The first byte of a slot.
const VERSION: u8 = 3;

/// Where the header says how large a page and a region are, and what these can be. They are written
/// once, when the file is made.
const PAGE_BYTES_AT: usize = 12;
const REGION_HEADER_PAGES_AT: usize = 16;
const REGION_PAGES_AT: usize = 20;
const PAGE_BYTES: u64 = 4_096;
const REGION_PAGES_MAX: u64 = 1 << 20;
/// How many regions, of 4 GiB each, a close may have cut off.
const REGIONS_CUT_MAX: u64 = 4;

/// Which slot the state comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// From the one that redb takes.
    AsIs,
    /// From the newest: the other one is damaged.
    OlderDamaged,
    /// From the one before, because the newest is damaged.
    NewestDamaged,
}

/// The header.
pub(super) struct Slots([u8; HEADER_BYTES]);

impl Slots {
    /// Reads the header of a disk that has one.
    pub(super) fn read(disk: &dyn Disk) -> io::Result<Self> {
        let mut header = [0; HEADER_BYTES];
        disk.read(0, &mut header)?;
        Ok(Self(header))
    }

    /// Whether the slot of the newest commit is what was written.
    pub(super) fn newest_is_sound(&self) -> bool {
        self.is_sound(self.newest())
    }

    /// Lets the disk, a shadow, have only the sound slot, where one is damaged and redb does not open
    /// the file or would fall back: it opens none of which a slot has no version, even if it is the one
    /// that it does not need.
    pub(super) fn with_the_sound_one(self, disk: &dyn Disk) -> io::Result<Found> {
        let newest = self.newest();
        let older = newest ^ 1;
        let (good, bad, found) = match (self.is_sound(newest), self.is_sound(older)) {
            (true, false) if self.version(older) != Some(VERSION) => {
                (newest, older, Found::OlderDamaged)
            }
            (false, true) => (older, newest, Found::NewestDamaged),
            _ => return Ok(Found::AsIs),
        };
        if let (Some(slot), Some(bad_at)) = (self.slot(good), SLOTS_AT.get(bad)) {
            disk.write(*bad_at as u64, slot)?;
        }
        let which = if good == 0 { 0 } else { NEWEST };
        let flags = self.flags() & !(NEWEST | TWO_PHASE) | RECOVERY_REQUIRED | which;
        disk.write(FLAGS_AT as u64, &[flags])?;
        Ok(found)
    }

    /// How long the file may have been before a close cut free pages off its end, in whole regions, for
    /// a file of `len` bytes. `None` if the header does not say how large a region is.
    pub(super) fn len_before_a_cut(&self, len: u64) -> Option<u64> {
        let number = |at: usize| {
            let bytes = self.0.get(at..at + 4)?.try_into().ok()?;
            Some(u64::from(u32::from_le_bytes(bytes)))
        };
        let (header, pages) = (number(REGION_HEADER_PAGES_AT)?, number(REGION_PAGES_AT)?);
        let is_known = number(PAGE_BYTES_AT)? == PAGE_BYTES
            && (1..=REGION_PAGES_MAX).contains(&pages)
            && header <= REGION_PAGES_MAX;
        let region = is_known.then_some((header + pages) * PAGE_BYTES)?;
        let regions = len.checked_sub(PAGE_BYTES)?.div_ceil(region) + REGIONS_CUT_MAX;
        regions.checked_mul(region)?.checked_add(PAGE_BYTES)
    }

    fn version(&self, nth: usize) -> Option<u8> {
        self.slot(nth)?.first().copied()
    }

    fn flags(&self) -> u8 {
        let [_, _, _, _, _, _, _, _, _, flags, ..] = self.0;
        flags
    }

    fn newest(&self) -> usize {
        usize::from(self.flags() & NEWEST)
    }

    fn slot(&self, nth: usize) -> Option<&[u8]> {
        let at = *SLOTS_AT.get(nth)?;
        self.0.get(at..at + SLOT_BYTES)
    }

    fn is_sound(&self, nth: usize) -> bool {
        let Some((body, sum)) =
            self.slot(nth).and_then(|slot| slot.split_at_checked(SLOT_BYTES - CHECKSUM_BYTES))
        else {
            return false;
        };
        sum == xxhash_rust::xxh3::xxh3_128(body).to_le_bytes()
    }
}
