//! For tests of programs that keep their state in a store: a disk that loses, tears and refuses what
//! it is told to, the same for every run of a seed.
//!
//! # Killing your own loop
//!
//! [`crash_matrix`] takes your loop as it is, with a struct that plays the world it acts on, and
//! kills it at every commit and on both sides of every effect. It answers the one question that no
//! unit test does: if my program dies *here*, is anything lost, or done twice? `docs/TESTING.md` says
//! how to get a loop into that shape, and how to read a failure.
//!
//! # A disk of your own
//!
//! [`SimDisk`] is for everything else: a call that fails at a chosen moment, an image that a power cut
//! may leave, a flush that takes its time.

mod actor;
mod crash_matrix;
mod export;
mod fault;
#[doc(hidden)]
pub mod hostile;
mod image;
mod model;
mod platter;
mod rng;
mod sim_disk;
mod system;
#[cfg(test)]
mod tests;
mod trace;

use crate::record::{CODEC_BINCODE, Chunked};

pub use crash_matrix::{CrashFailure, CrashMatrix, Crashes, Outside, crash_matrix};
pub use export::{FaultyExport, export_with_fault};
pub use fault::{Call, Effect, Fault};
pub use image::{Change, HEADER_BYTES, Image, SECTOR_BYTES};
pub use platter::Platter;
pub use rng::Rng;
pub use sim_disk::SimDisk;
pub use trace::Trace;

// What Milepost's own suite needs, and no other: it may change with any release.
#[doc(hidden)]
pub use actor::Actor;
#[doc(hidden)]
pub use export::{import_savepoint_bytes, reseal_savepoint, savepoint_bytes};
#[doc(hidden)]
pub use fault::Sabotage;
#[doc(hidden)]
pub use model::{Answer, IntentModel, Model, Op, RunModel, Seen, Step, Tape};
#[doc(hidden)]
pub use system::{SystemCall, SystemFault, SystemKind, SystemLog, mark, on_system};

/// How a large state of these bytes is cut, and its chunks hashed: their lengths, in bytes. For
/// benchmarks.
#[doc(hidden)]
#[must_use]
pub fn chunk_lengths(state: &[u8]) -> Vec<u32> {
    Chunked::of(CODEC_BINCODE, state, None).chunks().iter().map(|chunk| chunk.len.into()).collect()
}
