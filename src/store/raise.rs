//! Between what an opening finds and its first commit: whether this is the store as it was left, and
//! what is written when it is not.

use super::backend::Medium;
use super::engine::Engine;
use super::head::{Head, META_UNCLEAN, Unclean, unclean_key};
use super::lock::{LockFile, Note};
use super::options::{OnCopy, Options};
use super::origin::{META_ORIGIN, Origin};
use super::overlay::Overlay;
use super::snapshot::Read;
use super::tables::{Record, Table};
use super::unreconciled::{META_UNRECONCILED, Unreconciled};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreId;
use crate::record::{Header, encode, seal};
use crate::seq::{Epoch, Incarnation};

/// How many epochs without a close are remembered.
const UNCLEAN_KEPT: usize = 1_024;

/// How the store that is being opened differs from the one that was left.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What was noted down of a newer state than this one.
    newer: Option<Note>,
    /// What says that this is another file, if the caller said that it is a copy.
    copied: Option<&'static str>,
    /// The file it is in, if the store does not know it so.
    origin: Option<Origin>,
}

impl Options {
    /// Holds the store against what is known of where it was and how far it had come. Nothing of the
    /// file is changed, unless the caller said what to do with a copy: then it may be marked.
    ///
    /// # Errors
    /// `OlderCopy` for another file and for an older state, unless the caller said what to do with it;
    /// `Damaged` for an older state that may be the store itself, damaged.
    pub(super) fn compared(
        &self,
        rows: &impl Read,
        medium: &Medium,
        lock: Option<&LockFile>,
        store: StoreId,
        head: &Head,
    ) -> Result<Changes> {
        let newer = lock.and_then(LockFile::left).filter(|left| left.is_behind(store, head));
        let known = rows.record::<Origin>(META_ORIGIN)?;
        let now = medium.file().map(Origin::of).transpose()?.flatten();
        let other =
            now.as_ref().zip(known.as_ref()).and_then(|(now, known)| now.differs_from(known));
        match (self.on_copy, other) {
            (OnCopy::Refuse, Some(why)) => return Err(is_copy(store, why)),
            (OnCopy::Refuse | OnCopy::Moved, _) => {
                newer.map_or(Ok(()), |newer| newer.check(store, head))?;
            }
            (OnCopy::Copy, _) => {}
        }
        let origin = match (now, &known) {
            (Some(now), Some(known)) if other.is_none() => Some(now.renewed(known)),
            (Some(_), _) => medium.file().map(Origin::marked).transpose()?.flatten(),
            (None, _) => None,
        };
        Ok(Changes {
            newer: newer.cloned(),
            copied: other.filter(|_| self.on_copy == OnCopy::Copy),
            origin: origin.filter(|origin| known.as_ref() != Some(origin)),
        })
    }

    /// The first commit of this holder. Everything older is now of an earlier epoch.
    pub(super) fn raise_epoch(&self, engine: &mut Engine, changes: &Changes) -> Result<()> {
        let mut rows = Overlay::default();
        let mut head = engine.head.clone();
        if !head.clean {
            // A commit that was under way had the next number: leave that number unused.
            let key = unclean_key(head.epoch);
            put(&mut rows, &key, &Unclean { last: head.seq })?;
            head.seq = head.seq.next();
            let kept = engine.snapshot()?.scan(Table::Meta, META_UNCLEAN, &[], UNCLEAN_KEPT)?;
            if let (true, Some((oldest, _))) = (kept.len() == UNCLEAN_KEPT, kept.first()) {
                rows.set(Table::Meta, oldest, None);
            }
        }
        if let Some(origin) = &changes.origin {
            put(&mut rows, META_ORIGIN, origin)?;
        }
        let now = self.now();
        if let Some(why) = changes.why(engine.store, &engine.head) {
            let before = Unreconciled::of(&*engine.snapshot()?)?;
            put(&mut rows, META_UNRECONCILED, &before.and(why))?;
            // What became of the commits that are not in this file, nobody can say. No store has an
            // epoch 0.
            put(&mut rows, &unclean_key(Epoch::default()), &Unclean::LOST)?;
            changes.begin_life(engine.store, &mut head, now);
        }
        head.epoch = head.epoch.next();
        head.seq = head.seq.next();
        head.clean = false;
        // Nobody was told anything by this opening: whether its mark is on disk is all the same.
        engine
            .try_commit(&rows, head)
            .map_err(|error| error.context("the store could not be opened for writing"))
    }
}

impl Changes {
    /// Why the store has to be reconciled; `None` if it has not to be.
    fn why(&self, store: StoreId, head: &Head) -> Option<String> {
        let older = self.newer.as_ref().and_then(|newer| newer.reached(store)).map(|(_, seq)| {
            let newest = head.seq;
            format!(
                "an older copy was put in its place, which ends with commit {newest} where {seq} had \
                 been reached"
            )
        });
        let copied = self.copied.map(|why| {
            format!("it was opened as a copy ({why}), and the original may have sent since")
        });
        older.or(copied)
    }

    fn begin_life(&self, store: StoreId, head: &mut Head, now: Timestamp) {
        if let Some(newer) = &self.newer
            && let Some((epoch, seq)) = newer.reached(store)
        {
            // The newer file may have been in another life than this copy, as when this very copy was
            // put back before.
            head.incarnation = head.incarnation.max(newer.life);
            head.epoch = head.epoch.max(epoch);
            head.seq = head.seq.max(seq.next());
        }
        head.incarnation = match self.copied {
            Some(_) => life_of_a_copy(head.incarnation, now),
            None => head.incarnation.next(),
        };
    }
}

/// A later life that neither the original nor another copy of it comes to: those count on from the same
/// number, and know nothing of this one.
pub(super) fn life_of_a_copy(before: Incarnation, now: Timestamp) -> Incarnation {
    const NEXT_LIVES: u64 = 1 << 32;
    let drawn = StoreId::draw(now.as_ms(), b"copy");
    let number = drawn.as_bytes().iter().take(5).fold(0, |all, byte| all << 8 | u64::from(*byte));
    Incarnation::new(before.get() + NEXT_LIVES + number)
}

/// What is said of another file than the one the store was in.
pub(super) fn is_copy(store: StoreId, why: &str) -> Error {
    Error::new(
        ErrorKind::OlderCopy,
        format!(
            "this is not the file that store {store} was last opened in ({why}): it is a copy, a \
             restored backup, or was moved by a tool that copies. If the original is used too, both \
             send under the same external ids. Nothing was changed. Open the original; or, if it is \
             gone and this file is as new as it was, open this one with \
             `Options::on_copy(OnCopy::Moved)`; or, to use it as a store of its own, with \
             `OnCopy::Copy`, and reconcile it with your receivers"
        ),
    )
}

fn put<T: Record>(rows: &mut Overlay, key: &[u8], record: &T) -> Result<()> {
    let payload = encode(record).map_err(|error| Error::invalid(error.to_string()))?;
    let row = seal(T::TABLE.id(), key, Header::own(T::VERSION), &payload);
    rows.set(T::TABLE, key, Some(&row));
    Ok(())
}
