//! Chunks in the commit: they come with whoever first refers to them, and go with the last. The
//! rows that change are those of chunks that come or go, and of counts; nothing else.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ChunkList, ContentRecord, chunk_key, count_key};
use crate::record::{CHUNK_BYTES_MAX, Chunk, ChunkId, Chunked, Packed};
use crate::store::{Plan, Read, Table, row_name};

/// Changes what one referrer refers to, from the chunks of `old` to those of `new`.
pub(super) fn exchange(plan: &mut Plan<'_>, old: &[Chunk], new: Option<&Chunked>) -> Result<()> {
    let before: HashSet<ChunkId> = old.iter().map(|chunk| chunk.id).collect();
    let mut after = HashSet::with_capacity(new.map_or(0, |new| new.chunks().len()));
    for (chunk, piece) in new.into_iter().flat_map(|new| new.chunks().iter().zip(new.pieces())) {
        if after.insert(chunk.id) && !before.contains(&chunk.id) {
            bring(plan, chunk.id, piece)?;
        }
    }
    let mut gone = distinct(old);
    gone.retain(|id| !after.contains(id));
    gone.into_iter().try_for_each(|id| release(plan, id).map(drop))
}

/// One more refers to the chunks of a list that is referred to already.
pub(super) fn refer(plan: &mut Plan<'_>, list: &[Chunk]) -> Result<()> {
    distinct(list).into_iter().try_for_each(|id| refer_to(plan, id))
}

/// One less refers to the chunks of a list; how many bytes go with it.
pub(super) fn release_all(plan: &mut Plan<'_>, list: &[Chunk]) -> Result<u64> {
    distinct(list).into_iter().try_fold(0, |freed, id| Ok(freed + release(plan, id)?))
}

/// Each chunk of a list once, in its order: the same work for the same list, call for call.
pub(crate) fn distinct(list: &[Chunk]) -> Vec<ChunkId> {
    let mut seen = HashSet::with_capacity(list.len());
    list.iter().map(|chunk| chunk.id).filter(|id| seen.insert(*id)).collect()
}

fn bring(plan: &mut Plan<'_>, id: ChunkId, bytes: &[u8]) -> Result<()> {
    if plan.record::<ContentRecord>(&chunk_key(id))?.is_some() {
        return refer_to(plan, id);
    }
    plan.put_aside(&chunk_key(id), &ContentRecord::Chunk(Packed::of(bytes)))
}

fn refer_to(plan: &mut Plan<'_>, id: ChunkId) -> Result<()> {
    let count = referrers(plan, id)?;
    plan.put_aside(&count_key(id), &ContentRecord::Count(count.saturating_add(1)))
}

fn release(plan: &mut Plan<'_>, id: ChunkId) -> Result<u64> {
    match referrers(plan, id)? {
        0 | 1 => {
            let row = plan.get(Table::Contents, &chunk_key(id))?;
            plan.forget(Table::Contents, &chunk_key(id));
            Ok(row.map_or(0, |row| row.len() as u64))
        }
        2 => {
            plan.forget(Table::Contents, &count_key(id));
            Ok(0)
        }
        count => {
            plan.put_aside(&count_key(id), &ContentRecord::Count(count - 1))?;
            Ok(0)
        }
    }
}

/// How many refer to a chunk that is there.
pub(crate) fn referrers(rows: &impl Read, id: ChunkId) -> Result<u64> {
    match rows.record(&count_key(id))? {
        None => Ok(1),
        Some(ContentRecord::Count(count)) => Ok(count),
        Some(ContentRecord::Chunk(_)) => Err(no_chunk(id, "its count is a chunk")),
    }
}

/// The bytes that a list names, each chunk proven by its name.
///
/// # Errors
/// Those of [`each_piece`].
pub(crate) fn gather(rows: &impl Read, list: &ChunkList) -> Result<Chunked> {
    let mut chunked = Chunked::empty(list.codec);
    each_piece(rows, list, |chunk, piece| chunked.push(chunk, piece.into()))?;
    Ok(chunked)
}

/// [`gather`], in one piece.
pub(super) fn gather_whole(rows: &impl Read, list: &ChunkList) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    each_piece(rows, list, |_, piece| bytes.extend_from_slice(&piece))?;
    Ok(bytes)
}

/// Hands on each chunk that a list names, proven by its name.
///
/// # Errors
/// `Damaged` if one is missing, or is not what was written; `LimitExceeded` if all are more than a
/// value may have.
fn each_piece(
    rows: &impl Read,
    list: &ChunkList,
    mut each: impl FnMut(Chunk, Vec<u8>),
) -> Result<()> {
    let (len, limit) = (list.len(), rows.value_limit());
    if len > limit {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "a state of {len} bytes is over the limit of {limit}: raise `Limits::value_bytes`. \
                 Nothing was changed"
            ),
        ));
    }
    for chunk in &list.chunks {
        each(*chunk, bytes_of(rows, *chunk)?);
    }
    Ok(())
}

/// The bytes of one chunk, proven by its name.
fn bytes_of(rows: &impl Read, chunk: Chunk) -> Result<Vec<u8>> {
    let Some(ContentRecord::Chunk(packed)) = rows.record(&chunk_key(chunk.id))? else {
        return Err(no_chunk(chunk.id, "it is missing"));
    };
    bytes_in(&packed, chunk.id)
        .filter(|bytes| bytes.len() == usize::from(chunk.len))
        .ok_or_else(|| no_chunk(chunk.id, "its bytes are not those of its name"))
}

/// The bytes of a chunk, if they are those of its name.
pub(crate) fn bytes_in(packed: &Packed, id: ChunkId) -> Option<Vec<u8>> {
    packed.open(&[], CHUNK_BYTES_MAX).filter(|bytes| ChunkId::of(bytes) == id)
}

fn no_chunk(id: ChunkId, why: &str) -> Error {
    Error::damaged(format!(
        "{} is damaged (the chunk {id:?} of a large state): {why}. Nothing was changed; close the \
         store and run `repair` on it",
        row_name(Table::Contents, &chunk_key(id))
    ))
}
