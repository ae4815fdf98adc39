//! Names that this process holds: runs that are open, claims that are being worked on.
//!
//! Memory only. What a crashed process held is known by its older epoch in the record.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::owner::Owner;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HoldKind {
    Run,
    Claim,
    Topic,
}

#[derive(Debug, Clone)]
pub(super) struct Held(Arc<Names>);

#[derive(Debug)]
struct Names {
    /// Asked before the lock is taken, which stays locked in a child that was forked meanwhile.
    owner: Owner,
    names: Mutex<HashSet<Name>>,
}

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(Names { owner: Owner::this(), names: Mutex::default() }))
    }
}

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
        let fresh = self.lock()?.insert(name.clone());
        fresh.then(|| Hold { held: self.clone(), name })
    }

    pub(super) fn has(&self, kind: HoldKind, name: &[u8]) -> bool {
        let name = (kind, Box::from(name));
        self.lock().is_some_and(|names| names.contains(&name))
    }

    /// `None` in a forked child.
    fn lock(&self) -> Option<MutexGuard<'_, HashSet<Name>>> {
        let Names { owner, names } = &*self.0;
        owner.is_here().then(|| names.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(mut names) = self.held.lock() {
            names.remove(&self.name);
        }
    }
}
