//! The newest state of a run: in its row while it is small, in chunks when it is large. A large one
//! that is saved again writes the chunks that have changed, and the list of them all.

use std::sync::Arc;

use super::content::{exchange, gather, refer};
use crate::error::{Error, Result};
use crate::id::RunName;
use crate::ledger::ChunkList;
use crate::record::{CODEC_CHUNKS, Chunk, Payload, cut};
use crate::store::{Plan, Read};

/// Up to here a state stands in its run's row, in bytes.
pub(super) const INLINE_BYTES_MAX: usize = 64 << 10;

/// A large state, and how it was cut.
pub(super) struct Large {
    pub(super) whole: Payload,
    pub(super) chunks: Vec<Chunk>,
}

/// A state as it is kept: what stands in the run's row, and the whole of it if that is only a list.
pub(super) struct Stored {
    pub(super) row: Payload,
    pub(super) large: Option<Arc<Large>>,
}

impl Stored {
    /// The state's own bytes.
    pub(super) fn whole(&self) -> &Payload {
        self.large.as_ref().map_or(&self.row, |large| &large.whole)
    }

    pub(super) fn chunks(&self) -> Option<&[Chunk]> {
        self.large.as_ref().map(|large| large.chunks.as_slice())
    }
}

/// Plans that a state takes the place of the one `before` it, of the same run.
pub(super) fn write(plan: &mut Plan<'_>, before: Option<&Large>, state: Payload) -> Result<Stored> {
    let old = before.map(|large| large.chunks.as_slice()).unwrap_or_default();
    if state.bytes().len() <= INLINE_BYTES_MAX {
        exchange(plan, old, &[], &[])?;
        return Ok(Stored { row: state, large: None });
    }
    let known = before.map(|large| (large.whole.bytes(), large.chunks.as_slice()));
    let chunks = cut(state.bytes(), known);
    exchange(plan, old, &chunks, state.bytes())?;
    let list = ChunkList { codec: state.codec(), chunks };
    let row = Payload::from_parts(CODEC_CHUNKS, list.to_bytes());
    let large = Large { whole: state, chunks: list.chunks };
    Ok(Stored { row, large: Some(Arc::new(large)) })
}

/// The state behind what stands in a run's row.
///
/// # Errors
/// `Damaged` if a chunk of it is missing, or is not what was written.
pub(super) fn read(rows: &impl Read, row: Payload, run: &RunName) -> Result<Stored> {
    if !row.is_chunked() {
        return Ok(Stored { row, large: None });
    }
    let list = list_of(&row).ok_or_else(|| {
        Error::damaged(format!("the state of the run \"{run}\" has a list of chunks that is none"))
    })?;
    let whole = gather(rows, &list).map_err(|error| error.context(format!("the run \"{run}\"")))?;
    let large = Large { whole: Payload::from_parts(list.codec, whole), chunks: list.chunks };
    Ok(Stored { row, large: Some(Arc::new(large)) })
}

/// Puts a run's row back that was taken away: it refers to its chunks again.
///
/// # Errors
/// `Damaged` if one of them is missing, or is not what was written.
pub(crate) fn put_back(plan: &mut Plan<'_>, row: &Payload) -> Result<()> {
    let Some(list) = list_of(row) else { return Ok(()) };
    gather(plan, &list)?;
    refer(plan, &list.chunks)
}

/// The list in a payload that is chunked.
pub(crate) fn list_of(row: &Payload) -> Option<ChunkList> {
    if row.is_chunked() { ChunkList::from_bytes(row.bytes()) } else { None }
}
