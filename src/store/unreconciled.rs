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
/// How many characters of a reason: it names a position, which may be a token of any length.
const REASON_CHARS_MAX: usize = 1000;

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
    pub(crate) fn and(mut self, mut why: String) -> Self {
        if let Some((end, _)) = why.char_indices().nth(REASON_CHARS_MAX) {
            why.truncate(end);
            why.push('…');
        }
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
    /// `Unreconciled`, with all the reasons.
    pub(crate) fn refuse(rows: &impl Read) -> Result<()> {
        let why = Self::of(rows)?.why;
        if why.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unreconciled,
            format!(
                "nothing is sent or claimed before this store is reconciled: {}. Find out \
                 at your receivers what was done since, settle what `Store::recovery` lists, and \
                 then call `Store::reconcile` with a note of what you found. Nothing was written",
                why.join("; ")
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against: a position that is a token of megabytes, of which a few fill the row over its limit.
    #[test]
    fn the_reasons_stay_small_however_long_they_are_and_the_oldest_stay() {
        let first = Unreconciled::default().and(format!("the first, at {}", "ü".repeat(1 << 20)));
        let all = (0..200).fold(first, |reasons, _| reasons.and("another".repeat(1000)));
        assert_eq!(all.why.len(), REASONS_MAX);
        assert!(all.why.iter().all(|why| why.chars().count() <= REASON_CHARS_MAX + 1));
        assert!(all.why.first().is_some_and(|why| why.starts_with("the first, at üü")));
    }
}
