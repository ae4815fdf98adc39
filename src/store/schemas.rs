//! What this process has found out about the schemas of an open store, so that a step does not read
//! them again: in memory only, and only of schemas that are durable. A plan that was refused and a
//! commit that failed leave nothing here.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Default)]
pub(crate) struct Schemas {
    /// The schema that values of a type are written under: by kind and type, and then by name.
    written: RwLock<HashMap<(u8, TypeId), BTreeMap<String, u32>>>,
    /// The schemas whose values are read as a type without a migration.
    read: RwLock<HashSet<(u32, TypeId)>>,
    /// How values of older versions become newer ones, if the options say so: of a type that the floor
    /// above knows.
    migrations: Option<Arc<dyn Any + Send + Sync>>,
}

impl Schemas {
    pub(super) fn new(migrations: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { migrations, ..Self::default() }
    }

    pub(crate) fn migrations<M: Any>(&self) -> Option<&M> {
        self.migrations.as_ref().and_then(|migrations| migrations.downcast_ref())
    }

    /// The schema that values of this type are written under.
    pub(crate) fn written(&self, kind: u8, of: TypeId, name: &str) -> Option<u32> {
        let known = self.written.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(kind, of))?.get(name).copied()
    }

    /// Notes down a schema that is durable.
    pub(crate) fn note_written(&self, kind: u8, of: TypeId, name: &str, schema: u32) {
        let mut known = self.written.write().unwrap_or_else(PoisonError::into_inner);
        known.entry((kind, of)).or_default().insert(name.to_owned(), schema);
    }

    /// Whether values of the schema are values of this type.
    pub(crate) fn is_read(&self, schema: u32, of: TypeId) -> bool {
        self.read.read().unwrap_or_else(PoisonError::into_inner).contains(&(schema, of))
    }

    /// Notes down that values of a durable schema are values of this type.
    pub(crate) fn note_read(&self, schema: u32, of: TypeId) {
        self.read.write().unwrap_or_else(PoisonError::into_inner).insert((schema, of));
    }
}

impl fmt::Debug for Schemas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schemas").finish_non_exhaustive()
    }
}
