//! A run's state in memory: the value that steps change, and another one like it, by which a step that
//! fails is undone.
//!
//! The other one is read from the state's bytes *before* a closure may change the first. So a
//! `Deserialize` that has come to refuse them, or to panic over them, refuses the step, and no step is
//! undone by what a type has as its default.

use std::borrow::Cow;
use std::mem;

use serde::de::DeserializeOwned;

use super::draft::{Draft, without_state};
use super::schema::Renewed;
use super::state;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::RunRecord;
use crate::record::{Chunked, Payload};

pub(super) struct Kept<S> {
    held: Held<S>,
    /// A second state that was read from the same bytes, if there is one.
    another: Option<S>,
}

enum Held<S> {
    Here(S),
    /// A step has it.
    Lent,
    /// What a step that failed made of it: the state from before it did not read back.
    Lost(S),
}

/// The state in bytes, as it was before a step.
#[derive(Clone, Copy)]
pub(super) struct Before<'r> {
    pub(super) record: &'r RunRecord,
    pub(super) large: Option<&'r Chunked>,
    pub(super) renewed: Option<&'r Renewed>,
}

impl<'r> Before<'r> {
    fn stored(self) -> Cow<'r, Payload> {
        match self.renewed {
            Some(renewed) => Cow::Borrowed(&renewed.state),
            None => state::whole(self.large, &self.record.state),
        }
    }
}

impl<S> Kept<S> {
    pub(super) fn new(state: S) -> Self {
        Self { held: Held::Here(state), another: None }
    }

    pub(super) fn get(&self) -> &S {
        match &self.held {
            Held::Here(state) | Held::Lost(state) => state,
            Held::Lent => unreachable!("a step holds the run until it has given the state back"),
        }
    }

    /// # Errors
    /// `Poisoned` for every call that would go on from a state that is not the run's.
    pub(super) fn check(&self, run: &RunName) -> Result<()> {
        match self.held {
            Held::Here(_) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Poisoned,
                format!(
                    "a step of the run \"{run}\" failed, and the `Deserialize` of its state refused \
                     the state from before that step: drop this handle and open the run again. \
                     Nothing was written"
                ),
            )),
        }
    }

    /// The state has other bytes now; `another` was read from them, if anything was.
    pub(super) fn changed(&mut self, another: Option<S>) {
        self.another = another;
    }
}

impl<S: DeserializeOwned> Kept<S> {
    /// Hands the state out for a step. Of a small state another one is read before that, unless there
    /// is one: the undo of the step then needs nothing that can fail. A large one is read again only
    /// if the step fails.
    ///
    /// # Errors
    /// `Poisoned` if the type refuses what it wrote: the state stays as it is.
    pub(super) fn lend(&mut self, run: &RunName, before: Before<'_>) -> Result<S> {
        self.check(run)?;
        if self.another.is_none() && before.large.is_none() {
            let another = before.stored().value_or_refusal().map_err(|why| {
                Error::new(
                    ErrorKind::Poisoned,
                    format!(
                        "the `Deserialize` of the state of the run \"{run}\" refuses what was stored \
                         ({why}): a step that fails could not be undone. The state in memory is as it \
                         was; nothing was written"
                    ),
                )
            })?;
            self.another = Some(another);
        }
        match mem::replace(&mut self.held, Held::Lent) {
            Held::Here(state) => Ok(state),
            held => {
                self.held = held;
                Err(without_state())
            }
        }
    }
}

/// A step under way: the draft has the run's state, and gives it back when this is dropped, by an error
/// or a panic of the closure too.
pub(super) struct Undo<'r, S: DeserializeOwned> {
    kept: &'r mut Kept<S>,
    before: Before<'r>,
    pub(super) draft: Draft<S>,
    is_done: bool,
}

impl<'r, S: DeserializeOwned> Undo<'r, S> {
    // A draft takes a kilobyte, which is copied if this is called.
    #[inline]
    pub(super) fn of(kept: &'r mut Kept<S>, before: Before<'r>, draft: Draft<S>) -> Self {
        Self { kept, before, draft, is_done: false }
    }

    /// The step's plan is complete: the state is what the draft says.
    pub(super) fn done(&mut self) {
        self.is_done = true;
    }
}

impl<S: DeserializeOwned> Drop for Undo<'_, S> {
    fn drop(&mut self) {
        // Without one, the run has none to go on from, and says so.
        let Some(state) = self.draft.state.take() else { return };
        let kept = &mut *self.kept;
        if self.is_done {
            kept.held = Held::Here(state);
            return;
        }
        let stored = self.before;
        let before = kept.another.take().or_else(|| stored.stored().value_or_refusal().ok());
        kept.held = before.map_or(Held::Lost(state), Held::Here);
    }
}
