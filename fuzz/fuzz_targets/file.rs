//! A whole store file, changed where it hurts: header, page heads, rows, with and without the
//! checksums made to hold. Opening, asking and verifying never panic, say honestly what is wrong, and
//! give no wrong answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::mutation::{self, Mutations};
use milepost_fuzz::panics;

fuzz_target!(
    init: panics::keep_quiet(),
    |mutations: Mutations| panics::play(|| mutation::play(&mutations))
);
