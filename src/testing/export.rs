//! Savepoints whose file cannot be written, and savepoints that are only bytes.

use std::io::{self, Write};
use std::path::Path;

use super::fault::{Call, Counts, Effect, Fault};
use crate::error::Result;
use crate::id::CheckpointId;
use crate::ledger::Form;
use crate::ops::{ImportedSavepoint, SavepointOptions, Wording};
use crate::record::{PREFIX_BYTES, Prefix, decode, encode};
use crate::step::{About, Checkpoints};
use crate::store::{FileCall, Store};

/// What became of an export under a fault.
#[derive(Debug)]
pub struct FaultyExport {
    /// What the caller was told.
    pub told: Result<()>,
    /// How many calls of the fault's kind there were, the one that failed among them; without a fault,
    /// how many changes.
    pub calls: u64,
}

/// Exports a checkpoint, as JSON or not, while a call of the file system fails: making, naming and
/// removing a file counts as [`Call::Resize`], flushing it or its folder as [`Call::Sync`]. A fault
/// that stays is a kill: nothing is done from there on, and nothing is tidied up.
#[must_use]
pub fn export_with_fault(
    checkpoints: &Checkpoints,
    id: &CheckpointId,
    path: &Path,
    json: bool,
    fault: Option<Fault>,
) -> FaultyExport {
    let mut counts = Counts::default();
    let mut plug = |call: FileCall<'_>| {
        let kind = match call {
            FileCall::Name => Call::Resize,
            FileCall::Write(..) => Call::Write,
            FileCall::Sync => Call::Sync,
            FileCall::Read => Call::Read,
        };
        let counts = counts.add(kind);
        let Some((effect, error)) = fault.and_then(|fault| fault.hit(kind, counts)) else {
            return Ok(());
        };
        if let (FileCall::Write(mut file, bytes), Effect::Half | Effect::All) = (call, effect) {
            let kept = if effect == Effect::All { bytes.len() } else { bytes.len() / 2 };
            file.write_all(bytes.get(..kept).unwrap_or(bytes))?;
        }
        Err::<(), io::Error>(error)
    };
    let wording = if json { Wording::Json } else { Wording::Binary };
    let told = checkpoints.export_as(id, path, wording, &mut plug);
    let kind = fault.map_or(Call::Change, |fault| fault.call);
    FaultyExport { told, calls: counts.of(kind) }
}

/// The bytes of a savepoint's file, which is not written.
///
/// # Errors
/// Those of [`Checkpoints::export`] before it writes.
pub fn savepoint_bytes(
    checkpoints: &Checkpoints,
    id: &CheckpointId,
    json: bool,
) -> Result<Vec<u8>> {
    checkpoints.exported(id, if json { Wording::Json } else { Wording::Binary })
}

/// The bytes of a binary savepoint with lengths, ids and checksums that hold, whatever was done to the
/// rest: what nobody but a forger writes. Bytes that are too short for it, or whose head cannot be
/// read, come back as they are.
#[must_use]
pub fn reseal_savepoint(bytes: &[u8]) -> Vec<u8> {
    resealed(bytes).unwrap_or_else(|| bytes.to_vec())
}

fn resealed(bytes: &[u8]) -> Option<Vec<u8>> {
    const HEAD_LEN_AT: usize = 12;
    let (front, rest) = bytes.split_at_checked(PREFIX_BYTES)?;
    let said = front.get(HEAD_LEN_AT..)?.first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*said)).ok()?.min(rest.len());
    let (head, state) = rest.split_at_checked(len)?;
    let mut about: About = decode(head).ok()?;
    about.id = about.id_of(state);
    if let Form::Shape { fingerprint, shape } = &mut about.form {
        *fingerprint = shape.fingerprint();
    }
    let head = encode(&about).ok()?;
    Some([Prefix::of(&head, state).bytes(), head.as_slice(), state].concat())
}

/// [`Store::import_savepoint`] of a file with these bytes.
///
/// # Errors
/// Those of [`Store::import_savepoint`].
pub fn import_savepoint_bytes(
    store: &Store,
    bytes: &[u8],
    options: &SavepointOptions,
) -> Result<ImportedSavepoint> {
    store.import_bytes(bytes.to_vec(), options)
}
