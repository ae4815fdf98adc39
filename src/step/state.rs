//! The newest state of a run: in its row while it is small, in chunks when it is large. A large one
//! that is saved again writes the chunks that have changed, and the list of them all.

use std::borrow::Cow;
use std::sync::Arc;

use super::content::{exchange, gather, refer};
use crate::error::{Error, Result};
use crate::id::RunName;
use crate::ledger::ChunkList;
use crate::record::{CODEC_CHUNKS, Chunked, Payload, SMALL_BYTES_MAX};
use crate::store::{Plan, Read};

/// Up to here a state stands in its run's row, in bytes.
/// What is proven each time it is written stands in the row, and nothing else does.
pub(super) const INLINE_BYTES_MAX: usize = SMALL_BYTES_MAX;

/// A state as it is kept: what stands in the run's row, and the whole of it if that is only a list.
pub(super) struct Stored {
    pub(super) row: Payload,
    pub(super) large: Option<Arc<Chunked>>,
}

impl Stored {
    /// The state's own bytes, in one piece.
    pub(super) fn whole(&self) -> Cow<'_, Payload> {
        whole(self.large.as_deref(), &self.row)
    }

    /// How the state's own bytes were encoded.
    pub(super) fn codec(&self) -> u8 {
        self.large.as_ref().map_or(self.row.codec(), |large| large.codec())
    }

    /// How many bytes the state has.
    pub(super) fn len(&self) -> usize {
        self.large.as_ref().map_or(self.row.bytes().len(), |large| large.len())
    }

    /// The state's own bytes.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let inline = self.large.is_none().then(|| self.row.bytes());
        self.large.iter().flat_map(|large| large.pieces()).chain(inline)
    }
}

/// The own bytes, in one piece, of a state that is large, or else stands in its row.
pub(super) fn whole<'s>(large: Option<&Chunked>, row: &'s Payload) -> Cow<'s, Payload> {
    match large {
        Some(large) => Cow::Owned(Payload::from_parts(large.codec(), large.whole())),
        None => Cow::Borrowed(row),
    }
}

/// A state as it is to be kept, after the one `before` it, of the same run. Nothing is planned yet.
pub(super) fn ready(before: Option<&Arc<Chunked>>, state: Payload) -> Stored {
    if state.bytes().len() <= INLINE_BYTES_MAX {
        return Stored { row: state, large: None };
    }
    ready_cut(Chunked::of(state.codec(), state.bytes(), before.cloned()))
}

/// [`ready`], of a state that was cut.
pub(super) fn ready_cut(state: Chunked) -> Stored {
    if state.len() <= INLINE_BYTES_MAX {
        return Stored { row: Payload::from_parts(state.codec(), state.whole()), large: None };
    }
    let list = ChunkList { codec: state.codec(), chunks: state.chunks().to_vec() };
    let row = Payload::from_parts(CODEC_CHUNKS, list.to_bytes());
    Stored { row, large: Some(Arc::new(state)) }
}

/// Plans that a state takes the place of the one `before` it, of the same run: the chunks of the one
/// go, and those of the other come.
pub(super) fn replace(
    plan: &mut Plan<'_>,
    before: Option<&Arc<Chunked>>,
    stored: &Stored,
) -> Result<()> {
    exchange(plan, before.map_or(&[], |before| before.chunks()), stored.large.as_deref())
}

/// [`ready`] and [`replace`] in one.
pub(super) fn write(
    plan: &mut Plan<'_>,
    before: Option<&Arc<Chunked>>,
    state: Payload,
) -> Result<Stored> {
    let stored = ready(before, state);
    replace(plan, before, &stored)?;
    Ok(stored)
}

/// The state behind what stands in a run's row.
///
/// # Errors
/// `Damaged` if a chunk of it is missing, or is not what was written.
pub(super) fn read(rows: &impl Read, row: Payload, run: &RunName) -> Result<Stored> {
    if !row.is_chunked() {
        return Ok(Stored { row, large: None });
    }
    let list = list_of(&row).ok_or_else(|| no_list(run))?;
    let large = gather(rows, &list).map_err(|error| error.context(format!("the run \"{run}\"")))?;
    Ok(Stored { row, large: Some(Arc::new(large)) })
}

/// How many bytes the state has whose row this is. Reads none of its chunks.
///
/// # Errors
/// `Damaged` if the list of its chunks is.
pub(super) fn len_of(row: &Payload, run: &RunName) -> Result<u64> {
    if !row.is_chunked() {
        return Ok(row.bytes().len() as u64);
    }
    let list = list_of(row).ok_or_else(|| no_list(run))?;
    Ok(list.chunks.iter().map(|chunk| u64::from(chunk.len)).sum())
}

fn no_list(run: &RunName) -> Error {
    Error::damaged(format!(
        "the state of the run \"{run}\" has a chunk list that cannot be decoded. Nothing was changed; \
         close the store and run `repair` on it"
    ))
}

/// Puts a run's row back that was taken away: it refers to its chunks again.
///
/// # Errors
/// `Damaged` if one of them is missing, or is not what was written, or if the list of them cannot be
/// read: the row would refer to chunks that others may delete.
pub(crate) fn put_back(plan: &mut Plan<'_>, row: &Payload) -> Result<()> {
    if !row.is_chunked() {
        return Ok(());
    }
    let list = list_of(row).ok_or_else(|| {
        Error::damaged("its state is a list of chunks that cannot be decoded. Nothing was changed")
    })?;
    gather(plan, &list)?;
    refer(plan, &list.chunks)
}

/// The list in a payload that is chunked.
pub(crate) fn list_of(row: &Payload) -> Option<ChunkList> {
    if row.is_chunked() { ChunkList::from_bytes(row.bytes()) } else { None }
}
