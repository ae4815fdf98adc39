//! Forgetting what is settled: a few rows with every commit that settles something, so that what goes is
//! in proportion to what comes in.

use super::history::unless_damaged;
use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::id::{IntentId, TopicName};
use crate::ledger::{
    AuditRecord, CLOCK_FLOOR, ClockSet, IntentRecord, META_CLOCK_SET, SETTLED_INTENTS, intent_key,
    intent_of_key, topic_prefix,
};
use crate::store::{Plan, Read, Table};

/// How many rows go with one that comes, at most, and how many are looked at for it.
const GOING: usize = 4;
const LOOKED_AT: usize = 8;

/// Forgets the oldest settled intents that are due of a topic, when `settled` was settled, and of the
/// topic after it in the order of names, the first one after the last. So a topic in which nothing is
/// settled any more becomes empty too: it is the one after another that is, once those between the two
/// are empty. The number of each is noted down in the head: that no intent of a run is there says
/// nothing any more of those numbers.
///
/// What is damaged stays, for a repair to look at, and what a newer program wrote stays for that one.
pub(super) fn forget_settled(plan: &mut Plan<'_>, settled: &IntentId) -> Result<()> {
    forget_of(plan, settled.topic(), settled)?;
    match topic_after(plan, settled.topic())? {
        Some(topic) => forget_of(plan, &topic, settled),
        None => Ok(()),
    }
}

/// The topic with settled intents that comes after this one; `None` if that is this one again.
fn topic_after(plan: &Plan<'_>, topic: &TopicName) -> Result<Option<TopicName>> {
    let last = intent_key(&IntentId::new(topic.clone(), u64::MAX), true);
    let behind = [last.as_slice(), &[0]].concat();
    let mut next = plan.scan(Table::Intents, SETTLED_INTENTS, &behind, 1)?;
    if next.is_empty() {
        next = plan.scan(Table::Intents, SETTLED_INTENTS, &[], 1)?;
    }
    let next = next.pop().and_then(|(key, _)| intent_of_key(&key));
    Ok(next.map(|id| id.topic().clone()).filter(|next| next != topic))
}

fn forget_of(plan: &mut Plan<'_>, topic: &TopicName, settled: &IntentId) -> Result<()> {
    let policy = plan.settled_retention();
    let (next, now) = (plan.next_id(), plan.believed());
    each_oldest(plan, Table::Intents, &topic_prefix(topic, true), |plan, key, row| {
        let Some(id) = intent_of_key(key).filter(|id| id != settled) else { return Ok(None) };
        let Some(record) = readable(plan.parse::<IntentRecord>(key, row).map(Some))? else {
            return Ok(None);
        };
        let newer = next.saturating_sub(id.sequence());
        let at = settled_at(plan, record.changed)?;
        let goes = record.stage.is_settled() && policy.lets_intent_go(newer, at, now);
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
        let at = record.map(|record| settled_at(plan, record.at)).transpose()?;
        Ok(at.map(|at| policy.lets_audit_go(at, now)))
    })
}

/// When something was settled: what was written down while the clock was not set counts from the first
/// moment at which one that is set was seen here, for nobody knows how long ago it was.
pub(super) fn settled_at(plan: &mut Plan<'_>, at: Timestamp) -> Result<Timestamp> {
    let now = plan.believed();
    if at >= CLOCK_FLOOR || now < CLOCK_FLOOR {
        return Ok(at);
    }
    if let Some(set) = readable(plan.record::<ClockSet>(META_CLOCK_SET))? {
        return Ok(set.at);
    }
    plan.put_aside(META_CLOCK_SET, &ClockSet { at: now })?;
    Ok(now)
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

/// What can be read here; `None` for what is damaged, of a newer program, or over the limits.
pub(super) fn readable<T>(found: Result<Option<T>>) -> Result<Option<T>> {
    match unless_damaged(found) {
        Err(error) if matches!(error.kind(), ErrorKind::TooNew | ErrorKind::LimitExceeded) => {
            Ok(None)
        }
        found => found,
    }
}
