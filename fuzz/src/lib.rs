//! What the fuzz targets share. A target is a few lines: bytes to a script, and the script played.
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a panic is how a target says that it has found something"
)]

pub mod fingerprints;
pub mod import;
pub mod life;
pub mod memory;
pub mod mutation;
pub mod pages;
pub mod panics;
pub mod proof;
pub mod questions;
pub mod savepoint;
pub mod script;
pub mod types;
