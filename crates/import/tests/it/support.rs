//! Two states, a clock, and the errors that calls must end with.

use std::sync::Arc;
use std::time::Duration;

use milepost::{
    Done, Error, ErrorKind, ManualClock, MemoryDisk, Options, Result, Run, Store, Timestamp,
    Versioned,
};
use serde::{Deserialize, Serialize};

/// A state that shows order, number and content of the steps that made it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    pub sum: u64,
    pub seen: Vec<u64>,
}

impl Versioned for Counter {
    const NAME: &'static str = "counter";
    const VERSION: u32 = 1;
}

/// A state of any size.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Blob {
    pub words: Vec<u64>,
}

impl Versioned for Blob {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 1;
}

/// 2023-11-14, the moment at which the tests' clocks start.
pub const T0: Timestamp = Timestamp::from_ms(1_700_000_000_000);

pub fn clock() -> ManualClock {
    ManualClock::new(T0)
}

pub fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The kind of the error that a call must end with.
#[track_caller]
pub fn kind<T>(result: Result<T>) -> ErrorKind {
    error(result).kind()
}

/// The error that a call must end with.
#[track_caller]
pub fn error<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}

/// A store on a disk in memory whose bytes can be looked at.
pub fn on_disk(options: &Options) -> (Arc<MemoryDisk>, Store) {
    let disk = Arc::new(MemoryDisk::new());
    let store = options.create_on(disk.clone()).unwrap();
    (disk, store)
}

/// One step: adds `n`, notes it, and answers with the sum.
pub fn count(run: &mut Run<Counter>, n: u64) -> Result<Done<u64>> {
    run.step(format!("key-{n:05}"), n, |tx| {
        tx.state.sum += n;
        tx.state.seen.push(n);
        Ok(tx.state.sum)
    })
}
