//! The determinism gate: what the bot ends with depends on its input, and on nothing that kills it.
#![allow(missing_docs, reason = "tests are not read as documentation")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::process::Command;

use serde_json::Value;

fn run(arguments: &[&str]) -> (Value, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_bot")).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let verdict = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    (verdict, output.status.success())
}

/// Against: a state or a fill that depends on when the bot was killed.
#[test]
fn two_runs_with_the_same_seed_and_different_kills_have_the_same_digest() {
    let mut digests = Vec::new();
    for kills in ["0", "9", "18"] {
        let (verdict, held) = run(&["--bars", "400", "--seed", "3", "--json", "--kills", kills]);
        assert!(held, "{verdict}");
        assert_eq!(verdict["duplicates"], 0, "{verdict}");
        assert_eq!(verdict["lost"], 0, "{verdict}");
        assert_eq!(verdict["final_state_matches"], true, "{verdict}");
        assert_eq!(verdict["kills"].to_string(), kills);
        digests.push(verdict["digest"].clone());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

/// Against: a gate that calls everything right. The kit without one commit a step does not hold.
#[test]
fn the_same_kills_make_the_two_files_fill_an_order_twice() {
    let (verdict, held) =
        run(&["--bars", "400", "--seed", "3", "--json", "--kills", "18", "--baseline", "files"]);
    assert!(!held, "{verdict}");
    let wrong = ["duplicates", "lost"].map(|what| verdict[what].as_u64().unwrap());
    assert!(wrong.iter().sum::<u64>() > 0, "{verdict}");
}

/// Against: a point of the bot's loop at which nobody has ever killed it.
#[cfg(feature = "testing")]
#[test]
fn the_bot_survives_a_crash_at_every_flush_and_on_both_sides_of_every_message() {
    let (crashes, held) = run(&["--crash-matrix", "--bars", "40", "--seed", "3", "--json"]);
    assert!(held, "{crashes}");
    let count = |what: &str| crashes[what].as_u64().unwrap();
    assert!(count("effects") > 0 && count("flushes") > 40, "{crashes}");
    assert_eq!(count("crashes"), 2 * count("flushes") + 4 * count("effects"), "{crashes}");
}
