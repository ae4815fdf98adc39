//! Quarantine: where a record goes that cannot be read, with all that is known of it.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::record::Bytes;
use crate::seq::Epoch;
use crate::store::{Record, Table};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineRecord {
    /// The number of the table it stood in.
    pub(crate) table: u8,
    pub(crate) key: Bytes,
    /// Its bytes as they were found.
    pub(crate) bytes: Bytes,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
    pub(crate) epoch: Epoch,
}

impl Record for QuarantineRecord {
    const TABLE: Table = Table::Quarantine;
}

pub(crate) fn quarantine_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
