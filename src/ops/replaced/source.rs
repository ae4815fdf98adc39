//! Files of a replaced program: read whole and never changed; and written, for it to read again.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::check::Wrong;
use super::json::Json;
use super::parse::{Fault, byte_of, parse};
use crate::error::{Error, ErrorKind, Result};
use crate::store;

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
            return Err(Error::invalid(format!(
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
    Error::new(kind, format!("reading {}: {error}", path.display())).with_source(error)
}

/// Writes a new file, whole or not at all, and never in the place of another.
///
/// # Errors
/// `Conflict` if something stands there; `Io`, `NoSpace` or `NotFound`.
pub(super) fn write_new(path: &Path, text: &str) -> Result<()> {
    store::write_new(path, text.as_bytes(), &mut |_| Ok(()))
}
