//! Fills a store: the rows in bulk, then a thousand single steps, so that what a kill leaves
//! behind (a write-ahead log, a memtable, a file that was not closed) is that of a program at work.

use crate::Result;
use crate::cases::TAIL;
use crate::engines::{Engine, Mode};
use crate::work::{Feed, Order, Step, mixed, step};

const CHUNK: usize = 10_000;

pub(super) fn fill(engine: &dyn Engine, rows: u64, order: Order) -> Result<()> {
    let mut session = engine.session(0, Mode::Pipelined)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    for step in steps(rows, order) {
        chunk.push(step);
        if chunk.len() == CHUNK {
            session.load(&chunk)?;
            chunk.clear();
        }
    }
    session.load(&chunk)?;
    drop(session);
    let mut session = engine.session(0, Mode::Wait)?;
    let mut feed = Feed { run: 0, order, next: rows };
    for _ in 0..TAIL {
        session.submit(&feed.step())?;
    }
    session.drain()?;
    Ok(())
}

/// Random keys are loaded sorted: they are the same keys, and the B-trees take them in seconds
/// instead of minutes. Positions go up all the same.
fn steps(rows: u64, order: Order) -> Box<dyn Iterator<Item = Step>> {
    match order {
        Order::Ordered => Box::new((0..rows).map(|n| step(0, Order::Ordered, n))),
        Order::Random => {
            let mut numbers: Vec<u64> = (0..rows).collect();
            numbers.sort_unstable_by_key(|n| mixed(*n));
            let steps = numbers.into_iter().zip(0..);
            Box::new(steps.map(|(n, position)| Step { position, ..step(0, Order::Random, n) }))
        }
    }
}
