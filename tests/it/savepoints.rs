//! Savepoints: a state in a file, and a store that is set back to it. Against a file that is taken for
//! whole and is not, one that takes another's place, a state that is another one when it comes back,
//! and effects that are sent again because a store has forgotten that they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use milepost::testing::{
    Call, Effect, Fault, SimDisk, export_with_fault, import_savepoint_bytes, savepoint_bytes,
};
use milepost::{
    AuditAction, Autosave, CheckpointFilter, CheckpointId, Claimed, Codec, Delivery, Endpoint,
    ErrorKind, Labels, Limits, Migrations, OnCopy, Options, Position, RepairOptions,
    SavepointOptions, Sent, Store, Versioned, repair, verify,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::support::{
    Counter, ORDERS, T0, clock, count, days, error, key_of, killed, kind, on_disk, open_bytes,
    rows_of, second, seen, with_row,
};

fn plain() -> SavepointOptions {
    SavepointOptions::new()
}

/// A store whose run has made so many steps, and a checkpoint of it.
fn counted(steps: u64) -> (Store, CheckpointId) {
    let store = Store::in_memory().unwrap();
    let id = saved_after(&store, steps);
    (store, id)
}

fn saved_after(store: &Store, steps: u64) -> CheckpointId {
    let mut run = store.run::<Counter>("run").unwrap();
    for n in run.steps() + 1..=steps {
        count(&mut run, n).unwrap();
    }
    let labels = Labels::new().identifying("config", "9f3").with("why", "before the upgrade");
    store.checkpoints().save("run", &labels).unwrap()
}

fn exported(store: &Store, id: &CheckpointId, json: bool) -> Vec<u8> {
    savepoint_bytes(&store.checkpoints(), id, json).unwrap()
}

fn import(store: &Store, bytes: &[u8], options: &SavepointOptions) -> milepost::ImportedSavepoint {
    import_savepoint_bytes(store, bytes, options).unwrap()
}

fn names_in(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

#[test]
fn what_is_exported_is_the_same_run_in_another_store() {
    let folder = tempfile::tempdir().unwrap();
    let (from, id) = counted(7);
    let checkpoints = from.checkpoints();
    checkpoints.export(&id, folder.path().join("a.savepoint")).unwrap();
    checkpoints.export_json(&id, folder.path().join("a.json")).unwrap();
    assert_eq!(names_in(&folder), ["a.json", "a.savepoint"]);
    for name in names_in(&folder) {
        let path = folder.path().join(name);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let (disk, store) = on_disk(&Options::new());
        let imported = store.import_savepoint(&path, &plain()).unwrap();
        assert_eq!((imported.run.as_str(), imported.id), ("run", id));
        assert!(imported.changed && imported.must_reconcile && imported.kept.is_none());
        let known = store.checkpoints().latest("run").unwrap().unwrap();
        let was = checkpoints.show(&id).unwrap();
        assert_eq!((known.id, known.steps, &known.position), (id, 7, &Position::Index(7)));
        assert_eq!((known.labels, known.at), (was.labels, was.at));
        assert_sound(&store);
        drop(store);
        let store = open_bytes(&disk.to_bytes()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(run.state().seen, (1..=7).collect::<Vec<_>>());
        assert_eq!((run.steps(), run.position()), (7, &Position::Index(7)));
        // Keys stay where they are from; the run goes on.
        assert_eq!(seen(&mut run, &key_of(7)).unwrap(), None);
        assert!(count(&mut run, 8).unwrap().is_fresh());
        assert_eq!(store.checkpoints().load::<Counter>(&id).unwrap().sum, 28);
    }
}

#[test]
fn an_export_never_takes_the_place_of_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (store, id) = counted(1);
    let path = folder.path().join("a.savepoint");
    fs::write(&path, "mine").unwrap();
    assert_eq!(kind(store.checkpoints().export(&id, &path)), ErrorKind::Conflict);
    assert_eq!(kind(store.checkpoints().export_json(&id, &path)), ErrorKind::Conflict);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        assert_eq!(kind(store.checkpoints().export(&id, &link)), ErrorKind::Conflict);
        fs::remove_file(link).unwrap();
    }
    assert_eq!(names_in(&folder), ["a.savepoint"]);
    let nowhere = folder.path().join("no/such/folder");
    assert_eq!(kind(store.checkpoints().export(&id, nowhere)), ErrorKind::NotFound);
    let none = "ab".repeat(32).parse().unwrap();
    assert_eq!(
        kind(store.checkpoints().export(&none, folder.path().join("b"))),
        ErrorKind::NotFound
    );
    // A leftover of somebody else's is nobody's business.
    let leftover = format!("b.exporting-{}-0", std::process::id());
    fs::write(folder.path().join(&leftover), "half").unwrap();
    store.checkpoints().export(&id, folder.path().join("b")).unwrap();
    assert_eq!(names_in(&folder), ["a.savepoint", "b", &leftover]);
    assert_eq!(fs::read(folder.path().join(leftover)).unwrap(), b"half");
}

/// Against: a file of the right name that is not the whole savepoint.
#[test]
fn an_export_that_is_killed_or_fails_leaves_the_whole_file_or_none() {
    let (store, id) = counted(40);
    let elsewhere = || Store::in_memory().unwrap();
    for json in [false, true] {
        let whole = exported(&store, &id, json);
        let full = std::io::ErrorKind::StorageFull;
        for (call, effect, error) in [
            (Call::Change, Effect::Nothing, std::io::ErrorKind::Other),
            (Call::Write, Effect::Half, full),
            (Call::Write, Effect::All, full),
            (Call::Sync, Effect::Nothing, std::io::ErrorKind::Other),
            (Call::Resize, Effect::Nothing, full),
            (Call::Read, Effect::Nothing, std::io::ErrorKind::Other),
        ] {
            for stays in [false, true] {
                for nth in 0.. {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("a");
                    let fault = Fault { call, nth, effect, error, stays };
                    let done =
                        export_with_fault(&store.checkpoints(), &id, &path, json, Some(fault));
                    if done.calls <= nth {
                        assert!(done.told.is_ok() && nth > 0);
                        break;
                    }
                    let told = crate::support::error(done.told);
                    let wanted = if error == full { ErrorKind::NoSpace } else { ErrorKind::Io };
                    assert_eq!(told.kind(), wanted, "{told}");
                    if path.exists() {
                        assert!(fs::read(&path).unwrap() == whole, "{fault:?}");
                        elsewhere().import_savepoint(&path, &plain()).unwrap();
                    }
                    // What is left over is named so; without a kill nothing is.
                    let others = names_in(&folder).into_iter().filter(|name| name != "a");
                    for other in others {
                        assert!(stays && other.starts_with("a.exporting-"), "{fault:?}: {other}");
                    }
                }
            }
        }
    }
}

#[test]
fn importing_twice_changes_nothing_the_second_time() {
    let (from, id) = counted(3);
    for json in [false, true] {
        let bytes = exported(&from, &id, json);
        let (disk, store) = on_disk(&Options::new());
        import(&store, &bytes, &plain());
        let before = disk.to_bytes();
        for options in [plain(), plain().replace(), plain().as_run("run")] {
            let again = import(&store, &bytes, &options);
            assert!(!again.changed && !again.must_reconcile && again.kept.is_none());
        }
        assert!(disk.to_bytes() == before, "something was written");
    }
}

#[test]
fn a_run_that_is_there_is_replaced_only_if_asked_and_its_state_is_kept() {
    let (disk, store) = on_disk(&Options::new());
    let id = saved_after(&store, 3);
    let bytes = exported(&store, &id, false);
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 4).unwrap();
    let open = error(import_savepoint_bytes(&store, &bytes, &plain().replace()));
    assert_eq!(open.kind(), ErrorKind::Conflict);
    assert!(open.to_string().contains("open in this process"), "{open}");
    drop(run);
    let refused = error(import_savepoint_bytes(&store, &bytes, &plain()));
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("another name"), "{refused}");

    let imported = import(&store, &bytes, &plain().replace());
    assert!(imported.changed);
    let kept = imported.kept.unwrap();
    assert_eq!(store.checkpoints().load::<Counter>(&kept).unwrap().seen, [1, 2, 3, 4]);
    assert!(store.checkpoints().show(&kept).unwrap().pinned);
    assert_sound(&store);
    drop(store);
    let store = open_bytes(&disk.to_bytes()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.state().seen.as_slice(), run.steps()), ([1, 2, 3].as_slice(), 3));
    // An input that was seen stays seen.
    assert!(seen(&mut run, &key_of(4)).unwrap().is_some());
    assert!(count(&mut run, 5).unwrap().is_fresh());
    // Under another name nothing was seen.
    import(&store, &bytes, &plain().as_run("what-if"));
    let mut other = store.run::<Counter>("what-if").unwrap();
    assert!(count(&mut other, 4).unwrap().is_fresh());
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    name: String,
    lots: Vec<(u64, f64)>,
    by_day: BTreeMap<u32, Vec<i128>>,
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 1;
}

fn large() -> Book {
    let lots = (0..40_000u32).map(|n| (u64::from(n) << 9, f64::from(n) / 7.0)).collect();
    let by_day = (0..50).map(|day| (day, vec![i128::MIN + i128::from(day), -1])).collect();
    Book { name: "\u{1F4C8} \"large\"\n".into(), lots, by_day }
}

#[test]
fn a_large_state_comes_back_whole_and_its_chunks_are_counted() {
    let (_, from) = on_disk(&Options::new());
    let mut run = from.run::<Book>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state = large();
        Ok(())
    })
    .unwrap();
    let id = from.checkpoints().save("run", &Labels::new()).unwrap();
    for json in [false, true] {
        let bytes = exported(&from, &id, json);
        let (_, store) = on_disk(&Options::new());
        let mut before = store.run::<Book>("run").unwrap();
        before
            .step("other", 1, |tx| {
                tx.state.lots = vec![(1, 1.0); 20_000];
                Ok(())
            })
            .unwrap();
        drop(before);
        assert_eq!(import(&store, &bytes, &plain().replace()).id, id);
        assert_eq!(*store.run::<Book>("run").unwrap().state(), large());
        assert_sound(&store);
        // Through files too: they are read and written in pieces.
        let folder = tempfile::tempdir().unwrap();
        store.checkpoints().export(&id, folder.path().join("again")).unwrap();
        let third = Store::in_memory().unwrap();
        third.import_savepoint(folder.path().join("again"), &plain()).unwrap();
        assert_eq!(*third.run::<Book>("run").unwrap().state(), large());
    }
    let small = Limits { value_bytes: 100_000, ..Limits::default() };
    let store = Options::new().limits(small).in_memory().unwrap();
    for json in [false, true] {
        let bytes = exported(&from, &id, json);
        let refused = error(import_savepoint_bytes(&store, &bytes, &plain()));
        let wanted = if json { ErrorKind::Invalid } else { ErrorKind::LimitExceeded };
        assert_eq!(refused.kind(), wanted, "{refused}");
    }
    // A file that is too long is not read at all.
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(kind(store.import_savepoint(&huge, &plain())), ErrorKind::LimitExceeded);
    assert_eq!(kind(store.import_savepoint(folder.path(), &plain())), ErrorKind::Invalid);
    assert_eq!(kind(store.import_savepoint("no/such/file", &plain())), ErrorKind::NotFound);
}

/// Confirms what it is told, and remembers under which ids.
#[derive(Default)]
struct Desk(Vec<String>);

impl Endpoint<u64, u64> for Desk {
    fn call(&mut self, order: &Delivery<u64>) -> Sent<u64> {
        self.0.push(order.external_id.to_string());
        Sent::Confirmed(order.payload)
    }
}

fn order(store: &Store, key: &str, at: u64) {
    let mut run = store.run::<Counter>("run").unwrap();
    run.step(key, at, |tx| tx.emit(&ORDERS, &at)).unwrap();
}

/// Nothing goes out before somebody has looked; then it does.
fn assert_held_until_reconciled(store: Store, reopen: impl Fn(Store) -> Store) {
    let (orders, mut desk) = (store.relay(&ORDERS), Desk::default());
    let store = match orders.deliver(&mut desk) {
        Ok(_) => panic!("the relay has sent"),
        Err(refused) => {
            assert_eq!(refused.kind(), ErrorKind::Unreconciled, "{refused}");
            assert!(refused.to_string().contains("Store::reconcile"), "{refused}");
            drop(orders);
            reopen(store)
        }
    };
    let orders = store.relay(&ORDERS);
    assert_eq!(kind(orders.deliver(&mut desk)), ErrorKind::Unreconciled);
    assert_eq!(kind(store.claim::<u64>("s", "new", &1)), ErrorKind::Unreconciled);
    let found = store.recovery().unwrap();
    assert!(!found.is_settled() && found.unreconciled.len() == 1, "{found:?}");
    assert!(desk.0.is_empty());
    // Steps go on: what they emit waits.
    order(&store, "an order that waits", 1_000);
    assert_eq!(kind(store.reconcile(" ")), ErrorKind::Invalid);
    store.reconcile("anna: the desk has none of ours").unwrap();
    assert_eq!(kind(store.reconcile("again")), ErrorKind::Conflict);
    assert!(store.recovery().unwrap().unreconciled.is_empty());
    let audit = store.intents().audit(99).unwrap().pop().unwrap();
    assert_eq!((audit.intent, audit.action), (None, AuditAction::Reconcile));
    assert_eq!(audit.note, "anna: the desk has none of ours");
    orders.deliver(&mut desk).unwrap();
    assert!(!desk.0.is_empty());
    assert!(matches!(store.claim::<u64>("s", "new", &1), Ok(Claimed::Fresh(_))));
    assert_sound(&store);
}

/// Against: an older state that decides, and sends, what was decided and sent since.
#[test]
fn after_an_import_nothing_is_sent_before_the_store_is_reconciled() {
    let (from, id) = counted(3);
    for json in [false, true] {
        let bytes = exported(&from, &id, json);
        let (disk, store) = on_disk(&Options::new());
        let Ok(Claimed::Fresh(done)) = store.claim::<u64>("s", "done", &1) else { panic!() };
        done.complete(&7).unwrap();
        let life = store.incarnation().unwrap();
        assert!(import(&store, &bytes, &plain()).must_reconcile);
        assert_eq!(store.incarnation().unwrap().get(), life.get() + 1);
        // What is known is still answered.
        assert!(matches!(store.claim::<u64>("s", "done", &1), Ok(Claimed::Done(7))));
        assert_held_until_reconciled(store, |store| {
            drop(store);
            open_bytes(&disk.to_bytes()).unwrap()
        });
    }
}

#[test]
fn a_store_is_set_back_unless_nothing_was_emitted_since() {
    let (_, store) = on_disk(&Options::new());
    order(&store, "before", 1);
    let first = saved_after(&store, 2);
    let bytes = exported(&store, &first, false);
    let life = store.incarnation().unwrap();
    count(&mut store.run::<Counter>("run").unwrap(), 3).unwrap();
    let mut other = store.run::<Counter>("other").unwrap();
    other.step("k", 1, |tx| tx.emit(&ORDERS, &1u64)).unwrap();
    // Another run has, and this one has not.
    assert!(!import(&store, &bytes, &plain().replace()).must_reconcile);
    assert!(!import(&store, &bytes, &plain().as_run("new")).must_reconcile);
    assert_eq!(store.incarnation().unwrap(), life);
    assert_eq!(store.relay(&ORDERS).deliver(&mut Desk::default()).unwrap().confirmed, 2);
    // In the place of another run.
    drop(other);
    let replaced = import(&store, &bytes, &plain().as_run("other").replace());
    assert!(replaced.must_reconcile);
    store.reconcile("looked").unwrap();
    // From an earlier life.
    count(&mut store.run::<Counter>("run").unwrap(), 4).unwrap();
    assert!(import(&store, &bytes, &plain().replace()).must_reconcile);
    store.reconcile("looked").unwrap();

    for settled in [false, true] {
        let (_, store) = on_disk(&Options::new());
        let bytes = exported(&store, &saved_after(&store, 2), false);
        order(&store, "since", 3);
        if settled {
            store.relay(&ORDERS).deliver(&mut Desk::default()).unwrap();
        }
        assert!(import(&store, &bytes, &plain().as_run("new")).must_reconcile, "{settled}");
    }
    // The checkpoint is gone: nobody can say that it was of this history.
    let (_, store) = on_disk(&Options::new());
    let first = saved_after(&store, 1);
    let bytes = exported(&store, &first, false);
    saved_after(&store, 2);
    store.checkpoints().delete(&first).unwrap();
    assert!(import(&store, &bytes, &plain().as_run("new")).must_reconcile);
}

/// Against: a run that saves nothing by time before the clock of the machine that exported it is reached.
#[test]
fn a_savepoint_from_the_future_is_of_now() {
    let ahead = clock();
    ahead.advance(days(3_650));
    let (_, from) = on_disk(&Options::new().clock(ahead));
    let bytes = exported(&from, &saved_after(&from, 2), false);
    let now = clock();
    let (_, store) = on_disk(&Options::new().clock(now.clone()));
    let id = import(&store, &bytes, &plain()).id;
    assert_eq!(store.checkpoints().show(&id).unwrap().at, T0);
    let run = store.open_run("run").init(Counter::default);
    let mut run = run.autosave(Autosave::every(second(60))).open().unwrap();
    now.advance(second(60));
    count(&mut run, 3).unwrap();
    assert_eq!(store.checkpoints().latest("run").unwrap().unwrap().steps, 3);
}

/// Against: a damaged effect, of which nobody knows the run, that is taken for one of another run.
#[test]
fn an_effect_that_was_damaged_may_have_been_emitted_since() {
    let (disk, store) = on_disk(&Options::new());
    saved_after(&store, 2);
    order(&store, "since", 3);
    store.close().unwrap();
    let bytes = disk.to_bytes();
    let (key, mut row) = rows_of(&bytes, "intents").remove(0);
    *row.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, with_row(&bytes, "intents", &key, Some(&row))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    // Of the life that the repair began.
    let id = store.checkpoints().latest("run").unwrap().unwrap().id;
    assert!(import(&store, &exported(&store, &id, false), &plain().replace()).must_reconcile);
}

#[test]
fn a_store_stays_unreconciled_though_the_record_of_it_is_damaged() {
    let (from, id) = counted(3);
    let (disk, store) = on_disk(&Options::new());
    import(&store, &exported(&from, &id, false), &plain());
    store.close().unwrap();
    let bytes = disk.to_bytes();
    let (key, mut row) =
        rows_of(&bytes, "meta").into_iter().find(|(key, _)| key == b"unreconciled").unwrap();
    *row.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    fs::write(&path, with_row(&bytes, "meta", &key, Some(&row))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    assert_held_until_reconciled(Store::open(&path).unwrap(), |store| {
        store.close().unwrap();
        Store::open(&path).unwrap()
    });
}

/// Against: a backup that is put back, and sends what was sent since it was made.
#[test]
fn an_older_copy_of_a_closed_store_is_refused_and_accepted_if_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = Store::create(&path).unwrap();
    let id = saved_after(&store, 2);
    let newer = exported(&store, &id, false);
    let life = store.incarnation().unwrap();
    store.close().unwrap();
    let backup = fs::read(&path).unwrap();
    let store = Store::open(&path).unwrap();
    order(&store, "since", 3);
    let lost = store.newest_commit().unwrap();
    store.close().unwrap();
    // As it was left: nobody minds, however often.
    Store::open(&path).unwrap().close().unwrap();
    Store::open(&path).unwrap().close().unwrap();

    fs::write(&path, &backup).unwrap();
    for _ in 0..2 {
        let refused = error(Store::open(&path));
        assert_eq!(refused.kind(), ErrorKind::OlderCopy);
        assert!(refused.to_string().contains("OnCopy::Copy"), "{refused}");
        assert!(fs::read(&path).unwrap() == backup, "the copy was changed");
        assert!(verify(&path, &Options::new()).unwrap().lost_commits.is_some());
    }
    let accepting = Options::new().accept_older_copy();
    let store = accepting.open(&path).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().steps(), 2);
    assert_eq!(store.incarnation().unwrap().get(), life.get() + 1);
    assert_eq!(kind(store.resolve(lost)), ErrorKind::Damaged, "nobody knows");
    assert!(store.newest_commit().unwrap() > lost);
    assert!(import(&store, &newer, &plain().as_run("new")).must_reconcile);
    assert_held_until_reconciled_after_two(&store);
    store.close().unwrap();
    let store = Store::open(&path).unwrap();
    assert!(store.recovery().unwrap().unreconciled.is_empty(), "once is enough");
    store.close().unwrap();
    // Accepting what is not older changes nothing.
    let store = accepting.open(&path).unwrap();
    assert!(store.recovery().unwrap().unreconciled.is_empty());
}

/// Against: one backup that is put back twice, and gives out the external ids of the first time again.
#[test]
fn a_copy_that_is_put_back_twice_sends_nothing_under_an_id_that_was_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = Store::create(&path).unwrap();
    saved_after(&store, 2);
    store.close().unwrap();
    let backup = fs::read(&path).unwrap();
    let sent = |store: &Store| {
        let mut run = store.run::<Counter>("run").unwrap();
        let id = run.step(key_of(3), 3, |tx| tx.emit(&ORDERS, &3u64)).unwrap().into_outcome();
        store.intent(&ORDERS, &id).unwrap().unwrap().external_id
    };
    let mut ids = Vec::new();
    // The first time as the file itself; then accepted, repaired, accepted.
    for repaired in [false, true, false] {
        let store = Options::new().accept_older_copy().open(&path).unwrap();
        ids.push(sent(&store));
        store.close().unwrap();
        fs::write(&path, &backup).unwrap();
        if repaired {
            repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
            fs::write(&path, &backup).unwrap();
            assert_eq!(kind(Store::open(&path)), ErrorKind::OlderCopy, "the repair is forgotten");
            repair(&path, &RepairOptions::new().accept_missing_rows()).unwrap();
        }
    }
    ids.push(sent(&Options::new().accept_older_copy().open(&path).unwrap()));
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

fn assert_held_until_reconciled_after_two(store: &Store) {
    assert_eq!(store.recovery().unwrap().unreconciled.len(), 2);
    assert_eq!(kind(store.claim::<u64>("s", "new", &1)), ErrorKind::Unreconciled);
    store.reconcile("ben: both looked at").unwrap();
    assert!(matches!(store.claim::<u64>("s", "new", &1), Ok(Claimed::Fresh(_))));
}

/// Against: an import of which a crash leaves a part.
#[test]
fn a_crash_at_any_call_of_an_import_leaves_the_store_before_or_after_it() {
    let (from, id) = counted(5);
    let bytes = exported(&from, &id, false);
    let (base, store) = on_disk(&Options::new());
    saved_after(&store, 2);
    store.close().unwrap();
    let base = base.to_bytes();
    let look = |store: &Store| {
        let run = store.run::<Counter>("run").unwrap();
        let found = store.recovery().unwrap().unreconciled.len();
        let page = store.checkpoints().list(&CheckpointFilter::new().run("run")).unwrap();
        assert_sound(store);
        (run.state().seen.len(), run.steps(), found, page.checkpoints.len())
    };
    let mut ends = BTreeMap::new();
    for nth in 0.. {
        let disk = Arc::new(SimDisk::from_bytes(&base));
        let store = Options::new().open_on(disk.clone()).unwrap();
        disk.arm([Fault::at(nth)]);
        let told = import_savepoint_bytes(&store, &bytes, &plain().replace());
        let left = [disk.durable(), disk.live()];
        let hit = disk.hits() > 0;
        assert!(hit || told.is_ok());
        drop(store);
        for left in left {
            let again = Arc::new(SimDisk::of(left));
            let seen = look(&Options::new().open_on(again).unwrap());
            assert!(seen == (2, 2, 0, 1) || seen == (5, 5, 1, 3), "after call {nth}: {seen:?}");
            if told.is_ok() {
                assert_eq!(seen.0, 5);
            }
            *ends.entry(seen).or_insert(0) += 1;
        }
        if !hit {
            break;
        }
    }
    assert_eq!(ends.len(), 2, "{ends:?}");
}

#[test]
fn every_byte_of_a_file_that_is_another_one_is_found_or_means_nothing() {
    let (from, id) = counted(3);
    for json in [false, true] {
        let whole = exported(&from, &id, json);
        let store = Store::in_memory().unwrap();
        for at in 0..whole.len() {
            for change in [|byte: u8| byte ^ 1, |byte: u8| byte ^ 0x20, |_| 0, |_| b' '] {
                let mut bad = whole.clone();
                bad[at] = change(bad[at]);
                assert_refused_or_same(&store, &bad, &id, json);
            }
            assert_refused_or_same(&store, &whole[..at], &id, json);
        }
        assert_refused_or_same(&store, &[whole.as_slice(), b"x"].concat(), &id, json);
    }
}

fn assert_refused_or_same(store: &Store, bytes: &[u8], id: &CheckpointId, json: bool) {
    match import_savepoint_bytes(store, bytes, &plain()) {
        Err(refused) => {
            use ErrorKind::{Damaged, Invalid, LimitExceeded, TooNew};
            let honest = matches!(refused.kind(), Damaged | Invalid | LimitExceeded | TooNew);
            assert!(honest, "{refused}");
        }
        Ok(same) => {
            assert_eq!((same.id, same.run.as_str()), (*id, "run"));
            let run = store.run::<Counter>("run").unwrap();
            assert_eq!((run.state().seen.as_slice(), run.steps()), ([1, 2, 3].as_slice(), 3));
            assert!(json || bytes.len() > 100);
        }
    }
}

fn edited(json: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(json).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn a_file_in_json_that_was_edited_is_taken_only_if_that_was_meant() {
    let (from, id) = counted(3);
    let json = exported(&from, &id, true);
    let store = Store::in_memory().unwrap();
    // Another order of fields, other spaces: the same savepoint.
    let mut fields: Vec<_> = std::str::from_utf8(&json).unwrap().trim().lines().collect();
    fields.retain(|line| line.starts_with("  "));
    fields.reverse();
    let lines: Vec<_> = fields.iter().map(|line| line.trim().trim_end_matches(',')).collect();
    let shuffled = format!("{{{}}}", lines.join(" ,\n\n"));
    assert_eq!(import(&store, shuffled.as_bytes(), &plain()).id, id);

    let changed = edited(&json, "\"seen\":[1,2,3]", "\"seen\":[1,2,30]");
    let refused = error(import_savepoint_bytes(&store, &changed, &plain().replace()));
    assert_eq!(refused.kind(), ErrorKind::Damaged);
    assert!(refused.to_string().contains("SavepointOptions::edited"), "{refused}");
    let taken = import(&store, &changed, &plain().replace().edited());
    assert_ne!(taken.id, id);
    assert!(taken.must_reconcile);
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen, [1, 2, 30]);
    // What is not in the id is held by the checksum.
    for (from, to) in [("\"steps\": 3", "\"steps\": 4"), ("before the upgrade", "after it")] {
        let changed = edited(&json, from, to);
        assert_eq!(
            kind(import_savepoint_bytes(&store, &changed, &plain().replace())),
            ErrorKind::Damaged
        );
        assert_eq!(import(&store, &changed, &plain().replace().edited()).id, id);
    }
    assert_eq!(store.checkpoints().latest("run").unwrap().unwrap().labels["why"], "after it");

    for (from, to, path) in [
        ("\"seen\":[1,2,3]", "\"seen\":[1,-2,3]", "state.seen[1]: "),
        ("\"sum\":6", "\"sums\":6", "state.sums: "),
        ("\"position\": {\"index\":3}", "\"position\": {\"index\":-3}", "line 6"),
        ("\"run\": \"run\"", "\"run\": \"\"", "a run name has"),
        ("\"store\":\"", "\"store\":\"x", "origin.store"),
        ("\"automatic\": false", "\"automatic\": false, \"more\": 1", "unknown field `more`"),
    ] {
        let changed = edited(&json, from, to);
        let told = error(import_savepoint_bytes(&store, &changed, &plain().replace().edited()));
        assert_eq!(told.kind(), ErrorKind::Invalid, "{told}");
        assert!(told.to_string().contains(path), "{told}");
    }
    let newer = edited(&json, "\"milepost_savepoint\": 1", "\"milepost_savepoint\": 2");
    assert_eq!(kind(import_savepoint_bytes(&store, &newer, &plain())), ErrorKind::TooNew);
    assert_eq!(kind(import_savepoint_bytes(&store, b"{}", &plain())), ErrorKind::Invalid);
    assert_eq!(kind(import_savepoint_bytes(&store, b"", &plain())), ErrorKind::Invalid);
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Loose {
    #[serde(flatten)]
    rest: BTreeMap<String, u64>,
}

impl Versioned for Loose {
    const NAME: &'static str = "loose";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Twice {
    #[expect(clippy::option_option, reason = "what JSON has one word for")]
    maybe: Option<Option<u8>>,
}

impl Versioned for Twice {
    const NAME: &'static str = "twice";
    const VERSION: u32 = 1;
}

#[test]
fn a_state_that_json_cannot_say_is_refused_and_one_that_is_json_comes_back() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Loose>("loose").unwrap();
    run.step("k", 1, |tx| {
        tx.state.rest = [("b".to_owned(), 2), ("a".to_owned(), u64::MAX)].into();
        Ok(())
    })
    .unwrap();
    let id = store.checkpoints().save("loose", &Labels::new()).unwrap();
    for json in [false, true] {
        let other = Store::in_memory().unwrap();
        assert_eq!(import(&other, &exported(&store, &id, json), &plain()).id, id);
        assert_eq!(other.run::<Loose>("loose").unwrap().state(), run.state());
    }
    let mut run = store.run::<Twice>("twice").unwrap();
    for (maybe, said) in [(None, true), (Some(Some(7)), true), (Some(None), false)] {
        run.step(format!("{maybe:?}"), 1, |tx| {
            tx.state.maybe = maybe;
            Ok(())
        })
        .unwrap();
        let id = store.checkpoints().save("twice", &Labels::new()).unwrap();
        let json = savepoint_bytes(&store.checkpoints(), &id, true);
        match json {
            Ok(json) => {
                assert!(said && import(&Store::in_memory().unwrap(), &json, &plain()).id == id);
            }
            Err(refused) => {
                assert!(!said && refused.kind() == ErrorKind::Invalid, "{refused}");
                assert!(refused.to_string().contains("`export` it without"), "{refused}");
            }
        }
        let bytes = exported(&store, &id, false);
        let other = Store::in_memory().unwrap();
        import(&other, &bytes, &plain());
        assert_eq!(other.run::<Twice>("twice").unwrap().state().maybe, maybe);
    }
}

/// The type under the name of [`Counter`], with other fields.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OtherCounter {
    sum: u64,
}

impl Versioned for OtherCounter {
    const NAME: &'static str = "counter";
    const VERSION: u32 = 1;
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct NewCounter {
    total: u64,
}

impl Versioned for NewCounter {
    const NAME: &'static str = "counter";
    const VERSION: u32 = 2;
}

#[test]
fn a_savepoint_of_another_shape_is_refused_and_one_of_an_older_version_is_migrated() {
    let (from, id) = counted(3);
    let bytes = exported(&from, &id, false);
    let (disk, store) = on_disk(&Options::new());
    drop(store.run::<OtherCounter>("mine").unwrap());
    let before = disk.to_bytes();
    let refused = error(import_savepoint_bytes(&store, &bytes, &plain()));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert!(refused.to_string().contains("seen"), "{refused}");
    assert!(disk.to_bytes() == before, "something was written");

    let store = Store::in_memory().unwrap();
    import(&store, &bytes, &plain());
    let migrations = Migrations::new().step(|old: Counter| Ok(NewCounter { total: old.sum }));
    let run = store
        .open_run::<NewCounter>("run")
        .init(NewCounter::default)
        .migrations(&migrations)
        .open()
        .unwrap();
    assert_eq!((run.state().total, run.steps()), (6, 3));
}

/// Against: a store that is told to be another one's copy because it was killed.
#[test]
fn a_store_that_was_killed_is_opened_without_a_word_of_older_copies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    let store = Store::create(&path).unwrap();
    saved_after(&store, 2);
    copy_all(folder.path(), &path, &folder.path().join("other"));
    let copy = folder.path().join("other").join("bot.mp");
    // In another file, where a kill leaves it in its own.
    let again = Options::new().on_copy(OnCopy::Moved).open(&copy).unwrap();
    assert_eq!(again.run::<Counter>("run").unwrap().steps(), 2);
    assert!(again.recovery().unwrap().unreconciled.is_empty());
    let (disk, store) = on_disk(&Options::new());
    saved_after(&store, 2);
    Options::new().open_on(killed(&disk)).unwrap();
}

fn copy_all(from: &Path, store: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in [store.to_owned(), from.join("bot.mp.lock")] {
        fs::copy(&name, to.join(name.file_name().unwrap())).unwrap();
    }
}
