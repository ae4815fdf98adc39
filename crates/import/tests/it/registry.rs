//! The registry: against a checkpoint that is not what its name says, one that a retention lets go of,
//! and a run that an older one sets back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use milepost::{CheckpointFilter, ErrorKind, Options, Retention, Store, Timestamp};
use milepost_import::{Json, RegistryFile, RegistryFolder};
use tempfile::TempDir;

use crate::support::{T0, clock, error, kind, on_disk, second};
use crate::{crashed_everywhere, folder, samples, says};

const SAMPLE: &str = "9ce6354a472d9d95d834f0f3c0298b04cbe3f9084d52fbd020d5ad6826d8d014";

fn sample_file() -> PathBuf {
    samples().join(format!("finbot/2026/02/{SAMPLE}.json"))
}

fn with_label(store: &Store, sha256: &str) -> Vec<milepost::Checkpoint> {
    store.checkpoints().list(&CheckpointFilter::new().label("sha256", sha256)).unwrap().checkpoints
}

/// A file as the registry would have written it: its id is filled in.
fn put(root: &Path, month: &str, content: &str, created_at: &str) -> String {
    let mut json: Json = content.parse().unwrap();
    let id = RegistryFile::new(json.clone()).unwrap().sha256();
    json.set("checkpoint_id", id.as_str().into());
    json.set("created_at", created_at.into());
    fs::create_dir_all(root.join(month)).unwrap();
    fs::write(root.join(month).join(format!("{id}.json")), json.to_string()).unwrap();
    id
}

fn strategy(name: &str, bars: u64) -> String {
    format!(
        r#"{{"strategy_name": "{name}", "strategy_state": {{"bars_seen": {bars}, "at": 0.1}}}}"#
    )
}

/// Checkpoints of two strategies.
fn tree() -> (TempDir, Vec<String>) {
    tree_of(10)
}

fn tree_of(checkpoints: u64) -> (TempDir, Vec<String>) {
    let folder = folder();
    let ids = (0..checkpoints).map(|n| {
        let at = format!("2026-0{}-1{}T00:00:00+00:00", 1 + n % 3, n % 10);
        let month = format!("2026/0{}", 1 + n % 3);
        put(folder.path(), &month, &strategy(["momentum", "pairs"][n as usize % 2], n), &at)
    });
    let ids = ids.collect();
    (folder, ids)
}

#[test]
fn the_sample_is_a_checkpoint_found_by_its_old_id() {
    let store = Options::new().clock(clock()).in_memory().unwrap();
    let imported =
        RegistryFolder::read(samples().join("finbot")).unwrap().import(&store, "").unwrap();
    assert_eq!((imported.imported, imported.runs[0].as_str()), (1, "momentum"));
    let [known] = with_label(&store, SAMPLE).try_into().unwrap();
    assert_eq!((known.run.as_str(), known.pinned), ("momentum", true));
    for (name, value) in [
        ("file", format!("2026/02/{SAMPLE}.json").as_str()),
        ("created_at", "2026-02-17T09:00:00+00:00"),
        ("timestamp", "2026-02-16T21:00:00+00:00"),
        ("strategy_name", "momentum"),
        ("version", "1.0.0"),
        ("metadata.run", "paper-7"),
        ("metadata.note", "before rebalance"),
    ] {
        assert_eq!(known.labels[name], value);
    }
    let state: RegistryFile = store.checkpoints().load(&known.id).unwrap();
    assert_eq!(state.sha256(), SAMPLE);
    let view = store.inspect_run("momentum").unwrap().state_json;
    assert!(view.contains(r#""window":[598.1,599.4,600.0,601.25]"#), "{view}");
    // The store's clock stands before it was created: it was saved now then.
    assert_eq!(known.at, T0);
}

#[test]
fn a_checkpoint_is_of_the_time_at_which_it_was_created() {
    let now = clock();
    now.set(Timestamp::from_ms(1_800_000_000_000));
    let store = Options::new().clock(now).in_memory().unwrap();
    RegistryFolder::read(samples().join("finbot")).unwrap().import(&store, "").unwrap();
    assert_eq!(with_label(&store, SAMPLE)[0].at, Timestamp::from_ms(1_771_318_800_000));
}

#[test]
fn the_sample_comes_back_byte_for_byte() {
    let store = Store::in_memory().unwrap();
    RegistryFolder::read(samples().join("finbot")).unwrap().import(&store, "finbot/").unwrap();
    let back = folder();
    assert_eq!(RegistryFolder::export(&store, "finbot/momentum", back.path()).unwrap(), 1);
    let file = back.path().join(format!("2026/02/{SAMPLE}.json"));
    assert_eq!(fs::read(&file).unwrap(), fs::read(sample_file()).unwrap());
    // Once more changes nothing; over another file it does not go.
    assert_eq!(RegistryFolder::export(&store, "finbot/momentum", back.path()).unwrap(), 1);
    fs::write(&file, "mine").unwrap();
    assert_eq!(
        kind(RegistryFolder::export(&store, "finbot/momentum", back.path())),
        ErrorKind::Conflict
    );
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn what_was_saved_since_gets_a_name_that_the_registry_would_have_given_it() {
    let store = Store::in_memory().unwrap();
    RegistryFolder::read(samples().join("finbot")).unwrap().import(&store, "").unwrap();
    let mut run = store.run::<RegistryFile>("momentum").unwrap();
    run.step("bar", 0, |tx| {
        let json = tx.state.json_mut();
        json.set("note", "\u{e9}\u{1f600}\u{7f}".into());
        json.set("price", Json::Number("0.1000E-6".into()));
        tx.checkpoint(milepost::Labels::new())
    })
    .unwrap();
    let back = folder();
    assert_eq!(RegistryFolder::export(&store, "momentum", back.path()).unwrap(), 2);
    let read = RegistryFolder::read(back.path()).unwrap();
    assert_eq!(read.len(), 2);
    proven_by_python(back.path());
}

/// Against: a strategy that is again in a state it was in before, whose export ends at its own file.
#[test]
fn a_content_that_comes_back_is_one_file_of_the_registry() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<RegistryFile>("momentum").unwrap();
    for (bar, holdings) in [0u64, 1, 0].into_iter().enumerate() {
        clock.advance(second(60));
        run.step(format!("bar-{bar}"), bar as u64, |tx| {
            tx.state.json_mut().set("strategy_name", "momentum".into());
            tx.state.json_mut().set("holdings", holdings.into());
            tx.checkpoint(milepost::Labels::new())
        })
        .unwrap();
    }
    let back = folder();
    for _ in 0..2 {
        assert_eq!(RegistryFolder::export(&store, "momentum", back.path()).unwrap(), 2);
        assert_eq!(RegistryFolder::read(back.path()).unwrap().len(), 2);
    }
}

/// Holds each file's name against its content as the old program did.
fn proven_by_python(root: &Path) {
    const PROGRAM: &str = "\
import glob, hashlib, json, os, sys
files = glob.glob(os.path.join(sys.argv[1], '**', '*.json'), recursive=True)
for name in files:
    state = json.load(open(name))
    assert state.pop('checkpoint_id') == os.path.basename(name)[:-5], name
    state.pop('created_at')
    text = json.dumps(state, sort_keys=True, separators=(',', ':'))
    assert hashlib.sha256(text.encode()).hexdigest() == os.path.basename(name)[:-5], name
print(len(files))
";
    match Command::new("python3").args(["-c", PROGRAM]).arg(root).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
            assert_ne!(output.stdout, b"0\n");
        }
        Err(error) => eprintln!("skipped: python3 cannot be run ({error})"),
    }
}

#[test]
fn python_names_an_exported_registry_as_we_do() {
    let (source, _) = tree();
    let hard = r#"{"strategy_name": "hard", "z": {"b": [1e-07, 1e+16, 123456789012345678901234567890, -0.0, NaN, Infinity], "a": "\u00e9\ud83d\ude00\u0000\u007f\b\f\n\r\t\"\\/"}, "é": {}, "A": []}"#;
    put(source.path(), "2026/05", hard, "2026-05-01T00:00:00+00:00");
    proven_by_python(source.path());
    let store = Store::in_memory().unwrap();
    let imported = RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    let back = folder();
    for run in &imported.runs {
        RegistryFolder::export(&store, run.as_str(), back.path()).unwrap();
    }
    assert_eq!(RegistryFolder::read(back.path()).unwrap().len(), 11);
    proven_by_python(back.path());
}

#[test]
fn a_name_that_was_hashed_without_escapes_is_proven_too() {
    let folder = folder();
    // Python: hashlib.sha256(json.dumps({"strategy_name": "é"}, separators=(",", ":"), ensure_ascii=False).encode())
    let plain = "351a11caa98419a1c29b6d5f55e3c5be061ae0c2f39e4fe16d1fb3c7c3048813";
    for id in [format!(r#", "checkpoint_id": "{plain}""#), String::new()] {
        let text = format!(r#"{{"strategy_name": "é"{id}}}"#);
        fs::write(folder.path().join(format!("{plain}.json")), text).unwrap();
        assert_goes_and_comes(folder.path(), plain);
    }
}

fn assert_goes_and_comes(folder: &Path, plain: &str) {
    let store = Store::in_memory().unwrap();
    let registry = RegistryFolder::read(folder).unwrap();
    registry.import(&store, "").unwrap();
    assert_eq!(with_label(&store, plain).len(), 1);
    assert!(registry.import(&store, "").unwrap().is_unchanged());
    let back = super::folder();
    RegistryFolder::export(&store, "é", back.path()).unwrap();
    assert!(back.path().join(format!("{plain}.json")).exists());
    RegistryFolder::read(back.path()).unwrap();
}

#[test]
fn importing_twice_changes_nothing() {
    let (source, ids) = tree();
    let store = Store::in_memory().unwrap();
    let registry = RegistryFolder::read(source.path()).unwrap();
    let first = registry.import(&store, "").unwrap();
    assert_eq!((first.imported, first.already_there, first.runs.len()), (10, 0, 2));
    let before = store.newest_commit().unwrap();
    let again = registry.import(&store, "").unwrap();
    assert_eq!((again.imported, again.already_there), (0, 10));
    assert_eq!(store.newest_commit().unwrap(), before);
    // The registry went on, the run did not: what is new comes behind, in the order of its time.
    let newest =
        put(source.path(), "2026/09", &strategy("momentum", 99), "2026-09-01T00:00:00+00:00");
    let older =
        put(source.path(), "2025/01", &strategy("momentum", 98), "2025-01-01T00:00:00+00:00");
    let more = RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    assert_eq!((more.imported, more.already_there), (2, 10));
    assert_eq!(store.run::<RegistryFile>("momentum").unwrap().state().sha256(), newest);
    // An older one that turns up later does not set the run back.
    let oldest =
        put(source.path(), "2024/01", &strategy("momentum", 97), "2024-01-01T00:00:00+00:00");
    RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    assert_eq!(store.run::<RegistryFile>("momentum").unwrap().state().sha256(), newest);
    for id in ids.iter().chain([&newest, &older, &oldest]) {
        assert_eq!(with_label(&store, id).len(), 1, "{id}");
    }
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_run_that_has_gone_on_is_not_set_back() {
    let (source, _) = tree();
    let store = Store::in_memory().unwrap();
    RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    let mut run = store.run::<RegistryFile>("momentum").unwrap();
    run.step("bar", 0, |tx| {
        tx.state.json_mut().set("mine", true.into());
        Ok(())
    })
    .unwrap();
    drop(run);
    // All of it is there: nothing to do, and nothing is done.
    let before = store.newest_commit().unwrap();
    assert!(
        RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap().is_unchanged()
    );
    put(source.path(), "2026/09", &strategy("momentum", 99), "2026-09-01T00:00:00+00:00");
    let error = error(RegistryFolder::read(source.path()).unwrap().import(&store, ""));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    says(&error, &["2026/09/", "has gone on"]);
    assert_eq!(store.newest_commit().unwrap(), before);
    let state = RegistryFile::of_run(&store, "momentum").unwrap();
    assert_eq!(state.json().get("mine"), Some(&true.into()));
}

#[test]
fn the_same_content_saved_twice_is_two_checkpoints_and_a_copy_is_one() {
    let folder = folder();
    let content = strategy("momentum", 1);
    let id = put(folder.path(), "2026/01", &content, "2026-01-01T00:00:00+00:00");
    put(folder.path(), "2026/02", &content, "2026-02-01T00:00:00+00:00");
    put(folder.path(), "2026/03", &content, "2026-02-01T00:00:00+00:00");
    fs::write(folder.path().join("2026/01/half.json.tmp"), "{").unwrap();
    let store = Store::in_memory().unwrap();
    let registry = RegistryFolder::read(folder.path()).unwrap();
    let imported = registry.import(&store, "").unwrap();
    assert_eq!((imported.imported, imported.remarks.len()), (2, 2));
    says_any(&imported.remarks, &["half.json.tmp", "is a copy of 2026/02/"]);
    assert_eq!(with_label(&store, &id).len(), 2);
    assert!(registry.import(&store, "").unwrap().is_unchanged());
    let back = super::folder();
    assert_eq!(RegistryFolder::export(&store, "momentum", back.path()).unwrap(), 2);
    assert!(back.path().join(format!("2026/01/{id}.json")).exists());
    assert!(back.path().join(format!("2026/02/{id}.json")).exists());
}

fn says_any(remarks: &[String], parts: &[&str]) {
    for part in parts {
        assert!(remarks.iter().any(|remark| remark.contains(part)), "{part}: {remarks:?}");
    }
}

#[test]
fn no_retention_lets_go_of_what_the_registry_had_kept() {
    let (source, ids) = tree();
    let now = clock();
    now.set(Timestamp::from_ms(1_800_000_000_000));
    let none = Retention { keep_last: 1, keep_for: Duration::ZERO, keep_bytes: 0 };
    let store = Options::new().clock(now).retention(none).in_memory().unwrap();
    RegistryFolder::read(source.path()).unwrap().import(&store, "").unwrap();
    let mut run = store.run::<RegistryFile>("momentum").unwrap();
    for n in 0..5u64 {
        run.step(format!("bar-{n}"), n, |tx| {
            tx.state.json_mut().set("bar", n.into());
            tx.checkpoint(milepost::Labels::new())
        })
        .unwrap();
    }
    for id in &ids {
        assert_eq!(with_label(&store, id).len(), 1);
    }
}

#[test]
fn a_content_that_is_not_what_its_name_says_is_refused_with_both() {
    let sample = fs::read_to_string(sample_file()).unwrap();
    let folder = folder();
    let path = folder.path().join(format!("{SAMPLE}.json"));
    for (from, to, parts) in [
        ("10412.55", "10412.56", ["byte 0", "name says 9ce6354a"]),
        ("600.0,", "600.00,", ["byte 0", "its content is "]),
        ("\"checkpoint_id\": \"9c", "\"checkpoint_id\": \"9d", ["field `checkpoint_id`", SAMPLE]),
        (
            "\"created_at\": \"2026-02-17T09:00:00+00:00\"",
            "\"created_at\": 7",
            ["field `created_at`", "text"],
        ),
    ] {
        fs::write(&path, sample.replace(from, to)).unwrap();
        let error = error(RegistryFolder::read(folder.path()));
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        says(&error, &[SAMPLE, parts[0], parts[1], "left as it is"]);
    }
    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("latest.json"), &sample).unwrap();
    says(&error(RegistryFolder::read(folder.path())), &["latest.json", "no SHA-256"]);
}

#[test]
fn every_damaged_byte_of_a_registry_is_told() {
    let name = format!("{SAMPLE}.json");
    let sample = fs::read(sample_file()).unwrap();
    let content = |state: &RegistryFile| {
        let mut json = state.json().clone();
        json.set("created_at", Json::Null);
        json.to_string()
    };
    let whole = content(&RegistryFile::read(sample_file()).unwrap());
    super::damaged_everywhere(&sample, &name, |path| {
        let read = RegistryFile::read(path)?;
        // What is not refused differs in its layout, or in the time that is not in the hash.
        assert_eq!(content(&read), whole);
        Ok(())
    });
}

#[test]
fn an_import_that_was_cut_short_anywhere_is_done_by_the_next_one() {
    let (source, _) = tree_of(4);
    let registry = RegistryFolder::read(source.path()).unwrap();
    crashed_everywhere(
        |store| registry.import(store, ""),
        |store| {
            let all = CheckpointFilter::new().page(100);
            let all = store.checkpoints().list(&all).unwrap().checkpoints;
            let all: Vec<_> = all.into_iter().map(|known| (known.id, known.labels)).collect();
            let state = |run| RegistryFile::of_run(store, run).unwrap().sha256();
            (all, state("momentum"), state("pairs"))
        },
    );
}

#[test]
fn a_damaged_file_keeps_all_of_them_out() {
    let (source, ids) = tree();
    let bad = source.path().join(format!("2026/01/{}.json", ids[0]));
    let text = fs::read_to_string(&bad).unwrap();
    fs::write(&bad, text.replace("0.1", "0.2")).unwrap();
    assert_eq!(kind(RegistryFolder::read(source.path())), ErrorKind::Damaged);
    // One that is changed between reading and importing is refused then.
    fs::write(&bad, &text).unwrap();
    let registry = RegistryFolder::read(source.path()).unwrap();
    fs::write(&bad, text.replace("0.1", "0.2")).unwrap();
    assert_eq!(kind(registry.import(&Store::in_memory().unwrap(), "")), ErrorKind::Damaged);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_tree_is_not_followed() {
    let (source, _) = tree();
    std::os::unix::fs::symlink(samples(), source.path().join("link")).unwrap();
    assert_eq!(kind(RegistryFolder::read(source.path())), ErrorKind::Invalid);
}
