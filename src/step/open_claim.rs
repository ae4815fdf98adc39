//! A claim that is not settled, in the hands of one holder.

use std::marker::PhantomData;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::forget::forget_audit;
use super::seen::put_settled;
use super::values::{Place, encode_value};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Scope;
use crate::ledger::{
    AuditAction, AuditRecord, Key, KeyEvent, KeyRecord, KeyState, audit_key, next_key_state,
    open_claim_key, settled_claim_key,
};
use crate::record::Bytes;
use crate::store::{Hold, Plan, Read, Store, Table, row_name};

/// The right to settle a claim.
pub(super) struct Open<R> {
    pub(super) store: Store,
    pub(super) scope: Scope,
    key: Vec<u8>,
    /// Whether its record was damaged: what stands in for it is among the settled ones.
    is_lost: bool,
    /// When the call was asked for, if whoever asked last has said so.
    issued: Option<Timestamp>,
    /// None once it was completed: others may claim the key then, should it be forgotten.
    hold: Mutex<Option<Hold>>,
    outcome: PhantomData<fn() -> R>,
}

impl<R> Open<R> {
    pub(super) fn new(store: &Store, scope: &Scope, key: &Key, hold: Hold) -> Self {
        Self {
            store: store.clone(),
            scope: scope.clone(),
            key: key.bytes.clone(),
            issued: key.issued,
            is_lost: false,
            hold: Mutex::new(Some(hold)),
            outcome: PhantomData,
        }
    }

    /// Of a claim whose record was damaged.
    pub(super) fn lost(self) -> Self {
        Self { is_lost: true, ..self }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// It is settled: nothing is left to hold.
    pub(super) fn let_go(&self) {
        // Dropped after the lock is released: its drop takes a lock of the store.
        let hold = self.held().take();
        drop(hold);
    }

    fn held(&self) -> MutexGuard<'_, Option<Hold>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self) -> Vec<u8> {
        if self.is_lost {
            settled_claim_key(&self.scope, &self.key)
        } else {
            open_claim_key(&self.scope, &self.key)
        }
    }
}

impl<R: Serialize + DeserializeOwned + 'static> Open<R> {
    pub(super) fn complete(&self, outcome: &R) -> Result<()> {
        let view = self.store.view()?;
        let outcome = encode_value(&view, self.store.schemas(), Place::Claim, outcome)?;
        let ((), joined) = view.join(|plan| {
            let outcome = outcome.stored(plan)?;
            self.settle_in(plan, KeyEvent::Complete { outcome })
        })?;
        self.store.wait(joined)?;
        self.let_go();
        Ok(())
    }

    pub(super) fn settle(self, event: KeyEvent) -> Result<()> {
        self.store.commit(|plan| self.settle_in(plan, event))
    }

    pub(super) fn settle_in(&self, plan: &mut Plan<'_>, event: KeyEvent) -> Result<()> {
        let row = self.row();
        let illegal = |why: &str| {
            Error::new(
                ErrorKind::Conflict,
                format!("{}: {why}. Nothing was changed", row_name(Table::Keys, &row)),
            )
        };
        if self.held().is_none() {
            return Err(illegal("the claim was completed before"));
        }
        let mut record = plan
            .record::<KeyRecord>(&row)?
            .ok_or_else(|| illegal("the claim is no longer open"))?;
        let state = next_key_state(record.state, event);
        match state.map_err(|error| illegal(&error.to_string()))? {
            None => plan.delete(Table::Keys, &row),
            Some(KeyState::Done { outcome }) => {
                plan.delete(Table::Keys, &row)?;
                let settled = settled_claim_key(&self.scope, &self.key);
                let life = (record.ttl_ms, self.issued);
                put_settled(plan, &settled, outcome, record.request, life)
            }
            Some(state) => {
                record.state = state;
                record.epoch = plan.epoch();
                record.changed = plan.now();
                plan.put(&row, &record)
            }
        }
    }

    /// Writes down, in the same commit, what a person decided.
    pub(super) fn audit_in(
        &self,
        plan: &mut Plan<'_>,
        action: AuditAction,
        note: &str,
    ) -> Result<()> {
        let number = plan.take_id();
        let audit = AuditRecord {
            intent: None,
            claim: Some((self.scope.clone(), Bytes(self.key.clone()))),
            action,
            note: note.to_owned(),
            at: plan.lived(),
            epoch: plan.epoch(),
        };
        plan.put(&audit_key(number), &audit)?;
        forget_audit(plan)
    }
}
