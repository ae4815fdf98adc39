//! The tasks about states: a large one of which little changes, a small one beside none, many
//! checkpoints.

use super::harness::{self, Caller, Seen, Watch};
use super::{Report, Spec};
use crate::Result;
use crate::cases::Task;
use crate::engines::large::{Book, Keeper, Line, Milepost, open};
use crate::engines::{Config, Kind};
use crate::measure::allocated_bytes;
use milepost::{CheckpointFilter, Labels, Options, Run, Store, Versioned};
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const LINE_BYTES: u64 = size_of::<Line>() as u64;

pub(super) fn measure(kind: Kind, spec: &Spec, report: &mut Report) -> Result<()> {
    let config = Config { dir: &spec.dir, ttl: None };
    let window = Duration::from_secs_f64(spec.seconds);
    let watch = Watch { threads: 1, warm_up: window / 5, window, dir: &spec.dir, sample: false };
    match spec.task {
        Task::LargeState { bytes, places } => {
            let lines = bytes / LINE_BYTES;
            let changed = usize::try_from(lines / 100)?;
            // Before anybody looks: the first save writes all of it.
            let mut keeper = open(kind, &config)?;
            keeper.save(1, &|book| book.fill(lines))?;
            let first = Mutex::new(Some(Saver { keeper, saved: 1, lines, changed, places }));
            let make = |_| -> Result<Box<dyn Caller>> {
                let first = first.lock().ok().and_then(|mut first| first.take());
                Ok(Box::new(first.ok_or("there is one caller")?))
            };
            let seen = harness::run(&watch, &make)?;
            report.times_changed =
                seen.each(seen.bytes).map(|written| written / to_f64(changed as u64 * LINE_BYTES));
            report.seen(&seen);
        }
        Task::SmallState => {
            let half = Watch { warm_up: watch.warm_up / 2, window: watch.window / 2, ..watch };
            let store = Options::new().create(spec.dir.join("store.mp"))?;
            let seen = harness::run(&half, &|_| Small::<Kilobyte>::begin(&store, "kilobyte"))?;
            report.seen(&seen);
            let fixed = harness::run(&half, &|_| Small::<Fixed>::begin(&store, "fixed"))?;
            report.fixed_steps_per_s = Some(fixed.rate());
        }
        Task::SlowClosures { runs } => {
            let half = Watch { warm_up: watch.warm_up / 2, window: watch.window / 2, ..watch };
            let store = Options::new().create(spec.dir.join("store.mp"))?;
            let make = |run| Small::<Fixed>::slow(&store, &format!("r{run}"));
            let one = harness::run(&half, &make)?;
            let all = harness::run(&Watch { threads: runs, ..half }, &make)?;
            report.seen(&all);
            report.one_steps_per_s = Some(one.rate());
        }
        Task::Chunking { bytes } => {
            let state = random(bytes);
            let (start, mut turns) = (Instant::now(), 0);
            while start.elapsed() < window {
                black_box(milepost::testing::chunk_lengths(black_box(&state)));
                turns += 1;
            }
            report.steps_per_s = to_f64(turns) / start.elapsed().as_secs_f64();
            report.mb_per_s = Some(report.steps_per_s * to_f64(bytes) / 1e6);
        }
        Task::History { checkpoints, bytes } => history(&config, checkpoints, bytes, report)?,
        _ => {}
    }
    Ok(())
}

fn history(config: &Config<'_>, checkpoints: u64, bytes: u64, report: &mut Report) -> Result<()> {
    let lines = bytes / LINE_BYTES;
    let changed = usize::try_from(lines / 20)?;
    let Milepost { store, mut run } = Milepost::open(config)?;
    let start = Instant::now();
    for number in 0..checkpoints {
        run.step(number.to_string(), number, |tx| {
            if number == 0 {
                tx.state.fill(lines);
            } else {
                tx.state.change(number, changed, 4);
            }
            tx.checkpoint(Labels::new())
        })?;
    }
    let took = start.elapsed();
    report.steps_per_s = to_f64(checkpoints) / took.as_secs_f64();
    let logical = checkpoints * bytes;
    let asked = |what: &dyn Fn() -> Result<bool>| -> Result<f64> {
        const TIMES: u32 = 200;
        let start = Instant::now();
        for _ in 0..TIMES {
            if !black_box(what()?) {
                return Err("a checkpoint is missing".into());
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES))
    };
    let kept = store.checkpoints();
    report.latest_us = Some(asked(&|| {
        let latest = kept.latest("book")?;
        Ok(latest.is_some_and(|latest| latest.position.index() == Some(checkpoints - 1)))
    })?);
    let filter = CheckpointFilter::new().run("book");
    report.page_us = Some(asked(&|| Ok(kept.list(&filter)?.checkpoints.len() == 50))?);
    drop((run, kept));
    store.close()?;
    report.store_to_logical = Some(to_f64(allocated_bytes(config.dir)) / to_f64(logical));
    Ok(())
}

/// Saves one large state again and again.
struct Saver {
    keeper: Box<dyn Keeper>,
    saved: u64,
    lines: u64,
    changed: usize,
    places: usize,
}

impl Caller for Saver {
    fn turn(&mut self) -> Result<usize> {
        self.saved += 1;
        let (saved, changed, places) = (self.saved, self.changed, self.places);
        self.keeper.save(saved, &|book| book.change(saved, changed, places))?;
        Ok(1)
    }

    fn finish(&mut self) -> Result<()> {
        let mut expected = Book::default();
        expected.fill(self.lines);
        for save in 2..=self.saved {
            expected.change(save, self.changed, self.places);
        }
        let (number, lines) = self.keeper.read_back()?;
        if number == self.saved && lines == expected.lines {
            return Ok(());
        }
        Err(format!("save {} is not what is read back, which is save {number}", self.saved).into())
    }
}

#[derive(Serialize, Deserialize)]
struct Kilobyte {
    lines: [Line; 16],
}

impl Default for Kilobyte {
    fn default() -> Self {
        Self { lines: [[0.0; 8]; 16] }
    }
}

/// A state that is stepped.
trait Stepped: Versioned + Serialize + for<'de> Deserialize<'de> + Default + 'static {
    fn change(&mut self, number: u64);
}

impl Versioned for Kilobyte {
    const NAME: &'static str = "kilobyte";
    const VERSION: u32 = 1;
}

impl Stepped for Kilobyte {
    fn change(&mut self, number: u64) {
        self.lines = [[to_f64(number); 8]; 16];
    }
}

/// A row of eight bytes, whatever the number.
#[derive(Default, Serialize, Deserialize)]
struct Fixed {
    number: [u8; 8],
}

impl Versioned for Fixed {
    const NAME: &'static str = "fixed";
    const VERSION: u32 = 1;
}

impl Stepped for Fixed {
    fn change(&mut self, number: u64) {
        self.number = number.to_le_bytes();
    }
}

struct Small<S> {
    run: Run<S>,
    next: u64,
    /// What the closure of a step does beside changing the state.
    takes: Duration,
}

impl<S: Stepped> Small<S> {
    fn begin<'a>(store: &Store, run: &str) -> Result<Box<dyn Caller + 'a>> {
        Self::of(store, run, Duration::ZERO)
    }

    /// Of a run that may have steps already.
    fn slow<'a>(store: &Store, run: &str) -> Result<Box<dyn Caller + 'a>> {
        Self::of(store, run, Duration::from_millis(1))
    }

    fn of<'a>(store: &Store, run: &str, takes: Duration) -> Result<Box<dyn Caller + 'a>> {
        let run = store.run(run)?;
        let next = run.next_index();
        Ok(Box::new(Self { run, next, takes }))
    }
}

impl<S: Stepped> Caller for Small<S> {
    fn turn(&mut self) -> Result<usize> {
        let (number, takes) = (self.next, self.takes);
        self.next += 1;
        self.run.step(format!("{number:020}"), number, |tx| {
            if !takes.is_zero() {
                thread::sleep(takes);
            }
            tx.state.change(number);
            Ok(())
        })?;
        Ok(1)
    }

    fn finish(&mut self) -> Result<()> {
        let last = self.next.checked_sub(1);
        if self.run.position().index() == last { Ok(()) } else { Err("a step is missing".into()) }
    }
}

fn random(bytes: u64) -> Vec<u8> {
    let mut book = Book::default();
    book.fill(bytes / LINE_BYTES);
    book.lines.as_flattened().iter().flat_map(|float| float.to_le_bytes()).collect()
}

impl Report {
    pub(super) fn seen(&mut self, seen: &Seen) {
        self.steps_per_s = seen.rate();
        self.p50_us = seen.latency.percentile_us(50.0);
        self.p99_us = seen.latency.percentile_us(99.0);
        self.fsyncs_per_step = seen.each(seen.flushes);
        self.bytes_per_step = seen.each(seen.bytes);
        self.device_bytes_per_step = seen.each(seen.device_bytes);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
