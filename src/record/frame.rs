//! The frame around every value: whose bytes these are, and whether they are still what was written.
//!
//! ```text
//! offset  bytes  field            all integers little-endian
//!      0      2  magic            "MP"
//!      2      1  frame version    1
//!      3      1  codec            1 bincode 2, 3 raw bytes, 4 JSON
//!      4      1  flags            0; any bit of a newer program's says how to read the rest
//!      5      4  schema id        0 for the store's own records
//!      9      4  schema version
//!     13      4  payload length
//!     17      4  CRC-32           of table id, key length, key, bytes 0..17, payload
//!     21      …  payload
//! ```
//!
//! The CRC covers the table and the key, so a row that stands in the wrong place is found too.

use thiserror::Error;

/// Length of the header in front of the payload, in bytes.
pub(crate) const FRAME_BYTES: usize = 21;
/// The schema id of the store's own records.
pub(crate) const SCHEMA_NONE: u32 = 0;
/// bincode 2, standard configuration, canonical order of map entries.
pub(crate) const CODEC_BINCODE: u8 = 1;
/// JSON, its objects sorted by key.
pub(crate) const CODEC_JSON: u8 = 4;
/// A list of chunks in place of the bytes themselves.
pub(crate) const CODEC_CHUNKS: u8 = 5;

const MAGIC: [u8; 2] = *b"MP";
const VERSION: u8 = 1;
const FLAGS: u8 = 0;
const CRC_OFFSET: usize = 17;

/// What the header says beside the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: u8,
    pub(crate) schema_id: u32,
    pub(crate) schema_version: u32,
}

impl Header {
    /// The header of one of the store's own records, at this version of its layout.
    pub(crate) const fn own(version: u32) -> Self {
        Self { codec: CODEC_BINCODE, schema_id: SCHEMA_NONE, schema_version: version }
    }
}

/// A frame whose checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) payload: &'a [u8],
}

/// Why bytes are not the frame that was written at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("the record has {len} bytes, fewer than its {FRAME_BYTES}-byte header")]
    Short { len: usize },
    #[error("the record has {len} bytes, more than the limit of {limit}")]
    Long { len: usize, limit: usize },
    #[error("the record does not begin with the magic bytes of a frame")]
    Magic,
    #[error("the record's frame version is {0}, this program knows {VERSION}")]
    Newer(u8),
    #[error("the record's flags are {0:#04x}, this program knows none of them")]
    Flagged(u8),
    #[error("the record says its payload has {said} bytes, it has {has}")]
    Length { said: usize, has: usize },
    #[error("the record's checksum is {said:08x}, its bytes give {has:08x}")]
    Checksum { said: u32, has: u32 },
}

/// Puts a payload into a frame for the row `key` of the table `table`.
///
/// The caller keeps payloads under 4 GiB; the store's value limit does so long before.
pub(crate) fn seal(table: u8, key: &[u8], header: Header, payload: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(FRAME_BYTES + payload.len());
    row.extend_from_slice(&[0; FRAME_BYTES]);
    row.extend_from_slice(payload);
    seal_in_place(table, key, header, &mut row);
    row
}

/// Puts a payload into a frame where it is: behind as many bytes as a frame has.
pub(crate) fn seal_in_place(table: u8, key: &[u8], header: Header, row: &mut [u8]) {
    let Some((head, payload)) = row.split_at_mut_checked(FRAME_BYTES) else {
        debug_assert!(false, "there is room for a frame in front of a payload");
        return;
    };
    debug_assert!(u32::try_from(payload.len()).is_ok(), "limits are checked before sealing");
    #[expect(clippy::cast_possible_truncation, reason = "the value limit is below 4 GiB")]
    let len = payload.len() as u32;
    let (signed, crc) = head.split_at_mut(CRC_OFFSET);
    let fields: [&[u8]; 5] = [
        &MAGIC,
        &[VERSION, header.codec, FLAGS],
        &header.schema_id.to_le_bytes(),
        &header.schema_version.to_le_bytes(),
        &len.to_le_bytes(),
    ];
    for (byte, field) in signed.iter_mut().zip(fields.into_iter().flatten()) {
        *byte = *field;
    }
    crc.copy_from_slice(&checksum(table, key, signed, payload).to_le_bytes());
}

/// Proves the bytes found at the row `key` of the table `table`, cheapest check first: length
/// against the limit, magic, length of the payload, checksum, version, flags.
pub(crate) fn open<'a>(
    table: u8,
    key: &[u8],
    bytes: &'a [u8],
    limit: usize,
) -> Result<Frame<'a>, FrameError> {
    if bytes.len() > limit.saturating_add(FRAME_BYTES) {
        return Err(FrameError::Long { len: bytes.len(), limit });
    }
    let Some((head, payload)) = bytes.split_at_checked(FRAME_BYTES) else {
        return Err(FrameError::Short { len: bytes.len() });
    };
    let mut fields = Fields(head);
    if fields.take::<2>() != MAGIC {
        return Err(FrameError::Magic);
    }
    let [version, codec, flags] = fields.take();
    let schema_id = u32::from_le_bytes(fields.take());
    let schema_version = u32::from_le_bytes(fields.take());
    let said_len = u32::from_le_bytes(fields.take()) as usize;
    let said = u32::from_le_bytes(fields.take());
    if said_len != payload.len() {
        return Err(FrameError::Length { said: said_len, has: payload.len() });
    }
    let has = checksum(table, key, head.split_at(CRC_OFFSET).0, payload);
    if said != has {
        return Err(FrameError::Checksum { said, has });
    }
    // After the checksum: a flipped version or flag is damage, not a newer program.
    if version != VERSION {
        return Err(FrameError::Newer(version));
    }
    if flags != FLAGS {
        return Err(FrameError::Flagged(flags));
    }
    Ok(Frame { header: Header { codec, schema_id, schema_version }, payload })
}

/// Whether bytes have the beginning or the length of a frame: then they were one, whatever became of the
/// rest.
pub(crate) fn is_framed(bytes: &[u8]) -> bool {
    let Some((head, payload)) = bytes.split_at_checked(FRAME_BYTES) else {
        return false;
    };
    let mut fields = Fields(head);
    let magic = fields.take::<2>();
    let _: [u8; 11] = fields.take();
    magic == MAGIC || u32::from_le_bytes(fields.take()) as usize == payload.len()
}

fn checksum(table: u8, key: &[u8], head: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[table]);
    crc.update(&(key.len() as u64).to_le_bytes());
    crc.update(key);
    crc.update(head);
    crc.update(payload);
    crc.finalize()
}

/// Reads fixed-size fields off the front of a header; gives zeros past its end, which the length
/// check in front of it rules out.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header { codec: 1, schema_id: 7, schema_version: 3 };

    fn sealed() -> Vec<u8> {
        seal(5, b"key", HEADER, b"payload")
    }

    #[test]
    fn a_frame_gives_back_what_was_sealed() {
        let bytes = sealed();
        let frame = open(5, b"key", &bytes, 100).unwrap();
        assert_eq!(frame, Frame { header: HEADER, payload: b"payload" });
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sealed();
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open(5, b"key", &bad, 100).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_row_in_the_wrong_place_is_found() {
        let bytes = sealed();
        assert!(open(4, b"key", &bytes, 100).is_err());
        assert!(open(5, b"kez", &bytes, 100).is_err());
        // The length of the key is covered: its bytes cannot be moved into the header's.
        assert!(open(5, b"ke", &bytes, 100).is_err());
    }

    #[test]
    fn every_cut_and_every_longer_frame_is_found() {
        let bytes = sealed();
        for len in 0..bytes.len() {
            assert!(open(5, b"key", &bytes[..len], 100).is_err(), "cut at {len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(matches!(open(5, b"key", &longer, 100), Err(FrameError::Length { .. })));
    }

    #[test]
    fn the_limit_is_checked_before_anything_is_read() {
        assert!(matches!(
            open(5, b"key", &[0xff; 122], 100),
            Err(FrameError::Long { len: 122, limit: 100 })
        ));
    }

    #[test]
    fn a_newer_frame_is_told_from_a_damaged_one() {
        let mut newer = sealed();
        newer[2] = 2;
        assert!(matches!(open(5, b"key", &newer, 100), Err(FrameError::Checksum { .. })));
        let crc = checksum(5, b"key", &newer[..CRC_OFFSET], b"payload");
        newer[CRC_OFFSET..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(open(5, b"key", &newer, 100), Err(FrameError::Newer(2)));
    }

    #[test]
    fn a_flag_that_this_program_does_not_know_is_a_newer_frame() {
        for bit in 0..8 {
            let mut newer = sealed();
            newer[4] = 1 << bit;
            assert!(matches!(open(5, b"key", &newer, 100), Err(FrameError::Checksum { .. })));
            let crc = checksum(5, b"key", &newer[..CRC_OFFSET], b"payload");
            newer[CRC_OFFSET..FRAME_BYTES].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(open(5, b"key", &newer, 100), Err(FrameError::Flagged(1 << bit)));
        }
    }
}
