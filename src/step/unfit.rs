//! Values that cannot be written, and bytes that cannot be read, as errors.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::record::{DecodeError, EncodeError, Payload};

pub(super) fn unstorable(error: &EncodeError) -> Error {
    Error::invalid(format!("{error}. Nothing was written"))
}

/// A stored value as the type that its schema says.
pub(super) fn typed<T: Serialize + DeserializeOwned>(
    payload: &Payload,
    what: impl FnOnce() -> String,
) -> Result<T> {
    payload.value_of_type().map_err(|error| {
        if error.is_newer() {
            return too_new(&what(), &error);
        }
        Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "{} was written as another type: {error}. Read it as that one; nothing was changed",
                what()
            ),
        )
    })
}

/// A stored value that only a newer program can read.
pub(super) fn too_new(what: &str, error: &DecodeError) -> Error {
    Error::new(
        ErrorKind::TooNew,
        format!(
            "{what} was written by a newer program: {error}. Upgrade this one; nothing was changed"
        ),
    )
}
