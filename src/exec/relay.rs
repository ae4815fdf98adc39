//! The relay: delivers the intents of one topic to one endpoint.
//!
//! The order of its commits carries the promise. `InFlight` is durable before the call, so a crash
//! in the call is known as doubt; and nothing leaves doubt before the endpoint has been asked.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Store;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId, TopicName};
use crate::ledger::{IntentEvent, SettledBy, Stage};
use crate::step::{
    Outstanding, advance, check_types, outcome_of, outstanding, payload_of, reserve_topic,
};
use crate::topic::Topic;

/// What carries out the effects of a [`Topic<P, O>`](Topic): an exchange, a payment service, a mail
/// server. One type can be the endpoint of several topics.
///
/// # Example: an exchange that is asked by client order id
///
/// ```
/// use milepost::{Delivery, Endpoint, Probe, Sent};
/// use std::collections::BTreeMap;
///
/// /// Fills by client order id.
/// struct Exchange(BTreeMap<String, i64>);
///
/// impl Endpoint<i64, i64> for Exchange {
///     fn call(&mut self, order: &Delivery<i64>) -> Sent<i64> {
///         let price = order.payload * 601;
///         self.0.insert(order.external_id.to_string(), price);
///         Sent::Confirmed(price)
///     }
///
///     fn probe(&mut self, order: &Delivery<i64>) -> Probe<i64> {
///         match self.0.get(order.external_id.as_str()) {
///             Some(price) => Probe::Applied(*price),
///             None => Probe::NotApplied,
///         }
///     }
/// }
/// ```
pub trait Endpoint<P, O> {
    /// Carries out one effect and reports what is known of it afterwards. A panic leaves it in doubt.
    fn call(&mut self, delivery: &Delivery<P>) -> Sent<O>;

    /// Finds out what became of an effect that may have been sent, by its external id.
    ///
    /// Answer [`Probe::NotApplied`] only if it *cannot* be applied any more by a request that is still
    /// on its way. The default knows nothing: such effects are held for an operator.
    fn probe(&mut self, delivery: &Delivery<P>) -> Probe<O> {
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
    /// The id to hand to the endpoint: the same for every attempt, never used again.
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

/// What an endpoint knows of an effect in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<O> {
    /// It was done; this was the answer.
    Applied(O),
    /// It was not done, and what was sent cannot do it any more.
    NotApplied,
    /// The endpoint does not know.
    Unknown,
}

/// What to do with an effect in doubt of which the endpoint knows nothing.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeliveryReport {
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
    /// Left as they are, because they could not be read or settled; the next pass tries them again.
    pub set_aside: u64,
    /// Why, for the first 100 of those.
    pub problems: Vec<Problem>,
}

/// Why an intent was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Which intent.
    pub id: IntentId,
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// What is wrong, what is true on disk, and what to do.
    pub why: String,
}

/// How many problems of a pass are described.
const PROBLEMS_MAX: usize = 100;

/// Delivers one topic; [`Store::relay`] makes it.
pub struct Relay<P, O> {
    store: Store,
    topic: TopicName,
    on_unknown: OnUnknown,
    types: PhantomData<fn(P) -> O>,
}

/// Intents read at a time.
const PAGE: usize = 64;

impl Store {
    /// A relay for the topic. It holds what it cannot find out, see [`Relay::on_unknown`]. Making one
    /// reads and writes nothing.
    #[must_use]
    pub fn relay<P, O>(&self, topic: &Topic<P, O>) -> Relay<P, O> {
        Relay {
            store: self.clone(),
            topic: topic.name(),
            on_unknown: OnUnknown::Hold,
            types: PhantomData,
        }
    }
}

impl<P, O> Relay<P, O>
where
    P: Serialize + DeserializeOwned + 'static,
    O: Serialize + DeserializeOwned + 'static,
{
    /// What to do with an effect in doubt of which the endpoint knows nothing.
    #[must_use]
    pub fn on_unknown(mut self, policy: OnUnknown) -> Self {
        self.on_unknown = policy;
        self
    }

    /// One pass over all outstanding intents of the topic, oldest first: what is in doubt is probed,
    /// what is prepared is sent once. Each answer is durable before the next intent is looked at.
    ///
    /// An intent that cannot be read (its record is damaged, or its payload was written as another
    /// type) is not sent; one whose answer cannot be stored is in doubt, and says so. Both are set
    /// aside: they are counted and described in what is returned, and those after them are delivered.
    ///
    /// # Errors
    /// Before anything is sent: `Invalid` if `P` or `O` cannot be stored; `SchemaMismatch` if the topic
    /// has another type of payload or of outcome, in this program or, under the same version, in the
    /// store; `Conflict` while another pass over the topic is under way in this process;
    /// `Unreconciled` if the store has to be reconciled first: see [`Store::reconcile`]. Then those of
    /// a commit, which end the pass: an intent that was being sent is in doubt.
    pub fn deliver(&self, endpoint: &mut impl Endpoint<P, O>) -> Result<DeliveryReport> {
        let _hold = reserve_topic(&self.store, &self.topic)?;
        let mut report = DeliveryReport::default();
        let mut after = None;
        let mut is_checked = false;
        loop {
            let page = outstanding(&self.store, &self.topic, after.as_ref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(report) };
            after = Some(last.clone());
            if !std::mem::replace(&mut is_checked, true) {
                check_types::<P, O>(&self.store, &self.topic)?;
            }
            for (id, intent) in page {
                let seen = intent.and_then(|intent| {
                    let payload = payload_of::<P>(&self.store, &intent)?;
                    Ok((intent, payload))
                });
                match seen {
                    Ok((intent, payload)) => {
                        self.see_to(intent, payload, endpoint, &mut report)?;
                    }
                    Err(error) if is_of_the_store(&error) => return Err(error),
                    Err(error) => report.set_aside(id, &error),
                }
            }
        }
    }

    fn see_to(
        &self,
        intent: Outstanding,
        payload: P,
        endpoint: &mut impl Endpoint<P, O>,
        report: &mut DeliveryReport,
    ) -> Result<()> {
        let mut delivery = Delivery {
            payload,
            id: intent.id,
            external_id: intent.external_id,
            attempt: intent.attempts,
        };
        let mut stage = intent.stage;
        if matches!(stage, Stage::InDoubt { .. }) {
            match self.ask(&delivery, endpoint, report) {
                Ok(after) => stage = after,
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => report.set_aside(delivery.id.clone(), &error),
            }
        }
        if stage == Stage::Prepared {
            // What was settled by somebody else meanwhile is not sent.
            match advance(&self.store, &delivery.id, false, |_| Ok(IntentEvent::Send)) {
                Ok(_) => {}
                Err(error) if is_of_the_store(&error) => return Err(error),
                Err(error) => {
                    report.set_aside(delivery.id, &error);
                    return Ok(());
                }
            }
            delivery.attempt = delivery.attempt.saturating_add(1);
            let sent = endpoint.call(&delivery);
            stage = self.settle(&delivery.id, sent, report)?;
        }
        match stage {
            Stage::Confirmed { .. } => report.confirmed += 1,
            Stage::Rejected { .. } => report.rejected += 1,
            Stage::Prepared => report.not_sent += 1,
            Stage::InFlight | Stage::InDoubt { .. } => report.in_doubt += 1,
        }
        Ok(())
    }

    /// Asks the endpoint about an effect in doubt; the stage it is in after that is durable.
    fn ask(
        &self,
        delivery: &Delivery<P>,
        endpoint: &mut impl Endpoint<P, O>,
        report: &mut DeliveryReport,
    ) -> Result<Stage> {
        let answer = endpoint.probe(delivery);
        let is_known = !matches!(answer, Probe::Unknown);
        let (id, topic) = (&delivery.id, delivery.id.topic());
        let stage = match answer {
            Probe::Applied(outcome) => {
                let outcome = outcome_of(&self.store, topic, &outcome).map_err(|error| {
                    error.context(
                        "the endpoint reports that it was done, but its answer cannot be stored: it \
                         stays in doubt",
                    )
                })?;
                advance(&self.store, id, true, |plan| {
                    let outcome = Some(outcome.stored(plan)?);
                    Ok(IntentEvent::Confirm { outcome, by: SettledBy::Probe })
                })?
            }
            Probe::NotApplied => advance(&self.store, id, true, |_| {
                Ok(IntentEvent::NotApplied { by: SettledBy::Probe })
            })?,
            Probe::Unknown => match self.on_unknown {
                OnUnknown::Hold => Stage::InDoubt { why: String::new() },
                OnUnknown::PresumeApplied => advance(&self.store, id, true, |_| {
                    Ok(IntentEvent::Confirm { outcome: None, by: SettledBy::Presumption })
                })?,
                OnUnknown::PresumeNotApplied => advance(&self.store, id, true, |_| {
                    Ok(IntentEvent::NotApplied { by: SettledBy::Presumption })
                })?,
            },
        };
        report.settled_by_probe += u64::from(is_known);
        Ok(stage)
    }

    /// Writes down what became of an effect that was sent. If that cannot be written, the effect is in
    /// doubt, and its record says why.
    fn settle(&self, id: &IntentId, sent: Sent<O>, report: &mut DeliveryReport) -> Result<Stage> {
        let settled = match sent {
            Sent::Confirmed(outcome) => {
                outcome_of(&self.store, id.topic(), &outcome).and_then(|outcome| {
                    advance(&self.store, id, false, |plan| {
                        let outcome = Some(outcome.stored(plan)?);
                        Ok(IntentEvent::Confirm { outcome, by: SettledBy::Reply })
                    })
                })
            }
            Sent::Rejected(why) => advance(&self.store, id, false, |_| {
                Ok(IntentEvent::Reject { why, by: SettledBy::Reply })
            }),
            Sent::NotSent(_) => advance(&self.store, id, false, |_| Ok(IntentEvent::NotSent)),
            Sent::Ambiguous(why) => {
                advance(&self.store, id, false, |_| Ok(IntentEvent::Doubt { why }))
            }
        };
        match settled {
            Err(error) if !is_of_the_store(&error) => {
                report.set_aside(id.clone(), &error);
                let why = format!("it was sent, and its answer could not be stored: {error:#}");
                let doubt = IntentEvent::Doubt { why: why.clone() };
                match advance(&self.store, id, false, |_| Ok(doubt)) {
                    Err(error) if !is_of_the_store(&error) => Ok(Stage::InDoubt { why }),
                    settled => settled,
                }
            }
            settled => settled,
        }
    }
}

impl DeliveryReport {
    fn set_aside(&mut self, id: IntentId, error: &Error) {
        self.set_aside += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { id, kind: error.kind(), why: format!("{error:#}") });
        }
    }
}

/// Whether an error is not of one intent: it would meet all of them.
fn is_of_the_store(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Uncertain(_)
            | ErrorKind::Poisoned
            | ErrorKind::Fenced
            | ErrorKind::NoSpace
            | ErrorKind::Io
            | ErrorKind::Locked
            | ErrorKind::Unreconciled
    )
}

impl<P, O> Clone for Relay<P, O> {
    fn clone(&self) -> Self {
        let (store, topic) = (self.store.clone(), self.topic.clone());
        Self { store, topic, on_unknown: self.on_unknown, types: PhantomData }
    }
}

impl<P, O> fmt::Debug for Relay<P, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("topic", &self.topic)
            .field("on_unknown", &self.on_unknown)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DeliveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} confirmed, {} rejected, {} not sent, {} in doubt, {} settled by probe",
            self.confirmed, self.rejected, self.not_sent, self.in_doubt, self.settled_by_probe
        )?;
        match self.set_aside {
            0 => Ok(()),
            set_aside => write!(f, ", {set_aside} set aside"),
        }
    }
}
