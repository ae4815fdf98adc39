//! What a step came to.

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done<R> {
    /// The closure ran; this is its outcome.
    Fresh(R),
    /// The key was seen before: the closure did not run, this is the outcome of that time.
    Duplicate(R),
}

impl<R> Done<R> {
    /// The outcome, of now or of then.
    pub fn into_outcome(self) -> R {
        match self {
            Self::Fresh(outcome) | Self::Duplicate(outcome) => outcome,
        }
    }

    /// Whether the closure ran.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        matches!(self, Self::Fresh(_))
    }
}
