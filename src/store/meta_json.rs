//! The rows of `meta` as JSON, for programs that look into a store.

use serde::Serialize;

use super::head::{Head, Identity, META_IDENTITY, META_UNCLEAN, Unclean};
use super::origin::{META_ORIGIN, Origin};
use super::snapshot::{Read, misplaced};
use super::tables::{META_HEAD, Record, Table};
use super::unreconciled::{META_UNRECONCILED, Unreconciled};
use crate::error::{Error, Result};

/// A row of `meta` as JSON.
///
/// # Errors
/// Those of reading a record; `Damaged` for a key that no row of `meta` has.
pub(crate) fn meta_json(rows: &impl Read, key: &[u8], bytes: &[u8]) -> Result<String> {
    match key {
        META_HEAD => json_of::<Head>(rows, key, bytes),
        META_IDENTITY => json_of::<Identity>(rows, key, bytes),
        META_ORIGIN => json_of::<Origin>(rows, key, bytes),
        META_UNRECONCILED => json_of::<Unreconciled>(rows, key, bytes),
        _ if key.starts_with(META_UNCLEAN) => json_of::<Unclean>(rows, key, bytes),
        _ => Err(misplaced(Table::Meta, key)),
    }
}

fn json_of<T: Record + Serialize>(rows: &impl Read, key: &[u8], bytes: &[u8]) -> Result<String> {
    serde_json::to_string(&rows.parse::<T>(key, bytes)?)
        .map_err(|error| Error::invalid("a record cannot be shown as JSON").with_source(error))
}
