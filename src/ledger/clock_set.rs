//! A clock that was not set: what was written down then has a time that is no time.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::{Record, Table};

/// 2020-01-01. No store is older: a time before it comes from a clock that was not set.
pub(crate) const CLOCK_FLOOR: Timestamp = Timestamp::from_ms(1_577_836_800_000);

/// The key of [`ClockSet`].
pub(crate) const META_CLOCK_SET: &[u8] = b"clock-set";

/// When a clock that is set was first seen, in a store in which something is older than
/// [`CLOCK_FLOOR`]. The age of such a record counts from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockSet {
    pub(crate) at: Timestamp,
}

impl Record for ClockSet {
    const TABLE: Table = Table::Meta;
}
