//! Milepost measured beside what people would use instead: raw redb (the floor), `SQLite`, fjall,
//! LMDB, and the home-made kit of a JSON checkpoint beside a JSON-lines file of keys.
//!
//! Everyone does the same work, a **step**: look a 27-byte idempotency key up; where it is new,
//! write it with its 60-byte outcome, and overwrite the run's position and 120-byte state, all of
//! it durable when it is acknowledged. Every engine is set up as its own experts would; where a
//! setting could be argued about, the engine's file says why it is as it is. Every peer also runs
//! "batched by hand", 100 steps a commit, which gives up what a waiting caller has: between two
//! commits a crash loses steps that the program believes done.
//!
//! How it measures: the parent (`parent/`) starts one child process (`child/`) for every engine,
//! case and round, so that no engine inherits another's memory, caches or threads. Rounds are
//! interleaved, so that a slow minute of the machine falls on all. Children are ended by SIGKILL.
//! Flushes are counted by one preloaded shim for all (`slow-fsync/`), bytes by the kernel.
//!
//! Imports run downhill: `args`, `parent` → `child` → `engines` → `work`, `measure`; `report`
//! knows rows only.

mod args;
mod cases;
mod child;
mod engines;
mod measure;
mod parent;
mod report;
mod work;

use clap::Parser as _;
use std::process::ExitCode;

/// Whatever went wrong, for people to read: a bench has nothing to recover.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let done = match &args.child {
        Some(spec) => child::main(spec),
        None => parent::main(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("milepost-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
