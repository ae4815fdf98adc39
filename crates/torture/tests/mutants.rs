//! The harness is tested: a store with a bug put into it on purpose has to be found out, and the store
//! as it is has to pass the same cases.
//!
//! Each mutant of `mutants/table.rs` is a change of a few places in the sources, built in a copy
//! beside the real ones. A mutant that nobody catches is a hole in the harness, not in the store; one
//! that nobody *can* catch says why in the table, and is seen to pass.
//!
//! `just mutants` tries all of them, `just mutants T9` those that T9 has to find, or whose bug or file
//! has this word in it.
#![allow(missing_docs, reason = "tests are not read as documentation")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

#[path = "mutants/table.rs"]
mod table;
#[path = "mutants/workshop.rs"]
mod workshop;

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use table::{Fate, MUTANTS, Mutant};
use workshop::{Found, Workshop, classes, root};

/// Against: a torture that passes because it looks at nothing.
#[test]
#[ignore = "builds the program once for each bug, which takes minutes: `just mutants`"]
fn every_bug_that_is_put_into_the_store_is_found() {
    let began = Instant::now();
    let chosen = chosen(&std::env::var("MUTANTS").unwrap_or_default());
    assert!(!chosen.is_empty(), "no mutant has that word");
    let workshop = Workshop::open();
    let mut wrong = sound_failures(&workshop, &chosen);
    for mutant in &chosen {
        wrong.extend(try_out(&workshop, mutant));
    }
    println!("{} mutants in {} s", chosen.len(), began.elapsed().as_secs());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The mutants with one of these words, which `|` separates, in their bug or file, or among who has to
/// find them.
fn chosen(words: &str) -> Vec<&'static Mutant> {
    let has = |mutant: &Mutant, word: &str| {
        let by = mutant.fate.finders().iter().any(|finder| finder.name() == word);
        let at = mutant.patches.iter().any(|patch| patch.file.contains(word));
        by || at || mutant.bug.contains(word)
    };
    MUTANTS.iter().filter(|mutant| words.split('|').any(|word| has(mutant, word))).collect()
}

/// Against: a mutant that does not compile any more, which is noticed by a run of hours only.
#[test]
#[ignore = "checks the library once for each bug, which takes minutes: `just mutants-compile`"]
fn every_bug_that_is_put_into_the_store_compiles() {
    let workshop = Workshop::open();
    let broken =
        chosen(&std::env::var("MUTANTS").unwrap_or_default()).into_iter().filter_map(|mutant| {
            let mutated = workshop.patch(mutant);
            let checked = workshop.check();
            drop(mutated);
            checked.err().map(|why| format!("{}: {why}", mutant.bug))
        });
    let broken: Vec<_> = broken.inspect(|broken| println!("{broken}")).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// Who is to find a bug must find none in the store as it is, or its word counts for nothing.
fn sound_failures(workshop: &Workshop, chosen: &[&Mutant]) -> Vec<String> {
    let finders: BTreeSet<_> =
        chosen.iter().flat_map(|mutant| mutant.fate.finders().iter().copied()).collect();
    let failures = finders.into_iter().filter_map(|finder| match workshop.ask(finder) {
        Found::Nothing => None,
        found => Some(format!("{} fails the store as it is: {found}", finder.name())),
    });
    failures.collect()
}

/// Builds a mutant, asks all who have to find it, and says who did. What is wrong with that.
fn try_out(workshop: &Workshop, mutant: &Mutant) -> Vec<String> {
    let began = Instant::now();
    let mutated = workshop.patch(mutant);
    let mut wrong = Vec::new();
    println!("\n{}", mutant.bug);
    for finder in mutant.fate.finders() {
        let found = workshop.ask(*finder);
        let is_right = match mutant.fate {
            Fate::FoundBy(_) => matches!(found, Found::Bug(_)),
            Fate::Survives { .. } => matches!(found, Found::Nothing),
        };
        println!("  {}: {found}", finder.name());
        if !is_right {
            wrong.push(format!("{}: {} says: {found}", mutant.bug, finder.name()));
        }
    }
    drop(mutated);
    if let Fate::Survives { because, .. } = mutant.fate {
        println!("  survives: {because}");
    }
    println!("  {} s", began.elapsed().as_secs());
    wrong
}

/// Against: a mutant that is none any more, because the line that it changes has moved on.
#[test]
fn the_text_that_a_mutant_changes_stands_in_its_file_once() {
    let root = root();
    for patch in MUTANTS.iter().flat_map(|mutant| mutant.patches) {
        let source = fs::read_to_string(root.join(patch.file)).unwrap();
        let count = source.matches(patch.is).count();
        assert_eq!(count, 1, "{} holds this {count} times: {}", patch.file, patch.is);
    }
}

/// Against: a class that was never seen to fail, and may be unable to.
#[test]
fn every_class_of_the_torture_has_a_mutant_that_it_has_to_find() {
    let found_by = |name: &str| {
        MUTANTS.iter().any(|mutant| match mutant.fate {
            Fate::FoundBy(finders) => finders.iter().any(|finder| finder.name() == name),
            Fate::Survives { .. } => false,
        })
    };
    let classes = classes();
    assert!(classes.len() > 10, "{classes:?}");
    for class in classes {
        assert!(found_by(&class), "no mutant is found by {class}");
    }
    let tests = fs::read_to_string(root().join("tests/it/security.rs")).unwrap();
    for test in tests.split("#[test]\n").skip(1) {
        let name = test.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
        let is_child = name.ends_with("is_a_child");
        assert!(is_child || found_by(&format!("security::{name}")), "nothing fails {name}");
    }
}
