//! A run with a history, to be damaged along with everything else: checkpoints of small states, of
//! which one says only what it differs in, and of a large one, in chunks.

use std::time::Duration;

use milepost::{CheckpointFilter, Error, ErrorKind, Key, Labels, Store, Versioned};
use serde::{Deserialize, Serialize};

use super::judge::Finding;

const RUN: &str = "past";
/// How long the state is after each step; the last one is large.
const WORDS: [u64; 3] = [600, 640, 7_500];

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    words: Vec<u64>,
}

impl Versioned for Past {
    const NAME: &'static str = "past";
    const VERSION: u32 = 1;
}

impl Past {
    /// The state after so many steps: runs of equal words, so that it takes little of the file.
    fn after(steps: u64) -> Self {
        let nth = usize::try_from(steps).ok().and_then(|steps| steps.checked_sub(1));
        let len = nth.and_then(|nth| WORDS.get(nth)).copied().unwrap_or_default();
        let word = |nth: u64| (nth / 64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { words: (0..len).map(word).collect() }
    }
}

/// Longer than anybody looks at it.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Lives through it: a checkpoint with each step, and a key that falls due some day.
pub(crate) fn leave(store: &Store) -> Result<(), Error> {
    let mut run = store.run::<Past>(RUN)?;
    for n in 1..=WORDS.len() as u64 {
        run.step(Key::new(n.to_string()).expires_after(CENTURY), n, |tx| {
            tx.state = Past::after(n);
            tx.checkpoint(Labels::new())
        })?;
    }
    Ok(())
}

/// All of it is there and is what it was: the newest state, the checkpoints and their index.
pub(crate) fn check(store: &Store) -> Result<(), Finding> {
    let filter = CheckpointFilter::new().run(RUN).page(usize::MAX);
    let saved = store.checkpoints().list(&filter)?.checkpoints;
    for found in &saved {
        match store.checkpoints().load::<Past>(&found.id) {
            Ok(state) if state == Past::after(found.steps) => {}
            Ok(_) => return Err(Finding::Wrong("I3: a checkpoint holds another state".to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Finding::Absent("I4: a checkpoint is in no index".to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (newest, steps) = (WORDS.len() as u64, saved.iter().map(|found| found.steps));
    if !steps.eq((1..=newest).rev()) {
        return Err(Finding::Absent("I4: not all checkpoints are listed".to_owned()));
    }
    let run = store.run::<Past>(RUN)?;
    if run.steps() == 0 {
        return Err(Finding::Absent("I4: the run is not there, and begins anew".to_owned()));
    }
    if *run.state() != Past::after(newest) {
        return Err(Finding::Wrong("I1: the state is not that of the last step".to_owned()));
    }
    Ok(())
}
