//! Files beside the store: written once, whole or not at all, and read whole.
//!
//! A new file is written under a name of its own, flushed, read back, and only then given its name,
//! which must be free. A crash before that leaves `<name>.exporting-<process>-<count>`, which is safe
//! to delete; nobody else ever takes such a file for his own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::lock::beside;
use super::place::{private, sync_folder_of};
use crate::error::{Error, ErrorKind, Result};

/// A call of the operating system that writing a new file takes.
pub(crate) enum FileCall<'a> {
    /// Makes the file, gives it its name, or takes the other name away.
    Name,
    /// Writes these bytes behind the others.
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "a test may write half"))]
    Write(&'a File, &'a [u8]),
    /// Flushes the file, or its folder.
    Sync,
    /// Reads it back.
    Read,
}

/// Asked before each call: an error takes the place of the call. Tests make calls fail with it.
pub(crate) type Plug<'p> = dyn FnMut(FileCall<'_>) -> io::Result<()> + 'p;

const PIECE_BYTES: usize = 1 << 20;

/// Writes a file that nobody has yet, readable by its owner alone. When it returns, the file, its name
/// and its content are durable; whatever ends it before leaves no file of that name, or the whole of
/// it.
///
/// # Errors
/// `Conflict` if something has that name; `Io` if what is read back is not what was written; `NotFound`
/// if there is no such folder, `NoSpace` or `Io` if it cannot be written.
pub(crate) fn write_new(path: &Path, bytes: &[u8], plug: &mut Plug<'_>) -> Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(not_named(path, io::ErrorKind::AlreadyExists.into()));
    }
    let (building, file) = create_beside(path, plug)?;
    let named = fill(&building, file, bytes, plug).and_then(|()| {
        plug(FileCall::Name)
            .and_then(|()| rename_new(&building, path))
            .map_err(|error| not_named(path, error))
    });
    if named.is_err() {
        let _ = plug(FileCall::Name).and_then(|()| fs::remove_file(&building));
    }
    named?;
    plug(FileCall::Sync)
        .map_err(|error| Error::io("flushing the folder", error))
        .and_then(|()| sync_folder_of(path))
        .map_err(|error| {
            error.context(format!(
                "{} is whole, but its name may not outlive a power cut",
                path.display()
            ))
        })
}

fn not_named(path: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let message = format!("{} exists already: choose another name", path.display());
        return Error::new(ErrorKind::Conflict, message).with_source(error);
    }
    Error::io(format!("naming {}", path.display()), error)
}

/// A file under a name that no other process, and no other call of this one, takes.
fn create_beside(path: &Path, plug: &mut Plug<'_>) -> Result<(PathBuf, File)> {
    for count in 0u64.. {
        let building = beside(path, &format!("exporting-{}-{count}", std::process::id()));
        let created = plug(FileCall::Name).and_then(|()| {
            private(OpenOptions::new().read(true).write(true).create_new(true)).open(&building)
        });
        match created {
            Ok(file) => return Ok((building, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Error::io(format!("creating {}", building.display()), error));
            }
        }
    }
    Err(Error::invalid("every name for a new file is taken"))
}

/// Writes, flushes, and reads back.
fn fill(path: &Path, mut file: File, bytes: &[u8], plug: &mut Plug<'_>) -> Result<()> {
    let io = |what: &str, error| Error::io(format!("{what} {}", path.display()), error);
    for piece in bytes.chunks(PIECE_BYTES) {
        plug(FileCall::Write(&file, piece))
            .and_then(|()| file.write_all(piece))
            .map_err(|error| io("writing", error))?;
    }
    plug(FileCall::Sync).and_then(|()| file.sync_all()).map_err(|error| io("flushing", error))?;
    forget_cached(&file);
    file.rewind().map_err(|error| io("reading back", error))?;
    let mut read = vec![0; PIECE_BYTES];
    for piece in bytes.chunks(PIECE_BYTES) {
        let (read, _) = read.split_at_mut(piece.len());
        plug(FileCall::Read)
            .and_then(|()| file.read_exact(read))
            .map_err(|error| io("reading back", error))?;
        if read != piece {
            return Err(Error::new(
                ErrorKind::Io,
                format!(
                    "what is read back from {} is not what was written: the disk or the memory of \
                     this machine is failing. The file was removed",
                    path.display()
                ),
            ));
        }
    }
    Ok(())
}

/// So that what is read back comes from the disk, where the system lets us ask for that.
#[cfg(target_os = "linux")]
fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn forget_cached(_file: &File) {}

/// Gives a file its name, if nothing has that name.
fn rename_new(building: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(building, path) {
        Ok(()) => {
            // The name that is left over is safe to delete; only that it is there would be untidy.
            let _ = fs::remove_file(building);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => without_links(building, path).map_err(|_| error),
    }
}

/// For file systems that have no hard links.
#[cfg(target_os = "linux")]
fn without_links(building: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, building, CWD, path, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn without_links(_building: &Path, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The bytes of a file that is no longer than `limit_of` its first bytes says.
///
/// # Errors
/// `NotFound`; `Invalid` for what is no regular file; `LimitExceeded`, before anything of it is in
/// memory; `Io`.
pub(crate) fn read_whole(path: &Path, limit_of: impl Fn(&[u8]) -> u64) -> Result<Vec<u8>> {
    let io = |error| Error::io(format!("reading {}", path.display()), error);
    // A pipe would be waited for, for ever.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::invalid(format!("{} is not a regular file", path.display())));
    }
    let mut file = File::open(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    let mut first = Vec::new();
    (&file).take(16).read_to_end(&mut first).map_err(io)?;
    let limit = limit_of(&first);
    if len > limit {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "{} has {len} bytes, more than the limit of {limit}: raise `Limits::value_bytes` to \
                 read it",
                path.display()
            ),
        ));
    }
    file.rewind().map_err(io)?;
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}
