//! The driver: which cases and engines, rounds interleaved, one child process for each
//! measurement, and the reports as they come in.

mod machine;
mod spawn;
mod stores;
mod tally;

use crate::Result;
use crate::args::Args;
use crate::cases::{Case, Task};
use crate::child::{Report, Spec};
use crate::engines::{EngineName, Kind};
use crate::measure::{Shim, allocated_bytes, file_system};
use crate::report::{self, Row};
use std::fs;
use std::path::{Path, PathBuf};
use stores::Stores;

/// One engine's report of one round, and the blocks on disk after it.
struct Measured {
    round: usize,
    engine: EngineName,
    report: Report,
    file_bytes: u64,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let engines = engines(args);
    let cases = cases(args)?;
    let dir = Scratch::new(args)?;
    let machine = machine::describe(&dir.0, args);
    report::announce(args, &machine);
    let shim = Shim::unpack(&dir.0, args.slow_fsync_us)?;
    let mut stores = Stores::new(dir.0.clone());
    let (mut rows, mut failures) = (Vec::new(), 0);
    for (index, case) in cases.iter().enumerate() {
        let mut measured = Vec::new();
        for round in 0..case.rounds(args.rounds) {
            for engine in turns(&engines, case, round) {
                match measure(args, &shim, &mut stores, case, engine) {
                    Ok((report, file_bytes)) => {
                        measured.push(Measured { round, engine, report, file_bytes });
                    }
                    Err(error) => {
                        failures += 1;
                        eprintln!("milepost-bench: {} {engine}: {error}", case.name);
                    }
                }
            }
        }
        let of_case = tally::rows(case, &engines, &measured);
        report::print(args, case.about, &of_case)?;
        rows.extend(of_case);
        stores.keep_only(cases.iter().skip(index + 1).filter_map(|case| case.base));
    }
    write_files(args, &machine, &cases, &rows)?;
    if failures == 0 { Ok(()) } else { Err(format!("{failures} measurements failed").into()) }
}

fn write_files(args: &Args, machine: &[String], cases: &[Case], rows: &[Row]) -> Result<()> {
    if let Some(dir) = &args.plot {
        report::plot(dir, rows)?;
    }
    if let Some(file) = &args.markdown {
        let about: Vec<(&str, &str)> =
            cases.iter().map(|case| (case.name.as_str(), case.about)).collect();
        report::markdown(file, args, machine, &about, rows)?;
    }
    Ok(())
}

fn engines(args: &Args) -> Vec<EngineName> {
    let wanted = |engine: &EngineName| args.engine.is_empty() || args.engine.contains(engine);
    EngineName::all().into_iter().filter(wanted).collect()
}

fn cases(args: &Args) -> Result<Vec<Case>> {
    let wanted = |case: &Case| {
        args.case.is_empty() || args.case.iter().any(|prefix| case.name.starts_with(prefix))
    };
    let all = Case::all(args.scale_max);
    let names: Vec<String> = all.iter().map(|case| case.name.clone()).collect();
    let cases: Vec<Case> = all.into_iter().filter(wanted).collect();
    if cases.is_empty() {
        return Err(format!("no such case; there are {}", names.join(", ")).into());
    }
    Ok(cases)
}

/// Each round begins with another engine, so that none always runs first or after the same one.
fn turns(engines: &[EngineName], case: &Case, round: usize) -> Vec<EngineName> {
    let mut turns: Vec<EngineName> =
        engines.iter().copied().filter(|engine| case.admits(*engine)).collect();
    if !turns.is_empty() {
        let len = turns.len();
        turns.rotate_left(round % len);
    }
    turns
}

fn measure(
    args: &Args,
    shim: &Shim,
    stores: &mut Stores,
    case: &Case,
    engine: EngineName,
) -> Result<(Report, u64)> {
    let store = stores.store_for(case.base, engine, shim)?;
    // redb cannot step on Milepost's file, only open it.
    let task = match (engine.kind, case.base) {
        (Kind::RedbOnMilepost, Some(base)) => Task::Open { rows: base.rows },
        _ => case.task,
    };
    let seconds = match task {
        Task::Churn { .. } => args.churn_seconds,
        _ => args.seconds,
    };
    let spec = Spec { engine: engine.to_string(), dir: store.path.clone(), task, seconds };
    let report = spawn::run(&spec, shim)?;
    let file_bytes = allocated_bytes(&store.path);
    store.discard()?;
    Ok((report, file_bytes))
}

/// Removes the folders of runs that were interrupted: those of processes that are no more.
fn remove_left_behind(parent: &Path) -> Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse::<u32>().ok());
        // Where there is no /proc, nobody can be said to be gone.
        let gone = |pid| Path::new("/proc/self").exists() && !Path::new("/proc").join(pid).exists();
        if pid.is_some_and(|pid| gone(pid.to_string())) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

const SCRATCH: &str = "milepost-bench-";

/// A folder of our own for the stores, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(args: &Args) -> Result<Self> {
        let parent = match &args.dir {
            Some(dir) => dir.clone(),
            None => std::env::current_exe()?.parent().ok_or("a binary has a folder")?.into(),
        };
        remove_left_behind(&parent)?;
        let dir = parent.join(format!("{SCRATCH}{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        if file_system(&dir).is_some_and(|kind| kind == "tmpfs" || kind == "ramfs") {
            eprintln!(
                "milepost-bench: {} is in memory: flushes cost nothing there; use --dir",
                parent.display()
            );
        }
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is only in the way; the name says whose it is.
        let _ = fs::remove_dir_all(&self.0);
    }
}
