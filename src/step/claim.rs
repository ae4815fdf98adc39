//! The claim: any call outside, made at most once on its own.
//!
//! A claim is durable before its holder is told to go ahead. It is left by saying what became of the
//! call; a holder that ends without a word leaves it in doubt, never free.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::doubt::Doubt;
use super::expire::forget_expired;
use super::open_claim::Open;
use super::seen::{check_life, lost, other_request, outcome_in, refuse_beyond_horizon};
use super::tx::check_key;
use super::values::{Place, encode_value, read_value, schema_of_type};
use crate::error::{Error, Result};
use crate::id::Scope;
use crate::ledger::{
    Key, KeyEvent, KeyRecord, KeyState, RequestMatch, open_claim_key, settled_claim_key,
};
use crate::record::Typed;
use crate::seq::Epoch;
use crate::store::{HoldKind, Pending, Plan, Read, Store, Table, Unreconciled, row_name};

/// What is known of an operation somebody wants to do.
#[derive(Debug)]
#[must_use = "a claim that is dropped is in doubt"]
pub enum Claimed<R> {
    /// Nobody has done it: make the call, then say what became of it.
    Fresh(Claim<R>),
    /// It was done; this was the answer.
    Done(R),
    /// It may have been done: ask the receiver, then settle it. [`Doubt::request`] says whether that
    /// was for this request: what is in doubt is never a conflict.
    InDoubt(Doubt<R>),
    /// This process holds a [`Claim`] or a [`Doubt`] of it, whatever the request was: ask again when
    /// that one is settled or dropped.
    InFlight {
        /// The opening of the store in which it was claimed.
        epoch: Epoch,
    },
    /// It was done, and this was the answer; but the type of the request had another shape then, so
    /// the store cannot tell whether it was this request. Compare them, or use another key.
    OtherShape(R),
}

/// The right to make one call. Dropped without a word, the call is in doubt. A claim that is leaked
/// (`mem::forget`) is in flight until the store is opened again, and then in doubt.
pub struct Claim<R>(Open<R>);

impl Store {
    /// Asks to do an operation once: looks the key up, and claims it if it is new. When it returns
    /// `Fresh`, the claim is durable.
    ///
    /// `request` is what the operation is asked to do: a settled key with another request is a
    /// `Conflict`. The key may carry it as well ([`Key::request`]); then both have to be the same.
    ///
    /// # Errors
    /// `Conflict` if the key was settled for another request of the same shape, and `BeyondHorizon`
    /// if it may have been seen and forgotten, as in [`Run::step`](crate::Run::step). `Invalid` for a
    /// bad scope, key or request, for two requests, or for a key that would expire at once;
    /// `LimitExceeded` for a long key; `Damaged` if the key was seen but its record is damaged: it is
    /// not new; `SchemaMismatch` if the stored outcome is not an `R`; `Unreconciled` for a new key, if
    /// the store has to be reconciled first: see [`Store::reconcile`]; and those of a commit.
    pub fn claim<R: Serialize + DeserializeOwned + 'static>(
        &self,
        scope: &str,
        key: impl Into<Key>,
        request: &(impl Serialize + ?Sized),
    ) -> Result<Claimed<R>> {
        let (scope, key) = (Scope::new(scope)?, asked(key.into(), request)?);
        let view = self.view()?;
        // An outcome that cannot be stored is found out before the call is made.
        schema_of_type::<R>(&view, self.schemas(), Place::Claim)?;
        let (found, joined) = view.join(|plan| look_up(self, plan, &scope, &key))?;
        self.wait(joined)?;
        found.typed(self)
    }

    /// Like [`claim`](Store::claim), but returns when the claim is planned: the [`Pending`] says
    /// what it came to once that is durable. Do not make the call before. A `Pending` that is dropped
    /// leaves a new claim in doubt, as a dropped [`Claim`] does.
    ///
    /// # Errors
    /// Those of [`claim`](Store::claim) that refuse it; those of the commit come from the `Pending`.
    pub fn submit_claim<R: Serialize + DeserializeOwned + 'static>(
        &self,
        scope: &str,
        key: impl Into<Key>,
        request: &(impl Serialize + ?Sized),
    ) -> Result<Pending<Claimed<R>>> {
        let (scope, key) = (Scope::new(scope)?, asked(key.into(), request)?);
        let view = self.view_to_submit()?;
        schema_of_type::<R>(&view, self.schemas(), Place::Claim)?;
        let (found, joined) = view.join(|plan| look_up(self, plan, &scope, &key))?;
        Ok(self.pending(found.typed(self)?, joined))
    }
}

/// The key with the request, which it may carry already.
fn asked(key: Key, request: &(impl Serialize + ?Sized)) -> Result<Key> {
    let before = key.request;
    let key = key.request(request)?;
    match RequestMatch::of(before, key.request) {
        RequestMatch::Same | RequestMatch::Unknown => Ok(key),
        RequestMatch::Differs | RequestMatch::ShapeDiffers => Err(Error::invalid(
            "the key carries another request than the one it is claimed for: leave one of them out. \
             Nothing was written",
        )),
    }
}

/// What a claim comes to, before a stored outcome is read as the user's type.
enum Found<R> {
    Claimed(Claimed<R>),
    Done { row: Vec<u8>, outcome: Typed, request: RequestMatch },
}

impl<R: Serialize + DeserializeOwned + 'static> Found<R> {
    /// Calls code of the user's.
    fn typed(self, store: &Store) -> Result<Claimed<R>> {
        let (row, outcome, request) = match self {
            Self::Claimed(claimed) => return Ok(claimed),
            Self::Done { row, outcome, request } => (row, outcome, request),
        };
        // A view, for the schema need not be durable yet.
        let outcome = read_value(&store.view()?, store.schemas(), &outcome, || outcome_in(&row))?;
        Ok(match request {
            RequestMatch::ShapeDiffers => Claimed::OtherShape(outcome),
            _ => Claimed::Done(outcome),
        })
    }
}

fn look_up<R>(store: &Store, plan: &mut Plan<'_>, scope: &Scope, key: &Key) -> Result<Found<R>> {
    forget_expired(plan)?;
    check_key(plan.limits(), &key.bytes)?;
    check_life(key)?;
    let settled = settled_claim_key(scope, &key.bytes);
    if let Some(record) = plan.record::<KeyRecord>(&settled)? {
        return answer(record, key, settled);
    }
    claim(store, plan, scope, key).map(Found::Claimed)
}

/// The answer to a claim that was not settled before.
fn claim<R>(store: &Store, plan: &mut Plan<'_>, scope: &Scope, key: &Key) -> Result<Claimed<R>> {
    let row = open_claim_key(scope, &key.bytes);
    let record = plan.record::<KeyRecord>(&row)?;
    let hold = plan.hold(HoldKind::Claim, &row);
    let open = |hold| Open::new(store, scope, key, hold);
    match (record, hold) {
        (Some(record), None) => Ok(Claimed::InFlight { epoch: record.epoch }),
        // Held, but not open: its holder has just settled it as free, and is about to let go.
        (None, None) => Ok(Claimed::InFlight { epoch: plan.epoch() }),
        (Some(record), Some(hold)) => {
            let request = RequestMatch::of(record.request, key.request);
            Doubt::of(record, &row, request, open(hold)).map(Claimed::InDoubt)
        }
        (None, Some(hold)) => {
            refuse_beyond_horizon(plan.horizon(), key, &row)?;
            Unreconciled::refuse(plan)?;
            let ttl_ms = key.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            let record = KeyRecord {
                state: KeyState::InFlight,
                request: key.request,
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
fn answer<R>(record: KeyRecord, key: &Key, row: Vec<u8>) -> Result<Found<R>> {
    let request = RequestMatch::of(record.request, key.request);
    if request == RequestMatch::Differs {
        return Err(other_request(&row_name(Table::Keys, &row)));
    }
    match record.state {
        KeyState::Done { outcome } => Ok(Found::Done { row, outcome, request }),
        KeyState::Lost { quarantine } => Err(lost(&row, quarantine)),
        state @ (KeyState::InFlight | KeyState::InDoubt { .. }) => Err(Error::damaged(format!(
            "{} is {}, where only settled claims stand",
            row_name(Table::Keys, &row),
            state.name()
        ))),
    }
}

impl<R: Serialize + DeserializeOwned + 'static> Claim<R> {
    /// The call was made, and this was the answer. When it returns, that is durable, and the claim has
    /// nothing left to settle.
    ///
    /// An answer that cannot be stored is refused before anything is written, and the claim is open as
    /// it was: complete it with another answer.
    ///
    /// ```
    /// use milepost::{Claimed, ErrorKind, Limits, Options};
    ///
    /// let limits = Limits { value_bytes: 100, ..Limits::default() };
    /// let store = Options::new().limits(limits).in_memory()?;
    /// if let Claimed::Fresh(claim) = store.claim::<String>("mail", "m-1", "to Ada")? {
    ///     let answer = "250 OK ".repeat(100); // what the server said
    ///     let refused = claim.complete(&answer).unwrap_err();
    ///     assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    ///     claim.complete(&answer[..6].to_owned())?;
    /// }
    /// assert!(matches!(store.claim::<String>("mail", "m-1", "to Ada")?, Claimed::Done(_)));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` for an answer that does not come back as it was written, `LimitExceeded` for one that is
    /// too large: nothing was written, and the claim is still open. `Conflict` if it was completed
    /// before. Those of a commit; the claim is in doubt once it is dropped.
    pub fn complete(&self, outcome: &R) -> Result<()> {
        self.0.complete(outcome)
    }

    /// Like [`complete`](Claim::complete), but returns when that is planned: the [`Pending`] says
    /// when it is durable.
    ///
    /// # Errors
    /// Those of [`complete`](Claim::complete) that refuse it; those of the commit come from the
    /// `Pending`.
    pub fn submit_complete(&self, outcome: &R) -> Result<Pending<()>> {
        let (open, store) = (&self.0, &self.0.store);
        let view = store.view_to_submit()?;
        let outcome = encode_value(&view, store.schemas(), Place::Claim, outcome)?;
        let ((), joined) = view.join(|plan| {
            let outcome = outcome.stored(plan)?;
            open.settle_in(plan, KeyEvent::Complete { outcome })
        })?;
        open.let_go();
        Ok(store.pending((), joined))
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

impl<R> fmt::Debug for Claim<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}
