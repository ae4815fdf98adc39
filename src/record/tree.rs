//! A value as serde shows it, with nothing left out: which of two values is which is told by it where
//! their bytes do not.
//!
//! Bytes in JSON say less than the value: `None`, `Some(None)`, `()` and a float that is no number are
//! all `null`. Bytes in the small codec say all, but not which container came in another order.

mod build;
mod node;
mod text;

use std::any::type_name;

use serde::Serialize;

use super::depth::LEVELS_MAX;
use super::order::Place;
use super::writing::Refusal;
use build::Builder;

pub(super) use node::Tree;

/// A value, as it is written for people or as it is not.
pub(super) fn tree_of<T: Serialize + ?Sized>(value: &T, for_people: bool) -> Result<Tree, Refusal> {
    let of = type_name::<T>();
    value.serialize(Builder { of, levels: LEVELS_MAX, place: Place::ROOT, for_people })
}

#[cfg(test)]
mod tests;
