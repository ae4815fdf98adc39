//! The process that opened a store.
//!
//! A forked child inherits every handle with all its memory, and shares the parent's open files. It
//! must not use them: two processes would write one file, each from its own idea of it; a lock of
//! the parent that another thread held at the fork stays locked in the child for ever; and whoever
//! unlocks a file that two processes share has unlocked it for both. So each call on a handle asks
//! first, before any lock is taken, whether this is still the process that opened it. What the child
//! drops is forgotten without its destructors.
//!
//! The lock is held as long as any process has the lock file open as the parent opened it. A child
//! that outlives its parent holds it too, until it ends, calls `exec`, drops the handle or is refused
//! once: then it closes the files it shares with its parent, which unlocks nothing for the parent.
//!
//! A child learns that it was forked from the handler that the C library runs in it, which costs a call
//! one load from memory; asking the system for the process's number would cost a step a tenth. A child
//! made around the C library (a bare `clone`) is known by its number, before it reads or writes the file.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Which process opened it.
#[derive(Debug)]
pub(super) struct Owner {
    pid: u32,
    /// `None` where there is no fork, or the handler could not be registered: then the number is asked
    /// for each time.
    #[cfg(unix)]
    guard: Option<forkguard::atfork::Guard>,
    /// Another process was seen. Its children inherit that, whatever their numbers are.
    left: AtomicBool,
}

impl Owner {
    /// This process.
    pub(super) fn this() -> Self {
        Self {
            pid: std::process::id(),
            #[cfg(unix)]
            guard: forkguard::atfork::Guard::try_new().ok(),
            left: AtomicBool::new(false),
        }
    }

    /// As a child sees it that a bare `clone` has made: the C library has reported nothing.
    #[cfg(test)]
    pub(super) fn of_another_process() -> Self {
        Self { pid: 0, ..Self::this() }
    }

    /// Whether this is the process that opened it.
    pub(super) fn is_here(&self) -> bool {
        if self.left.load(Ordering::Relaxed) {
            return false;
        }
        let is_here = !self.was_forked();
        if !is_here {
            self.left.store(true, Ordering::Relaxed);
        }
        is_here
    }

    #[cfg(unix)]
    fn was_forked(&self) -> bool {
        match &self.guard {
            // A guard tells once; a copy of it tells each time.
            Some(guard) => guard.clone().detected_fork(),
            None => self.has_another_number(),
        }
    }

    #[cfg(not(unix))]
    fn was_forked(&self) -> bool {
        false
    }

    fn has_another_number(&self) -> bool {
        std::process::id() != self.pid
    }

    /// Refuses any other process.
    ///
    /// # Errors
    /// `Forked`.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_here() { Ok(()) } else { Err(self.forked()) }
    }

    /// [`check`](Owner::check) for what redb calls, by the number too: what follows is a system call
    /// anyway.
    ///
    /// # Errors
    /// The same as an I/O error.
    pub(super) fn check_io(&self) -> io::Result<()> {
        if self.has_another_number() {
            self.left.store(true, Ordering::Relaxed);
        }
        self.check().map_err(io::Error::other)
    }

    fn forked(&self) -> Error {
        Error::new(
            ErrorKind::Forked,
            format!(
                "process {} opened this store, and this is its forked child {}, which only inherited \
                 the handle: nothing was read or written. Make the call in the parent; or drop the \
                 handle, and open the store here once the parent has closed it",
                self.pid,
                std::process::id()
            ),
        )
    }
}

/// The process that opened a store, and the files it has open.
#[derive(Debug)]
pub(super) struct Home {
    owner: Owner,
    /// The files by number, to be closed in a forked child. Nothing else can close them there: their
    /// owners are shared with threads that do not exist.
    files: Vec<i32>,
    /// The files are closed, or about to be: their numbers may be those of other files now.
    is_over: AtomicBool,
}

impl Home {
    /// This process, with these files open.
    pub(super) fn of(files: Vec<i32>) -> Self {
        Self { owner: Owner::this(), files, is_over: AtomicBool::new(false) }
    }

    /// Refuses any other process. There it closes the files, which changes nothing for the parent;
    /// whatever else in this process owns one of them must never be dropped.
    ///
    /// # Errors
    /// `Forked`.
    pub(super) fn check(&self) -> Result<()> {
        self.owner.check().inspect_err(|_| self.close_inherited())
    }

    /// From now on the files may be closed by those who own them.
    pub(super) fn disown(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn close_inherited(&self) {
        if !self.is_over.swap(true, Ordering::SeqCst) {
            #[cfg(unix)]
            for number in &self.files {
                let _ = nix::unistd::close(*number);
            }
        }
    }
}

/// The number of an open file, where files have numbers that a child inherits.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "on other systems a file has none")]
pub(super) fn number_of(file: &std::fs::File) -> Option<i32> {
    use std::os::fd::AsRawFd;
    Some(file.as_raw_fd())
}

#[cfg(not(unix))]
pub(super) fn number_of(_: &std::fs::File) -> Option<i32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_opened_it_may_use_it() {
        assert!(Owner::this().check().is_ok() && Owner::this().check_io().is_ok());
        let another = Owner::of_another_process();
        assert!(another.check_io().is_err());
        let error = another.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forked);
        assert!(error.to_string().contains("process 0 opened this store"), "{error}");
    }

    /// Against: a grandchild that is given the number of the process that opened the store.
    #[test]
    fn a_process_that_was_refused_once_stays_refused() {
        let mut owner = Owner::of_another_process();
        assert!(owner.check_io().is_err() && !owner.is_here());
        owner.pid = std::process::id();
        assert!(owner.check_io().is_err() && !owner.is_here());
    }
}
