//! Milepost.
mod clock;
mod error;
mod exec;
mod id;
mod ledger;
mod record;
mod step;
mod store;
pub use clock::*;
pub use error::*;
pub use exec::{Delivered, Delivery, OnUnknown, Probe, Receiver, Relay, Sent};
pub use id::*;
pub use ledger::{AuditAction, AuditEntry, Key, Position, SettledBy, Versioned};
pub use step::{
    Claim, Claimed, Done, Doubt, Intent, IntentState, IntentSummary, Intents, Recovery, Run, Tx,
};
pub use store::{Disk, Durability, Limits, MemoryDisk, Options, Reopen, Resolution, Store};
