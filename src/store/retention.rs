//! How many checkpoints are kept.

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
    fn the_oldest_go_while_all_are_too_large_but_never_the_newest() {
        let policy = keep(100, 100, 50);
        assert!(policy.lets_go(2, NOW, 51, NOW));
        assert!(!policy.lets_go(2, NOW, 50, NOW));
        assert!(!policy.lets_go(0, at(0), 51, NOW));
        assert!(!Retention::keep_all().lets_go(u64::MAX - 1, at(0), u64::MAX, at(u64::MAX)));
    }
}
