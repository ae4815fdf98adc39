//! Runs that come from elsewhere by `Store::import_run` and `Store::import_checkpoints`, and go back by
//! `Store::export_run`. Against: a key that counts as new after an import, a run that is set back by
//! one, half an import after a crash, and an export of two moments.

use std::cell::Cell;
use std::sync::Arc;

use milepost::testing::{Effect, Fault, Image, SimDisk};
use milepost::{Done, ErrorKind, Labels, Options, Position, Result, RunImport, Store};

use crate::support::{Counter, count, error, key_of, kind};

const KEYS: [&str; 3] = ["a", "b", "c"];

fn state(sum: u64) -> Counter {
    Counter { sum, seen: vec![sum] }
}

fn import<'a>(store: &Store, state: &'a Counter) -> RunImport<'a, Counter> {
    store.import_run("run", state).position(6).steps(7).keys(&KEYS, |_| 5u64).note("beside")
}

/// State, position, steps, keys and note.
type Content = (Counter, Position, u64, Vec<Vec<u8>>, Option<String>);

fn content(store: &Store) -> Result<Content> {
    let export = store.export_run("run")?;
    let note = export.note().map(str::to_owned);
    Ok((export.state()?, export.position().clone(), export.steps(), export.keys()?, note))
}

fn wanted() -> Content {
    let keys = KEYS.map(|key| key.as_bytes().to_vec()).to_vec();
    (state(9), Position::Index(6), 7, keys, Some("beside".to_owned()))
}

#[test]
fn an_imported_run_is_where_it_was_and_its_keys_are_duplicates() {
    let store = Store::in_memory().unwrap();
    let words = ["said"];
    let brought = state(9);
    assert!(import(&store, &brought).keys(&words, |_| "yes".to_owned()).commit().unwrap());
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.state(), run.position(), run.steps()), (&brought, &Position::Index(6), 7));
    for key in KEYS {
        let done: Done<u64> = run.step(key, 7, |_| unreachable!()).unwrap();
        assert_eq!(done, Done::Duplicate(5));
    }
    let done: Done<String> = run.step("said", 7, |_| unreachable!()).unwrap();
    assert_eq!(done, Done::Duplicate("yes".to_owned()));
    let other: Result<Done<u64>> = run.step("said", 7, |_| unreachable!());
    assert_eq!(kind(other), ErrorKind::SchemaMismatch);
    assert!(count(&mut run, 8).unwrap().is_fresh());
}

#[test]
fn the_same_import_again_writes_nothing_and_asks_for_no_outcome() {
    let store = Store::in_memory().unwrap();
    let brought = state(9);
    import(&store, &brought).commit().unwrap();
    let before = store.newest_commit().unwrap();
    let asked = Cell::new(0);
    let again = store.import_run("run", &brought).position(6).steps(7).note("beside");
    let again = again.keys(&KEYS, |_| asked.set(asked.get() + 1)).commit();
    assert_eq!((again.unwrap(), asked.get()), (false, 0));
    assert_eq!(store.newest_commit().unwrap(), before);
    assert_eq!(content(&store).unwrap(), wanted());
}

#[test]
fn an_import_of_anything_else_is_a_conflict_and_changes_nothing() {
    let store = Store::in_memory().unwrap();
    let (brought, other) = (state(9), state(10));
    import(&store, &brought).commit().unwrap();
    for refused in [
        import(&store, &other),
        import(&store, &brought).position(7),
        import(&store, &brought).steps(8),
        import(&store, &brought).note("another"),
        import(&store, &brought).keys(&["d"], |_| 5u64),
    ] {
        assert_eq!(kind(refused.commit()), ErrorKind::Conflict);
    }
    assert_eq!(content(&store).unwrap(), wanted());

    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(import(&store, &brought).commit()), ErrorKind::Conflict, "it is open");
    count(&mut run, 8).unwrap();
    drop(run);
    assert_eq!(kind(import(&store, &brought).commit()), ErrorKind::Conflict, "it has gone on");
    assert!(!store.export_run("run").unwrap().is_as_imported());

    let mut own = store.run::<Counter>("own").unwrap();
    count(&mut own, 1).unwrap();
    drop(own);
    assert_eq!(kind(store.import_run("own", &brought).commit()), ErrorKind::Conflict);
}

#[test]
fn what_cannot_be_stored_is_refused_with_the_number_of_the_key() {
    let store = Store::in_memory().unwrap();
    let brought = state(9);
    let refused = error(store.import_run("run", &brought).keys(&["a", ""], |_| ()).commit());
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("key number 2"), "{refused}");
    let too_many = store.import_run("run", &brought).steps(1 << 63).commit();
    assert_eq!(kind(too_many), ErrorKind::Invalid);
    assert_eq!(kind(store.export_run("run")), ErrorKind::NotFound);
}

/// Against: keys that are left out because the run was imported once, and has been removed since.
#[test]
fn a_run_that_was_removed_is_imported_again_with_its_keys() {
    let store = Store::in_memory().unwrap();
    let brought = state(9);
    import(&store, &brought).commit().unwrap();
    store.remove_run("run").unwrap();
    assert!(import(&store, &brought).commit().unwrap());
    assert_eq!(content(&store).unwrap(), wanted());
}

#[test]
fn an_import_that_is_cut_short_is_all_there_or_not_at_all() {
    let options = Options::new();
    let brought = state(9);
    let mut crashes = 0;
    for effect in [Effect::Nothing, Effect::Half, Effect::All] {
        for nth in 0.. {
            let disk = Arc::new(SimDisk::new());
            let store = options.create_on(disk.clone()).unwrap();
            disk.arm([Fault::at(nth).effect(effect)]);
            let ended = import(&store, &brought).commit();
            let hits = disk.hits();
            drop(store);
            if hits == 0 {
                assert!(ended.unwrap());
                break;
            }
            crashes += 1;
            for left in [disk.live(), disk.cut(&Image::Nothing)] {
                let store = options.open_on(Arc::new(SimDisk::of(left))).unwrap();
                match content(&store) {
                    Ok(found) => assert_eq!(found, wanted()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                }
                import(&store, &brought).commit().unwrap();
                assert_eq!(content(&store).unwrap(), wanted());
            }
        }
    }
    assert!(crashes > 5, "only {crashes} crashes");
}

#[test]
fn an_export_is_of_one_moment() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let export = store.export_run("run").unwrap();
    count(&mut run, 2).unwrap();
    assert_eq!((export.position(), export.steps()), (&Position::Index(1), 1));
    assert_eq!(export.state::<Counter>().unwrap(), Counter { sum: 1, seen: vec![1] });
    assert_eq!(export.keys().unwrap(), [key_of(1).into_bytes()]);
    assert_eq!((export.note(), export.is_as_imported()), (None, false));
}

#[test]
fn the_newest_of_the_imported_checkpoints_is_the_state_of_the_run() {
    let store = Store::in_memory().unwrap();
    let mut import = store.import_checkpoints("run").unwrap();
    assert_eq!(kind(store.run::<Counter>("run")), ErrorKind::Conflict, "it is held");
    for (sum, order) in [(1, "2024"), (2, "2026"), (3, "2025")] {
        let labels = Labels::new().with("order", order);
        import.add(&state(sum), &labels, order, None).unwrap();
    }
    drop(import);
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!((run.state(), run.steps()), (&state(2), 3));
    let page = store.checkpoints().list(&milepost::CheckpointFilter::new().run("run")).unwrap();
    let kept: Vec<_> = page.checkpoints.iter().map(|kept| (kept.pinned, kept.steps)).collect();
    assert_eq!(kept, [(true, 3), (true, 2), (true, 1)]);
    count(&mut run, 4).unwrap();
    drop(run);
    let mut import = store.import_checkpoints("run").unwrap();
    assert_eq!(kind(import.add(&state(9), &Labels::new(), "2027", None)), ErrorKind::Conflict);
}
