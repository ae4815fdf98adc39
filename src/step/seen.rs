//! Keys that were seen before, and how a key becomes one.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::done::Done;
use super::tx::typed;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Fingerprint;
use crate::ledger::{ExpiryRecord, Key, KeyRecord, KeyState, expiry_key};
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
    if is_other_request(record, key) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{} was used for another request: its fingerprint differs. Give each request a key \
                 of its own. Nothing was written",
                row_name(Table::Keys, row)
            ),
        ));
    }
    Ok(())
}

/// Whether the key was used before, for something else.
pub(super) fn is_other_request(record: &KeyRecord, key: &Key) -> bool {
    matches!((record.fingerprint, key.fingerprint), (Some(then), Some(now)) if then != now)
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
    put_settled(plan, row, outcome, key.fingerprint, (ttl_ms, key.issued))
}

pub(super) fn put_settled(
    plan: &mut Plan<'_>,
    row: &[u8],
    outcome: Payload,
    fingerprint: Option<Fingerprint>,
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
        fingerprint,
        epoch: plan.epoch(),
        changed: plan.now(),
        ttl_ms,
        deadline,
    };
    plan.put(row, &record)
}
