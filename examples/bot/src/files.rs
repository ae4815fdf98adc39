//! The bot on the kit that Milepost replaces: `checkpoint.json` (tmp + fsync + rename + fsync of
//! the folder) and `idempotency_keys.jsonl` (appended and fsynced), as a careful author writes it.
//!
//! - The checkpoint holds the position and the strategy together, and is saved at every bar.
//! - Client ids are the same at every attempt.
//! - A lost reply is not answered with a blind resend: the exchange is asked first.
//! - A key is on disk before its fill is booked; keys cut short by a crash are not taken for keys.
//!
//! What is left is the gap between the exchange and the key file: an order that was filled, by a
//! process that died before the key was on disk, was never sent as far as the files can tell.
//! Writing the key first only turns the duplicates into losses. To close the gap one has to write
//! down "about to send" as well, and to ask about each such line after a crash: the relay.

use std::collections::HashSet;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lines;
use crate::market::Bar;
use crate::stage::{self, Notice, Stage, Window};
use crate::strategy::{Fill, Order, Strategy};
use crate::wire::{Call, Desk, Reply};

/// Trades the whole market, from wherever the last life got to.
pub(crate) fn trade(
    dir: &Path,
    market: &[Bar],
    mut desk: Desk,
    stage: Stage,
) -> Result<(), Box<dyn Error>> {
    let mut checkpoint = Checkpoint::load(dir)?;
    let mut keys = Keys::open(dir)?;
    let next = checkpoint.last_processed_idx + 1;
    stage.at(Window::Recovering, u64::try_from(next)?);
    for (index, bar) in (0i64..).zip(market).filter(|(index, _)| *index >= next) {
        stage::tell(&Notice::Bar(bar.index));
        if let Some(order) = checkpoint.state.on_bar(bar) {
            stage.at(Window::BeforeIntentCommit, order.number);
            let fill = execute_once(&order, &mut keys, &mut desk, stage)?;
            stage.at(Window::AfterOutcomeCommit, order.number);
            checkpoint.state.on_fill(&fill);
        }
        checkpoint.last_processed_idx = index;
        checkpoint.processed_count += 1;
        checkpoint.updated_at = format!("{}T21:00:00Z", bar.date);
        checkpoint.save(dir)?;
    }
    Ok(())
}

/// Check the key, send, append the key.
fn execute_once(
    order: &Order,
    keys: &mut Keys,
    desk: &mut Desk,
    stage: Stage,
) -> Result<Fill, Box<dyn Error>> {
    let key = format!("exec:{RUN_ID}-{}", order.number);
    if keys.seen.contains(&key) {
        // Executed before the crash. The file does not say at what price; this exchange fills
        // market orders at the price they were decided on, so here, the books still come right.
        return Ok(order.filled());
    }
    stage.at(Window::AfterIntentCommit, order.number);
    let fill = send(order, desk)?;
    stage.at(Window::BeforeOutcomeCommit, order.number);
    keys.append(key)?;
    Ok(fill)
}

fn send(order: &Order, desk: &mut Desk) -> Result<Fill, Box<dyn Error>> {
    let client_id = format!("{RUN_ID}-{}", order.number);
    let mut in_doubt = false;
    for attempt in 1..=ATTEMPTS_MAX {
        let call = if in_doubt {
            desk.ask(&client_id, order.number, attempt)
        } else {
            desk.place(&client_id, order)
        };
        match call {
            Call::Answered(Reply::Filled(fill)) => return Ok(fill),
            Call::Answered(Reply::Rejected(why)) => return Err(why.into()),
            Call::Answered(Reply::Unknown) => in_doubt = false,
            Call::NoAnswer(_) => in_doubt = true,
            Call::NotSent(_) => {}
        }
    }
    Err(format!("order {}: no answer in {ATTEMPTS_MAX} attempts", order.number).into())
}

const RUN_ID: &str = "run_20000103_143000";
const ATTEMPTS_MAX: u32 = 100;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    run_id: String,
    last_processed_idx: i64,
    processed_count: u64,
    /// The close of the last bar: the files of two runs can be compared as they are.
    updated_at: String,
    state: Strategy,
}

impl Checkpoint {
    fn load(dir: &Path) -> Result<Self, Box<dyn Error>> {
        let Some(text) = read(&dir.join(CHECKPOINT))? else {
            return Ok(Self {
                run_id: RUN_ID.to_owned(),
                last_processed_idx: -1,
                processed_count: 0,
                updated_at: String::new(),
                state: Strategy::default(),
            });
        };
        Ok(serde_json::from_str(&text)?)
    }

    /// A crash leaves the old one or the new one, whole; after the folder's fsync, the new one.
    fn save(&self, dir: &Path) -> io::Result<()> {
        let path = dir.join(CHECKPOINT);
        let tmp = path.with_extension("json.tmp");
        let mut file = File::create(&tmp)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&tmp, &path)?;
        File::open(dir)?.sync_all()
    }
}

const CHECKPOINT: &str = "checkpoint.json";

/// The keys already executed, in memory and on disk.
struct Keys {
    file: File,
    seen: HashSet<String>,
}

#[derive(Serialize, Deserialize)]
struct KeyLine {
    key: String,
}

impl Keys {
    fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("idempotency_keys.jsonl");
        let text = read(&path)?.unwrap_or_default();
        let seen = lines::read_all(text.as_bytes())
            .map(|line| line.map(|KeyLine { key }| key))
            .collect::<io::Result<_>>()?;
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // A line cut short is cut off, or the next key would be glued to it.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        file.set_len(u64::try_from(whole).map_err(io::Error::other)?)?;
        Ok(Self { file, seen })
    }

    fn append(&mut self, key: String) -> io::Result<()> {
        let line = KeyLine { key };
        lines::write(&mut self.file, &line)?;
        self.file.sync_all()?;
        self.seen.insert(line.key);
        Ok(())
    }
}

fn read(path: &PathBuf) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a finished bot left in its files: its strategy, and how many orders it decided.
pub(crate) fn left_behind(dir: &Path) -> Result<(Strategy, u64), Box<dyn Error>> {
    let strategy = Checkpoint::load(dir)?.state;
    let orders = strategy.orders;
    Ok((strategy, orders))
}
