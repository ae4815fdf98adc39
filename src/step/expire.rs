//! Forgetting keys whose time is over: a few with every commit, in proportion to what comes in, and
//! never one that is in doubt.

use crate::error::Result;
use crate::ledger::{ExpiryRecord, KeyRecord, expiry_due, expiry_entries, expiry_entry};
use crate::record::{Header, seal};
use crate::store::{Plan, Read, Record, Table, frame_of};

/// Forgets what is due, at most as much as the plan may. The horizon rises with it, in the same
/// commit.
pub(super) fn forget_expired(plan: &mut Plan<'_>) -> Result<()> {
    let mut left = plan.forget_max();
    while left > 0 {
        let due = plan.scan(Table::Expiry, &[], &[], 1)?.pop();
        let Some((row, bytes)) = due else { return Ok(()) };
        let Some(at) = expiry_due(&row).filter(|at| *at <= plan.believed()) else { return Ok(()) };
        let (_, payload) = frame_of(Table::Expiry, &row, &bytes, plan.value_limit())?;
        let mut rest = Vec::new();
        for key in expiry_entries(payload).flatten() {
            if left == 0 {
                rest.extend(expiry_entry(key));
            } else {
                forget(plan, key)?;
                left -= 1;
            }
        }
        if rest.is_empty() {
            plan.forget(Table::Expiry, row);
        } else {
            let shorter = seal(Table::Expiry.id(), &row, Header::own(ExpiryRecord::VERSION), &rest);
            plan.put_raw(Table::Expiry, row, shorter)?;
        }
        plan.raise_horizon(at);
    }
    Ok(())
}

/// Removes a key, unless it was given a later deadline since, or is no longer settled.
fn forget(plan: &mut Plan<'_>, key: &[u8]) -> Result<()> {
    let due = plan
        .record::<KeyRecord>(key)?
        .and_then(|record| record.deadline)
        .is_some_and(|deadline| deadline <= plan.believed());
    if due {
        plan.forget(Table::Keys, key.to_vec());
    }
    Ok(())
}
