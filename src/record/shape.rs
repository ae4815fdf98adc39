//! The shape of a type: its fields, variants and parts, as the bytes have them one behind the other.
//!
//! bincode's bytes have no names and no types in them. The shape is what is missing: with it a
//! changed type is told before its bytes are misread ([`Shape::differences`]), and any value is
//! shown as JSON by a program that does not know the type ([`Shape::to_json`]). It is read off
//! `Deserialize` itself (`trace`), so nobody has to write it down, or make up a sample.
//!
//! Names of types are no part of a shape: a type may be moved and renamed. Names of fields and
//! variants are, for two fields that change places are read as each other.

mod diff;
mod from_json;
mod json;
mod node;
mod trace;

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde::de::DeserializeOwned;

use super::codec::encode;

pub(crate) use diff::Difference;
pub(crate) use from_json::{Entries, FromJsonError};
pub(crate) use json::{Maps, ViewError};
pub(crate) use node::Shape;
pub(crate) use trace::Untraceable;

impl Shape {
    /// The shape of `T`: traced once in a process.
    pub(crate) fn of<T: DeserializeOwned + 'static>() -> Result<Arc<Self>, Untraceable> {
        static KNOWN: OnceLock<RwLock<HashMap<TypeId, Arc<Shape>>>> = OnceLock::new();
        let known = KNOWN.get_or_init(RwLock::default);
        let id = TypeId::of::<T>();
        if let Some(shape) = known.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(shape.clone());
        }
        let shape = Arc::new(trace::trace::<T>()?);
        known.write().unwrap_or_else(PoisonError::into_inner).insert(id, shape.clone());
        Ok(shape)
    }

    /// The hash of its canonical encoding: equal shapes have equal fingerprints.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let bytes = encode(self).expect("a shape has no field that could be refused");
        *blake3::hash(&bytes).as_bytes()
    }

    /// What is no longer as it was, in the order of the fields; nothing if bytes of the one are
    /// bytes of the other.
    pub(crate) fn differences(&self, now: &Self) -> Vec<Difference> {
        diff::differences(self, now)
    }

    /// The value in `bytes` as JSON, as `serde_json` would write it, with three exceptions: numbers
    /// that JSON does not have are `"NaN"`, `"Infinity"` and `"-Infinity"`; a map whose keys are not
    /// strings is what `maps` says; and types that look different to people (addresses) are shown as
    /// they are stored.
    pub(crate) fn to_json(
        &self,
        bytes: &[u8],
        maps: Maps,
        out_max: usize,
    ) -> Result<String, ViewError> {
        json::to_json(self, bytes, maps, out_max)
    }

    /// The bytes of the value in one field of a JSON object, as [`to_json`](Shape::to_json) shows it;
    /// fields may stand in another order, and entries, if they are sorted here. What JSON has one word for (`None` and
    /// `Some(None)`) comes back as the first of them.
    pub(crate) fn read_json(
        &self,
        json: &[u8],
        field: &'static str,
        out_max: usize,
        entries: Entries,
    ) -> Result<Vec<u8>, FromJsonError> {
        from_json::from_json(self, json, field, out_max, entries)
    }
}

#[cfg(test)]
mod tests;
