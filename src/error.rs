//! The one error of the crate: a kind that says what the caller has to *do*, a message that says what
//! happened, to which file and key, and what to do next, and the source beneath it. The message never
//! repeats the source: those who print a chain of errors would print it twice.
//!
//! Errors of the libraries underneath stay private: they are reachable as `source()` for printing,
//! never as a type to match on.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::seq::CommitSeq;

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller has to do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the call: an argument, a name, an order of calls. Nothing was written.
    Invalid,
    /// There is nothing under that name or id.
    NotFound,
    /// Something else is there already: another request under the key, another run of the name.
    Conflict,
    /// Another process holds the store. The message names it.
    Locked,
    /// The file at the path is no longer the one this handle opened: stop, somebody took over.
    Fenced,
    /// This process is a forked child of the one that opened the store: make the call in the parent,
    /// or drop the handle and open the store yourself once the parent has closed it. Nothing was
    /// read or written.
    Forked,
    /// This process is making the same call in another place: ask again when that one has ended.
    InFlight,
    /// An effect may or may not have happened: ask the receiver before doing it again.
    InDoubt,
    /// The store was rolled back, or lost records, and has not been reconciled since: find out at your
    /// receivers what was done, then call `Store::reconcile`. Nothing was sent, claimed or written.
    Unreconciled,
    /// The key is so old that it may have been seen and forgotten: find out whether it was done.
    BeyondHorizon,
    /// A commit failed after it may have reached the disk: reopen, then `Store::resolve`.
    Uncertain(CommitSeq),
    /// An earlier failure made this handle unusable: reopen the store.
    Poisoned,
    /// The file is not the store as it was left: another file, an older state, or none. Nothing was
    /// changed: put the right file there, or say what is meant, see `Options::on_copy`.
    OlderCopy,
    /// Stored bytes are not what was written: verify, then repair. Nothing was changed.
    Damaged,
    /// The record was written by another version or another type: migrate it.
    SchemaMismatch,
    /// The store or the record was written by a newer program: upgrade this one.
    TooNew,
    /// A key, a value or a step is larger than the options allow. Nothing was written.
    LimitExceeded,
    /// The disk is full. What failed is not on disk: free some room and reopen.
    NoSpace,
    /// The operating system refused: permissions, a missing folder, a failing disk.
    Io,
    /// The caller's own code refused: a step's closure, a state's `validate`, a migration. Nothing
    /// was written.
    Aborted,
}

/// Why a call failed. See [`Error::kind`] for what to do about it.
///
/// `{}` prints the message, which never repeats what [`source`](StdError::source) says; `{:#}` prints
/// the message and all sources in one line.
///
/// # Example: one line for the log
///
/// ```
/// use milepost::Error;
///
/// let error = Error::abort("the price feed is stale");
/// assert_eq!(error.to_string(), "the program's own code refused");
/// assert_eq!(
///     format!("{error:#}"),
///     "the program's own code refused: the price feed is stale"
/// );
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Turns your own errors into a refusal of the step, so that `?` works on them inside a closure.
///
/// # Example: your own error out of a closure, and back
///
/// ```
/// use milepost::{ErrorKind, OrAbort, Store, Versioned};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Sum(i64);
///
/// impl Versioned for Sum {
///     const NAME: &'static str = "sum";
///     const VERSION: u32 = 1;
/// }
///
/// let store = Store::in_memory()?;
/// let mut run = store.run::<Sum>("sum")?;
/// let refused = run
///     .step("line-1", 1, |tx| {
///         tx.state.0 += "twelve".parse::<i64>().or_abort()?;
///         Ok(())
///     })
///     .unwrap_err();
/// assert_eq!(refused.kind(), ErrorKind::Aborted);
/// assert!(refused.downcast_ref::<std::num::ParseIntError>().is_some());
/// assert_eq!(run.state().0, 0); // nothing was written
/// # Ok::<(), milepost::Error>(())
/// ```
pub trait OrAbort {
    /// What the call gives if it succeeds.
    type Value;

    /// The value, or an error of kind [`ErrorKind::Aborted`] with your error as its source:
    /// [`Error::downcast_ref`] gives it back. An [`Error`] of this crate stays as it is.
    ///
    /// # Errors
    /// `Aborted`.
    fn or_abort(self) -> Result<Self::Value>;
}

impl<T, E: StdError + Send + Sync + 'static> OrAbort for Result<T, E> {
    type Value = T;

    fn or_abort(self) -> Result<T> {
        self.map_err(|error| {
            let error: Box<dyn StdError + Send + Sync> = Box::new(error);
            error.downcast::<Error>().map_or_else(Error::abort, |error| *error)
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            let mut next = self.source();
            while let Some(source) = next {
                write!(f, ": {source}")?;
                next = source.source();
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Error {
    /// What the caller has to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later although neither the program nor an operator does
    /// anything about it.
    ///
    /// | kinds | |
    /// |---|---|
    /// | `Locked`, `InFlight` | yes: the other process, or the other call, may end |
    /// | `Io`, `NoSpace`, `Uncertain`, `Poisoned` | no: open the store again first |
    /// | `InDoubt`, `Unreconciled`, `BeyondHorizon` | no: find out what was done first |
    /// | `Aborted` | no: whether your own error passes, [`downcast_ref`](Error::downcast_ref) finds out |
    /// | all others | no: the call, the program or the file has to change |
    ///
    /// # Example: wait until the other process has ended
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("bot.milepost");
    /// use milepost::Store;
    /// use std::time::Duration;
    ///
    /// let store = loop {
    ///     match Store::open_or_create(&path) {
    ///         Err(error) if error.is_transient() => std::thread::sleep(Duration::from_millis(100)),
    ///         opened => break opened?,
    ///     }
    /// };
    /// # drop(store);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::Locked | ErrorKind::InFlight => true,
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::Fenced
            | ErrorKind::Forked
            | ErrorKind::InDoubt
            | ErrorKind::Unreconciled
            | ErrorKind::BeyondHorizon
            | ErrorKind::Uncertain(_)
            | ErrorKind::Poisoned
            | ErrorKind::OlderCopy
            | ErrorKind::Damaged
            | ErrorKind::SchemaMismatch
            | ErrorKind::TooNew
            | ErrorKind::LimitExceeded
            | ErrorKind::NoSpace
            | ErrorKind::Io
            | ErrorKind::Aborted => false,
        }
    }

    /// The first source of this type: your own error that [`or_abort`](OrAbort::or_abort) or
    /// [`Error::abort`] took in, or the `std::io::Error` beneath an `Io`.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next = self.source();
        while let Some(source) = next {
            if let Some(found) = source.downcast_ref() {
                return Some(found);
            }
            next = source.source();
        }
        None
    }

    /// Refuses the step from inside its closure: the call returns this error with kind
    /// [`ErrorKind::Aborted`], and nothing of the step is written. The reason is its source.
    /// [`OrAbort`] does it with errors of your own.
    ///
    /// ```
    /// let error = milepost::Error::abort("price feed is stale");
    /// assert_eq!(error.kind(), milepost::ErrorKind::Aborted);
    /// ```
    pub fn abort(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Aborted, "the program's own code refused").with_source(reason)
    }

    /// An error of this kind, for crates that add to Milepost: the message says what happened, to
    /// which file or key, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn damaged(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Damaged, message)
    }

    /// An I/O error under the kind that says what to do about it: `NoSpace`, `NotFound` or `Io`.
    /// `what` was done when it came.
    pub fn io(what: impl AsRef<str>, source: io::Error) -> Self {
        let what = what.as_ref();
        let (kind, hint) = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => {
                (ErrorKind::NoSpace, "the disk is full: free some room and try again")
            }
            io::ErrorKind::NotFound => (ErrorKind::NotFound, "it is not there"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::Io, "the folder and the file must be writable by this user")
            }
            _ => (ErrorKind::Io, "it failed"),
        };
        Self::new(kind, format!("{what}: {hint}")).with_source(source)
    }

    /// The same with what caused it, which [`source`](StdError::source) hands out.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `what` in front of the message, so that the error names the file or the key.
    #[must_use]
    pub fn context(mut self, what: impl AsRef<str>) -> Self {
        self.message = format!("{}: {}", what.as_ref(), self.message).into();
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_kind_and_says_what_to_do() {
        let error = Error::io("writing bot.mp", io::ErrorKind::StorageFull.into());
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().contains("free some room"), "{error}");
        assert!(error.to_string().starts_with("writing bot.mp"), "{error}");
    }

    /// Against: a chain of errors that prints the same text twice.
    #[test]
    fn no_message_repeats_its_source() {
        let kinds = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::Other,
        ];
        let of_kind = kinds.map(|kind| Error::io("writing bot.mp", kind.into()));
        // ENOENT, EIO, EACCES, ENOSPC, EROFS, as the operating system says them.
        let of_system = [2, 5, 13, 28, 30].map(|number| {
            Error::io("writing bot.mp", io::Error::from_raw_os_error(number))
                .context("in /var/lib/bot")
        });
        let ours = [
            Error::abort("the feed is stale"),
            Error::abort(io::Error::other("the feed is stale")),
            Err::<(), _>("x".parse::<u8>().unwrap_err()).or_abort().unwrap_err(),
        ];
        for error in of_kind.into_iter().chain(of_system).chain(ours) {
            let source = error.source().unwrap().to_string();
            assert!(!error.to_string().contains(&source), "{error} has {source}");
            assert!(format!("{error:#}").ends_with(&source), "{error:#} lacks {source}");
        }
    }

    /// Against: an error of the store inside a closure that becomes an abort, and loses its kind.
    #[test]
    fn an_error_of_ours_goes_through_or_abort_as_it_is() {
        let error = Err::<(), _>(Error::damaged("a row")).or_abort().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.source().is_none());
    }

    #[test]
    fn a_refusal_keeps_the_callers_own_error_as_its_source() {
        let error = Error::abort(io::Error::other("stale"));
        assert_eq!(error.kind(), ErrorKind::Aborted);
        assert_eq!(error.source().unwrap().to_string(), "stale");
    }
}
