//! The checkpoint of a task-graph dispatcher, written after each task.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use super::check::{At, Found, Wrong};
use super::document::{self, document};
use super::imported::Imported;
use super::json::{Json, Layout};
use super::source::write_new;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::Versioned;
use crate::record::Codec;
use crate::step::state_now;
use crate::store::Store;

document! {
    /// The checkpoint of a task-graph dispatcher: what is completed, what has failed, the rest of the
    /// graph, and its circuit breaker, as in `F052-checkpoint.json`.
    ///
    /// It is a state like any other: a run holds it, [`Migrations`](crate::Migrations) make a type of
    /// yours of it. Fields that are not known here are kept, and given back in their place.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (old, new) = (dir.path().join("F052-checkpoint.json"), dir.path().join("new.json"));
    /// # std::fs::write(&old, r#"{"version": "1.0", "feature_id": "F052", "completed": ["a"],
    /// #     "failed": [], "graph": {"nodes": [{"id": "b"}], "edges": {}}}"#).unwrap();
    /// use milepost::{Store, TaskGraph};
    /// let store = Store::in_memory()?;
    /// TaskGraph::read(&old)?.import(&store, "F052")?;
    /// assert_eq!(store.run::<TaskGraph>("F052")?.state().completed(), ["a"]);
    /// TaskGraph::of_run(&store, "F052")?.write(&new)?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    TaskGraph, "milepost.task-graph", check
}

impl TaskGraph {
    /// Reads a file that the old program wrote. The file is not changed, whatever is in it.
    ///
    /// # Errors
    /// `Damaged` if it is not what that program writes, with file, byte and field; `TooNew` if it is
    /// of a version that is not known;
    /// `NotFound`; `Invalid` for what is no regular file; `LimitExceeded` over 64 MiB; `Io`.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        document::read(path.as_ref(), check).map(Self)
    }

    /// Writes it down as the state of a run; all of it is durable when it returns. Doing that again
    /// changes nothing. Steps are the tasks that are completed.
    ///
    /// # Errors
    /// `Conflict` if a run of that name has gone on since, was imported from something else, or is
    /// open; `Invalid` for a bad name, or a document that is none; those of a commit.
    pub fn import(&self, store: &Store, run: &str) -> Result<Imported> {
        let found = document::validate(&self.0, check).map_err(Error::invalid)?;
        document::import(store, run, self, found)
    }

    /// Writes a new file for the old program; it is durable when this returns.
    ///
    /// # Errors
    /// `Conflict` if something stands at the path; `Invalid` for a document that the old program could
    /// not read; `Io`, `NoSpace` or `NotFound`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        document::validate(&self.0, check).map_err(Error::invalid)?;
        write_new(path.as_ref(), &(Layout::FILE.write(&self.0) + "\n"))
    }

    /// Which feature the graph is of.
    #[must_use]
    pub fn feature_id(&self) -> &str {
        self.0.get("feature_id").and_then(Json::as_text).unwrap_or_default()
    }

    /// The tasks that are completed, in their order.
    #[must_use]
    pub fn completed(&self) -> Vec<&str> {
        self.named("completed")
    }

    /// The tasks that have failed, in their order.
    #[must_use]
    pub fn failed(&self) -> Vec<&str> {
        self.named("failed")
    }

    /// The tasks that are left, with all that is known of each.
    #[must_use]
    pub fn nodes(&self) -> &[Json] {
        self.0.get("graph").and_then(|graph| graph.get("nodes")).map_or(&[], Json::items)
    }

    fn named(&self, field: &str) -> Vec<&str> {
        self.0.get(field).map_or(&[][..], Json::items).iter().filter_map(Json::as_text).collect()
    }
}

impl Default for TaskGraph {
    /// Nothing done, nothing to do.
    fn default() -> Self {
        let empty = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), Json::List(Vec::new())))
                .collect::<Vec<_>>()
        };
        let mut fields = vec![("version".to_owned(), "1.0".into())];
        fields.push(("feature_id".to_owned(), "".into()));
        fields.extend(empty(&["completed", "failed"]));
        let mut graph = Json::Object(empty(&["nodes"]));
        graph.set("edges", Json::Object(Vec::new()));
        fields.push(("graph".to_owned(), graph));
        Self(Json::Object(fields))
    }
}

fn check(json: &Json) -> Result<Found, Wrong> {
    let root = At::root(json);
    root.fields()?;
    let version = root.need("version")?;
    if version.text()? != "1.0" {
        return version.refused(ErrorKind::TooNew, "only version \"1.0\" is known");
    }
    root.need("feature_id")?.text()?;
    root.each(&["timestamp"], At::time)?;
    let completed = names(&root.need("completed")?)?;
    let failed = root.field("failed").map_or(Ok(Vec::new()), |failed| names(&failed))?;
    check_graph(&root.need("graph")?)?;
    if let Some(breaker) = root.field("circuit_breaker") {
        breaker.fields()?;
        breaker.each(&["failure_count", "success_count", "consecutive_opens"], At::count)?;
        breaker.each(&["last_failure_time"], At::time)?;
        breaker.each(&["state"], |state| {
            if state.json.as_text().is_some() { Ok(0) } else { state.count() }
        })?;
    }
    let failed: HashSet<_> = failed.into_iter().collect();
    let both = completed.iter().filter(|task| failed.contains(*task));
    let remarks = both.map(|task| format!("the task `{task}` is both completed and failed"));
    Ok(Found { steps: completed.len() as u64, remarks: remarks.collect() })
}

fn check_graph(graph: &At<'_>) -> Result<(), Wrong> {
    graph.fields()?;
    let mut ids = HashSet::new();
    for node in graph.need("nodes")?.items()? {
        node.fields()?;
        let id = node.need("id")?;
        if !ids.insert(id.name()?) {
            return id.wrong("another node has this id");
        }
        node.each(&["depends_on"], names)?;
        node.each(&["indegree"], At::count)?;
        node.each(&["completed"], At::truth)?;
    }
    match graph.field("edges") {
        Some(edges) => edges.fields()?.iter().try_for_each(|(_, to)| names(to).map(drop)),
        None => Ok(()),
    }
}

fn names<'a>(list: &At<'a>) -> Result<Vec<&'a str>, Wrong> {
    list.items()?.iter().map(At::name).collect()
}
