//! Intents: effects that a step wants done outside, and how far each of them is.
//!
//! ```text
//! intents  [settled u8][length u8][topic][sequence u64 BE]      0 outstanding, 1 settled
//! ```
//!
//! Outstanding ones stand in front: a relay, and recovery, read those alone.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::id::{ExternalId, Fingerprint, IntentId, RunName, TopicName};
use crate::record::{Typed, named, unnamed};
use crate::seq::Epoch;
use crate::store::{Record, Table};

/// One intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IntentRecord {
    pub(crate) stage: Stage,
    /// `None` only if the record was damaged: then the external id is all that is left of it.
    pub(crate) payload: Option<Typed>,
    pub(crate) external_id: ExternalId,
    pub(crate) fingerprint: Fingerprint,
    /// The run whose step emitted it.
    pub(crate) run: Option<RunName>,
    /// Who changed it last.
    pub(crate) epoch: Epoch,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
    /// How often it was handed to the receiver.
    pub(crate) attempts: u32,
    /// How often a probe told what had become of it.
    pub(crate) probed: u32,
}

impl Record for IntentRecord {
    const TABLE: Table = Table::Intents;
}

/// How far an intent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Written, not sent.
    Prepared,
    /// About to be sent, or being sent; of an older epoch: perhaps sent.
    InFlight,
    /// Perhaps sent.
    InDoubt { why: String },
    /// Done, with this answer if there was one.
    Confirmed { outcome: Option<Typed>, by: SettledBy },
    /// Refused for good.
    Rejected { why: String, by: SettledBy },
}

/// Who said what became of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SettledBy {
    /// The receiver, in its reply.
    Reply,
    /// The receiver, when it was asked.
    Probe,
    /// A person.
    Person,
    /// Nobody: the relay was told to presume it.
    Presumption,
}

/// What can happen to an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// It is about to be handed to the receiver.
    Send,
    /// The receiver has done it.
    Confirm { outcome: Option<Typed>, by: SettledBy },
    /// The receiver will not do it.
    Reject { why: String, by: SettledBy },
    /// It did not leave.
    NotSent,
    /// It may have arrived.
    Doubt { why: String },
    /// Whoever was sending it is gone.
    Abandon,
    /// It has not arrived, and cannot any more.
    NotApplied { by: SettledBy },
}

/// A pair of stage and event that no correct caller produces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("an intent that is {stage} cannot take `{event}`: it was changed in another place")]
pub(crate) struct Illegal {
    stage: &'static str,
    event: &'static str,
}

/// The stage after an event. The only place that decides it, for live work and for recovery alike.
pub(crate) fn next(stage: Stage, event: Event) -> Result<Stage, Illegal> {
    match (stage, event) {
        (Stage::Prepared, Event::Send) => Ok(Stage::InFlight),
        (Stage::InFlight | Stage::InDoubt { .. }, Event::Confirm { outcome, by }) => {
            Ok(Stage::Confirmed { outcome, by })
        }
        (Stage::Prepared | Stage::InFlight | Stage::InDoubt { .. }, Event::Reject { why, by }) => {
            Ok(Stage::Rejected { why, by })
        }
        (Stage::InFlight | Stage::InDoubt { .. }, Event::Doubt { why }) => {
            Ok(Stage::InDoubt { why })
        }
        (Stage::InFlight, Event::Abandon) => Ok(Stage::InDoubt {
            why: "whoever was sending it ended before the answer was written down".into(),
        }),
        (doubt @ Stage::InDoubt { .. }, Event::Abandon) => Ok(doubt),
        (Stage::InFlight, Event::NotSent) | (Stage::InDoubt { .. }, Event::NotApplied { .. }) => {
            Ok(Stage::Prepared)
        }
        (stage, event) => Err(Illegal { stage: stage.name(), event: event.name() }),
    }
}

impl Stage {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::InFlight => "in flight",
            Self::InDoubt { .. } => "in doubt",
            Self::Confirmed { .. } => "confirmed",
            Self::Rejected { .. } => "rejected",
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::Confirmed { .. } | Self::Rejected { .. })
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Confirm { .. } => "confirm",
            Self::Reject { .. } => "reject",
            Self::NotSent => "not sent",
            Self::Doubt { .. } => "doubt",
            Self::Abandon => "abandon",
            Self::NotApplied { .. } => "not applied",
        }
    }
}

/// The keys of all intents that are not settled begin so.
pub(crate) const OUTSTANDING: &[u8] = &[0];
/// The keys of all intents that are settled begin so.
pub(crate) const SETTLED: &[u8] = &[1];

pub(crate) fn intent_key(id: &IntentId, settled: bool) -> Vec<u8> {
    let prefix = if settled { SETTLED } else { OUTSTANDING };
    named(prefix, id.topic().as_str(), &id.sequence().to_be_bytes())
}

/// The keys of a topic's intents begin so.
pub(crate) fn topic_prefix(topic: &TopicName, settled: bool) -> Vec<u8> {
    named(if settled { SETTLED } else { OUTSTANDING }, topic.as_str(), &[])
}

/// Which intent a row is.
pub(crate) fn intent_of_key(row: &[u8]) -> Option<IntentId> {
    let (topic, sequence) = unnamed(row, 1)?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some(IntentId::new(TopicName::new(topic).ok()?, sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt() -> Stage {
        Stage::InDoubt { why: "timeout".into() }
    }

    fn confirmed() -> Stage {
        Stage::Confirmed { outcome: None, by: SettledBy::Reply }
    }

    fn rejected() -> Stage {
        Stage::Rejected { why: "no funds".into(), by: SettledBy::Reply }
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Send,
            Event::Confirm { outcome: None, by: SettledBy::Reply },
            Event::Reject { why: "no funds".into(), by: SettledBy::Reply },
            Event::NotSent,
            Event::Doubt { why: "timeout".into() },
            Event::Abandon,
            Event::NotApplied { by: SettledBy::Probe },
        ]
    }

    /// The whole table: any other pair is refused.
    #[test]
    fn an_illegal_pair_is_told_by_both_names() {
        let told = next(Stage::Prepared, Event::NotSent).unwrap_err().to_string();
        assert!(told.contains("is prepared cannot take `not sent`"), "{told}");
    }

    #[test]
    fn every_pair_of_stage_and_event_is_as_the_protocol_says() {
        let abandoned = next(Stage::InFlight, Event::Abandon).unwrap();
        let legal = |stage: &Stage, event: &Event| match (stage, event) {
            (Stage::Prepared, Event::Send) => Some(Stage::InFlight),
            (Stage::InFlight | Stage::InDoubt { .. }, Event::Confirm { .. }) => Some(confirmed()),
            (Stage::Prepared | Stage::InFlight | Stage::InDoubt { .. }, Event::Reject { .. }) => {
                Some(rejected())
            }
            (Stage::InFlight, Event::NotSent)
            | (Stage::InDoubt { .. }, Event::NotApplied { .. }) => Some(Stage::Prepared),
            (Stage::InFlight, Event::Abandon) => Some(abandoned.clone()),
            (Stage::InFlight, Event::Doubt { .. })
            | (Stage::InDoubt { .. }, Event::Doubt { .. } | Event::Abandon) => Some(doubt()),
            _ => None,
        };
        for stage in [Stage::Prepared, Stage::InFlight, doubt(), confirmed(), rejected()] {
            for event in events() {
                let want = legal(&stage, &event);
                assert_eq!(next(stage.clone(), event.clone()).ok(), want, "{stage:?} {event:?}");
            }
        }
    }

    #[test]
    fn nothing_is_sent_again_out_of_doubt_before_somebody_has_found_out() {
        assert!(next(doubt(), Event::Send).is_err());
        assert!(next(Stage::InFlight, Event::Send).is_err());
        assert!(next(confirmed(), Event::Send).is_err());
    }

    #[test]
    fn outstanding_intents_stand_in_front_and_in_their_order() {
        let id = |topic: &str, n| IntentId::new(TopicName::new(topic).unwrap(), n);
        let key = intent_key(&id("orders", 300), false);
        assert!(
            key.starts_with(OUTSTANDING)
                && key.starts_with(&topic_prefix(id("orders", 1).topic(), false))
        );
        assert!(intent_key(&id("orders", 299), false) < key);
        assert!(key < intent_key(&id("orders", 1), true));
        assert_eq!(intent_of_key(&key), Some(id("orders", 300)));
    }
}
