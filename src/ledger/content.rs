//! Contents: the chunks of large states, each stored once, and how many refer to it.
//!
//! Invariants:
//! - A chunk is there exactly as long as somebody refers to it: the newest state of a run, or a
//!   checkpoint. Both change in one commit.
//! - Whoever lists a chunk refers to it once, however often it stands in the list.
//! - The bytes of a chunk are written when it comes, and never again. The number of those who refer
//!   to it has a row of its own, and only when it is more than one.

use serde::{Deserialize, Serialize};

use crate::record::{Chunk, ChunkId, Packed};
use crate::store::{Record, Table};

/// A row of `contents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ContentRecord {
    /// The bytes of a chunk.
    Chunk(Packed),
    /// How many refer to a chunk; at least two.
    Count(u64),
}

impl Record for ContentRecord {
    const TABLE: Table = Table::Contents;
}

const COUNT: u8 = 0;
const CHUNK: u8 = 1;

pub(crate) fn chunk_key(id: ChunkId) -> [u8; 17] {
    key(CHUNK, id)
}

pub(crate) fn count_key(id: ChunkId) -> [u8; 17] {
    key(COUNT, id)
}

fn key(kind: u8, id: ChunkId) -> [u8; 17] {
    let mut key = [kind; 17];
    key.split_at_mut(1).1.copy_from_slice(&id.0);
    key
}

/// The chunk whose bytes stand under this key.
pub(crate) fn chunk_of_key(key: &[u8]) -> Option<ChunkId> {
    id_of_key(key, CHUNK)
}

/// The chunk whose number of referrers stands under this key.
pub(crate) fn count_of_key(key: &[u8]) -> Option<ChunkId> {
    id_of_key(key, COUNT)
}

fn id_of_key(key: &[u8], kind: u8) -> Option<ChunkId> {
    let (first, id) = key.split_first()?;
    (*first == kind).then_some(())?;
    Some(ChunkId(id.try_into().ok()?))
}

/// What a large state is made of, in order.
///
/// As bytes: the codec of the state, and for each chunk its 16-byte name and its length, u16 LE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkList {
    pub(crate) codec: u8,
    pub(crate) chunks: Vec<Chunk>,
}

const ENTRY_BYTES: usize = 18;

impl ChunkList {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.chunks.len() * ENTRY_BYTES);
        bytes.push(self.codec);
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.id.0);
            bytes.extend_from_slice(&chunk.len.to_le_bytes());
        }
        bytes
    }

    /// The list in these bytes; `None` if they are none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (codec, entries) = bytes.split_first()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        let chunk = |entry: &[u8; ENTRY_BYTES]| {
            let (id, len) = entry.split_first_chunk::<16>()?;
            Some(Chunk { id: ChunkId(*id), len: u16::from_le_bytes(len.try_into().ok()?) })
        };
        let chunks = entries.iter().map(chunk).collect::<Option<_>>()?;
        rest.is_empty().then_some(Self { codec: *codec, chunks })
    }

    /// How many bytes the state has.
    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().fold(0usize, |sum, chunk| sum.saturating_add(usize::from(chunk.len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_comes_back_and_no_bytes_make_it_panic(
            codec in any::<u8>(),
            chunks in prop::collection::vec((any::<[u8; 16]>(), any::<u16>()), 0..20),
            bytes in any::<Vec<u8>>(),
        ) {
            let chunks = chunks.into_iter().map(|(id, len)| Chunk { id: ChunkId(id), len });
            let list = ChunkList { codec, chunks: chunks.collect() };
            prop_assert_eq!(ChunkList::from_bytes(&list.to_bytes()), Some(list));
            let _ = ChunkList::from_bytes(&bytes);
        }
    }
}
