//! What redb says when something is wrong, its panics included, as errors of ours.

use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Database;

use super::owner::Owner;
use crate::error::{Error, ErrorKind, Result};

/// redb's database, let go of behind a shield: its destructor commits, and panics on damaged pages
/// and wherever redb has panicked before.
pub(super) struct Db {
    db: Option<Database>,
    owner: Owner,
}

impl Db {
    pub(super) fn new(db: Database) -> Self {
        Self { db: Some(db), owner: Owner::this() }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let db = self.db.take();
        if !self.owner.is_here() {
            // Its destructor would write into the file of the process that this one was forked from.
            std::mem::forget(db);
            return;
        }
        let _ = catch_unwind(AssertUnwindSafe(move || drop(db)));
    }
}

impl Deref for Db {
    type Target = Database;

    fn deref(&self) -> &Database {
        match &self.db {
            Some(db) => db,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

impl DerefMut for Db {
    fn deref_mut(&mut self) -> &mut Database {
        match &mut self.db {
            Some(db) => db,
            None => unreachable!("it is there until it is dropped"),
        }
    }
}

/// redb's errors, under the kind that says what to do.
pub(super) fn storage_error(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::damaged(format!(
                "the store's file points past its own end ({error}): close the store, run \
                 `verify` on it, then `repair`"
            ))
        }
        redb::Error::Io(error) => Error::io("the store's file", error),
        error @ (redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }) => Error::damaged(
            "the store's file is damaged: close the store, run `verify` on it, then `repair`",
        )
        .with_source(error),
        error @ redb::Error::DatabaseAlreadyOpen => {
            Error::new(ErrorKind::Locked, format!("the store is open in another place: {error}"))
        }
        error @ redb::Error::UpgradeRequired(_) => Error::new(
            ErrorKind::Invalid,
            format!("the file was written by an older storage engine: {error}"),
        ),
        error @ redb::Error::ValueTooLarge(_) => {
            Error::new(ErrorKind::LimitExceeded, error.to_string())
        }
        error @ redb::Error::PreviousIo => Error::new(
            ErrorKind::Poisoned,
            format!("an earlier read or write of the file failed: open the store again ({error})"),
        ),
        error @ redb::Error::DatabaseClosed => {
            Error::invalid(format!("the store was closed: {error}"))
        }
        error => Error::io("the storage engine", io::Error::other(error)),
    }
}

/// Runs what may panic inside redb on damaged bytes, and returns the panic as damage. It may be a bug
/// as well, of redb or of this crate, which nothing can tell from here.
pub(super) fn shielded<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::damaged(format!(
            "the storage engine could not {what}: the file is damaged, or this is a bug ({why}). \
             Close the store and run `verify` on it: if it finds damage, run `repair`; if not, \
             report the bug with this message"
        )))
    })
}
