//! Batching by hand: what a program does that cannot afford a flush a step. It collects 100 steps
//! and commits them together; none of them is durable before all are.

use super::Session;
use crate::Result;
use crate::work::{Key, Step};

/// How many steps go into one commit.
pub(crate) const BATCH: usize = 100;

pub(super) struct Batched<'a> {
    inner: Box<dyn Session + 'a>,
    waiting: Vec<Step>,
}

impl<'a> Batched<'a> {
    pub(super) fn new(inner: Box<dyn Session + 'a>) -> Self {
        Self { inner, waiting: Vec::with_capacity(BATCH) }
    }
}

impl Session for Batched<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        self.inner.commit(steps)
    }

    fn submit(&mut self, step: &Step) -> Result<usize> {
        self.waiting.push(*step);
        if self.waiting.len() < BATCH { Ok(0) } else { self.drain() }
    }

    fn drain(&mut self) -> Result<usize> {
        let durable = self.waiting.len();
        if durable > 0 {
            self.inner.commit(&self.waiting)?;
            self.waiting.clear();
        }
        Ok(durable)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        self.inner.look_up(keys)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        self.inner.position()
    }
}
