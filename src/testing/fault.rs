//! Which call of a disk fails, and how.

use std::io;

/// A kind of call on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Any of the three below: whatever changes the disk.
    Change,
    /// A write.
    Write,
    /// A change of the length.
    Resize,
    /// A flush.
    Sync,
    /// A read.
    Read,
}

impl Call {
    pub(super) fn includes(self, call: Self) -> bool {
        self == call || (self == Self::Change && call != Self::Read)
    }
}

/// One call that fails, or all from one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of call is counted.
    pub call: Call,
    /// Which one of them, from 0, since the disk was armed.
    pub nth: u64,
    /// What of it is done all the same.
    pub effect: Effect,
    /// What the caller is told.
    pub error: io::ErrorKind,
    /// Whether all calls of the kind behind it fail too; of those nothing is done.
    pub stays: bool,
}

/// What of a call that fails is done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing. After a flush, what was not flushed still may be, by the next one.
    Nothing,
    /// The first half: of the bytes of a write, of the way to the new length, of the changes that a
    /// flush has to write.
    Half,
    /// All of it.
    All,
    /// For a flush: nothing reaches the disk, and the cache takes it for written. Reads see it, no
    /// later flush writes it, a power cut loses it; but whoever writes a byte of such a page has the
    /// whole page written with the next flush. So do Linux and others.
    Forgotten,
}

impl Fault {
    /// From this change of the disk on, nothing works any more.
    #[must_use]
    pub const fn at(nth: u64) -> Self {
        Self::of(Call::Change, nth)
    }

    /// From this call of the kind on, it does not work any more.
    #[must_use]
    pub const fn of(call: Call, nth: u64) -> Self {
        Self { call, nth, effect: Effect::Nothing, error: io::ErrorKind::Other, stays: true }
    }

    /// The same, but that one call alone fails.
    #[must_use]
    pub const fn once(self) -> Self {
        Self { stays: false, ..self }
    }

    /// The same with this effect.
    #[must_use]
    pub const fn effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// The same with this error.
    #[must_use]
    pub const fn error(self, error: io::ErrorKind) -> Self {
        Self { error, ..self }
    }

    pub(super) fn hit(&self, call: Call, counts: Counts) -> Option<(Effect, io::Error)> {
        if !self.call.includes(call) {
            return None;
        }
        // The call at hand is counted already.
        let error = io::Error::new(self.error, "the disk was told to fail");
        match (counts.of(self.call) - 1).cmp(&self.nth) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some((self.effect, error)),
            std::cmp::Ordering::Greater => self.stays.then_some((Effect::Nothing, error)),
        }
    }
}

/// A promise that a disk may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Flushes do nothing, and say that they have.
    SkipSyncs,
    /// Writes of the storage engine's header are seen by reads and never reach the disk.
    DropHeader,
}

/// How many calls there were.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    writes: u64,
    resizes: u64,
    syncs: u64,
    reads: u64,
}

impl Counts {
    pub(super) fn of(self, call: Call) -> u64 {
        match call {
            Call::Change => self.writes + self.resizes + self.syncs,
            Call::Write => self.writes,
            Call::Resize => self.resizes,
            Call::Sync => self.syncs,
            Call::Read => self.reads,
        }
    }

    /// Counts one more, and says what there were with it.
    pub(super) fn add(&mut self, call: Call) -> Self {
        match call {
            // Nobody makes a call of any kind: it is one of the others.
            Call::Change => {}
            Call::Write => self.writes += 1,
            Call::Resize => self.resizes += 1,
            Call::Sync => self.syncs += 1,
            Call::Read => self.reads += 1,
        }
        *self
    }
}
