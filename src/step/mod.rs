//! Steps, claims and intents: where the facts of the ledger meet, and are committed together.

mod arrive;
mod checkpoints;
mod claim;
mod content;
mod deliver;
mod diff;
mod done;
mod doubt;
mod draft;
mod ended;
mod expire;
mod forget;
mod history;
mod inspect;
mod intents;
mod kept;
mod labels;
mod listing;
mod migrate;
mod migrations;
mod on_damage;
mod open_claim;
mod pick_up;
mod reconcile;
mod records;
mod recover;
mod remove;
mod retain;
mod run;
mod savepoint;
mod saves;
mod schema;
mod seen;
mod state;
mod tx;
mod unfit;
mod valid;
mod values;

pub use checkpoints::Checkpoints;
pub use claim::{Claim, Claimed};
pub use diff::{CheckpointDiff, FieldChange};
pub use done::Done;
pub use doubt::{Doubt, DoubtSummary};
pub use inspect::RunView;
pub use intents::{Intent, IntentState, IntentSummary, Intents};
pub use labels::Labels;
pub use listing::{Checkpoint, CheckpointCursor, CheckpointFilter, CheckpointPage};
pub use migrate::{Migrate, Migrated};
pub use migrations::Migrations;
pub use on_damage::{FellBack, OnDamage};
pub use records::RecordView;
pub use recover::Recovery;
pub use retain::{Freed, RetentionPlan};
pub use run::Run;
pub use saves::Autosave;
pub use tx::Tx;

pub(crate) use arrive::{
    Arrival, Brings, Outcomes, bring_checkpoint, bring_key, bring_run, keys_of_run,
    outcome_to_bring, run_now, state_now, was_brought,
};
pub(crate) use content::{bytes_in as chunk_bytes, distinct};
pub(crate) use deliver::{
    Outstanding, advance, check_types, outcome_of, outstanding, payload_of, reserve_topic,
};
pub(crate) use history::{proven as proven_state, put_back as put_back_checkpoint};
pub(crate) use remove::{refuse_gone, run_of_row};
pub(crate) use savepoint::{About, Import, Imported, Savepoint};
pub(crate) use state::{list_of as chunks_of, put_back as put_back_state};
