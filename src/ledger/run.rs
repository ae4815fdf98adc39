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
