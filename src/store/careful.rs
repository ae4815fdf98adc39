//! A disk that is looked into, with reads that are tried again. A read that fails for good says
//! nothing about the bytes: it must not become a verdict. So it is kept, however the error is taken
//! on its way up.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::Disk;
use crate::error::{Error, Result};

/// How often a read is tried before it counts as failed.
const TRIES: usize = 3;

/// The disk.
#[derive(Debug)]
pub(super) struct Careful {
    below: Arc<dyn Disk>,
    failed: Arc<Failed>,
}

/// The first read that failed for good.
#[derive(Debug, Default)]
pub(super) struct Failed(Mutex<Option<(io::ErrorKind, String)>>);

impl Careful {
    pub(super) fn over(below: Arc<dyn Disk>, failed: Arc<Failed>) -> Self {
        Self { below, failed }
    }

    fn again<T>(&self, what: &str, call: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let mut tries = 1;
        loop {
            match call() {
                Err(error) if is_damage(&error) => return Err(error),
                Err(error) if tries == TRIES => {
                    self.failed.keep(what, &error);
                    return Err(error);
                }
                Err(_) => tries += 1,
                done => return done,
            }
        }
    }
}

/// Whether the error is about the bytes: they point past the end of the file.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

impl Failed {
    fn keep(&self, what: &str, error: &io::Error) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert_with(|| (error.kind(), format!("{what}: {error}")));
    }

    /// Refuses whatever was found while a read failed.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn check(&self) -> Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some((kind, what)) => Err(Error::io(
                "reading the store, about which nothing can be said now (nothing was changed; if it \
                 stays so, copy what the disk still gives to another disk and work on the copy)",
                io::Error::new(*kind, format!("{what} (tried {TRIES} times)")),
            )),
        }
    }
}

impl Disk for Careful {
    fn len(&self) -> io::Result<u64> {
        self.again("asking for the length", || self.below.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let out = std::cell::RefCell::new(out);
        self.again(&format!("reading at byte {offset}"), || {
            self.below.read(offset, &mut out.borrow_mut())
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.below.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.below.sync()
    }
}
