//! What this process has found out about the schemas of an open store, so that a step does not read
//! them again: in memory only, and only of schemas that are durable. A plan that was refused and a
//! commit that failed leave nothing here.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// The types of a topic: payload and outcome.
type Types = (TypeId, TypeId);

/// The schemas of topics, by name: payload and outcome.
type BothSchemas = BTreeMap<String, (u32, u32)>;

#[derive(Default)]
pub(crate) struct Schemas {
    /// The schema that values of a type are written under: by kind and type, and then by name.
    written: RwLock<HashMap<(u8, TypeId), BTreeMap<String, u32>>>,
    /// The topics of which both schemas are durable: by payload and outcome, and then by name.
    topics: RwLock<HashMap<Types, BothSchemas>>,
    /// The types of the topics that this program has used, and what they are called.
    types: RwLock<HashMap<String, (Types, String)>>,
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

    /// The schemas of a topic with these types of payload and outcome, if both are durable.
    pub(crate) fn topic(&self, types: Types, name: &str) -> Option<(u32, u32)> {
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&types)?.get(name).copied()
    }

    /// Notes down both schemas of a topic, which are durable.
    pub(crate) fn note_topic(&self, types: Types, name: &str, schemas: (u32, u32)) {
        let mut known = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(types).or_default().insert(name.to_owned(), schemas);
    }

    /// What the types of the topic of this name are called, if this program has used it with others.
    pub(crate) fn other_types_of(&self, types: Types, name: &str) -> Option<String> {
        let known = self.types.read().unwrap_or_else(PoisonError::into_inner);
        let (known, called) = known.get(name)?;
        (*known != types).then(|| called.clone())
    }

    /// Notes down that this program has used the topic of this name with these types. Those that were
    /// noted first stay.
    pub(crate) fn note_types(&self, types: Types, name: &str, called: String) {
        let mut known = self.types.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(name.to_owned()).or_insert((types, called));
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
