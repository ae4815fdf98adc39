//! The files that a Milepost store replaces: read, imported, and given back so that the program that
//! wrote them can read them again. A source is never changed.
//!
//! - [`RunFolder`]: `checkpoint.json` beside `idempotency_keys.jsonl`, of a bot's run.
//! - [`TaskGraphFile`]: the checkpoint of a task-graph dispatcher.
//! - [`PhasesFile`]: the checkpoint of a pipeline of phases.
//! - [`RegistryFolder`] and [`RegistryFile`]: a registry of strategy states, each file named by the
//!   SHA-256 of its content.
//!
//! An import is one commit (a registry: one for each checkpoint): a crash leaves all of it or
//! nothing, and importing again does the rest. Importing what is there writes nothing.

mod check;
mod document;
mod error;
mod json;
mod named;
mod number;
mod parse;
mod phases;
mod registry_file;
mod registry_folder;
mod report;
mod run_folder;
mod source;
mod stored;
mod task_graph;
mod time;

pub use json::Json;
pub use phases::PhasesFile;
pub use registry_file::RegistryFile;
pub use registry_folder::RegistryFolder;
pub use report::{ImportReport, TruncatedLine};
pub use run_folder::RunFolder;
pub use task_graph::TaskGraphFile;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/move-from-the-old-files.md")]
struct Guide;
