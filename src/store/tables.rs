//! The tables, and what a record of the store's own has to say about itself.

use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One table of the file. The number is part of every row's checksum and never changes; 8 and 9 are
/// kept for tasks and breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    Meta = 0,
    Schemas = 1,
    Runs = 2,
    Checkpoints = 3,
    Contents = 4,
    Keys = 5,
    Expiry = 6,
    Intents = 7,
    Quarantine = 10,
    Rows = 11,
    Audit = 12,
}

/// The row of `meta` that every commit writes.
pub(crate) const META_HEAD: &[u8] = b"head";

impl Table {
    /// Every table, in the order in which a commit applies them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Meta,
        Self::Schemas,
        Self::Runs,
        Self::Checkpoints,
        Self::Contents,
        Self::Keys,
        Self::Expiry,
        Self::Intents,
        Self::Quarantine,
        Self::Rows,
        Self::Audit,
    ];

    pub(crate) const fn id(self) -> u8 {
        self as u8
    }

    /// Its place in [`Table::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Meta => 0,
            Self::Schemas => 1,
            Self::Runs => 2,
            Self::Checkpoints => 3,
            Self::Contents => 4,
            Self::Keys => 5,
            Self::Expiry => 6,
            Self::Intents => 7,
            Self::Quarantine => 8,
            Self::Rows => 9,
            Self::Audit => 10,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Schemas => "schemas",
            Self::Runs => "runs",
            Self::Checkpoints => "checkpoints",
            Self::Contents => "contents",
            Self::Keys => "keys",
            Self::Expiry => "expiry",
            Self::Intents => "intents",
            Self::Quarantine => "quarantine",
            Self::Rows => "rows",
            Self::Audit => "audit",
        }
    }

    pub(crate) fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.id() == id)
    }

    /// Keys and values are plain bytes in redb's eyes: its text and integer types panic on damage.
    pub(super) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// A record of the store's own: which table it stands in, and the version of its layout.
pub(crate) trait Record: Serialize + DeserializeOwned {
    const TABLE: Table;
    const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_found_by_its_number_and_stands_at_its_index() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), index);
            assert_eq!(Table::from_id(table.id()), Some(table));
        }
        assert_eq!(Table::from_id(8), None);
    }
}
