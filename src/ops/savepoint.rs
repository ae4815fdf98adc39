//! Savepoints as files: written once and verified, and read by any store.

mod json;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{CheckpointId, RunName};
use crate::record::{
    HEAD_BYTES_MAX, PREFIX_BYTES, Prefix, SavepointError, decode, encode, is_savepoint,
};
use crate::step::{Checkpoints, Import, Imported, Savepoint};
use crate::store::{Plug, Store, read_whole, write_new};

/// How a savepoint is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wording {
    Binary,
    Json,
}

impl Checkpoints {
    /// Writes a checkpoint into a file that stands by itself: state, position, steps, labels, the shape
    /// of its type, and where it comes from. The file is readable by its owner alone, and never takes
    /// the place of another one. When it returns, the file is durable, and what was read back from it
    /// is what was written. A crash before leaves no file of that name, or the whole of it; what may be
    /// left beside it, `<name>.exporting-…`, is safe to delete.
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum { seen: u64 }
    /// # impl milepost::Versioned for Momentum {
    /// #     const NAME: &'static str = "momentum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("before-the-upgrade.savepoint");
    /// # let store = milepost::Store::in_memory()?;
    /// # let mut run = store.run::<Momentum>("spy-daily")?;
    /// # run.step("bar-1", 1, |tx| Ok(tx.state.seen += 1))?;
    /// let checkpoints = store.checkpoints();
    /// let id = checkpoints.save("spy-daily", &milepost::Labels::new())?;
    /// checkpoints.export(&id, &path)?;
    ///
    /// let elsewhere = milepost::Store::in_memory()?;
    /// elsewhere.import_savepoint(&path, &milepost::SavepointOptions::new())?;
    /// assert_eq!(elsewhere.run::<Momentum>("spy-daily")?.state().seen, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such checkpoint or folder; `Conflict` if something has that name;
    /// `Damaged` if the checkpoint is not what was saved; `LimitExceeded`; `NoSpace` or `Io`, of a disk
    /// that gives back something else than was written, too; `Poisoned`.
    pub fn export(&self, id: &CheckpointId, path: impl AsRef<Path>) -> Result<()> {
        self.export_as(id, path.as_ref(), Wording::Binary, &mut |_| Ok(()))
    }

    /// [`export`](Checkpoints::export) as JSON, for people and other programs: see the guide
    /// `docs/guide/savepoints.md` for its form. [`Store::import_savepoint`] reads it back.
    ///
    /// # Errors
    /// Those of [`export`](Checkpoints::export); `Invalid` for a state that JSON cannot say (`None` and
    /// `Some(None)` are one word in it).
    pub fn export_json(&self, id: &CheckpointId, path: impl AsRef<Path>) -> Result<()> {
        self.export_as(id, path.as_ref(), Wording::Json, &mut |_| Ok(()))
    }

    pub(crate) fn export_as(
        &self,
        id: &CheckpointId,
        path: &Path,
        wording: Wording,
        plug: &mut Plug<'_>,
    ) -> Result<()> {
        write_new(path, &self.exported(id, wording)?, plug)
    }

    /// What its file holds.
    pub(crate) fn exported(&self, id: &CheckpointId, wording: Wording) -> Result<Vec<u8>> {
        let savepoint = self.savepoint(id)?;
        let written = match wording {
            Wording::Binary => binary(&savepoint),
            Wording::Json => json::text_of(&savepoint, self.state_limit()?).map(String::into_bytes),
        };
        written.map_err(|error| error.context(format!("exporting the checkpoint {id}")))
    }
}

fn binary(savepoint: &Savepoint) -> Result<Vec<u8>> {
    let head = encode(&savepoint.about).map_err(|error| Error::invalid(error.to_string()))?;
    if head.len() > HEAD_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "its position, its labels and its shape have {} bytes, and a savepoint has room for \
                 {HEAD_BYTES_MAX}. Nothing was written",
                head.len()
            ),
        ));
    }
    let prefix = Prefix::of(&head, &savepoint.state);
    Ok([prefix.bytes(), head.as_slice(), &savepoint.state].concat())
}

/// How [`Store::import_savepoint`] brings a savepoint in.
#[derive(Debug, Clone, Default)]
pub struct SavepointOptions {
    run: Option<String>,
    replace: bool,
    edited: bool,
}

impl SavepointOptions {
    /// As the run it was exported from, which must not be there; and only if the file is what was
    /// exported.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As the run of this name. To a new run no input has been seen, so that those behind the savepoint
    /// can be fed again.
    #[must_use]
    pub fn as_run(mut self, name: impl Into<String>) -> Self {
        self.run = Some(name.into());
        self
    }

    /// Sets a run that is there to the savepoint. The state it is in is kept, as a pinned checkpoint.
    /// Its keys and rows stay: an input that was seen stays seen, also one from behind the savepoint.
    #[must_use]
    pub fn replace(mut self) -> Self {
        self.replace = true;
        self
    }

    /// Takes a file in JSON that was edited on purpose, and gives it the id of what it holds now.
    #[must_use]
    pub fn edited(mut self) -> Self {
        self.edited = true;
        self
    }
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedSavepoint {
    /// The run that is in the state of the savepoint now.
    pub run: RunName,
    /// The id of that state; another one than the file says if the file was edited.
    pub id: CheckpointId,
    /// Whether anything was written: nothing is if the run was in that state already.
    pub changed: bool,
    /// The checkpoint that keeps the state which was replaced.
    pub kept: Option<CheckpointId>,
    /// Whether effects may have been sent that the state does not know. Then nothing is sent or claimed
    /// before [`Store::reconcile`] was called.
    pub must_reconcile: bool,
}

impl Store {
    /// Begins a run with the state, the position and the number of steps of a savepoint, binary or
    /// JSON, and keeps that among the run's checkpoints. The file is proven whole before anything is
    /// written. When it returns, all of it is durable; a crash leaves all of it or nothing. Doing it
    /// again, while the run has made no step, changes nothing.
    ///
    /// Whatever came after the savepoint is not in it. Unless it comes from this very store in this
    /// life of it, and its run has emitted no effect since, the commit that brings it in also begins
    /// another life of the store, with external ids of its own: then nothing is sent or claimed before
    /// [`Store::reconcile`] was called. Keys and rows are no part of a savepoint.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a file that is no savepoint, a bad name, or JSON that does not fit its
    /// shape, with the path of the field; `Damaged` if the file is not what was exported (for one that
    /// was edited on purpose see [`SavepointOptions::edited`]); `TooNew` if a newer program wrote it;
    /// `Conflict` if there is such a run, or it is open in this process; `SchemaMismatch` if this store
    /// has its type in another shape under the same version; `LimitExceeded` for a state over
    /// `Limits::value_bytes`; and those of a commit.
    pub fn import_savepoint(
        &self,
        path: impl AsRef<Path>,
        options: &SavepointOptions,
    ) -> Result<ImportedSavepoint> {
        let path = path.as_ref();
        let limit = self.checkpoints().state_limit()?;
        let file_limit = |first: &[u8]| match wording_of(first) {
            Wording::Binary => (PREFIX_BYTES + HEAD_BYTES_MAX + limit) as u64,
            Wording::Json => json::text_limit(limit) as u64,
        };
        let bytes = read_whole(path, file_limit)?;
        self.import_bytes(bytes, options).map_err(|error| error.context(path.display().to_string()))
    }

    pub(crate) fn import_bytes(
        &self,
        bytes: Vec<u8>,
        options: &SavepointOptions,
    ) -> Result<ImportedSavepoint> {
        let limit = self.checkpoints().state_limit()?;
        let (savepoint, edited) = match wording_of(&bytes) {
            Wording::Binary => (savepoint_in(bytes, limit)?, false),
            Wording::Json => json::savepoint_in(&bytes, limit, options.edited)?,
        };
        savepoint.check()?;
        let run = match &options.run {
            Some(name) => RunName::new(name)?,
            None => savepoint.about.run.clone(),
        };
        let id = savepoint.about.id;
        let import =
            Import { savepoint: &savepoint, run: run.clone(), replace: options.replace, edited };
        Ok(match import.commit(self)? {
            Imported::Same => {
                ImportedSavepoint { run, id, changed: false, kept: None, must_reconcile: false }
            }
            Imported::Set { kept, unreconciled } => {
                ImportedSavepoint { run, id, changed: true, kept, must_reconcile: unreconciled }
            }
        })
    }
}

/// What a file that begins so wants to be: JSON begins with a brace, and the rest is held against the
/// checksum.
fn wording_of(first: &[u8]) -> Wording {
    if !is_savepoint(first) && first.trim_ascii_start().starts_with(b"{") {
        Wording::Json
    } else {
        Wording::Binary
    }
}

/// The savepoint in the bytes of a binary file.
fn savepoint_in(mut bytes: Vec<u8>, limit: usize) -> Result<Savepoint> {
    if !is_savepoint(&bytes) {
        return Err(Error::invalid(
            "this is no savepoint: it begins with other bytes. Nothing was changed",
        ));
    }
    let len = bytes.len() as u64;
    let Some(first) = bytes.first_chunk::<PREFIX_BYTES>() else {
        return Err(refused(SavepointError::Short(len)));
    };
    let prefix = Prefix::read(*first, len, limit).map_err(refused)?;
    let state_at = PREFIX_BYTES + prefix.head_len;
    let (front, state) =
        bytes.split_at_checked(state_at).expect("the prefix says the length of the whole file");
    let (_, head) = front.split_at(PREFIX_BYTES);
    prefix.check(head, state).map_err(refused)?;
    let about = decode(head).map_err(|error| {
        Error::damaged(format!("its head cannot be read: {error}. Nothing was changed"))
    })?;
    bytes.drain(..state_at);
    Ok(Savepoint { about, state: bytes })
}

fn refused(error: SavepointError) -> Error {
    let (kind, next) = match error {
        SavepointError::Long { .. } => (ErrorKind::LimitExceeded, "raise `Limits::value_bytes`"),
        SavepointError::Newer(_) => (ErrorKind::TooNew, "upgrade this program"),
        _ => (ErrorKind::Damaged, "take another copy of it"),
    };
    Error::new(kind, format!("the savepoint cannot be read: {error}; {next}. Nothing was changed"))
}

impl fmt::Display for ImportedSavepoint {
    /// For people: what was done, and what is to be done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.changed, self.must_reconcile) {
            (false, _) => write!(f, "{} is in the state {} already", self.run, self.id),
            (true, false) => write!(f, "{} is in the state {} now", self.run, self.id),
            (true, true) => {
                write!(f, "{} is in the state {} now; reconcile the store", self.run, self.id)
            }
        }
    }
}
