//! Creating and opening: what happens between a path and a handle.
//!
//! Nothing of a file is changed before it has been proven to be a store that this program can read
//! and write: the commit that raises the epoch is made behind a gate, which is opened when that has
//! succeeded.

use std::fs::{self, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::Builder;

use super::backend::{Backend, Medium, Probe, make_up_for_unsynced, mark_unsynced};
use super::disk::{Disk, FileDisk, MemoryDisk};
use super::engine::{Engine, create_tables, write_head};
use super::fault::{Db, shielded, storage_error};
use super::group::Committer;
use super::handle::Store;
use super::head::{
    ClockMark, FORMAT, Head, Identity, META_IDENTITY, Reading, read_head, read_identity,
};
use super::hold::Hold;
use super::lock::{LockFile, beside};
use super::options::{Options, Reopen};
use super::origin::{META_ORIGIN, Origin};
use super::place::{Anchor, open_existing, private, sync_folder_of};
use super::shadow::{Gate, Shadow};
use super::slots::Slots;
use super::snapshot::Snapshot;
use super::system;
use super::tables::{Record, Table};
use super::tail::healed;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::record::{Header, encode, seal};

impl Options {
    /// Creates a store at `path` and opens it. When it returns, the empty store and its name in the
    /// folder are durable; a crash before that leaves nothing at `path`.
    ///
    /// # Errors
    /// `Conflict` if something is there already, `Locked` if another process is about to create it,
    /// `OlderCopy` if a store was there and is gone, see
    /// [`accept_deleted`](Options::accept_deleted), `NotFound` if the folder is missing, `Io` or
    /// `NoSpace` if it cannot be written.
    pub fn create(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        self.check()?;
        refuse_existing(path)?;
        let lock = LockFile::take(path)?;
        refuse_existing(path)?;
        if let (Some(left), false) = (lock.left(), self.accept_deleted) {
            return Err(left.store_is_gone(path));
        }
        self.create_file(path)?;
        self.open_locked(path, lock, true)
    }

    /// Opens the store at `path`. After a crash this brings it back to its last commit first. When
    /// it returns, the new epoch is durable.
    ///
    /// # Errors
    /// `NotFound` if nothing is there; `Invalid` if it is no store (empty, a folder, a symlink,
    /// another kind of file); `Locked` if another process has it open; `Damaged` if its bytes are
    /// not what was written, and then nothing of it was changed; `OlderCopy` if it is another file
    /// than the one the store was in, or an older state of it, see [`on_copy`](Options::on_copy), and
    /// then nothing of it was changed either; `TooNew` if a newer program wrote it; `Io` or `NoSpace`
    /// if it cannot be read or written.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        self.check()?;
        // Before the lock, so that a wrong path gets no lock file beside it.
        let file = open_existing(path, true)?;
        let disk = FileDisk::new(file).map_err(|error| Error::io("opening the store", error))?;
        check_header(&disk)
            .map_err(|error| was_a_store(path, error).context(path.display().to_string()))?;
        drop(disk);
        let lock_path = beside(path, "lock");
        let had_lock = lock_path.exists();
        let lock = LockFile::take(path)?;
        self.open_locked(path, lock, false).inspect_err(|error| {
            if error.kind() == ErrorKind::Invalid && !had_lock {
                // No store, so nobody can hold it: take our own lock file away again.
                let _ = fs::remove_file(&lock_path);
            }
        })
    }

    /// Opens the store at `path`, or creates it if nothing is there;
    /// [`Store::was_created`] says which.
    ///
    /// A bot that ought to have a history should use [`open`](Options::open): with a wrong path
    /// this call makes an empty store, and every order looks new to it. Only where the lock file of a
    /// store is left and the store is not, it is refused.
    ///
    /// # Errors
    /// Those of [`open`](Options::open) and [`create`](Options::create).
    pub fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        match self.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => match self.create(path) {
                Err(error) if error.kind() == ErrorKind::Conflict => self.open(path),
                created => created,
            },
            opened => opened,
        }
    }

    /// A store in memory: nothing of it outlives its last handle.
    ///
    /// # Errors
    /// `Invalid` for options that contradict each other.
    pub fn in_memory(&self) -> Result<Store> {
        self.create_on(Arc::new(MemoryDisk::new()))
    }

    /// Creates a store on a disk of your own, which must be empty, and opens it. Your disk takes
    /// the place of the file: there is no lock, and a crash in this call may leave a disk that can
    /// only be emptied.
    ///
    /// # Errors
    /// `Conflict` if the disk is not empty; `Io` or `NoSpace` if it fails.
    pub fn create_on(&self, disk: Arc<dyn Disk>) -> Result<Store> {
        self.check()?;
        let len = disk.len().map_err(|error| Error::io("looking at the disk", error))?;
        if len != 0 {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the disk has {len} bytes on it: open it, or empty it first"),
            ));
        }
        self.initialize(Medium::Disk(disk.clone()), b"disk")?;
        self.open_medium(Medium::Disk(disk), None, true, None)
    }

    /// Opens the store on a disk of your own.
    ///
    /// # Errors
    /// Those of [`open`](Options::open), beside `Locked` and `NotFound`.
    pub fn open_on(&self, disk: Arc<dyn Disk>) -> Result<Store> {
        self.check()?;
        self.open_medium(Medium::Disk(disk), None, false, None)
    }

    /// A new file under another name, whole and durable, and only then its name: a crash inside
    /// redb's own creation would leave a file that never opens.
    fn create_file(&self, path: &Path) -> Result<()> {
        let building = beside(path, "creating");
        build_file(&building, |medium| {
            self.initialize(medium, path.as_os_str().as_encoded_bytes())
        })?;
        system::rename(&building, path).map_err(|error| {
            Error::io(format!("renaming {} to {}", building.display(), path.display()), error)
        })?;
        sync_folder_of(path)
    }

    /// Writes the first commit of an empty medium.
    fn initialize(&self, medium: Medium, salt: &[u8]) -> Result<()> {
        let now = self.clock.now();
        let identity =
            Identity { format: FORMAT, store: StoreId::draw(now.as_ms(), salt), created: now };
        let clock = ClockMark { high_water: now, ..ClockMark::default() };
        initialize(medium, self.cache_bytes, &identity, Head::first(clock))
    }

    fn open_locked(&self, path: &Path, lock: LockFile, created: bool) -> Result<Store> {
        let file = open_existing(path, true)?;
        let anchor = Anchor::new(path, &file)?;
        let changed = self.clock.last_change(&file);
        let disk = FileDisk::new(file).map_err(|error| Error::io("opening the store", error))?;
        let disk = Arc::new(disk);
        let anchor = anchor.with(Hold::to_work(&disk, path)?);
        if !created {
            // Who gave the file its name may have been killed before the name was durable, in
            // `create` or in `repair`. Nothing is acknowledged in a file that a power cut can take.
            sync_folder_of(path)?;
        }
        self.open_medium(Medium::File(disk), Some((lock, anchor)), created, changed)
            .map_err(|error| error.context(path.display().to_string()))
    }

    fn open_medium(
        &self,
        medium: Medium,
        file: Option<(LockFile, Anchor)>,
        created: bool,
        changed: Option<Timestamp>,
    ) -> Result<Store> {
        let disk = medium.disk();
        let closed_in_order = check_header(&*disk)?;
        let len = disk.len().map_err(|error| Error::io("looking at the store", error))?;
        if closed_in_order && len <= self.verify_on_open_bytes {
            verify_pages(disk.clone())?;
        }
        let slots = Slots::read(&*disk).map_err(|error| Error::io("reading the store", error))?;
        let probe = Arc::new(Probe::default());
        let gate = Gate::before(disk).and_then(healed);
        let gate = Arc::new(gate.map_err(|error| Error::io("reading it", error))?);
        let gated = || Backend::gated(medium.clone(), gate.clone(), probe.clone());
        if !closed_in_order {
            // redb may have to walk the file, and closes it in order when it has.
            let (db, walked) = open_redb(gated(), WALK_CACHE_BYTES)?;
            drop(db);
            // Cut short while it was being opened or closed, it needs no walk, and got none.
            let is_wanted = self.reopen != Reopen::Instant && len <= self.verify_on_open_bytes;
            if !walked && is_wanted {
                verify_pages(gate.clone())?;
            }
        }
        let (db, _) = open_redb(gated(), self.cache_bytes)?;
        let rows = Snapshot::take(&db, self.limits.value_bytes)?;
        let (identity, head) = read_meta(&rows)?;
        let (lock, anchor) = file.unzip();
        if let Some(lock) = lock.as_ref().filter(|_| !slots.newest_is_sound())
            && !lock.left().is_some_and(|left| left.vouches_for(identity.store, &head))
        {
            return Err(Error::damaged(
                "the place of the newest commit in the file's header is damaged, and nothing says \
                 that the commit before it was the last to be acknowledged. Nothing was changed: \
                 restore a copy, or run `repair`, which keeps the damaged file",
            ));
        }
        let compared = self.compared(&*rows, &medium, lock.as_ref(), identity.store, &head)?;
        drop(rows);
        let mut engine = Engine {
            db,
            store: identity.store,
            head,
            probe,
            anchor,
            durability: self.durability,
            reopen: self.reopen,
            value_limit: self.limits.value_bytes,
            lock,
        };
        let clean = engine.head.clean;
        // Still behind the gate: this reads pages that nothing has read so far, and one of them may
        // be damaged.
        engine.head.clock = engine.head.clock.at_open(&Reading::of(&*self.clock, changed));
        self.raise_epoch(&mut engine, &compared)?;
        // It is a store of ours, and can be written. If a flush of it failed, what was read may be
        // in the cache alone.
        make_up_for_unsynced(&*medium.disk())
            .map_err(|error| Error::io("flushing what an earlier failure left unflushed", error))?;
        // What redb did to bring it back after a crash may reach the disk, and then the new epoch.
        gate.open().map_err(|error| {
            mark_unsynced(&*medium.disk());
            Error::io("recovering the store, or opening it for writing", error)
        })?;
        if let Some(lock) = &mut engine.lock {
            lock.sign(identity.store, &engine.head, self.clock.now());
        }
        let committer = Committer::new(engine, &medium, identity.store, self)?;
        Ok(Store::new(committer, medium, clean, created))
    }
}

/// What is no store by its first bytes, and was one by the note beside it, is damaged.
fn was_a_store(path: &Path, error: Error) -> Error {
    let is_noted = fs::read(beside(path, "lock")).is_ok_and(|text| text.starts_with(b"store "));
    if is_noted && error.kind() == ErrorKind::Invalid {
        return error.with_kind(ErrorKind::Damaged);
    }
    error
}

fn refuse_existing(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(Error::new(
            ErrorKind::Conflict,
            format!("{} exists already: open it, or choose another name", path.display()),
        )),
        Err(_) => Ok(()),
    }
}

/// Makes a new file that only its owner can read, has `build` fill it, and flushes it. What an
/// earlier try left under that name was never a store.
pub(super) fn build_file(path: &Path, build: impl FnOnce(Medium) -> Result<()>) -> Result<()> {
    let io = |what: &str, error| Error::io(format!("{what} {}", path.display()), error);
    system::remove(path).map_err(|error| io("removing the leftover", error))?;
    let file = system::create_new(path, private(&mut OpenOptions::new()))
        .map_err(|error| io("creating", error))?;
    let disk = FileDisk::new(file.try_clone().map_err(|error| io("creating", error))?)
        .map_err(|error| io("creating", error))?;
    build(Medium::File(Arc::new(disk)))
        .and_then(|()| system::flush(&file).map_err(|error| io("flushing", error)))
        .map_err(|error| without_leftover(path, error))
}

/// Removes what a failure left under a name that is no store. Where that fails too, as it can on a file
/// system over its quota, the error names it.
fn without_leftover(path: &Path, error: Error) -> Error {
    match system::remove(path) {
        Ok(()) => error,
        Err(why) => error.context(format!(
            "{} could not be removed ({why}) and is no store: delete it once there is room",
            path.display()
        )),
    }
}

/// Makes every table and writes identity, origin and head, in one commit of two phases, and closes.
pub(super) fn initialize(
    medium: Medium,
    cache_bytes: usize,
    identity: &Identity,
    mut head: Head,
) -> Result<()> {
    let origin = medium.file().map(Origin::marked).transpose()?.flatten();
    let (db, _) = open_redb(Backend::new(medium, Arc::default()), cache_bytes)?;
    shielded("create the store", || {
        let mut txn = db.begin_write().map_err(storage_error)?;
        txn.set_two_phase_commit(true);
        create_tables(&txn)?;
        let mut first = vec![(META_IDENTITY, row_of(META_IDENTITY, identity)?)];
        if let Some(origin) = &origin {
            first.push((META_ORIGIN, row_of(META_ORIGIN, origin)?));
        }
        let mut sum = head.sum(Table::Meta);
        {
            let mut meta = txn.open_table(Table::Meta.definition()).map_err(storage_error)?;
            for (key, row) in &first {
                sum.add(Table::Meta, key, row);
                meta.insert(*key, row.as_slice()).map_err(storage_error)?;
            }
        }
        head.set_sum(Table::Meta, sum);
        write_head(&txn, &head)?;
        txn.commit().map_err(storage_error)
    })
}

fn row_of<T: Record>(key: &[u8], record: &T) -> Result<Vec<u8>> {
    let payload = encode(record).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(seal(T::TABLE.id(), key, Header::own(T::VERSION), &payload))
}

/// Opens redb on a backend; the flag says whether it had to repair.
pub(super) fn open_redb(backend: Backend, cache_bytes: usize) -> Result<(Db, bool)> {
    let repaired = Arc::new(AtomicBool::new(false));
    let seen = repaired.clone();
    let mut builder = Builder::new();
    builder
        .set_cache_size(cache_bytes)
        .set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
    let opened = catch_unwind(AssertUnwindSafe(|| builder.create_with_backend(backend)));
    let db = shielded("open the file", || match opened {
        Ok(result) => result.map_err(storage_error),
        Err(panic) => std::panic::resume_unwind(panic),
    })?;
    Ok((Db::new(db), repaired.load(Ordering::Relaxed)))
}

const REDB_MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
const REDB_RECOVERY_REQUIRED: u8 = 2;
/// Which commit slot is the newest, whether it was closed in order, and in how many phases.
const REDB_FLAGS: u8 = 7;

/// Whether the file was closed in order, by redb's own flag; an error if it is no redb file.
pub(super) fn check_header(disk: &dyn Disk) -> Result<bool> {
    let mut header = [0; 10];
    let len = disk.len().map_err(|error| Error::io("looking at the store", error))?;
    if len < 4096 {
        return Err(Error::invalid(format!(
            "{len} bytes are no store: check the path; if it was one, restore it from a copy"
        )));
    }
    disk.read(0, &mut header).map_err(|error| Error::io("reading the store", error))?;
    let [magic @ .., flags] = header;
    if magic == [0; REDB_MAGIC.len()] {
        return Err(Error::damaged(
            "the file begins with zeros, where a store has its header: it is damaged, or never was a \
             store. Nothing was changed: check the path, or restore a copy",
        ));
    }
    if magic != REDB_MAGIC {
        return Err(Error::invalid(
            "this file is no store: it begins with other bytes. Check the path; if it was one, run \
             `repair` on a copy or restore it",
        ));
    }
    if flags & !REDB_FLAGS != 0 {
        return Err(Error::damaged(
            "the flags at the beginning of the file are not what was written. Nothing was changed: \
             restore a copy, or run `repair`, which keeps the damaged file",
        ));
    }
    Ok(flags & REDB_RECOVERY_REQUIRED == 0)
}

/// A walk reads each page once: a large cache would only be memory, and slower. Filled by the thread
/// that opens the store, it would also be memory that the allocator keeps for that thread, while the
/// one that commits fills a cache of its own.
const WALK_CACHE_BYTES: usize = 4 << 20;

/// Reads and verifies every page of a file that was closed in order, without changing it.
pub(super) fn verify_pages(disk: Arc<dyn Disk>) -> Result<()> {
    let shadow = Shadow::over(disk).and_then(healed);
    let shadow = shadow.map_err(|error| Error::io("reading the store", error))?;
    let backend = Backend::new(Medium::Disk(Arc::new(shadow)), Arc::default());
    let (mut db, repaired) = open_redb(backend, WALK_CACHE_BYTES)?;
    if repaired {
        // A crash between the end of a recovery and the first commit after it: the flag says that
        // nothing is to be done, and all is as after any crash. Every page has just been verified.
        return Ok(());
    }
    let sound = shielded("verify the file", || db.check_integrity().map_err(storage_error))?;
    if sound {
        return Ok(());
    }
    Err(Error::damaged(
        "a page of the file is not what was written. Nothing was changed: restore a copy, or run \
         `repair`, which keeps the damaged file",
    ))
}

/// Reads who the store is and how far it has come, and refuses what this program cannot read.
fn read_meta(rows: &Snapshot) -> Result<(Identity, Head)> {
    let identity = read_identity(rows).map_err(|error| {
        let missing = error.downcast_ref::<redb::Error>();
        if matches!(missing, Some(redb::Error::TableDoesNotExist(_))) {
            return Error::invalid("a redb file, but not a store of Milepost: check the path")
                .with_source(error);
        }
        error
    })?;
    let missing = || Error::damaged("the store's own header rows are missing: run `repair`");
    let identity = identity.ok_or_else(missing)?;
    Ok((identity, read_head(rows)?.ok_or_else(missing)?))
}
