//! The work that is done in the classes with processes: small, of every kind, and a function of its
//! numbers, so that a judge knows what must be there without having been told.

use milepost::{Result, Run, Topic, Tx, Versioned};
use serde::{Deserialize, Serialize};

pub(crate) const RUN: &str = "tour";
pub(crate) const TOPIC: Topic<u64, u64> = Topic::new("orders");
pub(crate) const SCOPE: &str = "calls";
/// Rows of the run are written over in turn.
pub(crate) const ROWS: u64 = 5;

/// A state that shows number, order and content of the steps that made it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tour {
    steps: u64,
    chain: u64,
    last: Vec<u64>,
}

impl Versioned for Tour {
    const NAME: &'static str = "tour";
    const VERSION: u32 = 1;
}

impl Tour {
    /// The state after the first `steps` steps.
    pub(crate) fn after(steps: u64) -> Self {
        let mut tour = Self::default();
        for n in 1..=steps {
            tour.take(n);
        }
        tour
    }

    /// One step on; its outcome.
    fn take(&mut self, n: u64) -> u64 {
        self.steps += 1;
        self.chain = (self.chain ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.last.push(n);
        if self.last.len() > 6 {
            self.last.remove(0);
        }
        self.chain
    }
}

/// The outcomes of the first `steps` steps.
pub(crate) fn outcomes(steps: u64) -> Vec<u64> {
    let mut tour = Tour::default();
    (1..=steps).map(|n| tour.take(n)).collect()
}

pub(crate) fn key_of(n: u64) -> String {
    format!("step-{n:05}")
}

pub(crate) fn row_of(n: u64) -> String {
    format!("row-{}", n % ROWS)
}

pub(crate) fn call_key(n: u64) -> String {
    format!("call-{n:05}")
}

/// What a call that was made answers.
pub(crate) fn call_outcome(n: u64) -> u64 {
    n * 7 + 1
}

/// Whether this step asks for an effect.
pub(crate) fn is_order(n: u64) -> bool {
    n.is_multiple_of(3)
}

/// What the step does.
pub(crate) fn step(tx: &mut Tx<'_, Tour>, n: u64) -> Result<u64> {
    let outcome = tx.state.take(n);
    tx.put(row_of(n), &n)?;
    if is_order(n) {
        tx.emit(&TOPIC, &n)?;
    }
    Ok(outcome)
}

/// The next step, whole.
pub(crate) fn take_step(run: &mut Run<Tour>) -> Result<u64> {
    let n = run.steps() + 1;
    run.step(key_of(n), n, |tx| step(tx, n))?;
    Ok(n)
}
