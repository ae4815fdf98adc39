//! A trading bot on real market data that is killed with SIGKILL again and again, and still
//! places every order exactly once at the exchange.
//!
//! ```text
//! cargo run --release -p bot -- --kills 25 --seed 7
//! cargo run --release -p bot -- --kills 25 --seed 7 --baseline files
//! cargo run --release -p bot --features testing -- --crash-matrix --bars 60
//! ```
//!
//! Three processes, all this one program. The *supervisor* (no subcommand) starts the *exchange*
//! and the *worker*, kills the worker over and over, and compares what came of it with an
//! undisturbed run. Read `worker.rs` for how a bot is written on Milepost, and `files.rs` for
//! the same bot on the files it replaces.

mod exchange;
mod files;
mod lines;
mod market;
#[cfg(feature = "testing")]
mod matrix;
mod plan;
mod report;
mod rng;
mod stage;
mod strategy;
mod supervisor;
mod table;
mod wire;
mod worker;

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::report::Verdict;
use crate::stage::Stage;
use crate::supervisor::Scene;
use crate::wire::Desk;

/// Kills a trading bot again and again, and counts what came of its orders.
#[derive(Parser)]
#[command(name = "bot", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    demo: Demo,
}

#[derive(Args)]
struct Demo {
    /// How often the worker is killed
    #[arg(long, default_value_t = 25)]
    kills: usize,
    /// Draws the instants of the kills, and the messages that the exchange loses
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Print one JSON object instead of the tables
    #[arg(long)]
    json: bool,
    /// Run the same bot on the kit that Milepost replaces: a checkpoint file and a file of keys
    #[arg(long, value_name = "KIT")]
    baseline: Option<Engine>,
    /// Trade only the first N bars
    #[arg(long, value_name = "N")]
    bars: Option<usize>,
    /// Keep the stores, files and ledgers of both runs in this (new or empty) folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Kill the bot at every flush of its disk and around every message, in this one process; give
    /// it few bars
    #[cfg(feature = "testing")]
    #[arg(long, conflicts_with_all = ["kills", "baseline", "keep"])]
    crash_matrix: bool,
}

/// What the worker keeps its state in.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    #[value(hide = true)]
    Milepost,
    // checkpoint.json and idempotency_keys.jsonl
    Files,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Milepost => "milepost",
            Self::Files => "files",
        }
    }
}

/// The processes the supervisor starts; not for people.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        engine: Engine,
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        bars: usize,
        #[arg(long)]
        port: u16,
        #[command(flatten)]
        stage: Stage,
    },
    #[command(hide = true)]
    Exchange {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        seed: u64,
    },
}

/// 0: every promise held. 1: the comparison found something wrong. 2: it could not be made.
fn main() -> ExitCode {
    let Cli { role, demo } = Cli::parse();
    let ended = match role {
        None => demonstrate(&demo),
        Some(role) => play(role),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("bot: {error:#}");
        ExitCode::from(2)
    })
}

fn demonstrate(demo: &Demo) -> Result<ExitCode, Box<dyn Error>> {
    let market = market::bars(demo.bars)?;
    #[cfg(feature = "testing")]
    if demo.crash_matrix {
        let crashes = matrix::run(&market, demo.seed)?;
        let text = if demo.json { matrix::json(&crashes).to_string() } else { crashes.to_string() };
        writeln!(io::stdout(), "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (expected, fills) = strategy::replay(&market);
    let orders: Vec<u64> = fills.iter().map(|fill| fill.order).collect();
    let engine = demo.baseline.unwrap_or(Engine::Milepost);
    let kills = plan::plan(engine, demo.seed, demo.kills, &orders)?;

    let temporary = tempfile::Builder::new().prefix("milepost-bot-").tempdir()?;
    let dir = demo.keep.as_deref().unwrap_or(temporary.path());
    fresh(dir)?;
    let scene =
        |name: &str| Scene { engine, seed: demo.seed, bars: market.len(), dir: dir.join(name) };
    let calm = scene("undisturbed").play("undisturbed", &[], demo.json)?;
    if calm.strategy != expected || calm.fills() != fills {
        return Err(format!(
            "the undisturbed run is itself wrong, nothing can be compared with it: \
             {} fills where these bars bring {} orders",
            calm.fills().len(),
            orders.len()
        )
        .into());
    }
    let killed = scene("killed").play("killed", &kills, demo.json)?;

    let verdict = Verdict::judge(engine, market.len(), &calm, &killed)?;
    let text = if demo.json {
        serde_json::to_string(&verdict)?
    } else {
        table::render(&verdict, &calm, &killed)?
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(if verdict.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(role: Role) -> Result<ExitCode, Box<dyn Error>> {
    stage::die_with_supervisor();
    match role {
        Role::Exchange { dir, seed } => exchange::run(&dir, seed)?,
        Role::Worker { engine, dir, bars, port, stage } => {
            let market = market::bars(Some(bars))?;
            let desk = Desk::new(port, stage);
            match engine {
                Engine::Milepost => worker::trade(&dir, &market, desk, stage)?,
                Engine::Files => files::trade(&dir, &market, desk, stage)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What is kept is kept from one demonstration, never mixed with what was there.
fn fresh(dir: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(dir)?;
    if fs::read_dir(dir)?.next().is_some() {
        return Err(format!("{}: is not empty; give --keep a new folder", dir.display()).into());
    }
    Ok(())
}
