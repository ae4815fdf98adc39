//! How a store is opened. Every figure has a default that a bot can live with.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::retention::{Retention, SettledRetention};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::record::PAYLOAD_BYTES_MAX;

/// A key and its scope are listed in the expiry index with two bytes of length.
const KEY_BYTES_MAX: usize = 32 << 10;
/// A record has the user's value and something beside it, and must itself be a payload.
const VALUE_BYTES_MAX: usize = 255 << 20;
const _: () = assert!(VALUE_BYTES_MAX + (1 << 19) < PAYLOAD_BYTES_MAX);

/// How a store is created or opened; see [`Store`](crate::Store) for the short ways.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("bot.mp");
/// let store = milepost::Options::new().cache_bytes(16 << 20).create(&path)?;
/// # store.close()?;
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone)]
pub struct Options {
    pub(super) cache_bytes: usize,
    pub(super) durability: Durability,
    pub(super) reopen: Reopen,
    pub(super) limits: Limits,
    pub(super) verify_on_open_bytes: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) in_flight_steps: usize,
    pub(super) in_flight_bytes: usize,
    pub(super) retention: Retention,
    pub(super) settled: SettledRetention,
    pub(super) on_copy: OnCopy,
    pub(super) accept_deleted: bool,
    pub(super) compact_on_close_bytes: u64,
    pub(super) values: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a commit costs and survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// One fsync a commit: the guarantee of SQLite's WAL with `synchronous=FULL`. A commit cut
    /// short by a crash is found by its checksums, and the one before it stands.
    #[default]
    OnePhase,
    /// Two fsyncs a commit, about one and a half times the time: the newest commit is known to be
    /// whole without its checksums, so damage to it is never taken for a commit cut short.
    TwoPhase,
}

/// What happens when a store is opened after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reopen {
    /// Every page is read and verified: about a second for each gigabyte.
    Verified,
    /// At once, whatever the size: each commit also saves what the walk would find out, and takes
    /// about twice the time. Damage is then found when a record is read, or by `verify`.
    Instant,
    /// [`Reopen::Verified`] while the file can be walked in about a second (1 GiB), then
    /// [`Reopen::Instant`].
    #[default]
    Auto,
}

/// What happens when a store is opened in a file that is not the one it was in, or in an older state
/// than it had reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnCopy {
    /// It is refused with [`ErrorKind::OlderCopy`], and nothing of the file is changed.
    #[default]
    Refuse,
    /// It is the store itself, moved by a tool that copies, and the original is gone: it continues as
    /// before, in the same incarnation. An older state is still refused.
    ///
    /// If the original is used as well, both send under the same external ids.
    Moved,
    /// It is a copy of the store, or an older state of it: it continues in an incarnation of its own,
    /// so that what it emits has external ids of its own. Nothing is sent or claimed before
    /// [`Store::reconcile`](crate::Store::reconcile) was called. All that is in the commit of the
    /// opening.
    Copy,
}

/// The largest things a store takes; past them a call is refused before anything is written. How deep a
/// value may be nested is fixed: see [`Versioned`](crate::Versioned).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest key, in bytes. 1 KiB; at most 32 KiB.
    pub key_bytes: usize,
    /// The longest encoded value (a state, an outcome, a payload, a row), in bytes. 64 MiB; at most
    /// 255 MiB.
    pub value_bytes: usize,
    /// The most rows one step, or one batch of them, writes. 10,000.
    pub rows_per_step: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { key_bytes: 1 << 10, value_bytes: 64 << 20, rows_per_step: 10_000 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            durability: Durability::default(),
            reopen: Reopen::default(),
            limits: Limits::default(),
            verify_on_open_bytes: 256 << 20,
            clock: Arc::new(SystemClock),
            in_flight_steps: 4_096,
            in_flight_bytes: 16 << 20,
            retention: Retention::default(),
            settled: SettledRetention::default(),
            on_copy: OnCopy::default(),
            accept_deleted: false,
            compact_on_close_bytes: 256 << 20,
            values: None,
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Memory for pages of the file, in bytes. 64 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// What a commit costs and survives. [`Durability::OnePhase`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// What happens when a store is opened after a crash. [`Reopen::Auto`].
    #[must_use]
    pub fn reopen(mut self, reopen: Reopen) -> Self {
        self.reopen = reopen;
        self
    }

    /// The largest things the store takes.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Up to which size of the file a store that was closed in order is read and verified whole
    /// when it is opened, in bytes. 256 MiB, about a quarter of a second. 0 for never: then a
    /// damaged page is found when a record on it is read, or by `verify`, and a damaged *index*
    /// page can hide a key. A damaged list of free pages can cost rows that were sound: run
    /// [`verify`](crate::verify) on the closed file of a store that is larger than this.
    #[must_use]
    pub fn verify_on_open_bytes(mut self, bytes: u64) -> Self {
        self.verify_on_open_bytes = bytes;
        self
    }

    /// How many steps, and about how many bytes of rows, may be waiting for the commit that is under
    /// way before the next caller waits too. 4,096 steps and 16 MiB. Up to twice as much is in
    /// memory: what waits, and what is being committed.
    #[must_use]
    pub fn in_flight(mut self, steps: usize, bytes: usize) -> Self {
        self.in_flight_steps = steps;
        self.in_flight_bytes = bytes;
        self
    }

    /// How many checkpoints of each run are kept; [`OpenRun::retention`](crate::OpenRun::retention) says it
    /// for one. The last 100 and those of the last 7 days, while their states together are not
    /// over 1 GiB. Whoever saves a checkpoint lets the oldest go, a few in each commit.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// How long settled intents, the decisions of people and ended runs are kept. Intents of the last 30
    /// days, and of the last million numbers; decisions of the last year; runs that were ended in the
    /// last 90 days.
    #[must_use]
    pub fn settled_retention(mut self, retention: SettledRetention) -> Self {
        self.settled = retention;
        self
    }

    /// What happens when the file is not the one the store was in, or is an older state of it.
    /// [`OnCopy::Refuse`]. A file that is as it was left is opened as always, whatever this says.
    ///
    /// The store knows its file by what a copy cannot have and a rename keeps; how far it had come is
    /// noted in `<store>.lock`. Restore a backup under the old name, beside that file, so that it is
    /// known to be older. The page *copies and backups* of the guide has a table of cases.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let (path, copy) = (folder.path().join("bot.mp"), folder.path().join("copy.mp"));
    /// use milepost::{ErrorKind, OnCopy, Options, Store};
    ///
    /// Store::create(&path)?.close()?;
    /// std::fs::copy(&path, &copy).unwrap();
    /// let refused = Store::open(&copy).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::OlderCopy);
    /// let store = Options::new().on_copy(OnCopy::Copy).open(&copy)?;
    /// store.reconcile("ben: a copy for tests, nothing was sent from it")?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn on_copy(mut self, on_copy: OnCopy) -> Self {
        self.on_copy = on_copy;
        self
    }

    /// The same as [`on_copy`](Options::on_copy) with [`OnCopy::Copy`]: an older copy was put in the
    /// store's place on purpose.
    #[must_use]
    pub fn accept_older_copy(self) -> Self {
        self.on_copy(OnCopy::Copy)
    }

    /// Creates a store although there was one at the path and is none: it was deleted on purpose.
    /// Without this, [`create`](Options::create) and [`open_or_create`](Options::open_or_create) refuse
    /// to while `<store>.lock` says that a store had acknowledged commits there. To delete a store,
    /// delete both files.
    #[must_use]
    pub fn accept_deleted(mut self) -> Self {
        self.accept_deleted = true;
        self
    }

    /// Up to how many bytes in use a store is [compacted](crate::Store::compact) when it is closed, if
    /// more than half of its file is free. 256 MiB: that many are written in a second or two. 0 for
    /// never. A file of less than 4 MiB is left as it is. Should it fail, the store is closed in order
    /// all the same, and the file is as long as it was.
    #[must_use]
    pub fn compact_on_close_bytes(mut self, bytes: u64) -> Self {
        self.compact_on_close_bytes = bytes;
        self
    }

    /// Where the time comes from. The machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How values of older versions become newer ones: of a type that the floor above knows.
    pub(crate) fn set_values(&mut self, migrations: Arc<dyn Any + Send + Sync>) {
        self.values = Some(migrations);
    }

    /// The time by the clock that was chosen.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn check(&self) -> Result<()> {
        let Limits { key_bytes, value_bytes, rows_per_step } = self.limits;
        if self.in_flight_steps == 0 || self.in_flight_bytes == 0 {
            return Err(Error::invalid("nothing in flight: no step could ever be committed"));
        }
        if key_bytes == 0 || value_bytes == 0 || rows_per_step == 0 {
            return Err(Error::invalid("a limit of 0 would refuse every step"));
        }
        if key_bytes > KEY_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the key limit is at most {KEY_BYTES_MAX} bytes, not {key_bytes}"),
            ));
        }
        if value_bytes > VALUE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the value limit is at most 255 MiB, not {value_bytes} bytes"
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cache_bytes", &self.cache_bytes)
            .field("durability", &self.durability)
            .field("reopen", &self.reopen)
            .field("limits", &self.limits)
            .field("verify_on_open_bytes", &self.verify_on_open_bytes)
            .finish_non_exhaustive()
    }
}
