//! One large state, saved again and again: Milepost's step beside what a program does without it, which
//! is to write the whole of it anew. Everyone starts from the same value in memory and encodes it
//! anew for each save, the peers with plain bincode.

use super::files::replace;
use super::{CACHE_BYTES, Config, Kind};
use crate::Result;
use crate::work::mixed;
use milepost::{Options, Retention, Run, Store, Versioned};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::PathBuf;

/// A row of 64 bytes: what a position, a bar or an order takes.
pub(crate) type Line = [f64; 8];

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) lines: Vec<Line>,
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 1;
}

impl Book {
    /// Fills it with so many lines that no compression helps with.
    pub(crate) fn fill(&mut self, lines: u64) {
        self.lines = (0..lines).map(|n| line(n, 0)).collect();
    }

    /// Changes so many lines, in this many places that the number of the save draws.
    pub(crate) fn change(&mut self, save: u64, lines: usize, places: usize) {
        let each = (lines / places).max(1);
        for place in 0..places as u64 {
            let draw = mixed(save * 1_000 + place);
            let room = self.lines.len().saturating_sub(each).max(1) as u64;
            let at = usize::try_from(draw % room).unwrap_or(0);
            for (line_at, n) in self.lines.iter_mut().skip(at).take(each).zip(0..) {
                *line_at = line(n, draw);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "any float will do")]
fn line(n: u64, seed: u64) -> Line {
    std::array::from_fn(|field| mixed(n * 8 + field as u64 + mixed(seed)) as f64)
}

/// Who keeps one large state.
pub(crate) trait Keeper: Send {
    /// Changes the state and saves it, durably.
    fn save(&mut self, number: u64, change: &dyn Fn(&mut Book)) -> Result<()>;

    /// The number of the newest durable save, and the state with it, read back from the disk.
    fn read_back(&mut self) -> Result<(u64, Vec<Line>)>;
}

pub(crate) fn open(kind: Kind, config: &Config<'_>) -> Result<Box<dyn Keeper>> {
    match kind {
        Kind::Milepost => Ok(Box::new(Milepost::open(config)?)),
        Kind::Sqlite => Ok(Box::new(Sqlite::open(config)?)),
        Kind::Files => Ok(Box::new(Files::open(config)?)),
        _ => Err("keeps no large states here".into()),
    }
}

pub(crate) struct Milepost {
    pub(crate) store: Store,
    pub(crate) run: Run<Book>,
}

impl Milepost {
    /// No checkpoint goes in the middle of a measurement.
    pub(crate) fn open(config: &Config<'_>) -> Result<Self> {
        let options = Options::new().cache_bytes(CACHE_BYTES).retention(Retention::keep_all());
        let store = options.open_or_create(super::milepost::file(config.dir))?;
        let run = store.run("book")?;
        Ok(Self { store, run })
    }
}

impl Keeper for Milepost {
    fn save(&mut self, number: u64, change: &dyn Fn(&mut Book)) -> Result<()> {
        self.run.step(number.to_string(), number, |tx| {
            change(&mut tx.state);
            Ok(())
        })?;
        Ok(())
    }

    fn read_back(&mut self) -> Result<(u64, Vec<Line>)> {
        let id = self.store.checkpoints().save("book", &milepost::Labels::new())?;
        let book: Book = self.store.checkpoints().load(&id)?;
        Ok((self.run.position().index().ok_or("no position")?, book.lines))
    }
}

struct Sqlite {
    connection: Connection,
    book: Book,
}

impl Sqlite {
    /// As in `sqlite.rs`.
    fn open(config: &Config<'_>) -> Result<Self> {
        let connection = Connection::open(config.dir.join("store.sqlite"))?;
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE book (id INTEGER PRIMARY KEY, number INTEGER, state BLOB NOT NULL);",
        )?;
        connection.pragma_update(None, "cache_size", -i64::try_from(CACHE_BYTES / 1024)?)?;
        Ok(Self { connection, book: Book::default() })
    }
}

impl Keeper for Sqlite {
    fn save(&mut self, number: u64, change: &dyn Fn(&mut Book)) -> Result<()> {
        change(&mut self.book);
        let state = encode(&self.book)?;
        let mut write =
            self.connection.prepare_cached("INSERT OR REPLACE INTO book VALUES (1, ?1, ?2)")?;
        write.execute(params![number.cast_signed(), state])?;
        Ok(())
    }

    fn read_back(&mut self) -> Result<(u64, Vec<Line>)> {
        let mut select = self.connection.prepare_cached("SELECT number, state FROM book")?;
        let (number, state): (i64, Vec<u8>) =
            select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((number.cast_unsigned(), decode(&state)?))
    }
}

/// The whole state to a temporary file, fsync, rename, fsync of the folder.
struct Files {
    folder: File,
    path: PathBuf,
    book: Book,
}

impl Files {
    fn open(config: &Config<'_>) -> Result<Self> {
        let path = config.dir.join("checkpoint.bin");
        Ok(Self { folder: File::open(config.dir)?, path, book: Book::default() })
    }
}

impl Keeper for Files {
    fn save(&mut self, number: u64, change: &dyn Fn(&mut Book)) -> Result<()> {
        change(&mut self.book);
        let mut bytes = encode(&self.book)?;
        bytes.extend_from_slice(&number.to_le_bytes());
        replace(&self.folder, &self.path, &bytes)
    }

    fn read_back(&mut self) -> Result<(u64, Vec<Line>)> {
        let bytes = fs::read(&self.path)?;
        let (state, number) = bytes.split_last_chunk().ok_or("no checkpoint")?;
        Ok((u64::from_le_bytes(*number), decode(state)?))
    }
}

fn encode(book: &Book) -> Result<Vec<u8>> {
    Ok(bincode::serde::encode_to_vec(book, bincode::config::standard())?)
}

fn decode(bytes: &[u8]) -> Result<Vec<Line>> {
    let (book, _): (Book, usize) =
        bincode::serde::decode_from_slice(bytes, bincode::config::standard())?;
    Ok(book.lines)
}
