//! Which engines there are, and what they are called on the command line and in the tables.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Milepost,
    Redb,
    Sqlite,
    Fjall,
    Lmdb,
    Files,
    /// redb opening the file that Milepost wrote: what redb's own repair of it takes. Only in the
    /// cases that time an open.
    RedbOnMilepost,
}

/// An engine, waiting for each commit or batched by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EngineName {
    pub(crate) kind: Kind,
    pub(crate) by_hand: bool,
}

const BY_HAND: &str = "-batch100";

impl EngineName {
    /// Every engine, in the order of the tables.
    pub(crate) fn all() -> Vec<Self> {
        let waiting = |kind| Self { kind, by_hand: false };
        let by_hand = |kind| Self { kind, by_hand: true };
        let peers = [Kind::Redb, Kind::Sqlite, Kind::Fjall, Kind::Lmdb, Kind::Files];
        let mut all = vec![waiting(Kind::Milepost)];
        all.extend(peers.map(waiting));
        all.extend(peers.map(by_hand));
        all.push(waiting(Kind::RedbOnMilepost));
        all
    }

    /// Whether it is what the ratios are taken against: a peer that waits for each step.
    pub(crate) fn is_waiting_peer(self) -> bool {
        !self.by_hand && !matches!(self.kind, Kind::Milepost | Kind::RedbOnMilepost)
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Milepost => "milepost",
            Self::Redb => "redb",
            Self::Sqlite => "sqlite",
            Self::Fjall => "fjall",
            Self::Lmdb => "lmdb",
            Self::Files => "files",
            Self::RedbOnMilepost => "redb-on-milepost-file",
        }
    }

    /// Whose store it opens.
    pub(crate) fn store(self) -> Self {
        if self == Self::RedbOnMilepost { Self::Milepost } else { self }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{}{}", self.kind.word(), if self.by_hand { BY_HAND } else { "" });
        f.pad(&name)
    }
}

impl FromStr for EngineName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = Self::all();
        let found = all.iter().find(|engine| engine.to_string() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<String> = all.iter().map(ToString::to_string).collect();
            format!("no engine {text:?}; there are {}", names.join(", "))
        })
    }
}
