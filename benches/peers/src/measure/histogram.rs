//! Latencies in buckets: 64 to each doubling, so a percentile is right within 1.6 %, in 30 KiB,
//! whatever the number of steps. (A list of all of them would be the largest thing in memory.)

use std::time::Duration;

const PER_DOUBLING: u64 = 64;
const BUCKETS: usize = 64 * 59;

pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, took: Duration, times: u64) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += times;
            self.total += times;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// In microseconds; `None` where nothing was recorded.
    pub(crate) fn percentile_us(&self, percent: f64) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let wanted = self.total as f64 * percent / 100.0;
        let mut below = 0.0;
        for (index, count) in self.counts.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            let here = *count as f64;
            below += here;
            if here > 0.0 && below >= wanted {
                return Some(middle_ns(index) / 1000.0);
            }
        }
        None
    }
}

/// Values below 64 each have a bucket of their own; above, the six bits after the leading one.
fn bucket(ns: u64) -> usize {
    let doublings = u64::from(63_u32.saturating_sub(ns.leading_zeros())).saturating_sub(6);
    let within = ns >> doublings;
    usize::try_from(doublings * PER_DOUBLING + within).unwrap_or(0)
}

fn middle_ns(index: usize) -> f64 {
    let index = u64::try_from(index).unwrap_or(0);
    let doublings = (index / PER_DOUBLING).saturating_sub(1);
    let low = (index - doublings * PER_DOUBLING) << doublings;
    let width = 1_u64 << doublings;
    #[expect(clippy::cast_precision_loss, reason = "a latency of 2^52 ns is 52 days")]
    let middle = low as f64 + (width - 1) as f64 / 2.0;
    middle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_within_two_percent() {
        for exponent in 0..50 {
            let ns = 1_u64 << exponent | 1_u64 << exponent >> 3;
            #[expect(clippy::cast_precision_loss, reason = "powers of two below 2^50")]
            let (got, want) = (middle_ns(bucket(ns)), ns as f64);
            assert!((got - want).abs() <= want * 0.02, "{ns}: {got}");
        }
    }

    #[test]
    fn percentiles_are_taken_over_everything_merged() {
        let (mut fast, mut slow) = (Histogram::new(), Histogram::new());
        fast.record(Duration::from_micros(10), 98);
        slow.record(Duration::from_millis(1), 2);
        fast.merge(&slow);
        assert!(fast.percentile_us(50.0).is_some_and(|us| (9.8..10.2).contains(&us)));
        assert!(fast.percentile_us(99.0).is_some_and(|us| (980.0..1020.0).contains(&us)));
    }

    #[test]
    fn the_longest_time_has_a_bucket() {
        assert!(bucket(u64::MAX) < BUCKETS);
    }
}
