//! How an open store ends: closed in order, or let go of as in a crash.

use std::sync::PoisonError;

use super::fate::Fate;
use super::group::Committer;
use super::overlay::Overlay;
use crate::error::Result;

impl Committer {
    /// Waits for what is under way, marks the store as closed in order, and lets go of the file.
    /// A second call does nothing, and repeats what the first one failed with. Calls that have not
    /// joined yet are refused when they would.
    pub(super) fn close(&self) -> Result<()> {
        self.home.check()?;
        self.finish()
    }

    /// [`close`](Committer::close) by the last handle.
    pub(super) fn finish(&self) -> Result<()> {
        self.home.disown();
        // Two that close at once: the second waits for the first.
        let _turn = self.closing.turn()?;
        let ended = self.line.end(&|group| self.commit_group(group), Fate::closed());
        let result = match ended {
            Ok(()) => self
                .with_engine(|engine| Ok(engine.head.seq.next()))
                .and_then(|seq| self.write(&Overlay::default(), seq, self.marks(), true))
                // The handles that are left get the failure, not that all was closed cleanly.
                .inspect_err(|error| self.line.fail(&Fate::of(error)))
                .inspect(|()| self.compact_if_free()),
            Err(fate) if fate.is_close() => Ok(()),
            Err(fate) => Err(fate.error()),
        };
        drop(self.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
        result
    }

    /// Lets go of the file at once, as a crash would.
    pub(super) fn abandon(&self) {
        self.home.disown();
        self.line.abandon(&Fate::closed());
        drop(self.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
