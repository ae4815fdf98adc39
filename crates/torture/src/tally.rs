//! What came of the cases of a class.

use std::collections::BTreeMap;

use super::class::Outcome;

/// How many violations of a class are kept in words.
const TOLD_MAX: usize = 20;

#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) runs: u64,
    pub(crate) same: u64,
    pub(crate) typed_error: u64,
    pub(crate) rolled_back: u64,
    /// How often each limit that the manual states was met.
    pub(crate) limits: BTreeMap<&'static str, u64>,
    pub(crate) wrong: u64,
    pub(crate) crash: u64,
    pub(crate) violations: u64,
    /// The first violations, each with the command that repeats it.
    pub(crate) told: Vec<String>,
}

impl Tally {
    /// Of a class that could not be run: that fails too, since it proves nothing.
    pub(crate) fn of_none(why: String) -> Self {
        Self { told: vec![why], ..Self::default() }
    }

    pub(crate) fn add(&mut self, outcome: Outcome, repeat: impl FnOnce() -> String) {
        self.runs += 1;
        let (count, what) = match outcome {
            Outcome::Same => (&mut self.same, None),
            Outcome::TypedError => (&mut self.typed_error, None),
            Outcome::RolledBack => (&mut self.rolled_back, None),
            Outcome::Limit(name) => (self.limits.entry(name).or_default(), None),
            Outcome::Wrong(what) => (&mut self.wrong, Some(what)),
            Outcome::Crash(what) => (&mut self.crash, Some(what)),
            Outcome::Violation(what) => (&mut self.violations, Some(what)),
        };
        *count += 1;
        if let Some(what) = what
            && self.told.len() < TOLD_MAX
        {
            self.told.push(format!("{what}\n  again: {}", repeat()));
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.runs == 0 || self.wrong + self.crash + self.violations > 0
    }
}
