//! Looking after a store: is it whole, what is wrong with it, and how it is put right.

mod check;
mod quarantine;
mod references;
mod repair;
mod salvage;
mod savepoint;
mod stand_in;
mod verify;

pub use quarantine::{Quarantine, Quarantined};
pub use repair::{Repair, RepairOptions, repair};
#[cfg(feature = "testing")]
pub(crate) use savepoint::Wording;
pub use savepoint::{ImportedSavepoint, SavepointOptions};
pub use verify::{DamagedRow, TableCheck, Verification, verify};
