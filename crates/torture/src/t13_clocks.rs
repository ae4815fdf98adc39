//! T13: clocks that go back, stand in 1970, leap far ahead, or are set while the store is closed; and
//! long pauses, with and without a start of the machine in between. Nothing expires early, nothing
//! revives, and no opening after a pause that nothing contradicts needs a second one.
//!
//! The judge knows the true time, and the latest time that anybody could believe by the rules of the
//! manual: a leap of more than a day beyond what a witness saw pass needs a second opening. What was done under a time at which it
//! was asked for is never new again under that time, whatever the clock says.

mod belief;

use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{Platter, Rng, SimDisk};
use milepost::{
    Claimed, Clock, Error, ErrorKind, Key, ManualClock, Options, Run, Store, Timestamp, Versioned,
};
use serde::{Deserialize, Serialize};

use self::belief::Belief;
use super::class::{Cases, Class, Outcome, Scene, Setting};

pub(crate) struct Clocks;

impl Class for Clocks {
    fn id(&self) -> &'static str {
        "T13"
    }

    fn about(&self) -> &'static str {
        "clocks that go back, leap ahead, stand in 1970, or are set between two opens; long pauses"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        let disk = Arc::new(SimDisk::new());
        let clock = ManualClock::new(Timestamp::from_ms(T0_MS));
        let created = Options::new().clock(clock).create_on(disk.clone()).and_then(Store::close);
        created.map_err(|error| format!("creating a store: {error}"))?;
        Ok(Box::new(Times { base: disk.durable() }))
    }
}

struct Times {
    base: Platter,
}

impl Cases for Times {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    fn count(&self, scale: f64) -> u64 {
        (2_000.0 * scale) as u64
    }

    fn run(&self, _: u64, scene: &mut Scene) -> Outcome {
        match Life::begin(&self.base, &mut scene.rng).and_then(|mut life| life.live(&mut scene.rng))
        {
            Ok(()) => Outcome::Same,
            Err(outcome) => outcome,
        }
    }
}

const T0_MS: u64 = 1_700_000_000_000;
const TICK_MS: u64 = 100;
const HOUR_MS: u64 = 36_000 * TICK_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const FAR_MS: u64 = 400 * DAY_MS;
const SCOPE: &str = "calls";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Nothing;

impl Versioned for Nothing {
    const NAME: &'static str = "nothing";
    const VERSION: u32 = 1;
}

/// Something that is asked for, most often more than once.
#[derive(Debug, Clone)]
struct Request {
    name: String,
    is_step: bool,
    ttl_ms: Option<u64>,
    issued_ms: Option<u64>,
    settled: Option<Settled>,
    is_in_doubt: bool,
}

/// When it was done: by the clock, by what the store certainly believed by then, and in truth.
#[expect(clippy::struct_field_names, reason = "units stand last")]
#[derive(Debug, Clone, Copy)]
struct Settled {
    clock_ms: u64,
    believed_ms: u64,
    true_ms: u64,
}

/// What a request was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    New,
    Seen,
    InDoubt,
    Beyond,
}

struct Life {
    alive: Option<(Run<Nothing>, Store)>,
    disk: Arc<SimDisk>,
    clock: ManualClock,
    options: Options,
    true_ms: u64,
    /// Whether the clock lies only in ways that nobody may believe.
    is_incredible: bool,
    /// Whether the clock never lies, so nothing contradicts it.
    is_honest: bool,
    belief: Belief,
    requests: Vec<Request>,
}

impl Life {
    fn begin(base: &Platter, rng: &mut Rng) -> Result<Self, Outcome> {
        let clock = ManualClock::new(Timestamp::from_ms(T0_MS));
        let options = Options::new().clock(clock.clone()).cache_bytes(1 << 20);
        let mut life = Self {
            alive: None,
            disk: Arc::new(SimDisk::of(base.clone())),
            options,
            true_ms: T0_MS,
            is_incredible: rng.one_in(2),
            is_honest: rng.one_in(4),
            belief: Belief {
                high_ms: T0_MS,
                low_ms: T0_MS,
                trusted: None,
                suspects: Vec::new(),
                boots: 0,
                boot: 0,
                passed_ms: 0,
                unspent_ms: 0,
                seen: clock.elapsed(),
            },
            clock,
            requests: Vec::new(),
        };
        life.open()?;
        Ok(life)
    }

    fn live(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        for _ in 0..20 + rng.below(30) {
            match rng.below(16) {
                0..=3 => self.ask_for_something_new(rng)?,
                4..=9 => self.ask_again(rng)?,
                10 | 11 => self.pass(rng),
                12 | 13 => self.set_clock(rng),
                14 => self.restart(rng)?,
                _ => self.trust(rng)?,
            }
        }
        self.end()
    }

    fn ask_for_something_new(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        let ttls = [5 * TICK_MS, HOUR_MS, 3 * DAY_MS];
        let ttl_ms = ttls.get(usize::try_from(rng.below(4)).unwrap_or_default()).copied();
        let issued_ms = match rng.below(3) {
            0 => None,
            // By the input's own clock, or by this machine's.
            1 => Some(self.true_ms),
            _ => Some(self.clock.now().as_ms()),
        };
        self.requests.push(Request {
            name: format!("request-{}", self.requests.len()),
            is_step: rng.one_in(2),
            ttl_ms,
            issued_ms,
            settled: None,
            is_in_doubt: false,
        });
        self.ask(self.requests.len() - 1, rng.one_in(8))
    }

    fn ask_again(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        match usize::try_from(rng.below(self.requests.len() as u64)) {
            Ok(nth) if nth < self.requests.len() => self.ask(nth, false),
            _ => Ok(()),
        }
    }

    /// Asks, does it if it is new, and judges the answer.
    fn ask(&mut self, nth: usize, leaves_in_doubt: bool) -> Result<(), Outcome> {
        let Some(mut request) = self.requests.get(nth).cloned() else { return Ok(()) };
        self.belief.read(self.clock.now().as_ms(), self.clock.elapsed());
        let leaves_in_doubt = leaves_in_doubt && !request.is_step;
        let answer = self.answer(&request, leaves_in_doubt)?;
        self.judge(&request, answer)?;
        if answer == Answer::New {
            self.belief.commit(self.clock.now().as_ms());
            request.is_in_doubt = leaves_in_doubt;
            request.settled = (!leaves_in_doubt).then_some(Settled {
                clock_ms: self.clock.now().as_ms(),
                believed_ms: self.belief.low_ms,
                true_ms: self.true_ms,
            });
            if let Some(slot) = self.requests.get_mut(nth) {
                *slot = request;
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: &Request, leaves_in_doubt: bool) -> Result<Answer, Outcome> {
        let mut key = Key::new(&request.name);
        if let Some(ttl_ms) = request.ttl_ms {
            key = key.expires_after(Duration::from_millis(ttl_ms));
        }
        if let Some(issued_ms) = request.issued_ms {
            key = key.issued_at(Timestamp::from_ms(issued_ms));
        }
        let Some((run, store)) = &mut self.alive else {
            return Err(Outcome::Violation("a closed store was asked".to_owned()));
        };
        if request.is_step {
            return match run.step(key, 0, |_| Ok(())) {
                Ok(done) if done.is_fresh() => Ok(Answer::New),
                Ok(_) => Ok(Answer::Seen),
                Err(error) if error.kind() == ErrorKind::BeyondHorizon => Ok(Answer::Beyond),
                Err(error) => Err(refused(&error)),
            };
        }
        let claimed = match store.claim::<()>(SCOPE, key, &request.name) {
            Err(error) if error.kind() == ErrorKind::BeyondHorizon => return Ok(Answer::Beyond),
            claimed => claimed.map_err(|error| refused(&error))?,
        };
        match claimed {
            Claimed::Fresh(claim) => {
                if leaves_in_doubt {
                    drop(claim);
                } else {
                    claim.complete(&()).map_err(|error| refused(&error))?;
                }
                Ok(Answer::New)
            }
            Claimed::Done(()) => Ok(Answer::Seen),
            Claimed::InDoubt(_) => Ok(Answer::InDoubt),
            other => Err(Outcome::Violation(format!("{} is {other:?}", request.name))),
        }
    }

    fn judge(&self, request: &Request, answer: Answer) -> Result<(), Outcome> {
        let told = || {
            let clock_ms = self.clock.now().as_ms();
            format!("{request:?}, truly at {}, by the clock at {clock_ms}", self.true_ms)
        };
        let wrong = |what: &str| Err(Outcome::Wrong(format!("I4: {what}: {}", told())));
        if request.is_in_doubt {
            if answer == Answer::InDoubt {
                return Ok(());
            }
            return wrong(&format!("doubt went away by itself, to {answer:?}"));
        }
        let Some(settled) = request.settled else {
            return match answer {
                Answer::New => Ok(()),
                Answer::Beyond if self.may_be_beyond(request) => Ok(()),
                answer => wrong(&format!("what was never asked for is {answer:?}")),
            };
        };
        match answer {
            Answer::Seen => return Ok(()),
            Answer::InDoubt => return wrong("what was settled is in doubt"),
            Answer::New | Answer::Beyond => {}
        }
        let Some(ttl_ms) = request.ttl_ms else {
            return wrong("a key that never expires is forgotten");
        };
        if request.issued_ms.is_some() && answer == Answer::New {
            return wrong("what was done is new again, under the time it was asked for");
        }
        // A clock that went back does not let it expire before what was believed by then.
        let from_ms = settled.clock_ms.max(settled.believed_ms);
        if self.belief.high_ms < from_ms.saturating_add(ttl_ms) {
            return wrong("expired early, by any clock that could be believed");
        }
        let was_true = settled.clock_ms == settled.true_ms;
        if self.is_incredible && was_true && self.true_ms < settled.true_ms + ttl_ms {
            return wrong("expired early, by the true time");
        }
        Ok(())
    }

    /// Whether something else that was asked for then may have been forgotten by now. The horizon is
    /// rounded up to tenths of a second.
    fn may_be_beyond(&self, request: &Request) -> bool {
        let (Some(issued_ms), Some(ttl_ms)) = (request.issued_ms, request.ttl_ms) else {
            return false;
        };
        issued_ms + ttl_ms <= self.belief.high_ms + TICK_MS
    }

    /// True time, and the clock with it.
    fn pass(&mut self, rng: &mut Rng) {
        let by_ms = match rng.below(4) {
            0 => rng.below(10 * TICK_MS),
            1 => rng.below(2 * HOUR_MS),
            2 => rng.below(DAY_MS),
            _ => rng.below(4 * DAY_MS),
        };
        self.true_ms += by_ms;
        self.clock.advance(Duration::from_millis(by_ms));
    }

    fn set_clock(&mut self, rng: &mut Rng) {
        if self.is_honest {
            return;
        }
        let to_ms = match rng.below(6) {
            0 | 1 => self.true_ms,
            2 => 0,
            3 => self.true_ms - rng.below(100 * DAY_MS),
            4 => self.true_ms + FAR_MS + rng.below(FAR_MS),
            _ if self.is_incredible => self.true_ms,
            // Within a day: nobody can tell it from a pause.
            _ => self.true_ms + rng.below(2 * DAY_MS),
        };
        self.clock.set(Timestamp::from_ms(to_ms));
    }

    fn restart(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        if self.is_incredible {
            // A sitting with the right time comes between two with a wrong one: they do not agree.
            self.clock.set(Timestamp::from_ms(self.true_ms));
        }
        if rng.one_in(3) {
            // What passed since the last reading has no witness any more.
            self.clock.reboot();
            self.belief.boots += 1;
        }
        self.reopen(rng)?;
        if rng.one_in(2) {
            self.set_clock(rng);
            self.reopen(rng)?;
        }
        Ok(())
    }

    fn reopen(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        let left = if rng.one_in(2) {
            self.alive = None;
            self.disk.live()
        } else {
            self.disk.durable()
        };
        self.alive = None;
        self.disk = Arc::new(SimDisk::of(left));
        self.open()
    }

    fn open(&mut self) -> Result<(), Outcome> {
        self.belief.open(self.clock.now().as_ms(), self.clock.elapsed());
        let store = self.options.open_on(self.disk.clone()).map_err(|error| refused(&error))?;
        let run = store.run("run").map_err(|error| refused(&error))?;
        let suspect = store.clock_suspect().map_err(|error| refused(&error))?;
        self.alive = Some((run, store));
        match suspect.filter(|_| self.is_honest) {
            Some(suspect) => Err(Outcome::Wrong(format!(
                "I6: a pause that nothing contradicts has to be confirmed: {suspect:?}"
            ))),
            None => Ok(()),
        }
    }

    /// Somebody looks at another clock.
    fn trust(&mut self, rng: &mut Rng) -> Result<(), Outcome> {
        // Whoever looks at another clock takes no 1970 for true.
        if self.is_incredible || rng.one_in(2) || self.clock.now() == Timestamp::default() {
            self.clock.set(Timestamp::from_ms(self.true_ms));
        }
        if let Some((_, store)) = &self.alive {
            store.trust_clock().map_err(|error| refused(&error))?;
        }
        self.belief.trust(self.clock.now().as_ms(), self.clock.elapsed());
        Ok(())
    }

    /// When the clock is right and everybody knows it, everything is forgotten that should be, and
    /// nothing else.
    fn end(&mut self) -> Result<(), Outcome> {
        self.clock.set(Timestamp::from_ms(self.true_ms.max(self.belief.high_ms)));
        self.true_ms = self.clock.now().as_ms();
        if let Some((_, store)) = &self.alive {
            store.trust_clock().map_err(|error| refused(&error))?;
        }
        self.belief.trust(self.true_ms, self.clock.elapsed());
        self.true_ms += 3 * FAR_MS;
        self.clock.advance(Duration::from_millis(3 * FAR_MS));
        for nth in 0..self.requests.len() {
            self.ask(nth, false)?;
        }
        for request in self.requests.clone() {
            let is_due = request.ttl_ms.is_some() && !request.is_in_doubt;
            let is_seen = self.answer(&Request { issued_ms: None, ..request.clone() }, false)?;
            let was_done_now = request.settled.is_some_and(|at| at.true_ms == self.true_ms);
            if is_due && !was_done_now && is_seen == Answer::Seen {
                return Err(Outcome::Violation(format!("I6: never forgotten: {request:?}")));
            }
        }
        Ok(())
    }
}

fn refused(error: &Error) -> Outcome {
    Outcome::Violation(format!("I7: {:?}: {error}", error.kind()))
}
