//! The files that a store replaces: read, imported, and given back so that the program that wrote them
//! can read them again. A source is never changed.

mod check;
mod document;
mod imported;
mod json;
mod named;
mod number;
mod parse;
mod phases;
mod registry;
mod registry_state;
mod run_folder;
mod source;
mod stored;
mod task_graph;
mod time;

pub use imported::{CutShort, Imported};
pub use json::Json;
pub use phases::Phases;
pub use registry::Registry;
pub use registry_state::RegistryState;
pub use run_folder::RunFolder;
pub use task_graph::TaskGraph;
