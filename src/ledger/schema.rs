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

impl SchemaRecord {
    /// What stands in for one that was damaged, so that its number is not given to another type.
    pub(crate) fn lost(now: Timestamp) -> Self {
        Self { name: String::new(), version: 0, first_seen: now }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.name.is_empty() && self.version == 0
    }
}

pub(crate) fn schema_key(id: u32) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// Refuses a stored type that is not, name and version, the one the program asks for.
///
/// # Errors
/// `TooNew` if a newer program wrote it, `SchemaMismatch` if it is older or another type; `Damaged` if
/// nobody knows any more what it is.
pub(crate) fn check(stored: &SchemaRecord, name: &str, version: u32) -> Result<()> {
    if stored.is_lost() {
        return Err(Error::damaged(
            "the record that names the type of the state was damaged, and is in quarantine: restore a \
             copy of the store, or begin another run. Nothing was changed",
        ));
    }
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
