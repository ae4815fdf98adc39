//! Keys that were seen before, and how a key becomes one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::tx::typed;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{ExpiryRecord, Key, KeyRecord, KeyState, Request, RequestMatch, expiry_key};
use crate::record::Payload;
use crate::store::{Plan, Table, row_name};

/// The answer to a step whose key was seen before.
pub(super) fn repeated<R: Serialize + DeserializeOwned>(
    record: &KeyRecord,
    key: &Key,
    row: &[u8],
) -> Result<Done<R>> {
    refuse_other_request(record, key, row)?;
    match &record.state {
        KeyState::Done { outcome } => {
            typed(outcome, || format!("the outcome in {}", row_name(Table::Keys, row)))
                .map(Done::Duplicate)
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
pub(super) fn refuse_beyond_horizon(plan: &Plan<'_>, key: &Key, row: &[u8]) -> Result<()> {
    if key.is_beyond(plan.horizon()) {
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

fn refuse_other_request(record: &KeyRecord, key: &Key, row: &[u8]) -> Result<()> {
    let name = row_name(Table::Keys, row);
    match RequestMatch::of(record.request, key.request) {
        RequestMatch::Same | RequestMatch::Unknown => Ok(()),
        RequestMatch::Differs => Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{name} was used for another request: its fingerprint differs. Give each request a \
                 key of its own. Nothing was written"
            ),
        )),
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

/// Writes a settled key, and where it will be found when its time is over.
pub(super) fn settle_key(
    plan: &mut Plan<'_>,
    row: &[u8],
    key: &Key,
    outcome: Payload,
) -> Result<()> {
    let ttl_ms = key.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    put_settled(plan, row, outcome, key.request, (ttl_ms, key.issued))
}

pub(super) fn put_settled(
    plan: &mut Plan<'_>,
    row: &[u8],
    outcome: Payload,
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
