//! Requests: equal ones have one fingerprint, whatever the order of their maps, and others have another.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::fingerprints::{self, Second, Value};

fuzz_target!(|requests: (Value, Second)| fingerprints::play(&requests.0, &requests.1));
