//! One binary for all integration tests: linking is slow. One module for each room.
//!
//! Every test is a sentence, says which failure it stands against, and was seen to fail once.
#![allow(missing_docs, unreachable_pub, reason = "tests are not read as documentation")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for; helpers are tests too"
)]
#![allow(
    clippy::items_after_statements,
    clippy::cast_possible_truncation,
    reason = "a type stands beside the one test it is for; numbers of tests are small"
)]

mod support;

mod bot;
mod checkpoints;
mod claim;
mod crash_matrix;
mod damage;
mod determinism;
mod engine;
mod expiry;
mod faults;
mod fence;
mod flips;
mod forged;
mod golden;
mod large_migrated;
mod large_state;
mod migrate;
mod model;
mod newer;
mod ops;
mod place;
mod relay;
mod rescued;
mod retention;
mod schemas;
mod security;
mod step;
mod store;
mod threads;
mod types;
