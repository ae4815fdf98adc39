//! Runs: a named stream of steps with one state and one position.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::RunName;
use crate::position::Position;
use crate::record::Payload;
use crate::seq::Epoch;
use crate::store::{Record, Table};

/// One run, with its newest state: one row a step, not two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) position: Position,
    /// How many steps it has made.
    pub(crate) steps: u64,
    /// Which schema the state was written under.
    pub(crate) schema: u32,
    pub(crate) state: Payload,
    /// Who opened it last.
    pub(crate) epoch: Epoch,
    /// How often it was picked up after a crash without making a step since.
    pub(crate) recovery_attempts: u32,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
}

impl Record for RunRecord {
    const TABLE: Table = Table::Runs;
}

pub(crate) fn run_key(run: &RunName) -> Vec<u8> {
    run.as_str().as_bytes().to_vec()
}

/// The end of a run: that it was ended, that it is being removed, or that it was.
///
/// ```text
/// meta  run-ended/ [run]                    it was ended
///       run-ends/ [number u64 BE] [run]     the same, in the order of the ends
///       run-removing/ [run]                 its row is gone, the rest of it goes
///       run-removed/ [run]                  all of it is gone, and its name stays taken
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunEnd {
    /// The number of the end in the store's count; 0 if the run was removed without one.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    /// Whether the name stays taken when the run is removed: its keys are forgotten then, and what it
    /// has done would count as new.
    pub(crate) name_stays: bool,
}

impl Record for RunEnd {
    const TABLE: Table = Table::Meta;
}

const ENDED: &[u8] = b"run-ended/";
/// The keys of all ends begin so, in their order.
pub(crate) const ENDS: &[u8] = b"run-ends/";
/// The keys of all runs that are being removed begin so.
pub(crate) const REMOVING: &[u8] = b"run-removing/";
const REMOVED: &[u8] = b"run-removed/";

pub(crate) fn ended_key(run: &RunName) -> Vec<u8> {
    [ENDED, run.as_str().as_bytes()].concat()
}

pub(crate) fn end_key(number: u64, run: &RunName) -> Vec<u8> {
    [ENDS, &number.to_be_bytes(), run.as_str().as_bytes()].concat()
}

pub(crate) fn removing_key(run: &RunName) -> Vec<u8> {
    [REMOVING, run.as_str().as_bytes()].concat()
}

pub(crate) fn removed_key(run: &RunName) -> Vec<u8> {
    [REMOVED, run.as_str().as_bytes()].concat()
}

/// The number and the run that a key in the order of ends names.
pub(crate) fn end_of_key(key: &[u8]) -> Option<(u64, RunName)> {
    let (number, run) = key.strip_prefix(ENDS)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), run_named(run)?))
}

pub(crate) fn run_of_removing_key(key: &[u8]) -> Option<RunName> {
    run_named(key.strip_prefix(REMOVING)?)
}

/// Whether a row of `meta` is a [`RunEnd`].
pub(crate) fn is_run_end(key: &[u8]) -> bool {
    [ENDED, ENDS, REMOVING, REMOVED].iter().any(|prefix| key.starts_with(prefix))
}

/// Whether a row of `meta` says that a run is gone: without it, the run would be new.
pub(crate) fn is_run_gone(key: &[u8]) -> bool {
    [REMOVING, REMOVED].iter().any(|prefix| key.starts_with(prefix))
}

/// The run whose row has this key.
pub(crate) fn run_of_key(key: &[u8]) -> Option<RunName> {
    run_named(key)
}

fn run_named(name: &[u8]) -> Option<RunName> {
    RunName::new(std::str::from_utf8(name).ok()?).ok()
}
