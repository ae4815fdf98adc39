//! Everything at random, against a model of plain maps: steps, batches, claims, relays, failing
//! disks, kills and power cuts. A seed that fails is printed, and gives the same story again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use milepost::testing::{Effect, Fault, Platter, Rng, SimDisk};
use milepost::{
    Claimed, Delivery, Done, Durability, Endpoint, Error, ErrorKind, IntentState, Options,
    Position, Probe, Reopen, Resolution, Result, Run, Sent, Store, Topic,
};

use crate::support::{Content, Counter, key_of};

const TOPIC: Topic<(u64, u64), u64> = Topic::new("orders");
const CLAIMS: u64 = 6;

/// What the store must hold.
#[derive(Debug, Clone, Default)]
struct Model {
    state: Counter,
    position: Option<u64>,
    steps: u64,
    keys: BTreeMap<String, u64>,
    rows: BTreeMap<String, u64>,
    emitted: u64,
    claims: BTreeMap<u64, ClaimState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClaimState {
    Open,
    Done(u64),
}

/// One step as it was drawn.
#[derive(Debug, Clone)]
struct Input {
    key: u64,
    position: u64,
    puts: Vec<u64>,
    removes: Vec<u64>,
    emits: u64,
}

impl Model {
    /// Does the step, unless its key is known; its outcome.
    fn step(&mut self, input: &Input) -> Done<u64> {
        let key = key_of(input.key);
        if let Some(outcome) = self.keys.get(&key) {
            return Done::Duplicate(*outcome);
        }
        self.state.sum += input.key;
        self.state.seen.push(input.key);
        self.position = Some(input.position);
        self.steps += 1;
        self.emitted += input.emits;
        for row in &input.puts {
            self.rows.insert(key_of(*row), input.key);
        }
        for row in &input.removes {
            self.rows.remove(&key_of(*row));
        }
        self.keys.insert(key, self.state.sum);
        Done::Fresh(self.state.sum)
    }
}

/// The same step in the store.
fn work(tx: &mut milepost::Tx<'_, Counter>, input: &Input) -> Result<u64> {
    tx.state.sum += input.key;
    tx.state.seen.push(input.key);
    for row in &input.puts {
        tx.put(key_of(*row), &input.key)?;
    }
    for row in &input.removes {
        tx.remove(key_of(*row))?;
    }
    for n in 0..input.emits {
        tx.emit(&TOPIC, &(input.key, n))?;
    }
    Ok(tx.state.sum)
}

/// A receiver that neither deduplicates nor answers reliably, and knows what it has done.
#[derive(Debug, Default)]
struct World {
    rng: Option<Rng>,
    applied: BTreeMap<String, u64>,
}

impl World {
    fn apply(&mut self, delivery: &Delivery<(u64, u64)>) {
        *self.applied.entry(delivery.external_id.to_string()).or_default() += 1;
    }

    fn times(&self, external_id: &str) -> u64 {
        self.applied.get(external_id).copied().unwrap_or(0)
    }

    fn roll(&mut self) -> u64 {
        self.rng.as_mut().map_or(0, |rng| rng.below(12))
    }
}

impl Endpoint<(u64, u64), u64> for World {
    fn call(&mut self, delivery: &Delivery<(u64, u64)>) -> Sent<u64> {
        let roll = self.roll();
        if matches!(roll, 0..=4 | 6 | 10) {
            self.apply(delivery);
        }
        match roll {
            0..=4 => Sent::Confirmed(delivery.payload.0),
            5 => Sent::Rejected("no funds".into()),
            6 | 7 => Sent::Ambiguous("timeout".into()),
            8 | 9 => Sent::NotSent("offline".into()),
            // Without the hook: it would print every one of them.
            _ => std::panic::resume_unwind(Box::new("the receiver")),
        }
    }

    fn probe(&mut self, delivery: &Delivery<(u64, u64)>) -> Probe<u64> {
        match (self.roll(), self.times(delivery.external_id.as_str())) {
            (9.., _) => Probe::Unknown,
            (_, 0) => Probe::NotApplied,
            _ => Probe::Applied(delivery.payload.0),
        }
    }
}

/// One life of a store, with all its crashes.
struct Life {
    rng: Rng,
    options: Options,
    disk: Arc<SimDisk>,
    /// Dropped before the store.
    run: Option<Run<Counter>>,
    store: Option<Store>,
    model: Model,
    world: World,
    next_key: u64,
    next_position: u64,
    told: Vec<String>,
}

/// What became of an operation.
enum End<T> {
    Acknowledged(T),
    /// The store failed and was opened again; whether the commit is there.
    Resolved(bool),
}

impl Life {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let options = Options::new()
            .durability([Durability::OnePhase, Durability::TwoPhase][rng.below(2) as usize])
            .reopen([Reopen::Auto, Reopen::Instant, Reopen::Verified][rng.below(3) as usize])
            .cache_bytes(1 << 20);
        let disk = Arc::new(SimDisk::default());
        let store = options.create_on(disk.clone()).unwrap();
        let run = store.run::<Counter>("run").unwrap();
        let world = World { rng: Some(Rng::new(seed ^ 0xabcd)), ..World::default() };
        Self {
            rng,
            options,
            disk,
            run: Some(run),
            store: Some(store),
            model: Model::default(),
            world,
            next_key: 1,
            next_position: 1,
            told: Vec::new(),
        }
    }

    fn run(&mut self) -> &mut Run<Counter> {
        self.run.as_mut().unwrap()
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    /// Opens what is left in these bytes, and the run in it.
    fn reopen(&mut self, bytes: Platter) {
        (self.run, self.store) = (None, None);
        self.disk = Arc::new(SimDisk::of(bytes));
        let store = self.options.open_on(self.disk.clone()).unwrap();
        self.run = Some(store.run::<Counter>("run").unwrap());
        self.store = Some(store);
    }

    /// What a kill or a power cut leaves.
    fn wreck(&mut self) -> Platter {
        match self.rng.below(3) {
            0 => self.disk.live(),
            1 => self.disk.durable(),
            _ => self.disk.cut_somehow(&mut self.rng),
        }
    }

    /// Looks at a failure of the disk: the store is opened again, and says whether the commit that
    /// failed is there.
    fn resolve(&mut self, error: &Error) -> bool {
        let bytes = self.wreck();
        self.reopen(bytes);
        let committed = match error.kind() {
            ErrorKind::Uncertain(seq) => {
                self.store().resolve(seq).unwrap() == Resolution::Committed
            }
            ErrorKind::Io | ErrorKind::Poisoned => false,
            kind => panic!("{kind:?} {error}"),
        };
        self.tell(format!("  failed ({:?}), committed: {committed}", error.kind()));
        committed
    }

    fn end<T>(&mut self, result: Result<T>) -> End<T> {
        match result {
            Ok(value) => End::Acknowledged(value),
            Err(error) => End::Resolved(self.resolve(&error)),
        }
    }

    fn input(&mut self) -> Input {
        let known = self.rng.one_in(4) && self.next_key > 1;
        let key = if known { 1 + self.rng.below(self.next_key - 1) } else { self.next_key };
        if !known {
            self.next_key += 1;
        }
        self.next_position += self.rng.below(3);
        let rows = |rng: &mut Rng| (0..rng.below(3)).map(|_| rng.below(12)).collect();
        let puts = rows(&mut self.rng);
        let removes = rows(&mut self.rng);
        let emits = self.rng.below(3) / 2 + self.rng.below(2);
        Input { key, position: self.next_position, puts, removes, emits }
    }

    fn step(&mut self) {
        let input = self.input();
        self.tell(format!("step {input:?}"));
        let mut after = self.model.clone();
        let expected = after.step(&input);
        let result = self.run().step(key_of(input.key), input.position, |tx| work(tx, &input));
        match self.end(result) {
            End::Acknowledged(done) => assert_eq!(done, expected),
            End::Resolved(false) => return,
            End::Resolved(true) => {}
        }
        self.model = after;
    }

    fn batch(&mut self) {
        let inputs: Vec<_> = (0..self.rng.below(6)).map(|_| self.input()).collect();
        self.tell(format!("batch {inputs:?}"));
        let mut after = self.model.clone();
        let expected: Vec<_> = inputs.iter().map(|input| after.step(input)).collect();
        let items = inputs.iter().map(|input| (key_of(input.key), input.position, input));
        let result = self.run().batch(items, work);
        match self.end(result) {
            End::Acknowledged(done) => assert_eq!(done, expected),
            End::Resolved(false) => return,
            End::Resolved(true) => {}
        }
        self.model = after;
    }

    /// A step or a batch whose closure fails or panics: nothing may come of it.
    fn failing(&mut self) {
        let panics = self.rng.one_in(2);
        self.tell(format!("failing, panics: {panics}"));
        let (key, position) = (key_of(self.next_key + 50_000), self.next_position);
        let input = Input { key: 7, position, puts: vec![1], removes: vec![2], emits: 2 };
        let run = self.run.as_mut().unwrap();
        let result = catch_unwind(AssertUnwindSafe(|| {
            run.step(key, position, |tx| -> Result<u64> {
                work(tx, &input)?;
                if panics {
                    std::panic::resume_unwind(Box::new("the closure"));
                }
                Err(Error::abort("no"))
            })
        }));
        match result {
            Err(_) => assert!(panics),
            Ok(result) => assert_eq!(result.unwrap_err().kind(), ErrorKind::Aborted),
        }
    }

    fn rewind(&mut self) {
        self.next_position = self.rng.below(self.next_position + 1);
        let to = self.next_position;
        self.tell(format!("rewind to {to}"));
        let result = self.run().rewind(to);
        if !matches!(self.end(result), End::Resolved(false)) {
            self.model.position = Some(to);
        } else if let Some(at) = self.model.position {
            self.next_position = self.next_position.max(at);
        }
    }

    fn claim(&mut self) {
        let n = self.rng.below(CLAIMS);
        let known = self.model.claims.get(&n).copied();
        self.tell(format!("claim {n}, which is {known:?}"));
        let claimed = self.store().claim::<u64>("s", key_of(n), &n);
        let claimed = match self.end(claimed) {
            End::Acknowledged(claimed) => claimed,
            End::Resolved(committed) => {
                if committed && known.is_none() {
                    self.model.claims.insert(n, ClaimState::Open);
                }
                return;
            }
        };
        let roll = self.rng.below(4);
        let outcome = self.rng.below(1_000);
        let (result, after) = match (known, claimed) {
            (Some(ClaimState::Done(known)), Claimed::Done(outcome)) => {
                return assert_eq!(outcome, known);
            }
            (None, Claimed::Fresh(claim)) => {
                self.model.claims.insert(n, ClaimState::Open);
                match roll {
                    0 => return drop(claim),
                    1 => (claim.doubt("timeout"), Some(ClaimState::Open)),
                    2 => (claim.release(), None),
                    _ => (claim.complete(&outcome), Some(ClaimState::Done(outcome))),
                }
            }
            (Some(ClaimState::Open), Claimed::InDoubt(doubt)) => match roll {
                0 | 1 => return drop(doubt),
                2 => (doubt.release(), None),
                _ => (doubt.confirm(&outcome), Some(ClaimState::Done(outcome))),
            },
            (known, claimed) => panic!("{known:?}, but {claimed:?}"),
        };
        self.tell(format!("  to become {after:?}"));
        if !matches!(self.end(result), End::Resolved(false)) {
            match after {
                Some(state) => drop(self.model.claims.insert(n, state)),
                None => drop(self.model.claims.remove(&n)),
            }
        }
    }

    fn relay(&mut self) {
        self.tell("relay".into());
        let relay = self.store().relay(&TOPIC);
        let world = &mut self.world;
        match catch_unwind(AssertUnwindSafe(|| relay.deliver(world))) {
            Ok(Ok(delivered)) => self.tell(format!("  {delivered}")),
            Ok(Err(error)) => {
                drop(relay);
                self.resolve(&error);
            }
            Err(_) => self.tell("  the receiver panicked".into()),
        }
    }

    fn fault(&mut self) {
        let fault = Fault {
            nth: self.rng.below(40),
            effect: [Effect::Nothing, Effect::Half, Effect::All][self.rng.below(3) as usize],
            stays: self.rng.one_in(2),
            ..Fault::at(0)
        };
        self.tell(format!("{fault:?}"));
        self.disk.arm(Some(fault));
    }

    fn crash(&mut self) {
        self.tell("crash".into());
        let bytes = self.wreck();
        self.reopen(bytes);
        assert!(!self.store().was_closed_in_order());
    }

    fn restart(&mut self) {
        self.tell("restart".into());
        self.disk.arm(None);
        (self.run, self.store) = (None, None);
        let bytes = self.disk.live();
        self.reopen(bytes);
        assert!(self.store().was_closed_in_order());
    }

    fn act(&mut self) {
        match self.rng.below(20) {
            0..=6 => self.step(),
            7 | 8 => self.batch(),
            9 => self.failing(),
            10 => self.rewind(),
            11..=13 => self.claim(),
            14 | 15 => self.relay(),
            16 | 17 => self.fault(),
            18 => self.crash(),
            _ => self.restart(),
        }
    }

    /// Looks at what a crash now would leave, without touching the store itself.
    fn check(&self) {
        let bytes = self.disk.durable();
        let store = self.options.open_on(Arc::new(SimDisk::of(bytes))).unwrap();
        let keys: Vec<_> = (0..self.next_key.max(12)).map(key_of).collect();
        let content = Content::of(&store, &keys, TOPIC.as_str()).unwrap();
        let model = &self.model;
        assert_eq!(content.state, model.state);
        assert_eq!(content.position, model.position.map_or(Position::Start, Position::Index));
        assert_eq!(content.steps, model.steps);
        assert_eq!(content.keys, model.keys);
        assert_eq!(content.rows, model.rows);
        assert_eq!(content.intents.len() as u64, model.emitted);
        for (id, (external_id, state)) in &content.intents {
            let times = self.world.times(external_id);
            let agrees = match state {
                IntentState::Prepared | IntentState::Rejected { .. } => times == 0,
                IntentState::Confirmed { .. } => times == 1,
                IntentState::InDoubt { .. } => times <= 1,
                IntentState::InFlight => false,
            };
            assert!(agrees, "{id} is {state:?}, and was done {times} times");
        }
        assert!(self.world.applied.values().all(|times| *times == 1), "{:?}", self.world);
        let open = model.claims.values().filter(|state| **state == ClaimState::Open).count();
        assert_eq!(store.recovery().unwrap().claims_in_doubt.len(), open);
    }

    /// With a disk and a receiver that work again, everything comes to its end.
    fn settle(&mut self) {
        self.restart();
        self.world.rng = None;
        let relay = self.store().relay(&TOPIC);
        relay.deliver(&mut self.world).unwrap();
        assert!(self.store().intents().outstanding(&TOPIC, 1).unwrap().is_empty());
        let settled = self.store().intents().settled(&TOPIC, usize::MAX).unwrap();
        assert_eq!(settled.len() as u64, self.model.emitted);
        self.check();
        for (n, state) in self.model.claims.clone() {
            match (self.store().claim::<u64>("s", key_of(n), &n).unwrap(), state) {
                (Claimed::Done(outcome), ClaimState::Done(known)) => assert_eq!(outcome, known),
                (Claimed::InDoubt(_), ClaimState::Open) => {}
                (claimed, state) => panic!("{state:?}, but {claimed:?}"),
            }
        }
    }
}

fn live(seed: u64) {
    let mut life = Life::begin(seed);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        for turn in 0..60 {
            life.act();
            if turn % 6 == 0 {
                life.check();
            }
        }
        life.settle();
    }));
    if let Err(panic) = lived {
        println!("seed {seed}:\n{}", life.told.join("\n"));
        std::panic::resume_unwind(panic);
    }
}

/// Against: whatever nobody has thought of.
#[test]
fn a_life_of_crashes_ends_where_one_without_them_would_have() {
    let seeds = match std::env::var("MILEPOST_IT_SEED").map(|seed| seed.parse().unwrap()) {
        Ok(seed) => seed..seed + 1,
        Err(_) => 0..std::env::var("MILEPOST_IT_SEEDS").map_or(60, |seeds| seeds.parse().unwrap()),
    };
    for seed in seeds {
        live(seed);
    }
}
