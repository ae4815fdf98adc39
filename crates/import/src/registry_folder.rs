//! A registry of strategy states: a tree of files, each named by the SHA-256 of its content.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};

use milepost::{
    Checkpoint, CheckpointFilter, CheckpointImport, Error, Result, RunName, Store, Versioned,
};

use crate::error::invalid;
use crate::json::{Json, Layout};
use crate::named::is_named;
use crate::registry_file::RegistryFile;
use crate::report::ImportReport;
use crate::source::write_new;
use crate::time::{Moment, format_moment, parse_time};

/// Folders inside one another.
const FOLDERS_MAX: usize = 16;
/// How many checkpoints are listed at once.
const PAGE: usize = 1_000;

/// A registry of strategy states: a tree of files, read and proven.
///
/// Each strategy becomes a run, and each file a checkpoint of it: labelled with `sha256`, its old id,
/// and with `file`, `created_at`, `timestamp`, `strategy_name`, `version` and what stands in its
/// metadata; saved at the time it was created; and pinned, since the registry let go of nothing. The
/// run's own state is that of the newest one, by `created_at` with every digit it has, then by
/// `timestamp`, then by the name of the file. A time that cannot be read counts as the oldest, and is
/// a remark; so is a newest one that is not newer than another.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let id = "ac6448f0b5ad0f2f76bce5eecb96c7e06d2f2e4b4a3b1ffdf0a3b7a3ab7ad7f3";
/// # let root = dir.path();
/// use milepost::{CheckpointFilter, Store};
/// use milepost_import::{RegistryFile, RegistryFolder};
/// let store = Store::in_memory()?;
/// let imported = RegistryFolder::read(root)?.import(&store, "finbot/")?;
/// for run in &imported.runs {
///     println!("{}", store.run::<RegistryFile>(run.as_str())?.state().strategy_name());
/// }
/// let page = store.checkpoints().list(&CheckpointFilter::new().label("sha256", id))?;
/// # assert!(page.checkpoints.is_empty());
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone)]
pub struct RegistryFolder {
    root: PathBuf,
    /// In the order in which they were created.
    entries: Vec<Entry>,
    remarks: Vec<String>,
}

#[derive(Clone)]
struct Entry {
    /// By time, then by file.
    order: String,
    /// What of it is time.
    times: String,
    /// Below the root, with slashes.
    file: String,
    strategy: String,
    /// What tells it from others: the same content may have been saved twice.
    identity: Identity,
}

type Identity = (String, Option<String>);

impl RegistryFolder {
    /// Reads all files of a tree, and proves each by its name. Nothing in it is changed. Files whose
    /// names do not end in `.json` are passed over, and a remark names each.
    ///
    /// # Errors
    /// Those of [`RegistryFile::read`] for any of them; `Invalid` for symlinks.
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
            let state = RegistryFile::read(&path)?;
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let entry = Entry::of(&state, name, file);
            if let Some(other) = seen.insert(entry.identity.clone(), entry.file.clone()) {
                registry.remarks.push(format!("{} is a copy of {other}", entry.file));
                continue;
            }
            if state.created().is_none() {
                registry.remarks.push(format!(
                    "{}: its `created_at` is missing or cannot be read: it counts as older than those \
                     whose time is known. It is no part of the hash: if it is not old, mend a copy",
                    entry.file
                ));
            }
            registry.entries.push(entry);
        }
        registry.entries.sort_by(|one, other| one.order.cmp(&other.order));
        registry.remark_on_ties();
        Ok(registry)
    }

    /// Where only the name of a file says which of two is the newest, a person should know.
    fn remark_on_ties(&mut self) {
        let mut newest: BTreeMap<&str, &Entry> = BTreeMap::new();
        let mut ties: BTreeMap<&str, String> = BTreeMap::new();
        for entry in &self.entries {
            ties.remove(entry.strategy.as_str());
            let before = newest.insert(&entry.strategy, entry);
            if let Some(before) = before.filter(|before| before.times == entry.times) {
                let remark = format!(
                    "{} and {} are of the same time: the second one is taken as the newest",
                    before.file, entry.file
                );
                ties.insert(&entry.strategy, remark);
            }
        }
        let ties: Vec<_> = ties.into_values().collect();
        self.remarks.extend(ties);
    }

    fn below_root(&self, path: &Path) -> Result<String> {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let parts: Option<Vec<_>> = below.iter().map(|part| part.to_str()).collect();
        parts
            .map(|parts| parts.join("/"))
            .ok_or_else(|| invalid(format!("the name of {} is no text: rename it", path.display())))
    }

    /// Writes them down as checkpoints, one in each commit, of runs whose names are `prefix` and the
    /// strategy's. All of it is durable when it returns; a crash leaves some of it undone, and importing
    /// again does the rest. Importing what is there changes nothing.
    ///
    /// # Errors
    /// `Conflict` if such a run has gone on since and something is left to import, is open, or was not
    /// imported; `Invalid` for a name that no run can have; those of [`RegistryFile::read`] if a file
    /// was changed meanwhile; those of a commit.
    pub fn import(&self, store: &Store, prefix: &str) -> Result<ImportReport> {
        let mut by_run: BTreeMap<RunName, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            let run = RunName::new(&format!("{prefix}{}", entry.strategy))
                .map_err(|error| error.context(&entry.file))?;
            by_run.entry(run).or_default().push(entry);
        }
        let mut imported = ImportReport {
            runs: Vec::new(),
            imported: 0,
            already_there: 0,
            keys: 0,
            cut_short: None,
            remarks: self.remarks.clone(),
        };
        for (run, entries) in by_run {
            let mut import = store.import_checkpoints(run.as_str())?;
            let there = identities(store, &run)?;
            for entry in entries {
                if there.contains(&entry.identity) {
                    imported.already_there += 1;
                } else {
                    self.bring(&mut import, entry)?;
                    imported.imported += 1;
                }
            }
            imported.runs.push(run);
        }
        Ok(imported)
    }

    fn bring(&self, import: &mut CheckpointImport, entry: &Entry) -> Result<()> {
        let state = RegistryFile::read(self.root.join(&entry.file))?;
        let labels = state.labels(&entry.identity.0, &entry.file);
        let created = state.created().map(|created| created.at);
        import
            .add(&state, &labels, &entry.order, created)
            .map_err(|error| error.context(&entry.file))
    }

    /// Writes all checkpoints of a run that are of this type as files of a registry, named by their
    /// content; how many files it has. What was imported has the content, the name and the folder it
    /// had; what has been made since gets an id, a time and the folder of that, and is one file if its
    /// content came back in the same month, of the later time. What was newer is of a later time, by a
    /// microsecond where the clock did not tell: given back, the newest is the same one. All of it is
    /// durable when it returns. A file that is there with the same content, and of no earlier time, is
    /// left alone.
    ///
    /// # Errors
    /// `Conflict` if another file stands in the place of one, or the same content of an earlier time:
    /// take an empty folder; `Damaged` if a checkpoint is; `Invalid`
    /// for a bad name; `Io`, `NoSpace` or `NotFound`; `Poisoned`.
    pub fn export(store: &Store, run: &str, root: impl AsRef<Path>) -> Result<u64> {
        let run = RunName::new(run)?;
        let mut files = HashSet::new();
        let checkpoints = checkpoints_of(store, &run)?;
        let times = times_of(&checkpoints);
        // The newest first: of two with one name, it is the one that is written.
        for (checkpoint, at) in checkpoints.iter().zip(times) {
            let state: RegistryFile = store.checkpoints().load(&checkpoint.id)?;
            files.insert(write_state(root.as_ref(), state, checkpoint, at)?);
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
    fn of(state: &RegistryFile, sha256: &str, file: String) -> Self {
        let timestamp = state.json().get("timestamp").and_then(Json::as_text).unwrap_or_default();
        let times = [state.created(), parse_time(timestamp)]
            .map(|time| time.map_or_else(|| "-".to_owned(), Moment::in_order));
        let times = format!("{} {timestamp}", times.join(" "));
        Self {
            order: format!("{times} {file}"),
            times,
            strategy: state.strategy_name().to_owned(),
            identity: (
                sha256.to_owned(),
                state.json().get("created_at").and_then(Json::as_text).map(str::to_owned),
            ),
            file,
        }
    }
}

/// All files in a folder and those inside it.
fn find_files(folder: &Path, level: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let unread = |error| Error::io(format!("reading the folder {}", folder.display()), error);
    if level > FOLDERS_MAX {
        return Err(invalid(format!("{} lies too deep for a registry", folder.display())));
    }
    for entry in fs::read_dir(folder).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        match entry.file_type().map_err(unread)? {
            kind if kind.is_dir() => find_files(&entry.path(), level + 1, files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {
                return Err(invalid(format!(
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
        CheckpointFilter::new().run(run.as_str()).schema(RegistryFile::NAME).page(PAGE);
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

/// The times that checkpoints are given, newest first as they are: each is later than those before it,
/// also where the clock said the same of them, or went back.
fn times_of(checkpoints: &[Checkpoint]) -> Vec<Moment> {
    let mut last = Moment::default();
    let mut times = Vec::with_capacity(checkpoints.len());
    for checkpoint in checkpoints.iter().rev() {
        let at = Moment::of(checkpoint.at).max(last.next());
        let imported = checkpoint.labels.get("created_at").and_then(|at| parse_time(at));
        last = at.max(imported.unwrap_or_default());
        times.push(at);
    }
    times.reverse();
    times
}

/// Writes a checkpoint as a file. What was imported keeps the time it had.
fn write_state(
    root: &Path,
    mut state: RegistryFile,
    checkpoint: &Checkpoint,
    at: Moment,
) -> Result<PathBuf> {
    let imported =
        checkpoint.labels.get("sha256").filter(|name| is_named(state.json(), name)).cloned();
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
        *state.json_mut() = state.json().in_python_digits();
        state.json_mut().set("checkpoint_id", sha256.as_str().into());
        state.json_mut().set("created_at", format_moment(at).into());
    }
    let at = format_moment(state.created().unwrap_or(at));
    let (year, month) = (at.get(..4).unwrap_or_default(), at.get(5..7).unwrap_or_default());
    let path = root.join(file.unwrap_or_else(|| format!("{year}/{month}/{sha256}.json")));
    let text = Layout::FILE.write(state.json());
    // The same content has the same name, and only its time may be another one. An earlier one would
    // make another checkpoint the newest.
    let is_there = fs::read(&path).is_ok_and(|there| there == text.as_bytes())
        || RegistryFile::read(&path).is_ok_and(|there| there.created() >= state.created());
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

impl fmt::Debug for RegistryFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryFolder")
            .field("root", &self.root)
            .field("checkpoints", &self.entries.len())
            .finish_non_exhaustive()
    }
}
