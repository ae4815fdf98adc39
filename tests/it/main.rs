//! One binary for all integration tests: linking is slow. One module for each room.
#![allow(missing_docs, reason = "tests are not read as documentation")]

mod step;
