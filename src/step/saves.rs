//! What a run saves on its own: checkpoints every so many steps or every so long.

use std::time::Duration;

use super::labels::Labels;
use crate::clock::Timestamp;
use crate::record::Proof;
use crate::store::Retention;

/// When a run saves a checkpoint on its own, in the commit of the step that makes it due.
///
/// ```
/// use std::time::Duration;
/// use milepost::{Autosave, Labels};
/// let autosave = Autosave::every_steps(1_000)
///     .or_every(Duration::from_secs(3_600))
///     .labels(Labels::new().with("kind", "hourly"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autosave {
    steps: Option<u64>,
    time: Option<Duration>,
    labels: Labels,
}

impl Autosave {
    /// After so many steps since the newest checkpoint, whoever saved it; at least one.
    #[must_use]
    pub fn every_steps(steps: u64) -> Self {
        Self { steps: Some(steps.max(1)), time: None, labels: Labels::new() }
    }

    /// With the first step that is made so long after the newest checkpoint, by the store's clock.
    #[must_use]
    pub fn every(time: Duration) -> Self {
        Self { steps: None, time: Some(time), labels: Labels::new() }
    }

    /// Also after so many steps.
    #[must_use]
    pub fn or_every_steps(self, steps: u64) -> Self {
        Self { steps: Some(steps.max(1)), ..self }
    }

    /// Also after so long.
    #[must_use]
    pub fn or_every(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }

    /// What these checkpoints are labelled with.
    #[must_use]
    pub fn labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    fn is_due(&self, last: Last, steps: u64, now: Timestamp) -> bool {
        let made = steps.saturating_sub(last.steps);
        self.steps.is_some_and(|every| made >= every)
            || self.time.is_some_and(|every| made > 0 && now >= last.at.after(every))
    }
}

/// The newest checkpoint of a run: after how many of its steps, and when. Of a run without one, its
/// beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) steps: u64,
    pub(super) at: Timestamp,
}

/// What a handle on a run was told to save and to keep.
#[derive(Debug, Clone)]
pub(super) struct Saves {
    /// The beginning of the run.
    pub(super) begun: Last,
    pub(super) autosave: Option<Autosave>,
    pub(super) retention: Option<Retention>,
    /// Looked up by the first step that needs it.
    pub(super) last: Option<Last>,
    /// How often a large state may still be saved before it is proven as a whole.
    unproven_left: u32,
}

/// A large state is proven as a whole once in so many saves, the first of a handle among them. Reading
/// and encoding it costs about four times what a save of it does: this way, some percent of all saves.
const PROVEN_EVERY: u32 = 64;

impl Saves {
    pub(super) fn new(created: Timestamp) -> Self {
        let begun = Last { steps: 0, at: created };
        Self { begun, autosave: None, retention: None, last: None, unproven_left: 0 }
    }

    /// What the next save of a large state has to prove.
    pub(super) fn proof(&mut self) -> Proof {
        if self.unproven_left == 0 {
            self.unproven_left = PROVEN_EVERY - 1;
            return Proof::Now;
        }
        self.unproven_left -= 1;
        Proof::OfWhatIsNew
    }

    /// The labels of the checkpoint that is due, if one is.
    pub(super) fn due(&self, steps: u64, now: Timestamp) -> Option<Labels> {
        let (autosave, last) = (self.autosave.as_ref()?, self.last?);
        autosave.is_due(last, steps, now).then(|| autosave.labels.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_ms(seconds * 1_000)
    }

    #[test]
    fn a_checkpoint_is_due_by_steps_or_by_time_and_never_without_a_step() {
        let last = Last { steps: 10, at: at(100) };
        let steps = Autosave::every_steps(5);
        assert!(!steps.is_due(last, 14, at(9_999)));
        assert!(steps.is_due(last, 15, at(100)));
        let time = Autosave::every(60 * SECOND);
        assert!(!time.is_due(last, 11, at(159)));
        assert!(time.is_due(last, 11, at(160)));
        assert!(!time.is_due(last, 10, at(160)));
        let both = time.or_every_steps(5);
        assert!(both.is_due(last, 15, at(100)) && both.is_due(last, 11, at(160)));
        assert_eq!(both, Autosave::every_steps(5).or_every(60 * SECOND));
        assert!(Autosave::every_steps(0).is_due(last, 11, at(0)));
        assert!(!Autosave::every_steps(0).is_due(last, 10, at(0)));
    }

    #[test]
    fn a_clock_that_goes_back_makes_nothing_due() {
        let last = Last { steps: 10, at: at(100) };
        assert!(!Autosave::every(SECOND).is_due(last, 99, at(5)));
    }
}
