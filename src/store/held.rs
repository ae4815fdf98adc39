//! Names that this process holds: runs that are open, claims that are being worked on.
//!
//! Memory only. What a crashed process held is known by its older epoch in the record.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HoldKind {
    Run,
    Claim,
    Topic,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Held(Arc<Mutex<HashSet<Name>>>);

type Name = (HoldKind, Box<[u8]>);

/// Holds a name until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Held,
    name: Name,
}

impl Held {
    /// Takes the name, unless somebody in this process holds it.
    pub(super) fn take(&self, kind: HoldKind, name: &[u8]) -> Option<Hold> {
        let name = (kind, Box::from(name));
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        fresh.then(|| Hold { held: self.clone(), name })
    }

    pub(super) fn has(&self, kind: HoldKind, name: &[u8]) -> bool {
        let name = (kind, Box::from(name));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&name)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.held.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}
