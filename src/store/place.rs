//! Where a file is: which one it is, beyond its name, and how ours are opened.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::hold::Hold;
use super::system::flush_folder;
use crate::error::{Error, ErrorKind, Result};

/// Which file this is: device and number. A file that was unlinked and made anew has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64, u64);

impl Place {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere an open file cannot be unlinked or renamed over, so one place is enough.
    #[cfg(not(unix))]
    fn of(_metadata: &Metadata) -> Self {
        Self(0, 0)
    }

    pub(super) fn of_file(file: &File) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| Error::io("looking at a file", error))?;
        Ok(Self::of(&metadata))
    }

    /// What stands at the path now, symlinks not followed.
    pub(super) fn at(path: &Path) -> Result<Self> {
        Self::look(path).map_err(|error| Error::io(format!("looking at {}", path.display()), error))
    }

    /// Asks for the file's number and nothing else. Whoever asks for its times makes the kernel
    /// write them anew with the next write: one more block for each commit, and a fifth of its time.
    #[cfg(target_os = "linux")]
    fn look(path: &Path) -> io::Result<Self> {
        use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
        match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO) {
            Ok(seen) => Ok(Self(makedev(seen.stx_dev_major, seen.stx_dev_minor), seen.stx_ino)),
            Err(rustix::io::Errno::NOSYS) => fs::symlink_metadata(path).map(|seen| Self::of(&seen)),
            Err(errno) => Err(errno.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn look(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(|seen| Self::of(&seen))
    }

    pub(super) fn refuse_symlink(path: &Path) -> Result<()> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => Err(Error::invalid(format!(
                "{} is a symlink: name the file it points to",
                path.display()
            ))),
            _ => Ok(()),
        }
    }
}

/// A file that only its owner can read and write.
#[cfg(unix)]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// The file of an open store, to be asked before every commit whether it is still there.
#[derive(Debug)]
pub(super) struct Anchor {
    path: PathBuf,
    place: Place,
    /// Released when the store is closed.
    _hold: Option<Hold>,
}

impl Anchor {
    pub(super) fn new(path: &Path, file: &File) -> Result<Self> {
        // Absolute: the program may change its working directory.
        let path = std::path::absolute(path)
            .map_err(|error| Error::io(format!("resolving {}", path.display()), error))?;
        Ok(Self { path, place: Place::of_file(file)?, _hold: None })
    }

    /// The same with the lock on the file.
    pub(super) fn with(self, hold: Option<Hold>) -> Self {
        Self { _hold: hold, ..self }
    }

    /// Refuses when the path no longer leads to the file that this handle writes: a commit would
    /// go into a file that nobody will open again, or somebody else has taken over.
    pub(super) fn check(&self) -> Result<()> {
        let fenced = |why: String| {
            Error::new(
                ErrorKind::Fenced,
                format!(
                    "{} {why} while this store was open. Nothing more is written; stop this \
                     process, and reconcile before another one sends anything",
                    self.path.display()
                ),
            )
        };
        match Place::look(&self.path) {
            Ok(place) if place == self.place => Ok(()),
            Ok(_) => Err(fenced("was replaced by another file".into())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(fenced("was removed or renamed".into()))
            }
            // A disk that fails says nothing about another writer.
            Err(error) => Err(Error::io(
                format!("looking for {} before a commit", self.path.display()),
                error,
            )),
        }
    }
}

/// Opens an existing store file: a regular file, not empty, not through a symlink, and the one that
/// was looked at.
pub(super) fn open_existing(path: &Path, write: bool) -> Result<File> {
    let name = path.display();
    let metadata = fs::symlink_metadata(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            let message = format!("there is no store at {name}: check the path, or create it");
            return Error::new(ErrorKind::NotFound, message).with_source(error);
        }
        Error::io(format!("looking at {name}"), error)
    })?;
    Place::refuse_symlink(path)?;
    if metadata.is_dir() {
        return Err(Error::invalid(format!("{name} is a folder: a store is one file in it")));
    }
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{name} is not a regular file")));
    }
    if metadata.len() == 0 {
        return Err(Error::invalid(format!(
            "{name} is empty, and a store never is: check the path; if it was a store, restore it \
             from a copy"
        )));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .open(path)
        .map_err(|error| Error::io(format!("opening {name}"), error))?;
    if Place::of_file(&file)? != Place::of(&metadata) {
        return Err(Error::invalid(format!("{name} was replaced while it was being opened")));
    }
    Ok(file)
}

/// Makes a new name in a folder durable.
pub(super) fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Elsewhere a folder cannot be opened as a file, and renames are durable in order.
    if cfg!(unix) {
        flush_folder(folder).map_err(|error| {
            Error::io(format!("flushing the folder {}", folder.display()), error)
        })?;
    }
    Ok(())
}
