//! The torture chamber, in which the store has to prove its promises: runs the classes of the fault
//! plan, for a count or for a time, and counts how their cases end.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program says what it found")]

mod allocator;
mod child;
mod class;
mod golden;
mod instance;
mod judge;
mod life;
mod panics;
mod past;
mod patched;
mod receiver;
mod record;
mod replay;
mod sim;
mod sound;
mod supervisor;
mod system;
mod t01_power_loss;
mod t02_torn_writes;
mod t03_recovery;
mod t04_failing_calls;
mod t05_lying_cache;
mod t06_kill;
mod t07_rot;
mod t08_rot_after_crash;
mod t09_file_systems;
mod t09_full_disk;
mod t10_openers;
mod t11_threads;
mod t12_end_to_end;
mod t13_clocks;
mod t14_memory;
mod t15_hostile;
mod t16_formats;
mod t17_savepoints;
mod t18_endurance;
mod t20_system_calls;
mod t24_values;
mod tally;
mod task;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use class::{Cases, Class, Outcome, Scene, Setting};
use tally::Tally;
use task::Task;

/// All classes, in the order in which they run.
const CLASSES: &[&dyn Class] = &[
    &t01_power_loss::PowerLoss,
    &t02_torn_writes::TornWrites,
    &t03_recovery::CrashInRecovery,
    &t04_failing_calls::FailingCalls,
    &t05_lying_cache::LyingCache,
    &t06_kill::Kill,
    &t07_rot::Rot,
    &t07_rot::RotOfLarge,
    &t08_rot_after_crash::RotAfterCrash,
    &t09_full_disk::FullDisk,
    &t09_file_systems::FileSystems,
    &t10_openers::Openers,
    &t11_threads::Threads,
    &t12_end_to_end::EndToEnd,
    &t13_clocks::Clocks,
    &t14_memory::Memory,
    &t15_hostile::HostileBytes,
    &t16_formats::Formats,
    &t17_savepoints::Savepoints,
    &t18_endurance::Endurance,
    &t20_system_calls::SystemCalls,
    &t24_values::Values,
];

/// How many images of T1 a scale of 1 stands for.
const IMAGES_AT_FLOOR: u64 = 50_000;

/// Breaks stores in every way that is known, and says what came of it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Decides every case; the same seed does the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this class, such as T1; may be given more than once
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// How many images of T1 to try, at the least; the other classes grow with it. 50,000 if no time
    /// is given either
    #[arg(long)]
    images: Option<u64>,
    /// Goes on for so long, each class for its share
    #[arg(long)]
    minutes: Option<f64>,
    /// Only this case of the class
    #[arg(long, requires = "classes")]
    case: Option<u64>,
    /// How many trades the year of T18 has; 525600 is one a minute
    #[arg(long, value_name = "COUNT", default_value_t = t18_endurance::TRADES)]
    trades: u64,
    /// A folder on the disk to be tried; by default that for temporary files
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Writes the figures into this Markdown file too, in the place of those that stand there
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Other {
    /// What the program starts itself again for.
    #[command(hide = true)]
    Child {
        #[command(subcommand)]
        task: Task,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Other::Child { task }) = &args.other {
        return task::run(task);
    }
    match torture(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("torture: {error}");
            ExitCode::from(2)
        }
    }
}

fn torture(args: &Args) -> Result<bool, String> {
    let chosen = choose(&args.classes)?;
    let within = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new()
        .prefix("milepost-torture-")
        .tempdir_in(&within)
        .map_err(|error| format!("making a folder in {}: {error}", within.display()))?;
    let setting =
        Setting { seed: args.seed, trades: args.trades, folder: folder.path().to_owned() };
    // Panics are counted, not printed: the store's own are caught below it.
    std::panic::set_hook(Box::new(|_| {}));
    let mut found = Vec::new();
    for (nth, class) in chosen.iter().enumerate() {
        let began = Instant::now();
        let cases = match class.prepare(&setting) {
            Ok(cases) => cases,
            Err(why) => {
                found.push((*class, Tally::of_none(why), began.elapsed()));
                continue;
            }
        };
        let count = |images| cases.count(scale(images)).max(1);
        let extent = match (args.case, args.minutes) {
            (Some(case), _) => Extent::One(case),
            (None, Some(minutes)) => Extent::Until {
                end: Instant::now() + share(minutes, nth, chosen.len(), &found),
                least: args.images.map_or(1, count),
            },
            (None, None) => Extent::Count(count(args.images.unwrap_or(IMAGES_AT_FLOOR))),
        };
        let tally = run_class(*class, &*cases, &setting, extent);
        found.push((*class, tally, began.elapsed()));
    }
    report(args, &found);
    if let Some(file) = &args.record {
        let words: Vec<_> = std::env::args().skip(1).collect();
        record::write_into(file, &format!("torture {}", words.join(" ")), &found)?;
    }
    Ok(found.iter().all(|(_, tally, _)| !tally.failed()))
}

#[expect(clippy::cast_precision_loss, reason = "a scale, not a count")]
fn scale(images: u64) -> f64 {
    images as f64 / IMAGES_AT_FLOOR as f64
}

type Found<'c> = (&'c dyn Class, Tally, Duration);

/// What is left of the time, for each of the classes that are left.
fn share(minutes: f64, nth: usize, classes: usize, found: &[Found<'_>]) -> Duration {
    let spent: Duration = found.iter().map(|(_, _, took)| *took).sum();
    let left = Duration::from_secs_f64(minutes * 60.0).saturating_sub(spent);
    left / u32::try_from(classes - nth).unwrap_or(1)
}

fn choose(names: &[String]) -> Result<Vec<&'static dyn Class>, String> {
    if names.is_empty() {
        return Ok(CLASSES.to_vec());
    }
    let known = || CLASSES.iter().map(|class| class.id()).collect::<Vec<_>>().join(", ");
    names
        .iter()
        .map(|name| {
            let found = CLASSES.iter().find(|class| class.id().eq_ignore_ascii_case(name));
            found.copied().ok_or_else(|| format!("no class is called {name}; known: {}", known()))
        })
        .collect()
}

/// How far a class goes.
#[derive(Debug, Clone, Copy)]
enum Extent {
    Count(u64),
    /// Up to this moment, and as many cases at the least.
    Until {
        end: Instant,
        least: u64,
    },
    One(u64),
}

fn run_class(class: &dyn Class, cases: &dyn Cases, setting: &Setting, extent: Extent) -> Tally {
    let (first, count) = match extent {
        Extent::Count(count) => (0, Some(count)),
        Extent::Until { .. } => (0, None),
        Extent::One(case) => (case, Some(case + 1)),
    };
    let bar = bar(class, count);
    let next = AtomicU64::new(first);
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let over = match extent {
                Extent::Until { end, least } => nth >= least && Instant::now() >= end,
                _ => count.is_some_and(|count| nth >= count),
            };
            if over {
                break;
            }
            let mut scene = Scene::new(setting, class.id(), nth);
            let outcome = catch_unwind(AssertUnwindSafe(|| cases.run(nth, &mut scene)))
                .unwrap_or_else(|panic| Outcome::Crash(words_of(&*panic)));
            let repeat =
                || format!("torture --class {} --seed {} --case {nth}", class.id(), setting.seed);
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(outcome, repeat);
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        let beside = if cases.is_parallel() {
            std::thread::available_parallelism().map_or(1, usize::from) - 1
        } else {
            0
        };
        for _ in 0..beside {
            scope.spawn(work);
        }
        work();
    });
    bar.finish_and_clear();
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without words").to_owned()
}

fn bar(class: &dyn Class, count: Option<u64>) -> ProgressBar {
    let bar = count.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {human_pos}/{human_len} {elapsed}")
    {
        bar.set_style(style);
    }
    bar.set_message(format!("{:<4}{}", class.id(), class.about()));
    bar
}

fn report(args: &Args, found: &[Found<'_>]) {
    if args.json {
        let classes: Vec<_> = found
            .iter()
            .map(|(class, tally, took)| {
                json!({
                    "class": class.id(),
                    "about": class.about(),
                    "runs": tally.runs,
                    "same": tally.same,
                    "typed_error": tally.typed_error,
                    "rolled_back": tally.rolled_back,
                    "limits": tally.limits,
                    "wrong": tally.wrong,
                    "crash": tally.crash,
                    "violations": tally.violations,
                    "seconds": took.as_secs(),
                })
            })
            .collect();
        println!("{}", json!({ "seed": args.seed, "classes": classes }));
    } else {
        println!(
            "{:<6}{:>9}{:>9}{:>9}{:>9}{:>7}{:>7}{:>12}  what goes wrong",
            "class", "runs", "same", "error", "rolled", "wrong", "crash", "violations"
        );
        for (class, tally, _) in found {
            println!(
                "{:<6}{:>9}{:>9}{:>9}{:>9}{:>7}{:>7}{:>12}  {}",
                class.id(),
                tally.runs,
                tally.same,
                tally.typed_error,
                tally.rolled_back,
                tally.wrong,
                tally.crash,
                tally.violations,
                class.about()
            );
            for (limit, count) in &tally.limits {
                println!("{:>6}{count:>9} times: {limit}", "");
            }
        }
    }
    for (class, tally, _) in found {
        if tally.runs == 0 {
            eprintln!("{}: no case was run", class.id());
        }
        for told in &tally.told {
            eprintln!("{}: {told}", class.id());
        }
    }
}
