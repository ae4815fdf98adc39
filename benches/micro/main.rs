//! What the parts of this crate cost, each by itself; beside other engines, see `benches/peers`.
//!
//! ```text
//! cargo bench --all-features --bench micro                  all of them, some ten minutes
//! cargo bench --all-features --bench micro -- key_lookup    those whose name holds this
//! cargo bench --all-features --bench micro -- --test        each once, on small sizes
//! ```
//!
//! One binary, because linking is slow.
#![allow(unreachable_pub, reason = "a benchmark is nobody's library")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails measures nothing")]

mod common;
mod key_lookup;
mod plan;
mod record;
mod step;

fn main() {
    let mut criterion = common::criterion();
    record::benches(&mut criterion);
    key_lookup::benches(&mut criterion);
    plan::benches(&mut criterion);
    step::benches(&mut criterion);
    criterion.final_summary();
}
