//! The checkpoint of a task-graph dispatcher, written after each task.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use milepost::{ErrorKind, Result, Store};

use crate::check::{At, Found, Wrong};
use crate::document::{self, document};
use crate::error::invalid;
use crate::json::{Json, Layout};
use crate::report::ImportReport;
use crate::source::write_new;

document! {
    /// The checkpoint of a task-graph dispatcher: what is completed, what has failed, the rest of the
    /// graph, and its circuit breaker, as in `F052-checkpoint.json`.
    ///
    /// It is a state like any other: a run holds it, [`Migrations`](milepost::Migrations) make a type of
    /// yours of it. Fields that are not known here are kept, and given back in their place.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let (old, new) = (dir.path().join("F052-checkpoint.json"), dir.path().join("new.json"));
    /// # std::fs::write(&old, r#"{"version": "1.0", "feature_id": "F052", "completed": ["a"],
    /// #     "failed": [], "graph": {"nodes": [{"id": "b"}], "edges": {}}}"#).unwrap();
    /// use milepost::Store;
    /// use milepost_import::TaskGraphFile;
    /// let store = Store::in_memory()?;
    /// TaskGraphFile::read(&old)?.import(&store, "F052")?;
    /// assert_eq!(store.run::<TaskGraphFile>("F052")?.state().completed(), ["a"]);
    /// TaskGraphFile::of_run(&store, "F052")?.write(&new)?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    TaskGraphFile, "milepost.task-graph", check
}

impl TaskGraphFile {
    /// Reads a file that the old program wrote. The file is not changed, whatever is in it.
    ///
    /// # Errors
    /// `Damaged` if it is not what that program writes, with file, byte and field; `TooNew` if it is
    /// of a newer version than 1.0, `SchemaMismatch` if of an older one;
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
    pub fn import(&self, store: &Store, run: &str) -> Result<ImportReport> {
        let found = document::validate(&self.0, check).map_err(invalid)?;
        document::import(store, run, self, found)
    }

    /// Writes a new file for the old program; it is durable when this returns.
    ///
    /// # Errors
    /// `Conflict` if something stands at the path; `Invalid` for a document that the old program could
    /// not read; `Io`, `NoSpace` or `NotFound`.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        document::validate(&self.0, check).map_err(invalid)?;
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

impl Default for TaskGraphFile {
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
    check_version(&version)?;
    root.need_or_null("feature_id")?.map_or(Ok(""), |id| id.text())?;
    root.each(&["timestamp"], At::time)?;
    let completed = names(&root.need("completed")?)?;
    let failed = root.field("failed").map_or(Ok(Vec::new()), |failed| names(&failed))?;
    let mut graph = Graph::default();
    if let Some(of_graph) = root.need_or_null("graph")? {
        graph.check(&of_graph)?;
    }
    if let Some(breaker) = root.field("circuit_breaker") {
        breaker.fields()?;
        breaker.each(&["failure_count", "success_count", "consecutive_opens"], At::count)?;
        breaker.each(&["last_failure_time"], At::time)?;
        breaker.each(&["state"], |state| {
            if state.json.as_text().is_some() { Ok(0) } else { state.count() }
        })?;
    }
    let mut remarks = Vec::new();
    let completed = each_once("completed", &completed, &mut remarks);
    let failed = each_once("failed", &failed, &mut remarks);
    let both = failed.iter().filter(|task| completed.contains(*task));
    remarks.extend(both.map(|task| format!("the task `{task}` is both completed and failed")));
    graph.remark(&completed, &failed, &mut remarks);
    Ok(Found { steps: completed.len() as u64, remarks })
}

/// Only a version that is higher than the known one was written by a newer program.
fn check_version(version: &At<'_>) -> Result<(), Wrong> {
    let text = version.text()?;
    let parts: Option<Vec<u64>> = text.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([1, 0]) => Ok(()),
        Some(parts) if parts > &[1, 0][..] => {
            version.refused(ErrorKind::TooNew, "only version \"1.0\" is known")
        }
        Some(_) => version.refused(
            ErrorKind::SchemaMismatch,
            format!("version \"{text}\" is older than \"1.0\", the only one that is read"),
        ),
        None => version.wrong("a version like \"1.0\" is expected"),
    }
}

fn each_once<'a>(list: &str, tasks: &[&'a str], remarks: &mut Vec<String>) -> Tasks<'a> {
    let mut once = Tasks::default();
    for task in tasks {
        if !once.insert(task) {
            remarks.push(format!("the task `{task}` is listed twice as {list}: it counts once"));
        }
    }
    once
}

type Tasks<'a> = HashSet<&'a str>;

/// What the graph says of its nodes, in the order of the file.
#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<(&'a str, Option<bool>)>,
    /// A task, and one that it waits for. An edge leads from a task to those that wait for it.
    waits: Vec<(&'a str, &'a str)>,
}

impl<'a> Graph<'a> {
    fn check(&mut self, graph: &At<'a>) -> Result<(), Wrong> {
        graph.fields()?;
        let mut ids = HashSet::new();
        for node in graph.need("nodes")?.items()? {
            node.fields()?;
            let id = node.need("id")?;
            let name = id.name()?;
            if !ids.insert(name) {
                return id.wrong("another node has this id");
            }
            if let Some(on) = node.field("depends_on") {
                self.waits.extend(names(&on)?.into_iter().map(|on| (name, on)));
            }
            node.each(&["indegree"], At::count)?;
            let completed = node.field("completed").map(|completed| completed.truth());
            self.nodes.push((name, completed.transpose()?));
        }
        for (from, to) in graph.field("edges").map_or(Ok(Vec::new()), |edges| edges.fields())? {
            self.waits.extend(names(&to)?.into_iter().map(|to| (to, from)));
        }
        Ok(())
    }

    /// What makes no graph of it, or disagrees with the lists: a dispatcher would wait for ever, or
    /// do a task twice.
    fn remark(&self, completed: &Tasks<'_>, failed: &Tasks<'_>, remarks: &mut Vec<String>) {
        let ids: Tasks<'_> = self.nodes.iter().map(|(id, _)| *id).collect();
        let is_known =
            |task| ids.contains(task) || completed.contains(task) || failed.contains(task);
        let mut said = HashSet::new();
        for (task, on) in &self.waits {
            for unknown in [task, on] {
                if !is_known(*unknown) && said.insert((task, on, unknown)) {
                    remarks.push(format!(
                        "`{task}` waits for `{on}`, and `{unknown}` is neither a node nor completed nor \
                         failed"
                    ));
                }
            }
        }
        for (id, is_completed) in &self.nodes {
            match is_completed {
                Some(true) if !completed.contains(id) => remarks.push(format!(
                    "the node `{id}` says that it is completed, and the list of completed tasks does not"
                )),
                Some(false) | None if completed.contains(id) => remarks.push(format!(
                    "the task `{id}` is completed, and is still a node that does not say so"
                )),
                _ => {}
            }
        }
        let circle = self.circle(completed);
        if !circle.is_empty() {
            let circle: Vec<_> = circle.iter().map(|task| format!("`{task}`")).collect();
            remarks.push(format!("these tasks wait for one another: {}", circle.join(", ")));
        }
    }

    /// The nodes that can never begin because they wait, in the end, for themselves.
    fn circle(&self, completed: &Tasks<'_>) -> Vec<&'a str> {
        let mut waits: HashMap<&str, Tasks<'a>> = HashMap::new();
        let mut waiting: HashMap<&str, Tasks<'a>> = HashMap::new();
        let open = self.waits.iter().filter(|(_, on)| !completed.contains(on));
        for (task, on) in open {
            waits.entry(task).or_default().insert(on);
            waiting.entry(on).or_default().insert(task);
        }
        // What waits for nothing goes, from either end, until only circles and what joins them are
        // left.
        prune(&mut waits, &mut waiting);
        prune(&mut waiting, &mut waits);
        let ids = self.nodes.iter().map(|(id, _)| *id);
        ids.filter(|id| waits.get(id).is_some_and(|on| !on.is_empty())).collect()
    }
}

/// Takes away every task that waits for nothing, and all waits for it.
fn prune<'a>(waits: &mut HashMap<&'a str, Tasks<'a>>, waiting: &mut HashMap<&'a str, Tasks<'a>>) {
    let is_free = |task: &&str, waits: &HashMap<&str, Tasks<'_>>| {
        waits.get(task).is_none_or(HashSet::is_empty)
    };
    let mut free: Vec<&str> = waiting.keys().copied().filter(|task| is_free(task, waits)).collect();
    while let Some(task) = free.pop() {
        for next in waiting.remove(task).unwrap_or_default() {
            if let Some(on) = waits.get_mut(next) {
                on.remove(task);
            }
            if is_free(&next, waits) {
                free.push(next);
            }
        }
    }
}

fn names<'a>(list: &At<'a>) -> Result<Vec<&'a str>, Wrong> {
    list.items()?.iter().map(At::name).collect()
}
