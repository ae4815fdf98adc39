//! A measured process: opens one store, does one task, reports one line, and waits to be killed.

mod harness;
mod load;
mod states;
mod tasks;

use crate::Result;
use crate::cases::{TAIL, Task};
use crate::engines::{self, Config, Engine, EngineName, Kind, Mode};
use crate::measure::{Flushes, peak_rss_bytes, written_bytes};
use crate::work::{Order, key};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) engine: String,
    pub(crate) dir: PathBuf,
    pub(crate) task: Task,
    pub(crate) seconds: f64,
}

/// What it found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) steps_per_s: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) fsyncs_per_step: Option<f64>,
    pub(crate) bytes_per_step: Option<f64>,
    pub(crate) device_bytes_per_step: Option<f64>,
    pub(crate) open_ms: f64,
    pub(crate) peak_rss_bytes: Option<u64>,
    pub(crate) random_steps_per_s: Option<f64>,
    pub(crate) live_bytes: Option<u64>,
    pub(crate) times_changed: Option<f64>,
    pub(crate) fixed_steps_per_s: Option<f64>,
    /// In `state/slow-closures`: the rate of one run by itself.
    pub(crate) one_steps_per_s: Option<f64>,
    pub(crate) mb_per_s: Option<f64>,
    pub(crate) store_to_logical: Option<f64>,
    pub(crate) latest_us: Option<f64>,
    pub(crate) page_us: Option<f64>,
    /// Seconds, steps a second, bytes on disk.
    pub(crate) series: Vec<(f64, f64, u64)>,
}

pub(crate) fn main(spec: &str) -> Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let name: EngineName = spec.engine.parse()?;
    if spec.task.is_of_states() {
        let mut report = Report::default();
        states::measure(name.kind, &spec, &mut report)?;
        return tell(&mut report);
    }
    let (engine, mut report) = open(name, &spec)?;
    match spec.task {
        Task::Load { rows, order, close } => {
            load::fill(engine.as_ref(), rows, order)?;
            if close {
                engine.close()?;
                return tell(&mut report);
            }
        }
        Task::Open { .. } => {}
        task => tasks::measure(engine.as_ref(), name, task, &spec, &mut report)?,
    }
    tell(&mut report)?;
    // The parent ends this process by SIGKILL; should the parent be gone, the pipe closes.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn tell(report: &mut Report) -> Result<()> {
    report.peak_rss_bytes = peak_rss_bytes();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?)?;
    out.flush()?;
    Ok(())
}

/// Opens the store and makes sure it answers: some engines do the work of opening at the first
/// read. A store that was filled must know how far it had come, killed or not.
fn open(name: EngineName, spec: &Spec) -> Result<(Box<dyn Engine>, Report)> {
    let ttl = match spec.task {
        Task::Churn { ttl_ms } => Some(Duration::from_millis(ttl_ms)),
        _ => None,
    };
    let (flushes, bytes) = (Flushes::of_this_process(), written_bytes());
    let before = flushes.count();
    let start = Instant::now();
    let engine = engines::open(name.kind, &Config { dir: &spec.dir, ttl })?;
    if let Task::Open { rows } | Task::Scale { rows } = spec.task
        && name.kind != Kind::RedbOnMilepost
    {
        answers(engine.as_ref(), rows)?;
    }
    let took = start.elapsed().as_secs_f64();
    let mut report = Report { open_ms: took * 1e3, ..Report::default() };
    if let Task::Open { .. } = spec.task {
        report.steps_per_s = 1.0 / took;
        report.p50_us = Some(took * 1e6);
        report.p99_us = report.p50_us;
        report.fsyncs_per_step = difference(before, flushes.count());
        report.bytes_per_step = difference(bytes, written_bytes());
    }
    Ok((engine, report))
}

/// `scale` goes on with a store that earlier rounds may have lengthened, so at least the loaded
/// rows must be there.
fn answers(engine: &dyn Engine, rows: u64) -> Result<()> {
    let last = rows + TAIL - 1;
    let mut session = engine.session(0, Mode::Wait)?;
    let position = session.position()?;
    if position.is_none_or(|position| position < last) {
        return Err(format!("lost steps: position {position:?} after {last} was durable").into());
    }
    if session.look_up(&[key(0, Order::Ordered, last)])? != 1 {
        return Err(format!("lost the key of step {last}, which was durable").into());
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes stay far below 2^52")]
fn difference(before: Option<u64>, after: Option<u64>) -> Option<f64> {
    Some(after?.saturating_sub(before?) as f64)
}
