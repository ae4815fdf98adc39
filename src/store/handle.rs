//! The handle on an open store. What can be *done* with it stands on the floors above, beside the
//! things it does: [`run`](Store::run), [`claim`](Store::claim), [`intents`](Store::intents).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::backend::Medium;
use super::group::Committer;
use super::head::{META_UNCLEAN, Unclean};
use super::held::{Hold, HoldKind};
use super::options::Options;
use super::pending::Pending;
use super::plan::Plan;
use super::retention::Retention;
use super::schemas::Schemas;
use super::snapshot::{Read, Snapshot};
use super::tables::Table;
use super::view::{Joined, View};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// An open store: one file, written by this process alone. Clones are handles on the same store.
///
/// The handle belongs to the process that opened the store. In a forked child every call on it, and
/// on the runs, claims and relays made from it, is refused with
/// [`ErrorKind::Forked`](crate::ErrorKind::Forked); the end of the child changes nothing of the store.
///
/// Dropping the last handle, runs included, closes the store like [`close`](Store::close), but
/// without a word if that fails; while a panic unwinds it is left as a crash would leave it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    committer: Arc<Committer>,
    medium: Medium,
    clean: bool,
    created: bool,
}

/// What became of a commit that failed with [`ErrorKind::Uncertain`](crate::ErrorKind::Uncertain).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It is on disk, with every row of it.
    Committed,
    /// Nothing of it is on disk, and nothing of it ever will be.
    NotCommitted,
}

impl Store {
    /// Creates a store with the default options; see [`Options::create`].
    ///
    /// # Errors
    /// Those of [`Options::create`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().create(path)
    }

    /// Opens a store with the default options; see [`Options::open`].
    ///
    /// # Errors
    /// Those of [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    /// Opens a store with the default options, or creates it; see [`Options::open_or_create`].
    ///
    /// # Errors
    /// Those of [`Options::open_or_create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open_or_create(path)
    }

    /// A store in memory with the default options; see [`Options::in_memory`].
    ///
    /// # Errors
    /// Those of [`Options::in_memory`].
    pub fn in_memory() -> Result<Self> {
        Options::new().in_memory()
    }

    /// Waits for the commits under way, marks the store as closed in order and lets go of the file.
    /// Other handles on it, runs included, get errors from now on.
    ///
    /// # Errors
    /// The failure that poisoned the store, or that of the closing commit. The file is let go of
    /// either way, and everything acknowledged before is durable. `Conflict` if a waker calls this while
    /// its own thread is closing the store: then the call around it does.
    pub fn close(self) -> Result<()> {
        self.inner.committer.close()
    }

    /// Waits until everything that was submitted so far, by whichever handle, is durable. When it
    /// returns `Ok`, it is.
    ///
    /// # Errors
    /// The failure of the commit that carried it, `Poisoned` if an earlier one failed.
    pub fn flush(&self) -> Result<()> {
        self.inner.committer.flush()
    }

    /// Whether [`open_or_create`](Store::open_or_create) made this store just now.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.inner.created
    }

    /// Whether the holder before this one closed the store in order.
    #[must_use]
    pub fn was_closed_in_order(&self) -> bool {
        self.inner.clean
    }

    /// Which opening this is: +1 at every open.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.inner.committer.epoch
    }

    /// Which store this is: drawn when it was created.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.committer.store
    }

    /// Which life of the store this is: +1 each time it is set back, by an older copy, a savepoint or
    /// a repair.
    ///
    /// # Errors
    /// `Invalid` when the store was closed.
    pub fn incarnation(&self) -> Result<Incarnation> {
        self.inner.committer.quiesced(|engine| Ok(engine.head.incarnation))
    }

    /// Says, after reopening, whether the commit that failed with
    /// [`ErrorKind::Uncertain`](crate::ErrorKind::Uncertain) is on disk.
    ///
    /// # Errors
    /// `Poisoned` on the handle that failed: open the store again first. `Invalid` for a number that
    /// was never given out. `NotFound` for a commit so long ago (1,024 crashes) that it is not known
    /// any more; `Damaged` if the record of the crash behind it is, or was lost to damage and a repair.
    pub fn resolve(&self, seq: CommitSeq) -> Result<Resolution> {
        let rows = self.read()?;
        let newest = self.newest_commit()?;
        if seq > newest {
            return Err(Error::invalid(format!(
                "this store has not reached commit {seq}: its newest is {newest}"
            )));
        }
        let unclean = rows.scan(Table::Meta, META_UNCLEAN, &[], usize::MAX)?;
        let (mut oldest, mut is_lost) = (None, false);
        for (key, row) in &unclean {
            match rows.parse(key, row)? {
                Unclean::LOST => is_lost = true,
                Unclean { last } if seq == last.next() => return Ok(Resolution::NotCommitted),
                Unclean { last } if seq == last => return Ok(Resolution::Committed),
                Unclean { last } => drop(oldest.get_or_insert(last)),
            }
        }
        match oldest {
            Some(oldest) if unclean.len() >= 1_024 && seq <= oldest => Err(Error::new(
                crate::error::ErrorKind::NotFound,
                format!("commit {seq} is older than the crashes this store remembers"),
            )),
            _ if is_lost => Err(Error::damaged(format!(
                "what became of commit {seq} is not known: the record of a crash was lost to damage, \
                 and this may be the commit that was under way. Look for what it wrote"
            ))),
            _ => Ok(Resolution::Committed),
        }
    }

    /// The number of the newest durable commit.
    ///
    /// # Errors
    /// `Invalid` when the store was closed.
    pub fn newest_commit(&self) -> Result<CommitSeq> {
        self.inner.committer.quiesced(|engine| Ok(engine.head.seq))
    }

    /// Where the clock leapt to, by more than a day beyond what has passed by a witness: the time since
    /// the machine was started (on Linux), the process's own clock, or the times of the store's file.
    /// While it is set, nothing expires. The next opening believes it, if no witness contradicts what
    /// the clock went on since, and so does [`trust_clock`](Store::trust_clock). A long pause that no
    /// witness contradicts is believed at once.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn clock_suspect(&self) -> Result<Option<Timestamp>> {
        self.inner.committer.clock_suspect()
    }

    /// Confirms that the machine's clock is right: what is due by it expires from now on. It is
    /// durable with the next commit.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn trust_clock(&self) -> Result<()> {
        self.inner.committer.trust_clock()
    }

    pub(super) fn new(
        committer: Arc<Committer>,
        medium: Medium,
        clean: bool,
        created: bool,
    ) -> Self {
        Self { inner: Arc::new(Inner { committer, medium, clean, created }) }
    }

    pub(super) fn medium(&self) -> &Medium {
        &self.inner.medium
    }

    pub(super) fn committer(&self) -> &Arc<Committer> {
        &self.inner.committer
    }

    /// Plans and commits: when it returns `Ok`, what the plan wrote is durable, and so is whatever
    /// it read of other plans' work. `work` runs under the lock of all plans: no code of the user's
    /// may be called in it. See [`view`](Store::view) for what does that.
    pub(crate) fn commit<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        self.inner.committer.commit(work)
    }

    /// Begins a call that runs code of the user's, and then joins and [`wait`](Store::wait)s.
    pub(crate) fn view(&self) -> Result<View<'_>> {
        View::to_commit(&self.inner.committer)
    }

    /// Begins a call that runs code of the user's, and leaves its commit to whoever comes to it: it
    /// ends with [`pending`](Store::pending).
    pub(crate) fn view_to_submit(&self) -> Result<View<'_>> {
        View::to_submit(&self.inner.committer)
    }

    /// Returns when what has joined is durable.
    pub(crate) fn wait(&self, Joined(ticket): Joined) -> Result<()> {
        ticket.map_or(Ok(()), |ticket| self.inner.committer.wait(&ticket))
    }

    /// What was joined, for whoever waits for it.
    pub(crate) fn pending<T>(&self, value: T, Joined(ticket): Joined) -> Pending<T> {
        Pending::new(value, ticket, self.inner.committer.clone())
    }

    /// How many checkpoints of a run are kept, unless it was told otherwise.
    pub(crate) fn retention(&self) -> Retention {
        self.inner.committer.retention
    }

    /// What this process has found out about the store's schemas.
    pub(crate) fn schemas(&self) -> &Schemas {
        &self.inner.committer.schemas
    }

    /// The durable state.
    pub(crate) fn read(&self) -> Result<Arc<Snapshot>> {
        self.inner.committer.read()
    }

    /// A durable row that nobody is at: nobody holds the name, and no change of the row is under way.
    pub(crate) fn unattended(
        &self,
        held: (HoldKind, &[u8]),
        table: Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        self.inner.committer.unattended(held, table, key)
    }

    /// Takes a name that only one holder in this process can have.
    ///
    /// # Errors
    /// `Forked`.
    pub(crate) fn hold(&self, kind: HoldKind, name: &[u8]) -> Result<Option<Hold>> {
        self.inner.committer.home.check()?;
        Ok(self.inner.committer.held.take(kind, name))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.committer.home.check().is_err() {
            // A forked child. Closing would write the parent's file and free its lock, and may wait
            // for a lock that a thread held which does not exist here. So nothing of it is dropped.
            std::mem::forget((self.committer.clone(), self.medium.clone()));
            return;
        }
        if thread::panicking() {
            self.committer.abandon();
        } else {
            let _ = self.committer.finish();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("id", &self.id())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}
