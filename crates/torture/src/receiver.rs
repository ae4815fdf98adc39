//! The fake receiver of the end-to-end class: it loses requests and answers, lets them travel for a
//! while, hears them twice, shows late what it has done, and forgets; and it knows, as no real one
//! does, what it has done and what is still on its way.
//!
//! What it says is true. `NotApplied` it says only when nothing is on its way any more; where a real
//! one could not know, it says that it does not.

use std::collections::BTreeMap;

use milepost::testing::Rng;
use milepost::{Delivery, Endpoint, ErrorKind, Probe, Sent, Store, Topic};

/// The longest a request is on its way, in the receiver's own time.
const TRAVEL_MAX: u64 = 20;
/// The longest that what was done cannot be seen.
const UNSEEN_MAX: u64 = 10;
/// The shortest time for which it knows what it has done: longer than any copy of a request travels.
const MEMORY_MIN: u64 = 60;

/// What the program unwinds with when it is killed inside a call.
pub(crate) struct Killed;

pub(crate) struct Gateway {
    rng: Rng,
    /// Whether anything goes wrong.
    pub(crate) is_faulty: bool,
    now: u64,
    /// How long it remembers an id; a second copy of the request is then not carried out again.
    memory: u64,
    /// Whether it looks at ids at all. If not, the network does not repeat either: that would be
    /// nobody's fault but the network's.
    dedups: bool,
    done: BTreeMap<String, Effect>,
    travelling: Vec<Request>,
    /// Which store is being delivered, for somebody else to try the same.
    pub(crate) delivering: Option<(Store, Topic<u64, u64>)>,
    /// The first promise that was seen to be broken.
    pub(crate) broken: Option<String>,
    /// What went wrong, and how often.
    pub(crate) faults: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Effect {
    times: u32,
    seen_from: u64,
    known_until: u64,
}

#[derive(Debug)]
struct Request {
    id: String,
    arrives: u64,
}

impl Gateway {
    pub(crate) fn new(mut rng: Rng) -> Self {
        let memory = if rng.one_in(2) { MEMORY_MIN + rng.below(100) } else { u64::MAX };
        Self {
            is_faulty: true,
            now: 0,
            memory,
            dedups: rng.one_in(2),
            rng,
            done: BTreeMap::new(),
            travelling: Vec::new(),
            delivering: None,
            broken: None,
            faults: BTreeMap::new(),
        }
    }

    /// How often it has carried this out.
    pub(crate) fn times(&self, id: &str) -> u32 {
        self.done.get(id).map_or(0, |effect| effect.times)
    }

    /// Whether it can no longer say what became of it.
    pub(crate) fn has_forgotten(&self, id: &str) -> bool {
        self.done.get(id).is_some_and(|effect| self.now >= effect.known_until)
    }

    /// Whether a request for it may still be carried out.
    pub(crate) fn is_travelling(&self, id: &str) -> bool {
        self.travelling.iter().any(|request| request.id == id)
    }

    /// Time passes, and requests arrive in it, each at its own moment.
    pub(crate) fn wait(&mut self, by: u64) {
        let end = self.now.saturating_add(by);
        self.travelling.sort_by_key(|request| request.arrives);
        let arrived: Vec<_> =
            self.travelling.extract_if(.., |request| request.arrives <= end).collect();
        for request in arrived {
            self.now = request.arrives;
            self.carry_out(&request.id);
        }
        self.now = end;
    }

    /// Nothing goes wrong any more, and whatever was on its way is there and can be seen.
    pub(crate) fn calm_down(&mut self) {
        self.is_faulty = false;
        self.wait(TRAVEL_MAX + UNSEEN_MAX + 1);
    }

    /// One request, which the program believes it may send.
    pub(crate) fn call(&mut self, id: &str, outcome: u64) -> Sent<u64> {
        let pause = 1 + self.rng.below(3);
        self.wait(pause);
        if self.times(id) > 0 || self.is_travelling(id) {
            self.breaks(format!("I5: {id} was sent again before anybody had found out"));
        }
        if !self.is_faulty {
            self.carry_out(id);
            return Sent::Confirmed(outcome);
        }
        match self.rng.below(16) {
            0 => {
                self.count("refused");
                Sent::Rejected("no funds".to_owned())
            }
            1 => {
                self.count("not sent");
                Sent::NotSent("offline".to_owned())
            }
            2 => {
                self.count("request lost");
                Sent::Ambiguous("timeout".to_owned())
            }
            3 | 4 => {
                self.count("answer lost");
                self.carry_out(id);
                Sent::Ambiguous("timeout".to_owned())
            }
            5 => {
                self.count("request late");
                self.travels(id);
                Sent::Ambiguous("timeout".to_owned())
            }
            6 if self.dedups => {
                self.count("request repeated");
                self.carry_out(id);
                self.travels(id);
                Sent::Confirmed(outcome)
            }
            7 => self.dies("killed before the request left"),
            8 => {
                self.carry_out(id);
                self.dies("killed before the answer came")
            }
            9 => {
                self.travels(id);
                self.dies("killed with the request on its way")
            }
            10 => {
                self.intrude();
                self.carry_out(id);
                Sent::Confirmed(outcome)
            }
            _ => {
                self.carry_out(id);
                Sent::Confirmed(outcome)
            }
        }
    }

    /// One question.
    pub(crate) fn ask(&mut self, id: &str, outcome: u64) -> Probe<u64> {
        let pause = 1 + self.rng.below(3);
        self.wait(pause);
        if self.is_faulty {
            match self.rng.below(12) {
                0 | 1 => {
                    self.count("question lost");
                    return Probe::Unknown;
                }
                2 => self.dies("killed while asking"),
                _ => {}
            }
        }
        if self.is_travelling(id) {
            return Probe::Unknown;
        }
        match self.done.get(id).copied() {
            None => Probe::NotApplied,
            Some(effect) if self.now < effect.seen_from => {
                self.count("done and not to be seen yet");
                Probe::Unknown
            }
            Some(effect) if self.now >= effect.known_until => {
                self.count("done and forgotten");
                Probe::Unknown
            }
            Some(_) => Probe::Applied(outcome),
        }
    }

    pub(crate) fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn carry_out(&mut self, id: &str) {
        let known = self.done.get(id).is_some_and(|effect| self.now < effect.known_until);
        if self.dedups && known {
            return;
        }
        let seen_from = if self.is_faulty { self.now + self.rng.below(UNSEEN_MAX) } else { 0 };
        let known_until = self.now.saturating_add(self.memory);
        let times = self.times(id) + 1;
        self.done.insert(id.to_owned(), Effect { times, seen_from, known_until });
        if times > 1 {
            self.breaks(format!("I5: {id} was carried out {times} times"));
        }
    }

    fn travels(&mut self, id: &str) {
        let arrives = self.now + 1 + self.rng.below(TRAVEL_MAX - 1);
        self.travelling.push(Request { id: id.to_owned(), arrives });
    }

    fn dies(&mut self, how: &'static str) -> ! {
        self.count(how);
        std::panic::resume_unwind(Box::new(Killed))
    }

    /// Somebody else delivers the same topic at this very moment.
    fn intrude(&mut self) {
        let Some((store, topic)) = self.delivering.clone() else { return };
        self.count("a second relay");
        let mut nobody = Nobody::default();
        match store.relay(&topic).deliver(&mut nobody) {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => self.breaks(format!("I8: a second relay of the topic got {other:?}")),
        }
        if nobody.was_called {
            self.breaks("I8: two relays of one topic have sent".to_owned());
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

impl Endpoint<u64, u64> for Gateway {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        self.call(delivery.external_id.as_str(), outcome_of(delivery.payload))
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        self.ask(delivery.external_id.as_str(), outcome_of(delivery.payload))
    }
}

/// What it answers to a request.
pub(crate) fn outcome_of(payload: u64) -> u64 {
    payload * 2 + 1
}

/// A receiver to which nothing may be sent.
#[derive(Debug, Default)]
pub(crate) struct Nobody {
    pub(crate) was_called: bool,
}

impl Endpoint<u64, u64> for Nobody {
    fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
        self.was_called = true;
        Sent::Ambiguous("nobody is there".to_owned())
    }
}
