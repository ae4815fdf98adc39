//! What the file gives away, and what a file can do to its reader.
//!
//! Links, missing locks and removed files stand in `place` and `fence`.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost::{
    Claimed, Clock, Delivery, Endpoint, Error, Key, Options, Probe, RepairOptions, Sent, Store,
    SystemClock, Timestamp, Topic, Versioned, repair,
};
use serde::{Deserialize, Serialize};

use crate::damage::furnished;
use crate::support::{Child, Counter, error, reframed, rows_of, seen, with_row};

/// A clock that looks at a folder whenever it is asked for the time: in the middle of creating,
/// opening and repairing.
#[derive(Clone)]
struct Watch {
    folder: PathBuf,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        look(&self.folder, &mut self.seen.lock().unwrap());
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// Notes each file of the folder; none may be open to others.
#[cfg(unix)]
fn look(folder: &Path, seen: &mut Vec<String>) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} can be read by others");
        seen.push(name);
    }
}

/// Against: orders and balances that any user of the machine can read, if only for the moment in
/// which the file is being made or repaired.
#[cfg(unix)]
#[test]
fn every_file_is_for_its_owner_alone_while_it_is_being_made_and_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let watch = Watch { folder: folder.path().to_owned(), seen: Arc::default() };
    let options = Options::new().clock(watch.clone());
    options.create(&path).unwrap().close().unwrap();
    assert!(watch.seen.lock().unwrap().iter().any(|name| name == "bot.mp.creating"));

    let damaged = furnished();
    let (key, mut row) = rows_of(&damaged, "rows").remove(0);
    *row.last_mut().unwrap() ^= 1;
    fs::write(&path, with_row(&damaged, "rows", &key, Some(&row))).unwrap();
    repair(&path, &RepairOptions::new().options(options)).unwrap();
    look(folder.path(), &mut watch.seen.lock().unwrap());
    let seen = watch.seen.lock().unwrap();
    assert!(seen.iter().any(|name| name.starts_with("bot.mp.damaged-")), "{seen:?}");
}

/// What no message may hold.
const SECRETS: Topic<String, String> = Topic::new("orders");
const SECRET: &str = "tr0ub4dor-and-3";

#[derive(Default, Serialize, Deserialize)]
struct Secretive {
    password: String,
}

impl Versioned for Secretive {
    const NAME: &'static str = "secretive";
    const VERSION: u32 = 1;
}

/// The same name and version, and other fields.
#[derive(Default, Serialize, Deserialize)]
struct Other {
    number: u16,
    more: Vec<u64>,
}

impl Versioned for Other {
    const NAME: &'static str = "secretive";
    const VERSION: u32 = 1;
}

/// Knows nothing, and does not say what it was sent.
struct Silent;

impl Endpoint<String, String> for Silent {
    fn call(&mut self, _: &Delivery<String>) -> Sent<String> {
        Sent::Ambiguous("timeout".into())
    }

    fn probe(&mut self, _: &Delivery<String>) -> Probe<String> {
        Probe::Unknown
    }
}

/// All that was said so far.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn note(&mut self, said: &impl Debug) {
        self.0.extend([format!("{said:?}"), format!("{said:#?}")]);
    }

    #[track_caller]
    fn refusal<T>(&mut self, result: Result<T, Error>) {
        let error = error(result);
        self.0.push(error.to_string());
        self.note(&error);
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            self.0.extend([error.to_string(), format!("{error:?}")]);
            source = error.source();
        }
    }

    fn keeps_the_secret(&self) {
        let bytes = SECRET.as_bytes();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let list = format!("{bytes:?}");
        let list = list.trim_matches(['[', ']']);
        for said in &self.0 {
            let flat = said.replace(['\n', ' '], "");
            let told = said.contains(SECRET) || flat.contains(&list.replace(' ', ""));
            assert!(!told && !flat.to_lowercase().contains(&hex), "told: {said}");
        }
        assert!(self.0.len() > 40, "hardly anything was said: {}", self.0.len());
    }
}

/// Against: passwords, keys and account numbers in a log, because somebody printed a handle or an
/// error. Types that hand a caller's own value to the caller (`Done`, `Delivery`, `Intent`) print it
/// as the caller's `Debug` does, and are not asked here.
#[test]
fn no_handle_and_no_error_prints_a_payload() {
    let mut said = Said::default();
    let secret = || SECRET.to_owned();
    let (disk, store) = crate::support::on_disk(&Options::new());
    let mut run = store.run::<Secretive>("run").unwrap();
    run.step("a", 1, |tx| {
        tx.state.password = secret();
        tx.put("row", &secret())?;
        tx.emit(&SECRETS, &secret())?;
        said.note(tx);
        Ok(secret())
    })
    .unwrap();
    let pending = run.submit("b", 2, |_| Ok(secret())).unwrap();
    said.note(&pending);
    pending.wait().unwrap();
    said.note(&run);
    said.note(&store);
    said.note(&store.intents());
    said.note(&Key::new("k").request(&secret()).unwrap());
    let Claimed::Fresh(claim) = store.claim::<String>("s", "c", &secret()).unwrap() else {
        panic!()
    };
    said.note(&claim);
    claim.complete(&secret()).unwrap();
    drop(store.claim::<String>("s", "doubt", &secret()).unwrap());
    let doubt = store.claim::<String>("s", "doubt", &secret()).unwrap();
    said.note(&doubt);
    drop(doubt);
    said.refusal(store.claim::<String>("s", "c", &"other"));
    let relay = store.relay(&SECRETS);
    said.note(&relay);
    said.note(&relay.deliver(&mut Silent).unwrap());
    said.note(&store.recovery().unwrap());
    said.note(&store.intents().outstanding("orders", 9).unwrap());

    // Errors, of every call that has seen it.
    said.refusal(run.step("a", 3, |_| Ok(7_u64)));
    run.step(Key::new("r").request(&1_u8).unwrap(), 3, |_| Ok(secret())).unwrap();
    said.refusal(run.step(Key::new("r").request(&secret()).unwrap(), 4, |_| Ok(secret())));
    said.refusal(run.step("c", 0, |_| Ok(secret())));
    said.refusal(run.get::<Vec<(u64, u64, u64)>>("row"));
    said.refusal(store.claim::<u64>("s", "c", &secret()));
    drop(run);
    said.refusal(store.run::<Other>("run"));
    said.note(&store.verify().unwrap());
    drop((relay, store));

    // And of every record that holds it, damaged.
    let sound = disk.to_bytes();
    for table in ["runs", "keys", "intents", "rows"] {
        for (key, row) in rows_of(&sound, table) {
            let mut bad = row.clone();
            *bad.last_mut().unwrap() ^= 1;
            let bytes = with_row(&sound, table, &key, Some(&bad));
            let store = crate::support::open_bytes(&bytes).unwrap();
            said.note(&store.verify().unwrap());
            said.0.push(store.verify().unwrap().to_string());
            let answers = [
                store.run::<Secretive>("run").map(drop),
                store.run::<Secretive>("run").and_then(|run| run.get::<String>("row")).map(drop),
                store.claim::<String>("s", "c", &secret()).map(drop),
                store.recovery().map(drop),
                store.relay(&SECRETS).deliver(&mut Silent).map(drop),
            ];
            for refused in answers.into_iter().filter(Result::is_err) {
                said.refusal(refused);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let (key, mut row) = rows_of(&sound, "rows").remove(0);
    *row.last_mut().unwrap() ^= 1;
    fs::write(&path, with_row(&sound, "rows", &key, Some(&row))).unwrap();
    said.note(&repair(&path, &RepairOptions::default()).unwrap());
    let store = Store::open(&path).unwrap();
    said.note(&store.quarantine());
    said.note(&store.quarantine().list().unwrap());
    said.keeps_the_secret();
}

const FORGED: &str = "MILEPOST_IT_FORGED";

/// Not a test: what the child below does, in little memory.
#[test]
fn the_reader_of_forged_records_is_a_child() {
    let Some(folder) = std::env::var_os(FORGED) else { return };
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let Ok(store) = crate::support::open_bytes(&bytes) else { continue };
        // Whatever it answers, it answers.
        let _ = store.recovery();
        for name in ["run", "other"] {
            if let Ok(mut run) = store.run::<Counter>(name) {
                let _ = seen(&mut run, "key-00001");
                let _ = run.get::<u64>("key-00001");
                let _ = run.get::<Vec<String>>("key-00001");
            }
        }
        let _ = store.claim::<Vec<u64>>("s", "done", &1).map(drop);
        let _ = store.intents().outstanding("orders", 99);
        let _ = store.intents().settled("orders", 99);
        let _ = store.intents().audit(99);
        let _ = store.quarantine().list().map(drop);
        let _ = store.verify();
        read += 1;
    }
    println!("\nchild: read {read}");
}

/// Against: a length field of a few bytes for which gigabytes are allocated. The checksums hold: it
/// was written by somebody who knows how.
#[cfg(target_os = "linux")]
#[test]
fn records_with_lengths_that_lie_are_read_in_256_mib() {
    let sound = furnished();
    let folder = tempfile::tempdir().unwrap();
    let mut forged = 0;
    for (table, id) in [("runs", 2), ("keys", 5), ("intents", 7), ("rows", 11), ("audit", 12)] {
        let rows = rows_of(&sound, table);
        let (key, row) = rows.first().unwrap();
        let payload = row.len() - 21;
        for at in (0..payload).step_by(3) {
            for lie in [u64::MAX, 1 << 40, 200 << 20] {
                let bad = reframed(id, key, row, |row| {
                    row.truncate(21 + at);
                    row.push(0xFD);
                    row.extend_from_slice(&lie.to_le_bytes());
                    row.extend_from_slice(&[1; 64]);
                });
                let bytes = with_row(&sound, table, key, Some(&bad));
                if forged % 8 == 0 {
                    fs::write(folder.path().join(forged.to_string()), bytes).unwrap();
                }
                forged += 1;
            }
        }
    }
    let inner = Child::command("none", folder.path());
    let mut command = Command::new("bash");
    command.arg("-c").arg("ulimit -v 262144; exec \"$@\"").arg("bash").arg(inner.get_program());
    command.args([
        "--exact",
        "security::the_reader_of_forged_records_is_a_child",
        "--nocapture",
        "--test-threads=1",
    ]);
    // A thread's own arena would be reserved whole, and the limit be spent on nothing.
    command.env(FORGED, folder.path()).env("MALLOC_ARENA_MAX", "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}", output.status);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert!(said.contains("child: read "), "{said}");
    assert!(files > 20, "{files}");
}

/// A clock that tries to get in whenever it is asked for the time, which is in the middle of another
/// opening.
struct Intruder {
    path: PathBuf,
    told: Arc<Mutex<Vec<String>>>,
}

impl Clock for Intruder {
    fn now(&self) -> Timestamp {
        if let Err(error) = Store::open(&self.path) {
            self.told.lock().unwrap().push(error.to_string());
        }
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

/// Against: a person sent after a process that was killed long ago, while the one that has the store
/// is still bringing it back.
#[test]
fn while_a_store_is_brought_back_after_a_kill_the_killed_process_is_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    Store::create(&path).unwrap().close().unwrap();
    let mut killed = Child::start("hold", &path);
    killed.says().unwrap();
    let gone = format!("pid {} ", killed.pid());
    killed.kill();
    let told = Arc::new(Mutex::new(Vec::new()));
    let intruder = Intruder { path: path.clone(), told: told.clone() };
    Options::new().clock(intruder).open(&path).unwrap();
    let told = told.lock().unwrap();
    assert!(!told.is_empty());
    assert!(told.iter().all(|told| !told.contains(&gone)), "{told:?}");
}

/// Against: a panic of the storage engine's own destructor, after one of its checks has panicked on
/// a damaged page: it would cross the API, or end the process.
#[test]
fn a_damaged_page_never_brings_down_who_opens_the_store() {
    let sound = furnished();
    let mut refused = 0;
    let written = sound.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
    for at in written.step_by(5) {
        let mut bad = sound.clone();
        bad[at] = if bad[at] == 0xFF { 0 } else { 0xFF };
        let opened = std::panic::catch_unwind(|| crate::support::open_bytes(&bad).is_ok());
        refused += usize::from(!opened.unwrap_or_else(|_| panic!("a panic for byte {at}")));
    }
    assert!(refused > 100, "{refused}");
}
