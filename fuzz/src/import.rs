//! The files that a store replaces, and what must hold of whatever is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use milepost::{Error, ErrorKind, Result, Store};
use milepost_import::{
    ImportReport, Json, PhasesFile, RegistryFile, RegistryFolder, RunFolder, TaskGraphFile,
};

use crate::memory::peak_of;
use crate::questions::{Book, options};

const CHECKPOINT: &[u8] =
    include_bytes!("../../crates/import/tests/formats/run-dir/checkpoint.json");
const KEYS: &[u8] =
    include_bytes!("../../crates/import/tests/formats/run-dir/idempotency_keys.jsonl");
const GRAPH: &[u8] = include_bytes!("../../crates/import/tests/formats/F052-checkpoint.json");
const PHASES: &[u8] =
    include_bytes!("../../crates/import/tests/formats/checkpoint_fastapi_pipeline_abc12345.json");
const SHA256: &str = "9ce6354a472d9d95d834f0f3c0298b04cbe3f9084d52fbd020d5ad6826d8d014";
const STATE: &[u8] = include_bytes!(
    "../../crates/import/tests/formats/finbot/2026/02/9ce6354a472d9d95d834f0f3c0298b04cbe3f9084d52fbd020d5ad6826d8d014.json"
);

/// What reading takes by itself.
const CAUTION: usize = 4 << 20;
/// An item of two letters in JSON is a node of a tree in memory.
const TIMES: usize = 256;
/// The run of a document.
const RUN: &str = "brought";

/// The first byte says which file the rest is; the others are those of the samples.
pub fn play(data: &[u8]) {
    let [which, bytes @ ..] = data else { return };
    let folder = tempfile::tempdir().unwrap();
    let (source, out) = (folder.path().join("source"), folder.path().join("out"));
    let files = match which % 6 {
        0 => vec![("checkpoint.json".to_owned(), bytes), ("idempotency_keys.jsonl".into(), KEYS)],
        1 => vec![("checkpoint.json".into(), CHECKPOINT), ("idempotency_keys.jsonl".into(), bytes)],
        2 | 3 => vec![("document.json".into(), bytes)],
        of_registry => {
            let Some(name) = name_of(of_registry == 4, bytes) else { return };
            vec![(format!("2026/02/{SHA256}.json"), STATE), (format!("2026/03/{name}.json"), bytes)]
        }
    };
    for (name, bytes) in &files {
        let path = source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    match which % 6 {
        0 | 1 => run_folder(&source, &out),
        2 => document::<TaskGraphFile>(&source.join("document.json"), &out, GRAPH),
        3 => document::<PhasesFile>(&source.join("document.json"), &out, PHASES),
        _ => registry(&source, &out),
    }
    let wanted: BTreeMap<_, _> =
        files.iter().map(|(name, bytes)| (source.join(name), bytes.to_vec())).collect();
    assert!(files_in(&source) == wanted, "the source was changed");
}

/// The name under which a file lies in a registry: the sample's, or what its content asks for.
fn name_of(as_sample: bool, bytes: &[u8]) -> Option<String> {
    if as_sample {
        return Some(SHA256.to_owned());
    }
    let json: Json = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(RegistryFile::new(json).ok()?.sha256())
}

fn files_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

/// What is read of a file, unless it is refused.
fn read_as<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Option<T> {
    let (read, peak) = peak_of(read);
    assert!(peak < CAUTION + TIMES * (1 << 12), "{} took {peak}", path.display());
    read.inspect_err(|error| {
        let honest = matches!(
            error.kind(),
            ErrorKind::Damaged | ErrorKind::TooNew | ErrorKind::SchemaMismatch
        );
        assert!(honest && error.to_string().contains("byte "), "{:?}: {error}", error.kind());
    })
    .ok()
}

/// Imports into a new store, twice. `None` if it is refused.
fn imported(import: impl Fn(&Store) -> Result<ImportReport>) -> Option<(Store, ImportReport)> {
    let store = options().cache_bytes(1 << 16).in_memory().unwrap();
    let done = import(&store).inspect_err(assert_refused).ok();
    assert!(store.verify().unwrap().is_sound());
    let done = done?;
    assert!(!done.is_unchanged(), "{done:?}");
    let before = store.newest_commit().unwrap();
    let again = import(&store).unwrap();
    assert!(again.is_unchanged() && again.runs == done.runs && again.keys == done.keys);
    assert_eq!(again.remarks, done.remarks);
    assert_eq!(store.newest_commit().unwrap(), before);
    Some((store, done))
}

/// What is well-formed and cannot be stored: a name, a key.
fn assert_refused(error: &Error) {
    let honest = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::LimitExceeded);
    assert!(honest, "{:?}: {error}", error.kind());
}

fn run_folder(source: &Path, out: &Path) {
    let Some(read) = read_as(source, || RunFolder::read(source)) else { return };
    accounted_for(source, &read);
    let Some((store, done)) = imported(|store| read.import::<Book>(store)) else { return };
    let [run] = done.runs.as_slice() else { panic!("{done:?}") };
    let keys: BTreeSet<_> = read.keys().iter().collect();
    assert!(keys.len() == read.keys().len() && done.keys == keys.len() as u64, "{done:?}");
    RunFolder::of_run(&store, run.as_str()).unwrap().write(out).unwrap();
    let back = RunFolder::read(out).unwrap();
    assert_eq!((back.run_id(), back.position()), (read.run_id(), read.position()));
    assert_eq!(back.processed_count(), read.processed_count());
    assert!(back.keys().iter().collect::<BTreeSet<_>>() == keys && back.cut_short().is_none());
    // Its keys are seen, and it goes on behind its position.
    let mut live = store.run::<Book>(run.as_str()).unwrap();
    assert_eq!((live.position(), live.steps()), (&read.position(), read.processed_count()));
    for key in read.keys() {
        let position = live.position().clone();
        assert!(!live.step(key.as_str(), position, |_| Ok(())).unwrap().is_fresh());
    }
}

/// Every line of the keys is a key, a repeat of one, empty, or named in a remark.
fn accounted_for(source: &Path, read: &RunFolder) {
    let text = fs::read(source.join("idempotency_keys.jsonl")).unwrap();
    let mut remarks = 0;
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        let json = std::str::from_utf8(line).ok().and_then(|line| line.parse::<Json>().ok());
        let key = json.as_ref().and_then(|json| json.get("key"));
        match key.and_then(Json::as_text).filter(|key| !key.is_empty()) {
            Some(key) => assert!(read.keys().iter().any(|known| known == key), "lost: {key}"),
            None => remarks += usize::from(!line.is_empty()),
        }
    }
    assert!(read.remarks().len() >= remarks, "{:?}", read.remarks());
}

/// What documents have in common.
trait Document: Sized + PartialEq {
    /// What must hold of it beside.
    fn judge(&self, remarks: &[String]);
    fn read(path: &Path) -> Result<Self>;
    fn import(&self, store: &Store) -> Result<ImportReport>;
    fn of_run(store: &Store) -> Result<Self>;
    fn write(&self, path: &Path) -> Result<()>;
}

macro_rules! document {
    ($name:ident, $judge:path) => {
        impl Document for $name {
            fn judge(&self, remarks: &[String]) {
                $judge(self, remarks);
            }
            fn read(path: &Path) -> Result<Self> {
                Self::read(path)
            }
            fn import(&self, store: &Store) -> Result<ImportReport> {
                self.import(store, RUN)
            }
            fn of_run(store: &Store) -> Result<Self> {
                Self::of_run(store, RUN)
            }
            fn write(&self, path: &Path) -> Result<()> {
                self.write(path)
            }
        }
    };
}

document!(TaskGraphFile, judge_graph);
document!(PhasesFile, judge_phases);

/// A node that waits for a task which is nowhere, or for itself, is remarked on.
fn judge_graph(graph: &TaskGraphFile, remarks: &[String]) {
    let id = |node: &Json| node.get("id").and_then(Json::as_text).unwrap_or_default().to_owned();
    let mut known: BTreeSet<String> = graph.nodes().iter().map(id).collect();
    let lists = graph.completed().into_iter().chain(graph.failed());
    known.extend(lists.map(str::to_owned));
    for node in graph.nodes() {
        for on in node.get("depends_on").map_or(&[][..], Json::items) {
            let on = on.as_text().unwrap();
            let is_wrong =
                !known.contains(on) || (on == id(node) && !graph.completed().contains(&on));
            assert!(!is_wrong || !remarks.is_empty(), "{on}");
        }
    }
}

/// What is next is a phase that is known not to be done, and all before it are known to be.
fn judge_phases(phases: &PhasesFile, _: &[String]) {
    let word = |phase: &Json| {
        let word = phase.get("status").and_then(Json::as_text).unwrap_or_default();
        word.rsplit('.').next().unwrap_or_default().to_ascii_lowercase()
    };
    let Ok(next) = phases.next() else { return };
    for (name, phase) in phases.phases() {
        let word = word(phase);
        if next == Some(name.as_str()) {
            assert!(["pending", "running", "in_progress", "failed"].contains(&&*word), "{word}");
            return;
        }
        assert!(["completed", "skipped"].contains(&&*word), "{word} is passed over");
    }
    assert_eq!(next, None);
}

fn document<T: Document>(source: &Path, out: &Path, sample: &[u8]) {
    let Some(read) = read_as(source, || T::read(source)) else { return };
    let Some((store, done)) = imported(|store| read.import(store)) else { return };
    read.judge(&done.remarks);
    let stored = T::of_run(&store).unwrap();
    assert!(stored == read, "another document is stored");
    stored.write(out).unwrap();
    assert!(T::read(out).unwrap() == read, "another document comes back");
    // Another one does not take its place.
    fs::write(out, sample).unwrap();
    let sample = T::read(out).unwrap();
    match sample.import(&store) {
        Ok(done) => assert!(done.is_unchanged() && sample == read, "{done:?}"),
        Err(error) => assert!(error.kind() == ErrorKind::Conflict && sample != read, "{error}"),
    }
}

fn registry(source: &Path, out: &Path) {
    let Some(read) = read_as(source, || RegistryFolder::read(source)) else { return };
    let Some((store, done)) = imported(|store| read.import(store, "finbot/")) else { return };
    assert_eq!(done.imported, read.len() as u64);
    let files =
        done.runs.iter().map(|run| RegistryFolder::export(&store, run.as_str(), out).unwrap());
    assert_eq!(files.sum::<u64>(), done.imported);
    let back = RegistryFolder::read(out).unwrap();
    assert_eq!(back.len(), read.len());
    assert!(back.import(&store, "finbot/").unwrap().is_unchanged());
    // Given back, the newest is the same one.
    let other = options().cache_bytes(1 << 16).in_memory().unwrap();
    back.import(&other, "finbot/").unwrap();
    for run in &done.runs {
        let [one, same] =
            [&store, &other].map(|store| RegistryFile::of_run(store, run.as_str()).unwrap());
        assert!(one == same, "another one is the newest");
    }
}
