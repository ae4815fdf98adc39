//! The storage engine's pages: which of them a store uses, and how the checksums above a page are
//! made to hold after it was changed, up to the header. So that a mutation gets past the checksums,
//! and to the code behind them.

use xxhash_rust::xxh3::xxh3_128;

pub const PAGE_BYTES: usize = 4096;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
const SLOTS_AT: [usize; 2] = [64, 192];
const SLOT_SUM_AT: usize = 112;
const SUM_BYTES: usize = 16;

/// The pages of a sound store of which the checksum is known to stand somewhere.
pub struct Pages(Vec<Page>);

struct Page {
    at: usize,
    /// Where its checksum stands: in the page above, or in the header.
    sums: Vec<usize>,
}

impl Pages {
    /// Looks for them. There are none in bytes that are no store.
    pub fn of(image: &[u8]) -> Self {
        let at = (PAGE_BYTES..image.len()).step_by(PAGE_BYTES);
        let pages = at.filter_map(|at| {
            let sum = sum_of(image, at)?;
            let sums: Vec<_> =
                image.windows(SUM_BYTES).enumerate().filter(|(_, found)| *found == sum).collect();
            let sums: Vec<_> = sums.into_iter().map(|(at, _)| at).collect();
            (!sums.is_empty()).then_some(Page { at, sums })
        });
        Self(pages.collect())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Where the nth of them begins; they go round.
    pub fn start_of(&self, nth: usize) -> usize {
        self.0.get(nth % self.0.len().max(1)).map_or(0, |page| page.at)
    }

    /// Makes the checksums of all pages hold, and those of both slots of the header.
    pub fn fix_up(&self, image: &mut [u8]) {
        // As often as a tree is deep: a sum that is written changes the page it stands in.
        for _ in 0..6 {
            let mut is_done = true;
            for page in &self.0 {
                let Some(sum) = sum_of(image, page.at) else { continue };
                for at in &page.sums {
                    if let Some(place) = image.get_mut(*at..at + SUM_BYTES)
                        && place != sum
                    {
                        place.copy_from_slice(&sum);
                        is_done = false;
                    }
                }
            }
            if is_done {
                break;
            }
        }
        for slot in SLOTS_AT {
            let Some(slot) = image.get_mut(slot..slot + SLOT_SUM_AT + SUM_BYTES) else { continue };
            let (front, sum) = slot.split_at_mut(SLOT_SUM_AT);
            sum.copy_from_slice(&xxh3_128(front).to_le_bytes());
        }
    }
}

/// The checksum of a page, which covers it up to the end of its last value or key; `None` if it is no
/// page, or says it ends behind the file.
fn sum_of(image: &[u8], at: usize) -> Option<[u8; SUM_BYTES]> {
    let number = |offset: usize, len: usize| -> Option<usize> {
        let bytes = image.get(at + offset..at + offset + len)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let count = number(2, 2)?.checked_sub(1)?;
    let end = match *image.get(at)? {
        LEAF => number(4 + 4 * (2 * count + 1), 4)?,
        // A child more than keys: a checksum and a page number each, then the ends of the keys.
        BRANCH => number(8 + (SUM_BYTES + 8) * (count + 2) + 4 * count, 4)?,
        _ => return None,
    };
    Some(xxh3_128(image.get(at..at.checked_add(end)?)?).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::questions::{ask, first_wrong, options, sample};
    use milepost::MemoryDisk;
    use milepost::testing::hostile::Spot;
    use std::sync::Arc;

    #[test]
    fn the_pages_of_a_store_are_found_and_fixing_a_sound_one_changes_nothing() {
        let image = sample();
        let pages = Pages::of(&image);
        assert!(pages.count() > 8, "{}", pages.count());
        let mut fixed = image.clone();
        pages.fix_up(&mut fixed);
        assert_eq!(fixed, image);
    }

    #[test]
    fn a_changed_row_gets_past_the_checksums_of_its_pages() {
        let image = sample();
        let open = |bytes: Vec<u8>| options().open_on(Arc::new(MemoryDisk::from_bytes(bytes)));
        let truth = ask(&open(image.clone()).unwrap());
        let pages = Pages::of(&image);
        let mut reached = 0;
        for spot in Spot::all(&image) {
            let mut bad = image.clone();
            bad[spot.at.end - 1] ^= 1;
            let plain = open(bad.clone());
            pages.fix_up(&mut bad);
            // On a page in use: refused as it is, opened when its sums hold, and found by the frame.
            if let (Err(_), Ok(store)) = (plain, open(bad)) {
                let said = ask(&store);
                assert_eq!(first_wrong(&truth, &said), None);
                reached += u32::from(said != truth);
            }
        }
        assert!(reached > 50, "{reached}");
    }
}
