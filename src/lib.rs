//! An embedded durable state store for programs that act on the world in steps: trading bots,
//! payment and import jobs, long paid pipelines. A program that was killed asks it how far it had
//! come, and goes on as if nothing had happened: nothing is done twice, nothing is forgotten.
//!
//! One file, one process that writes it, no server. It takes the place of the usual kit: a
//! `checkpoint.json` written by tmp, fsync and rename, beside an append-only file of idempotency
//! keys, beside a hope that the two agree after a crash.
//!
//! # What it is
//!
//! - **One step, one commit.** The idempotency key, the position in the input, the state and the
//!   outgoing effects of a step become durable together, or not at all.
//! - **Acknowledged is durable.** What [`Run::step`] acknowledged survives `kill -9`, and power loss
//!   on a disk that honours fsync.
//! - **Never a wrong answer.** Damage found in a record is a typed error or a quarantined record. A
//!   damaged key still counts as seen.
//! - **Never sent twice on its own.** An effect whose outcome is not known is *in doubt*, and is not
//!   sent again before a probe, or a person, has found out.
//! - **One writer.** A second process that opens the store is refused at once, and told who has it.
//!
//! So a run has exactly-once *state*, and effectively-once *effects*.
//!
//! # What it is not
//!
//! Not exactly-once effects at a receiver that can neither deduplicate nor be asked. Not a help
//! against disks that lie about flushing, nor against somebody with the same user's rights. Not for
//! more than one writing machine. And not a workflow engine: it never runs code again to rebuild
//! state, so your code need not be deterministic.
//!
//! # A whole bot
//!
//! ```
//! use milepost::{Delivery, Endpoint, Probe, Sent, Store, Topic, Versioned};
//! use serde::{Deserialize, Serialize};
//!
//! /// Orders of so many shares; the exchange answers with a text.
//! const ORDERS: Topic<i64, String> = Topic::new("orders");
//!
//! /// Everything the bot must not forget.
//! #[derive(Default, Serialize, Deserialize)]
//! struct Momentum {
//!     last_close: i64,
//!     holdings: i64,
//! }
//!
//! impl Versioned for Momentum {
//!     const NAME: &'static str = "momentum";
//!     const VERSION: u32 = 1;
//! }
//!
//! /// The exchange, as a relay sees it.
//! struct Exchange;
//!
//! impl Endpoint<i64, String> for Exchange {
//!     fn call(&mut self, order: &Delivery<i64>) -> Sent<String> {
//!         // Hand `order.external_id` to the exchange as the client order id.
//!         Sent::Confirmed(format!("bought {}", order.payload))
//!     }
//!
//!     fn probe(&mut self, _order: &Delivery<i64>) -> Probe<String> {
//!         Probe::Unknown // Ask the exchange by `external_id`.
//!     }
//! }
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("bot.milepost");
//! # let bars = [("2026-02-16", 598_10), ("2026-02-17", 601_25)];
//! let store = Store::open_or_create(&path)?;
//! let mut run = store.run::<Momentum>("spy-daily")?;
//! let relay = store.relay(&ORDERS);
//! for (index, (date, close)) in (0u64..).zip(bars) {
//!     run.step(date, index, |tx| {
//!         if close > tx.state.last_close {
//!             tx.state.holdings += 1;
//!             tx.emit(&ORDERS, &1)?;
//!         }
//!         tx.state.last_close = close;
//!         Ok(())
//!     })?;
//!     relay.deliver(&mut Exchange)?;
//! }
//! assert_eq!(run.state().holdings, 2);
//! # Ok::<(), milepost::Error>(())
//! ```
//!
//! Killed at any line and started again, it places each order once. The calls that look up what a
//! crash left behind are [`Store::recovery`] and [`Intents::outstanding`]; those that look after the
//! file are [`verify`], [`repair`] and [`Store::quarantine`].
//!
//! # Where to go from here
//!
//! - [`Run::step`]: inputs that must count once. [`Run::batch`] for many in one commit.
//! - [`Tx::emit`] and [`Relay`]: effects outside.
//! - [`Store::claim`]: any other call that must not be made twice.
//! - [`Versioned`] and [`Migrations`]: a state whose type changes. [`Store::inspect_run`]: a state
//!   whose type is not known.
//! - [`Checkpoints`]: states that are kept, named by what they hold. [`Tx::checkpoint`] and
//!   [`OpenRun::autosave`] save them, [`Retention`] says how many stay.
//! - [`Checkpoints::export`] and [`Store::import_savepoint`]: a state in a file of its own.
//!   [`Store::reconcile`]: what comes after setting a store back.
//! - [`Store::import_run`] and [`Store::export_run`]: runs from elsewhere, and back. The package
//!   `milepost-import` has four formats of files that a store replaces.
//! - [`Options`]: what a commit costs and survives. [`OnCopy`]: copies of the file, and backups.
//! - [`ErrorKind`]: what each error asks you to do.

// The floors, lowest first. Imports run downhill only: `tests/tidy.rs` reads the sources.
mod clock;
mod error;
mod id;
mod position;
mod seq;
mod topic;

mod record;

mod store;

mod ledger;

mod step;

mod exec;

mod ops;

#[cfg(feature = "testing")]
pub mod testing;

pub use clock::{Clock, ManualClock, SinceBoot, SystemClock, Timestamp};
pub use error::{Error, ErrorKind, OrAbort, Result};
pub use exec::{Delivery, DeliveryReport, Endpoint, OnUnknown, Probe, Problem, Relay, Sent};
pub use id::{CheckpointId, ExternalId, Fingerprint, IntentId, RunName, Scope, StoreId, TopicName};
pub use ledger::{AuditAction, AuditEntry, Key, RequestMatch, SettledBy, Versioned};
pub use ops::{
    DamagedRow, ImportedSavepoint, Quarantine, Quarantined, Repair, RepairOptions,
    SavepointOptions, TableCheck, Verification, repair, verify,
};
pub use position::{IntoPosition, Position};
pub use record::Codec;
pub use seq::{CommitSeq, Epoch, Incarnation};
pub use step::{
    Autosave, Batches, Checkpoint, CheckpointCursor, CheckpointDiff, CheckpointFilter,
    CheckpointImport, CheckpointPage, Checkpoints, Claim, Claimed, Done, Doubt, DoubtSummary,
    FellBack, FieldChange, Freed, Intent, IntentState, IntentSummary, Intents, Labels, Migrate,
    Migrated, Migrations, OnDamage, OpenRun, RecordView, Recovery, RetentionPlan, Rows, Run,
    RunExport, RunImport, RunSummary, RunView, Runs, Tx,
};
pub use store::{
    Compaction, Disk, Durability, Limits, MemoryDisk, OnCopy, Options, Pending, Reopen, Resolution,
    Retention, SettledRetention, Store, StoreSize, compact,
};
pub use topic::Topic;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/change-a-type.md")]
struct ChangeAType;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/what-a-state-may-hold.md")]
struct WhatAStateMayHold;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/look-at-a-state.md")]
struct LookAtAState;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/checkpoints.md")]
struct GuideToCheckpoints;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/savepoints.md")]
struct GuideToSavepoints;

#[cfg(doctest)]
#[doc = include_str!("../docs/guide/copies-and-backups.md")]
struct CopiesAndBackups;
