//! The measured tasks, as callers for the harness.

use super::harness::{self, Caller, Watch};
use super::{Report, Spec};
use crate::Result;
use crate::cases::{TAIL, Task};
use crate::engines::{self, BATCH, Engine, EngineName, Mode, Session};
use crate::work::{Feed, KEY_LEN, Key, OUTCOME_LEN, Order, key, mixed};
use std::time::Duration;

pub(super) fn measure(
    engine: &dyn Engine,
    name: EngineName,
    task: Task,
    spec: &Spec,
    report: &mut Report,
) -> Result<()> {
    let window = Duration::from_secs_f64(spec.seconds);
    let mut watch =
        Watch { threads: 1, warm_up: window / 5, window, dir: &spec.dir, sample: false };
    let mode = |pipelined| if pipelined { Mode::Pipelined } else { Mode::Wait };
    let stepper = |run: u16, mode, next, order| -> Result<Box<dyn Caller + '_>> {
        let session = engines::session(engine, name, run, mode)?;
        Ok(Box::new(Stepper { session, feed: Feed { run, order, next } }))
    };
    match task {
        Task::Steps { threads, pipelined, rows, order } => {
            watch.threads = threads;
            let first = if rows == 0 { 0 } else { rows + TAIL };
            let make = |run| stepper(run, mode(pipelined), first, order);
            report.seen(&harness::run(&watch, &make)?);
        }
        Task::LookUp { rows } => {
            let make = |run| -> Result<Box<dyn Caller + '_>> {
                let session = engine.session(run, Mode::Wait)?;
                let batch = if name.by_hand { BATCH } else { 1 };
                Ok(Box::new(Asker { session, rows, asked: 0, batch, keys: Vec::new() }))
            };
            report.seen(&harness::run(&watch, &make)?);
        }
        Task::Churn { ttl_ms } => {
            watch.sample = true;
            let make = |run| stepper(run, mode(true), 0, Order::Ordered);
            let seen = harness::run(&watch, &make)?;
            report.seen(&seen);
            report.live_bytes = Some(live_bytes(seen.rate(), ttl_ms));
            report.series = seen.series;
        }
        Task::Scale { .. } => {
            // Two measurements in the time of one: there are four sizes of it.
            (watch.warm_up, watch.window) = (watch.warm_up / 2, window / 2);
            let next = engine.session(0, Mode::Wait)?.position()?.map_or(0, |last| last + 1);
            let make = |run| stepper(run, mode(true), next, Order::Ordered);
            report.seen(&harness::run(&watch, &make)?);
            let next = engine.session(0, Mode::Wait)?.position()?.map_or(0, |last| last + 1);
            let make = |run| stepper(run, mode(true), next, Order::Random);
            report.random_steps_per_s = Some(harness::run(&watch, &make)?.rate());
        }
        // Those that are done when they have opened, or open their own.
        _ => {}
    }
    Ok(())
}

/// Keys and outcomes that have not fallen due, at a steady rate.
fn live_bytes(rate: f64, ttl_ms: u64) -> u64 {
    #[expect(clippy::cast_precision_loss, reason = "a lifetime in milliseconds")]
    let keys = rate * (ttl_ms as f64) / 1e3;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, small")]
    let keys = keys as u64;
    keys * u64::try_from(KEY_LEN + OUTCOME_LEN).unwrap_or(0)
}

/// Makes one step after the other.
struct Stepper<'a> {
    session: Box<dyn Session + 'a>,
    feed: Feed,
}

impl Caller for Stepper<'_> {
    fn turn(&mut self) -> Result<usize> {
        let step = self.feed.step();
        self.session.submit(&step)
    }

    fn finish(&mut self) -> Result<()> {
        self.session.drain()?;
        let (stored, last) = (self.session.position()?, self.feed.next.checked_sub(1));
        if stored == last {
            return Ok(());
        }
        Err(format!("step {last:?} was acknowledged, the store's position is {stored:?}").into())
    }
}

/// Asks for keys that are in the store, in random order.
struct Asker<'a> {
    session: Box<dyn Session + 'a>,
    rows: u64,
    asked: u64,
    batch: usize,
    keys: Vec<Key>,
}

impl Caller for Asker<'_> {
    fn turn(&mut self) -> Result<usize> {
        self.keys.push(key(0, Order::Ordered, mixed(self.asked) % self.rows));
        self.asked += 1;
        if self.keys.len() < self.batch {
            return Ok(0);
        }
        let seen = self.session.look_up(&self.keys)?;
        if seen != self.keys.len() {
            return Err(format!("{seen} of {} keys that were written", self.keys.len()).into());
        }
        self.keys.clear();
        Ok(seen)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
