//! The one error of the crate: a kind that tells the caller what to *do*, a message that says what
//! happened, to which file and key, and what to do next, and the source beneath it.
//!
//! Errors of the libraries underneath stay private: they are reachable as `source()` for printing,
//! never as a type to match on.

use std::borrow::Cow;
use std::error::Error as StdError;
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
    /// An effect may or may not have happened: ask the receiver before doing it again.
    InDoubt,
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
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// What the caller has to do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Refuses the step from inside its closure: the call returns this error with kind
    /// [`ErrorKind::Aborted`], and nothing of the step is written.
    ///
    /// ```
    /// let error = milepost::Error::abort("price feed is stale");
    /// assert_eq!(error.kind(), milepost::ErrorKind::Aborted);
    /// ```
    pub fn abort(reason: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = reason.into();
        Self {
            kind: ErrorKind::Aborted,
            message: format!("the step was refused by its own closure: {source}").into(),
            source: Some(source),
        }
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
            | io::ErrorKind::FileTooLarge => (ErrorKind::NoSpace, ": free some room and try again"),
            io::ErrorKind::NotFound => (ErrorKind::NotFound, ""),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                (ErrorKind::Io, ": the folder and the file must be writable by this user")
            }
            _ => (ErrorKind::Io, ""),
        };
        Self::new(kind, format!("{what}: {source}{hint}")).with_source(source)
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

    #[test]
    fn a_refusal_keeps_the_callers_own_error_as_its_source() {
        let error = Error::abort(io::Error::other("stale"));
        assert_eq!(error.kind(), ErrorKind::Aborted);
        assert_eq!(error.source().unwrap().to_string(), "stale");
    }
}
