//! Forgetting what is settled: a few rows with every commit that settles something, so that what goes is
//! in proportion to what comes in.

use super::history::unless_damaged;
use crate::error::{ErrorKind, Result};
use crate::id::{IntentId, Topic};
use crate::ledger::{AuditRecord, IntentRecord, intent_of_key, topic_prefix};
use crate::store::{Plan, Read, Table};

/// How many rows go with one that comes, at most, and how many are looked at for it.
const GOING: usize = 4;
const LOOKED_AT: usize = 8;

/// Forgets the oldest settled intents of a topic that are due, when `settled` was settled. The number
/// of each is noted down in the head: that no intent of a run is there says nothing any more of those
/// numbers.
///
/// What is damaged stays, for a repair to look at, and what a newer program wrote stays for that one.
pub(super) fn forget_settled(plan: &mut Plan<'_>, settled: &IntentId) -> Result<()> {
    let policy = plan.settled_retention();
    let (next, now) = (plan.next_id(), plan.believed());
    each_oldest(plan, Table::Intents, &prefix_of(settled.topic()), |plan, key, row| {
        let Some(id) = intent_of_key(key).filter(|id| id != settled) else { return Ok(None) };
        let Some(record) = readable(plan.parse::<IntentRecord>(key, row).map(Some))? else {
            return Ok(None);
        };
        let newer = next.saturating_sub(id.sequence());
        let goes = record.stage.is_settled() && policy.lets_intent_go(newer, record.changed, now);
        if goes {
            plan.raise_forgotten(id.sequence());
        }
        Ok(Some(goes))
    })
}

/// Forgets the oldest decisions of people that are due, when another one comes.
pub(super) fn forget_audit(plan: &mut Plan<'_>) -> Result<()> {
    let policy = plan.settled_retention();
    let now = plan.believed();
    each_oldest(plan, Table::Audit, &[], |plan, key, row| {
        let record = readable(plan.parse::<AuditRecord>(key, row).map(Some))?;
        Ok(record.map(|record| policy.lets_audit_go(record.at, now)))
    })
}

fn prefix_of(topic: &Topic) -> Vec<u8> {
    topic_prefix(topic, true)
}

/// Removes rows from the oldest on, while `goes` says so. One of which it says nothing is passed over.
fn each_oldest(
    plan: &mut Plan<'_>,
    table: Table,
    prefix: &[u8],
    mut goes: impl FnMut(&mut Plan<'_>, &[u8], &[u8]) -> Result<Option<bool>>,
) -> Result<()> {
    let mut from = Vec::new();
    let mut gone = 0;
    for _ in 0..LOOKED_AT {
        let Some((key, row)) = plan.scan(table, prefix, &from, 1)?.pop() else { break };
        match goes(plan, &key, &row)? {
            Some(true) => {
                plan.forget(table, &key);
                gone += 1;
            }
            Some(false) => break,
            None => {}
        }
        if gone == GOING {
            break;
        }
        from = [key.as_slice(), &[0]].concat();
    }
    Ok(())
}

/// What can be read here; `None` of what is damaged, of a newer program, or over the limits.
fn readable<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match unless_damaged(found) {
        Err(error) if matches!(error.kind(), ErrorKind::TooNew | ErrorKind::LimitExceeded) => {
            Ok(None)
        }
        found => found,
    }
}
