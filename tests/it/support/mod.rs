//! What the rooms share: a small run, a child process, and the means to
//! change rows behind the store's back.

mod child;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use milepost::{
    Error, ErrorKind, IntentId, IntentState, ManualClock, MemoryDisk, Options, Position, Result,
    Run, Store, Timestamp, Topic, Versioned,
};
use serde::{Deserialize, Serialize};

pub use child::{Child, is_root};
#[cfg(unix)]
pub use child::{say, wait_to_be_killed};
pub use rows::{payload_of, reframed, rows_of, tampered, varint, varint_at, with_row};

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

/// Orders of a number, answered by one.
pub const ORDERS: Topic<u64, u64> = Topic::new("orders");

/// 2023-11-14, the moment at which the tests' clocks start.
pub const T0: Timestamp = Timestamp::from_ms(1_700_000_000_000);

pub fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

pub fn clock() -> ManualClock {
    ManualClock::new(T0)
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

/// What a process that was killed now would leave behind.
pub fn killed(disk: &MemoryDisk) -> Arc<MemoryDisk> {
    Arc::new(MemoryDisk::from_bytes(disk.to_bytes()))
}

/// Opens these bytes as a store.
pub fn open_bytes(bytes: &[u8]) -> Result<Store> {
    Options::new().open_on(Arc::new(MemoryDisk::from_bytes(bytes.to_vec())))
}

/// One step: adds `n`, notes it, and answers with the sum.
pub fn count(run: &mut Run<Counter>, n: u64) -> Result<milepost::Done<u64>> {
    run.step(key_of(n), n, |tx| {
        tx.state.sum += n;
        tx.state.seen.push(n);
        Ok(tx.state.sum)
    })
}

pub fn key_of(n: u64) -> String {
    format!("key-{n:05}")
}

/// The outcome under a key of a step, `None` if the key is new. Changes nothing.
pub fn seen(run: &mut Run<Counter>, key: &str) -> Result<Option<u64>> {
    let far = Position::Index(u64::MAX);
    match run.step(key, far, |_| -> Result<u64> { Err(Error::abort("it is new")) }) {
        Ok(done) => Ok(Some(done.into_outcome())),
        Err(error) if error.kind() == ErrorKind::Aborted => Ok(None),
        Err(error) => Err(error),
    }
}

/// The logical content of a run and of a topic: what two stores must agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    pub state: Counter,
    pub position: Position,
    pub steps: u64,
    pub keys: BTreeMap<String, u64>,
    pub rows: BTreeMap<String, u64>,
    pub intents: BTreeMap<IntentId, (String, IntentState<()>)>,
}

impl Content {
    pub fn of(store: &Store, keys: &[String], topic: &str) -> Result<Self> {
        let mut run = store.run::<Counter>("run")?;
        let mut found = Self {
            state: run.state().clone(),
            position: run.position().clone(),
            steps: run.steps(),
            keys: BTreeMap::new(),
            rows: BTreeMap::new(),
            intents: BTreeMap::new(),
        };
        for key in keys {
            if let Some(outcome) = seen(&mut run, key)? {
                found.keys.insert(key.clone(), outcome);
            }
            if let Some(value) = run.get::<u64>(key)? {
                found.rows.insert(key.clone(), value);
            }
        }
        let intents = store.intents();
        let all = [intents.outstanding(topic, usize::MAX)?, intents.settled(topic, usize::MAX)?];
        for intent in all.into_iter().flatten() {
            found.intents.insert(intent.id, (intent.external_id.to_string(), intent.state));
        }
        Ok(found)
    }
}

/// Fails the test when `work` takes longer: a call that waits for itself would hang it for ever.
#[track_caller]
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    match wait.recv_timeout(limit) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still not back after {limit:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(worker.join().unwrap_err())
        }
    }
}
