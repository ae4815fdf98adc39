//! The engines under measurement, one file each, behind one small trait. Nothing of an engine's
//! own types leaves this room.

mod batched;
mod expiry;
mod files;
mod fjall;
pub(crate) mod large;
mod lmdb;
mod milepost;
mod names;
mod redb;
mod sqlite;

use crate::Result;
use crate::work::{Key, Step};
use std::path::Path;
use std::time::Duration;

pub(crate) use batched::BATCH;
pub(crate) use names::{EngineName, Kind};

/// 64 MiB of cache for everyone that has one. LMDB has none: it maps the file, and the kernel's
/// page cache is its cache.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// What a store is opened with. A folder that is empty gets a new store.
pub(crate) struct Config<'a> {
    pub(crate) dir: &'a Path,
    /// Keys are forgotten after this long; `None` keeps them for ever.
    pub(crate) ttl: Option<Duration>,
}

/// How many steps a pipelining caller leaves unacknowledged.
const IN_FLIGHT: usize = 1_024;

/// How a single caller hands its steps over.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Waits for each step.
    Wait,
    /// Up to 1,024 steps unacknowledged, where the engine can; the others wait for each.
    Pipelined,
}

/// An open store.
pub(crate) trait Engine: Sync {
    /// A writer for one run. One thread, one session.
    fn session(&self, run: u16, mode: Mode) -> Result<Box<dyn Session + '_>>;

    /// Closes as its documentation says it should be closed.
    fn close(self: Box<Self>) -> Result<()>;
}

/// What one thread does with the store.
pub(crate) trait Session {
    /// One durable commit of all these steps: each key is looked up, and a new one is written
    /// with its outcome; the state is overwritten. Returns how many were new.
    fn commit(&mut self, steps: &[Step]) -> Result<usize>;

    /// Hands one step over. Returns how many steps, oldest first, are durable that were not
    /// before.
    fn submit(&mut self, step: &Step) -> Result<usize> {
        self.commit(std::slice::from_ref(step))?;
        Ok(1)
    }

    /// Waits until everything handed over is durable. Returns how many steps that were.
    fn drain(&mut self) -> Result<usize> {
        Ok(0)
    }

    /// Writes many steps as fast as it can, durable at the end: for filling a store.
    fn load(&mut self, steps: &[Step]) -> Result<()> {
        self.commit(steps).map(drop)
    }

    /// Asks for each key whether it was seen, as a program does that meets it again; reads the
    /// outcome. Several keys at once share a read transaction. Returns how many were seen.
    fn look_up(&mut self, keys: &[Key]) -> Result<usize>;

    /// The run's durable position: how far it had come.
    fn position(&mut self) -> Result<Option<u64>>;
}

/// Opens a store, creating it where there is none.
pub(crate) fn open(kind: Kind, config: &Config<'_>) -> Result<Box<dyn Engine>> {
    Ok(match kind {
        Kind::Milepost => Box::new(milepost::open(config)?),
        Kind::RedbOnMilepost => Box::new(redb::open_file(&milepost::file(config.dir))?),
        Kind::Redb => Box::new(redb::open(config)?),
        Kind::Sqlite => Box::new(sqlite::open(config)?),
        Kind::Fjall => Box::new(fjall::open(config)?),
        Kind::Lmdb => Box::new(lmdb::open(config)?),
        Kind::Files => Box::new(files::open(config)?),
    })
}

/// A session of an engine by its full name: with the batching by hand around it, or without.
pub(crate) fn session(
    engine: &dyn Engine,
    name: EngineName,
    run: u16,
    mode: Mode,
) -> Result<Box<dyn Session + '_>> {
    let session = engine.session(run, mode)?;
    Ok(if name.by_hand { Box::new(batched::Batched::new(session)) } else { session })
}

/// A run's row as the byte engines keep it: the position, then the state.
fn run_row(step: &Step) -> [u8; 8 + crate::work::STATE_LEN] {
    let mut row = [0; 8 + crate::work::STATE_LEN];
    let (position, state) = row.split_at_mut(8);
    position.copy_from_slice(&step.position.to_le_bytes());
    state.copy_from_slice(&step.state);
    row
}

fn position_of(row: &[u8]) -> Option<u64> {
    row.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn run_key(run: u16) -> [u8; 6] {
    let digits = u32::from(run);
    let mut name = *b"r00000";
    for (place, byte) in name.iter_mut().skip(1).rev().enumerate() {
        let digit = digits / 10_u32.pow(u32::try_from(place).unwrap_or(0)) % 10;
        *byte = b'0' + u8::try_from(digit).unwrap_or(0);
    }
    name
}
