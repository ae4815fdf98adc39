//! What a matrix has tried, and how it tells what it found.

use std::fmt::{self, Write as _};

use super::crash::{Crash, Left, Point, told};
use super::ended::Ended;
use super::plug::Plug;

/// What was tried, by kind. Every one of them ended as the undisturbed run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Crashes {
    /// Flushes in the undisturbed run, from opening the store to closing it.
    pub flushes: u64,
    /// Effects in the undisturbed run, questions of the relay included.
    pub effects: u64,
    /// Kills at a flush: what was written is there.
    pub kills_at_flush: u64,
    /// Power cuts at a flush: what it would have made durable is not there.
    pub power_cuts_at_flush: u64,
    /// Crashes of both kinds when an effect had not reached the world yet.
    pub before_effect: u64,
    /// Crashes of both kinds when an effect had reached the world and its answer was not back.
    pub after_effect: u64,
    /// Crashes while the loop recovered from another one.
    pub in_recovery: u64,
}

impl Crashes {
    /// All crashes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kills_at_flush
            + self.power_cuts_at_flush
            + self.before_effect
            + self.after_effect
            + self.in_recovery
    }

    /// Counts a chain whose crashes have all happened, by the last of them.
    pub(super) fn count(&mut self, chain: &[Crash]) {
        *match chain {
            [] => return,
            [Crash { at: Point::Flush(_), left: Left::Kill }] => &mut self.kills_at_flush,
            [Crash { at: Point::Flush(_), left: Left::PowerCut }] => &mut self.power_cuts_at_flush,
            [Crash { at: Point::Before(_), .. }] => &mut self.before_effect,
            [Crash { at: Point::After(_), .. }] => &mut self.after_effect,
            _ => &mut self.in_recovery,
        } += 1;
    }
}

impl fmt::Display for Crashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} crashes in a loop of {} flushes and {} effects: at a flush {} kills and {} power \
             cuts, {} before an effect, {} after one, {} in recovery",
            self.total(),
            self.flushes,
            self.effects,
            self.kills_at_flush,
            self.power_cuts_at_flush,
            self.before_effect,
            self.after_effect,
            self.in_recovery
        )
    }
}

/// Why a loop does not pass. `Display` and `Debug` both tell the whole story, so that an `unwrap` in
/// a test shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct CrashFailure {
    crash: Option<String>,
    story: String,
}

impl CrashFailure {
    /// The crash that does it, as [`only`](super::CrashMatrix::only) takes it; `None` if the loop
    /// fails without one.
    #[must_use]
    pub fn crash(&self) -> Option<&str> {
        self.crash.as_deref()
    }

    pub(super) fn of_setup(story: String) -> Self {
        Self { crash: None, story }
    }

    pub(super) fn of_two_runs(difference: &Difference) -> Self {
        Self::of_setup(format!(
            "the loop does not do the same twice, so nothing can be held against it: take times \
             and numbers from the world or from the step, not from the machine\n{difference}"
        ))
    }
}

impl fmt::Display for CrashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.story)
    }
}

impl fmt::Debug for CrashFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.story)
    }
}

impl std::error::Error for CrashFailure {}

/// The crashes of one try so far, and what led up to each.
#[derive(Default)]
pub(super) struct Told {
    chain: Vec<Crash>,
    lives: String,
}

impl Told {
    pub(super) fn crashed(&mut self, crash: Crash, plug: &Plug, ended: &Ended) {
        const SHOWN: usize = 5;
        self.chain.push(crash);
        let life = self.chain.len();
        let ended = ended.why().unwrap_or_else(|| "its end all the same".to_owned());
        // Writing to a string does not fail.
        let _ =
            writeln!(self.lives, "life {life}, {crash}; the loop ended with {ended}. Last of all:");
        for event in plug.last_events(SHOWN) {
            let _ = writeln!(self.lives, "  {event}");
        }
    }

    pub(super) fn failure(&self, what: &str) -> CrashFailure {
        if self.chain.is_empty() {
            return CrashFailure::of_setup(what.to_owned());
        }
        let crash = told(&self.chain);
        let story = format!(
            "a loop does not survive a {crash}\n{}then, started again to its end:\n{what}\n\
             to try this crash alone: .only(\"{crash}\")",
            self.lives
        );
        CrashFailure { crash: Some(crash), story }
    }
}

/// What two runs do not agree on.
#[derive(Debug, Clone, Default)]
pub(super) struct Difference(Vec<(String, String, String)>);

impl Difference {
    pub(super) fn add(&mut self, what: &str, undisturbed: String, this: String) {
        self.0.push((what.to_owned(), undisturbed, this));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for (what, undisturbed, this) in self.0.iter().take(SHOWN) {
            writeln!(f, "  {what}\n    undisturbed: {undisturbed}\n    this run:    {this}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}
