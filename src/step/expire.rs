//! Forgetting keys whose time is over: a few with every commit, in proportion to what comes in, and
//! never one that is in doubt.

use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::ledger::{ExpiryRecord, KeyRecord, expiry_due};
use crate::record::KeyList;
use crate::store::{Plan, Read, Table, View, list_of};

/// Forgets what is due, at most as much as the plan may. The horizon rises with it, in the same
/// commit.
///
/// A damaged row of the index, or a damaged key, is passed over: it forgets nothing, which costs room
/// and no answer. `verify` tells of it, and `repair` makes the index anew. A key that a newer program
/// wrote, or under a higher limit, stays in the index, for whoever can read it.
pub(super) fn forget_expired(plan: &mut Plan<'_>) -> Result<()> {
    let mut left = plan.forget_max();
    let mut from = Vec::new();
    while left > 0 {
        let Some((row, bytes)) = plan.scan(Table::Expiry, &[], &from, 1)?.pop() else {
            plan.nothing_due_before(Timestamp::NEVER);
            return Ok(());
        };
        // The next one is the one right behind it, if this one has to stay.
        from = [row.as_slice(), &[0]].concat();
        let Some(at) = expiry_due(&row) else {
            left -= 1;
            continue;
        };
        if at > plan.believed() {
            plan.nothing_due_before(at);
            return Ok(());
        }
        let Ok(keys) = list_of::<ExpiryRecord>(&row, &bytes) else {
            left -= 1;
            continue;
        };
        let mut rest = KeyList::default();
        for key in keys.flatten() {
            if left == 0 || !is_seen_to(plan, &key)? {
                rest.push(&key);
            }
            left = left.saturating_sub(1);
        }
        if rest.is_empty() {
            plan.forget(Table::Expiry, &row);
        } else {
            plan.put_list::<ExpiryRecord>(&row, &rest)?;
        }
        plan.raise_horizon(at);
    }
    Ok(())
}

/// Whether a call that joins now forgets this key, which it has found: the horizon then.
pub(super) fn forgotten(
    view: &View<'_>,
    key: &[u8],
    record: &KeyRecord,
) -> Result<Option<Timestamp>> {
    if record.deadline.is_none_or(|deadline| deadline > view.believed()) {
        return Ok(None);
    }
    view.try_out(|plan| {
        forget_expired(plan)?;
        Ok(plan.get(Table::Keys, key)?.is_none().then(|| plan.horizon()))
    })
}

/// Removes a key, unless it was given a later deadline since, or is no longer settled. `false` if that
/// cannot be said here.
fn is_seen_to(plan: &mut Plan<'_>, key: &[u8]) -> Result<bool> {
    let record = match plan.record::<KeyRecord>(key) {
        Err(error) if matches!(error.kind(), ErrorKind::TooNew | ErrorKind::LimitExceeded) => {
            return Ok(false);
        }
        Err(error) if error.kind() == ErrorKind::Damaged => None,
        record => record?,
    };
    let deadline = record.and_then(|record| record.deadline);
    if deadline.is_some_and(|deadline| deadline <= plan.believed()) {
        plan.forget(Table::Keys, key);
    }
    Ok(true)
}
