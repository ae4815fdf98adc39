//! Looking after a store: is it whole, what is wrong with it, and how it is put right; and what comes
//! into it from the files it replaces, and goes back.

mod check;
mod quarantine;
mod references;
mod repair;
mod replaced;
mod salvage;
mod savepoint;
mod stand_in;
mod verify;

pub use quarantine::{Quarantine, Quarantined};
pub use repair::{Repair, RepairOptions, repair};
pub use replaced::{
    CutShort, Imported, Json, Phases, Registry, RegistryState, RunFolder, TaskGraph,
};
#[cfg(feature = "testing")]
pub(crate) use savepoint::Wording;
pub use savepoint::{ImportedSavepoint, SavepointOptions};
pub use verify::{DamagedRow, TableCheck, Verification, verify};
