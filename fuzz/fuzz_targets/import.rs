//! Bytes as a file of a program that a store replaces: a bot's run folder, a task graph, a pipeline of
//! phases, a registry. It is refused with an error that says why, or it is imported, once, and comes
//! back as it was. Whatever it holds, it is not changed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::{import, panics};

fuzz_target!(init: panics::keep_quiet(), |data: &[u8]| panics::play(|| import::play(data)));
