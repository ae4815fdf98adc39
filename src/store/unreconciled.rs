//! What nobody knows any more: a store that was set back does not know what it sent after the moment
//! it was set back to. While this row stands, nothing is sent.

use serde::{Deserialize, Serialize};

use super::snapshot::Read;
use super::tables::{Record, Table};
use crate::error::{Error, ErrorKind, Result};

/// The key of [`Unreconciled`].
pub(crate) const META_UNRECONCILED: &[u8] = b"unreconciled";

/// How many reasons are remembered; the oldest say what there is to be looked for.
const REASONS_MAX: usize = 64;

/// Why the store has to be reconciled with its receivers, oldest reason first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Unreconciled {
    pub(crate) why: Vec<String>,
}

impl Record for Unreconciled {
    const TABLE: Table = Table::Meta;
}

impl Unreconciled {
    /// What stands where nobody knows any more why.
    pub(crate) fn lost() -> Self {
        Self::default().and("the record of why was damaged, and is in quarantine".to_owned())
    }

    /// One more reason.
    pub(crate) fn and(mut self, why: String) -> Self {
        self.why.truncate(REASONS_MAX - 1);
        self.why.push(why);
        self
    }

    pub(crate) fn of(rows: &impl Read) -> Result<Self> {
        Ok(rows.record(META_UNRECONCILED)?.unwrap_or_default())
    }

    /// Refuses to send anything while there is a reason not to.
    ///
    /// # Errors
    /// `InDoubt`, with all the reasons.
    pub(crate) fn refuse(rows: &impl Read) -> Result<()> {
        let why = Self::of(rows)?.why;
        if why.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InDoubt,
            format!(
                "nothing is sent or claimed before somebody has reconciled this store: {}. Find out \
                 at your receivers what was done since, settle what `Store::recovery` lists, and \
                 then call `Store::reconcile` with a note of what you found. Nothing was written",
                why.join("; ")
            ),
        ))
    }
}
