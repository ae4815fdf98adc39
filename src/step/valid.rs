//! States on their way from bytes and to them, and what their type says must always be true of them.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::unfit::{too_new, unstorable};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::Versioned;
use crate::record::{Chunked, Payload, Proof, Proven};
use crate::store::Read;

/// A stored value of this type, if it is what the type says it must be.
pub(super) fn read_valid<S: Versioned + DeserializeOwned>(stored: &Payload) -> Result<S> {
    let state = stored.value_or_refusal::<S>().map_err(|error| {
        if error.is_newer() {
            return too_new("it", &error);
        }
        Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "it was written as `{}` version {}, but does not read as that ({error}): raise \
                 `VERSION` when a type changes. Nothing was changed",
                S::NAME,
                S::VERSION
            ),
        )
    })?;
    check_valid(&state)?;
    Ok(state)
}

/// A state in bytes, and another one that was read from them, if it is what its type says it must be.
pub(super) fn write_valid<S>(rows: &impl Read, state: &S) -> Result<Proven<Payload, S>>
where
    S: Versioned + Serialize + DeserializeOwned,
{
    check_valid(state)?;
    let proven = Payload::in_codec(S::CODEC, state, 0).map_err(|error| unstorable(&error))?;
    rows.check_value(proven.bytes.bytes().len())?;
    Ok(proven)
}

/// [`write_valid`], of a state that was large `before`.
pub(super) fn cut_valid<S>(
    rows: &impl Read,
    state: &S,
    before: &Arc<Chunked>,
    proof: Proof,
) -> Result<Chunked>
where
    S: Versioned + Serialize + DeserializeOwned,
{
    check_valid(state)?;
    let chunked =
        Payload::cut(S::CODEC, state, before, proof).map_err(|error| unstorable(&error))?;
    rows.check_value(chunked.len())?;
    Ok(chunked)
}

pub(super) fn check_valid<S: Versioned>(state: &S) -> Result<()> {
    state.validate().map_err(|why| {
        Error::new(
            ErrorKind::Aborted,
            format!(
                "`{}` version {} says of its value: {why}. Nothing was written",
                S::NAME,
                S::VERSION
            ),
        )
    })
}
