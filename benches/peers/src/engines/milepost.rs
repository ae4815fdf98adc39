//! Milepost, as the README shows it: `run.step` where the caller waits, `run.submit` where it
//! pipelines. Default options, and the same 64 MiB of cache as the others.
//!
//! The state is 15 floats and the outcome 7 floats and 4 bytes: 120 and 60 bytes as encoded, which
//! Milepost does inside the step (the peers are handed bytes).

use super::{CACHE_BYTES, Config, Engine, IN_FLIGHT, Mode, Session};
use crate::Result;
use crate::work::{self, OUTCOME_LEN, STATE_LEN, Step};
use milepost::{
    Done, Error, ErrorKind, Key, OnCopy, Options, Pending, Position, Run, Store, Tx, Versioned,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Default, Serialize, Deserialize)]
struct State {
    values: [f64; STATE_LEN / 8],
}

impl Versioned for State {
    const NAME: &'static str = "bench-state";
    const VERSION: u32 = 1;
}

#[derive(Serialize, Deserialize)]
struct Outcome {
    values: [f64; OUTCOME_LEN / 8],
    code: [u8; OUTCOME_LEN % 8],
}

/// The file of the store in its folder; redb is timed on it too.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join("store.mp")
}

struct Milepost {
    store: Store,
    ttl: Option<Duration>,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    // Cases that need a filled store get a copy of one.
    let options = Options::new().cache_bytes(CACHE_BYTES).on_copy(OnCopy::Moved);
    Ok(Milepost { store: options.open_or_create(file(config.dir))?, ttl: config.ttl })
}

impl Engine for Milepost {
    fn session(&self, run: u16, mode: Mode) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Writer {
            store: self,
            run: self.store.run::<State>(&format!("r{run:05}"))?,
            in_flight_max: if matches!(mode, Mode::Pipelined) { IN_FLIGHT } else { 0 },
            pending: VecDeque::new(),
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.store.close()?)
    }
}

struct Writer<'a> {
    store: &'a Milepost,
    run: Run<State>,
    /// 0 for a caller that waits.
    in_flight_max: usize,
    pending: VecDeque<Pending<Done<Outcome>>>,
}

impl Writer<'_> {
    fn key(&self, key: &work::Key) -> Key {
        let key = Key::new(key);
        match self.store.ttl {
            Some(ttl) => key.expires_after(ttl),
            None => key,
        }
    }
}

impl Writer<'_> {
    fn send(&mut self, step: &Step) -> Result<()> {
        let (state, outcome) = (state_of(step), outcome_of(step));
        let pending = self.run.submit(self.key(&step.key), step.position, move |tx| {
            tx.state = state;
            Ok(outcome)
        })?;
        self.pending.push_back(pending);
        Ok(())
    }

    /// Waits until at most so many steps are in flight.
    fn wait_to(&mut self, most: usize) -> Result<usize> {
        let mut durable = 0;
        while self.pending.len() > most {
            if let Some(oldest) = self.pending.pop_front() {
                oldest.wait()?;
                durable += 1;
            }
        }
        Ok(durable)
    }
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        if let [step] = steps {
            let (state, outcome) = (state_of(step), outcome_of(step));
            let done = self.run.step(self.key(&step.key), step.position, |tx| {
                tx.state = state;
                Ok(outcome)
            })?;
            return Ok(usize::from(done.is_fresh()));
        }
        let items: Vec<(Key, u64, &Step)> =
            steps.iter().map(|step| (self.key(&step.key), step.position, step)).collect();
        let done = self.run.batch(items, |tx, step| {
            tx.state = state_of(step);
            Ok(outcome_of(step))
        })?;
        Ok(done.iter().filter(|done| done.is_fresh()).count())
    }

    fn submit(&mut self, step: &Step) -> Result<usize> {
        if self.in_flight_max == 0 {
            self.commit(std::slice::from_ref(step))?;
            return Ok(1);
        }
        self.send(step)?;
        self.wait_to(self.in_flight_max - 1)
    }

    fn drain(&mut self) -> Result<usize> {
        let durable = self.wait_to(0)?;
        self.store.store.flush()?;
        Ok(durable)
    }

    fn load(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.send(step)?;
            self.wait_to(IN_FLIGHT)?;
        }
        self.drain().map(drop)
    }

    fn look_up(&mut self, keys: &[work::Key]) -> Result<usize> {
        let mut seen = 0;
        for key in keys {
            // What a program does that meets a step again: it steps, and is told the outcome.
            let at = self.run.position().clone();
            let not_seen = |_: &mut Tx<'_, State>| Err(Error::abort("not seen before"));
            match self.run.step::<Outcome>(Key::new(key), at, not_seen) {
                Ok(Done::Duplicate(outcome)) => {
                    seen += usize::from(std::hint::black_box(outcome).code.len() > 1);
                }
                Ok(Done::Fresh(_)) => {}
                Err(error) if error.kind() == ErrorKind::Aborted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(seen)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        Ok(match self.run.position() {
            Position::Index(index) => Some(*index),
            _ => None,
        })
    }
}

fn state_of(step: &Step) -> State {
    State { values: floats(&step.state) }
}

fn outcome_of(step: &Step) -> Outcome {
    let code = step.outcome.last_chunk().copied().unwrap_or_default();
    Outcome { values: floats(&step.outcome), code }
}

fn floats<const N: usize>(bytes: &[u8]) -> [f64; N] {
    let mut values = [0.0; N];
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *value = f64::from_le_bytes(*bytes);
    }
    values
}
