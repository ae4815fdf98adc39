//! Steps, claims and intents: where the facts of the ledger meet, and are committed together.

mod claim;
mod done;
mod expire;
mod inspect;
mod intents;
mod migrate;
mod migrations;
mod recover;
mod run;
mod schema;
mod seen;
mod tx;
mod valid;

pub use claim::{Claim, Claimed, Doubt};
pub use done::Done;
pub use inspect::RunView;
pub use intents::{Intent, IntentState, IntentSummary, Intents};
pub use migrate::{Migrate, Migrated};
pub use migrations::Migrations;
pub use recover::Recovery;
pub use run::Run;
pub use tx::Tx;

pub(crate) use intents::{
    Outstanding, advance, outcome_of, outstanding, payload_of, reserve_topic,
};
