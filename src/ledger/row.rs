//! The user's own small rows, kept beside a run and written with its steps.

use serde::{Deserialize, Serialize};

use crate::id::RunName;
use crate::record::{Typed, named};
use crate::store::{Record, Table};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RowRecord {
    Value(Typed),
    /// There was one, and its record was damaged: it is in quarantine under this number.
    Lost {
        quarantine: u64,
    },
}

impl Record for RowRecord {
    const TABLE: Table = Table::Rows;
}

pub(crate) fn row_key(run: &RunName, key: &[u8]) -> Vec<u8> {
    named(&[], run.as_str(), key)
}
