//! The home-made kit: `idempotency_keys.jsonl`, appended and fsynced, beside `checkpoint.json`,
//! written to a temporary file, fsynced, renamed, and the folder fsynced. Done as well as it can
//! be done: all keys in a map in memory, one write for the lines of a commit, a torn last line cut
//! off at the start. What it cannot do is make the two files agree: a crash between them leaves
//! keys whose state was lost.
//!
//! Forgetting keys: the lines of forgotten keys are dead, and when they outnumber the living the
//! file is written anew (temporary file, fsync, rename, fsync of the folder).

use super::expiry::{now_ms, ttl_ms};
use super::{Config, Engine, Mode, Session, run_key};
use crate::Result;
use crate::work::{KEY_LEN, Key, OUTCOME_LEN, Step};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Files {
    kit: Mutex<Kit>,
}

/// Both files and what is in them.
struct Kit {
    dir: PathBuf,
    folder: File,
    log: File,
    seen: HashMap<Key, [u8; OUTCOME_LEN]>,
    /// Deadlines in order, with their keys; empty where keys are kept for ever.
    due: VecDeque<(u64, Key)>,
    ttl_ms: Option<u64>,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    key: &'a str,
    outcome: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Checkpoint<'a> {
    position: u64,
    state: &'a str,
}

pub(super) fn open(config: &Config<'_>) -> Result<impl Engine + use<>> {
    let dir = config.dir.join("store.files");
    fs::create_dir_all(&dir)?;
    let path = dir.join("idempotency_keys.jsonl");
    let log = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
    let seen = read(&log)?;
    let lines = seen.len();
    let kit = Kit {
        folder: File::open(&dir)?,
        dir,
        log,
        seen,
        due: VecDeque::new(),
        ttl_ms: config.ttl.map(ttl_ms),
        lines,
    };
    Ok(Files { kit: Mutex::new(kit) })
}

/// Reads every line and cuts off a last one that a crash tore.
fn read(log: &File) -> Result<HashMap<Key, [u8; OUTCOME_LEN]>> {
    let mut reader = BufReader::with_capacity(1 << 20, log);
    let (mut seen, mut line, mut good) = (HashMap::new(), String::new(), 0_u64);
    while reader.read_line(&mut line)? > 0 {
        let Ok(row) = serde_json::from_str::<Line<'_>>(&line) else { break };
        let key: [u8; KEY_LEN] = row.key.as_bytes().try_into()?;
        seen.insert(key, row.outcome.as_bytes().try_into()?);
        good += u64::try_from(line.len())?;
        line.clear();
    }
    if good < log.metadata()?.len() {
        log.set_len(good)?;
    }
    Ok(seen)
}

impl Files {
    fn kit(&self) -> MutexGuard<'_, Kit> {
        self.kit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Files {
    fn session(&self, run: u16, _: Mode) -> Result<Box<dyn Session + '_>> {
        let name = String::from_utf8(run_key(run).to_vec())?;
        Ok(Box::new(Writer { store: self, checkpoint: format!("checkpoint-{name}.json") }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Writer<'a> {
    store: &'a Files,
    checkpoint: String,
}

impl Session for Writer<'_> {
    fn commit(&mut self, steps: &[Step]) -> Result<usize> {
        let mut kit = self.store.kit();
        let fresh = kit.append(steps)?;
        if let Some(last) = steps.last() {
            let state = std::str::from_utf8(&last.state)?;
            let text = serde_json::to_vec(&Checkpoint { position: last.position, state })?;
            replace(&kit.folder, &kit.dir.join(&self.checkpoint), &text)?;
        }
        kit.forget()?;
        Ok(fresh)
    }

    fn look_up(&mut self, keys: &[Key]) -> Result<usize> {
        let kit = self.store.kit();
        let found = keys.iter().filter_map(|key| kit.seen.get(key));
        Ok(found.filter(|outcome| std::hint::black_box(outcome).len() > 1).count())
    }

    fn position(&mut self) -> Result<Option<u64>> {
        match fs::read(self.store.kit().dir.join(&self.checkpoint)) {
            Ok(text) => Ok(Some(serde_json::from_slice::<Checkpoint<'_>>(&text)?.position)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Kit {
    /// Appends the lines of the new keys in one write and flushes them. `fdatasync` suffices: it
    /// also writes the length of the file.
    fn append(&mut self, steps: &[Step]) -> Result<usize> {
        let mut text = Vec::with_capacity(steps.len() * 128);
        let mut fresh = 0;
        for step in steps {
            if self.seen.contains_key(&step.key) {
                continue;
            }
            self.seen.insert(step.key, step.outcome);
            write_line(&mut text, &step.key, &step.outcome)?;
            if let Some(ttl_ms) = self.ttl_ms {
                self.due.push_back((now_ms() + ttl_ms, step.key));
            }
            fresh += 1;
        }
        self.log.write_all(&text)?;
        self.log.sync_data()?;
        self.lines += fresh;
        Ok(fresh)
    }

    fn forget(&mut self) -> Result<()> {
        let now = now_ms();
        while let Some((_, key)) = self.due.front().filter(|(due_ms, _)| *due_ms < now) {
            self.seen.remove(key);
            self.due.pop_front();
        }
        if self.ttl_ms.is_none() || self.lines < 2 * self.seen.len() + 1_000 {
            return Ok(());
        }
        let mut text = Vec::with_capacity(self.seen.len() * 128);
        for (key, outcome) in &self.seen {
            write_line(&mut text, key, outcome)?;
        }
        let path = self.dir.join("idempotency_keys.jsonl");
        replace(&self.folder, &path, &text)?;
        self.log = OpenOptions::new().append(true).read(true).open(&path)?;
        self.lines = self.seen.len();
        Ok(())
    }
}

fn write_line(text: &mut Vec<u8>, key: &[u8], outcome: &[u8]) -> Result<()> {
    let (key, outcome) = (std::str::from_utf8(key)?, std::str::from_utf8(outcome)?);
    serde_json::to_writer(&mut *text, &Line { key, outcome })?;
    text.push(b'\n');
    Ok(())
}

/// The classic: temporary file, fsync, rename, fsync of the folder.
pub(super) fn replace(folder: &File, path: &Path, text: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    folder.sync_all()?;
    Ok(())
}
