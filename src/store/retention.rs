//! How long what is over is kept: checkpoints, settled intents, audit rows, ended runs.

use std::time::Duration;

use crate::clock::Timestamp;

/// How many checkpoints of a run are kept. A checkpoint goes when it is neither among the last
/// [`keep_last`](Retention::keep_last) nor younger than [`keep_for`](Retention::keep_for); and the
/// oldest go while all of them together are over [`keep_bytes`](Retention::keep_bytes).
///
/// Whatever it says, three kinds stay: the newest of a run; a pinned one; and the one from before an
/// effect of the run that is not settled, so that the state it was decided in can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many stay whatever their age. 100.
    pub keep_last: u64,
    /// How long one stays however many there are; nothing stays for its age alone if that is zero.
    /// 7 days.
    pub keep_for: Duration,
    /// How large the states of all may be together, each counted whole, in bytes. 1 GiB.
    pub keep_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_last: 100,
            keep_for: Duration::from_secs(7 * 24 * 60 * 60),
            keep_bytes: 1 << 30,
        }
    }
}

impl Retention {
    /// Nothing goes on its own.
    #[must_use]
    pub const fn keep_all() -> Self {
        Self { keep_last: u64::MAX, keep_for: Duration::MAX, keep_bytes: u64::MAX }
    }

    /// Whether a checkpoint goes that has `newer` ones behind it and was saved `at`, while the
    /// states from it on take `bytes`.
    pub(crate) fn lets_go(&self, newer: u64, at: Timestamp, bytes: u64, now: Timestamp) -> bool {
        let is_surplus = newer >= self.keep_last && at.after(self.keep_for) <= now;
        newer > 0 && (is_surplus || bytes > self.keep_bytes)
    }
}

/// How long the records of what is over are kept: settled intents, decisions of people, and runs that
/// were ended. What is open or in doubt is never let go of. A key of a run that was not ended is only
/// forgotten by the life it was given, see [`Key::expires_after`](crate::Key::expires_after).
///
/// They go in the commits that settle another intent, write another audit row, or end another run: a
/// few in each, so a store that was larger before becomes smaller by and by, and stays so. The number
/// and the external id of an intent that is gone are never given to another one.
///
/// What was written down while the clock of a new machine was not set (before 2020) counts from the
/// first moment after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledRetention {
    /// How long a settled intent is kept. 30 days; `None` for ever.
    pub intents_for: Option<Duration>,
    /// How many of the newest numbers of the store a settled intent may be behind; intents, checkpoints
    /// and audit rows have one sequence of numbers. So of all settled intents at most so many are kept,
    /// however young they are. 1,000,000; `None` for any number.
    pub intents_last: Option<u64>,
    /// How long a decision of a person is kept. 365 days; `None` for ever.
    pub audit_for: Option<Duration>,
    /// How long a run is kept after [`Run::end`](crate::Run::end), with its keys, rows and
    /// checkpoints. 90 days; `None` for ever. Its name stays taken after that, in a record of some 100
    /// bytes: its keys are forgotten, and what it has done would count as new. A run with a pinned
    /// checkpoint stays.
    pub runs_for: Option<Duration>,
    /// How many of the newest numbers of the store the end of a run may be behind, as
    /// [`intents_last`](SettledRetention::intents_last). 1,000,000; `None` for any number.
    pub runs_last: Option<u64>,
}

impl Default for SettledRetention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            intents_for: Some(DAY.saturating_mul(30)),
            intents_last: Some(1_000_000),
            audit_for: Some(DAY.saturating_mul(365)),
            runs_for: Some(DAY.saturating_mul(90)),
            runs_last: Some(1_000_000),
        }
    }
}

impl SettledRetention {
    /// Nothing goes.
    #[must_use]
    pub const fn keep_all() -> Self {
        Self {
            intents_for: None,
            intents_last: None,
            audit_for: None,
            runs_for: None,
            runs_last: None,
        }
    }

    /// Whether an intent goes that has `newer` numbers behind it and was settled `at`.
    pub(crate) fn lets_intent_go(&self, newer: u64, at: Timestamp, now: Timestamp) -> bool {
        let is_old = self.intents_for.is_some_and(|time| at.after(time) <= now);
        is_old || self.intents_last.is_some_and(|last| newer >= last)
    }

    /// Whether a run goes that has `newer` numbers behind its end and was ended `at`.
    pub(crate) fn lets_run_go(&self, newer: u64, at: Timestamp, now: Timestamp) -> bool {
        let is_old = self.runs_for.is_some_and(|time| at.after(time) <= now);
        is_old || self.runs_last.is_some_and(|last| newer >= last)
    }

    /// Whether a decision goes that was taken `at`.
    pub(crate) fn lets_audit_go(&self, at: Timestamp, now: Timestamp) -> bool {
        self.audit_for.is_some_and(|time| at.after(time) <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_000_000);

    fn keep(keep_last: u64, seconds: u64, keep_bytes: u64) -> Retention {
        Retention { keep_last, keep_for: Duration::from_secs(seconds), keep_bytes }
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn a_checkpoint_goes_when_it_is_neither_among_the_last_nor_young() {
        let policy = keep(3, 100, u64::MAX);
        assert!(policy.lets_go(3, at(0), 1, NOW));
        assert!(!policy.lets_go(2, at(0), 1, NOW));
        assert!(!policy.lets_go(3, at(950_000), 1, NOW));
        assert!(!policy.lets_go(3, NOW.after(Duration::from_secs(9)), 1, NOW));
    }

    #[test]
    fn a_settled_intent_goes_when_it_is_old_or_far_behind() {
        let policy = SettledRetention {
            intents_for: Some(Duration::from_secs(100)),
            intents_last: Some(10),
            ..SettledRetention::keep_all()
        };
        assert!(policy.lets_intent_go(0, at(900_000), NOW));
        assert!(!policy.lets_intent_go(9, at(900_001), NOW));
        assert!(policy.lets_intent_go(10, NOW, NOW));
        assert!(!policy.lets_audit_go(at(0), at(u64::MAX)));
        let all = SettledRetention::keep_all();
        assert!(!all.lets_intent_go(u64::MAX, at(0), at(u64::MAX)));
    }

    #[test]
    fn the_oldest_go_while_all_are_too_large_but_never_the_newest() {
        let policy = keep(100, 100, 50);
        assert!(policy.lets_go(2, NOW, 51, NOW));
        assert!(!policy.lets_go(2, NOW, 50, NOW));
        assert!(!policy.lets_go(0, at(0), 51, NOW));
        assert!(!Retention::keep_all().lets_go(u64::MAX - 1, at(0), u64::MAX, at(u64::MAX)));
    }
}
