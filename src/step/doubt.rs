//! Claims in doubt: listed, and settled by whoever has found out what became of them.
//!
//! Settling never depends on the request: a claim that one release of a program left in doubt is
//! settled by the next, whose request type has one more field, or by an operator who knows the scope
//! and the key alone.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::open_claim::Open;
use super::tx::check_key;
use super::values::{Place, encode_value};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Fingerprint, Scope};
use crate::ledger::{
    AuditAction, Key, KeyEvent, KeyRecord, KeyState, OPEN_CLAIMS, RequestMatch, claim_of_key,
    next_key_state, open_claim_key, settled_claim_key,
};
use crate::seq::Epoch;
use crate::store::{HoldKind, Plan, Read, Store, Table, misplaced, row_name};

/// A call that may have been made. Ask the receiver, then settle it. Dropped, it is as it was. While
/// it is held, the claim is in flight for others; one that is leaked (`mem::forget`) stays so until
/// the store is opened again.
pub struct Doubt<R> {
    open: Open<R>,
    why: String,
    since: Timestamp,
    request: RequestMatch,
    fingerprint: Option<Fingerprint>,
}

/// A claim in doubt, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DoubtSummary {
    /// Its scope.
    pub scope: Scope,
    /// Its key.
    pub key: Vec<u8>,
    /// What went wrong.
    pub why: String,
    /// When it was claimed, or last said to be in doubt.
    pub since: Timestamp,
    /// In which opening of the store that was.
    pub epoch: Epoch,
    /// The fingerprint of its request: [`Key::fingerprint`] of the same request is equal.
    pub fingerprint: Option<Fingerprint>,
}

impl Store {
    /// The claims in doubt: those whose holder ended without a word, or said that it does not know.
    /// Claims that this process holds a [`Claim`](crate::Claim) or a [`Doubt`] of are not among them.
    /// Reads the open claims alone.
    ///
    /// # Errors
    /// `Damaged` if a record is; `Poisoned`; `Forked`.
    pub fn doubts(&self) -> Result<Vec<DoubtSummary>> {
        let rows = self.read()?;
        let mut found = Vec::new();
        for (row, bytes) in rows.scan(Table::Keys, OPEN_CLAIMS, &[], usize::MAX)? {
            rows.parse::<KeyRecord>(&row, &bytes)?;
            let Some(bytes) = self.unattended((HoldKind::Claim, &row), Table::Keys, &row)? else {
                continue;
            };
            let record = rows.parse::<KeyRecord>(&row, &bytes)?;
            let (scope, key) = claim_of_key(&row).ok_or_else(|| misplaced(Table::Keys, &row))?;
            let KeyRecord { state, epoch, changed, request, .. } = record;
            found.push(DoubtSummary {
                scope,
                key: key.to_vec(),
                why: why_in_doubt(state, &row)?,
                since: changed,
                epoch,
                fingerprint: request.map(|request| request.fingerprint),
            });
        }
        Ok(found)
    }

    /// The doubt of a claim, by its scope and key alone: for an operator, or for a program that does
    /// not know the request any more. `R` is the type of its outcome, which only
    /// [`confirm`](Doubt::confirm) needs. A claim whose record was damaged, and which a repair put into
    /// quarantine, has a doubt too, which a person settles, with a note: perhaps it was settled before.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// # drop(store.claim::<u64>("pay", "p-1", "100 EUR")?);
    /// for doubt in store.doubts()? {
    ///     println!("{} {:?}: {}", doubt.scope, doubt.key, doubt.why);
    ///     let doubt = store.doubt::<u64>(doubt.scope.as_str(), &doubt.key)?;
    ///     doubt.release_with_note("Ada asked the bank: there is no such payment")?;
    /// }
    /// assert!(store.doubts()?.is_empty());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if no claim has that key; `Conflict` while this process holds a
    /// [`Claim`](crate::Claim) or a [`Doubt`] of it, or if it is settled; `Invalid` for a bad scope or
    /// key; `LimitExceeded` for a long key; `Damaged` if its record is: run `repair` first.
    pub fn doubt<R: Serialize + DeserializeOwned + 'static>(
        &self,
        scope: &str,
        key: impl AsRef<[u8]>,
    ) -> Result<Doubt<R>> {
        let (scope, key) = (Scope::new(scope)?, Key::new(key));
        self.commit(|plan| in_doubt(self, plan, &scope, &key))
    }
}

const HELD: &str = "this process holds a claim or a doubt of it: wait until that one is settled or \
                    dropped";

fn in_doubt<R>(store: &Store, plan: &mut Plan<'_>, scope: &Scope, key: &Key) -> Result<Doubt<R>> {
    check_key(plan.limits(), &key.bytes)?;
    let row = open_claim_key(scope, &key.bytes);
    let refused =
        |kind, what| Err(Error::new(kind, format!("{}: {what}", row_name(Table::Keys, &row))));
    let Some(record) = plan.record::<KeyRecord>(&row)? else {
        let settled = settled_claim_key(scope, &key.bytes);
        let record =
            plan.record::<KeyRecord>(&settled)?.map(|record| (record.changed, record.state));
        return match record {
            Some((since, KeyState::Lost { quarantine })) => {
                match plan.hold(HoldKind::Claim, &row) {
                    Some(hold) => {
                        let open = Open::new(store, scope, key, hold).lost();
                        Ok(Doubt::lost(open, since, quarantine))
                    }
                    None => refused(ErrorKind::Conflict, HELD),
                }
            }
            Some(_) => refused(ErrorKind::Conflict, "the claim is settled, and not in doubt"),
            None => refused(ErrorKind::NotFound, "there is no such claim"),
        };
    };
    match plan.hold(HoldKind::Claim, &row) {
        Some(hold) => {
            Doubt::of(record, &row, RequestMatch::Unknown, Open::new(store, scope, key, hold))
        }
        None => refused(ErrorKind::Conflict, HELD),
    }
}

/// Why a claim that nobody holds is in doubt.
fn why_in_doubt(state: KeyState, row: &[u8]) -> Result<String> {
    match next_key_state(state, KeyEvent::Abandon) {
        Ok(Some(KeyState::InDoubt { why })) => Ok(why),
        Err(_) | Ok(_) => Err(Error::damaged(format!(
            "{} is settled, where only open claims stand",
            row_name(Table::Keys, row)
        ))),
    }
}

impl<R> Doubt<R> {
    /// The doubt of a claim whose record was damaged, and is in quarantine: it may have been settled.
    fn lost(open: Open<R>, since: Timestamp, quarantine: u64) -> Self {
        Self {
            open,
            why: format!("its record was damaged, and is number {quarantine} in quarantine"),
            since,
            request: RequestMatch::Unknown,
            fingerprint: None,
        }
    }

    /// What was damaged is settled by a person alone: perhaps it was settled before.
    fn refuse_lost(&self) -> Result<()> {
        if !self.open.is_lost() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{}: what became of the call is for a person to say. Restore the record, or settle it \
             with a note. Nothing was written",
            self.why
        )))
    }

    /// The doubt of an open claim that nobody else holds.
    pub(super) fn of(
        record: KeyRecord,
        row: &[u8],
        request: RequestMatch,
        open: Open<R>,
    ) -> Result<Self> {
        let (since, then) = (record.changed, record.request);
        let why = why_in_doubt(record.state, row)?;
        Ok(Self { open, why, since, request, fingerprint: then.map(|then| then.fingerprint) })
    }

    /// Why it is in doubt.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// When it was claimed, or last said to be in doubt.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether the call may have been made for the request that was asked with now. A newer release
    /// of a program tells by it a request of a newer shape from another request. `Unknown` for a doubt
    /// that was asked for by scope and key alone.
    #[must_use]
    pub fn request(&self) -> RequestMatch {
        self.request
    }

    /// The fingerprint of the request that the call may have been made for, to be compared with
    /// [`Key::fingerprint`].
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }
}

impl<R: Serialize + DeserializeOwned + 'static> Doubt<R> {
    /// It was done, and this was the answer: for a program that has asked the receiver. When it
    /// returns, that is durable.
    ///
    /// # Errors
    /// `Invalid` if its record was damaged; those of a commit; the call is then still in doubt.
    pub fn confirm(self, outcome: &R) -> Result<()> {
        self.refuse_lost()?;
        self.open.complete(outcome)
    }

    /// It was not done and cannot be done any more by the call of then: the key is free again,
    /// durably.
    ///
    /// # Errors
    /// `Invalid` if its record was damaged; those of a commit; the call is then still in doubt.
    pub fn release(self) -> Result<()> {
        self.refuse_lost()?;
        self.open.settle(KeyEvent::Release)
    }

    /// [`confirm`](Doubt::confirm), decided by a person. `note`: who decided, and how they know. When
    /// it returns, the decision and the note are durable, as a row of
    /// [`Intents::audit`](crate::Intents::audit).
    ///
    /// # Errors
    /// `Invalid` for an empty note; those of a commit; the call is then still in doubt.
    pub fn confirm_with_note(self, outcome: &R, note: &str) -> Result<()> {
        let store = &self.open.store;
        let outcome = encode_value(&store.view()?, store.schemas(), Place::Claim, outcome)?;
        self.decide(AuditAction::Confirm, note, |plan| {
            Ok(KeyEvent::Complete { outcome: outcome.stored(plan)? })
        })
    }

    /// [`release`](Doubt::release), decided by a person. `note`: who decided, and how they know. When
    /// it returns, the decision and the note are durable, as a row of
    /// [`Intents::audit`](crate::Intents::audit).
    ///
    /// # Errors
    /// `Invalid` for an empty note; those of a commit; the call is then still in doubt.
    pub fn release_with_note(self, note: &str) -> Result<()> {
        self.decide(AuditAction::Release, note, |_| Ok(KeyEvent::Release))
    }

    fn decide(
        self,
        action: AuditAction,
        note: &str,
        event: impl FnOnce(&mut Plan<'_>) -> Result<KeyEvent>,
    ) -> Result<()> {
        if note.trim().is_empty() {
            return Err(Error::invalid(
                "a decision without a note: say who decided, and how they know. Nothing was written",
            ));
        }
        self.open.store.commit(|plan| {
            let event = event(plan)?;
            self.open.settle_in(plan, event)?;
            self.open.audit_in(plan, action, note)
        })
    }
}

impl<R> fmt::Debug for Doubt<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doubt")
            .field("scope", &self.open.scope)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
