//! The end of the file: bytes behind the last page that the storage engine's layout can use.
//!
//! redb asks for lengths that are whole pages, and refuses any other. A file gets another one when
//! growing it fails half-way on a full disk, or the process or the machine dies in the middle of
//! it: file systems take blocks of 512 bytes to 64 KiB, one after the other. Such a tail holds
//! nothing: growing comes before anything is written there, and is flushed before the header speaks
//! of the longer file.
//!
//! Whole pages behind the layout need no healing: redb takes them for free ones.

use std::io;

use super::disk::Disk;

const PAGE_BYTES: u64 = 4096;

/// The same disk without such a tail. What is cut off is less than a page, and no layout reaches
/// into it. A file that is shorter than its layout says was cut by something else: it is left as it
/// is, and redb calls it damaged.
///
/// It is the gate or a shadow that is healed, so the file itself changes when it was proven to be a
/// store, together with what its recovery writes. A crash before that leaves the tail, which is
/// healed again.
pub(super) fn healed<D: Disk>(disk: D) -> io::Result<D> {
    let len = disk.len()?;
    let whole = len - len % PAGE_BYTES;
    if whole != len && whole > 0 && layout_bytes(&disk)?.is_some_and(|layout| layout <= whole) {
        disk.set_len(whole)?;
    }
    Ok(disk)
}

/// How long the file is by the layout in redb's header, which is in the first page; `None` if that
/// is no layout of ours.
fn layout_bytes(disk: &dyn Disk) -> io::Result<Option<u64>> {
    let mut fields = [[0; 4]; 5];
    disk.read(12, fields.as_flattened_mut())?;
    let [page, header_pages, region_pages, regions, last_pages] =
        fields.map(|field| u64::from(u32::from_le_bytes(field)));
    if page != PAGE_BYTES {
        return Ok(None);
    }
    let last = if last_pages == 0 { 0 } else { header_pages + last_pages };
    Ok((header_pages + region_pages)
        .checked_mul(regions)
        .and_then(|pages| pages.checked_add(1 + last)?.checked_mul(PAGE_BYTES)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryDisk;

    /// The first page of a file with this layout.
    fn disk(len: u64, fields: [u32; 5]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.set_len(len).unwrap();
        let fields = fields.map(u32::to_le_bytes);
        disk.write(12, fields.as_flattened()).unwrap();
        disk
    }

    fn len_after(len: u64, fields: [u32; 5]) -> u64 {
        healed(disk(len, fields)).unwrap().len().unwrap()
    }

    /// Against: a cut into pages of the layout, and a tail that stays.
    #[test]
    fn a_tail_of_less_than_a_page_is_cut_and_no_page_ever_is() {
        // One page of header, and ten of data.
        let ten = [4096, 0, 1 << 20, 0, 10];
        assert_eq!(len_after(11 * 4096, ten), 11 * 4096);
        assert_eq!(len_after(11 * 4096 + 1, ten), 11 * 4096);
        assert_eq!(len_after(12 * 4096 - 1, ten), 11 * 4096);
        assert_eq!(len_after(15 * 4096, ten), 15 * 4096);
        assert_eq!(len_after(15 * 4096 + 1024, ten), 15 * 4096);
        // Full regions count too.
        let regions = [4096, 0, 16, 2, 1];
        assert_eq!(len_after(34 * 4096 + 512, regions), 34 * 4096);
    }

    /// Against: healing that makes a file that was cut short, which is damage, look like a store.
    #[test]
    fn a_file_that_is_shorter_than_its_layout_and_one_of_another_kind_keep_their_length() {
        let ten = [4096, 0, 1 << 20, 0, 10];
        assert_eq!(len_after(11 * 4096 - 1, ten), 11 * 4096 - 1);
        assert_eq!(len_after(10 * 4096 + 1, ten), 10 * 4096 + 1);
        assert_eq!(len_after(9_000, [512, 0, 1, 0, 1]), 9_000);
        assert_eq!(len_after(9_000, [4096, u32::MAX, u32::MAX, u32::MAX, u32::MAX]), 9_000);
        assert_eq!(len_after(100, ten), 100);
    }
}
