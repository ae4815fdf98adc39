//! What plans start from beside the rows: numbers, the horizon and the clock.

use std::time::Duration;

use super::head::{ClockMark, Head, Horizon, Reading};
use crate::clock::Timestamp;
use crate::seq::Incarnation;

/// What the next plan starts from, beside the rows. Changed under the line's lock alone; a group
/// carries the marks as its last plan left them.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) next_id: u64,
    pub(super) incarnation: Incarnation,
    pub(super) horizon: Horizon,
    /// In memory only.
    pub(super) due: Due,
    pub(super) clock: ClockMark,
    /// The process's own clock when the wall clock was last believed.
    pub(super) witness: Duration,
}

/// What the clocks said at one moment.
#[derive(Clone, Copy)]
pub(super) struct Clocks {
    pub(super) reading: Reading,
    /// By the process's own clock.
    pub(super) elapsed: Duration,
}

/// What is known of what may go, so that not every plan looks for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// No key expires before this moment; 0 if that has to be looked up.
    pub(super) first: Timestamp,
    /// Whether there may be a run of which only a part is removed.
    pub(super) removals: bool,
}

impl Marks {
    /// As an opening leaves them, when the process's own clock stands so.
    pub(super) fn of(head: &Head, elapsed: Duration) -> Self {
        Self {
            next_id: head.next_id,
            incarnation: head.incarnation,
            horizon: head.horizon,
            due: Due { first: Timestamp::default(), removals: true },
            clock: head.clock,
            witness: elapsed,
        }
    }

    pub(super) fn read_clock(&mut self, reading: &Reading, elapsed: Duration) {
        let witness_ms = elapsed.saturating_sub(self.witness).as_millis();
        let before = self.clock.high_water;
        let witness_ms = u64::try_from(witness_ms).unwrap_or(u64::MAX);
        self.clock = self.clock.at_commit(reading, witness_ms);
        if self.clock.high_water != before {
            self.witness = elapsed;
        }
    }

    /// What it must be by now if the process's own clock is right: deadlines count from it, for a key
    /// that is kept too long costs only room. What expires does not go by it, see `docs/DECISIONS.md`.
    pub(super) fn lived(&self, elapsed: Duration) -> Timestamp {
        self.clock.high_water.after(elapsed.saturating_sub(self.witness))
    }
}

/// How many expired rows a plan may forget: the first one of a group, in proportion to what groups
/// bring in, so that a lone step after a long pause does not pay for all of it.
pub(super) fn forget_max(members: usize, rows_before: usize) -> usize {
    if members == 0 { 64 + 2 * rows_before } else { 0 }
}
