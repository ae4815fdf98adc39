//! The first part of a call that runs code of the user's: a step's closure, a type's `Serialize`, a
//! migration. It sees the store as it is now, and holds no lock: so that code may take its time, wait
//! for other threads, and call the store. Then the call joins the open group, under the line's lock
//! and without any code of the user's.
//!
//! Between the two nothing of the call's own can have changed: whoever makes the call holds the run,
//! the claim or the topic alone. What it shares with others (counts of chunks, schemas, numbers of
//! intents, expiry) is read and written when it joins, but for the numbers of intents, which a closure
//! is told: those are reserved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::awaited::{Awaited, GroupTicket, Joins};
use super::group::Committer;
use super::held::{Hold, HoldKind};
use super::marks::Clocks;
use super::numbers::Numbers;
use super::options::Limits;
use super::plan::{Frame, Plan};
use super::schemas::Schemas;
use super::snapshot::{Read, Row};
use super::tables::Table;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{ExternalId, IntentId};
use crate::seq::{Epoch, Incarnation};

/// The store as a call sees it before it joins.
pub(crate) struct View<'c> {
    committer: &'c Committer,
    joins: Joins,
    frame: Frame,
    incarnation: Incarnation,
    clocks: Clocks,
    /// What has to be durable before what was read may be answered with.
    seen: Mutex<Option<Awaited>>,
    numbers: Mutex<Option<Numbers>>,
}

/// A call that has joined, or has only read.
#[must_use = "it is durable only when the ticket says so"]
pub(crate) struct Joined(pub(super) Option<GroupTicket>);

impl<'c> View<'c> {
    /// Of a call that waits until it is durable.
    pub(super) fn to_commit(committer: &'c Committer) -> Result<Self> {
        Self::of(committer, Joins::AndWaits)
    }

    /// Of a call that leaves its commit to others.
    pub(super) fn to_submit(committer: &'c Arc<Committer>) -> Result<Self> {
        committer.start_helper()?;
        Self::of(committer, Joins::AndLeaves)
    }

    fn of(committer: &'c Committer, joins: Joins) -> Result<Self> {
        let (frame, incarnation, clocks) = committer.look()?;
        let (seen, numbers) = (Mutex::default(), Mutex::default());
        Ok(Self { committer, joins, frame, incarnation, clocks, seen, numbers })
    }

    /// Joins the open group. `work` runs under the line's lock: no code of the user's may be called in
    /// it.
    ///
    /// # Errors
    /// Those of `work`, and those of a store that takes no more calls. Nothing was planned then.
    pub(crate) fn join<T>(
        self,
        work: impl FnOnce(&mut Plan<'_>) -> Result<T>,
    ) -> Result<(T, Joined)> {
        let (value, awaited) =
            self.committer.join(self.joins, Some(self.clocks), &mut self.numbers(), work)?;
        let awaited = Awaited::later(awaited, self.seen().take());
        Ok((value, Joined(awaited.map(|awaited| awaited.ticket))))
    }

    /// Ends a call that has only read.
    pub(crate) fn only_read(self) -> Joined {
        Joined(self.seen().take().map(|awaited| awaited.ticket))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.frame.epoch
    }

    /// When the call began, by the store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.frame.now
    }

    /// The latest moment that is believed: what expires, expires by it.
    pub(crate) fn believed(&self) -> Timestamp {
        self.frame.believed
    }

    /// Keys whose deadline is on or before it have been forgotten.
    pub(crate) fn horizon(&self) -> Timestamp {
        self.frame.horizon
    }

    pub(crate) fn limits(&self) -> Limits {
        self.frame.limits
    }

    /// Whether keys may have expired that nobody has forgotten yet.
    pub(crate) fn may_forget(&self) -> bool {
        self.frame.forget_max > 0
    }

    /// What a plan would come to that joined now; nothing of it is kept. `work` runs under the line's
    /// lock, as in [`join`](View::join).
    ///
    /// # Errors
    /// Those of `work`, and those of a store that takes no more calls.
    pub(crate) fn try_out<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        self.committer.try_out(work)
    }

    /// A number that no intent or checkpoint of this store has had, for one of this name: it comes
    /// after all that has joined, and before all that joins later.
    ///
    /// # Errors
    /// Those of a store that takes no more calls.
    pub(crate) fn take_id_of(&self, name: &[u8]) -> Result<u64> {
        self.committer.reserve(name, &mut self.numbers())
    }

    pub(crate) fn external_id(&self, intent: &IntentId) -> ExternalId {
        ExternalId::derive(self.frame.store, self.incarnation, intent)
    }

    /// Takes a name that only one holder in this process can have.
    pub(crate) fn hold(&self, kind: HoldKind, name: &[u8]) -> Option<Hold> {
        self.committer.held.take(kind, name)
    }

    /// What this process has found out about the store's schemas.
    pub(crate) fn schemas(&self) -> &Schemas {
        &self.committer.schemas
    }

    fn seen(&self) -> MutexGuard<'_, Option<Awaited>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn numbers(&self) -> MutexGuard<'_, Option<Numbers>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw<T>(&self, (found, awaited): (T, Option<Awaited>)) -> T {
        if awaited.is_some() {
            let mut seen = self.seen();
            *seen = Awaited::later(seen.take(), awaited);
        }
        found
    }
}

impl Drop for View<'_> {
    fn drop(&mut self) {
        if let Some(numbers) = self.numbers().take() {
            self.committer.give_back(&numbers);
        }
    }
}

/// Each read is of the moment it is made in.
impl Read for View<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.saw(self.committer.row(table, key)?))
    }

    fn scan(&self, table: Table, prefix: &[u8], from: &[u8], most: usize) -> Result<Vec<Row>> {
        let rows = self.committer.rows(|layers| layers.scan(table, prefix, from, most))?;
        Ok(self.saw(rows))
    }

    fn scan_back(
        &self,
        table: Table,
        prefix: &[u8],
        below: &[u8],
        most: usize,
    ) -> Result<Vec<Row>> {
        let rows = self.committer.rows(|layers| layers.scan_back(table, prefix, below, most))?;
        Ok(self.saw(rows))
    }

    fn is_durable(&self, table: Table, key: &[u8]) -> Result<bool> {
        self.committer.is_durable(table, key)
    }

    fn value_limit(&self) -> usize {
        self.frame.limits.value_bytes
    }
}
