//! The judge: what was acknowledged, and what the fake receiver has seen, kept outside the store;
//! and whether a store that was opened again agrees with it.

use std::collections::BTreeMap;

use milepost::{
    Claimed, Delivery, Done, Endpoint, Error, ErrorKind, IntentId, IntentState, Position, Probe,
    Sent, Store,
};

use super::class::Outcome;
use super::work::{
    ROWS, RUN, SCOPE, TOPIC, Tour, call_key, call_outcome, is_order, key_of, outcomes, row_of,
};

/// What is known outside the store.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    /// Steps that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Steps that may be there: the last one that was begun.
    pub(crate) begun: u64,
    /// Calls under a claim, by number.
    pub(crate) calls: BTreeMap<u64, Call>,
    /// What the receiver was sent, by external id.
    pub(crate) orders: BTreeMap<String, Order>,
    /// The highest epoch that was heard of.
    pub(crate) epoch: u64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Call {
    pub(crate) effects: u32,
    /// It was acknowledged that its outcome is stored.
    pub(crate) acknowledged: bool,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Order {
    pub(crate) payload: u64,
    pub(crate) effects: u32,
    /// It was acknowledged that its outcome is stored.
    pub(crate) acknowledged: bool,
}

/// Why a store does not pass.
#[derive(Debug)]
pub(crate) enum Finding {
    /// A value that was never written, or not there.
    Wrong(String),
    /// Something that was written is said not to be there.
    Absent(String),
    Violation(String),
    Refused(Error),
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Finding {
    /// Of a store that was honestly written, and must open and answer.
    pub(crate) fn of_a_sound_store(self, when: &str) -> Outcome {
        match self {
            Self::Wrong(what) | Self::Absent(what) => Outcome::Wrong(format!("{when}: {what}")),
            Self::Violation(what) => Outcome::Violation(format!("{when}: {what}")),
            Self::Refused(error) => {
                Outcome::Violation(format!("I2, {when}: {:?}: {error}", error.kind()))
            }
        }
    }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Wrong(what.into()))
}

fn absent<T>(what: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Absent(what.into()))
}

fn violated<T>(what: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Violation(what.into()))
}

impl Known {
    /// Everything that can be asked without changing anything, against what is known. How many steps
    /// there are.
    pub(crate) fn check(&self, store: &Store) -> Result<u64, Finding> {
        if store.epoch().get() <= self.epoch {
            return violated(format!("I8: epoch {} came after {}", store.epoch(), self.epoch));
        }
        let steps = self.check_run(store)?;
        self.check_orders(store, steps)?;
        Ok(steps)
    }

    /// State, position, keys, outcomes and rows are those after some number of steps, of which none
    /// that was acknowledged is missing.
    fn check_run(&self, store: &Store) -> Result<u64, Finding> {
        let mut run = store.run::<Tour>(RUN)?;
        let steps = run.steps();
        let (least, most) = (self.acknowledged, self.begun.max(self.acknowledged));
        if steps < least {
            return violated(format!("I2: {least} steps were acknowledged, {steps} are there"));
        }
        if steps > most {
            return wrong(format!("{steps} steps are there, only {most} were begun"));
        }
        if *run.state() != Tour::after(steps) {
            return wrong(format!("I1: the state is not that after {steps} steps"));
        }
        let position = if steps == 0 { Position::Start } else { Position::Index(steps) };
        if *run.position() != position {
            return wrong(format!("I1: the position is {:?} after {steps} steps", run.position()));
        }
        let known = (1..=steps).map(|n| (key_of(n), u64::MAX, ()));
        match run.batch(known, |_, ()| Err::<u64, _>(Error::abort("it is new"))) {
            Ok(done) => {
                let expected = outcomes(steps).into_iter().map(Done::Duplicate);
                if !done.into_iter().eq(expected) {
                    return wrong("I3: a step has another outcome");
                }
            }
            Err(error) if error.kind() == ErrorKind::Aborted => {
                return absent(format!("I4: of {steps} steps, one's key is new"));
            }
            Err(error) => return Err(error.into()),
        }
        match run.step(key_of(steps + 1), u64::MAX, |_| Err::<u64, _>(Error::abort("new"))) {
            Err(error) if error.kind() == ErrorKind::Aborted => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return wrong("I1: the key of a step that is not there is known"),
        }
        for row in 0..ROWS {
            let newest = (1..=steps).rev().find(|n| n % ROWS == row);
            match run.get::<u64>(row_of(row))? {
                found if found == newest => {}
                None => return absent(format!("I4: row {row} is not there")),
                Some(found) => return wrong(format!("I3: row {row} is {found}, not {newest:?}")),
            }
        }
        Ok(steps)
    }

    /// There is one intent for each step that emitted one, and none says what is not so.
    fn check_orders(&self, store: &Store, steps: u64) -> Result<(), Finding> {
        let intents = store.intents();
        let all = [intents.settled(&TOPIC, usize::MAX)?, intents.outstanding(&TOPIC, usize::MAX)?];
        let mut payloads = Vec::new();
        let mut sent = 0;
        for summary in all.into_iter().flatten() {
            let Some(intent) = store.intent(&TOPIC, &summary.id)? else {
                return absent(format!("I4: intent {} is listed and not there", summary.id));
            };
            payloads.push(intent.payload);
            let order = self.orders.get(intent.external_id.as_str());
            sent += u64::from(order.is_some());
            if order.is_some_and(|order| order.payload != intent.payload) {
                return wrong(format!("intent {} has the external id of another", intent.id));
            }
            let effects = order.map_or(0, |order| order.effects);
            let acknowledged = order.is_some_and(|order| order.acknowledged);
            let true_of_it = match &intent.state {
                IntentState::Confirmed { outcome, .. } => {
                    effects == 1 && outcome.is_none_or(|outcome| outcome == intent.payload)
                }
                IntentState::Prepared => effects == 0 && !acknowledged,
                IntentState::InDoubt { .. } => !acknowledged,
                IntentState::InFlight | IntentState::Rejected { .. } => false,
            };
            if !true_of_it {
                return violated(format!(
                    "intent {} is {:?}; the receiver carried it out {effects} times",
                    intent.id, intent.state
                ));
            }
        }
        payloads.sort_unstable();
        if !payloads.iter().copied().eq((1..=steps).filter(|n| is_order(*n))) {
            return absent(format!("I1: after {steps} steps there are the intents {payloads:?}"));
        }
        if sent != self.orders.len() as u64 {
            return violated("I2: the receiver was sent an order that the store does not know");
        }
        match self.orders.values().find(|order| order.effects > 1) {
            Some(order) => violated(format!("I5: order {} was done twice", order.payload)),
            None => Ok(()),
        }
    }

    /// Goes through the calls, and settles what is in doubt by what the receiver knows.
    pub(crate) fn settle_calls(&mut self, store: &Store) -> Result<(), Finding> {
        for (n, call) in &mut self.calls {
            if call.effects > 1 {
                return violated(format!("I5: call {n} was made {} times", call.effects));
            }
            match store.claim::<u64>(SCOPE, call_key(*n), n)? {
                Claimed::Done(outcome) => {
                    if outcome != call_outcome(*n) || call.effects != 1 {
                        return wrong(format!("call {n} has outcome {outcome}"));
                    }
                }
                Claimed::InDoubt(doubt) => {
                    if call.acknowledged {
                        return violated(format!("I2: the outcome of call {n} is gone"));
                    }
                    if call.effects == 1 {
                        doubt.confirm(&call_outcome(*n))?;
                    } else {
                        doubt.release()?;
                    }
                }
                Claimed::Fresh(claim) => {
                    if call.effects > 0 || call.acknowledged {
                        return absent(format!("I4: call {n} was made, and its key is free"));
                    }
                    claim.release()?;
                }
                other => return wrong(format!("call {n} is {other:?}")),
            }
        }
        Ok(())
    }

    /// With all faults off, everything comes to its end, each effect once.
    pub(crate) fn settle_all(&mut self, store: &Store) -> Result<(), Finding> {
        self.settle_calls(store)?;
        let relay = store.relay(&TOPIC);
        relay.deliver(self)?;
        let recovery = store.recovery()?;
        if !recovery.is_settled() {
            return violated(format!("I6: not settled in the end: {recovery:?}"));
        }
        match self.orders.values().find(|order| order.effects != 1) {
            Some(order) => {
                violated(format!("I5: order {} was done {} times", order.payload, order.effects))
            }
            None => Ok(()),
        }
    }

    /// What the receiver was sent.
    pub(crate) fn effect(&mut self, external: &str, payload: u64) {
        let order = self.orders.entry(external.to_owned()).or_default();
        order.payload = payload;
        order.effects += 1;
    }
}

/// The fake receiver, once the judge drives the relay itself. It does not forget.
impl Endpoint<u64, u64> for Known {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        self.effect(delivery.external_id.as_str(), delivery.payload);
        Sent::Confirmed(delivery.payload)
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        match self.orders.get(delivery.external_id.as_str()) {
            Some(order) => Probe::Applied(order.payload),
            None => Probe::NotApplied,
        }
    }
}

/// What a store holds, as far as it can be told from another opening of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    steps: u64,
    prepared: Vec<IntentId>,
    in_doubt: Vec<IntentId>,
    claims: Vec<Vec<u8>>,
}

impl Left {
    pub(crate) fn of(store: &Store, steps: u64) -> Result<Self, Finding> {
        let found = store.recovery()?;
        Ok(Self {
            steps,
            prepared: found.intents_prepared,
            in_doubt: found.intents_in_doubt,
            claims: found.claims_in_doubt.into_iter().map(|(_, key)| key).collect(),
        })
    }
}
