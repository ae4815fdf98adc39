//! Bytes as the file of a savepoint, binary or JSON, as they are and under checksums that hold. They are
//! refused with an error that says why, or they are a state: one that is the same when it is exported
//! and imported again, in either form. They never take memory that they only claim to need.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::{panics, savepoint};

fuzz_target!(init: panics::keep_quiet(), |data: &[u8]| panics::play(|| savepoint::play(data)));
