//! The tables as Markdown, between two marks of a page that is otherwise written by people.

use super::Row;
use super::number::shown;
use super::table::columns;
use crate::Result;
use crate::args::Args;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Writes all cases, each named with its sentence, to the file.
pub(crate) fn markdown(
    file: &Path,
    args: &Args,
    machine: &[String],
    cases: &[(&str, &str)],
    rows: &[Row],
) -> Result<()> {
    let mut text = String::new();
    for line in machine {
        writeln!(text, "- {line}")?;
    }
    writeln!(text, "- to repeat it: `{}`", command(std::env::args().skip(1)))?;
    for (case, about) in cases {
        let of_case: Vec<&Row> = rows.iter().filter(|row| row.case == *case).collect();
        write!(text, "\n### `{case}`: {about}\n\n")?;
        table(&mut text, case, &of_case)?;
    }
    if let Some(dir) = &args.plot {
        plots(&mut text, file, dir)?;
    }
    fs::write(file, between_marks(fs::read_to_string(file).ok().as_deref(), &text))?;
    Ok(())
}

/// The command of this run, without where the stores were put: that is this machine's.
fn command(args: impl Iterator<Item = String>) -> String {
    let mut words =
        vec!["cargo run --release --manifest-path benches/peers/Cargo.toml --".to_owned()];
    let mut args = args.peekable();
    while let Some(word) = args.next() {
        if word == "--dir" {
            args.next();
        } else if !word.starts_with("--dir=") {
            words.push(word);
        }
    }
    words.join(" ")
}

fn table(text: &mut String, case: &str, rows: &[&Row]) -> Result<()> {
    let columns = columns(case);
    write!(text, "| engine |")?;
    for (head, _) in &columns {
        write!(text, " {head} |")?;
    }
    write!(text, "\n|---|")?;
    for _ in &columns {
        write!(text, "---:|")?;
    }
    writeln!(text)?;
    for row in rows {
        write!(text, "| {} |", row.engine)?;
        for (_, value) in &columns {
            write!(text, " {} |", shown(value(row)))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// Links every plot, from where the page stands if the folder lies below it.
fn plots(text: &mut String, file: &Path, dir: &Path) -> Result<()> {
    let below = file.parent().and_then(|parent| dir.strip_prefix(parent).ok()).unwrap_or(dir);
    let mut names: Vec<_> = fs::read_dir(dir)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    write!(text, "\n### Plots\n\n")?;
    for name in names.iter().filter_map(|name| name.to_str()) {
        if let Some(title) = name.strip_suffix(".svg") {
            writeln!(text, "![{title}]({})", below.join(name).display())?;
        }
    }
    Ok(())
}

/// Keeps what people wrote around the marks; a page without marks is replaced.
fn between_marks(old: Option<&str>, text: &str) -> String {
    let around = old.and_then(|old| {
        let (before, rest) = old.split_once(BEGIN)?;
        Some((before, rest.split_once(END)?.1))
    });
    let (before, after) = around.unwrap_or(("", "\n"));
    format!("{before}{BEGIN}\n{text}{END}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_no_folder_of_this_machine() {
        let args = ["--rounds", "3", "--dir", "here", "--dir=there", "--json"].map(str::to_owned);
        assert!(command(args.into_iter()).ends_with("-- --rounds 3 --json"));
    }

    #[test]
    fn what_people_wrote_around_the_marks_stays() {
        let old = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let new = between_marks(Some(&old), "new\n");
        assert_eq!(new, format!("head\n{BEGIN}\nnew\n{END}\ntail\n"));
    }
}
