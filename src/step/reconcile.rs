//! Setting a store back, and what a person does after it.

use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{AuditAction, AuditRecord, audit_key};
use crate::store::{META_UNRECONCILED, Plan, Read, Store, Table, Unreconciled};

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
                action: AuditAction::Reconcile,
                note: note.to_owned(),
                at: plan.now(),
                epoch: plan.epoch(),
            };
            plan.put(&audit_key(number), &audit)
        })
    }
}

/// Begins another life of the store, in which nothing is sent before it was reconciled.
pub(crate) fn set_back(plan: &mut Plan<'_>, why: String) -> Result<()> {
    plan.begin_life();
    let unreconciled = Unreconciled::of(plan)?.and(why);
    plan.put(META_UNRECONCILED, &unreconciled)
}
