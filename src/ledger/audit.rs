//! Audit rows: what a person decided, and when.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{IntentId, Scope};
use crate::record::Bytes;
use crate::seq::Epoch;
use crate::store::{Record, Table};

/// What a person said of an effect or a claim that was in doubt, or of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AuditAction {
    /// It was done.
    Confirm,
    /// It was not done and will not be.
    Reject,
    /// It was not done: send it again.
    Resend,
    /// What became of all that was sent since the store was set back has been found out.
    Reconcile,
    /// The call of a claim was not made: its key is free again.
    Release,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Which effect it was about; `None` if about a claim or the store.
    pub intent: Option<IntentId>,
    /// Which claim it was about, by its scope and key; `None` if about an effect or the store.
    pub claim: Option<(Scope, Vec<u8>)>,
    /// What was decided.
    pub action: AuditAction,
    /// Who decided it, and why, in their own words.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// In which opening of the store.
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditRecord {
    pub(crate) intent: Option<IntentId>,
    pub(crate) claim: Option<(Scope, Bytes)>,
    pub(crate) action: AuditAction,
    pub(crate) note: String,
    pub(crate) at: Timestamp,
    pub(crate) epoch: Epoch,
}

impl Record for AuditRecord {
    const TABLE: Table = Table::Audit;
}

pub(crate) fn audit_key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

impl AuditRecord {
    pub(crate) fn entry(self) -> AuditEntry {
        let Self { intent, claim, action, note, at, epoch } = self;
        let claim = claim.map(|(scope, key)| (scope, key.0));
        AuditEntry { intent, claim, action, note, at, epoch }
    }
}
