//! Things that are counted: newtypes, so that an epoch is never taken for a commit.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The identifier with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Which commit of the store: +1 at every commit; numbers that a crash left unused stay unused.
    CommitSeq
}
counter! {
    /// Which opening of the store: +1 at every open. The fencing token of everything it sends.
    Epoch
}
counter! {
    /// Which life of the store: +1 when it is set back (an older copy, a savepoint, a repair), so that
    /// its external ids are new.
    Incarnation
}

/// No store counts so far: at a million a second it would take 290,000 years. A number that was read
/// from a file is held against it, so that counting on from there never overflows.
pub(crate) const COUNT_MAX: u64 = 1 << 63;

impl CommitSeq {
    /// The next number; stays at the largest rather than wrap.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Incarnation {
    /// The next number; stays at the largest rather than wrap.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Epoch {
    /// The next number; stays at the largest rather than wrap.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
