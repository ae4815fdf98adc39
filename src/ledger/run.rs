//! Runs: a named stream of steps with one state and one position.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::RunName;
use crate::position::Position;
use crate::record::Payload;
use crate::seq::Epoch;
use crate::store::{Record, Table};

/// A type that is stored under a name and a version.
///
/// Raise the version whenever a field is added, removed, moved or given another type: bytes of one
/// version are never read as another. Without that, a field that became another type of the same
/// width may be read wrong.
///
/// A hash set behind a `#[serde(transparent)]` type of your own looks like a list to serde, and is
/// refused as soon as its order changes: use a `BTreeSet` there. A field under `#[serde(skip)]` is
/// its default after a restart, and after a step that failed.
///
/// ```
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Momentum {
///     window: Vec<i64>,
/// }
///
/// impl milepost::Versioned for Momentum {
///     const NAME: &'static str = "momentum";
///     const VERSION: u32 = 1;
/// }
/// ```
pub trait Versioned {
    /// The name of the type in the store: it may be moved and renamed in the code.
    const NAME: &'static str;
    /// The version of its fields, from 1.
    const VERSION: u32;
}

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
