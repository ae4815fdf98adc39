//! Large bytes as chunks: cut where their content says, so that a change moves no cut but those
//! beside it; and small bytes as what they differ in from others.
//!
//! A chunk is named by the hash of its bytes. The cuts depend on the bytes alone and are part of the
//! format: with other ones, what is stored would be found again nowhere, and every state be stored
//! once more. Nothing would be misread: the lengths stand beside the names.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use lz4_flex::block;
use serde::{Deserialize, Serialize};

use super::bytes::Bytes;

/// The shortest chunk, but for the last one, in bytes.
const CHUNK_BYTES_MIN: usize = 2 << 10;
/// What a chunk has on average.
const CHUNK_BYTES_AVERAGE: usize = 8 << 10;
/// The longest chunk.
pub(crate) const CHUNK_BYTES_MAX: usize = 32 << 10;

/// The name of a chunk: the first 128 bits of the BLAKE3 hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ChunkId(pub(crate) [u8; 16]);

impl ChunkId {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(blake3::hash(bytes).as_bytes().split_at(16).0);
        Self(short)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One chunk in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) id: ChunkId,
    /// Its length, in bytes.
    pub(crate) len: u16,
}

/// A value's bytes as they were cut, one piece a chunk. A value that came of another one shares the
/// pieces that did not change with it.
pub(crate) struct Chunked {
    codec: u8,
    chunks: Vec<Chunk>,
    pieces: Vec<Arc<[u8]>>,
    len: usize,
}

impl Chunked {
    /// Cuts bytes that are in this codec, which came of those of `before`.
    pub(crate) fn of(codec: u8, bytes: &[u8], before: Option<Arc<Self>>) -> Self {
        Cutter::new(codec, before).finish(bytes)
    }

    /// What is to be filled with the pieces that were cut before.
    pub(crate) fn empty(codec: u8) -> Self {
        Self { codec, chunks: Vec::new(), pieces: Vec::new(), len: 0 }
    }

    pub(crate) fn push(&mut self, chunk: Chunk, piece: Arc<[u8]>) {
        self.len += piece.len();
        self.chunks.push(chunk);
        self.pieces.push(piece);
    }

    /// How the bytes were encoded.
    pub(crate) fn codec(&self) -> u8 {
        self.codec
    }

    pub(crate) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The bytes of each chunk, in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece)
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All bytes in one piece.
    pub(crate) fn whole(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// Cuts bytes as they come. What was cut before, and is still there, is found by comparing it, which
/// is ten times as fast as hashing it, and is not copied.
pub(super) struct Cutter {
    before: Option<Arc<Chunked>>,
    /// Which chunk of an earlier value is expected now.
    next: usize,
    /// Which chunk has this name: made when something has changed.
    places: Option<HashMap<ChunkId, usize>>,
    cut: Chunked,
}

impl Cutter {
    pub(super) fn new(codec: u8, before: Option<Arc<Chunked>>) -> Self {
        Self { before, next: 0, places: None, cut: Chunked::empty(codec) }
    }

    /// Cuts off what does not depend on the bytes that follow these; how many that are.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        // No chunk is longer, so where the first one ends is here to be seen.
        while rest.len() > CHUNK_BYTES_MAX {
            rest = self.cut_first(rest);
        }
        bytes.len() - rest.len()
    }

    /// Cuts the last bytes too.
    pub(super) fn finish(mut self, mut rest: &[u8]) -> Chunked {
        while !rest.is_empty() {
            rest = self.cut_first(rest);
        }
        self.cut
    }

    /// Cuts off the first chunk of `rest`, which goes on to the end of all, or for more than a chunk;
    /// what is behind it.
    fn cut_first<'b>(&mut self, rest: &'b [u8]) -> &'b [u8] {
        let (chunk, piece) = self.expected(rest).unwrap_or_else(|| {
            let piece = first_of(rest);
            #[expect(clippy::cast_possible_truncation, reason = "no chunk is longer than 32 KiB")]
            let chunk = Chunk { id: ChunkId::of(piece), len: piece.len() as u16 };
            self.follow(chunk.id);
            (chunk, piece.into())
        });
        let (_, after) = rest.split_at(piece.len());
        self.cut.push(chunk, piece);
        after
    }

    /// The chunk that is expected, if `rest` begins with its bytes, and would be cut behind them: the
    /// same follows, or the end of all.
    fn expected(&mut self, rest: &[u8]) -> Option<(Chunk, Arc<[u8]>)> {
        let before = self.before.as_ref()?;
        let (chunk, piece) = (before.chunks.get(self.next)?, before.pieces.get(self.next)?);
        let behind = before.pieces.get(self.next + 1).map_or(&[][..], |next| next);
        let same =
            rest.strip_prefix(&**piece).is_some_and(|rest| looked_at(rest) == looked_at(behind));
        same.then(|| {
            self.next += 1;
            (*chunk, Arc::clone(piece))
        })
    }

    /// Something new was cut: goes on behind the chunk of that name, or else at the place where
    /// the new one ends.
    fn follow(&mut self, id: ChunkId) {
        let Some(before) = &self.before else { return };
        // Of a row of equal chunks, such as those of zeros, the first: the others follow it.
        let places = self.places.get_or_insert_with(|| {
            before.chunks.iter().enumerate().rev().map(|(nth, chunk)| (chunk.id, nth)).collect()
        });
        // A changed chunk mostly has the length of the one it replaces.
        self.next = places.get(&id).map_or(self.next, |nth| *nth) + 1;
    }
}

/// What follows a chunk, as far as it says whether the chunk ends there: bytes are looked at in pairs,
/// and the one of a pair that cuts is the first behind the chunk.
fn looked_at(rest: &[u8]) -> &[u8] {
    rest.get(..2).unwrap_or(rest)
}

/// The first chunk of `rest`. Where it ends depends on its own bytes and the two behind it, or on where
/// the end of all is.
fn first_of(rest: &[u8]) -> &[u8] {
    let window = rest.get(..CHUNK_BYTES_MAX).unwrap_or(rest);
    let cdc =
        fastcdc::v2020::FastCDC::new(window, CHUNK_BYTES_MIN, CHUNK_BYTES_AVERAGE, CHUNK_BYTES_MAX);
    let (_, end) = cdc.cut(0, window.len());
    window.get(..end.max(1)).unwrap_or(window)
}

/// Bytes as they are stored: plain, or smaller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Packed {
    Plain(Bytes),
    /// As an LZ4 block of so many bytes.
    Lz4 {
        len: u32,
        block: Bytes,
    },
}

impl Packed {
    /// Compressed, if that saves an eighth.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::smaller(bytes, block::compress(bytes))
            .unwrap_or_else(|| Self::Plain(Bytes(bytes.to_vec())))
    }

    /// What `bytes` differ in from `base`, if that is at most half of them. LZ4 looks back over
    /// 64 KiB: of longer ones, it finds less again.
    pub(crate) fn against(base: &[u8], bytes: &[u8]) -> Option<Self> {
        Self::smaller(bytes, block::compress_with_dict(bytes, base))
            .filter(|packed| packed.stored() <= bytes.len() / 2)
    }

    fn smaller(bytes: &[u8], block: Vec<u8>) -> Option<Self> {
        let len = u32::try_from(bytes.len()).ok()?;
        let pays = block.len() <= bytes.len() - bytes.len() / 8;
        pays.then_some(Self::Lz4 { len, block: Bytes(block) })
    }

    /// How many bytes are stored.
    pub(crate) fn stored(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.0.len(),
            Self::Lz4 { block, .. } => block.0.len(),
        }
    }

    /// The bytes; `None` if they cannot be had from what is stored, or are more than `limit`.
    pub(crate) fn open(&self, base: &[u8], limit: usize) -> Option<Vec<u8>> {
        match self {
            Self::Plain(bytes) => Some(bytes.0.clone()),
            Self::Lz4 { len, block } => {
                // LZ4 never makes more than 255 bytes of one: no larger room on a length's word.
                let len = usize::try_from(*len).ok().filter(|len| *len <= limit)?;
                if len > block.0.len().saturating_mul(255).saturating_add(64) {
                    return None;
                }
                let mut bytes = vec![0; len];
                let written = block::decompress_into_with_dict(&block.0, &mut bytes, base).ok()?;
                (written == len).then_some(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes without a pattern, from a seed.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cut(bytes: &[u8]) -> Chunked {
        Chunked::of(1, bytes, None)
    }

    #[test]
    fn chunks_are_all_of_the_bytes_in_order() {
        let bytes = noise(1, 1 << 20);
        let chunked = cut(&bytes);
        assert_eq!(chunked.whole(), bytes);
        assert_eq!(chunked.len(), bytes.len());
        for (chunk, piece) in chunked.chunks().iter().zip(chunked.pieces()) {
            assert!(piece.len() <= CHUNK_BYTES_MAX);
            assert_eq!((chunk.id, usize::from(chunk.len)), (ChunkId::of(piece), piece.len()));
        }
        assert!((64..256).contains(&chunked.chunks().len()), "{} chunks", chunked.chunks().len());
    }

    #[test]
    fn the_cuts_are_part_of_the_format() {
        let chunked = cut(&noise(7, 60_000));
        let lens: Vec<u16> = chunked.chunks().iter().map(|chunk| chunk.len).collect();
        assert_eq!(lens, GOLDEN_LENS, "stores in the field would store every state anew");
    }

    const GOLDEN_LENS: [u16; 6] = [11_260, 12_428, 5_390, 13_697, 12_075, 5_150];

    #[test]
    fn an_insertion_at_the_front_leaves_nearly_all_chunks_as_they_were() {
        let old = noise(2, 1 << 20);
        let before = Arc::new(cut(&old));
        let new = [b"a few bytes more".as_slice(), &old].concat();
        let after = Chunked::of(1, &new, Some(Arc::clone(&before)));
        assert_eq!(after.chunks(), cut(&new).chunks());
        let is_new = |piece: &&Arc<[u8]>| !before.pieces.iter().any(|old| Arc::ptr_eq(old, piece));
        let come = after.pieces.iter().filter(is_new).count();
        assert!(come <= 2, "{come} chunks are new");
    }

    /// The byte behind a chunk is the one that ends it.
    #[test]
    fn what_changes_just_behind_a_cut_moves_it_as_it_would_without_the_bytes_before() {
        let old = noise(5, 400_000);
        let before = Arc::new(cut(&old));
        let ends = before.chunks().iter().scan(0, |end, chunk| {
            *end += usize::from(chunk.len);
            Some(*end)
        });
        for end in ends {
            let mut flipped = old.clone();
            flipped.iter_mut().skip(end).take(1).for_each(|byte| *byte ^= 0xff);
            for new in [flipped, old[..end].to_vec(), old[..(end + 1).min(old.len())].to_vec()] {
                let after = Chunked::of(1, &new, Some(Arc::clone(&before)));
                assert_eq!(after.chunks(), cut(&new).chunks(), "{} bytes, cut at {end}", new.len());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn neither_the_bytes_before_nor_how_the_new_ones_come_changes_a_cut(
            seed in 0u64..4,
            len in 0usize..200_000,
            edits in prop::collection::vec((0usize..200_000, 0usize..3_000, 0usize..3_000), 0..6),
            feed in 1usize..150_000,
        ) {
            // Long runs of equal bytes too: there no content says where to cut.
            let mut old = noise(seed, len);
            if seed == 3 { old.fill(0); }
            let before = Arc::new(cut(&old));
            let mut new = old.clone();
            for (at, gone, come) in edits {
                let at = at.min(new.len());
                let end = (at + gone).min(new.len());
                new.splice(at..end, noise(at as u64, come));
            }
            let mut cutter = Cutter::new(1, Some(before));
            let mut held = Vec::new();
            for come in new.chunks(feed) {
                held.extend_from_slice(come);
                let taken = cutter.take(&held);
                held.drain(..taken);
                prop_assert!(held.len() <= CHUNK_BYTES_MAX);
            }
            let after = cutter.finish(&held);
            let whole = cut(&new);
            prop_assert_eq!(after.chunks(), whole.chunks());
            prop_assert_eq!(after.len(), new.len());
            prop_assert!(after.whole() == new);
        }

        #[test]
        fn what_differs_gives_the_bytes_back(
            base in prop::collection::vec(any::<u8>(), 0..3_000),
            at in 0usize..3_000,
            piece in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let at = at.min(base.len());
            let mut bytes = base.clone();
            bytes.splice(at..(at + piece.len()).min(base.len()), piece);
            if let Some(packed) = Packed::against(&base, &bytes) {
                prop_assert_eq!(packed.open(&base, 1 << 20), Some(bytes.clone()));
            }
            prop_assert_eq!(Packed::of(&bytes).open(&[], 1 << 20), Some(bytes));
        }

        #[test]
        fn no_block_makes_the_decompressor_panic(
            len in any::<u32>(),
            block in prop::collection::vec(any::<u8>(), 0..300),
            base in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = Packed::Lz4 { len, block: Bytes(block) }.open(&base, 1 << 20);
        }
    }
}
