//! The facts a store keeps, one noun a file: what a record of it holds, where it stands, and which
//! changes of its state there are. Siblings never meet here, and none of them commits: that is the
//! floor above.

mod audit;
mod checkpoint;
mod clock_set;
mod content;
mod intent;
mod key;
mod quarantine;
mod row;
mod run;
mod schema;
#[cfg(test)]
mod tests;

pub use audit::{AuditAction, AuditEntry};
pub use intent::SettledBy;
pub use key::{Key, RequestMatch};
pub use schema::Versioned;

pub(crate) use audit::{AuditRecord, audit_key};
pub(crate) use checkpoint::{
    CheckpointContent, CheckpointRecord, HistoryRecord, Kept, Place, Row as CheckpointRow,
    checkpoint_key, checkpoints_of, histories, history_key, id_key, ids_from, place_of_id_key,
    run_of_history_key, sequence_of_key,
};
pub(crate) use clock_set::{CLOCK_FLOOR, ClockSet, META_CLOCK_SET};
pub(crate) use content::{
    ChunkList, ContentRecord, chunk_key, chunk_of_key, count_key, count_of_key,
};
pub(crate) use intent::{
    Event as IntentEvent, IntentRecord, OUTSTANDING, SETTLED as SETTLED_INTENTS, Stage, intent_key,
    intent_of_key, next as next_stage, topic_prefix,
};
pub(crate) use key::{
    Event as KeyEvent, ExpiryRecord, KeyRecord, KeyState, OPEN_CLAIMS, Request, claim_of_key,
    expiry_due, expiry_key, expiry_key_of_tick, expiry_tick, next as next_key_state,
    open_claim_key, run_of_step_key, settled_claim_key, step_key,
};
pub(crate) use quarantine::{QuarantineRecord, quarantine_key};
pub(crate) use row::{RowRecord, row_key};
pub(crate) use run::{
    ENDS, REMOVING, RunEnd, RunRecord, end_key, end_of_key, ended_key, is_run_end, is_run_gone,
    removed_key, removing_key, run_key, run_of_key, run_of_removing_key,
};
pub(crate) use schema::{
    Form, SchemaKind, SchemaRecord, TypeVersion, check as check_schema, check_form, schema_key,
};
