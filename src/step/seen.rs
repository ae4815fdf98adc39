//! Keys that were seen before, and how a key becomes one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::values::{Encoded, read_value};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ExpiryRecord, Key, KeyRecord, KeyState, Request, RequestMatch, expiry_key};
use crate::record::Typed;
use crate::store::{Plan, Table, View, row_name};

/// The answer to a step whose key was seen before.
pub(super) fn repeated<R: Serialize + DeserializeOwned + 'static>(
    view: &View<'_>,
    record: &KeyRecord,
    key: &Key,
    row: &[u8],
) -> Result<Done<R>> {
    refuse_other_request(record, key, row)?;
    match &record.state {
        KeyState::Done { outcome } => {
            read_value(view, view.schemas(), outcome, || outcome_in(row)).map(Done::Duplicate)
        }
        KeyState::Lost { quarantine } => Err(lost(row, *quarantine)),
        KeyState::InFlight | KeyState::InDoubt { .. } => Err(Error::damaged(format!(
            "{} is {}, which the key of a step never is. Nothing was written; close the store and run \
             `verify` on it",
            row_name(Table::Keys, row),
            record.state.name()
        ))),
    }
}

/// Refuses a key that says it is so old that it may have been seen and forgotten.
pub(super) fn refuse_beyond_horizon(horizon: Timestamp, key: &Key, row: &[u8]) -> Result<()> {
    if key.is_beyond(horizon) {
        return Err(Error::new(
            ErrorKind::BeyondHorizon,
            format!(
                "{} was issued so long ago that it may have been seen and forgotten: find out \
                 whether it was done. Nothing was written",
                row_name(Table::Keys, row)
            ),
        ));
    }
    Ok(())
}

pub(super) fn outcome_in(row: &[u8]) -> String {
    format!("the outcome in {}", row_name(Table::Keys, row))
}

fn refuse_other_request(record: &KeyRecord, key: &Key, row: &[u8]) -> Result<()> {
    refuse_request(record.request, key, row)
}

fn refuse_request(then: Option<Request>, key: &Key, row: &[u8]) -> Result<()> {
    let name = row_name(Table::Keys, row);
    match RequestMatch::of(then, key.request) {
        RequestMatch::Same | RequestMatch::Unknown => Ok(()),
        RequestMatch::Differs => Err(other_request(&name)),
        RequestMatch::ShapeDiffers => Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "{name} was used for a request of a type with another shape: whether it was this \
                 request, as an older program wrote it, the store cannot tell. Ask with the request \
                 as it was, or without one. Nothing was written"
            ),
        )),
    }
}

/// A key that was settled for another request.
pub(super) fn other_request(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{name} was used for another request: its fingerprint differs. Give each request a key \
             of its own. Nothing was written"
        ),
    )
}

/// Refuses a key that would be forgotten as soon as it is settled, and so protect nothing.
pub(super) fn check_life(key: &Key) -> Result<()> {
    if key.ttl.is_some_and(|ttl| ttl.as_millis() == 0) {
        return Err(Error::invalid(
            "a key that expires at once protects nothing: give it a time of at least 1 ms, or leave \
             `expires_after` out. Nothing was written",
        ));
    }
    Ok(())
}

/// A key that counts as seen although its record was damaged.
pub(super) fn lost(row: &[u8], quarantine: u64) -> Error {
    Error::damaged(format!(
        "{} was seen before, but its record was damaged and its outcome is lost: it is number \
         {quarantine} in quarantine. It was not done again; skip this input",
        row_name(Table::Keys, row)
    ))
}

/// The key of a step that was made, and has not joined yet.
pub(super) struct Settled {
    row: Vec<u8>,
    request: Option<Request>,
    ttl_ms: Option<u64>,
    issued: Option<Timestamp>,
    outcome: Encoded,
}

impl Settled {
    pub(super) fn of(row: Vec<u8>, key: &Key, outcome: Encoded) -> Self {
        let ttl_ms = key.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Self { row, request: key.request, ttl_ms, issued: key.issued, outcome }
    }

    pub(super) fn row(&self) -> &[u8] {
        &self.row
    }

    /// The answer to a later step of the same call with this key.
    pub(super) fn repeated<R>(&self, view: &View<'_>, key: &Key) -> Result<Done<R>>
    where
        R: Serialize + DeserializeOwned + 'static,
    {
        refuse_request(self.request, key, &self.row)?;
        self.outcome.value(view, || outcome_in(&self.row)).map(Done::Duplicate)
    }

    /// Writes the key, and where it will be found when its time is over. Its life counts from now, not
    /// from when the closure was called.
    pub(super) fn write(self, plan: &mut Plan<'_>) -> Result<()> {
        let Self { row, request, ttl_ms, issued, outcome } = self;
        let outcome = outcome.stored(plan)?;
        put_settled(plan, &row, outcome, request, (ttl_ms, issued))
    }
}

pub(super) fn put_settled(
    plan: &mut Plan<'_>,
    row: &[u8],
    outcome: Typed,
    request: Option<Request>,
    (ttl_ms, issued): (Option<u64>, Option<Timestamp>),
) -> Result<()> {
    // From the latest of the three: a clock that stands back must not let a key expire early, nor one
    // that stands behind the clock of whoever asked. What was asked for at a time is then beyond the
    // horizon, under that time, once it is forgotten.
    let from = plan.now().max(plan.lived()).max(issued.unwrap_or_default()).as_ms();
    let deadline = ttl_ms.map(|ttl_ms| Timestamp::from_ms(from.saturating_add(ttl_ms)));
    if let Some(deadline) = deadline {
        plan.enlist::<ExpiryRecord>(expiry_key(deadline, plan.seq()), row);
    }
    let record = KeyRecord {
        state: KeyState::Done { outcome },
        request,
        epoch: plan.epoch(),
        changed: plan.now(),
        ttl_ms,
        deadline,
    };
    plan.put(row, &record)
}
