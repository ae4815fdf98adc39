//! The relay: delivers the intents of one topic to one receiver.
//!
//! The order of its commits carries the promise. `InFlight` is durable before the call, so a crash
//! in the call is known as doubt; and nothing leaves doubt before the receiver has been asked.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Store;
use crate::error::Result;
use crate::id::{ExternalId, IntentId, Topic};
use crate::ledger::{IntentEvent, SettledBy, Stage};
use crate::step::{Outstanding, advance, outcome_of, outstanding, payload_of, reserve_topic};

/// Whoever carries out the effects of a topic: an exchange, a payment service, a mail server.
pub trait Receiver {
    /// What a step emitted.
    type Request: Serialize + DeserializeOwned;
    /// What the receiver answers.
    type Outcome: Serialize + DeserializeOwned;

    /// Carries out one effect and says what is known of it afterwards. A panic leaves it in doubt.
    fn send(&mut self, delivery: &Delivery<Self::Request>) -> Sent<Self::Outcome>;

    /// Finds out what became of an effect that may have been sent, by its external id.
    ///
    /// Say [`Probe::NotApplied`] only if it *cannot* be applied any more by a request that is still
    /// on its way. The default knows nothing: such effects are held for a person.
    fn probe(&mut self, delivery: &Delivery<Self::Request>) -> Probe<Self::Outcome> {
        let _ = delivery;
        Probe::Unknown
    }
}

/// One effect on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery<P> {
    /// Which intent it is.
    pub id: IntentId,
    /// The id to hand to the receiver: the same for every attempt, never used again.
    pub external_id: ExternalId,
    /// What is to be done.
    pub payload: P,
    /// Which attempt this is, from 1; for a probe, how many were made.
    pub attempt: u32,
}

/// What is known after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent<O> {
    /// It was done; this is the answer.
    Confirmed(O),
    /// It was refused for good.
    Rejected(String),
    /// It certainly did not arrive: it stays prepared for the next pass.
    NotSent(String),
    /// It may have arrived: a timeout, a lost connection.
    Ambiguous(String),
}

/// What a receiver says of an effect in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<O> {
    /// It was done; this was the answer.
    Applied(O),
    /// It was not done, and what was sent cannot do it any more.
    NotApplied,
    /// The receiver does not know.
    Unknown,
}

/// What to do with an effect in doubt of which the receiver knows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Leave it for a person: nothing is done twice, nothing is forgotten.
    #[default]
    Hold,
    /// Take it as done, without an outcome: nothing is done twice, something may be left undone.
    PresumeApplied,
    /// Take it as not done and send it again: something may be done twice.
    PresumeNotApplied,
}

/// What one pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Delivered {
    /// Done.
    pub confirmed: u64,
    /// Refused for good.
    pub rejected: u64,
    /// Did not leave; still prepared.
    pub not_sent: u64,
    /// In doubt at the end of the pass.
    pub in_doubt: u64,
    /// Out of doubt by a probe, to whichever side.
    pub settled_by_probe: u64,
}

/// Delivers one topic.
#[derive(Debug, Clone)]
pub struct Relay {
    store: Store,
    topic: String,
    on_unknown: OnUnknown,
}

/// Intents read at a time.
const PAGE: usize = 64;

impl Relay {
    /// A relay for the topic; it holds what it cannot find out.
    #[must_use]
    pub fn new(store: &Store, topic: &str) -> Self {
        Self { store: store.clone(), topic: topic.to_owned(), on_unknown: OnUnknown::Hold }
    }

    /// What to do with an effect in doubt of which the receiver knows nothing.
    #[must_use]
    pub fn on_unknown(mut self, policy: OnUnknown) -> Self {
        self.on_unknown = policy;
        self
    }

    /// One pass over all outstanding intents of the topic, oldest first: what is in doubt is probed,
    /// what is prepared is sent once. Each answer is durable before the next intent is looked at.
    ///
    /// # Errors
    /// `InDoubt` if the store was set back and nobody has reconciled it since: see
    /// [`Store::reconcile`]. `Invalid` for a bad topic name; `Conflict` while another pass over the topic is under way in
    /// this process; `SchemaMismatch` if a payload is not a `Request`, `Damaged` if a record is: the
    /// message names the intent, and the pass ends before it is sent. Those of a commit.
    pub fn run_once<R: Receiver>(&self, receiver: &mut R) -> Result<Delivered> {
        let topic = Topic::new(&self.topic)?;
        let _hold = reserve_topic(&self.store, &topic)?;
        let mut delivered = Delivered::default();
        let mut after = None;
        loop {
            let page = outstanding(&self.store, &topic, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(delivered) };
            after = Some(last.id.clone());
            for intent in page {
                self.see_to(intent, receiver, &mut delivered)?;
            }
        }
    }

    fn see_to<R: Receiver>(
        &self,
        intent: Outstanding,
        receiver: &mut R,
        delivered: &mut Delivered,
    ) -> Result<()> {
        let mut delivery = Delivery {
            payload: payload_of(&intent)?,
            id: intent.id,
            external_id: intent.external_id,
            attempt: intent.attempts,
        };
        let mut stage = intent.stage;
        if matches!(stage, Stage::InDoubt { .. }) {
            stage = self.ask(&delivery, receiver, delivered)?;
        }
        if stage == Stage::Prepared {
            advance(&self.store, &delivery.id, false, IntentEvent::Send)?;
            delivery.attempt = delivery.attempt.saturating_add(1);
            let sent = receiver.send(&delivery);
            stage = self.settle(&delivery.id, sent)?;
        }
        match stage {
            Stage::Confirmed { .. } => delivered.confirmed += 1,
            Stage::Rejected { .. } => delivered.rejected += 1,
            Stage::Prepared => delivered.not_sent += 1,
            Stage::InFlight | Stage::InDoubt { .. } => delivered.in_doubt += 1,
        }
        Ok(())
    }

    /// Asks the receiver about an effect in doubt; the stage it is in after that is durable.
    fn ask<R: Receiver>(
        &self,
        delivery: &Delivery<R::Request>,
        receiver: &mut R,
        delivered: &mut Delivered,
    ) -> Result<Stage> {
        let answer = receiver.probe(delivery);
        if !matches!(answer, Probe::Unknown) {
            delivered.settled_by_probe += 1;
        }
        let event = match answer {
            Probe::Applied(outcome) => IntentEvent::Confirm {
                outcome: Some(outcome_of(&self.store, &outcome)?),
                by: SettledBy::Probe,
            },
            Probe::NotApplied => IntentEvent::NotApplied { by: SettledBy::Probe },
            Probe::Unknown => match self.on_unknown {
                OnUnknown::Hold => return Ok(Stage::InDoubt { why: String::new() }),
                OnUnknown::PresumeApplied => {
                    IntentEvent::Confirm { outcome: None, by: SettledBy::Presumption }
                }
                OnUnknown::PresumeNotApplied => {
                    IntentEvent::NotApplied { by: SettledBy::Presumption }
                }
            },
        };
        advance(&self.store, &delivery.id, true, event)
    }

    fn settle<O: Serialize + DeserializeOwned>(
        &self,
        id: &IntentId,
        sent: Sent<O>,
    ) -> Result<Stage> {
        let event = match sent {
            Sent::Confirmed(outcome) => IntentEvent::Confirm {
                outcome: Some(outcome_of(&self.store, &outcome)?),
                by: SettledBy::Reply,
            },
            Sent::Rejected(why) => IntentEvent::Reject { why, by: SettledBy::Reply },
            Sent::NotSent(_) => IntentEvent::NotSent,
            Sent::Ambiguous(why) => IntentEvent::Doubt { why },
        };
        advance(&self.store, id, false, event)
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} confirmed, {} rejected, {} not sent, {} in doubt, {} settled by probe",
            self.confirmed, self.rejected, self.not_sent, self.in_doubt, self.settled_by_probe
        )
    }
}
