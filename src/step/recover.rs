//! What a crash left behind: nothing is done about it here, everything is said.

use super::intents::effective;
use crate::error::Result;
use crate::id::{IntentId, Scope};
use crate::ledger::{IntentRecord, OUTSTANDING, Stage, intent_of_key};
use crate::seq::Epoch;
use crate::store::{Read, Store, Table, Unreconciled, misplaced};

/// What is not settled in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Whether the holder before this one closed the store in order.
    pub closed_in_order: bool,
    /// Which opening this is.
    pub epoch: Epoch,
    /// Effects that may or may not have reached their receiver. A relay probes them; without a
    /// probe a person settles them.
    pub intents_in_doubt: Vec<IntentId>,
    /// Effects that were written and not sent: a relay delivers them.
    pub intents_prepared: Vec<IntentId>,
    /// Claims whose holder ended without a word: [`Store::doubt`] hands out their
    /// [`Doubt`](crate::Doubt), [`Store::doubts`] says more of each.
    pub claims_in_doubt: Vec<(Scope, Vec<u8>)>,
    /// Why the store has to be reconciled with its receivers, oldest reason first: it was set back, and
    /// does not know what it sent after that. Nothing is sent or claimed before
    /// [`Store::reconcile`] was called. Empty if there is no reason.
    pub unreconciled: Vec<String>,
}

impl Recovery {
    /// Whether nothing is left to be seen to.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.intents_in_doubt.is_empty()
            && self.intents_prepared.is_empty()
            && self.claims_in_doubt.is_empty()
            && self.unreconciled.is_empty()
    }
}

impl Store {
    /// What is not settled now: right after opening, what the last holder left behind. Reads the
    /// open claims and the outstanding intents alone, however long the history is.
    ///
    /// # Errors
    /// `Damaged` if a record is; `Poisoned`.
    pub fn recovery(&self) -> Result<Recovery> {
        let rows = self.read()?;
        let mut found = Recovery {
            closed_in_order: self.was_closed_in_order(),
            epoch: self.epoch(),
            intents_in_doubt: Vec::new(),
            intents_prepared: Vec::new(),
            claims_in_doubt: Vec::new(),
            unreconciled: Unreconciled::of(&*rows)?.why,
        };
        for (key, row) in rows.scan(Table::Intents, OUTSTANDING, &[], usize::MAX)? {
            let record = rows.parse::<IntentRecord>(&key, &row)?;
            let id = intent_of_key(&key).ok_or_else(|| misplaced(Table::Intents, &key))?;
            match effective(self, &id, &record)? {
                Stage::InDoubt { .. } => found.intents_in_doubt.push(id),
                Stage::Prepared => found.intents_prepared.push(id),
                _ => {}
            }
        }
        let doubts = self.doubts()?;
        found.claims_in_doubt = doubts.into_iter().map(|doubt| (doubt.scope, doubt.key)).collect();
        Ok(found)
    }
}
