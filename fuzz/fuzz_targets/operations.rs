//! Everything that is done to a store, in any order: steps, claims, intents, failing disks, kills and
//! power cuts, against a model. What was acknowledged is there, and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::script::Script;
use milepost_fuzz::{life, panics};

fuzz_target!(
    init: panics::keep_quiet(),
    |script: Script| panics::play(|| life::play(&script, None))
);
