//! A step that was planned and is on its way to the disk.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::awaited::GroupTicket;
use super::group::Committer;
use crate::error::{Error, Result};

/// What a submitted call comes to, once it is durable. Wait for it, ask whether it is there, or
/// await it on any runtime. Dropped, the call is committed all the same.
#[must_use = "what was submitted is durable only when this says so"]
pub struct Pending<T> {
    value: Option<T>,
    /// `None` if all of it was durable already.
    ticket: Option<GroupTicket>,
    committer: Arc<Committer>,
}

impl<T> Pending<T> {
    pub(super) fn new(value: T, ticket: Option<GroupTicket>, committer: Arc<Committer>) -> Self {
        Self { value: Some(value), ticket, committer }
    }

    /// Waits until it is durable. When it returns `Ok`, it is.
    ///
    /// # Errors
    /// The failure of the commit that carried it: `Uncertain` if that may be on disk; `Invalid` if
    /// the value was taken already.
    pub fn wait(mut self) -> Result<T> {
        self.committer.home.check()?;
        if let Some(ticket) = &self.ticket {
            self.committer.wait(ticket)?;
        }
        self.value.take().ok_or_else(taken)
    }

    /// What it came to, if it is durable or has failed by now; the value is handed out once.
    pub fn try_wait(&mut self) -> Option<Result<T>> {
        if let Err(error) = self.committer.home.check() {
            return Some(Err(error));
        }
        let outcome = self.ticket.as_ref().map_or(Some(Ok(())), |ticket| ticket.outcome())?;
        Some(self.hand_out(outcome.map_err(|fate| fate.error())))
    }

    fn hand_out(&mut self, outcome: Result<()>) -> Result<T> {
        outcome.and_then(|()| self.value.take().ok_or_else(taken))
    }
}

// Nothing in it is ever pinned.
impl<T> Unpin for Pending<T> {}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Err(error) = self.committer.home.check() {
            return Poll::Ready(Err(error));
        }
        let outcome = match &self.ticket {
            None => Some(Ok(())),
            Some(ticket) => ticket.outcome_or_wake(context.waker()),
        };
        match outcome {
            None => Poll::Pending,
            Some(outcome) => Poll::Ready(self.hand_out(outcome.map_err(|fate| fate.error()))),
        }
    }
}

fn taken() -> Error {
    Error::invalid("the value of this pending call was taken already")
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
