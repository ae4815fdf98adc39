//! An import is total: what is not understood is a remark, what is damaged is named, what is unknown is
//! never next, and which checkpoint is the newest is kept. Each of these was once passed over without
//! a word, or refused without a need.

use std::fs;
use std::path::Path;

use milepost::{ErrorKind, Labels, Options, Position, Result, Store};
use milepost_import::{Json, PhasesFile, RegistryFile, RegistryFolder, RunFolder, TaskGraphFile};

use crate::support::{Counter, clock, error};
use crate::{file, folder, says};

fn remarks_of_graph(text: &str) -> Vec<String> {
    let store = Store::in_memory().unwrap();
    let graph = TaskGraphFile::read(file("graph.json", text).1).unwrap();
    graph.import(&store, "run").unwrap().remarks
}

fn graph(completed: &str, graph: &str) -> String {
    format!(
        r#"{{"version": "1.0", "feature_id": "F", "completed": {completed}, "graph": {graph}}}"#
    )
}

/// Against: a dispatcher that waits for ever for a task which is nowhere, or for itself.
#[test]
fn a_graph_that_is_none_is_remarked_on() {
    for (completed, nodes, remark) in [
        ("[]", r#"{"nodes": [{"id": "b", "depends_on": ["nowhere"]}]}"#, "`nowhere` is neither"),
        ("[]", r#"{"nodes": [{"id": "b"}], "edges": {"b": ["nowhere"]}}"#, "`nowhere` is neither"),
        ("[]", r#"{"nodes": [{"id": "b"}], "edges": {"x": ["b"]}}"#, "`x` is neither"),
        (
            "[]",
            r#"{"nodes": [{"id": "b", "depends_on": ["c"]}, {"id": "c", "depends_on": ["b"]}]}"#,
            "wait for one another: `b`, `c`",
        ),
        (
            "[]",
            r#"{"nodes": [{"id": "a"}, {"id": "b", "depends_on": ["c"]}, {"id": "c"}], "edges": {"b": ["c"], "c": ["a"]}}"#,
            "wait for one another: `b`, `c`",
        ),
        ("[]", r#"{"nodes": [{"id": "b", "depends_on": ["b"]}]}"#, "one another: `b`"),
        (r#"["a", "a"]"#, r#"{"nodes": []}"#, "`a` is listed twice"),
        (r#"["a"]"#, r#"{"nodes": [{"id": "a"}]}"#, "still a node"),
        ("[]", r#"{"nodes": [{"id": "a", "completed": true}]}"#, "says that it is completed"),
    ] {
        let remarks = remarks_of_graph(&graph(completed, nodes));
        assert_eq!(remarks.len(), 1, "{nodes}: {remarks:?}");
        assert!(remarks[0].contains(remark), "{remarks:?}");
    }
    let sound = graph(
        r#"["a"]"#,
        r#"{"nodes": [{"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a", "b"]}], "edges": {"a": ["b", "c"], "b": ["c"]}}"#,
    );
    assert_eq!(remarks_of_graph(&sound), Vec::<String>::new());
}

/// Against: an advice to upgrade for a file that is too old, and Go's nil refused as damage.
#[test]
fn what_is_not_there_is_null_and_an_older_version_is_not_a_newer_one() {
    let go = r#"{"version": "1.0", "feature_id": null, "completed": null, "failed": null, "graph": null, "circuit_breaker": null}"#;
    assert_eq!(remarks_of_graph(go), Vec::<String>::new());
    let version = |version: &str| {
        let text = graph("[]", "null").replace("1.0", version);
        error(TaskGraphFile::read(file("graph.json", text).1))
    };
    for (text, kind, advice) in [
        ("0.9", ErrorKind::SchemaMismatch, "older"),
        ("1.1", ErrorKind::TooNew, "upgrade"),
        ("2.0", ErrorKind::TooNew, "upgrade"),
        ("one", ErrorKind::Damaged, "restore"),
    ] {
        let error = version(text);
        assert_eq!(error.kind(), kind, "{error}");
        says(&error, &["graph.json: byte 12, field `version`", advice]);
    }
    for text in [r#"{"test_id": "x", "phases": null}"#, r#"{"test_id": null, "phases": {}}"#] {
        let phases = PhasesFile::read(file("phases.json", text).1).unwrap();
        assert_eq!(phases.phases().len(), 0);
        assert_eq!(phases.next().unwrap(), None);
    }
}

fn phases(status: &str) -> PhasesFile {
    let text = format!(
        r#"{{"test_id": "x", "phases": {{"paid": {{"status": {status}}}, "next": {{"status": "pending"}}}}}}"#
    );
    PhasesFile::read(file("phases.json", text).1).unwrap()
}

/// Against: a phase that was completed, in a spelling that was not known, and is paid for once more.
#[test]
fn what_is_not_known_to_be_undone_is_never_next() {
    for done in ["PhaseStatus.COMPLETED", "COMPLETED", "Completed", "skipped", "m.P.SKIPPED"] {
        let phases = phases(&format!("{done:?}"));
        assert_eq!(phases.next().unwrap(), Some("next"), "{done}");
        let imported = phases.import(&Store::in_memory().unwrap(), "x").unwrap();
        assert_eq!(imported.remarks, Vec::<String>::new());
    }
    for open in ["PhaseStatus.PENDING", "FAILED", "in_progress"] {
        assert_eq!(phases(&format!("{open:?}")).next().unwrap(), Some("paid"), "{open}");
    }
    for unknown in [r#""done""#, r#""PhaseStatus.""#, r#""3""#, r#""completed ""#, "null"] {
        let mut phases = phases(unknown);
        let store = Store::in_memory().unwrap();
        assert_eq!(phases.import(&store, "x").unwrap().remarks.len(), 1, "{unknown}");
        assert_eq!(store.inspect_run("x").unwrap().steps, 0);
        let refused = error(phases.next());
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        says(&refused, &["`paid`", "not known"]);
        // Until somebody has looked.
        let paid = phases.json_mut().get_mut("phases").and_then(|phases| phases.get_mut("paid"));
        paid.unwrap().set("status", "completed".into());
        assert_eq!(phases.next().unwrap(), Some("next"));
    }
}

fn run_folder(checkpoint: &str, keys: &str) -> (tempfile::TempDir, Result<RunFolder>) {
    let folder = folder();
    fs::write(folder.path().join("checkpoint.json"), checkpoint).unwrap();
    fs::write(folder.path().join("idempotency_keys.jsonl"), keys).unwrap();
    let read = RunFolder::read(folder.path());
    (folder, read)
}

const CHECKPOINT: &str = r#"{"run_id": "r", "last_processed_idx": 6, "processed_count": 7}"#;

/// Against: a whole line that is wrong, passed over as one that a crash has cut short.
#[test]
fn a_last_line_that_is_whole_is_not_cut_short() {
    for (line, byte) in [("{\"kye\": \"b\"}", 13), ("{\"key\": 7}", 21), ("null", 13), ("7", 13)] {
        let refused = error(run_folder(CHECKPOINT, &format!("{{\"key\": \"a\"}}\n{line}")).1);
        assert_eq!(refused.kind(), ErrorKind::Damaged, "{line}");
        says(&refused, &["idempotency_keys.jsonl", &format!("byte {byte}"), "line 2"]);
    }
    for line in ["{", "{\"key\"", "{\"kye\": \"b\"", "\0\0"] {
        let read = run_folder(CHECKPOINT, &format!("{{\"key\": \"a\"}}\n{line}")).1.unwrap();
        assert_eq!(read.cut_short().unwrap().byte, 13, "{line}");
    }
}

/// Against: a folder of which nothing can be imported because one line has an empty key.
#[test]
fn a_line_without_a_key_is_remarked_on_and_given_back() {
    let keys = "{\"key\": \"a\"}\n{\"key\": \"\"}\n{\"key\": null, \"at\": 1}\n{\"key\": \"b\"}\n";
    let read = run_folder(CHECKPOINT, keys).1.unwrap();
    assert_eq!(read.keys(), ["a", "b"]);
    assert_eq!(read.remarks().len(), 2);
    assert!(read.remarks()[0].contains("line 2 "), "{:?}", read.remarks());
    let store = Store::in_memory().unwrap();
    assert_eq!(read.import::<Counter>(&store).unwrap().remarks.len(), 2);
    let back = folder();
    RunFolder::of_run(&store, "r").unwrap().write(back.path()).unwrap();
    let back = RunFolder::read(back.path()).unwrap();
    assert_eq!((back.keys(), back.remarks().len()), (read.keys(), 1));
}

#[test]
fn a_folder_that_has_processed_nothing_may_say_null() {
    for (checkpoint, remarks) in [
        (r#"{"run_id": "r", "last_processed_idx": null, "processed_count": 0}"#, 0),
        (r#"{"run_id": "r", "last_processed_idx": null, "processed_count": null}"#, 0),
        (r#"{"run_id": "r", "last_processed_idx": null, "processed_count": 7}"#, 1),
    ] {
        let read = run_folder(checkpoint, "").1.unwrap();
        assert_eq!(read.position(), Position::Start);
        assert_eq!(read.remarks().len(), remarks, "{:?}", read.remarks());
        let store = Store::in_memory().unwrap();
        read.import::<Counter>(&store).unwrap();
        assert_eq!(RunFolder::of_run(&store, "r").unwrap().position(), Position::Start);
    }
}

fn put(root: &Path, n: u64, created: Option<&str>) -> String {
    let created = created.map_or(String::new(), |at| format!(r#", "created_at": "{at}""#));
    let text = format!(r#"{{"strategy_name": "m", "strategy_state": {n}{created}}}"#);
    let id = RegistryFile::new(text.parse().unwrap()).unwrap().sha256();
    fs::create_dir_all(root).unwrap();
    fs::write(root.join(format!("{id}.json")), text).unwrap();
    id
}

/// The state of the newest one, and what is remarked on.
fn newest(root: &Path) -> (u64, Vec<String>) {
    let store = Store::in_memory().unwrap();
    let imported = RegistryFolder::read(root).unwrap().import(&store, "").unwrap();
    (state_of(&store), imported.remarks)
}

fn state_of(store: &Store) -> u64 {
    let state = RegistryFile::of_run(store, "m").unwrap();
    state.json().get("strategy_state").and_then(Json::as_u64).unwrap()
}

/// Against: a bot that goes on from the older of two states that were saved in one millisecond.
#[test]
fn of_two_in_one_millisecond_the_later_is_the_newest() {
    for n in 0..20 {
        let root = folder();
        put(root.path(), 2 * n, Some("2026-03-01T00:00:00.123100+00:00"));
        put(root.path(), 2 * n + 1, Some("2026-03-01T01:00:00.123900+01:00"));
        assert_eq!(newest(root.path()), (2 * n + 1, vec![]));
    }
}

/// Against: the newest state taken for the oldest, because its time is written otherwise.
#[test]
fn a_time_is_read_or_remarked_on() {
    for created in ["2026-03-05T00:00+00:00", "2026-03-05T00:00:00+05:53:28", "2026-03-05T00"] {
        let root = folder();
        put(root.path(), 1, Some("2026-03-01T00:00:00+00:00"));
        put(root.path(), 2, Some(created));
        assert_eq!(newest(root.path()), (2, vec![]), "{created}");
    }
    for created in [Some("yesterday"), Some("1969-01-01T00:00:00Z"), Some(""), None] {
        let root = folder();
        let id = put(root.path(), 1, created);
        put(root.path(), 2, Some("2026-03-01T00:00:00+00:00"));
        let (newest, remarks) = newest(root.path());
        assert_eq!((newest, remarks.len()), (2, 1), "{created:?}: {remarks:?}");
        assert!(remarks[0].contains(&id) && remarks[0].contains("created_at"), "{remarks:?}");
    }
}

/// Against: a hash that decides, without a word, which of two states a bot goes on from.
#[test]
fn two_of_the_same_time_are_remarked_on_where_one_of_them_is_the_newest() {
    let root = folder();
    put(root.path(), 1, Some("2026-03-01T00:00:00+00:00"));
    put(root.path(), 2, Some("2026-03-01T01:00:00+01:00"));
    let (first, remarks) = newest(root.path());
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert_eq!(newest(root.path()).0, first);
    put(root.path(), 3, Some("2026-03-01T00:00:00.000001+00:00"));
    assert_eq!(newest(root.path()), (3, vec![]));
}

fn save(store: &Store, states: impl Iterator<Item = u64>) {
    let mut run = store.run::<RegistryFile>("m").unwrap();
    for (nth, state) in states.enumerate() {
        let key = format!("{nth}");
        run.step(key, nth as u64, |tx| {
            tx.state.json_mut().set("strategy_name", "m".into());
            tx.state.json_mut().set("strategy_state", state.into());
            tx.checkpoint(Labels::new())
        })
        .unwrap();
    }
}

/// Against: times in whole seconds, after which any of those of one second is the newest.
#[test]
fn given_back_the_newest_is_the_same_one() {
    // All of them in one millisecond, and a state that comes back at the end.
    for last in [19, 7] {
        let store = Options::new().clock(clock()).in_memory().unwrap();
        save(&store, (0..19).chain([last]));
        let back = folder();
        for _ in 0..2 {
            RegistryFolder::export(&store, "m", back.path()).unwrap();
        }
        let other = Store::in_memory().unwrap();
        RegistryFolder::read(back.path()).unwrap().import(&other, "").unwrap();
        assert_eq!(state_of(&other), last);
        // Once more from there.
        let again = folder();
        RegistryFolder::export(&other, "m", again.path()).unwrap();
        assert_eq!(newest(again.path()).0, last);
    }
}

/// Against: a file of before that says, with an earlier time, what is now the newest state.
#[test]
fn an_export_beside_an_older_one_keeps_the_order_or_says_that_it_cannot() {
    let now = clock();
    let store = Options::new().clock(now.clone()).in_memory().unwrap();
    save(&store, 0..2);
    let back = folder();
    RegistryFolder::export(&store, "m", back.path()).unwrap();
    let mut run = store.run::<RegistryFile>("m").unwrap();
    now.advance(std::time::Duration::from_secs(1));
    run.step("back", 2, |tx| {
        tx.state.json_mut().set("strategy_state", 0u64.into());
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    drop(run);
    let refused = error(RegistryFolder::export(&store, "m", back.path()));
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    let empty = folder();
    RegistryFolder::export(&store, "m", empty.path()).unwrap();
    assert_eq!(newest(empty.path()).0, 0);
}

/// Against: what was saved after an import, and counts as older than what was imported, since the
/// clock stands back.
#[test]
fn what_was_saved_since_is_newer_than_what_was_imported() {
    let source = folder();
    put(source.path(), 1, Some("2036-03-01T00:00:00.5+00:00"));
    let store = Options::new().clock(clock()).in_memory().unwrap();
    RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    save(&store, [5, 6].into_iter());
    let back = folder();
    assert_eq!(RegistryFolder::export(&store, "m", back.path()).unwrap(), 3);
    assert_eq!(newest(back.path()), (6, vec![]));
}

/// Against: a sound file that is called damaged, because Python sorted the keys of a dict as numbers.
#[test]
fn a_dict_whose_keys_were_numbers_is_proven() {
    // Python: json.dumps({"strategy_name": "m", "strategy_state": 1, "lots": {2: 1, 10: 2}},
    //     sort_keys=True, separators=(",", ":"))
    let id = "e6e6929f6a36bfb5707bd1af2ce920149e61081bd28f1a67dfe779085a55aa27";
    let text = format!(
        r#"{{"strategy_name": "m", "strategy_state": 1, "lots": {{"10": 2, "2": 1}}, "checkpoint_id": "{id}", "created_at": "2026-03-01T00:00:00+00:00"}}"#
    );
    let root = folder();
    let path = root.path().join(format!("{id}.json"));
    fs::write(&path, &text).unwrap();
    assert_eq!(RegistryFile::read(&path).unwrap().sha256(), id);
    assert_eq!(newest(root.path()), (1, vec![]));
    let store = Store::in_memory().unwrap();
    RegistryFolder::read(root.path()).unwrap().import(&store, "").unwrap();
    let back = folder();
    RegistryFolder::export(&store, "m", back.path()).unwrap();
    assert_eq!(RegistryFile::read(back.path().join(format!("{id}.json"))).unwrap().sha256(), id);
    // Another number in it is still told.
    fs::write(&path, text.replace("\"2\": 1", "\"2\": 3")).unwrap();
    assert_eq!(error(RegistryFile::read(&path)).kind(), ErrorKind::Damaged);
}
