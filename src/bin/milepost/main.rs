//! The command line: so far, the torture chamber in which the store has to prove its promises.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it found")]

mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Looks after stores.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Breaks stores in every way that is known, and says what came of it.
    Torture(torture::Args),
    /// What `torture` starts itself anew for.
    #[command(hide = true)]
    TortureChild {
        #[command(subcommand)]
        task: torture::Task,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Torture(args) => torture::run(&args),
        Command::TortureChild { task } => torture::child(&task),
    }
}
