//! Looking into a store without changing a byte of it, and without believing it: for `verify` and
//! `repair`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::{Backend, Medium};
use super::careful::{Careful, Failed};
use super::disk::{Disk, FileDisk};
use super::fault::Db;
use super::handle::Store;
use super::head::{Head, Identity, read_head, read_identity};
use super::hold::Hold;
use super::integrity::Sum;
use super::lock::LockFile;
use super::open::{check_header, open_redb, verify_pages};
use super::options::{OnCopy, Options};
use super::origin::{META_ORIGIN, Origin};
use super::place::{Place, open_existing};
use super::shadow::Shadow;
use super::slots::{Found, Slots};
use super::snapshot::{Read, Snapshot};
use super::tables::Table;
use super::tail::healed;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ExternalId, IntentId};
use crate::seq::Epoch;

/// A store that is looked into. While it is, nobody else writes it.
pub(crate) struct Inspection {
    /// What the storage engine's own check says, if it found damage.
    pub(crate) pages: Option<String>,
    /// That commits are missing which were acknowledged, if so.
    pub(crate) lost: Option<String>,
    /// Whether the slot of the newest commit is damaged, so that this is the commit before it.
    fell_back: bool,
    /// Whether redb closed the file: then its newest commit is the one of the close, in which no row
    /// changed.
    was_closed: bool,
    /// That this is another file than the one the store was in, if so, and the caller did not say that
    /// it was moved.
    pub(crate) copied: Option<&'static str>,
    /// That a newer program wrote the store, if so.
    pub(crate) newer: Option<String>,
    pub(super) identity: Option<Identity>,
    pub(super) head: Option<Head>,
    /// `None` if the file cannot even be opened.
    rows: Option<Arc<Snapshot>>,
    /// Kept open, behind the snapshot that reads from it.
    db: Option<Db>,
    /// Released before the lock file.
    _hold: Option<Hold>,
    pub(super) file: Option<(PathBuf, LockFile)>,
    failed: Arc<Failed>,
}

impl Inspection {
    /// Looks into the store at a path that nobody has open.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` or `Locked`, as for opening; `Io` if it cannot be read; never `Damaged`:
    /// that is what it tells.
    pub(crate) fn of_path(path: &Path, options: &Options) -> Result<Self> {
        options.check()?;
        drop(open_existing(path, false)?);
        Place::refuse_symlink(path)?;
        let lock = LockFile::take(path)?;
        let file = open_existing(path, false)?;
        let disk = FileDisk::new(file).map_err(|error| Error::io("opening the store", error))?;
        let disk = Arc::new(disk);
        let hold = Hold::to_look(&disk, path)?;
        let inspection = Self::of_disk(disk.clone(), options.cache_bytes, value_limit())?;
        let mut inspection = Self { _hold: hold, ..inspection };
        if let (Some(left), Some(identity), Some(head)) =
            (lock.left(), &inspection.identity, &inspection.head)
        {
            inspection.lost = said(left.check(identity.store, head));
        }
        if let (true, Some(identity), Some(head)) =
            (inspection.fell_back, &inspection.identity, &inspection.head)
        {
            let left = lock.left();
            // A commit that was closed, in a file that was not: the damaged one may have begun the next
            // epoch, or another incarnation.
            let is_complete = (head.clean && inspection.was_closed)
                || left.is_some_and(|left| left.vouches_for(identity.store, head));
            if !is_complete {
                inspection.lost.get_or_insert_with(|| LAST_MAY_BE_LOST.to_owned());
            }
        }
        if options.on_copy != OnCopy::Moved
            && let Some(rows) = &inspection.rows
            && let (Ok(Some(known)), Some(now)) =
                (rows.record::<Origin>(META_ORIGIN), Origin::of(disk.file())?)
        {
            inspection.copied = now.differs_from(&known);
        }
        inspection.file = Some((path.to_owned(), lock));
        Ok(inspection)
    }

    /// Looks into an open store from the disk up, and has `look` see it while no commit is under
    /// way. Only durable bytes are read, not the cache of the open handle.
    pub(crate) fn of_store<T>(store: &Store, look: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let cache_bytes = 16 << 20;
        store
            .committer()
            .quiesced(|_| look(&Self::of_disk(store.medium().disk(), cache_bytes, value_limit())?))
    }

    fn of_disk(below: Arc<dyn Disk>, cache_bytes: usize, value_limit: usize) -> Result<Self> {
        let failed = Arc::<Failed>::default();
        let disk: Arc<dyn Disk> = Arc::new(Careful::over(below, failed.clone()));
        let mut inspection = Self {
            pages: None,
            lost: None,
            fell_back: false,
            was_closed: false,
            copied: None,
            newer: None,
            identity: None,
            head: None,
            rows: None,
            db: None,
            _hold: None,
            file: None,
            failed,
        };
        let header = check_header(&*disk);
        let is_redb = header.is_ok();
        match header {
            Ok(true) => {
                inspection.was_closed = true;
                inspection.pages = said(verify_pages(disk.clone()));
            }
            // The storage engine verifies what a crash left behind when it opens it, below.
            Ok(false) => {}
            Err(error) => inspection.pages = Some(format!("{error:#}")),
        }
        let open = |length| {
            Opened::from(disk.clone(), is_redb, length, cache_bytes, value_limit)
                .map_err(|error| Error::io("reading the store", error))
        };
        let mut opened = open(Length::AsIs)?;
        if opened.found == Found::NewestDamaged && opened.read.is_err() {
            let longer = open(Length::BeforeACut)?;
            if longer.read.is_ok() {
                opened = longer;
            }
        }
        inspection.fell_back = opened.found == Found::NewestDamaged;
        let which = match opened.found {
            Found::AsIs => None,
            Found::OlderDamaged => Some("an older commit in the header is damaged"),
            Found::NewestDamaged => Some(
                "the newest commit in the header is damaged; what is read is the one before it",
            ),
        };
        if let Some(which) = which {
            inspection.pages.get_or_insert_with(|| format!("the place of {which}"));
        }
        match opened.read {
            Ok((db, rows)) => {
                inspection.identity = inspection.take_in(read_identity(&*rows));
                inspection.head = inspection.take_in(read_head(&*rows));
                inspection.rows = Some(rows);
                inspection.db = Some(db);
            }
            Err(error) => {
                // What the check of the pages found may be elsewhere than what keeps it closed.
                let first = inspection.pages.take().map(|first| format!("{first}; "));
                inspection.pages = Some(format!("{}{error:#}", first.unwrap_or_default()));
            }
        }
        inspection.check_read()?;
        Ok(inspection)
    }

    /// Refuses what was found so far if a read of the disk failed, which says nothing about the
    /// store.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn check_read(&self) -> Result<()> {
        self.failed.check()
    }

    /// A row of the store's own header, if it can be read; notes down if it is of a newer program.
    fn take_in<T>(&mut self, read: Result<Option<T>>) -> Option<T> {
        if let Err(error) = &read
            && error.kind() == ErrorKind::TooNew
        {
            self.newer.get_or_insert(format!("{error:#}"));
        }
        read.ok().flatten()
    }

    /// Whether rows can be read at all.
    pub(crate) fn is_readable(&self) -> bool {
        self.db.is_some()
    }

    /// What the accumulators say a table holds; `None` if the head is damaged.
    pub(crate) fn expected(&self, table: Table) -> Option<Sum> {
        self.head.as_ref().map(|head| head.sum(table))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.head.as_ref().map_or_else(Epoch::default, |head| head.epoch)
    }

    pub(crate) fn external_id(&self, intent: &IntentId) -> Option<ExternalId> {
        let (identity, head) = (self.identity.as_ref()?, self.head.as_ref()?);
        Some(ExternalId::derive(identity.store, head.incarnation, intent))
    }

    /// The rows, to look some up.
    pub(crate) fn rows(&self) -> Option<&Snapshot> {
        self.rows.as_deref()
    }

    /// Calls `each` for every row of a table that can be reached, and returns why some could not.
    /// Damage inside a table is gone around from the other end.
    pub(crate) fn walk(&self, table: Table, mut each: impl FnMut(&[u8], &[u8])) -> Option<String> {
        let rows = self.rows.as_ref()?;
        let mut last = None;
        let forward = rows.walk(table, &[], &[], |key, value| {
            each(key, value);
            last = Some(key.to_vec());
            true
        });
        let why = said(forward)?;
        // What was reached from the front is not visited again; a failure there was told already.
        let _ = rows.walk_back(table, last.as_deref(), &mut each);
        Some(why)
    }
}

/// How long a file is taken to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    AsIs,
    /// As long as it may have been before a close made it shorter.
    BeforeACut,
}

/// What a disk holds, as the storage engine shows it. Nothing of the disk is changed.
struct Opened {
    found: Found,
    read: Result<(Db, Arc<Snapshot>)>,
}

impl Opened {
    fn from(
        disk: Arc<dyn Disk>,
        is_redb: bool,
        length: Length,
        cache_bytes: usize,
        value_limit: usize,
    ) -> io::Result<Self> {
        let shadow = Shadow::over(disk).and_then(healed)?;
        let mut found = Found::AsIs;
        if is_redb {
            let slots = Slots::read(&shadow)?;
            let longer = slots.len_before_a_cut(shadow.len()?);
            if let (Length::BeforeACut, Some(longer)) = (length, longer) {
                shadow.set_len(longer)?;
            }
            found = slots.with_the_sound_one(&shadow)?;
        }
        let backend = Backend::new(Medium::Disk(Arc::new(shadow)), Arc::default());
        let read = open_redb(backend, cache_bytes).and_then(|(db, _)| {
            let rows = Snapshot::take(&db, value_limit)?;
            Ok((db, rows))
        });
        Ok(Self { found, read })
    }
}

const LAST_MAY_BE_LOST: &str = "the place of the newest commit in the header is damaged, and no note \
     beside the store says how far it had come: its last commit may be lost. Restore a copy; or \
     reconcile with your receivers, then repair with `accept_missing_rows`. Nothing was changed";

fn said(result: Result<()>) -> Option<String> {
    result.err().map(|error| format!("{error:#}"))
}

/// The largest record any program may have written, whatever this one's own limit is.
fn value_limit() -> usize {
    crate::record::PAYLOAD_BYTES_MAX
}
