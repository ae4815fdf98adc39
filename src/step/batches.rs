//! A stream of inputs, so many of them in each commit.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::run::Run;
use super::tx::Tx;
use crate::error::{Error, Result};
use crate::ledger::{Key, Versioned};
use crate::position::IntoPosition;

/// What [`Run::batches`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Batches {
    /// How many commits it made.
    pub batches: u64,
    /// How many inputs were new.
    pub fresh: u64,
    /// How many were seen before.
    pub repeats: u64,
}

impl<S> Run<S>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    /// Cuts a stream of inputs into batches of `per_commit`, the last one may be shorter, and does
    /// each of them as a [`batch`](Run::batch): one commit. Each item has its key, its position and
    /// what `work` needs for it; it is taken from the stream when its turn has come. When it returns
    /// `Ok`, all of them are durable.
    ///
    /// # Example: an import that can be killed
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Import {
    /// #     cents: u64,
    /// # }
    /// # impl milepost::Versioned for Import {
    /// #     const NAME: &'static str = "import";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// let lines = ["100", "250", "30", "5", "15"];
    /// let mut run = store.run::<Import>("payments.csv")?;
    /// let numbered = (0u64..).zip(lines).skip(run.next_index() as usize);
    /// let done = run.batches(numbered.map(|(at, line)| (at, at, line)), 2, |tx, line| {
    ///     use milepost::OrAbort;
    ///     tx.state.cents += line.parse::<u64>().or_abort()?;
    ///     Ok(())
    /// })?;
    /// assert_eq!((done.batches, done.fresh, run.state().cents), (3, 5, 400));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if `per_commit` is 0; those of [`batch`](Run::batch). The batches before the one that
    /// failed are durable, and the error says how many items that are; the [`position`](Run::position)
    /// and the [`state`](Run::state) are as after the last of them, and nothing of the one that failed
    /// was written, with the exceptions of [`step`](Run::step). Given the same stream again, those that
    /// are durable are found by their keys, and the closure is not called for them.
    pub fn batches<R: Serialize + DeserializeOwned + 'static, K: Into<Key>, P: IntoPosition, I>(
        &mut self,
        items: impl IntoIterator<Item = (K, P, I)>,
        per_commit: usize,
        mut work: impl FnMut(&mut Tx<'_, S>, I) -> Result<R>,
    ) -> Result<Batches> {
        if per_commit == 0 {
            return Err(Error::invalid(
                "batches of 0 items never come to an end: give at least 1. Nothing was written",
            ));
        }
        let (mut items, mut all) = (items.into_iter(), Batches::default());
        loop {
            let done = self.batch(items.by_ref().take(per_commit), &mut work);
            let done = done.map_err(|error| {
                let before = all.fresh + all.repeats;
                error.context(format!("after {before} items that are durable"))
            })?;
            let fresh = done.iter().filter(|done| done.is_fresh()).count() as u64;
            all.batches += u64::from(!done.is_empty());
            all.fresh += fresh;
            all.repeats += done.len() as u64 - fresh;
            if done.len() < per_commit {
                return Ok(all);
            }
        }
    }
}
