//! Writes what a run found into a Markdown file, between two marks.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::Found;

const BEGIN: &str = "<!-- torture:begin -->\n";
const END: &str = "<!-- torture:end -->\n";

/// Puts the figures in the place of those that stand in the file.
pub(super) fn write_into(file: &Path, command: &str, found: &[Found<'_>]) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(told)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.ok_or_else(|| {
        format!(
            "{}: there are no lines \"{}\" and \"{}\"",
            file.display(),
            BEGIN.trim(),
            END.trim()
        )
    })?;
    let table = table(command, found);
    std::fs::write(file, format!("{before}{BEGIN}{table}{END}{after}")).map_err(told)
}

fn table(command: &str, found: &[Found<'_>]) -> String {
    let took: Duration = found.iter().map(|(_, _, took)| *took).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let checks = if cfg!(debug_assertions) { "with" } else { "without" };
    let mut out = format!(
        "`{command}`, {}, commit {}, {} {}, {cores} cores, {} minutes, {checks} debug assertions:\n\n\
         | class | what goes wrong | cases | same | typed error | rolled back | wrong | crash | \
         violations |\n|---|---|---:|---:|---:|---:|---:|---:|---:|\n",
        jiff::Timestamp::now().strftime("%F"),
        commit(),
        std::env::consts::OS,
        std::env::consts::ARCH,
        took.as_secs().div_ceil(60),
    );
    // Writing to a `String` does not fail.
    for (class, tally, _) in found {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            class.id(),
            class.about(),
            tally.runs,
            tally.same,
            tally.typed_error,
            tally.rolled_back,
            tally.wrong,
            tally.crash,
            tally.violations
        );
    }
    out.push('\n');
    for (class, tally, _) in found {
        for (limit, count) in &tally.limits {
            let _ = writeln!(out, "- {}: {count} times {limit}.", class.id());
        }
    }
    out
}

/// The commit that is checked out, if there is one.
fn commit() -> String {
    Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output()
        .ok()
        .filter(|said| said.status.success())
        .and_then(|said| String::from_utf8(said.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |commit| commit.trim().to_owned())
}
