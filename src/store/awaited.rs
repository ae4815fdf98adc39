//! What a call that has joined a group, or has read what is not durable yet, waits for.

use std::sync::Arc;

use super::fate::Fate;
use super::layers::Depth;
use super::line::{self, Ticket};
use super::overlay::Group;
use crate::seq::CommitSeq;

/// The line of groups, as it is seen and changed under its lock.
pub(super) type State = line::State<Group, Fate>;

/// The ticket of a group.
pub(super) type GroupTicket = Arc<Ticket<Fate>>;

/// A group that has to be durable before an answer may be given.
#[derive(Clone)]
pub(super) struct Awaited {
    pub(super) seq: CommitSeq,
    pub(super) ticket: GroupTicket,
}

impl Awaited {
    /// What has to be durable before a row from this layer may be answered with.
    pub(super) fn of(state: &State, depth: Depth) -> Option<Self> {
        match depth {
            Depth::Durable => None,
            Depth::InFlight => {
                let seq = state.in_flight.as_ref()?.seq;
                Some(Self { seq, ticket: state.ticket_in_flight()? })
            }
            Depth::Open => Some(Self { seq: state.open.seq, ticket: state.ticket() }),
        }
    }

    /// The later of two: when it is durable, so is the other.
    pub(super) fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        [one, other].into_iter().flatten().max_by_key(|awaited| awaited.seq)
    }
}

/// Who commits the group that a plan has joined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Joins {
    /// The caller, who waits for it.
    AndWaits,
    /// Another caller who waits, or else the helper.
    AndLeaves,
}
