//! Files of a replaced program: read whole and never changed; and written, for it to read again.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use milepost::{Error, ErrorKind, Result};

use crate::check::Wrong;
use crate::error::invalid;
use crate::json::Json;
use crate::parse::{Fault, byte_of, parse};

/// The longest document, in bytes.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// A file, as it was read.
pub(super) struct Source {
    path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl Source {
    /// Reads a regular file of at most so many bytes.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a symlink, a folder or any other thing that is no file;
    /// `LimitExceeded`; `Io`.
    pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Self> {
        let name = path.display();
        let metadata = fs::symlink_metadata(path).map_err(|error| unread(path, error))?;
        if !metadata.is_file() {
            return Err(invalid(format!(
                "{name} is no regular file: name the file itself, not a folder, a link or a device"
            )));
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|error| unread(path, error))?;
        if bytes.len() as u64 > bytes_max {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!(
                    "{name} has more than {bytes_max} bytes, and no more are read: is it the right \
                     file? Nothing of it was imported"
                ),
            ));
        }
        Ok(Self { path: path.to_path_buf(), bytes })
    }

    pub(super) fn json(&self) -> Result<Json> {
        parse(&self.bytes, None).map_err(|fault| self.damaged(&fault))
    }

    /// An error that names this file, the byte and the field.
    pub(super) fn damaged(&self, fault: &Fault) -> Error {
        self.refused(ErrorKind::Damaged, fault)
    }

    fn refused(&self, kind: ErrorKind, fault: &Fault) -> Error {
        let advice = match kind {
            ErrorKind::TooNew => "upgrade this program",
            ErrorKind::SchemaMismatch => "have the old program's newest release write it once more",
            _ => "restore it, or mend a copy",
        };
        let message = format!(
            "{}: {fault}. The file was left as it is, and nothing of it was imported: {advice}",
            self.path.display()
        );
        Error::new(kind, message)
    }

    /// The same for what is JSON, and not what it should be.
    pub(super) fn wrong(&self, wrong: Wrong) -> Error {
        let Wrong { kind, path, why } = wrong;
        let byte = byte_of(&self.bytes, &path);
        self.refused(kind, &Fault { byte, path, why })
    }
}

fn unread(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("reading {}: it failed", path.display())).with_source(error)
}

/// Writes a new file, readable by its owner alone, and never in the place of another. When it
/// returns, the file and its name are durable; a crash before leaves no file of that name or all of
/// it, and at most a `.<name>.exporting-…`, which is safe to delete.
///
/// # Errors
/// `Conflict` if something has that name; `Io`, `NoSpace` or `NotFound`.
pub(super) fn write_new(path: &Path, text: &str) -> Result<()> {
    let of_file = |what: &str, error| Error::io(format!("{what} {}", path.display()), error);
    let taken = |error: io::Error| {
        let message = format!("{} exists already: choose another name", path.display());
        Error::new(ErrorKind::Conflict, message).with_source(error)
    };
    if fs::symlink_metadata(path).is_ok() {
        return Err(taken(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}.exporting-"))
        .tempfile_in(folder)
        .map_err(|error| of_file("making a file beside", error))?;
    file.write_all(text.as_bytes()).map_err(|error| of_file("writing", error))?;
    file.as_file().sync_all().map_err(|error| of_file("flushing", error))?;
    file.rewind().map_err(|error| of_file("reading back", error))?;
    let mut read = Vec::with_capacity(text.len());
    file.read_to_end(&mut read).map_err(|error| of_file("reading back", error))?;
    if read != text.as_bytes() {
        let message = format!(
            "what is read back from {} is not what was written: the disk or the memory of this \
             machine is failing. The file was removed",
            path.display()
        );
        return Err(Error::new(ErrorKind::Io, message));
    }
    file.persist_noclobber(path).map_err(|persist| match persist.error.kind() {
        io::ErrorKind::AlreadyExists => taken(persist.error),
        _ => of_file("naming", persist.error),
    })?;
    sync_folder(folder).map_err(|error| {
        let what = "complete, but its name may not outlive a power cut";
        of_file("flushing the folder of", error).context(format!("{} is {what}", path.display()))
    })
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a name is durable with its file.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
