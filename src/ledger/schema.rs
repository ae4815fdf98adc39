//! Schemas: the name and version under which a type is stored.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::{Record, Table};

/// One version of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SchemaRecord {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) first_seen: Timestamp,
}

impl Record for SchemaRecord {
    const TABLE: Table = Table::Schemas;
}

pub(crate) fn schema_key(id: u32) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// Refuses a stored type that is not, name and version, the one the program asks for.
///
/// # Errors
/// `TooNew` if a newer program wrote it, `SchemaMismatch` if it is older or another type.
pub(crate) fn check(stored: &SchemaRecord, name: &str, version: u32) -> Result<()> {
    if stored.name != name {
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "the state was written as `{}`, this program asks for `{name}`: open it as the \
                 type it is, or use another run. Nothing was changed",
                stored.name
            ),
        ));
    }
    match stored.version.cmp(&version) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "the state was written as `{name}` version {}, this program has version \
                 {version}: migrate it. Nothing was changed",
                stored.version
            ),
        )),
        std::cmp::Ordering::Greater => Err(Error::new(
            ErrorKind::TooNew,
            format!(
                "the state was written as `{name}` version {}, this program has only version \
                 {version}: upgrade the program. Nothing was changed",
                stored.version
            ),
        )),
    }
}
