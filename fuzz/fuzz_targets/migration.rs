//! Bytes of a state, and of a row, read as types that never wrote them: another name, an older and a
//! newer version, other fields. Only typed errors come of it, or a value of that type. States cannot
//! be migrated yet, so no migration runs here; the ones to come start from such bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_fuzz::{panics, types};

fuzz_target!(init: panics::keep_quiet(), |payload: &[u8]| panics::play(|| types::play(payload)));
