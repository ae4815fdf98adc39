//! Values that their own `Deserialize` refuses, panics over or changes: none is acknowledged, and no
//! step is undone by anything but the state from before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::{panics, proof};

fuzz_target!(
    init: panics::keep_quiet(),
    |bytes: &[u8]| panics::play(|| proof::play(bytes))
);
