//! The folder of a bot's run: against a key that counts as new, and two files that disagree.

use std::fs;
use std::path::Path;

use milepost::{Done, ErrorKind, Key, Limits, Options, Position, Result, Store, Versioned};
use milepost_import::RunFolder;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::support::{Blob, Counter, count, error, kind};
use crate::{crashed_everywhere, damaged_everywhere, folder, samples, says};

const CHECKPOINT: &str = r#"{"run_id": "run", "last_processed_idx": 6, "processed_count": 7, "updated_at": "2026-01-07T19:25:00Z"}"#;

fn run_folder(checkpoint: &str, keys: impl AsRef<[u8]>) -> TempDir {
    let folder = folder();
    fs::write(folder.path().join("checkpoint.json"), checkpoint).unwrap();
    fs::write(folder.path().join("idempotency_keys.jsonl"), keys).unwrap();
    folder
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn the_sample_becomes_a_run_whose_keys_are_duplicates() {
    let source = samples().join("run-dir");
    let store = Store::in_memory().unwrap();
    let read = RunFolder::read(&source).unwrap();
    let imported = read.import::<Counter>(&store).unwrap();
    assert_eq!((imported.imported, imported.already_there, imported.keys), (1, 0, 3));
    // Three whole lines of 27 bytes are in front of what the crash has left.
    let cut = imported.cut_short.unwrap();
    assert_eq!((cut.byte, cut.bytes), (81, 17));
    let mut run = store.run::<Counter>("run_20260107_192400").unwrap();
    assert_eq!((run.position(), run.steps()), (&Position::Index(6), 7));
    for n in 1..=3 {
        let done: Done<()> = run.step(format!("exec:intent-00{n}"), 7, |_| unreachable!()).unwrap();
        assert_eq!(done, Done::Duplicate(()));
    }
    assert!(run.step("exec:intent-004", 7, |_| Ok(())).unwrap().is_fresh());
}

#[test]
fn the_sample_comes_back_byte_for_byte() {
    let source = samples().join("run-dir");
    let store = Store::in_memory().unwrap();
    RunFolder::read(&source).unwrap().import::<Counter>(&store).unwrap();
    let back = folder();
    RunFolder::of_run(&store, "run_20260107_192400").unwrap().write(back.path()).unwrap();
    assert_eq!(text(back.path(), "checkpoint.json"), text(&source, "checkpoint.json"));
    let keys = text(&source, "idempotency_keys.jsonl");
    let whole_lines = &keys[..=keys.rfind('\n').unwrap()];
    assert_eq!(text(back.path(), "idempotency_keys.jsonl"), whole_lines);
    // Never over a file that is there.
    let again = RunFolder::of_run(&store, "run_20260107_192400").unwrap().write(back.path());
    assert_eq!(kind(again), ErrorKind::Conflict);
}

#[test]
fn the_old_bot_can_go_on_where_the_new_one_was() {
    let folder = run_folder(CHECKPOINT, "{\"key\": \"b\", \"at\": 1.50}\n{\"key\": \"a\"}\n");
    let store = Store::in_memory().unwrap();
    RunFolder::read(folder.path()).unwrap().import::<Counter>(&store).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 7).unwrap();
    let back = RunFolder::of_run(&store, "run").unwrap();
    assert_eq!((back.position(), back.processed_count()), (Position::Index(7), 8));
    assert_eq!(back.keys(), ["a", "b", "key-00007"]);
    let out = super::folder();
    back.write(out.path().join("new")).unwrap();
    let out = out.path().join("new");
    assert_eq!(
        text(&out, "idempotency_keys.jsonl"),
        "{\"key\": \"a\"}\n{\"key\": \"b\", \"at\": 1.50}\n{\"key\": \"key-00007\"}\n"
    );
    assert!(!text(&out, "checkpoint.json").contains("2026-01-07T19:25:00Z"));
    assert!(RunFolder::read(&out).unwrap().remarks().is_empty());
    // A run that was never imported can be given to an old bot too.
    count(&mut store.run::<Counter>("own").unwrap(), 3).unwrap();
    let own = RunFolder::of_run(&store, "own").unwrap();
    assert_eq!((own.run_id(), own.position()), ("own", Position::Index(3)));
}

#[test]
fn what_the_old_bot_may_have_written_is_read() {
    let key = |line: &str| RunFolder::read(run_folder(CHECKPOINT, line).path()).unwrap();
    assert_eq!(key("").keys().len(), 0);
    assert_eq!(key("{\"key\": \"a\"}\n\r\n{\"key\": \"b\"}\n\n ").keys(), ["a", "b"]);
    assert_eq!(key("{\"key\":\"a\"}\r\n{\"key\": \"a\"}\r\n").keys(), ["a"]);
    assert_eq!(key("{\"key\": \"\\u00e9\\ud83d\\ude00\\n\"}\n").keys(), ["é😀\n"]);
    assert_eq!(key("\u{feff}{\"key\": \"a\"}\n").keys(), ["a"]);
    // Whole but for the end of its line: it was appended, so it was done.
    let whole = key("{\"key\": \"a\"}\n{\"key\": \"b\"}");
    assert_eq!((whole.keys().len(), whole.cut_short()), (2, None));
    // The zeros that a power cut leaves.
    let zeros = key("{\"key\": \"a\"}\n\0\0\0\0");
    assert_eq!((zeros.keys().len(), zeros.cut_short().unwrap().byte), (1, 13));
    let without = run_folder(CHECKPOINT, "");
    fs::remove_file(without.path().join("idempotency_keys.jsonl")).unwrap();
    assert_eq!(RunFolder::read(without.path()).unwrap().remarks().len(), 1);
    for (checkpoint, position, steps) in [
        (r#"{"run_id":"run","last_processed_idx":-1,"processed_count":0}"#, Position::Start, 0),
        (
            "\u{feff}{\"processed_count\": 1,\r\n\"last_processed_idx\": 0,\r\n\"run_id\": \"run\", \"updated_at\": null}\r\n",
            Position::Index(0),
            1,
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": 18446744073709551615, "processed_count": 9223372036854775807, "updated_at": 1.5, "pid": 7}"#,
            Position::Index(u64::MAX),
            (1 << 63) - 1,
        ),
    ] {
        let read = RunFolder::read(run_folder(checkpoint, "").path()).unwrap();
        assert_eq!((read.position(), read.processed_count()), (position.clone(), steps));
        let store = Store::in_memory().unwrap();
        read.import::<Counter>(&store).unwrap();
        let back = RunFolder::of_run(&store, "run").unwrap();
        assert_eq!((back.position(), back.processed_count()), (position, steps));
        let out = folder();
        back.write(out.path()).unwrap();
        let again = RunFolder::read(out.path()).unwrap();
        assert_eq!((again.position(), again.processed_count()), (back.position(), steps));
    }
}

#[test]
fn a_count_that_does_not_fit_the_index_is_remarked_on_and_loses_nothing() {
    let checkpoint = r#"{"run_id": "run", "last_processed_idx": 2, "processed_count": 9}"#;
    let folder = run_folder(checkpoint, "{\"key\": \"key-00003\"}\n{\"key\": \"key-00004\"}\n");
    let store = Store::in_memory().unwrap();
    let read = RunFolder::read(folder.path()).unwrap();
    let imported = read.import_with(&store, &Counter::default(), |_| 0u64).unwrap();
    assert_eq!(imported.remarks.len(), 1, "{:?}", imported.remarks);
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.position(), run.steps()), (&Position::Index(2), 9));
    // The keys are ahead of the position: the crash came between the two files.
    assert_eq!(count(&mut run, 3).unwrap(), Done::Duplicate(0));
    assert_eq!(count(&mut run, 4).unwrap(), Done::Duplicate(0));
    assert!(count(&mut run, 5).unwrap().is_fresh());
}

/// Against: a run that can make no step, and calls its own record damaged.
#[test]
fn a_count_that_no_run_reaches_is_refused() {
    for count in [1u64 << 63, u64::MAX] {
        let checkpoint =
            format!(r#"{{"run_id": "run", "last_processed_idx": 6, "processed_count": {count}}}"#);
        let refused = error(RunFolder::read(run_folder(&checkpoint, "").path()));
        assert_eq!(refused.kind(), ErrorKind::Damaged);
        says(&refused, &["checkpoint.json", "processed_count"]);
    }
}

#[test]
fn anything_else_that_is_damaged_is_refused_with_file_byte_and_field() {
    let checkpoint = |text: &str| error(RunFolder::read(run_folder(text, "").path()));
    for (text, parts) in [
        ("", ["byte 0", "whole"]),
        (
            r#"{"run_id": "run", "last_processed_idx": -2, "processed_count": 0}"#,
            ["byte 40", "`last_processed_idx`"],
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": 6.0, "processed_count": 7}"#,
            ["byte 40", "`last_processed_idx`"],
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": "6", "processed_count": 7}"#,
            ["byte 40", "`last_processed_idx`"],
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": 6, "processed_count": true}"#,
            ["byte 62", "`processed_count`"],
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": 6}"#,
            ["byte 0", "`processed_count` is missing"],
        ),
        (
            r#"{"run_id": null, "last_processed_idx": 6, "processed_count": 7}"#,
            ["byte 11", "`run_id`"],
        ),
        (
            r#"{"run_id": "", "last_processed_idx": 6, "processed_count": 7}"#,
            ["byte 11", "`run_id`"],
        ),
        (
            r#"{"run_id": "run", "last_processed_idx": 6, "processed_count": 7} {}"#,
            ["byte 65", "behind"],
        ),
        ("[]", ["byte 0", "object"]),
    ] {
        let error = checkpoint(text);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        says(&error, &["checkpoint.json", parts[0], parts[1], "left as it is"]);
    }
    let keys = |text: &str| error(RunFolder::read(run_folder(CHECKPOINT, text).path()));
    for (text, parts) in [
        ("{\"key\": \"a\"}\n{\"key\": \"b\n{\"key\": \"c\"}\n", ["byte 23", "line 2"]),
        ("{\"key\": \"a\"}\n{\"kez\": \"b\"}\n", ["byte 13", "`key` is missing"]),
        ("{\"key\": 7}\n", ["byte 8", "`key`"]),
        ("{\"key\": \"a\"} {\"key\": \"b\"}\n", ["byte 13", "line 1"]),
        // It has an end: no crash did this.
        ("{\"key\": \"a\"}\n{\"key\": \"b\n", ["byte 23", "line 2"]),
    ] {
        let error = keys(text);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        says(&error, &["idempotency_keys.jsonl", parts[0], parts[1], "left as it is"]);
    }
}

#[test]
fn every_damaged_byte_of_a_checkpoint_is_told_or_means_something_else() {
    let sample = fs::read(samples().join("run-dir/checkpoint.json")).unwrap();
    let refused = damaged_everywhere(&sample, "checkpoint.json", |path| {
        RunFolder::read(path.parent().unwrap()).map(drop)
    });
    assert!(refused > sample.len() * 2, "only {refused} were refused");
}

#[test]
fn every_damaged_byte_of_the_keys_is_told_or_means_something_else() {
    let sample = fs::read(samples().join("run-dir/idempotency_keys.jsonl")).unwrap();
    let whole = run_folder(CHECKPOINT, &sample);
    let all = RunFolder::read(whole.path()).unwrap();
    // However short it is cut, the whole lines that are left are all there.
    for len in 0..sample.len() {
        let read = RunFolder::read(run_folder(CHECKPOINT, &sample[..len]).path()).unwrap();
        let ends = sample[..len].split(|byte| *byte == b'\n').count() - 1;
        let is_whole = sample.get(len) == Some(&b'\n');
        assert_eq!(read.keys(), &all.keys()[..ends + usize::from(is_whole)]);
        assert_eq!(read.cut_short().is_some(), !is_whole && len > 0 && sample[len - 1] != b'\n');
    }
    let refused = damaged_everywhere(&sample, "idempotency_keys.jsonl", |path| {
        fs::write(path.with_file_name("checkpoint.json"), CHECKPOINT).unwrap();
        RunFolder::read(path.parent().unwrap()).map(drop)
    });
    assert!(refused > sample.len(), "only {refused} were refused");
}

#[test]
fn importing_twice_changes_nothing() {
    let store = Store::in_memory().unwrap();
    let read = RunFolder::read(samples().join("run-dir")).unwrap();
    read.import::<Counter>(&store).unwrap();
    let before = store.newest_commit().unwrap();
    let again = read.import::<Counter>(&store).unwrap();
    assert_eq!((again.imported, again.already_there, again.keys), (0, 1, 3));
    assert!(again.is_unchanged());
    assert_eq!(store.newest_commit().unwrap(), before);
    // A run that was opened since is still the same.
    drop(store.run::<Counter>("run_20260107_192400").unwrap());
    assert!(read.import::<Counter>(&store).unwrap().is_unchanged());
}

#[test]
fn a_run_that_has_gone_on_is_not_set_back() {
    let folder = run_folder(CHECKPOINT, "{\"key\": \"a\"}\n");
    let read = RunFolder::read(folder.path()).unwrap();
    let store = Store::in_memory().unwrap();
    read.import::<Counter>(&store).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    says(&error(read.import::<Counter>(&store)), &["open in this process"]);
    count(&mut run, 7).unwrap();
    drop(run);
    let before = store.newest_commit().unwrap();
    let error = error(read.import::<Counter>(&store));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    says(&error, &["has gone on", "6 after 7", "7 after 8"]);
    assert_eq!(store.newest_commit().unwrap(), before);
    assert_eq!(store.run::<Counter>("run").unwrap().state().sum, 7);
    // Nor is one that was moved back on purpose.
    let store = Store::in_memory().unwrap();
    read.import::<Counter>(&store).unwrap();
    store.run::<Counter>("run").unwrap().rewind(2).unwrap();
    assert_eq!(kind(read.import::<Counter>(&store)), ErrorKind::Conflict);
}

#[test]
fn another_source_or_another_run_of_that_name_is_a_conflict() {
    let store = Store::in_memory().unwrap();
    let one = run_folder(CHECKPOINT, "{\"key\": \"a\"}\n");
    RunFolder::read(one.path()).unwrap().import::<Counter>(&store).unwrap();
    let more =
        RunFolder::read(run_folder(CHECKPOINT, "{\"key\": \"a\"}\n{\"key\": \"b\"}\n").path());
    let more = more.unwrap();
    assert_eq!(kind(more.import::<Counter>(&store)), ErrorKind::Conflict);
    let state = Counter { sum: 1, seen: vec![] };
    let other = RunFolder::read(one.path()).unwrap().import_with(&store, &state, |_| ());
    assert_eq!(kind(other), ErrorKind::Conflict);
    let store = Store::in_memory().unwrap();
    count(&mut store.run::<Counter>("run").unwrap(), 1).unwrap();
    assert_eq!(kind(more.import::<Counter>(&store)), ErrorKind::Conflict);
    // One that was opened and has not begun is in nobody's way; a large state neither.
    let store = Store::in_memory().unwrap();
    drop(store.run::<Counter>("run").unwrap());
    assert!(!more.import::<Counter>(&store).unwrap().is_unchanged());
    let store = Store::in_memory().unwrap();
    let state = Blob { words: (0..50_000).collect() };
    more.import_with(&store, &state, |_| ()).unwrap();
    assert!(store.run::<Blob>("run").unwrap().state().words == state.words);
    assert!(more.import_with(&store, &state, |_| ()).unwrap().is_unchanged());
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_key_that_cannot_be_kept_refuses_all_of_them() {
    let long = format!("{{\"key\": \"{}\"}}\n", "x".repeat(2_000));
    let folder = run_folder(CHECKPOINT, format!("{{\"key\": \"a\"}}\n{long}"));
    let store = Store::in_memory().unwrap();
    let error = error(RunFolder::read(folder.path()).unwrap().import::<Counter>(&store));
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    says(&error, &["key number 2", "Limits::key_bytes"]);
    assert_eq!(kind(store.inspect_run("run")), ErrorKind::NotFound);
}

#[test]
fn more_keys_than_a_step_has_rows_come_in_one_commit() {
    let keys: String =
        (0..5_000).fold(String::new(), |all, n| format!("{all}{{\"key\": \"exec:{n}\"}}\n"));
    let folder = run_folder(CHECKPOINT, keys);
    let limits = Limits { rows_per_step: 10, ..Limits::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    let before = store.newest_commit().unwrap().get();
    RunFolder::read(folder.path()).unwrap().import::<Counter>(&store).unwrap();
    assert_eq!(store.newest_commit().unwrap().get(), before + 1);
    let mut run = store.run::<Counter>("run").unwrap();
    for n in [0, 1, 4_999] {
        let done: Done<()> = run.step(format!("exec:{n}"), 9, |_| unreachable!()).unwrap();
        assert_eq!(done, Done::Duplicate(()));
    }
    assert_eq!(RunFolder::of_run(&store, "run").unwrap().keys().len(), 5_000);
}

#[test]
fn a_repeat_answers_with_the_outcome_that_was_given_and_no_other_type() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Fill {
        Unknown,
        At(f64),
    }
    let folder = run_folder(CHECKPOINT, "{\"key\": \"a\"}\n");
    let store = Store::in_memory().unwrap();
    let read = RunFolder::read(folder.path()).unwrap();
    read.import_with(&store, &Counter::default(), |_| Fill::Unknown).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let done = run.step("a", 7, |_| Ok(Fill::At(1.0))).unwrap();
    assert_eq!(done, Done::Duplicate(Fill::Unknown));
    // The file does not say what was asked for: no request is another one.
    let asked = Key::new("a").request(&("SPY", 12)).unwrap();
    assert!(!run.step(asked, 7, |_| Ok(Fill::At(1.0))).unwrap().is_fresh());
    let other: Result<Done<(u64, u64)>> = run.step("a", 7, |_| unreachable!());
    assert_eq!(kind(other), ErrorKind::SchemaMismatch);
    assert!(run.step("b", 7, |_| Ok(Fill::At(1.0))).unwrap().is_fresh());
}

#[test]
fn a_state_that_its_own_rule_refuses_is_not_imported() {
    #[derive(Default, Serialize, Deserialize)]
    struct Strict(u8);
    impl Versioned for Strict {
        const NAME: &'static str = "strict";
        const VERSION: u32 = 1;
        fn validate(&self) -> Result<(), String> {
            if self.0 > 0 { Ok(()) } else { Err("nothing in it".into()) }
        }
    }
    let folder = run_folder(CHECKPOINT, "{\"key\": \"a\"}\n");
    let read = RunFolder::read(folder.path()).unwrap();
    let store = Store::in_memory().unwrap();
    assert_eq!(kind(read.import::<Strict>(&store)), ErrorKind::Aborted);
    read.import_with(&store, &Strict(1), |_| ()).unwrap();
}

#[test]
fn what_the_files_cannot_say_is_not_exported() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step([0xff, 0xfe].as_slice().to_vec(), 1, |_| Ok(())).unwrap();
    says(&error(RunFolder::of_run(&store, "run")), &["no text"]);
    let mut run = store.run::<Counter>("token").unwrap();
    run.step("a", Position::Token("x".into()), |_| Ok(())).unwrap();
    says(&error(RunFolder::of_run(&store, "token")), &["an index"]);
    assert_eq!(kind(RunFolder::of_run(&store, "none")), ErrorKind::NotFound);
}

#[test]
fn an_import_that_was_cut_short_anywhere_is_done_by_the_next_one() {
    let read = RunFolder::read(samples().join("run-dir")).unwrap();
    crashed_everywhere(
        |store| read.import::<Counter>(store),
        |store| {
            let back = RunFolder::of_run(store, "run_20260107_192400").unwrap();
            (back.keys().to_vec(), back.position(), back.processed_count())
        },
    );
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_not_followed() {
    let folder = run_folder(CHECKPOINT, "");
    let keys = folder.path().join("idempotency_keys.jsonl");
    fs::rename(&keys, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &keys).unwrap();
    assert_eq!(kind(RunFolder::read(folder.path())), ErrorKind::Invalid);
    fs::remove_file(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    assert_eq!(kind(RunFolder::read(folder.path())), ErrorKind::Invalid);
    assert_eq!(kind(RunFolder::read(folder.path().join("none"))), ErrorKind::NotFound);
}
