//! What the benchmarks share: sizes, a state, keys in order and keys at random.

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use milepost::testing::Rng;
use milepost::{Error, MemoryDisk, Options, Run, Store, Topic, Versioned};
use serde::{Deserialize, Serialize};

/// Orders of a number and a price.
pub const ORDERS: Topic<(u64, i64), u64> = Topic::new("orders");

/// Sizes of a state, in bytes: a few counters, a window, the most that stays in one piece.
pub const STATE_BYTES: [usize; 3] = [100, 4 << 10, 64 << 10];

/// Criterion as the command line wants it, with times that suit a laptop.
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .sample_size(30)
        .configure_from_args()
}

/// Whether only to see that it runs: criterion's `--test`.
pub fn is_trial() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// A state of about so many bytes: prices, at five bytes each.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Window {
    pub steps: u64,
    pub closes: Vec<i64>,
}

impl Versioned for Window {
    const NAME: &'static str = "window";
    const VERSION: u32 = 1;
}

impl Window {
    pub fn of_bytes(bytes: usize) -> Self {
        let closes = (0..bytes / 5).map(|n| 60_000 + i64::try_from(n % 9_999).unwrap_or(0));
        Self { steps: 0, closes: closes.collect() }
    }
}

/// A store in memory, whose commits cost all but the disk.
pub fn in_memory() -> Store {
    Options::new().create_on(Arc::new(MemoryDisk::new())).unwrap()
}

/// A run whose state has about so many bytes, durably.
pub fn run_of(store: &Store, bytes: usize) -> Run<Window> {
    let mut run = store.run::<Window>("bench").unwrap();
    run.step("first", 0, |tx| {
        tx.state = Window::of_bytes(bytes);
        Ok(())
    })
    .unwrap();
    run
}

/// Keys as they come: in order.
pub fn key_of(n: u64) -> String {
    format!("bar-{n:012}")
}

/// One of the first `end` keys.
pub fn known_key(rng: &mut Rng, end: u64) -> String {
    key_of(rng.below(end))
}

/// What a closure says that only wants to see how far it gets.
pub fn refuse<T>() -> milepost::Result<T> {
    Err(Error::abort("enough seen"))
}
