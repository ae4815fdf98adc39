//! The house checks itself. Where the sources break one of its lines, a test here fails with the
//! file, the line, and what to do.
//!
//! `tidy/law.rs` says what may stand where, `tidy/rules.rs` looks for what breaks it. A rule is a
//! function from sources to complaints, so that beside each test that the house keeps a rule there
//! is one that hands the rule a bad source, and sees it refused.

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/law.rs"]
mod law;
#[path = "tidy/read.rs"]
mod read;
#[path = "tidy/rules.rs"]
mod rules;

use imports::imports;
use law::What::{Code, Names, Written};
use law::{FILE_LINES_MAX, LINES};
use read::{Source, house, together};
use rules::{
    downhill, excuses_have_a_reason, expectations_say_why, files_are_short, lines_kept, machines,
    no_circle, no_machine, not_by_the_own_door, strangers_never_meet, tests_are_sentences,
};

#[test]
fn the_whole_house_is_read() {
    let some = ["src/lib.rs", "src/store/mod.rs", "tests/tidy.rs", "Cargo.toml"];
    for path in some.into_iter().chain(["crates/torture/src/main.rs", "examples/bot/src/main.rs"]) {
        assert!(house().iter().any(|file| file.path == path), "{path} was not read");
    }
    assert!(imports(house()).len() > 50, "hardly any import was found: the reader is broken");
}

#[test]
fn imports_run_downhill() {
    holds(downhill);
}

#[test]
fn an_import_that_runs_uphill_is_refused() {
    refuses(downhill, "src/ledger/key.rs", "use crate::step::Run;");
    refuses(downhill, "src/ledger/key.rs", "use super::super::{clock, step};");
    refuses(downhill, "src/ledger/key.rs", "fn f(run: &crate::step::Run) {}");
    refuses(downhill, "src/error.rs", "use crate::{\n    record::{\n        Payload,\n    },\n};");
    refuses(downhill, "src/store/mod.rs", "use super::ledger::Key;");
    refuses(downhill, "src/ledger/key.rs", "use crate::attic::Thing;");
    refuses(downhill, "src/attic/mod.rs", "use crate::error::Error;");
    accepts(downhill, "src/ledger/key.rs", "use crate::{error::Error, store::Table};");
    accepts(downhill, "src/error.rs", "use crate::id::CommitSeq;");
    accepts(downhill, "src/lib.rs", "pub use crate::store::Store;");
}

#[test]
fn exec_sees_the_public_handle_and_not_the_store() {
    refuses(downhill, "src/exec/relay.rs", "use crate::store::Store;");
    refuses(downhill, "src/exec/relay.rs", "use crate::store::Plan;");
    refuses(downhill, "src/exec/relay.rs", "use crate::Run;");
    refuses(downhill, "src/exec/relay.rs", "use crate::*;");
    refuses(downhill, "src/step/run.rs", "use crate::Store;");
    accepts(downhill, "src/exec/relay.rs", "use crate::Store;");
}

#[test]
fn inside_a_room_imports_go_in_no_circle() {
    holds(no_circle);
}

#[test]
fn a_circle_of_imports_is_refused() {
    let pair = |back| [("src/store/a.rs", "use super::b::B;"), ("src/store/b.rs", back)];
    assert_eq!(broken(no_circle, &pair("use crate::store::a::A;")).len(), 2);
    assert!(broken(no_circle, &pair("use super::c::C;")).is_empty());
    let three = [
        ("src/store/a.rs", "use super::b::B;"),
        ("src/store/b.rs", "use super::c::C;"),
        ("src/store/c.rs", "fn c() { super::a::a() }"),
    ];
    assert_eq!(broken(no_circle, &three).len(), 3);
    let ground = [("src/error.rs", "use crate::id::Id;"), ("src/id.rs", "use super::error::E;")];
    assert_eq!(broken(no_circle, &ground).len(), 2);
    let rooms = [
        ("src/exec/graph/node.rs", "use crate::exec::retry::Retry;"),
        ("src/exec/retry.rs", "use super::graph::Graph;"),
        ("src/exec/graph/mod.rs", ""),
    ];
    assert_eq!(broken(no_circle, &rooms).len(), 2, "a room in a room is one neighbour");
}

#[test]
fn files_import_from_the_file_that_owns_the_item_and_not_from_their_door() {
    holds(not_by_the_own_door);
}

#[test]
fn an_import_from_the_own_door_is_refused() {
    let room = |text| [("src/store/mod.rs", "pub use plan::Plan;"), ("src/store/group.rs", text)];
    assert_eq!(broken(not_by_the_own_door, &room("use super::Plan;")).len(), 1);
    assert_eq!(broken(not_by_the_own_door, &room("use super::*;")).len(), 1);
    assert_eq!(broken(not_by_the_own_door, &room("use crate::store::Plan;")).len(), 1);
    assert!(broken(not_by_the_own_door, &room("use crate::id::Epoch;")).is_empty());
    assert!(broken(not_by_the_own_door, &room("pub(in crate::store) fn f() {}")).is_empty());
    assert!(broken(not_by_the_own_door, &room("mod tests;\npub(super) fn f() {}")).is_empty());
}

#[test]
fn files_of_the_ledger_never_meet() {
    holds(strangers_never_meet);
}

#[test]
fn an_import_between_files_of_the_ledger_is_refused() {
    let room = |text| [("src/ledger/key.rs", text), ("src/ledger/run.rs", "")];
    assert_eq!(broken(strangers_never_meet, &room("use super::run::Position;")).len(), 1);
    assert_eq!(broken(strangers_never_meet, &room("use crate::ledger::run;")).len(), 1);
    assert!(broken(strangers_never_meet, &room("use crate::store::Table;")).is_empty());
}

#[test]
fn every_line_of_the_house_is_kept() {
    holds(lines_kept);
}

#[test]
fn every_line_of_the_house_can_be_broken() {
    for (line, what) in LINES.iter().flat_map(|line| line.what.iter().map(move |what| (line, what)))
    {
        let bad = match what {
            Names(names) => format!("fn f() {{\n    {};\n}}", names.join("::")),
            Code(text) | Written(text) => format!("fn f() {{\n    x{text}y;\n}}"),
        };
        for folder in line.within {
            let said = broken(lines_kept, &[(&format!("{folder}room.rs"), &bad)]);
            assert_eq!(said, [format!("{folder}room.rs:2: {}", line.say)]);
        }
        for place in line.except {
            let file = if place.ends_with('/') { format!("{place}x.rs") } else { (*place).into() };
            accepts(lines_kept, &file, &bad);
        }
    }
    refuses(lines_kept, "src/record/frame.rs", "use {bincode, serde};");
    refuses(lines_kept, "src/step/run.rs", "use std::{sync, thread::{self, spawn}};");
    accepts(lines_kept, "src/store/open.rs", "let at = Reopen::Instant; // no bincode, no todo!");
    accepts(lines_kept, "src/step/run.rs", "let say = \"call .unwrap()\";");
    accepts(lines_kept, "src/step/run.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }");
}

#[test]
fn every_excused_lint_says_why() {
    holds(excuses_have_a_reason);
}

#[test]
fn an_excuse_without_a_reason_is_refused() {
    let rule = excuses_have_a_reason;
    refuses(rule, "src/id.rs", "#[allow(dead_code)]\nfn f() {}");
    refuses(rule, "tests/it/main.rs", "#![expect(missing_docs)]");
    refuses(rule, "src/id.rs", "#[cfg_attr(not(test), allow(dead_code))]\nfn f() {}");
    refuses(rule, "src/id.rs", "#[allow(dead_code)] // reason = \"\"\nfn f() {}");
    accepts(
        rule,
        "src/id.rs",
        "#[expect(\n    dead_code,\n    reason = \"room to grow\"\n)]\nfn f() {}",
    );
    accepts(rule, "src/id.rs", "#[derive(Debug)]\nstruct S([u8; 4]);\nfn f() { x.expect(\"\") }");
}

#[test]
fn every_expectation_says_why() {
    holds(expectations_say_why);
}

#[test]
fn an_expectation_without_a_reason_is_refused() {
    let rule = expectations_say_why;
    refuses(rule, "src/id.rs", "fn f() { x.expect(\"\") }");
    refuses(rule, "src/id.rs", "fn f() { x.expect(\"a number\") }");
    refuses(rule, "src/id.rs", "fn f() { x.expect(&why) }");
    accepts(rule, "src/id.rs", "fn f() { x.expect(\"the caller has checked it\") }");
    accepts(rule, "src/id.rs", "fn f() {\n x.expect(\n  \"the caller has checked it\",\n ) }");
    accepts(rule, "src/id.rs", "fn f() { x.expect(WITHIN_A_PAGE) }");
    accepts(rule, "src/id.rs", "#[cfg(test)]\nmod tests { fn f() { x.expect(\"\") } }");
    accepts(rule, "tests/it/main.rs", "fn f() { x.expect(\"\") }");
}

#[test]
fn files_stay_small_enough_to_read() {
    holds(files_are_short);
}

#[test]
fn a_file_that_grew_too_long_is_refused() {
    for file in ["src/id.rs", "crates/torture/src/main.rs", "examples/bot/src/main.rs"] {
        refuses(files_are_short, file, &"\n".repeat(FILE_LINES_MAX + 1));
    }
    accepts(files_are_short, "src/id.rs", &"\n".repeat(FILE_LINES_MAX));
}

#[test]
fn tests_are_named_as_sentences() {
    holds(tests_are_sentences);
}

#[test]
fn a_test_named_by_a_word_is_refused() {
    refuses(tests_are_sentences, "tests/it/step.rs", "#[test]\nfn smoke() {}");
    refuses(tests_are_sentences, "tests/it/step.rs", "#[test]\n#[ignore = \"\"]\nfn test_1() {}");
    refuses(tests_are_sentences, "src/id.rs", "#[cfg(test)]\nmod tests { #[test] fn ids() {} }");
    accepts(tests_are_sentences, "tests/it/step.rs", "fn folder() {}\n#[test]\nfn a_b_c() {}");
}

#[test]
fn nothing_names_the_machine_of_a_developer() {
    holds(no_machine);
}

#[test]
fn a_path_of_a_developers_machine_is_refused() {
    for path in machines() {
        refuses(no_machine, "README.md", &format!("see `{path}x`"));
        refuses(no_machine, "justfile", &format!("cp {path}x ."));
    }
    accepts(no_machine, "README.md", "https://example.org/home/page, frame/work/shop");
}

type Rule = fn(&[Source]) -> Vec<String>;

fn holds(rule: Rule) {
    let mut said = rule(house());
    said.dedup();
    assert!(said.is_empty(), "\n{}\n", said.join("\n"));
}

fn broken(rule: Rule, files: &[(&str, &str)]) -> Vec<String> {
    let source = |(path, text): &(&str, &str)| Source::new((*path).into(), (*text).into());
    rule(&together(files.iter().map(source).collect()))
}

fn refuses(rule: Rule, path: &str, text: &str) {
    let said = broken(rule, &[(path, text)]);
    assert!(said.iter().all(|said| said.starts_with(path)), "{said:?}");
    assert!(!said.is_empty(), "{path} was accepted with: {text}");
}

fn accepts(rule: Rule, path: &str, text: &str) {
    let said = broken(rule, &[(path, text)]);
    assert!(said.is_empty(), "{path} was refused with: {text}\n{}", said.join("\n"));
}
