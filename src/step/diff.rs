//! What is different between two checkpoints, by field.

use std::fmt;

use super::inspect::shown;
use super::listing::Checkpoint;
use crate::error::{Error, Result};
use crate::ledger::SchemaRecord;
use crate::record::{Maps, Payload, changes};

/// What is different between the states of two checkpoints: see
/// [`Checkpoints::diff`](crate::Checkpoints::diff).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointDiff {
    /// What is known of the first one, without its state.
    pub before: Checkpoint,
    /// What is known of the second one.
    pub after: Checkpoint,
    /// The fields that are not the same, in the order of their names.
    pub changes: Vec<FieldChange>,
}

/// A field that is not the same in two states.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldChange {
    /// Which: `portfolio.cash`, `orders[3].size`, `limits["BTC/USD"]`; empty for the state as a
    /// whole. Of lists whose lengths differ, what both begin with and what both end with is the same,
    /// and an item's number is the one it has in the list it stands in.
    pub field: String,
    /// What it was, as JSON; `None` if it is new.
    pub before: Option<String>,
    /// What it is, as JSON; `None` if it is gone.
    pub after: Option<String>,
}

impl fmt::Debug for FieldChange {
    /// Which field; never what was or is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldChange").field("field", &self.field).finish_non_exhaustive()
    }
}

/// A checkpoint with its schema and its state.
pub(super) type Opened = (Checkpoint, SchemaRecord, Payload);

pub(super) fn diff_of(before: Opened, after: Opened) -> Result<CheckpointDiff> {
    let [was, is] = [&before, &after].map(|(checkpoint, schema, state)| {
        let what = || format!("the state of the checkpoint {}", checkpoint.id);
        shown(state, schema, Maps::Objects, &what)
    });
    let changes = changes(&was?, &is?).map_err(|error| {
        Error::damaged(
            "a state that is stored as JSON does not read as that. Nothing was changed; close the \
             store and run `repair` on it",
        )
        .with_source(error)
    })?;
    let changes = changes.into_iter().map(|change| FieldChange {
        field: change.field,
        before: change.before,
        after: change.after,
    });
    Ok(CheckpointDiff { before: before.0, after: after.0, changes: changes.collect() })
}
