//! `SQLite`, as its experts would set it up for one process and small durable commits:
//!
//! - WAL with `synchronous=FULL`: one flush a commit, and every acknowledged commit survives power
//!   loss (`NORMAL` would lose the last ones).
//! - `locking_mode=EXCLUSIVE`: one process owns the file, as with Milepost, so no shared memory
//!   and no file locks on each transaction.
//! - One connection behind a mutex. `SQLite` has one writer; 64 connections that queue in its busy
//!   handler are slower than 64 threads that queue in a mutex.
//! - `WITHOUT ROWID`: the key's B-tree is the table, one tree less to write.
//! - Prepared statements, cached on the connection; explicit `BEGIN IMMEDIATE`.
//! - The default `wal_autocheckpoint` of 1,000 pages and pages of 4 KiB: 4,000 and 10,000 pages,
//!   and pages of 1, 2 and 8 KiB, were tried and were no better; a longer WAL was clearly worse.
//! - The look-up is a `SELECT` before the `INSERT`: an `INSERT OR IGNORE` alone would need the
//!   outcome before it is known whether the work is to be done at all.
//!
//! The bundled build flushes with `fsync`. `LIBSQLITE3_FLAGS=-DHAVE_FDATASYNC=1` in the
//! environment at build time makes it `fdatasync`; that was tried, and made no difference beyond
//! the noise. On a file system where it does, build with it.

use super::expiry::{now_ms, ttl_ms};
use super::{CACHE_BYTES, Config, Engine, Mode, Session};
use crate::Result;
use crate::work::{Key, Step};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct Sqlite {
    connection: Mutex<Connection>,
    ttl: Option<Duration>,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    let connection = Connection::open(config.dir.join("store.sqlite"))?;
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF;",
    )?;
    // Negative: KiB instead of pages.
    connection.pragma_update(None, "cache_size", -i64::try_from(CACHE_BYTES / 1024)?)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS keys
             (key BLOB PRIMARY KEY, outcome BLOB NOT NULL, due_ms INTEGER) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS runs
             (run INTEGER PRIMARY KEY, position INTEGER NOT NULL, state BLOB NOT NULL);",
    )?;
    if config.ttl.is_some() {
        connection.execute_batch("CREATE INDEX IF NOT EXISTS due ON keys (due_ms)")?;
    }
    connection.set_prepared_statement_cache_capacity(16);
    Ok(Sqlite { connection: Mutex::new(connection), ttl: config.ttl })
}

impl Sqlite {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Sqlite {
    fn session(&self, run: u16, _: Mode) -> Result<Box<dyn Session + '_>> {
        Ok(Box::new(Writer { store: self, run }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let connection = self.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
        connection.close().map_err(|(_, error)| error.into())
    }
}

struct Writer<'a> {
    store: &'a Sqlite,
    run: u16,
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        let connection = self.store.connection();
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let fresh = write(&connection, self.run, steps, self.store.ttl)?;
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(fresh)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        let connection = self.store.connection();
        // One statement is its own read transaction; several want to see one state of the table.
        if keys.len() > 1 {
            connection.prepare_cached("BEGIN")?.execute([])?;
        }
        let mut select = connection.prepare_cached("SELECT outcome FROM keys WHERE key = ?1")?;
        let mut seen = 0;
        for key in keys {
            let mut rows = select.query([key.as_slice()])?;
            if let Some(row) = rows.next()? {
                let outcome = row.get_ref(0)?.as_blob()?;
                seen += usize::from(std::hint::black_box(outcome).len() > 1);
            }
        }
        if keys.len() > 1 {
            connection.prepare_cached("COMMIT")?.execute([])?;
        }
        Ok(seen)
    }

    fn position(&mut self) -> Result<Option<u64>> {
        let connection = self.store.connection();
        let mut select = connection.prepare_cached("SELECT position FROM runs WHERE run = ?1")?;
        let position: Option<i64> = select.query_row([self.run], |row| row.get(0)).optional()?;
        Ok(position.map(i64::cast_unsigned))
    }
}

fn write(
    connection: &Connection,
    run: u16,
    steps: &[Step],
    ttl: Option<Duration>,
) -> Result<usize> {
    let mut select = connection.prepare_cached("SELECT 1 FROM keys WHERE key = ?1")?;
    let mut insert = connection.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3)")?;
    let now = now_ms();
    let due = ttl.map(|ttl| now + ttl_ms(ttl)).map(u64::cast_signed);
    let mut fresh = 0;
    for step in steps {
        if !select.exists([step.key.as_slice()])? {
            insert.execute(params![step.key.as_slice(), step.outcome.as_slice(), due])?;
            fresh += 1;
        }
    }
    if let Some(last) = steps.last() {
        // Steps of one commit overwrite one state: only the last of them can be seen.
        let mut update = connection.prepare_cached(
            "INSERT INTO runs VALUES (?1, ?2, ?3)
             ON CONFLICT (run) DO UPDATE SET position = excluded.position, state = excluded.state",
        )?;
        update.execute(params![run, last.position.cast_signed(), last.state.as_slice()])?;
    }
    if due.is_some() {
        // A few more than were added, so that the queue drains and no commit pays for thousands.
        let mut delete = connection.prepare_cached(
            "DELETE FROM keys WHERE key IN
                 (SELECT key FROM keys INDEXED BY due WHERE due_ms < ?1 ORDER BY due_ms LIMIT ?2)",
        )?;
        delete.execute(params![now.cast_signed(), i64::try_from(steps.len() * 4)?])?;
    }
    Ok(fresh)
}
