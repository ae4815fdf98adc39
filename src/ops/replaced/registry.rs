//! A registry of strategy states: a tree of files, each named by the SHA-256 of its content.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::check::{At, Found, Wrong};
use super::document::{self, document, hold_run};
use super::imported::Imported;
use super::json::{Json, Layout};
use super::source::{DOCUMENT_BYTES_MAX, Source, write_new};
use super::time::{format_time, parse_time};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::RunName;
use crate::ledger::Versioned;
use crate::record::Codec;
use crate::step::{Checkpoint, CheckpointFilter, Labels, bring_checkpoint, state_now};
use crate::store::Store;

/// Fields that are no part of what the name is the hash of.
const NOT_HASHED: [&str; 2] = ["checkpoint_id", "created_at"];
/// The longest text that is made a label, in bytes, and the most labels of one checkpoint.
const LABEL_BYTES_MAX: usize = 512;
const LABELS_MAX: usize = 32;
/// Folders inside one another.
const FOLDERS_MAX: usize = 16;
/// How many checkpoints are listed at once.
const PAGE: usize = 1_000;

document! {
    /// One checkpoint of a strategy-state registry: portfolio, orders, the strategy's state, metadata.
    ///
    /// Its file is named by the SHA-256 of its canonical JSON, without `checkpoint_id` and `created_at`;
    /// see [`sha256`](RegistryState::sha256). [`Registry`] imports a whole tree of them.
    RegistryState, "milepost.registry-state", check
}

impl RegistryState {
    /// Reads a file of a registry, and proves it by its name. The file is not changed.
    ///
    /// # Errors
    /// `Damaged` if it is not what the registry writes, with file, byte and field, or if its content is
    /// not what its name says, with both hashes; `NotFound`; `Invalid` for what is no regular file;
    /// `LimitExceeded` over 64 MiB; `Io`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let source = Source::read(path, DOCUMENT_BYTES_MAX)?;
        let state = Self(source.json()?);
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        check(&state.0)
            .and_then(|_| check_name(&state.0, name))
            .map_err(|wrong| source.wrong(wrong))?;
        Ok(state)
    }

    /// The SHA-256 by which the registry names it, of its content as it is now.
    #[must_use]
    pub fn sha256(&self) -> String {
        // Whether the registry hashed what is not ASCII escaped or plain, only its own id tells.
        let own = self.0.get("checkpoint_id").and_then(Json::as_text);
        match hashes(&self.0) {
            [_, plain] if own == Some(&plain) => plain,
            [escaped, _] if own == Some(&escaped) => escaped,
            _ => {
                let [new, _] = hashes(&self.0.in_python_digits());
                new
            }
        }
    }

    /// Of which strategy.
    #[must_use]
    pub fn strategy_name(&self) -> &str {
        self.0.get("strategy_name").and_then(Json::as_text).unwrap_or_default()
    }

    fn created(&self) -> Option<Timestamp> {
        parse_time(self.0.get("created_at")?.as_text()?)
    }

    /// Whether the registry named this content so, escaped or plain.
    fn is_named(&self, name: &str) -> bool {
        hashes(&self.0).iter().any(|hash| hash == name)
    }

    fn labels(&self, entry: &Entry) -> Labels {
        let (sha256, file) = (entry.identity.0.as_str(), entry.file.as_str());
        let mut labels = Labels::new().with("sha256", sha256).with("file", file);
        let mut free = LABELS_MAX - 2;
        let metadata = self.0.get("metadata").map_or(&[][..], Json::fields);
        let named = ["created_at", "timestamp", "strategy_name", "version"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.0.get(name)?)))
            .chain(metadata.iter().map(|(name, value)| (format!("metadata.{name}"), value)));
        for (name, value) in named {
            let text = match value {
                Json::Text(text) => text.clone(),
                Json::Number(_) | Json::Bool(_) => value.to_string(),
                _ => continue,
            };
            if free > 0 && name.len() <= LABEL_BYTES_MAX && text.len() <= LABEL_BYTES_MAX {
                labels = labels.with(name, text);
                free -= 1;
            }
        }
        labels
    }
}

impl Default for RegistryState {
    /// Of no strategy, and nothing in it.
    fn default() -> Self {
        Self(Json::Object(vec![("strategy_name".to_owned(), "".into())]))
    }
}

fn check(json: &Json) -> Result<Found, Wrong> {
    let root = At::root(json);
    root.fields()?;
    root.need("strategy_name")?.text()?;
    root.each(&["checkpoint_id", "created_at", "timestamp", "version"], |at| {
        if at.text()?.len() > LABEL_BYTES_MAX { at.wrong("it is too long") } else { Ok(()) }
    })?;
    root.each(&["metadata"], At::fields)?;
    Ok(Found::default())
}

/// Holds the content against the name of its file.
fn check_name(json: &Json, name: &str) -> Result<(), Wrong> {
    let root = At::root(json);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != 64 || !name.bytes().all(is_hex) {
        return root.wrong("the name of its file is no SHA-256");
    }
    root.need("strategy_name")?.name()?;
    if let Some(id) = root.field("checkpoint_id")
        && id.text()? != name
    {
        return id.wrong(format!("it is not the name of the file, {name}"));
    }
    let [escaped, plain] = hashes(json);
    if name != escaped && name != plain {
        return root.wrong(format!("its content is {escaped}, and its name says {name}"));
    }
    Ok(())
}

/// The hash of the canonical content, as Python writes it with `ensure_ascii` and without.
fn hashes(json: &Json) -> [String; 2] {
    let fields = json.fields().iter().filter(|(name, _)| !NOT_HASHED.contains(&name.as_str()));
    let content = Json::Object(fields.cloned().collect());
    [Layout::CANONICAL, Layout::CANONICAL_UTF8].map(|layout| {
        let hash = Sha256::digest(layout.write(&content));
        hash.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    })
}

/// A registry of strategy states: a tree of files, read and proven.
///
/// Each strategy becomes a run, and each file a checkpoint of it: labelled with `sha256`, its old id,
/// and with `file`, `created_at`, `timestamp`, `strategy_name`, `version` and what stands in its
/// metadata; saved at the time it was created; and pinned, since the registry let go of nothing. The
/// run's own state is that of the newest one.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let id = "ac6448f0b5ad0f2f76bce5eecb96c7e06d2f2e4b4a3b1ffdf0a3b7a3ab7ad7f3";
/// # let root = dir.path();
/// use milepost::{CheckpointFilter, Registry, RegistryState, Store};
/// let store = Store::in_memory()?;
/// let imported = Registry::read(root)?.import(&store, "finbot/")?;
/// for run in &imported.runs {
///     println!("{}", store.run::<RegistryState>(run.as_str())?.state().strategy_name());
/// }
/// let page = store.checkpoints().list(&CheckpointFilter::new().label("sha256", id))?;
/// # assert!(page.checkpoints.is_empty());
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    root: PathBuf,
    /// In the order in which they were created.
    entries: Vec<Entry>,
    remarks: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    /// By time, then by file.
    order: String,
    /// Below the root, with slashes.
    file: String,
    strategy: String,
    /// What tells it from others: the same content may have been saved twice.
    identity: Identity,
}

type Identity = (String, Option<String>);

impl Registry {
    /// Reads all files of a tree, and proves each by its name. Nothing in it is changed. Files whose
    /// names do not end in `.json` are passed over, and a remark names each.
    ///
    /// # Errors
    /// Those of [`RegistryState::read`] for any of them; `Invalid` for symlinks.
    pub fn read(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_path_buf();
        let mut registry = Self { root, entries: Vec::new(), remarks: Vec::new() };
        let mut seen = BTreeMap::new();
        let mut files = Vec::new();
        find_files(&registry.root, 0, &mut files)?;
        files.sort();
        for path in files {
            let file = registry.below_root(&path)?;
            if path.extension().is_none_or(|ending| ending != "json") {
                registry.remarks.push(format!("{file} is no checkpoint: it was passed over"));
                continue;
            }
            let state = RegistryState::read(&path)?;
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let entry = Entry::of(&state, name, file);
            if let Some(other) = seen.insert(entry.identity.clone(), entry.file.clone()) {
                registry.remarks.push(format!("{} is a copy of {other}", entry.file));
                continue;
            }
            registry.entries.push(entry);
        }
        registry.entries.sort_by(|one, other| one.order.cmp(&other.order));
        Ok(registry)
    }

    fn below_root(&self, path: &Path) -> Result<String> {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Option<Vec<_>> = below.iter().map(|part| part.to_str()).collect();
        parts.map(|parts| parts.join("/")).ok_or_else(|| {
            Error::invalid(format!("the name of {} is no text: rename it", path.display()))
        })
    }

    /// Writes them down as checkpoints, one in each commit, of runs whose names are `prefix` and the
    /// strategy's. All of it is durable when it returns; a crash leaves some of it undone, and importing
    /// again does the rest. Importing what is there changes nothing.
    ///
    /// # Errors
    /// `Conflict` if such a run has gone on since and something is left to import, is open, or was not
    /// imported; `Invalid` for a name that no run can have; those of [`RegistryState::read`] if a file
    /// was changed meanwhile; those of a commit.
    pub fn import(&self, store: &Store, prefix: &str) -> Result<Imported> {
        let mut by_run: BTreeMap<RunName, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            let run = RunName::new(&format!("{prefix}{}", entry.strategy))
                .map_err(|error| error.context(&entry.file))?;
            by_run.entry(run).or_default().push(entry);
        }
        let mut imported = Imported {
            runs: Vec::new(),
            imported: 0,
            already_there: 0,
            keys: 0,
            cut_short: None,
            remarks: self.remarks.clone(),
        };
        for (run, entries) in by_run {
            let _hold = hold_run(store, &run)?;
            let there = identities(store, &run)?;
            for entry in entries {
                if there.contains(&entry.identity) {
                    imported.already_there += 1;
                } else {
                    self.bring(store, &run, entry)?;
                    imported.imported += 1;
                }
            }
            imported.runs.push(run);
        }
        Ok(imported)
    }

    fn bring(&self, store: &Store, run: &RunName, entry: &Entry) -> Result<()> {
        let state = RegistryState::read(self.root.join(&entry.file))?;
        let labels = state.labels(entry);
        store
            .commit(|plan| {
                let order = entry.order.clone();
                bring_checkpoint(plan, run, &state, (&labels, state.created()), order)
            })
            .map_err(|error| error.context(&entry.file))
    }

    /// Writes all checkpoints of a run that are of this type as files of a registry, named by their
    /// content; how many files it has. What was imported has the content, the name and the folder it
    /// had; what has been made since gets an id, a time and the folder of that, and is one file if its
    /// content came back in the same month. All of it is durable when it returns. A file that is there
    /// with the same bytes is left alone.
    ///
    /// # Errors
    /// `Conflict` if another file stands in the place of one; `Damaged` if a checkpoint is; `Invalid`
    /// for a bad name; `Io`, `NoSpace` or `NotFound`; `Poisoned`.
    pub fn export(store: &Store, run: &str, root: impl AsRef<Path>) -> Result<u64> {
        let run = RunName::new(run)?;
        let mut files = HashSet::new();
        for checkpoint in checkpoints_of(store, &run)? {
            let state: RegistryState = store.checkpoints().load(&checkpoint.id)?;
            files.insert(write_state(root.as_ref(), state, &checkpoint)?);
        }
        Ok(files.len() as u64)
    }

    /// How many checkpoints it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has no checkpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    fn of(state: &RegistryState, sha256: &str, file: String) -> Self {
        let text = |name| state.0.get(name).and_then(Json::as_text).unwrap_or_default();
        let created = state.created().unwrap_or_default().as_ms();
        Self {
            order: format!("{created:020} {} {file}", text("timestamp")),
            strategy: state.strategy_name().to_owned(),
            identity: (
                sha256.to_owned(),
                state.0.get("created_at").and_then(Json::as_text).map(str::to_owned),
            ),
            file,
        }
    }
}

/// All files in a folder and those inside it.
fn find_files(folder: &Path, level: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let unread = |error| Error::io(format!("reading the folder {}", folder.display()), error);
    if level > FOLDERS_MAX {
        return Err(Error::invalid(format!("{} lies too deep for a registry", folder.display())));
    }
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        match entry.file_type().map_err(unread)? {
            kind if kind.is_dir() => find_files(&entry.path(), level + 1, files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {
                return Err(Error::invalid(format!(
                    "{} is neither a file nor a folder, and is not followed: move it away",
                    entry.path().display()
                )));
            }
        }
    }
    Ok(())
}

/// The checkpoints of a run that are of a registry's type, newest first.
fn checkpoints_of(store: &Store, run: &RunName) -> Result<Vec<Checkpoint>> {
    let mut filter =
        CheckpointFilter::new().run(run.as_str()).schema(RegistryState::NAME).page(PAGE);
    let mut found = Vec::new();
    loop {
        let page = store.checkpoints().list(&filter)?;
        found.extend(page.checkpoints);
        let Some(next) = page.next else { return Ok(found) };
        filter = filter.behind(next);
    }
}

/// What was imported of a run before.
fn identities(store: &Store, run: &RunName) -> Result<HashSet<Identity>> {
    let labels = checkpoints_of(store, run)?.into_iter().map(|checkpoint| checkpoint.labels);
    Ok(labels
        .filter_map(|labels| {
            Some((labels.get("sha256")?.clone(), labels.get("created_at").cloned()))
        })
        .collect())
}

fn write_state(root: &Path, mut state: RegistryState, checkpoint: &Checkpoint) -> Result<PathBuf> {
    let imported = checkpoint.labels.get("sha256").filter(|name| state.is_named(name)).cloned();
    let is_as_imported = imported.is_some();
    let sha256 = imported.unwrap_or_else(|| state.sha256());
    // Whoever made the store chose its labels: none leads out of the folder.
    let is_below = |file: &str| {
        let mut parts = Path::new(file).components();
        !file.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    let file =
        checkpoint.labels.get("file").filter(|file| is_as_imported && is_below(file)).cloned();
    if !is_as_imported {
        // As Python's `isoformat` has it.
        let at = format_time(checkpoint.at).replace('Z', "+00:00");
        state.0 = state.0.in_python_digits();
        state.0.set("checkpoint_id", sha256.as_str().into());
        state.0.set("created_at", at.into());
    }
    let at = format_time(state.created().unwrap_or(checkpoint.at));
    let (year, month) = (at.get(..4).unwrap_or_default(), at.get(5..7).unwrap_or_default());
    let path = root.join(file.unwrap_or_else(|| format!("{year}/{month}/{sha256}.json")));
    let text = Layout::FILE.write(&state.0);
    // The same content has the same name, and only its time may be another one.
    let is_there = fs::read(&path).is_ok_and(|there| there == text.as_bytes())
        || (!is_as_imported && RegistryState::read(&path).is_ok());
    if is_there {
        return Ok(path);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| Error::io(format!("making {}", folder.display()), error))?;
    }
    write_new(&path, &text)?;
    Ok(path)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("root", &self.root)
            .field("checkpoints", &self.entries.len())
            .finish_non_exhaustive()
    }
}
