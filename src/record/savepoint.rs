//! The bytes of a savepoint's file: a head and a state, in one piece, under one checksum.
//!
//! ```text
//! offset  bytes  field            all integers little-endian
//!      0      8  magic            89 "MPS" 0D 0A 1A 0A
//!      8      4  version          1
//!     12      4  length of the head
//!     16      8  length of the state
//!     24     32  BLAKE3           key derivation "milepost savepoint 1"; of bytes 0..24, head, state
//!     56      …  head
//!      …      …  state
//! ```
//!
//! Magic, version, lengths and checksum stay where they are in every version to come, so that a newer
//! file is told from a damaged one. The magic is broken by whatever takes the file for a text.

use thiserror::Error;

/// What stands in front of the head, in bytes.
pub(crate) const PREFIX_BYTES: usize = 56;
/// The longest head: names, labels, a position and a shape.
pub(crate) const HEAD_BYTES_MAX: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"\x89MPS\r\n\x1a\n";
const VERSION: u32 = 1;
const SUMMED: usize = 24;

/// What the first bytes of a file say, and its checksum has yet to confirm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    bytes: [u8; PREFIX_BYTES],
    version: u32,
    pub(crate) head_len: usize,
    pub(crate) state_len: usize,
}

/// Why bytes are no savepoint that this program can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum SavepointError {
    #[error("it is cut short: {0} bytes")]
    Short(u64),
    #[error("it has {has} bytes, and says it has {said}")]
    Length { said: u64, has: u64 },
    #[error("its state has {len} bytes, more than the limit of {limit}")]
    Long { len: u64, limit: usize },
    #[error("its checksum does not hold")]
    Checksum,
    #[error("its version is {0}, this program knows {VERSION}")]
    Newer(u32),
}

/// Whether a file that begins so is a savepoint, whole or not.
pub(crate) fn is_savepoint(first: &[u8]) -> bool {
    first.starts_with(&MAGIC)
}

impl Prefix {
    /// What stands in front of this head and this state. The caller has held both against their
    /// limits.
    pub(crate) fn of(head: &[u8], state: &[u8]) -> Self {
        let mut bytes = [0; PREFIX_BYTES];
        let front = [
            MAGIC.as_slice(),
            &VERSION.to_le_bytes(),
            &u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes(),
            &(state.len() as u64).to_le_bytes(),
        ]
        .concat();
        let (fields, sum) = bytes.split_at_mut(SUMMED);
        fields.copy_from_slice(&front);
        sum.copy_from_slice(&checksum(&front, head, state));
        Self { bytes, version: VERSION, head_len: head.len(), state_len: state.len() }
    }

    /// Reads it off the front of a file of `len` bytes: nothing longer than the file, or than a limit,
    /// is believed.
    pub(crate) fn read(
        bytes: [u8; PREFIX_BYTES],
        len: u64,
        state_limit: usize,
    ) -> Result<Self, SavepointError> {
        let mut rest = bytes.split_at(MAGIC.len()).1;
        let mut take = |count: usize| {
            let (field, after) = rest.split_at(count);
            rest = after;
            field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
        };
        let (version, head, state) = (take(4), take(4), take(8));
        let said = state.saturating_add(head).saturating_add(PREFIX_BYTES as u64);
        if said != len {
            return Err(SavepointError::Length { said, has: len });
        }
        let too_long = SavepointError::Long { len: state.max(head), limit: state_limit };
        let head_len = usize::try_from(head).ok().filter(|head| *head <= HEAD_BYTES_MAX);
        let state_len = usize::try_from(state).ok().filter(|state| *state <= state_limit);
        let (head_len, state_len) = head_len.zip(state_len).ok_or(too_long)?;
        Ok(Self { bytes, version: u32::try_from(version).unwrap_or(0), head_len, state_len })
    }

    pub(crate) fn bytes(&self) -> &[u8; PREFIX_BYTES] {
        &self.bytes
    }

    /// Proves what stands behind it.
    pub(crate) fn check(&self, head: &[u8], state: &[u8]) -> Result<(), SavepointError> {
        let (front, said) = self.bytes.split_at(SUMMED);
        if said != checksum(front, head, state) || !is_savepoint(front) {
            return Err(SavepointError::Checksum);
        }
        // Behind the checksum: a flipped version is damage, not a newer program.
        if self.version == VERSION { Ok(()) } else { Err(SavepointError::Newer(self.version)) }
    }
}

fn checksum(front: &[u8], head: &[u8], state: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("milepost savepoint 1");
    hasher.update(front).update(head).update(state);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let (head, state) = (b"the head", b"the state");
        [Prefix::of(head, state).bytes().as_slice(), head, state].concat()
    }

    fn open(file: &[u8]) -> Result<(), SavepointError> {
        let Some((prefix, rest)) = file.split_first_chunk() else {
            return Err(SavepointError::Short(file.len() as u64));
        };
        let prefix = Prefix::read(*prefix, file.len() as u64, 100)?;
        let (head, state) = rest.split_at(prefix.head_len);
        prefix.check(head, state)
    }

    #[test]
    fn every_flipped_bit_and_every_cut_of_a_file_is_found() {
        let file = file();
        assert_eq!(open(&file), Ok(()));
        for at in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(open(&bad).is_err(), "bit {at}");
        }
        for len in 0..file.len() {
            assert!(open(&file[..len]).is_err(), "cut at {len}");
        }
        assert!(open(&[file, vec![0]].concat()).is_err());
    }

    #[test]
    fn a_length_is_held_against_the_file_and_the_limit_before_it_is_believed() {
        let mut lying = [0; PREFIX_BYTES];
        lying.copy_from_slice(&file()[..PREFIX_BYTES]);
        lying[16..24].fill(0xff);
        assert!(matches!(Prefix::read(lying, 73, 100), Err(SavepointError::Length { .. })));
        let long = Prefix::of(b"head", &[0; 101]);
        let read = Prefix::read(*long.bytes(), 56 + 4 + 101, 100);
        assert_eq!(read, Err(SavepointError::Long { len: 101, limit: 100 }));
    }

    #[test]
    fn a_newer_file_is_told_from_a_damaged_one() {
        let mut newer = file();
        newer[8] = 2;
        assert_eq!(open(&newer), Err(SavepointError::Checksum));
        let sum = checksum(&newer[..SUMMED], b"the head", b"the state");
        newer[SUMMED..PREFIX_BYTES].copy_from_slice(&sum);
        assert_eq!(open(&newer), Err(SavepointError::Newer(2)));
    }
}
