//! What is measured: each case is a store to start from and a task for one child process.

use crate::engines::{EngineName, Kind};
use crate::work::Order;
use serde::{Deserialize, Serialize};

/// Single steps after the bulk load, so that journals look as they do in the middle of work.
pub(crate) const TAIL: u64 = 1_000;
/// How long a key lives in `churn/ttl`.
pub(crate) const TTL_MS: u64 = 2_000;

const MILLION: u64 = 1_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// One sentence for the tables.
    pub(crate) about: &'static str,
    /// The store it starts from; `None` for an empty one.
    pub(crate) base: Option<Base>,
    pub(crate) task: Task,
}

/// A filled store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Base {
    pub(crate) rows: u64,
    pub(crate) order: Order,
    /// Closed as it should be; otherwise its process was killed.
    pub(crate) closed: bool,
}

/// What a child does with an open store.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Fills it and stays (to be killed), or closes it.
    Load { rows: u64, order: Order, close: bool },
    /// Steps, from so many callers at once.
    Steps { threads: u16, pipelined: bool, rows: u64, order: Order },
    /// The same key again: steps that were done already.
    LookUp { rows: u64 },
    /// Only opens it, and reads the run's position and one key.
    Open { rows: u64 },
    /// Steps whose keys fall due as fast as new ones come.
    Churn { ttl_ms: u64 },
    /// Opens, then steps with keys in order, then with random keys.
    Scale { rows: u64 },
    /// Saves of a state so large, of which a hundredth has changed in so many places.
    LargeState { bytes: u64, places: usize },
    /// Steps with a state of 1 KiB, then with one of 8 bytes.
    SmallState,
    /// Steps whose closures take a millisecond, of one run, then of so many at once.
    SlowClosures { runs: u16 },
    /// Cuts so many bytes into chunks and hashes them; no disk.
    Chunking { bytes: u64 },
    /// Steps that keep a checkpoint each, of states that differ by a twentieth.
    History { checkpoints: u64, bytes: u64 },
}

impl Case {
    /// All cases in order; the sizes of `scale` up to `scale_max` rows.
    pub(crate) fn all(scale_max: u64) -> Vec<Self> {
        let steps =
            |threads, pipelined| Task::Steps { threads, pipelined, rows: 0, order: Order::Ordered };
        let ordered = |closed| Some(Base { rows: MILLION, order: Order::Ordered, closed });
        let random = Some(Base { rows: MILLION, order: Order::Random, closed: true });
        let random_steps =
            Task::Steps { threads: 1, pipelined: true, rows: MILLION, order: Order::Random };
        let mut all = vec![
            case("step/one", "one caller, waits for each step", None, steps(1, false)),
            case("step/pipelined", "one caller, 1,024 steps in flight", None, steps(1, true)),
            case("step/threads64", "64 callers, each waits", None, steps(64, false)),
            case("step/random-1m", "random keys into a million", random, random_steps),
            case(
                "lookup/duplicate-1m",
                "a step that was done already, its key among a million",
                ordered(true),
                Task::LookUp { rows: MILLION },
            ),
            case(
                "reopen/kill-1m",
                "opening after SIGKILL, a million keys",
                ordered(false),
                Task::Open { rows: MILLION },
            ),
            case(
                "reopen/clean-1m",
                "opening after a clean close, a million keys",
                ordered(true),
                Task::Open { rows: MILLION },
            ),
            case(
                "churn/ttl",
                "keys expire after 2 s, as fast as they come",
                None,
                Task::Churn { ttl_ms: TTL_MS },
            ),
        ];
        // A line less: the default limit of a value is 64 MiB, with the length in front.
        let large = |places| Task::LargeState { bytes: (64 << 20) - 64, places };
        all.extend([
            case("state/64m-1pct", "64 MiB, 1 % changed in 16 places", None, large(16)),
            case("state/64m-1pct-scattered", "64 MiB, 1 % changed in 160 places", None, large(160)),
            case(
                "state/1k",
                "steps with a state of 1 KiB, and with 8 bytes",
                None,
                Task::SmallState,
            ),
            case(
                "state/slow-closures",
                "8 runs whose closures take 1 ms each, and one such run",
                None,
                Task::SlowClosures { runs: 8 },
            ),
            case(
                "state/chunking",
                "64 MiB cut into chunks and hashed, on one core",
                None,
                Task::Chunking { bytes: 64 << 20 },
            ),
            case(
                "state/history",
                "100,000 checkpoints of 16 KiB, each 5 % different from the one before",
                None,
                Task::History { checkpoints: 100_000, bytes: 16 << 10 },
            ),
        ]);
        let sizes = [(10_000, "10k"), (100_000, "100k"), (MILLION, "1m"), (10 * MILLION, "10m")];
        for (rows, name) in sizes.into_iter().filter(|(rows, _)| *rows <= scale_max) {
            let base = Some(Base { rows, order: Order::Ordered, closed: false });
            let about = "opening after SIGKILL, then steps, with so many keys in the store";
            all.push(case(&format!("scale/{name}"), about, base, Task::Scale { rows }));
        }
        all
    }

    /// A store that is batched by hand is the same store, so only the waiting one is opened; and
    /// redb can do no more with Milepost's file than open it.
    pub(crate) fn admits(&self, engine: EngineName) -> bool {
        if self.task.is_of_states() {
            // The others would keep a large state as they keep any: as a blob, or in a file.
            let has_peers = matches!(self.task, Task::LargeState { .. });
            let is_peer = has_peers && matches!(engine.kind, Kind::Sqlite | Kind::Files);
            return !engine.by_hand && (is_peer || engine.kind == Kind::Milepost);
        }
        let opens_only = matches!(self.task, Task::Open { .. });
        if engine.kind == Kind::RedbOnMilepost {
            self.opens()
        } else {
            !(opens_only && engine.by_hand)
        }
    }

    /// Whether the time of opening is what it is about, or part of it.
    pub(crate) fn opens(&self) -> bool {
        matches!(self.task, Task::Open { .. } | Task::Scale { .. })
    }

    /// A series over time is compared with itself, and long, as are many checkpoints: once is enough.
    pub(crate) fn rounds(&self, wanted: usize) -> usize {
        if matches!(self.task, Task::Churn { .. } | Task::History { .. }) { 1 } else { wanted }
    }
}

impl Task {
    /// Whether it opens stores of its own, with states of its own.
    pub(crate) fn is_of_states(&self) -> bool {
        matches!(
            self,
            Self::LargeState { .. }
                | Self::SmallState
                | Self::SlowClosures { .. }
                | Self::Chunking { .. }
                | Self::History { .. }
        )
    }
}

fn case(name: &str, about: &'static str, base: Option<Base>, task: Task) -> Case {
    Case { name: name.to_owned(), about, base, task }
}
