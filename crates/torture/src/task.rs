//! What a child of `torture` can be asked to do: the hidden side of the program.

use std::process::ExitCode;

use super::child::say;
use super::t09_file_systems::live as mounted;
use super::{golden, life, t07_rot, t09_full_disk, t10_openers, t14_memory};

/// What a child does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    /// Works on a store until it is killed
    Life(life::Args),
    /// Opens damaged stores
    Rot(t07_rot::Args),
    /// Works until the disk is full
    Full(t09_full_disk::Args),
    /// Works on a file system that was mounted for it, until that fails
    Mounted(mounted::Args),
    /// Says whether a file system can fail in a way
    Probe(mounted::Probe),
    /// Opens a store together with others
    Opener(t10_openers::Args),
    /// Writes the golden stores of a release
    Golden(golden::Args),
    /// Works until an allocation fails
    Memory(t14_memory::Args),
}

/// The other side: what the child itself runs.
pub(crate) fn run(task: &Task) -> ExitCode {
    // What a child of ours has to say it says as a line; its panics are known by its end.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match task {
        Task::Life(args) => life::live(args),
        Task::Rot(args) => t07_rot::serve(args),
        Task::Full(args) => t09_full_disk::fill(args),
        Task::Mounted(args) => mounted::live(args),
        Task::Probe(args) => mounted::probe(args),
        Task::Golden(args) => golden::write(args),
        Task::Opener(args) => t10_openers::take_part(args),
        Task::Memory(args) => t14_memory::work(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = say(format_args!("error {error}"));
            ExitCode::FAILURE
        }
    }
}
