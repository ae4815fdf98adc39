//! The claim: any call outside, made at most once on its own.
//!
//! A claim is durable before its holder is told to go ahead. It is left by saying what became of the
//! call; a holder that ends without a word leaves it in doubt, never free.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::expire::forget_expired;
use super::seen::{is_other_request, lost, put_settled};
use super::tx::{check_key, store_value, typed};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Scope;
use crate::ledger::{
    Key, KeyEvent, KeyRecord, KeyState, next_key_state, open_claim_key, settled_claim_key,
};
use crate::seq::Epoch;
use crate::store::{Hold, HoldKind, Pending, Plan, Read, Store, Table, Unreconciled, row_name};

/// What is known of an operation somebody wants to do.
#[derive(Debug)]
#[must_use = "a claim that is dropped is in doubt"]
pub enum Claimed<R> {
    /// Nobody has done it: make the call, then say what became of it.
    Fresh(Claim<R>),
    /// It was done; this was the answer.
    Done(R),
    /// It may have been done: ask the receiver, then settle it.
    InDoubt(Doubt<R>),
    /// Somebody in this process is at it.
    InFlight {
        /// Who: the opening of the store in which it was claimed.
        epoch: Epoch,
    },
    /// The key was used for another request.
    Conflict,
    /// The key is so old that it may have been done and forgotten.
    BeyondHorizon,
}

/// The right to make one call. Dropped without a word, the call is in doubt.
pub struct Claim<R>(Open<R>);

/// A call that may have been made. Ask the receiver, then settle it.
pub struct Doubt<R> {
    open: Open<R>,
    why: String,
}

struct Open<R> {
    store: Store,
    scope: Scope,
    key: Vec<u8>,
    /// When the call was asked for, if whoever asked last has said so.
    issued: Option<Timestamp>,
    _hold: Hold,
    outcome: PhantomData<fn() -> R>,
}

impl Store {
    /// Asks to do an operation once: looks the key up, and claims it if it is new. When it returns
    /// `Fresh`, the claim is durable.
    ///
    /// `request` is what the operation is asked to do: the same key with another request is a
    /// `Conflict`.
    ///
    /// # Errors
    /// `Invalid` for a bad scope, key or request; `LimitExceeded` for a long key; `Damaged` if the
    /// key was seen but its record is damaged: it is not new; `SchemaMismatch` if the stored outcome
    /// is not an `R`; `InDoubt` for a new key, if the store was set back and nobody has reconciled it
    /// since: see [`Store::reconcile`]; and those of a commit.
    pub fn claim<R: Serialize + DeserializeOwned>(
        &self,
        scope: &str,
        key: impl Into<Key>,
        request: &(impl Serialize + ?Sized),
    ) -> Result<Claimed<R>> {
        let (scope, key) = (Scope::new(scope)?, key.into().request(request)?);
        self.commit(|plan| look_up(self, plan, &scope, &key))
    }

    /// Like [`claim`](Store::claim), but returns when the claim is planned: the [`Pending`] says
    /// what it came to once that is durable. Do not make the call before.
    ///
    /// # Errors
    /// Those of [`claim`](Store::claim) that refuse it; those of the commit come from the `Pending`.
    pub fn submit_claim<R: Serialize + DeserializeOwned>(
        &self,
        scope: &str,
        key: impl Into<Key>,
        request: &(impl Serialize + ?Sized),
    ) -> Result<Pending<Claimed<R>>> {
        let (scope, key) = (Scope::new(scope)?, key.into().request(request)?);
        self.submit(|plan| look_up(self, plan, &scope, &key))
    }
}

fn look_up<R: Serialize + DeserializeOwned>(
    store: &Store,
    plan: &mut Plan<'_>,
    scope: &Scope,
    key: &Key,
) -> Result<Claimed<R>> {
    forget_expired(plan)?;
    check_key(plan, &key.bytes)?;
    let settled = settled_claim_key(scope, &key.bytes);
    if let Some(record) = plan.record::<KeyRecord>(&settled)? {
        return answer(&record, key, &settled);
    }
    let row = open_claim_key(scope, &key.bytes);
    let record = plan.record::<KeyRecord>(&row)?;
    if record.as_ref().is_some_and(|record| is_other_request(record, key)) {
        return Ok(Claimed::Conflict);
    }
    let hold = plan.hold(HoldKind::Claim, &row);
    let open = |hold| Open {
        store: store.clone(),
        scope: scope.clone(),
        key: key.bytes.clone(),
        issued: key.issued,
        _hold: hold,
        outcome: PhantomData,
    };
    match (record, hold) {
        (Some(record), None) => Ok(Claimed::InFlight { epoch: record.epoch }),
        // Held, but not open: its holder has just settled it as free, and is about to let go.
        (None, None) => Ok(Claimed::InFlight { epoch: plan.epoch() }),
        (Some(record), Some(hold)) => match next_key_state(record.state, KeyEvent::Abandon) {
            Ok(Some(KeyState::InDoubt { why })) => {
                Ok(Claimed::InDoubt(Doubt { open: open(hold), why }))
            }
            Err(_) | Ok(_) => Err(Error::damaged(format!(
                "{} is settled, where only open claims stand",
                row_name(Table::Keys, &row)
            ))),
        },
        (None, Some(_)) if key.is_beyond(plan.horizon()) => Ok(Claimed::BeyondHorizon),
        (None, Some(hold)) => {
            Unreconciled::refuse(plan)?;
            let ttl_ms = key.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            let record = KeyRecord {
                state: KeyState::InFlight,
                fingerprint: key.fingerprint,
                epoch: plan.epoch(),
                changed: plan.now(),
                ttl_ms,
                deadline: None,
            };
            plan.put(&row, &record)?;
            Ok(Claimed::Fresh(Claim(open(hold))))
        }
    }
}

/// The answer to a claim that was settled before.
fn answer<R: Serialize + DeserializeOwned>(
    record: &KeyRecord,
    key: &Key,
    row: &[u8],
) -> Result<Claimed<R>> {
    if is_other_request(record, key) {
        return Ok(Claimed::Conflict);
    }
    match &record.state {
        KeyState::Done { outcome } => {
            typed(outcome, || format!("the outcome in {}", row_name(Table::Keys, row)))
                .map(Claimed::Done)
        }
        KeyState::Lost { quarantine } => Err(lost(row, *quarantine)),
        KeyState::InFlight | KeyState::InDoubt { .. } => Err(Error::damaged(format!(
            "{} is {}, where only settled claims stand",
            row_name(Table::Keys, row),
            record.state.name()
        ))),
    }
}

impl<R: Serialize + DeserializeOwned> Claim<R> {
    /// The call was made, and this was the answer. When it returns, that is durable.
    ///
    /// # Errors
    /// Those of a commit; the claim is then in doubt.
    pub fn complete(self, outcome: &R) -> Result<()> {
        self.0.complete(outcome)
    }

    /// Like [`complete`](Claim::complete), but returns when that is planned: the [`Pending`] says
    /// when it is durable.
    ///
    /// # Errors
    /// Those of [`complete`](Claim::complete) that refuse it; those of the commit come from the
    /// `Pending`.
    pub fn submit_complete(self, outcome: &R) -> Result<Pending<()>> {
        let open = self.0;
        let store = open.store.clone();
        store.submit(|plan| {
            let outcome = store_value(plan, outcome)?;
            open.settle_in(plan, KeyEvent::Complete { outcome })
        })
    }

    /// The call was not made: the key is free again, durably.
    ///
    /// # Errors
    /// Those of a commit; the claim is then in doubt.
    pub fn release(self) -> Result<()> {
        self.0.settle(KeyEvent::Release)
    }

    /// The call may have been made: `why` says what went wrong. Dropping the claim says the same
    /// without a reason.
    ///
    /// # Errors
    /// Those of a commit; the claim is in doubt all the same.
    pub fn doubt(self, why: impl Into<String>) -> Result<()> {
        self.0.settle(KeyEvent::Doubt { why: why.into() })
    }
}

impl<R: Serialize + DeserializeOwned> Doubt<R> {
    /// Why it is in doubt.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// It was done, and this was the answer. When it returns, that is durable.
    ///
    /// # Errors
    /// Those of a commit; the call is then still in doubt.
    pub fn confirm(self, outcome: &R) -> Result<()> {
        self.open.complete(outcome)
    }

    /// It was not done and cannot be done any more by the call of then: the key is free again,
    /// durably.
    ///
    /// # Errors
    /// Those of a commit; the call is then still in doubt.
    pub fn release(self) -> Result<()> {
        self.open.settle(KeyEvent::Release)
    }
}

impl<R: Serialize + DeserializeOwned> Open<R> {
    fn complete(self, outcome: &R) -> Result<()> {
        self.store.commit(|plan| {
            let outcome = store_value(plan, outcome)?;
            self.settle_in(plan, KeyEvent::Complete { outcome })
        })
    }

    fn settle(self, event: KeyEvent) -> Result<()> {
        self.store.commit(|plan| self.settle_in(plan, event))
    }

    fn settle_in(&self, plan: &mut Plan<'_>, event: KeyEvent) -> Result<()> {
        let row = open_claim_key(&self.scope, &self.key);
        let illegal = |why: &str| {
            Error::new(
                ErrorKind::Conflict,
                format!("{}: {why}. Nothing was changed", row_name(Table::Keys, &row)),
            )
        };
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
                put_settled(plan, &settled, outcome, record.fingerprint, life)
            }
            Some(state) => {
                record.state = state;
                record.epoch = plan.epoch();
                record.changed = plan.now();
                plan.put(&row, &record)
            }
        }
    }
}

impl<R> fmt::Debug for Claim<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Doubt<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doubt").field("scope", &self.open.scope).finish_non_exhaustive()
    }
}
