//! What a store may believe of the time, and what it must.

use std::time::Duration;

use super::DAY_MS;

/// The latest time that the store may believe: more than it does, where it is careful. And the
/// latest that it must.
#[derive(Debug)]
pub(super) struct Belief {
    pub(super) high_ms: u64,
    pub(super) low_ms: u64,
    /// What somebody has confirmed and no commit has written down, and how much had passed by then.
    pub(super) trusted: Option<(u64, u64)>,
    /// Leaps that nobody has confirmed: where to, and how much had passed by then.
    pub(super) suspects: Vec<(u64, u64)>,
    /// How often the machine was started, and how often it had been when the store was last sure to
    /// believe the clock: what passed since another start has no witness.
    pub(super) boots: u64,
    pub(super) boot: u64,
    /// What has passed by the machine's own clock.
    pub(super) passed_ms: u64,
    /// What has passed by the process's own clock, and not by the other.
    pub(super) unspent_ms: u64,
    pub(super) seen: Duration,
}

impl Belief {
    pub(super) fn read(&mut self, now_ms: u64, elapsed: Duration) {
        self.pass(elapsed);
        let ahead_ms = now_ms.saturating_sub(self.high_ms);
        if ahead_ms > DAY_MS + self.unspent_ms {
            self.suspects.push((now_ms, self.passed_ms));
        } else {
            self.unspent_ms = self.unspent_ms.saturating_sub(ahead_ms);
            self.high_ms += ahead_ms;
        }
    }

    fn pass(&mut self, elapsed: Duration) {
        let passed = elapsed.saturating_sub(self.seen).as_millis();
        self.seen = elapsed;
        let passed_ms = u64::try_from(passed).unwrap_or(u64::MAX);
        self.unspent_ms += passed_ms;
        self.passed_ms += passed_ms;
    }

    /// A commit at this time. Less than a day ahead needs no witness, and what somebody has confirmed
    /// is written down with it.
    pub(super) fn commit(&mut self, now_ms: u64) {
        if let Some((trusted_ms, passed_ms)) = self.trusted.take() {
            self.low_ms = self.low_ms.max(trusted_ms);
            // Until here, a crash would have taken it back, and what passed before it would count.
            self.unspent_ms = self.unspent_ms.min(self.passed_ms - passed_ms);
        }
        if now_ms.saturating_sub(self.low_ms) <= DAY_MS {
            self.low_ms = self.low_ms.max(now_ms);
            if now_ms >= self.high_ms {
                self.boot = self.boots;
            }
        }
    }

    pub(super) fn open(&mut self, now_ms: u64, elapsed: Duration) {
        let suspects = std::mem::take(&mut self.suspects);
        let was_started = self.boot != self.boots;
        self.read(now_ms, elapsed);
        // Since the leap: as much as has passed, or nobody knows how much.
        let agrees = |(at_ms, passed_ms): &(u64, u64)| {
            let witnessed_ms = DAY_MS + self.passed_ms - passed_ms;
            now_ms >= *at_ms && (was_started || now_ms - at_ms <= witnessed_ms)
        };
        if was_started || suspects.iter().any(agrees) {
            self.high_ms = self.high_ms.max(now_ms);
        }
        self.suspects.extend(suspects);
        self.trusted = None;
        self.commit(now_ms);
    }

    pub(super) fn trust(&mut self, now_ms: u64, elapsed: Duration) {
        self.high_ms = self.high_ms.max(now_ms);
        self.low_ms = self.low_ms.min(now_ms);
        self.pass(elapsed);
        self.trusted = Some((now_ms, self.passed_ms));
    }
}
