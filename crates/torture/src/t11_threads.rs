//! T11: sixteen threads claim the same keys and keys of their own, while others read. One `Fresh` a
//! key, one effect a call, and no reader sees half of anything.
//!
//! The order in which threads meet is the machine's: a case that fails may need a few runs to fail
//! again. The line of groups, where the schedule matters most, is run through 10,000 schedules by a
//! model checker in the tests of `store`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use milepost::testing::{Call, Platter, Rng, SimDisk};
use milepost::{Claimed, Done, Error, ErrorKind, Options, Store, Topic, Tx, Versioned};
use serde::{Deserialize, Serialize};

use super::class::{Cases, Class, Outcome, Scene, Setting};

pub(crate) struct Threads;

impl Class for Threads {
    fn id(&self) -> &'static str {
        "T11"
    }

    fn about(&self) -> &'static str {
        "16 threads claim the same and different keys while others read"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        let disk = Arc::new(SimDisk::new());
        let created = Options::new().create_on(disk.clone()).and_then(Store::close);
        created.map_err(|error| format!("creating a store: {error}"))?;
        Ok(Box::new(Rounds { base: disk.durable() }))
    }
}

struct Rounds {
    base: Platter,
}

const THREADS: u64 = 16;
const READERS: usize = 2;
const SHARED_KEYS: u64 = 6;
const SCOPE: &str = "calls";
/// A call that takes longer is stuck: I7.
const PATIENCE: Duration = Duration::from_secs(5);

impl Cases for Rounds {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    fn count(&self, scale: f64) -> u64 {
        (200.0 * scale) as u64
    }

    fn run(&self, _: u64, scene: &mut Scene) -> Outcome {
        match self.round(&mut scene.rng) {
            Ok(()) => Outcome::Same,
            Err(outcome) => outcome,
        }
    }

    fn is_parallel(&self) -> bool {
        // There are threads enough.
        false
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tally(u64);

impl Versioned for Tally {
    const NAME: &'static str = "tally";
    const VERSION: u32 = 1;
}

const LEFT: Topic<u64, u64> = Topic::new("left");
const RIGHT: Topic<u64, u64> = Topic::new("right");

fn step_key(n: u64) -> String {
    format!("step-{n}")
}

fn step(tx: &mut Tx<'_, Tally>, n: u64) -> milepost::Result<u64> {
    tx.state.0 += n;
    // Two effects, in one step: no reader may see one of them alone.
    tx.emit(&LEFT, &n)?;
    tx.emit(&RIGHT, &n)?;
    Ok(tx.state.0)
}

/// The state after the first `n` steps, and the outcome of the last of them.
fn sum_after(n: u64) -> u64 {
    n * (n + 1) / 2
}

/// What the threads of a round share outside the store.
struct Round {
    store: Store,
    start: Barrier,
    over: AtomicBool,
    /// For each key, how often somebody was told to go ahead, and how often it was called.
    calls: Mutex<BTreeMap<u64, (u32, u32)>>,
    /// For each key, what it was told that it was settled with.
    settled: Mutex<BTreeMap<u64, u64>>,
    acknowledged: Mutex<Acknowledged>,
    /// What a power cut would have left at some moments, and what had been acknowledged by then.
    cuts: Mutex<Vec<(Acknowledged, Platter)>>,
    disk: Arc<SimDisk>,
    slowest_ms: AtomicU64,
}

/// What somebody was told: that it is durable, or that it was done before.
#[derive(Debug, Default, Clone)]
struct Acknowledged {
    /// How many steps each thread has made.
    steps: BTreeMap<u64, u64>,
    /// The outcome of each key.
    calls: BTreeMap<u64, u64>,
}

/// In how many moments of a round the power is cut, beside its end.
const CUTS: usize = 3;

impl Rounds {
    fn round(&self, rng: &mut Rng) -> Result<(), Outcome> {
        let disk = Arc::new(SimDisk::of(self.base.clone()));
        let store = Options::new().open_on(disk.clone()).map_err(|error| refused(&error))?;
        if rng.one_in(2) {
            // So that some plans are made while others are on their way to the disk.
            disk.slow_down(Call::Sync, Duration::from_micros(200));
        }
        let round = Round {
            store,
            start: Barrier::new(usize::try_from(THREADS).unwrap_or(1) + READERS),
            over: AtomicBool::new(false),
            calls: Mutex::default(),
            settled: Mutex::default(),
            acknowledged: Mutex::default(),
            cuts: Mutex::default(),
            disk,
            slowest_ms: AtomicU64::new(0),
        };
        let mut rngs: Vec<Rng> = (0..THREADS).map(|_| Rng::new(rng.next_u64())).collect();
        let round_of = &round;
        thread::scope(|scope| {
            let workers: Vec<_> = (0..)
                .zip(&mut rngs)
                .map(|(thread, rng)| scope.spawn(move || round_of.work(thread, rng)))
                .collect();
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(|| round_of.read())).collect();
            let worked: Vec<_> = workers.into_iter().map(joined).collect();
            round.over.store(true, Ordering::SeqCst);
            let read = readers.into_iter().map(joined);
            worked.into_iter().chain(read).collect::<Result<(), Outcome>>()
        })?;
        let slowest_ms = round.slowest_ms.load(Ordering::SeqCst);
        if u128::from(slowest_ms) > PATIENCE.as_millis() {
            return Err(Outcome::Crash(format!("I7: a call took {slowest_ms} ms")));
        }
        round.judge()
    }
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<(), Outcome>>) -> Result<(), Outcome> {
    thread.join().unwrap_or_else(|_| Err(Outcome::Crash("I7: a thread panicked".to_owned())))
}

impl Round {
    /// Each thread has a run of its own, keys of its own, and keys that all of them want.
    fn work(&self, thread: u64, rng: &mut Rng) -> Result<(), Outcome> {
        self.start.wait();
        let run = self.timed(|| self.store.run::<Tally>(&format!("run-{thread}")));
        let mut run = run.map_err(|error| refused(&error))?;
        for n in 1..=6u64 {
            let key = match rng.below(3) {
                0 => 100 + thread * 10 + n,
                _ => rng.below(SHARED_KEYS),
            };
            self.claim(key, rng)?;
            let done = if rng.one_in(2) {
                self.timed(|| run.step(step_key(n), n, |tx| step(tx, n)))
            } else {
                let pending = self.timed(|| run.submit(step_key(n), n, |tx| step(tx, n)));
                // Asked for again while it is on its way. Who is answered may rely on it.
                let again = self.timed(|| run.step(step_key(n), n, |tx| step(tx, n)));
                if again.map_err(|error| refused(&error))? != Done::Duplicate(sum_after(n)) {
                    return Err(Outcome::Wrong(format!("I4: step {n} of thread {thread} is new")));
                }
                self.acknowledge(rng.one_in(4), |all| _ = all.steps.insert(thread, n));
                pending.and_then(|pending| self.timed(|| pending.wait()))
            };
            if done.map_err(|error| refused(&error))? != Done::Fresh(sum_after(n)) {
                return Err(Outcome::Wrong(format!("I1: step {n} of thread {thread}")));
            }
            self.acknowledge(rng.one_in(40), |all| _ = all.steps.insert(thread, n));
        }
        Ok(())
    }

    fn claim(&self, key: u64, rng: &mut Rng) -> Result<(), Outcome> {
        let claimed = self.timed(|| self.store.claim::<u64>(SCOPE, name(key), &key));
        match claimed.map_err(|error| refused(&error))? {
            Claimed::Fresh(claim) => {
                {
                    let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                    let call = calls.entry(key).or_default();
                    call.0 += 1;
                    if *call != (1, 0) {
                        return violated(format!("I5: key {key} was given out {} times", call.0));
                    }
                }
                if rng.one_in(5) {
                    // It did not come to the call: the next one may have it.
                    let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                    calls.entry(key).or_default().0 -= 1;
                    drop(calls);
                    return self.timed(|| claim.release()).map_err(|error| refused(&error));
                }
                thread::yield_now();
                let outcome = rng.next_u64();
                {
                    let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
                    let call = calls.entry(key).or_default();
                    call.1 += 1;
                    if call.1 > 1 {
                        return violated(format!("I5: key {key} was called {} times", call.1));
                    }
                }
                let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                settled.insert(key, outcome);
                drop(settled);
                let done = if rng.one_in(2) {
                    self.timed(|| claim.complete(&outcome))
                } else {
                    self.timed(|| claim.submit_complete(&outcome)).and_then(|pending| {
                        thread::yield_now();
                        self.timed(|| pending.wait())
                    })
                };
                done.map_err(|error| refused(&error))?;
                self.acknowledge(rng.one_in(40), |all| _ = all.calls.insert(key, outcome));
                Ok(())
            }
            Claimed::Done(outcome) => {
                // Whoever made the call may not have been told yet; who asks after it has been.
                self.acknowledge(rng.one_in(4), |all| _ = all.calls.insert(key, outcome));
                let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                if settled.get(&key) != Some(&outcome) {
                    return Err(Outcome::Wrong(format!("I3: key {key} is done with {outcome}")));
                }
                drop(settled);
                self.ask_for_something_else(key)
            }
            Claimed::InFlight { .. } => Ok(()),
            other => violated(format!("key {key} is {other:?}")),
        }
    }

    /// The same key for another request is no repeat.
    fn ask_for_something_else(&self, key: u64) -> Result<(), Outcome> {
        let claimed = self.timed(|| self.store.claim::<u64>(SCOPE, name(key), &(key + 1)));
        match claimed {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(refused(&error)),
            Ok(other) => violated(format!("I5: key {key}, used for another request, is {other:?}")),
        }
    }

    /// Notes down what was acknowledged, and at times what a power cut leaves at this moment: nothing
    /// that was noted so far may be missing there.
    fn acknowledge(&self, cuts: bool, note: impl FnOnce(&mut Acknowledged)) {
        let mut all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut all);
        let mut taken = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        if cuts && taken.len() < CUTS {
            taken.push((all.clone(), self.disk.durable()));
        }
    }

    /// Reads what is durable, over and over.
    fn read(&self) -> Result<(), Outcome> {
        self.start.wait();
        let mut before = 0;
        while !self.over.load(Ordering::SeqCst) {
            let recovery = self.timed(|| self.store.recovery()).map_err(|error| refused(&error))?;
            let seen = recovery.intents_prepared.len();
            if seen % 2 == 1 {
                return Err(Outcome::Wrong(format!("I1: {seen} intents: half of a step")));
            }
            if seen < before {
                return Err(Outcome::Wrong(format!("I4: {before} intents, and then {seen}")));
            }
            if !recovery.claims_in_doubt.is_empty() {
                let claims = &recovery.claims_in_doubt;
                return violated(format!("in doubt while its holder lives: {claims:?}"));
            }
            before = seen;
        }
        Ok(())
    }

    /// After a power cut: everything that was told is there. In the end all was.
    fn judge(&self) -> Result<(), Outcome> {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if all.steps != (0..THREADS).map(|thread| (thread, 6)).collect() || all.calls != *settled {
            return violated(format!("told of {settled:?}, and acknowledged {all:?}"));
        }
        all.judge(self.disk.durable())?;
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.iter().try_for_each(|(then, left)| then.judge(left.clone()))
    }

    fn timed<T>(&self, call: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let value = call();
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest_ms.fetch_max(took, Ordering::SeqCst);
        value
    }
}

impl Acknowledged {
    fn judge(&self, left: Platter) -> Result<(), Outcome> {
        let store = Options::new().open_on(Arc::new(SimDisk::of(left)));
        let store = store.map_err(|error| refused(&error))?;
        for (thread, least) in &self.steps {
            let run = store.run::<Tally>(&format!("run-{thread}"));
            let steps = run.map_err(|error| refused(&error))?.steps();
            if steps < *least {
                return violated(format!("I2: {least} steps of thread {thread}, {steps} there"));
            }
        }
        for (key, outcome) in &self.calls {
            let claimed = store.claim::<u64>(SCOPE, name(*key), key);
            match claimed.map_err(|error| refused(&error))? {
                Claimed::Done(found) if found == *outcome => {}
                other => return violated(format!("I2: key {key} was settled, and is {other:?}")),
            }
        }
        Ok(())
    }
}

fn name(key: u64) -> String {
    format!("key-{key}")
}

fn violated(what: String) -> Result<(), Outcome> {
    Err(Outcome::Violation(what))
}

fn refused(error: &Error) -> Outcome {
    Outcome::Violation(format!("I7: {:?}: {error}", error.kind()))
}
