//! What an import came to.

use milepost::RunName;

/// What an import came to. When it is there, all of it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// The runs that hold what was imported, now or before.
    pub runs: Vec<RunName>,
    /// How many runs, or checkpoints of a registry, were written now.
    pub imported: u64,
    /// How many of them had been imported before: nothing was written for those.
    pub already_there: u64,
    /// How many idempotency keys the source has; each counts as seen now.
    pub keys: u64,
    /// The last line of the keys, if a crash has left half of it.
    pub cut_short: Option<TruncatedLine>,
    /// What a person should know of: facts that do not agree, words that are not known, files that are
    /// none of the source's. Nothing was left out because of them but what they name.
    pub remarks: Vec<String>,
}

impl ImportReport {
    pub(super) fn one(run: RunName, is_new: bool, remarks: Vec<String>) -> Self {
        Self {
            runs: vec![run],
            imported: u64::from(is_new),
            already_there: u64::from(!is_new),
            keys: 0,
            cut_short: None,
            remarks,
        }
    }

    /// Whether everything was there already, so that nothing was written.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.imported == 0
    }
}

/// The last line of a file of keys, of which a crash has left half. What it was the key of may have
/// been done: find out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TruncatedLine {
    /// Where it begins in the file, in bytes.
    pub byte: u64,
    /// How many bytes of it are there.
    pub bytes: u64,
}
