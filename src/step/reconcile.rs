//! Setting a store back, and what a person does after it.

use super::forget::forget_audit;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{IntentId, RunName};
use crate::ledger::{
    AuditAction, AuditRecord, IntentRecord, audit_key, intent_key, intent_of_key, topic_prefix,
};
use crate::store::{META_UNRECONCILED, Plan, Read, Store, Table, Unreconciled, misplaced};

impl Store {
    /// Says that somebody has found out what became of everything this store may have sent after the
    /// moment it was set back to, and has settled what [`Store::recovery`] lists as far as it could be
    /// settled. `note`: who looked, where, and what they found. From then on effects are sent again.
    /// When it returns, the decision and the note are durable, as a row of
    /// [`Intents::audit`](crate::Intents::audit).
    ///
    /// # Errors
    /// `Conflict` if there is nothing to reconcile; `Invalid` for an empty note; and those of a commit.
    pub fn reconcile(&self, note: &str) -> Result<()> {
        if note.trim().is_empty() {
            return Err(Error::invalid(
                "a reconciliation without a note: say who looked, where, and what they found. \
                 Nothing was written",
            ));
        }
        self.commit(|plan| {
            if plan.get(Table::Meta, META_UNRECONCILED)?.is_none() {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    "this store was not set back since it was last reconciled. Nothing was written",
                ));
            }
            plan.delete(Table::Meta, META_UNRECONCILED)?;
            let number = plan.take_id();
            let audit = AuditRecord {
                intent: None,
                claim: None,
                action: AuditAction::Reconcile,
                note: note.to_owned(),
                at: plan.lived(),
                epoch: plan.epoch(),
            };
            plan.put(&audit_key(number), &audit)?;
            forget_audit(plan)
        })
    }
}

/// Begins another life of the store, in which nothing is sent before it was reconciled.
pub(crate) fn set_back(plan: &mut Plan<'_>, why: String) -> Result<()> {
    plan.begin_life();
    let unreconciled = Unreconciled::of(plan)?.and(why);
    plan.put(META_UNRECONCILED, &unreconciled)
}

/// Whether a run has emitted intents with numbers above this one, or may have: where some have been
/// forgotten, nothing is known. Of each topic only those are read.
pub(super) fn has_emitted_since(rows: &Plan<'_>, run: &RunName, number: u64) -> Result<bool> {
    const PAGE: usize = 256;
    if number < rows.forgotten() {
        // They may have been of this run.
        return Ok(true);
    }
    for settled in [false, true] {
        let mut from = Vec::new();
        while let Some((first, _)) =
            rows.scan(Table::Intents, &[u8::from(settled)], &from, 1)?.pop()
        {
            let topic = id_of(&first)?.topic().clone();
            let newer = IntentId::new(topic.clone(), number.saturating_add(1));
            from = intent_key(&newer, settled);
            loop {
                let page =
                    rows.scan(Table::Intents, &topic_prefix(&topic, settled), &from, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                for (key, row) in &page {
                    // What stands in for a damaged one is of no run that is known: it may be of this one.
                    let of = rows.parse::<IntentRecord>(key, row)?.run;
                    if of.is_none_or(|of| of == *run) {
                        return Ok(true);
                    }
                }
            }
            // Behind the last intent that the topic can have.
            from = [intent_key(&IntentId::new(topic, u64::MAX), settled), vec![0]].concat();
        }
    }
    Ok(false)
}

fn id_of(key: &[u8]) -> Result<IntentId> {
    intent_of_key(key).ok_or_else(|| misplaced(Table::Intents, key))
}
