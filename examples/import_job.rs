//! An import job over three partitions: each line counts once, two lines per commit.
//!
//! `cargo run --example import_job`; `tests/it/examples.rs` kills it at every flush.

use std::collections::BTreeMap;

use milepost::{OrAbort, Position, Result, Store, Versioned};
use serde::{Deserialize, Serialize};

/// What the import has summed up so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub(crate) lines: u64,
    pub(crate) cents: BTreeMap<String, u64>,
}

impl Versioned for Totals {
    const NAME: &'static str = "totals";
    const VERSION: u32 = 1;
}

const PARTITIONS: [(&str, &[&str]); 3] = [
    ("orders-0", &["ada 100", "bob 250", "ada 30"]),
    ("orders-1", &["cyd 5"]),
    ("orders-2", &["bob 15", "ada 40", "cyd 60", "bob 1"]),
];

pub(crate) fn import(store: &Store) -> Result<Totals> {
    let mut run = store.run::<Totals>("orders")?;
    let done = match run.position() {
        Position::Offsets(offsets) => offsets.clone(),
        _ => BTreeMap::new(),
    };
    for (partition, lines) in PARTITIONS {
        let from = done.get(partition).map_or(0, |last| last + 1);
        let todo = (0u64..).zip(lines).filter(|(offset, _)| *offset >= from);
        let items = todo
            .map(|(offset, line)| (format!("{partition}/{offset}"), [(partition, offset)], *line));
        run.batches(items, 2, |tx, line| {
            let (name, cents) = line.split_once(' ').unwrap_or((line, "0"));
            *tx.state.cents.entry(name.to_owned()).or_default() +=
                cents.parse::<u64>().or_abort()?;
            tx.state.lines += 1;
            Ok(())
        })?;
    }
    Ok(run.state().clone())
}

#[allow(dead_code, reason = "the test that kills it has a main of its own")]
fn main() -> Result<()> {
    let store = Store::in_memory()?;
    println!("{:?}", import(&store)?);
    println!("again: {:?}", import(&store)?);
    Ok(())
}
