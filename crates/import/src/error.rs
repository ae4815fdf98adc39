//! Errors of this crate are the library's own.

use milepost::{Error, ErrorKind};

/// What is wrong with what a caller handed in.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message.into())
}
