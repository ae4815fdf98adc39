//! The `operations` target on a disk that does not flush: it has to fail, or the fuzzer would not
//! find a store that forgets what it has acknowledged. `fuzz/run` sees to it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost::testing::Sabotage;
use milepost_fuzz::script::Script;
use milepost_fuzz::{life, panics};

fuzz_target!(
    init: panics::keep_quiet(),
    |script: Script| panics::play(|| life::play(&script, Some(Sabotage::SkipSyncs)))
);
