//! Runs callers for a while and looks at a window of it: steps acknowledged, their latencies, and
//! what the process asked of the disk in the same window. The one who watches sleeps meanwhile.

use crate::Result;
use crate::measure::{Flushes, Histogram, allocated_bytes, device_bytes, written_bytes};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// One caller: hands over one item a turn.
pub(super) trait Caller {
    /// Returns how many items, oldest first, were acknowledged in this turn.
    fn turn(&mut self) -> Result<usize>;

    /// Waits for the rest and checks that the store knows what it acknowledged.
    fn finish(&mut self) -> Result<()>;
}

pub(super) type MakeCaller<'a> = dyn Fn(u16) -> Result<Box<dyn Caller + 'a>> + Sync + 'a;

/// How long, and how closely, to look.
pub(super) struct Watch<'a> {
    pub(super) threads: u16,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
    /// The store's folder.
    pub(super) dir: &'a Path,
    /// Notes rate and size on disk every second.
    pub(super) sample: bool,
}

/// What was seen in the window.
pub(super) struct Seen {
    pub(super) steps: u64,
    pub(super) seconds: f64,
    pub(super) latency: Histogram,
    pub(super) flushes: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) device_bytes: Option<u64>,
    pub(super) series: Vec<(f64, f64, u64)>,
}

const WARM_UP: u8 = 0;
const WINDOW: u8 = 1;
const STOP: u8 = 2;

pub(super) fn run(watch: &Watch<'_>, make: &MakeCaller<'_>) -> Result<Seen> {
    let phase = AtomicU8::new(WARM_UP);
    let acknowledged: Vec<AtomicU64> = (0..watch.threads).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..watch.threads)
            .zip(&acknowledged)
            .map(|(index, acknowledged)| {
                let phase = &phase;
                scope.spawn(move || {
                    let called = call(make, index, phase, acknowledged);
                    if called.is_err() {
                        phase.store(STOP, Relaxed);
                    }
                    called
                })
            })
            .collect();
        let mut seen = observe(watch, &phase, &acknowledged);
        for caller in callers {
            seen.latency.merge(&caller.join().map_err(|_| "a caller panicked")??);
        }
        Ok(seen)
    })
}

fn call(
    make: &MakeCaller<'_>,
    index: u16,
    phase: &AtomicU8,
    acknowledged: &AtomicU64,
) -> Result<Histogram> {
    let mut caller = make(index)?;
    let mut latency = Histogram::new();
    let mut waiting = VecDeque::new();
    let mut now = Instant::now();
    loop {
        let phase = phase.load(Relaxed);
        if phase == STOP {
            break;
        }
        waiting.push_back(now);
        let count = caller.turn()?;
        now = Instant::now();
        for handed_over in waiting.drain(..count.min(waiting.len())) {
            if phase == WINDOW {
                latency.record(now - handed_over, 1);
            }
        }
        acknowledged.fetch_add(u64::try_from(count)?, Relaxed);
    }
    caller.finish()?;
    Ok(latency)
}

fn observe(watch: &Watch<'_>, phase: &AtomicU8, acknowledged: &[AtomicU64]) -> Seen {
    let count = || acknowledged.iter().map(|count| count.load(Relaxed)).sum::<u64>();
    let flushes = Flushes::of_this_process();
    thread::sleep(watch.warm_up);
    let before = (flushes.count(), written_bytes(), device_bytes(watch.dir));
    let (start, first) = (Instant::now(), count());
    // Not over the STOP of a caller that failed.
    let _ = phase.compare_exchange(WARM_UP, WINDOW, Relaxed, Relaxed);
    let mut series = Vec::new();
    let (mut last_at, mut last_count) = (start, first);
    while start.elapsed() < watch.window && phase.load(Relaxed) != STOP {
        thread::sleep(Duration::from_secs(1).min(watch.window.saturating_sub(start.elapsed())));
        if watch.sample {
            let (at, counted) = (Instant::now(), count());
            let seconds = (at - last_at).as_secs_f64();
            if seconds > 0.5 {
                let rate = to_f64(counted - last_count) / seconds;
                series.push(((at - start).as_secs_f64(), rate, allocated_bytes(watch.dir)));
                (last_at, last_count) = (at, counted);
            }
        }
    }
    let (seconds, steps) = (start.elapsed().as_secs_f64(), count() - first);
    let after = (flushes.count(), written_bytes(), device_bytes(watch.dir));
    phase.store(STOP, Relaxed);
    let between = |before: Option<u64>, after: Option<u64>| Some(after?.saturating_sub(before?));
    Seen {
        steps,
        seconds,
        latency: Histogram::new(),
        flushes: between(before.0, after.0),
        bytes: between(before.1, after.1),
        device_bytes: between(before.2, after.2),
        series,
    }
}

impl Seen {
    pub(super) fn rate(&self) -> f64 {
        to_f64(self.steps) / self.seconds
    }

    /// A count of the window, a step.
    pub(super) fn each(&self, count: Option<u64>) -> Option<f64> {
        Some(to_f64(count?) / to_f64(self.steps.max(1)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
