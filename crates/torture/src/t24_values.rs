//! T24: values whose types refuse, panic over or change some of them, in releases of a program whose
//! types change from one to the next; with kills between any two calls and inside those of a receiver.
//!
//! One value stands in each place that has one: state, row, payload, answer, outcomes of a step and of a
//! claim. The judge keeps outside the store what was acknowledged. Nothing may be acknowledged that does
//! not come back as the same value, nothing that is refused may leave anything behind, and an intent
//! that cannot be read or settled is set aside, reported, and holds up none of those after it.

mod releases;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use milepost::testing::Rng;
use milepost::{
    Claimed, Delivery, Done, Endpoint, ErrorKind, MemoryDisk, Options, Probe, Result, Run, Sent,
    SettledRetention, Store, Topic,
};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use releases::{First, Release, Second, Swapped, Third, comes_back, unreadable};

pub(crate) struct Values;

impl Class for Values {
    fn id(&self) -> &'static str {
        "T24"
    }

    fn about(&self) -> &'static str {
        "types that refuse, panic over or change values, and change by release, over kills"
    }

    fn prepare(&self, _: &Setting) -> std::result::Result<Box<dyn Cases>, String> {
        Ok(Box::new(Histories))
    }
}

struct Histories;

const RUN: &str = "book";
const SCOPE: &str = "calls";
const ROWS: u64 = 3;
/// The price of an answer that can always be stored: no order has it.
const PLAIN: u64 = 256;

impl Cases for Histories {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    fn count(&self, scale: f64) -> u64 {
        (2_000.0 * scale) as u64
    }

    fn run(&self, _: u64, scene: &mut Scene) -> Outcome {
        let mut known = Known::default();
        match known.history(&mut scene.rng) {
            Ok(()) => Outcome::Same,
            Err(Finding::Wrong(what)) => Outcome::Wrong(what),
            Err(Finding::Violation(what)) => Outcome::Violation(what),
        }
    }
}

enum Finding {
    Wrong(String),
    Violation(String),
}

impl From<milepost::Error> for Finding {
    fn from(error: milepost::Error) -> Self {
        Self::Violation(format!("{:?}: {error}", error.kind()))
    }
}

type Judged<T = ()> = std::result::Result<T, Finding>;

fn wrong<T>(what: impl Into<String>) -> Judged<T> {
    Err(Finding::Wrong(what.into()))
}

fn violated<T>(what: impl Into<String>) -> Judged<T> {
    Err(Finding::Violation(what.into()))
}

/// What was acknowledged, by the price of each order; its quantity is its number.
#[derive(Default)]
struct Known {
    last: Option<(u64, u64)>,
    steps: BTreeMap<u64, u64>,
    rows: BTreeMap<u64, (u64, u64)>,
    calls: BTreeMap<u64, u64>,
    /// Orders that were emitted.
    emitted: BTreeMap<u64, u64>,
    /// How often each was carried out.
    effects: BTreeMap<u64, u32>,
    next: u64,
}

impl Known {
    fn history(&mut self, rng: &mut Rng) -> Judged {
        let disk = Arc::new(MemoryDisk::new());
        options::<First>().create_on(disk.clone())?.close()?;
        let disk = self.life::<First>(&disk, rng)?;
        let disk = self.life::<First>(&disk, rng)?;
        let disk = self.life::<Second>(&disk, rng)?;
        let disk = if rng.one_in(2) { self.life::<Second>(&disk, rng)? } else { disk };
        let disk = self.life::<Third>(&disk, rng)?;
        self.end::<Third>(disk)
    }

    /// One life of a release, up to a kill. What it leaves behind.
    fn life<R: Release>(
        &mut self,
        disk: &Arc<MemoryDisk>,
        rng: &mut Rng,
    ) -> Judged<Arc<MemoryDisk>> {
        let store = options::<R>().open_on(disk.clone())?;
        let mut run = store
            .open_run::<R::Order>(RUN)
            .init(R::Order::default)
            .migrations(&R::migrations())
            .open()?;
        self.check::<R>(&store, &mut run)?;
        for _ in 0..4 + rng.below(10) {
            match rng.below(8) {
                0..=2 => self.step::<R>(&mut run, rng)?,
                3 => self.claim::<R>(&store, rng)?,
                4 => self.strangers(&store)?,
                5 => self.check::<R>(&store, &mut run)?,
                _ => {
                    if !self.deliver::<R>(&store, rng)? {
                        break;
                    }
                }
            }
        }
        let killed = Arc::new(MemoryDisk::from_bytes(disk.to_bytes()));
        Ok(killed)
    }

    /// A step with one value in each place, of which one may not come back.
    fn step<R: Release>(&mut self, run: &mut Run<R::Order>, rng: &mut Rng) -> Judged {
        self.next += 1;
        let n = self.next;
        let good = good_price(rng);
        let any = rng.below(256);
        let at = rng.below(5);
        let price = |place| if at == place { any } else { good };
        let order = |place| R::order(n, price(place));
        let before = R::facts(run.state());
        let done = run.step(key_of(n), n, |tx| {
            tx.put(row_of(n), &order(1))?;
            tx.emit(&orders::<R>(), &order(2))?;
            tx.state = order(0);
            Ok(order(3))
        });
        match (done, at < 4 && !comes_back(any)) {
            (Ok(Done::Fresh(outcome)), false) if outcome == order(3) => {
                self.last = Some((n, price(0)));
                self.rows.insert(n % ROWS, (n, price(1)));
                self.emitted.insert(n, price(2));
                self.steps.insert(n, price(3));
            }
            (Err(error), true) if error.kind() == ErrorKind::Invalid => {}
            (done, bad) => {
                return wrong(format!("I3: a step ({at}, {any}, bad: {bad}) is {done:?}"));
            }
        }
        let now = R::facts(run.state());
        let expected = self.last.filter(|(last, _)| *last == n).unwrap_or(before);
        if now != expected {
            return wrong(format!("I1: the state is {now:?} after a step, not {expected:?}"));
        }
        Ok(())
    }

    /// A call whose answer may not come back: then it is open, and completed with another one, or not.
    fn claim<R: Release>(&mut self, store: &Store, rng: &mut Rng) -> Judged {
        self.next += 1;
        let (n, price) = (self.next, rng.below(256));
        let Claimed::Fresh(claim) = store.claim::<R::Order>(SCOPE, key_of(n), &n)? else {
            return wrong(format!("I4: call {n} is not new"));
        };
        let (done, price) = match claim.complete(&R::order(n, price)) {
            Err(error) if !comes_back(price) && error.kind() == ErrorKind::Invalid => {
                let good = good_price(rng);
                let Claimed::InFlight { .. } = store.claim::<R::Order>(SCOPE, key_of(n), &n)?
                else {
                    return violated(format!("call {n} is not open after a bad answer"));
                };
                (claim.complete(&R::order(n, good)), good)
            }
            done => (done, price),
        };
        done?;
        if !comes_back(price) {
            return wrong(format!("I3: the answer {price} was acknowledged"));
        }
        self.calls.insert(n, price);
        Ok(())
    }

    /// A program of another release, whose fields changed places under the same version: it sees nothing.
    fn strangers(&self, store: &Store) -> Judged {
        let is_refused = |what: &str, result: Result<()>| match result {
            Err(error) if matches!(error.kind(), ErrorKind::SchemaMismatch | ErrorKind::TooNew) => {
                Ok(())
            }
            Err(error) => violated(format!("{what}: {:?} {error}", error.kind())),
            Ok(()) => wrong(format!("I3: {what} was read as another type")),
        };
        if let Some(n) = self.calls.keys().next() {
            let claimed = store.claim::<<Swapped as Release>::Order>(SCOPE, key_of(*n), n);
            is_refused("an outcome of a claim", claimed.map(drop))?;
        }
        let outstanding = store.intents().outstanding("orders", usize::MAX)?.len() as u64;
        if outstanding > 0 {
            let mut nobody = Exchange::<Swapped>::default();
            match store.relay(&orders::<Swapped>()).deliver(&mut nobody) {
                // No order of its version was ever emitted: it is told of each one by itself.
                Ok(delivered) if delivered.set_aside == outstanding => {}
                delivered => is_refused("a payload", delivered.map(drop))?,
            }
            if nobody.calls > 0 {
                return violated("I5: a receiver was called with a payload of another type");
            }
        }
        Ok(())
    }

    /// One pass of a relay, while one price cannot be read, and with answers that do not come back.
    /// Whether the program is alive after it.
    fn deliver<R: Release>(&mut self, store: &Store, rng: &mut Rng) -> Judged<bool> {
        let topic = store.intents().outstanding("orders", usize::MAX)?;
        let before: BTreeSet<_> = topic.iter().map(|intent| intent.id.clone()).collect();
        let mut prices = Vec::new();
        for id in &before {
            if let Some(intent) = store.intent(&orders::<R>(), id)? {
                prices.push((id.clone(), R::facts(&intent.payload)));
            }
        }
        let pick = usize::try_from(rng.below(prices.len() as u64 + 1)).unwrap_or_default();
        let broken = prices.get(pick).map(|(_, (_, price))| *price);
        let dies_at = if rng.one_in(4) { Some(rng.below(4)) } else { None };
        let mut exchange = Exchange::<R> {
            known: Some(self),
            dies_at,
            answers: (0..8)
                .map(|_| rng.below(256))
                .filter(|price| Some(*price) != broken)
                .collect(),
            ..Exchange::default()
        };
        let relay = store.relay(&orders::<R>());
        let pass = unreadable(broken, rng.one_in(2), || {
            catch_unwind(AssertUnwindSafe(|| relay.deliver(&mut exchange)))
        });
        let (died, bad_answers) = (exchange.died, exchange.bad_answers);
        let delivered = match pass {
            Ok(delivered) => delivered?,
            Err(_) if died => return Ok(false),
            Err(_) => return violated("I7: a `Deserialize` that panics ends the pass of a relay"),
        };
        let is_broken = |price: u64| broken == Some(price);
        let set_aside = prices.iter().filter(|(_, (_, price))| is_broken(*price)).count() as u64;
        if delivered.set_aside != set_aside + bad_answers {
            return violated(format!(
                "I6: {set_aside} intents cannot be read and {bad_answers} answers not be stored: \
                 {delivered}"
            ));
        }
        for (id, (n, price)) in &prices {
            let reported = delivered.problems.iter().any(|problem| problem.id == *id);
            let effects = self.effects.get(n).copied().unwrap_or_default();
            match (is_broken(*price), reported, effects) {
                (true, true, 0 | 1) | (false, _, 1) => {}
                found => return violated(format!("I6: order {n} of {price} is {found:?}")),
            }
        }
        Ok(true)
    }

    /// Everything that was acknowledged is there, and is what it was.
    fn check<R: Release>(&self, store: &Store, run: &mut Run<R::Order>) -> Judged {
        if let Some(last) = self.last
            && R::facts(run.state()) != last
        {
            return wrong(format!("I1: the state is {:?}, not {last:?}", run.state()));
        }
        for (n, price) in &self.steps {
            let again = run.step(key_of(*n), u64::MAX, |_| -> Result<R::Order> {
                Err(milepost::Error::abort("it is new"))
            });
            match again? {
                Done::Duplicate(outcome) if R::facts(&outcome) == (*n, *price) => {}
                other => return wrong(format!("I3: step {n} of {price} came to {other:?}")),
            }
        }
        for (row, known) in &self.rows {
            match run.get::<R::Order>(row_of(*row))? {
                Some(found) if R::facts(&found) == *known => {}
                other => return wrong(format!("I3: row {row} is {other:?}, not {known:?}")),
            }
        }
        for (n, price) in &self.calls {
            match store.claim::<R::Order>(SCOPE, key_of(*n), n)? {
                Claimed::Done(outcome) if R::facts(&outcome) == (*n, *price) => {}
                other => return wrong(format!("I3: call {n} of {price} is {other:?}")),
            }
        }
        let intents = store.intents();
        let all =
            [intents.outstanding("orders", usize::MAX)?, intents.settled("orders", usize::MAX)?];
        let mut emitted = BTreeMap::new();
        for summary in all.into_iter().flatten() {
            let Some(intent) = store.intent(&orders::<R>(), &summary.id)? else {
                return wrong(format!("I4: {} is listed and not there", summary.id));
            };
            let (n, price) = R::facts(&intent.payload);
            emitted.insert(n, price);
        }
        if emitted != self.emitted {
            return wrong(format!("I3: the orders are {emitted:?}, not {:?}", self.emitted));
        }
        match self.effects.iter().find(|(_, times)| **times > 1) {
            Some((n, times)) => violated(format!("I5: order {n} was carried out {times} times")),
            None => Ok(()),
        }
    }

    /// With nothing in the way, everything is settled.
    fn end<R: Release>(&mut self, disk: Arc<MemoryDisk>) -> Judged {
        let store = options::<R>().open_on(disk)?;
        let mut exchange = Exchange::<R> { known: Some(self), ..Exchange::default() };
        store.relay(&orders::<R>()).deliver(&mut exchange)?;
        let recovery = store.recovery()?;
        if !recovery.is_settled() {
            return violated(format!("I6: not settled in the end: {recovery:?}"));
        }
        if let Some(n) = self.emitted.keys().find(|n| self.effects.get(n) != Some(&1)) {
            return violated(format!("I6: order {n} was not carried out once"));
        }
        let mut run = store
            .open_run::<R::Order>(RUN)
            .init(R::Order::default)
            .migrations(&R::migrations())
            .open()?;
        self.check::<R>(&store, &mut run)?;
        if store.verify()?.is_sound() { Ok(()) } else { violated("verify finds fault with it") }
    }
}

/// The topic, with the types of this release.
fn orders<R: Release>() -> Topic<R::Order, R::Order> {
    Topic::new("orders")
}

fn options<R: Release>() -> Options {
    Options::new().value_migrations(R::migrations()).settled_retention(SettledRetention::keep_all())
}

fn key_of(n: u64) -> String {
    format!("key-{n}")
}

fn row_of(n: u64) -> String {
    format!("row-{}", n % ROWS)
}

fn good_price(rng: &mut Rng) -> u64 {
    loop {
        let price = rng.below(256);
        if comes_back(price) {
            return price;
        }
    }
}

/// A receiver that does what it is asked, once per order, and may die in the middle of it.
struct Exchange<'k, R> {
    known: Option<&'k mut Known>,
    dies_at: Option<u64>,
    died: bool,
    calls: u64,
    /// The prices of what it answers, as long as there are any.
    answers: Vec<u64>,
    bad_answers: u64,
    release: std::marker::PhantomData<R>,
}

impl<R> Default for Exchange<'_, R> {
    fn default() -> Self {
        Self {
            known: None,
            dies_at: None,
            died: false,
            calls: 0,
            answers: Vec::new(),
            bad_answers: 0,
            release: std::marker::PhantomData,
        }
    }
}

impl<R: Release> Endpoint<R::Order, R::Order> for Exchange<'_, R> {
    fn call(&mut self, delivery: &Delivery<R::Order>) -> Sent<R::Order> {
        let (n, _) = R::facts(&delivery.payload);
        if let Some(known) = &mut self.known {
            *known.effects.entry(n).or_default() += 1;
        }
        if self.dies_at == Some(self.calls) {
            self.died = true;
            resume_unwind(Box::new("killed"));
        }
        self.calls += 1;
        let price = self.answers.pop().unwrap_or(PLAIN);
        self.bad_answers += u64::from(!comes_back(price));
        Sent::Confirmed(R::order(n, price))
    }

    fn probe(&mut self, delivery: &Delivery<R::Order>) -> Probe<R::Order> {
        let (n, _) = R::facts(&delivery.payload);
        let was_done = self.known.as_ref().is_some_and(|known| known.effects.contains_key(&n));
        if was_done { Probe::Applied(R::order(n, PLAIN)) } else { Probe::NotApplied }
    }
}
