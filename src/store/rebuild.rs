//! A new file out of what could be read of a damaged one. The damaged file is kept.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::{Backend, Probe};
use super::disk::{Disk, FileDisk};
use super::engine::Engine;
use super::head::{
    ClockMark, FORMAT, Head, Horizon, Identity, META_IDENTITY, Unclean, unclean_key,
};
use super::inspect::Inspection;
use super::lock::beside;
use super::open::{build_file, initialize, open_redb};
use super::options::{Durability, Options, Reopen};
use super::origin::META_ORIGIN;
use super::overlay::Overlay;
use super::place::{private, sync_folder_of};
use super::raise::life_of_a_copy;
use super::system;
use super::tables::{META_HEAD, Record, Table};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::record::{Header, encode, seal};
use crate::seq::{COUNT_MAX, CommitSeq, Epoch, Incarnation};

/// Rows in one commit of the new file.
const ROWS_PER_COMMIT: usize = 10_000;
/// Past every number that a store whose head is lost may have given out, beyond those that its rows
/// still show.
const GAP: u64 = 1 << 32;
/// The same for epochs: each has shown itself in a row, unless nothing was done in it.
const EPOCH_GAP: u64 = 1 << 16;

/// The highest numbers that the rows of a store show.
#[derive(Debug, Default)]
pub(crate) struct Highest {
    id: u64,
    epoch: u64,
    seq: u64,
    life: u64,
}

impl Highest {
    pub(crate) fn saw_id(&mut self, id: u64) {
        raise(&mut self.id, id);
    }

    pub(crate) fn saw_epoch(&mut self, epoch: Epoch) {
        raise(&mut self.epoch, epoch.get());
    }

    pub(crate) fn saw_commit(&mut self, seq: CommitSeq) {
        raise(&mut self.seq, seq.get());
    }
}

/// Takes a number for what it is, unless no store counts so far: a lie must not use up all the others.
fn raise(highest: &mut u64, seen: u64) {
    if seen < COUNT_MAX / 2 {
        *highest = seen.max(*highest);
    }
}

/// The new file while rows go into it.
pub(crate) struct Rebuild {
    engine: Engine,
    rows: Overlay,
    count: usize,
}

impl Rebuild {
    /// Writes one row as it is.
    pub(crate) fn copy(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<()> {
        // The new file has its own.
        if table == Table::Meta && [META_HEAD, META_IDENTITY, META_ORIGIN].contains(&key) {
            return Ok(());
        }
        self.rows.set(table, key, Some(row));
        self.count += 1;
        if self.count >= ROWS_PER_COMMIT { self.flush() } else { Ok(()) }
    }

    /// Writes a record of ours.
    pub(crate) fn put<T: Record>(&mut self, key: &[u8], record: &T) -> Result<()> {
        let payload = encode(record).map_err(|error| Error::invalid(error.to_string()))?;
        self.put_payload::<T>(key, &payload)
    }

    pub(crate) fn put_payload<T: Record>(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        let row = seal(T::TABLE.id(), key, Header::own(T::VERSION), payload);
        self.copy(T::TABLE, key, &row)
    }

    /// A number that no record of the store has had.
    pub(crate) fn take_id(&mut self) -> u64 {
        let id = self.engine.head.next_id;
        self.engine.head.next_id += 1;
        id
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.count = 0;
        // Whether a commit of the new file is on disk is all the same: it has no name yet.
        self.engine.try_commit(&rows, self.engine.head.clone())
    }
}

/// Has `fill` write a new file beside the one that was looked into, puts it in its place, and
/// returns where the damaged one is kept. A crash before the last step leaves all as it was.
pub(crate) fn rebuild(
    inspection: Inspection,
    options: &Options,
    mut highest: Highest,
    fill: impl FnOnce(&Inspection, &mut Rebuild) -> Result<()>,
) -> Result<PathBuf> {
    let Some((path, _)) = &inspection.file else {
        return Err(Error::invalid("only a store in a file can be repaired"));
    };
    let path = path.clone();
    let now = options.now();
    let identity = match inspection.identity.clone() {
        Some(identity) => Identity { format: FORMAT, ..identity },
        None => Identity {
            format: FORMAT,
            store: StoreId::draw(now.as_ms(), path.as_os_str().as_encoded_bytes()),
            created: now,
        },
    };
    if let Some((_, lock)) = &inspection.file
        && let Some(note) = lock.left()
        && let Some((epoch, commit)) = note.reached(identity.store)
    {
        highest.saw_epoch(epoch);
        highest.saw_commit(commit);
        raise(&mut highest.life, note.life.get());
    }
    let mut fresh = match &inspection.head {
        Some(head) => continued(head, &highest),
        None => begun_anew(now, &highest),
    };
    if inspection.copied.is_some() {
        fresh.incarnation = life_of_a_copy(fresh.incarnation, now);
    }
    let mut whole_head = fresh.clone();
    let building = beside(&path, "repairing");
    build_file(&building, |medium| {
        initialize(medium.clone(), options.cache_bytes, &identity, fresh)?;
        let probe = Arc::new(Probe::default());
        let (db, _) = open_redb(Backend::new(medium, probe.clone()), options.cache_bytes)?;
        let head = read_back(&db)?;
        let engine = Engine {
            db,
            store: identity.store,
            head,
            probe,
            anchor: None,
            durability: Durability::OnePhase,
            reopen: Reopen::Verified,
            value_limit: crate::record::PAYLOAD_BYTES_MAX,
            lock: None,
        };
        let mut rebuild = Rebuild { engine, rows: Overlay::default(), count: 0 };
        if let Some(head) = inspection.head.as_ref().filter(|head| !head.clean)
            && inspection.lost.is_none()
            && inspection.copied.is_none()
        {
            // As the next opening would have noted it down: what came after this one was not committed.
            rebuild.put(&unclean_key(head.epoch), &Unclean { last: head.seq })?;
        }
        fill(&inspection, &mut rebuild)?;
        rebuild.flush()?;
        // What could not be read for a moment is not lost, and must not be left out.
        inspection.check_read()?;
        whole_head = rebuild.engine.head.clone();
        Ok(())
    })?;
    let kept = keep(&path, now)?;
    system::rename(&building, &path).map_err(|error| {
        Error::io(format!("renaming {} to {}", building.display(), path.display()), error)
    })?;
    sync_folder_of(&path).map_err(|error| {
        error.context(format!(
            "the store was repaired, and the damaged file is {}; which of the two is found at {} \
             after a power cut is not certain until the store was opened",
            kept.display(),
            path.display()
        ))
    })?;
    if let Some((_, mut lock)) = inspection.file {
        // So that an older copy in the place of the repaired file is told, too.
        lock.sign(identity.store, &whole_head, now);
    }
    Ok(kept)
}

/// The head of the new file, behind the one that was found.
fn continued(head: &Head, highest: &Highest) -> Head {
    Head {
        // A new life: what is missing may have carried numbers that are given out again, and no
        // external id may be used twice.
        incarnation: Incarnation::new(head.incarnation.get().max(highest.life)).next(),
        // An epoch of its own: the one before did not end in order if this one does not.
        epoch: head.epoch.max(Epoch::new(highest.epoch)).next(),
        // After the last one that was acknowledged another may have been under way.
        seq: head.seq.next().next().max(CommitSeq::new(highest.seq + 2)),
        next_id: head.next_id.max(highest.id + 1),
        sums: Head::first(head.clock).sums,
        ..head.clone()
    }
}

/// The head of the new file when the old one is lost: past every number that may have been given out,
/// and under no known life. All that may have been forgotten counts as forgotten.
fn begun_anew(now: Timestamp, highest: &Highest) -> Head {
    Head {
        incarnation: drawn_life(now),
        epoch: Epoch::new(highest.epoch + EPOCH_GAP),
        seq: CommitSeq::new(highest.seq + GAP),
        next_id: highest.id + GAP,
        horizon: Horizon { keys: now, intents: highest.id + GAP },
        clean: false,
        ..Head::first(ClockMark { high_water: now, ..ClockMark::default() })
    }
}

/// A life that no store has had before, as far as chance goes.
fn drawn_life(now: Timestamp) -> Incarnation {
    let drawn = StoreId::draw(now.as_ms(), b"incarnation");
    let number = drawn.as_bytes().iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte));
    Incarnation::new(number >> 2)
}

/// The head that [`initialize`] wrote, accumulators included.
fn read_back(db: &redb::Database) -> Result<Head> {
    use super::snapshot::{Read, Snapshot};
    Snapshot::take(db, crate::record::PAYLOAD_BYTES_MAX)?
        .record(META_HEAD)?
        .ok_or_else(|| Error::damaged("the new file has no head"))
}

/// Keeps the damaged file under another name, so that the path is never without a store. When this
/// returns, that is durable, content and name: only then the path may lead to another file.
fn keep(path: &Path, now: Timestamp) -> Result<PathBuf> {
    let kept = give_second_name(path, path, now).or_else(|_| keep_copy(path, now))?;
    sync_folder_of(path)?;
    Ok(kept)
}

/// Gives `file` the first name for damaged files that is free.
fn give_second_name(file: &Path, path: &Path, now: Timestamp) -> Result<PathBuf> {
    new_name(path, now, |kept| system::hard_link(file, kept))
}

/// The first free name that `name` can give a file.
fn new_name(
    path: &Path,
    now: Timestamp,
    name: impl Fn(&Path) -> io::Result<()>,
) -> Result<PathBuf> {
    let first = format!("damaged-{}", now.as_ms() / 1000);
    let mut kept = beside(path, &first);
    for again in 1.. {
        match name(&kept) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                kept = beside(path, &format!("{first}-{again}"));
            }
            Err(error) => {
                return Err(Error::io(
                    format!("keeping the damaged file as {}", kept.display()),
                    error,
                ));
            }
        }
    }
    Ok(kept)
}

/// On a file system without hard links: a copy, which has its name only when all of it is durable. The
/// lock file is held, so no other repair of this store is under way. A crash before the copy has its
/// name leaves `<store>.keeping`, and the damaged file where it is; the next repair copies again.
fn keep_copy(path: &Path, now: Timestamp) -> Result<PathBuf> {
    let copying = beside(path, "keeping");
    let io = |what: &str, error| Error::io(format!("{what} {}", copying.display()), error);
    system::remove(&copying).map_err(|error| io("removing the leftover", error))?;
    let copied = copy_durably(path, &copying)
        .map_err(|error| io("copying the damaged file to", error))
        .and_then(|()| {
            new_name(path, now, |kept| {
                if fs::symlink_metadata(kept).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                system::rename(&copying, kept)
            })
        });
    copied.inspect_err(|_| {
        let _ = system::remove(&copying);
    })
}

/// Copies a file into a new one, flushes it, and compares what is read back.
fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    let source = FileDisk::new(File::open(from)?)?;
    let file = system::create_new(to, private(&mut OpenOptions::new()))?;
    let target = FileDisk::new(file.try_clone()?)?;
    let len = source.len()?;
    target.set_len(len)?;
    let (mut bytes, mut copy) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for at in (0..len).step_by(bytes.len()) {
        let part = usize::try_from(len - at).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (bytes, _) = bytes.split_at_mut(part);
        source.read(at, bytes)?;
        target.write(at, bytes)?;
    }
    system::flush(&file)?;
    for at in (0..len).step_by(bytes.len()) {
        let part = usize::try_from(len - at).map_or(bytes.len(), |left| left.min(bytes.len()));
        let (bytes, _) = bytes.split_at_mut(part);
        let (copy, _) = copy.split_at_mut(part);
        source.read(at, bytes)?;
        target.read(at, copy)?;
        if bytes != copy {
            return Err(io::Error::other("the copy is not what was copied"));
        }
    }
    Ok(())
}
