//! Who closes the store: one thread at a time, and none twice. The wakers of submitted calls are the
//! user's code, and run on the thread that commits, so also on the one that closes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::error::{Error, ErrorKind, Result};

#[derive(Default)]
pub(super) struct Closing {
    /// Held by the one that closes.
    turn: Mutex<()>,
    by: Mutex<Option<ThreadId>>,
}

/// The right to close, until it is dropped.
pub(super) struct Turn<'c> {
    closing: &'c Closing,
    _turn: MutexGuard<'c, ()>,
}

impl Closing {
    /// Waits for another thread that is closing.
    ///
    /// # Errors
    /// `Conflict` if this very thread is: it would wait for itself.
    pub(super) fn turn(&self) -> Result<Turn<'_>> {
        let this = thread::current().id();
        if *self.by() == Some(this) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this thread is closing the store already, and a waker that it called closes it again: \
                 the first call will close it",
            ));
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.by() = Some(this);
        Ok(Turn { closing: self, _turn: turn })
    }

    fn by(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.closing.by() = None;
    }
}
