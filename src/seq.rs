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
    /// Which life of the store: +1 when a copy is restored, so that its external ids are new.
    Incarnation
}

impl CommitSeq {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
