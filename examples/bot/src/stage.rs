//! Where a worker can be killed: the labelled windows, and how it tells the supervisor which one
//! it is in. Scaffolding of the demonstration; a real bot has none of this.
//!
//! Every notice is a line of JSON on stdout. Told to hold at a window, the worker stops inside it
//! and waits for SIGKILL there: so the kill falls in that window, and nowhere beside it.

use std::io::{self, Read};
use std::{process, thread};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::lines;

/// The moments of one order's life at which a crash hurts most, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Window {
    /// The order is decided; nothing is written.
    BeforeIntentCommit,
    /// The order is written; nobody outside knows of it.
    AfterIntentCommit,
    /// About to send; not one byte is on the wire.
    BeforeCall,
    /// Sent; the answer is not here yet.
    InCall,
    /// The answer has been read from the wire.
    AfterReply,
    /// The answer is understood; it is not written.
    BeforeOutcomeCommit,
    /// The answer is written; the strategy's books do not have it.
    AfterOutcomeCommit,
    /// A new life has opened what the last one left, and has settled nothing yet.
    Recovering,
    /// The exchange has said what became of an order in doubt; that is not written.
    AfterProbe,
}

impl Window {
    /// As it stands on the command line and in the report: `in-call`.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What a child tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// The exchange takes connections on this port of 127.0.0.1.
    Listening(u16),
    /// The worker begins this bar.
    Bar(u64),
    /// The worker passes through a window, at this bar.
    At(Window, u64),
    /// The worker stands in a window and stays there until it is killed.
    Held(Window),
}

/// Announces windows, and holds in one if told so.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Stage {
    /// Stop in this window …
    #[arg(long)]
    hold: Option<Window>,
    /// … the first time it is reached at this bar or later.
    #[arg(long, default_value_t = 0)]
    hold_from: u64,
    /// With nobody to tell.
    #[arg(skip)]
    is_empty: bool,
}

impl Stage {
    /// A stage without a supervisor.
    #[cfg(feature = "testing")]
    pub(crate) fn empty() -> Self {
        Self { hold: None, hold_from: 0, is_empty: true }
    }

    /// The worker begins a bar.
    pub(crate) fn bar(self, bar: u64) {
        if !self.is_empty {
            tell(&Notice::Bar(bar));
        }
    }

    pub(crate) fn at(self, window: Window, bar: u64) {
        if self.is_empty {
            return;
        }
        tell(&Notice::At(window, bar));
        if self.hold == Some(window) && bar >= self.hold_from {
            tell(&Notice::Held(window));
            loop {
                thread::park();
            }
        }
    }
}

/// Says it to the supervisor; with nobody left to listen there is nothing left to do.
pub(crate) fn tell(notice: &Notice) {
    if lines::write(&mut io::stdout().lock(), notice).is_err() {
        process::exit(ORPHANED);
    }
}

/// Ends this process when the supervisor does: its end of our stdin closes, however it died.
pub(crate) fn die_with_supervisor() {
    thread::spawn(|| {
        // Whatever ends the reading, an end or an error, the supervisor is gone.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        process::exit(ORPHANED);
    });
}

const ORPHANED: i32 = 3;
