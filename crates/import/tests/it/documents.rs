//! Task graphs and phases: against a field that is lost, a number that comes back as another one, and a
//! task that is done twice.

use std::fs;
use std::path::Path;

use milepost::{ErrorKind, Migrations, Position, Result, Store, Versioned};
use milepost_import::{ImportReport, Json, PhasesFile, TaskGraphFile};
use serde::{Deserialize, Serialize};

use crate::support::{error, kind};
use crate::{crashed_everywhere, damaged_everywhere, file, folder, samples, says};

const GRAPH: &str = "F052-checkpoint.json";
const PHASES: &str = "checkpoint_fastapi_pipeline_abc12345.json";

/// The same fields in the same order with the same digits, however they are laid out.
fn same(one: &Path, other: &Path) {
    let text = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.trim_start_matches('\u{feff}').parse::<Json>().unwrap().to_string()
    };
    assert_eq!(text(one), text(other));
}

fn graph(more: &str) -> String {
    format!(
        r#"{{"version": "1.0", "feature_id": "F1", "completed": ["a"], "graph": {{"nodes": [{{"id": "b"}}]}}{more}}}"#
    )
}

fn graph_of(text: &str) -> Result<TaskGraphFile> {
    TaskGraphFile::read(file("graph.json", text).1)
}

fn phases_of(text: &str) -> Result<PhasesFile> {
    PhasesFile::read(file("phases.json", text).1)
}

#[test]
fn the_sample_of_a_graph_is_a_run_and_comes_back() {
    let source = samples().join(GRAPH);
    let store = Store::in_memory().unwrap();
    let imported = TaskGraphFile::read(&source).unwrap().import(&store, "F052").unwrap();
    assert_eq!((imported.imported, imported.remarks.len()), (1, 0));
    let view = store.inspect_run("F052").unwrap();
    assert_eq!((view.schema.as_str(), view.steps), ("milepost.task-graph", 2));
    assert_eq!(view.position, Position::Start);
    says_json(&view.state_json, &[r#""indegree":1"#, r#""failed":["00-052-03"]"#]);
    let graph = store.run::<TaskGraphFile>("F052").unwrap().state().clone();
    assert_eq!(graph.feature_id(), "F052");
    assert_eq!(graph.completed(), ["00-052-01", "00-052-02"]);
    assert_eq!(graph.failed(), ["00-052-03"]);
    assert_eq!(graph.nodes().len(), 2);
    let back = folder();
    let back = back.path().join("back.json");
    TaskGraphFile::of_run(&store, "F052").unwrap().write(&back).unwrap();
    same(&source, &back);
    TaskGraphFile::read(&back).unwrap();
    assert_eq!(kind(graph.write(&back)), ErrorKind::Conflict);
}

fn says_json(json: &str, parts: &[&str]) {
    for part in parts {
        assert!(json.contains(part), "{part} is not in {json}");
    }
}

#[test]
fn the_sample_of_a_pipeline_is_a_run_and_comes_back() {
    let source = samples().join(PHASES);
    let store = Store::in_memory().unwrap();
    let imported = PhasesFile::read(&source).unwrap().import(&store, "pipeline").unwrap();
    assert_eq!((imported.imported, imported.remarks), (1, vec![]));
    let view = store.inspect_run("pipeline").unwrap();
    assert_eq!((view.schema.as_str(), view.steps), ("milepost.phases", 2));
    says_json(&view.state_json, &[r#""total_cost_usd":0.62"#, r#""status":"failed""#]);
    let phases = store.run::<PhasesFile>("pipeline").unwrap().state().clone();
    assert_eq!(phases.test_id(), "fastapi_pipeline_abc12345");
    let order: Vec<_> = phases.phases().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(order, ["discovery", "masterplan", "code_generation", "atomization"]);
    assert_eq!(phases.next().unwrap(), Some("code_generation"));
    let back = folder();
    let back = back.path().join("back.json");
    PhasesFile::of_run(&store, "pipeline").unwrap().write(&back).unwrap();
    same(&source, &back);
    // A checkpoint of it loads as what it is.
    let id = store.checkpoints().save("pipeline", &milepost::Labels::new()).unwrap();
    assert!(store.checkpoints().load::<PhasesFile>(&id).unwrap() == phases);
}

#[test]
fn importing_twice_changes_nothing_and_sets_nothing_back() {
    let store = Store::in_memory().unwrap();
    let read = TaskGraphFile::read(samples().join(GRAPH)).unwrap();
    read.import(&store, "F052").unwrap();
    let before = store.newest_commit().unwrap();
    let again = read.import(&store, "F052").unwrap();
    assert_eq!((again.imported, again.already_there), (0, 1));
    assert_eq!(store.newest_commit().unwrap(), before);
    let mut run = store.run::<TaskGraphFile>("F052").unwrap();
    run.step("00-052-03", 0, |tx| {
        tx.state.json_mut().set("failed", Json::List(vec![]));
        Ok(())
    })
    .unwrap();
    drop(run);
    let error = error(read.import(&store, "F052"));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    says(&error, &["has gone on", "after 2 steps", "after 3"]);
    let now = TaskGraphFile::of_run(&store, "F052").unwrap();
    assert!(now.failed().is_empty(), "what was done since is not undone");
    // The dispatcher went on: not the same source any more.
    let store = Store::in_memory().unwrap();
    read.import(&store, "F052").unwrap();
    assert_eq!(kind(now.import(&store, "F052")), ErrorKind::Conflict);
}

#[test]
fn a_step_that_leaves_what_the_old_program_cannot_read_is_refused() {
    let store = Store::in_memory().unwrap();
    TaskGraphFile::read(samples().join(GRAPH)).unwrap().import(&store, "F052").unwrap();
    let mut run = store.run::<TaskGraphFile>("F052").unwrap();
    for (field, value) in [
        ("completed", Json::from("all of them")),
        ("version", Json::from("2.0")),
        ("cost", Json::Number("1,5".into())),
        ("more", Json::Object(vec![("a".into(), Json::Null), ("a".into(), Json::Null)])),
    ] {
        let before = run.state().clone();
        let refused = run.step("bad", 0, |tx| {
            tx.state.json_mut().set(field, value.clone());
            Ok(())
        });
        assert_eq!(kind(refused), ErrorKind::Aborted, "{field}");
        assert!(*run.state() == before);
        let mut json = before.json().clone();
        json.set(field, value);
        assert_eq!(kind(TaskGraphFile::new(json)), ErrorKind::Invalid, "{field}");
    }
}

#[test]
fn every_legal_graph_is_read_and_comes_back_with_every_digit() {
    let long = "1".repeat(400);
    let many = [
        graph(""),
        graph(r#", "failed": null, "timestamp": null, "circuit_breaker": null"#),
        graph(r#", "timestamp": 1770467696.123, "circuit_breaker": {}"#),
        graph(r#", "timestamp": "0001-01-01T00:00:00Z", "circuit_breaker": {"state": "open"}"#),
        graph(
            r#", "z": {"b": [1, 1.0, 1e-07, 1E5, -0, -0.0, NaN, Infinity, -Infinity], "a": {}}, "y": []"#,
        ),
        graph(&format!(r#", "big": {long}, "small": -{long}.5e-{long}"#)),
        graph(
            r#", "text": "\u00e9\ud83d\ude00 é \u0000 \u007f \/ \b\f\n\r\t \" \\", "": [[], {}, [null]]"#,
        ),
        format!("\u{feff}{}\r\n\r\n", graph("").replace(", ", ",\r\n\t")),
        graph(&format!(r#", "deep": {}1{}"#, "[".repeat(98), "]".repeat(98))),
        graph("").replace(r#"["a"]"#, "null").replace(r#"[{"id": "b"}]"#, "null"),
        graph("").replace(
            r#"{"id": "b"}"#,
            r#"{"id": "b", "depends_on": null, "indegree": 0, "completed": true, "cost": 1.50}"#,
        ),
    ];
    for (nth, text) in many.iter().enumerate() {
        let (_folder, source) = file("graph.json", text);
        let read = TaskGraphFile::read(&source).unwrap_or_else(|error| panic!("{nth}: {error}"));
        let store = Store::in_memory().unwrap();
        read.import(&store, "run").unwrap();
        assert!(read.import(&store, "run").unwrap().is_unchanged());
        let back = source.with_file_name("back.json");
        TaskGraphFile::of_run(&store, "run").unwrap().write(&back).unwrap();
        same(&source, &back);
        assert!(fs::read_to_string(&back).unwrap().is_ascii());
        assert_eq!(fs::read_to_string(&source).unwrap(), *text);
    }
}

#[test]
fn every_legal_pipeline_is_read_and_what_is_strange_is_remarked_on() {
    for (text, remarks) in [
        (r#"{"test_id": "x", "phases": {}}"#, 0),
        (r#"{"test_id": "x", "phases": {}, "current_phase": null, "total_retries": null}"#, 0),
        (
            r#"{"test_id": "x", "phases": {"a": {"status": "running", "duration_seconds": 3, "error": {"code": 7}}}, "current_phase": "a"}"#,
            0,
        ),
        (r#"{"test_id": "x", "phases": {"a": {"status": "timed_out"}}}"#, 1),
        (
            r#"{"test_id": "x", "phases": {"a": {"status": "pending", "phase_name": "b"}}, "current_phase": "c"}"#,
            2,
        ),
    ] {
        let store = Store::in_memory().unwrap();
        let imported = phases_of(text).unwrap().import(&store, "x").unwrap();
        assert_eq!(imported.remarks.len(), remarks, "{:?}", imported.remarks);
    }
    let both = graph(r#", "failed": ["a"]"#);
    let store = Store::in_memory().unwrap();
    let imported = graph_of(&both).unwrap().import(&store, "x").unwrap();
    assert_eq!(imported.remarks.len(), 1);
}

#[test]
fn what_is_damaged_is_refused_with_file_byte_and_field() {
    let deep = graph(&format!(r#", "deep": {}1{}"#, "[".repeat(200), "]".repeat(200)));
    for (text, part) in [
        (graph("").replace("\"1.0\"", "1.0"), "field `version`"),
        (graph("").replace("[\"a\"]", "[\"a\", 7]"), "field `completed[1]`"),
        (graph("").replace("\"completed\"", "\"compleded\""), "`completed` is missing"),
        (
            graph("").replace("{\"id\": \"b\"}", "{\"id\": \"b\"}, {\"id\": \"b\"}"),
            "field `graph.nodes[1].id`",
        ),
        (
            graph("").replace("\"b\"}", "\"b\", \"indegree\": -1}"),
            "field `graph.nodes[0].indegree`",
        ),
        (graph("").replace("}]", "}], \"edges\": {\"a\": [1]}"), "field `graph.edges.a[0]`"),
        (
            graph(r#", "circuit_breaker": {"failure_count": "1"}"#),
            "field `circuit_breaker.failure_count`",
        ),
        (graph(r#", "version": "1.0""#), "field `version`: the field stands there twice"),
        (graph(r#", "half": "\ud83d""#), "half of a surrogate pair"),
        (deep, "levels"),
    ] {
        let error = error(graph_of(&text));
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        says(&error, &["graph.json: byte ", part, "left as it is"]);
    }
    let newer = error(graph_of(&graph("").replace("\"1.0\"", "\"1.1\"")));
    assert_eq!(newer.kind(), ErrorKind::TooNew);
    says(&newer, &["byte 12", "field `version`"]);
    for (text, part) in [
        (
            r#"{"test_id": "x", "phases": {"a": {"status": "failed", "retry_count": 1.5}}}"#,
            "byte 69, field `phases.a.retry_count`",
        ),
        (r#"{"test_id": "x", "phases": {"a": {}}}"#, "byte 33, field `phases.a`"),
        (r#"{"test_id": "x", "phases": []}"#, "byte 27, field `phases`"),
        (r#"{"phases": {}}"#, "`test_id` is missing"),
    ] {
        let error = error(phases_of(text));
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        says(&error, &["phases.json", part, "left as it is"]);
    }
}

#[test]
fn every_damaged_byte_of_the_documents_is_told_or_means_something_else() {
    for (name, read) in [
        (GRAPH, (|path| TaskGraphFile::read(path).map(drop)) as fn(&Path) -> Result<()>),
        (PHASES, |path| PhasesFile::read(path).map(drop)),
    ] {
        let sample = fs::read(samples().join(name)).unwrap();
        let refused = damaged_everywhere(&sample, name, read);
        assert!(refused > sample.len() * 3 / 2, "{name}: only {refused} were refused");
    }
}

#[test]
fn an_import_that_was_cut_short_anywhere_is_done_by_the_next_one() {
    let graph = TaskGraphFile::read(samples().join(GRAPH)).unwrap();
    let phases = PhasesFile::read(samples().join(PHASES)).unwrap();
    let import = |store: &Store| -> Result<ImportReport> {
        let graph = graph.import(store, "graph")?;
        let mut both = phases.import(store, "phases")?;
        both.imported += graph.imported;
        Ok(both)
    };
    crashed_everywhere(import, |store| {
        let graph = TaskGraphFile::of_run(store, "graph").unwrap().json().to_string();
        (graph, PhasesFile::of_run(store, "phases").unwrap().json().to_string())
    });
}

#[test]
fn a_migration_makes_a_type_of_ones_own_of_it() {
    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Mine {
        done: Vec<String>,
    }
    impl Versioned for Mine {
        const NAME: &'static str = "mine";
        const VERSION: u32 = 1;
    }
    let store = Store::in_memory().unwrap();
    TaskGraphFile::read(samples().join(GRAPH)).unwrap().import(&store, "F052").unwrap();
    let to_mine = Migrations::new().step::<TaskGraphFile, Mine>(|old| {
        Ok(Mine { done: old.completed().into_iter().map(str::to_owned).collect() })
    });
    let run =
        store.open_run::<Mine>("F052").init(Mine::default).migrations(&to_mine).open().unwrap();
    assert_eq!(run.state().done, ["00-052-01", "00-052-02"]);
    assert_eq!(kind(PhasesFile::of_run(&store, "F052")), ErrorKind::SchemaMismatch);
}
