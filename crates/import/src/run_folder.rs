//! The folder of a bot's run: `checkpoint.json`, written by tmp and rename, beside
//! `idempotency_keys.jsonl`, to which it appends. The two disagree after a crash.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use milepost::{Error, ErrorKind, Position, Result, RunName, Store, Versioned};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::check::{At, Wrong};
use crate::error::invalid;
use crate::json::{Json, Layout};
use crate::parse::{Fault, parse};
use crate::report::{ImportReport, TruncatedLine};
use crate::source::{DOCUMENT_BYTES_MAX, Source, write_new};
use crate::time::format_time;

const CHECKPOINT: &str = "checkpoint.json";
const KEYS: &str = "idempotency_keys.jsonl";
/// The longest file of keys, in bytes.
const KEYS_BYTES_MAX: u64 = 1 << 30;
/// No run of a store makes so many steps.
const STEPS_END: u64 = 1 << 63;

/// The folder of a bot's run: how far it was, and the keys of what it had done.
///
/// It becomes a run of the name `run_id`, at the position `last_processed_idx`, with each key as one
/// that was seen and never expires. What the bot's own state was stands in neither file: the run begins
/// with the default of its type, or with a state you hand in.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("checkpoint.json"), r#"{"run_id": "run-7",
/// #     "last_processed_idx": 6, "processed_count": 7, "updated_at": null}"#).unwrap();
/// # std::fs::write(dir.path().join("idempotency_keys.jsonl"), "{\"key\": \"exec:1\"}\n").unwrap();
/// # let folder = dir.path();
/// use milepost::{Done, Store, Versioned};
/// use milepost_import::RunFolder;
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Momentum { holdings: i64 }
/// impl Versioned for Momentum { const NAME: &'static str = "momentum"; const VERSION: u32 = 1; }
///
/// let store = Store::in_memory()?;
/// RunFolder::read(folder)?.import::<Momentum>(&store)?;
/// let mut run = store.run::<Momentum>("run-7")?;
/// assert_eq!(run.position().index(), Some(6));
/// let done = run.step("exec:1", 7, |tx| Ok(tx.state.holdings += 1))?;
/// assert_eq!(done, Done::Duplicate(()));
/// # Ok::<(), milepost::Error>(())
/// ```
///
/// # When the two files disagree
///
/// The keys win for what was seen: an input behind the position whose key is there is a duplicate. The
/// position is that of `checkpoint.json`, and so is the number of steps (`processed_count`); if that
/// does not fit the index, a remark says so. A last line without an end that is not whole was cut short
/// by a crash: it is left out, and [`ImportReport::cut_short`] says where it stands. A line whose key is
/// empty or `null` is no key of a step: a remark names it, and it is given back. Nothing else is left
/// out.
#[derive(Clone, PartialEq, Eq)]
pub struct RunFolder {
    checkpoint: Json,
    /// Each once, in the order of the file.
    keys: Vec<String>,
    /// The lines that have more than a key.
    lines: BTreeMap<String, Json>,
    cut_short: Option<TruncatedLine>,
    remarks: Vec<String>,
}

impl RunFolder {
    /// Reads a folder. Nothing in it is changed, whatever it holds; the old program should not be
    /// running.
    ///
    /// # Errors
    /// `Damaged` if a file is not what the bot writes, with file, byte and field; `NotFound` without a
    /// `checkpoint.json` (without keys, none were seen, and a remark says so); `Invalid` for what is no
    /// regular file; `LimitExceeded` over 64 MiB, or 1 GiB of keys; `Io`.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let source = Source::read(&folder.join(CHECKPOINT), DOCUMENT_BYTES_MAX)?;
        let checkpoint = source.json()?;
        let remark = check(&checkpoint).map_err(|wrong| source.wrong(wrong))?;
        let mut read = Self {
            checkpoint,
            keys: Vec::new(),
            lines: BTreeMap::new(),
            cut_short: None,
            remarks: remark.into_iter().collect(),
        };
        // Behind the checkpoint: what a bot that is still running appends meanwhile is seen.
        match Source::read(&folder.join(KEYS), KEYS_BYTES_MAX) {
            Ok(source) => read.take_keys(&source)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                read.remarks.push(format!("there is no {KEYS}: no key counts as seen"));
            }
            Err(error) => return Err(error),
        }
        Ok(read)
    }

    fn take_keys(&mut self, source: &Source) -> Result<()> {
        let mut seen = HashSet::new();
        let mut begin = 0;
        for (nth, line) in source.bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let (has_end, whole) = (line.ends_with(b"\n"), line.trim_ascii_end());
            match key_of(whole) {
                _ if whole.is_empty() => {}
                Ok((key, more)) if key.is_empty() => {
                    self.remarks.push(format!(
                        "line {} of {KEYS} has no key: no step can have it, and it was left out",
                        nth + 1
                    ));
                    self.lines.extend(more.map(|line| (key, line)));
                }
                Ok((key, more)) => {
                    if let Some(line) = more {
                        self.lines.insert(key.clone(), line);
                    }
                    if seen.insert(key.clone()) {
                        self.keys.push(key);
                    }
                }
                // What is whole was written to its end, and is not what the bot writes.
                Err(_) if !has_end && parse(whole, None).is_err() => {
                    let (byte, bytes) = (begin as u64, line.len() as u64);
                    self.cut_short = Some(TruncatedLine { byte, bytes });
                    self.remarks.push(format!(
                        "the last line of {KEYS} was cut short at byte {byte}: find out whether what \
                         it was the key of was done"
                    ));
                }
                Err(fault) => {
                    let why = format!("{} (line {})", fault.why, nth + 1);
                    return Err(source.damaged(&Fault { byte: begin + fault.byte, why, ..fault }));
                }
            }
            begin += line.len();
        }
        Ok(())
    }

    /// A run of a store, as it is durable now, for the bot to go on with: its keys in the order of their
    /// bytes, and the fields that were in the files it was imported from. Changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if its position is no index or a key is no text, which the files cannot
    /// say; `Damaged` if a record is; `Poisoned`.
    pub fn of_run(store: &Store, run: &str) -> Result<Self> {
        let export = store.export_run(run)?;
        let name = export.name();
        let last = match export.position() {
            Position::Start => Json::from(-1i64),
            Position::Index(index) => Json::from(*index),
            other => {
                return Err(invalid(format!(
                    "the run \"{name}\" is at {other}: {CHECKPOINT} can only say an index"
                )));
            }
        };
        let text = |key: Vec<u8>| {
            String::from_utf8(key).map_err(|_| {
                invalid(format!("a key of the run \"{name}\" is no text: {KEYS} cannot say it"))
            })
        };
        let keys = export.keys()?.into_iter().map(text).collect::<Result<_>>()?;
        let beside = export.note().map_or(Ok(Json::Null), str::parse);
        let beside = beside.map_err(|error| error.context("what the files had beside it"))?;
        let lines = beside.get("lines").map_or(&[][..], Json::fields).iter().cloned().collect();
        let mut checkpoint = Json::Object(Vec::new());
        checkpoint.set("run_id", name.as_str().into());
        if let Some(before) = beside.get("checkpoint") {
            checkpoint = before.clone();
        }
        checkpoint.set("last_processed_idx", last);
        checkpoint.set("processed_count", export.steps().into());
        if !export.is_as_imported() {
            checkpoint.set("updated_at", format_time(export.changed()).into());
        }
        Ok(Self { checkpoint, keys, lines, cut_short: None, remarks: Vec::new() })
    }

    /// Writes it down as the run `run_id`, in one commit: state, position, steps and keys. All of it is
    /// durable when it returns. Doing that again changes nothing.
    ///
    /// The outcome of each key is `()`: a repeated step of another outcome type is a `SchemaMismatch`.
    /// [`import_with`](RunFolder::import_with) gives them outcomes.
    ///
    /// # Errors
    /// `Conflict` if a run of that name has gone on since, was imported from something else, or is
    /// open; `Invalid` or `LimitExceeded` for a name, a key or a state that cannot be stored; those of
    /// a commit. Nothing was written then.
    pub fn import<S>(&self, store: &Store) -> Result<ImportReport>
    where
        S: Versioned + Serialize + DeserializeOwned + Default + 'static,
    {
        self.import_with(store, &S::default(), |_| ())
    }

    /// The same with a state of yours, and for each key with the outcome that a step of it will answer
    /// when it is repeated: of the type that your steps have.
    ///
    /// # Errors
    /// Those of [`import`](RunFolder::import).
    pub fn import_with<S, R>(
        &self,
        store: &Store,
        state: &S,
        outcome: impl Fn(&str) -> R,
    ) -> Result<ImportReport>
    where
        S: Versioned + Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let lines = Json::Object(self.lines.clone().into_iter().collect());
        let mut beside = Json::Object(vec![("checkpoint".to_owned(), self.checkpoint.clone())]);
        beside.set("lines", lines);
        let is_new = store
            .import_run(self.run_id(), state)
            .position(self.position())
            .steps(self.processed_count())
            .keys(&self.keys, |key| outcome(key))
            .note(beside.to_string())
            .commit()
            .map_err(|error| error.context(format!("the run \"{}\"", self.run_id())))?;
        let run = RunName::new(self.run_id())?;
        let mut imported = ImportReport::one(run, is_new, self.remarks.clone());
        imported.keys = self.keys.len() as u64;
        imported.cut_short = self.cut_short;
        Ok(imported)
    }

    /// Writes both files into a folder, which is made if it is not there: the keys first, so that a
    /// crash never leaves a position without them. Both are durable when it returns.
    ///
    /// # Errors
    /// `Conflict` if one of the files is there; `Io`, `NoSpace` or `NotFound`.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let checkpoint = folder.join(CHECKPOINT);
        if std::fs::symlink_metadata(&checkpoint).is_ok() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{} is there already, and is not written over: choose another folder",
                    checkpoint.display()
                ),
            ));
        }
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::io(format!("making {}", folder.display()), error))?;
        let mut lines = String::new();
        if let Some(line) = self.lines.get("") {
            lines.push_str(&Layout::LINE.write(line));
            lines.push('\n');
        }
        for key in &self.keys {
            let plain = || Json::Object(vec![("key".to_owned(), key.as_str().into())]);
            let line = self.lines.get(key).cloned().unwrap_or_else(plain);
            lines.push_str(&Layout::LINE.write(&line));
            lines.push('\n');
        }
        write_new(&folder.join(KEYS), &lines)?;
        write_new(&checkpoint, &(Layout::FILE.write(&self.checkpoint) + "\n"))
    }

    /// Which run it is.
    #[must_use]
    pub fn run_id(&self) -> &str {
        self.checkpoint.get("run_id").and_then(Json::as_text).unwrap_or_default()
    }

    /// How far it was.
    #[must_use]
    pub fn position(&self) -> Position {
        let last = self.checkpoint.get("last_processed_idx").and_then(Json::as_u64);
        last.map_or(Position::Start, Position::Index)
    }

    /// How many inputs it had processed.
    #[must_use]
    pub fn processed_count(&self) -> u64 {
        self.checkpoint.get("processed_count").and_then(Json::as_u64).unwrap_or(0)
    }

    /// The keys of what it had done, each once.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The last line of the keys, if a crash has left half of it.
    #[must_use]
    pub fn cut_short(&self) -> Option<TruncatedLine> {
        self.cut_short
    }

    /// What a person should know of: the two files disagree, or one is missing.
    #[must_use]
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

impl fmt::Debug for RunFolder {
    /// How much there is, never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFolder")
            .field("run_id", &self.run_id())
            .field("position", &self.position())
            .field("keys", &self.keys.len())
            .field("cut_short", &self.cut_short)
            .finish_non_exhaustive()
    }
}

/// What is remarkable in a checkpoint that is all right.
fn check(json: &Json) -> Result<Option<String>, Wrong> {
    let root = At::root(json);
    root.fields()?;
    let run = root.need("run_id")?;
    if let Err(error) = RunName::new(run.text()?) {
        return run.wrong(error.to_string());
    }
    let last = root.need("last_processed_idx")?;
    let next = match last.json.as_i64() {
        _ if *last.json == Json::Null => Some(0),
        Some(-1) => Some(0),
        _ if last.json.as_u64().is_some() => {
            last.json.as_u64().and_then(|last| last.checked_add(1))
        }
        _ => return last.wrong("a whole number is expected, -1 for none and not below"),
    };
    let processed = root.need_or_null("processed_count")?;
    let count = processed.as_ref().map_or(Ok(0), At::count)?;
    if let Some(processed) = processed.filter(|_| count >= STEPS_END) {
        return processed.wrong("no run makes so many steps");
    }
    root.each(&["updated_at"], At::time)?;
    Ok((next != Some(count)).then(|| {
        format!(
            "{CHECKPOINT} counts {count} processed inputs, which does not fit the number of the last \
             one: the position is that number, the steps are the count"
        )
    }))
}

/// The key of a line, empty if it is `null`; and the line, if it has more than that.
fn key_of(line: &[u8]) -> Result<(String, Option<Json>), Fault> {
    let json = parse(line, None)?;
    let root = At::root(&json);
    let key = root.fields().and_then(|_| root.need_or_null("key"));
    let key = key.and_then(|key| key.map_or(Ok(""), |key| key.text()));
    let key = key.map_err(|Wrong { path, why, .. }| Fault {
        byte: super::parse::byte_of(line, &path),
        path,
        why,
    })?;
    let (key, has_more) = (key.to_owned(), json.fields().len() > 1 || key.is_empty());
    Ok((key, has_more.then_some(json)))
}
