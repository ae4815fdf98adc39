//! The harness is tested: a store with a bug put into it on purpose has to fail the torture, and the
//! store as it is has to pass the same cases.
//!
//! Each mutant is one change of one place in the sources, built in a copy beside the real ones, with
//! the same dependencies. A mutant that nobody catches is a hole in the torture, not in the store.
#![allow(missing_docs, reason = "tests are not read as documentation")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One bug, and who has to find it.
struct Mutant {
    /// What the store does wrong with it.
    bug: &'static str,
    /// Where it is put in: the text stands there exactly once, and the other takes its place.
    file: &'static str,
    is: &'static str,
    becomes: &'static str,
    /// The class of the torture that has to find it, and among how many images of T1.
    class: &'static str,
    images: u32,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        bug: "a flush is skipped, and said to be done",
        file: "src/store/backend.rs",
        is: "self.disk.sync().inspect_err(|_| mark_unsynced(&*self.disk))",
        becomes: "Ok(())",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "the write of the header is dropped",
        file: "src/store/backend.rs",
        is: "self.probe.header_writes.fetch_add(1, Ordering::SeqCst);",
        becomes: "if data.len() < 512 { return Ok(()); }",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "rows are not counted in the accumulators",
        file: "src/store/engine.rs",
        is: "self.sum.add(self.table, key, value);",
        becomes: "",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "the key of a step is not written with it",
        file: "src/step/run.rs",
        is: "settle_key(plan, &row, key, store_value(plan, &outcome)?)?;",
        becomes: "let _ = (row, settle_key);",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "the state is not written with the step",
        file: "src/step/run.rs",
        is: "            plan.put(&run_key(&self.name), &record)?;\n            run.record = record;",
        becomes: "            run.record = record;",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "a commit that may be on disk is said not to be",
        file: "src/store/engine.rs",
        is: "if self.probe.header_writes() == header_writes {",
        becomes: "if self.probe.header_writes() >= header_writes {",
        class: "T4",
        images: 500,
    },
    Mutant {
        bug: "a flush that failed is not noted in the file",
        file: "src/store/backend.rs",
        is: "let _ = disk.write(MARK_OFFSET, &[MARK]);",
        becomes: "let _ = (disk, MARK);",
        class: "T5",
        images: 2_000,
    },
    Mutant {
        bug: "a call in doubt is taken for a new one",
        file: "src/step/claim.rs",
        is: "Ok(Claimed::InDoubt(Doubt { open: open(hold), why }))",
        becomes: "{ drop(why); Ok(Claimed::Fresh(Claim(open(hold)))) }",
        class: "T1",
        images: 100,
    },
    Mutant {
        bug: "an effect is sent before it is written down that it is",
        file: "src/exec/relay.rs",
        is: "advance(&self.store, &delivery.id, false, |_| Ok(IntentEvent::Send))?;\n            \
             delivery.attempt = delivery.attempt.saturating_add(1);\n            \
             let sent = receiver.send(&delivery);",
        becomes: "delivery.attempt = delivery.attempt.saturating_add(1);\n            \
                  let sent = receiver.send(&delivery);\n            \
                  advance(&self.store, &delivery.id, false, |_| Ok(IntentEvent::Send))?;",
        class: "T12",
        images: 1_000,
    },
    Mutant {
        bug: "what was being sent in a crash is sent again unasked",
        file: "src/ledger/intent.rs",
        is: "(Stage::InFlight, Event::Abandon) => Ok(Stage::InDoubt {\n            \
             why: \"whoever was sending it ended before the answer was written down\".into(),\n        \
             }),",
        becomes: "(Stage::InFlight, Event::Abandon) => Ok(Stage::Prepared),",
        class: "T12",
        images: 1_000,
    },
    Mutant {
        bug: "the same key with another request is the same request",
        file: "src/step/seen.rs",
        is: "if then != now)",
        becomes: "if then != now && false)",
        class: "T11",
        images: 500,
    },
    Mutant {
        bug: "a key expires at half its time",
        file: "src/step/seen.rs",
        is: "from.saturating_add(ttl_ms)",
        becomes: "from.saturating_add(ttl_ms / 2)",
        class: "T13",
        images: 1_000,
    },
    Mutant {
        bug: "a leap of the clock between two openings is believed",
        file: "src/store/head.rs",
        is: "_ if self.high_water != Timestamp::default() && leap(self.high_water) => {",
        becomes: "_ if self.high_water != Timestamp::default() && leap(self.high_water) && false => {",
        class: "T13",
        images: 1_000,
    },
    Mutant {
        bug: "a row is believed whatever its checksum says",
        file: "src/record/frame.rs",
        is: "if said != has {",
        becomes: "if said != has && false {",
        class: "T15",
        images: 1_000,
    },
    Mutant {
        bug: "a state of another version is opened",
        file: "src/ledger/schema.rs",
        is: "match stored.version.cmp(&version) {",
        becomes: "match version.cmp(&version) {",
        class: "T15",
        images: 1_000,
    },
];

/// Built in a copy of the sources, one after the other, so that each costs what it changes.
struct Workshop {
    folder: tempfile::TempDir,
    target: PathBuf,
    profile: &'static str,
}

impl Workshop {
    fn open() -> Self {
        let folder = tempfile::Builder::new().prefix("milepost-mutants-").tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root.join(name), folder.path().join(name)).unwrap();
        }
        // The program carries the golden stores in it.
        for name in ["src", "tests/golden"] {
            copy_folder(&root.join(name), &folder.path().join(name));
        }
        // Cargo wants to see every target that is named, also those that nobody builds.
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
        for path in named.map(|path| path.trim_end_matches('"')) {
            let path = folder.path().join(path);
            if !path.exists() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "fn main() {}\n").unwrap();
            }
        }
        // Beside the program under test, so that its dependencies need not be built again.
        let program = Path::new(env!("CARGO_BIN_EXE_milepost"));
        let profile = program.parent().unwrap();
        let is_release = profile.ends_with("release");
        Self {
            target: profile.parent().unwrap().to_owned(),
            folder,
            profile: if is_release { "release" } else { "dev" },
        }
    }

    /// Builds a mutant, runs what has to find it, and puts the sources back.
    fn torture(&self, mutant: &Mutant) -> Output {
        let path = self.folder.path().join(mutant.file);
        let sound = fs::read_to_string(&path).unwrap();
        assert_eq!(
            sound.matches(mutant.is).count(),
            1,
            "{} holds this no longer, or more than once: {}",
            mutant.file,
            mutant.is
        );
        fs::write(&path, sound.replace(mutant.is, mutant.becomes)).unwrap();
        let program = self.build(mutant.bug);
        fs::write(&path, sound).unwrap();
        torture(&program, mutant.class, mutant.images)
    }

    fn build(&self, bug: &str) -> PathBuf {
        let target = self.target.join("mutants");
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--offline", "--locked", "--features", "cli,testing"])
            .args(["--bin", "milepost", "--profile", self.profile, "--target-dir"])
            .arg(&target)
            .current_dir(self.folder.path())
            .env("CARGO_INCREMENTAL", "1")
            .env("RUSTFLAGS", "-A warnings")
            .output()
            .unwrap();
        assert!(built.status.success(), "{bug}: {}", String::from_utf8_lossy(&built.stderr));
        let folder = if self.profile == "release" { "release" } else { "debug" };
        target.join(folder).join("milepost").with_extension(env::consts::EXE_EXTENSION)
    }
}

fn torture(program: &Path, class: &str, images: u32) -> Output {
    Command::new(program)
        .args(["torture", "--seed", "1", "--class", class, "--images", &images.to_string()])
        .output()
        .unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Against: a torture that passes because it looks at nothing.
#[test]
#[ignore = "builds the program once for each bug, which takes minutes: `just mutants`"]
fn every_bug_that_is_put_into_the_store_fails_the_torture() {
    let runs: BTreeSet<_> = MUTANTS.iter().map(|mutant| (mutant.class, mutant.images)).collect();
    for (class, images) in runs {
        let sound = torture(Path::new(env!("CARGO_BIN_EXE_milepost")), class, images);
        assert!(sound.status.success(), "{class} fails the store as it is:\n{}", said(&sound));
    }
    let workshop = Workshop::open();
    let mut survivors = Vec::new();
    for mutant in MUTANTS {
        let found = workshop.torture(mutant);
        let is_caught = found.status.code() == Some(1);
        println!(
            "{:<4} {:<9} {}",
            mutant.class,
            if is_caught { "caught" } else { "SURVIVED" },
            mutant.bug
        );
        if !is_caught {
            survivors.push(format!("{} by {}:\n{}", mutant.bug, mutant.class, said(&found)));
        }
    }
    assert!(survivors.is_empty(), "not found: {}", survivors.join("\n"));
}

fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}
