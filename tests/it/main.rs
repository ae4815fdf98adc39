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

/// The market and the strategy of the example.
#[allow(dead_code, reason = "the example uses what the tests do not")]
#[path = "../../examples/bot/src/market.rs"]
mod market;
#[allow(dead_code, reason = "the example uses what the tests do not")]
#[path = "../../examples/bot/src/strategy.rs"]
mod strategy;
mod support;

mod by_hand;
mod checkpoints;
mod claim;
mod comes_back;
mod compact;
mod copies;
mod crash_matrix;
mod damage;
mod determinism;
mod diff;
mod doubt;
mod ended;
mod engine;
mod examples;
mod expiry;
mod face;
mod faults;
mod fence;
mod flips;
mod forged;
#[cfg(unix)]
mod fork;
mod full_disk;
mod golden;
mod growth;
mod import;
mod large_migrated;
mod large_model;
mod large_state;
mod migrate;
mod model;
mod newer;
mod older_slot;
mod on_damage;
mod once;
mod open_run;
mod ops;
mod pauses;
mod place;
mod records;
mod relay;
mod reproduce;
mod rescued;
mod retention;
mod savepoints;
mod schemas;
mod security;
mod sets;
mod shut_down;
mod slots;
mod step;
mod store;
mod system;
mod threads;
mod topics;
mod types;
mod undo;
mod unlocked;
mod values;
