//! A year of a bot that trades: each step emits an order, and each order is settled. After the month
//! that settled ones are kept for, the file has the size that it keeps.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use milepost::{
    Autosave, Delivery, Endpoint, Error, Key, ManualClock, Options, Sent, Store, Timestamp, Topic,
};

use super::super::class::Outcome;
use super::{CACHE_BYTES, Count, disk, judge_memory, refused};

const YEAR_S: u64 = 365 * 24 * 3_600;
const FILE_SLACK_BYTES: u64 = 1 << 20;
const TOPIC: Topic<Vec<u8>, u64> = Topic::new("orders");

struct Market;

impl Endpoint<Vec<u8>, u64> for Market {
    fn call(&mut self, _: &Delivery<Vec<u8>>) -> Sent<u64> {
        Sent::Confirmed(1)
    }
}

pub(super) fn run(folder: &Path, trades: u64) -> Result<(), Outcome> {
    // After so many, the oldest settled orders are older than they are kept.
    let settled_at = trades / 6;
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    let cache_bytes = usize::try_from(CACHE_BYTES).unwrap_or(usize::MAX);
    let options = Options::new().clock(clock.clone()).cache_bytes(cache_bytes);
    let path = folder.join("year.milepost");
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let mut store = options.create_on(disk(file)?).map_err(|error| refused(&error))?;
    let mut steady = 0;
    for n in 0..trades {
        trade(&store, n).map_err(|error| refused(&error))?;
        clock.advance(Duration::from_secs(YEAR_S / trades.max(1)));
        let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        if n == settled_at {
            steady = size;
        }
        if n > settled_at && size > steady + steady / 2 + FILE_SLACK_BYTES {
            return Err(Outcome::Violation(format!(
                "the file had {steady} bytes after {settled_at} trades, and has {size} after {n}"
            )));
        }
        if n.is_multiple_of((trades / 12).max(1)) {
            // Seen when the process of the case is started by hand.
            eprintln!("year: {size} bytes after {n} of {trades} trades");
        }
        if n.is_multiple_of(6_000) {
            store.close().map_err(|error| refused(&error))?;
            let file = File::options().read(true).write(true).open(&path);
            store = options.open_on(disk(file)?).map_err(|error| refused(&error))?;
        }
    }
    // The list below takes memory of its own.
    judge_memory()?;
    let kept = store.intents().settled(&TOPIC, usize::MAX).map_err(|error| refused(&error))?.len();
    if kept as u64 > trades / 12 + 8 {
        return Err(Outcome::Violation(format!("{kept} settled orders are kept")));
    }
    Ok(())
}

fn trade(store: &Store, n: u64) -> Result<(), Error> {
    let run = store.open_run("bot").init(Count::default);
    let mut run = run.autosave(Autosave::every_steps(100)).open()?;
    let key = Key::new(format!("candle-{n:08}")).expires_after(Duration::from_secs(24 * 3_600));
    run.step(key, n, |tx| {
        tx.state.0 += 1;
        tx.emit(&TOPIC, &vec![u8::try_from(n % 251).unwrap_or_default(); 1_000])
    })?;
    drop(run);
    store.relay(&TOPIC).deliver(&mut Market).map(drop)
}
