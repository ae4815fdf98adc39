//! Audit rows: what a person decided, and when.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::IntentId;
use crate::seq::Epoch;
use crate::store::{Record, Table};

/// What a person said of an effect that was in doubt, or of the store.
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
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// Which effect it was about; `None` if about the store.
    pub intent: Option<IntentId>,
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
