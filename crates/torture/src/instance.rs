//! One program of the end-to-end class: a run, a relay and claims on a disk that fails, and a memory
//! outside of it of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use milepost::testing::{Effect, Fault, Platter, Rng, SimDisk};
use milepost::{
    Claimed, CommitSeq, Durability, Error, ErrorKind, IntentState, ManualClock, OnUnknown, Options,
    Probe, Resolution, Run, Sent, SettledBy, SettledRetention, Store, Timestamp, Topic, Versioned,
};
use serde::{Deserialize, Serialize};

use super::class::Outcome;
use super::receiver::{Gateway, Killed, Nobody, outcome_of};

const RUN: &str = "run";
const TOPIC: Topic<u64, u64> = Topic::new("orders");
const SCOPE: &str = "calls";
/// Claims are taken from few keys, so that most are met again.
const CALLS: u64 = 4;
const T0_MS: u64 = 1_700_000_000_000;

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    sum: u64,
}

impl Versioned for Chain {
    const NAME: &'static str = "chain";
    const VERSION: u32 = 1;
}

impl Chain {
    fn after(steps: u64) -> Self {
        (1..=steps).fold(Self::default(), |chain, n| Self { sum: chain.sum * 31 + n })
    }
}

fn key_of(n: u64) -> String {
    format!("key-{n:03}")
}

/// What a step wants done: nothing, one thing or two.
fn payloads(n: u64) -> impl Iterator<Item = u64> {
    (0..n % 3).map(move |nth| n * 10 + nth)
}

fn call_id(store: &Store, n: u64) -> String {
    format!("{}-call-{n}", store.id())
}

pub(crate) struct Instance {
    /// The run and the store; none while it is dead.
    alive: Option<(Run<Chain>, Store)>,
    disk: Arc<SimDisk>,
    clock: ManualClock,
    options: Options,
    on_unknown: OnUnknown,
    /// Steps that were acknowledged, or found to be there.
    steps: u64,
    /// Calls whose outcome was acknowledged.
    settled: BTreeSet<u64>,
    /// What became of each commit whose failure left it open.
    resolved: BTreeMap<CommitSeq, Resolution>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

/// How a call on the store ended.
enum Ended<T> {
    Well(T),
    /// The program is dead; whether what it asked for was committed, if that was open.
    Dead(Option<Resolution>),
}

fn violated<T>(what: String) -> Result<T, Outcome> {
    Err(Outcome::Violation(what))
}

fn wrong<T>(what: String) -> Result<T, Outcome> {
    Err(Outcome::Wrong(what))
}

/// An error where none is due.
fn refused(when: &str) -> impl Fn(Error) -> Outcome {
    move |error| Outcome::Violation(format!("{when}: {:?}: {error}", error.kind()))
}

impl Instance {
    pub(crate) fn begin(base: Platter, rng: &mut Rng) -> Result<Self, Outcome> {
        let clock = ManualClock::new(Timestamp::from_ms(T0_MS));
        let durability = if rng.one_in(4) { Durability::TwoPhase } else { Durability::OnePhase };
        // The clock leaps, and the judge asks for every intent there ever was; what is forgotten after
        // a while is judged by T18.
        let options = Options::new()
            .clock(clock.clone())
            .durability(durability)
            .settled_retention(SettledRetention::keep_all())
            .cache_bytes(1 << 20);
        let mut instance = Self {
            alive: None,
            disk: Arc::new(SimDisk::of(base)),
            clock,
            options,
            on_unknown: OnUnknown::Hold,
            steps: 0,
            settled: BTreeSet::new(),
            resolved: BTreeMap::new(),
            faults: BTreeMap::new(),
        };
        if rng.one_in(8) {
            instance.on_unknown = OnUnknown::PresumeApplied;
            instance.count("presumed");
        }
        instance.open()?;
        Ok(instance)
    }

    /// Does one thing.
    pub(crate) fn act(&mut self, gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
        match rng.below(20) {
            0..=5 => self.step(gateway, rng),
            6..=10 => self.deliver(gateway, rng),
            11..=13 => self.call(gateway, rng),
            14 | 15 => {
                self.count("crash");
                self.die(gateway, rng)
            }
            16 => {
                self.count("restart");
                self.alive = None;
                self.disk = Arc::new(SimDisk::of(self.disk.live()));
                self.open()?;
                self.check(gateway)
            }
            17 => {
                self.jump(rng);
                Ok(())
            }
            _ => {
                self.count("disk failure");
                let effect = [Effect::Nothing, Effect::Half, Effect::All];
                let effect = effect.get(index(rng, 3)).copied().unwrap_or(Effect::Nothing);
                let fault = Fault::at(rng.below(30)).effect(effect);
                self.disk.arm([if rng.one_in(2) { fault } else { fault.once() }]);
                Ok(())
            }
        }
    }

    /// With nothing in its way, comes to its end.
    pub(crate) fn settle(&mut self, gateway: &mut Gateway) -> Result<(), Outcome> {
        self.disk.arm([]);
        self.alive = None;
        self.disk = Arc::new(SimDisk::of(self.disk.live()));
        self.open()?;
        let store = self.store()?;
        store
            .relay(&TOPIC)
            .on_unknown(self.on_unknown)
            .deliver(gateway)
            .map_err(refused("I6, delivering in the end"))?;
        let outstanding = store.intents().outstanding(&TOPIC, usize::MAX);
        for intent in outstanding.map_err(refused("I6, listing in the end"))? {
            let held = matches!(intent.state, IntentState::InDoubt { .. })
                && gateway.has_forgotten(intent.external_id.as_str());
            if !held {
                return violated(format!("I6: {} is {:?} in the end", intent.id, intent.state));
            }
        }
        for n in 0..CALLS {
            let id = call_id(&store, n);
            self.claim(n, gateway)?.map_err(refused("I6, claiming in the end"))?;
            if gateway.times(&id) != 1 {
                return violated(format!("I6: call {n} was made {} times", gateway.times(&id)));
            }
            if !self.settled.contains(&n) && !gateway.has_forgotten(&id) {
                return violated(format!("I6: call {n} is not settled in the end"));
            }
        }
        self.check(gateway)
    }

    fn step(&mut self, gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
        let n = self.steps + 1;
        let Some((run, _)) = &mut self.alive else { return Ok(()) };
        let done = run.step(key_of(n), n, |tx| {
            tx.state.sum = tx.state.sum * 31 + n;
            payloads(n).try_for_each(|payload| tx.emit(&TOPIC, &payload).map(drop))?;
            Ok(tx.state.sum)
        });
        match self.ended(done, gateway, rng)? {
            Ended::Well(done) => {
                if !done.is_fresh() || done.into_outcome() != Chain::after(n).sum {
                    return wrong(format!("step {n} is not new, or has another outcome"));
                }
                self.steps = n;
                Ok(())
            }
            Ended::Dead(Some(Resolution::Committed)) if self.steps != n => {
                wrong(format!("I10: step {n} was resolved as committed, and is not there"))
            }
            Ended::Dead(_) => Ok(()),
        }
    }

    fn deliver(&mut self, gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
        let store = self.store()?;
        gateway.delivering = Some((store.clone(), TOPIC));
        let relay = store.relay(&TOPIC).on_unknown(self.on_unknown);
        let passed = catch_unwind(AssertUnwindSafe(|| relay.deliver(gateway)));
        gateway.delivering = None;
        drop((relay, store));
        match passed {
            Ok(passed) => self.ended(passed, gateway, rng).map(drop),
            Err(panic) if panic.is::<Killed>() => self.die(gateway, rng),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn call(&mut self, gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
        let n = rng.below(CALLS);
        match catch_unwind(AssertUnwindSafe(|| self.claim(n, gateway))) {
            Ok(Ok(result)) => self.ended(result, gateway, rng).map(drop),
            Ok(Err(outcome)) => Err(outcome),
            Err(panic) if panic.is::<Killed>() => {
                self.count("claim dropped");
                self.die(gateway, rng)
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Asks for a call, and makes it, or finds out about it.
    fn claim(&mut self, n: u64, gateway: &mut Gateway) -> Result<milepost::Result<()>, Outcome> {
        let store = self.store()?;
        let (id, outcome) = (call_id(&store, n), outcome_of(n));
        let claimed = match store.claim::<u64>(SCOPE, key_of(n), &n) {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        if self.settled.contains(&n) && !matches!(claimed, Claimed::Done(_)) {
            return violated(format!("I2: call {n} was settled, and is {claimed:?}"));
        }
        let ended = match claimed {
            Claimed::Done(answer) if answer == outcome && gateway.times(&id) == 1 => Ok(()),
            Claimed::Done(answer) => {
                let times = gateway.times(&id);
                return wrong(format!("call {n} is done with {answer}, made {times} times"));
            }
            Claimed::Fresh(claim) => match gateway.call(&id, outcome) {
                Sent::Confirmed(answer) => claim.complete(&answer),
                Sent::Rejected(_) | Sent::NotSent(_) => return Ok(claim.release()),
                Sent::Ambiguous(why) => return Ok(claim.doubt(why)),
            },
            Claimed::InDoubt(doubt) => match gateway.ask(&id, outcome) {
                Probe::Applied(answer) => doubt.confirm(&answer),
                Probe::NotApplied => match doubt.release() {
                    Ok(()) if !gateway.is_faulty => return self.claim(n, gateway),
                    released => return Ok(released),
                },
                Probe::Unknown => return Ok(Ok(())),
            },
            other => return violated(format!("call {n} is {other:?}")),
        };
        if ended.is_ok() {
            self.settled.insert(n);
        }
        Ok(ended)
    }

    fn jump(&mut self, rng: &mut Rng) {
        const DAY_MS: u64 = 86_400_000;
        self.count("clock jump");
        let to = match rng.below(4) {
            0 => 0,
            1 => T0_MS - rng.below(DAY_MS),
            2 => T0_MS + rng.below(400) * DAY_MS,
            _ => T0_MS + rng.below(DAY_MS),
        };
        self.clock.set(Timestamp::from_ms(to));
    }

    /// Takes a failure of the disk for the end of the program, and anything else for a finding.
    fn ended<T>(
        &mut self,
        result: milepost::Result<T>,
        gateway: &mut Gateway,
        rng: &mut Rng,
    ) -> Result<Ended<T>, Outcome> {
        let error = match result {
            Ok(value) => return Ok(Ended::Well(value)),
            Err(error) => error,
        };
        let uncertain = match error.kind() {
            ErrorKind::Uncertain(seq) => Some(seq),
            ErrorKind::Io | ErrorKind::Poisoned => None,
            _ => return Err(refused("I7")(error)),
        };
        let before = self.steps;
        self.die(gateway, rng)?;
        if let Some(seq) = uncertain {
            let resolution = self.store()?.resolve(seq).map_err(refused("I10"))?;
            self.resolved.insert(seq, resolution);
            self.count(match resolution {
                Resolution::Committed => "uncertain commit, there",
                Resolution::NotCommitted => "uncertain commit, not there",
            });
            if resolution == Resolution::NotCommitted && self.steps != before {
                return wrong(format!("I10: commit {seq} is there, and resolved as not there"));
            }
            return Ok(Ended::Dead(Some(resolution)));
        }
        if self.steps != before {
            return violated(format!("I7: {error}, but the step is there"));
        }
        Ok(Ended::Dead(None))
    }

    /// A kill, or a power cut; another program takes over what is left, while this one may not know
    /// yet that it is dead.
    fn die(&mut self, gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
        let mut left = wreck(&self.disk, rng);
        self.disk.arm([Fault::at(0)]);
        let dead = self.alive.take().filter(|_| rng.one_in(3));
        if rng.one_in(4) {
            self.count("crash in recovery");
            let disk = Arc::new(SimDisk::of(left));
            disk.arm([Fault::at(rng.below(16))]);
            // It comes to an error, or gets through before the fault.
            drop(self.options.open_on(disk.clone()));
            left = wreck(&disk, rng);
        }
        if rng.one_in(3) {
            self.jump(rng);
        }
        self.disk = Arc::new(SimDisk::of(left));
        self.open()?;
        if let Some((run, store)) = dead {
            self.count("a second instance");
            let mut nobody = Nobody::default();
            let _ = store.relay(&TOPIC).deliver(&mut nobody);
            if nobody.was_called {
                return violated("I8: an instance that has lost its disk has sent".to_owned());
            }
            drop((run, store));
        }
        self.check(gateway)
    }

    fn open(&mut self) -> Result<(), Outcome> {
        let store = self.options.open_on(self.disk.clone()).map_err(refused("I2, opening"))?;
        let run = store.run::<Chain>(RUN).map_err(refused("I2, picking the run up"))?;
        self.alive = Some((run, store));
        Ok(())
    }

    fn store(&self) -> Result<Store, Outcome> {
        match &self.alive {
            Some((_, store)) => Ok(store.clone()),
            None => violated("a dead program was asked to act".to_owned()),
        }
    }

    /// What the store says, against what was acknowledged and what the receiver has done.
    fn check(&mut self, gateway: &Gateway) -> Result<(), Outcome> {
        let Some((run, store)) = &self.alive else { return Ok(()) };
        let steps = run.steps();
        if steps < self.steps || steps > self.steps + 1 {
            return violated(format!("I2: {} steps acknowledged, {steps} there", self.steps));
        }
        self.steps = steps;
        if *run.state() != Chain::after(steps) {
            return wrong(format!("I1: the state is not that after {steps} steps"));
        }
        for (seq, known) in &self.resolved {
            let resolution = store.resolve(*seq).map_err(refused("I10"))?;
            if resolution != *known {
                return wrong(format!("I10: commit {seq} was {known:?}, and is {resolution:?}"));
            }
        }
        let intents = store.intents();
        let settled = intents.settled(&TOPIC, usize::MAX).map_err(refused("I3"))?;
        let open = intents.outstanding(&TOPIC, usize::MAX).map_err(refused("I3"))?;
        let mut found = Vec::new();
        for summary in settled.into_iter().chain(open) {
            let intent = store.intent(&TOPIC, &summary.id).map_err(refused("I3"))?;
            let Some(intent) = intent else { return wrong(format!("I4: no {}", summary.id)) };
            let id = intent.external_id.as_str();
            let (times, payload) = (gateway.times(id), intent.payload);
            let agrees = match &intent.state {
                IntentState::Prepared | IntentState::Rejected { .. } => {
                    times == 0 && !gateway.is_travelling(id)
                }
                IntentState::Confirmed { outcome: Some(outcome), .. } => {
                    times == 1 && *outcome == outcome_of(payload)
                }
                IntentState::Confirmed { outcome: None, by } => {
                    *by == SettledBy::Presumption && times <= 1
                }
                IntentState::InDoubt { .. } => times <= 1,
                IntentState::InFlight => false,
            };
            if !agrees {
                let state = &intent.state;
                return violated(format!("I5: {} is {state:?}, done {times} times", intent.id));
            }
            found.push(payload);
        }
        found.sort_unstable();
        if !found.iter().copied().eq((1..=steps).flat_map(payloads)) {
            return wrong(format!("I1: after {steps} steps there are the intents {found:?}"));
        }
        Ok(())
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

/// What a crash now leaves.
fn wreck(disk: &SimDisk, rng: &mut Rng) -> Platter {
    match rng.below(3) {
        0 => disk.live(),
        1 => disk.durable(),
        _ => disk.cut_somehow(rng),
    }
}

fn index(rng: &mut Rng, end: u64) -> usize {
    usize::try_from(rng.below(end)).unwrap_or_default()
}
