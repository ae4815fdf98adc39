//! Large states whose types change. Against chunks that are named for bytes they do not hold, chunks
//! that stay when a migration lets go of them, and a checkpoint that is read as another type.

use milepost::testing::Rng;
use milepost::{
    Codec, Error, ErrorKind, Labels, Migrations, Options, Result, Run, Store, Versioned,
};
use serde::{Deserialize, Serialize};

use crate::large_state::{Blob, chunks_in, leave, words};
use crate::support::{error, key_of, killed, kind, on_disk, rows_of};

/// The next version of a [`Blob`].
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Blob2 {
    note: String,
    words: Vec<u64>,
}

impl Versioned for Blob2 {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 2;

    fn validate(&self) -> std::result::Result<(), String> {
        if self.note == "bad" { Err("the note is bad".into()) } else { Ok(()) }
    }
}

/// What is said to be a [`Blob`], and is none.
#[derive(Default, Serialize, Deserialize)]
struct Pairs {
    words: Vec<(u64, u64)>,
}

impl Versioned for Pairs {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 1;
}

/// A [`Blob2`] without its rule.
#[derive(Default, Serialize, Deserialize)]
struct Careless {
    note: String,
    words: Vec<u64>,
}

impl Versioned for Careless {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 2;
}

/// A large state in JSON.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Loose {
    words: Vec<u64>,
}

impl Versioned for Loose {
    const NAME: &'static str = "loose";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

/// Every word in its place, some of them with other bits: as long as before, and nowhere the same.
fn to_2(old: Blob) -> Blob2 {
    let mut words = old.words;
    words.iter_mut().step_by(100).for_each(|word| *word ^= 1);
    Blob2 { note: String::new(), words }
}

/// The next version of a [`Blob`], in another codec.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Blob3 {
    words: Vec<u64>,
}

impl Versioned for Blob3 {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 3;
    const CODEC: Codec = Codec::Json;
}

fn migrations() -> Migrations {
    Migrations::new().step(|old| Ok(to_2(old)))
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

fn begin(store: &Store, run: &str, words: &[u64]) -> Blob2 {
    leave(&mut store.run::<Blob>(run).unwrap(), 1, words);
    to_2(Blob { words: words.to_vec() })
}

fn note(run: &mut Run<Blob2>, n: u64, note: &str) -> Result<()> {
    run.step(key_of(n), n, |tx| {
        tx.state.note = note.into();
        tx.checkpoint(Labels::new())
    })?;
    Ok(())
}

#[test]
fn a_large_state_is_written_migrated_by_the_next_step_and_lets_go_of_its_chunks() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(11, "words", 0), 300_000);
    let migrated = begin(&store, "run", &words);
    begin(&store, "other", &words);
    let before = rows_of(&disk.to_bytes(), "contents");
    let mut run = store
        .open_run::<Blob2>("run")
        .init(Blob2::default)
        .migrations(&migrations())
        .open()
        .unwrap();
    assert!(*run.state() == migrated);
    let failed = run.step("bad", 2, |tx| {
        tx.state.words.clear();
        Err::<(), _>(Error::abort("no"))
    });
    assert_eq!(kind(failed), ErrorKind::Aborted);
    assert!(*run.state() == migrated, "a failed step gave another state back");
    assert!(rows_of(&disk.to_bytes(), "contents") == before, "it was written without a step");
    assert_sound(&store);

    note(&mut run, 2, "new").unwrap();
    assert_sound(&store);
    let reopened = Options::new().open_on(killed(&disk)).unwrap();
    let expected = Blob2 { note: "new".into(), ..migrated };
    assert!(*reopened.run::<Blob2>("run").unwrap().state() == expected);
    let saved = reopened.checkpoints().latest("run").unwrap().unwrap();
    assert_eq!(saved.version, 2);
    assert!(reopened.checkpoints().load::<Blob2>(&saved.id).unwrap() == expected);
    assert!(reopened.run::<Blob>("other").unwrap().state().words == words);

    run.step(key_of(3), 3, |tx| {
        tx.state.words.clear();
        Ok(())
    })
    .unwrap();
    leave(&mut store.run::<Blob>("other").unwrap(), 3, &[]);
    store.checkpoints().delete(&saved.id).unwrap();
    assert_sound(&store);
    assert_eq!(chunks_in(&disk.to_bytes()), 0);
}

#[test]
fn a_rewind_writes_a_large_state_migrated_and_steps_go_on_from_it() {
    let (disk, store) = on_disk(&Options::new());
    let migrated = begin(&store, "run", &words(&mut Rng::of(12, "words", 0), 200_000));
    let mut run = store
        .open_run::<Blob2>("run")
        .init(Blob2::default)
        .migrations(&migrations())
        .open()
        .unwrap();
    run.rewind(0).unwrap();
    assert_sound(&store);
    let reopened = Options::new().open_on(killed(&disk)).unwrap();
    assert!(*reopened.run::<Blob2>("run").unwrap().state() == migrated);
    note(&mut run, 2, "behind").unwrap();
    run.rewind(1).unwrap();
    assert_sound(&store);
    assert!(*run.state() == Blob2 { note: "behind".into(), ..migrated });
}

#[test]
fn all_runs_with_large_states_are_migrated_at_once_and_can_be_looked_at() {
    let (disk, store) = on_disk(&Options::new());
    let some = words(&mut Rng::of(13, "words", 0), 200_000);
    let one = begin(&store, "one", &some);
    begin(&store, "same", &some);
    let small = begin(&store, "small", &some[..9]);
    let before = disk.to_bytes();
    assert_eq!(store.migrate(&migrations()).dry_run().unwrap().migrated, 3);
    assert!(rows_of(&disk.to_bytes(), "contents") == rows_of(&before, "contents"));
    assert_eq!(store.migrate(&migrations()).run().unwrap().migrated, 3);
    assert_sound(&store);
    for (name, state) in [("one", &one), ("same", &one), ("small", &small)] {
        let view = store.inspect_run(name).unwrap();
        assert_eq!((view.version, view.steps), (2, 1));
        let shown: Blob2 = serde_json::from_str(&view.state_json).unwrap();
        assert!(shown == *state);
        assert!(store.run::<Blob2>(name).unwrap().state() == state);
    }
}

#[test]
fn a_checkpoint_is_read_as_the_type_it_was_saved_as_or_not_at_all() {
    let (_, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(14, "words", 0), 100_000);
    for (name, words) in [("small", &words[..9]), ("large", &words)] {
        let migrated = begin(&store, name, words);
        let id = store.checkpoints().save(name, &Labels::new()).unwrap();
        assert!(store.checkpoints().load::<Blob>(&id).unwrap().words == words);
        let refused = error(store.checkpoints().load::<Pairs>(&id));
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
        assert!(refused.to_string().contains("words"), "{refused}");
        assert_eq!(kind(store.checkpoints().load::<Blob2>(&id)), ErrorKind::SchemaMismatch);

        // What a fork takes over is migrated like any other state.
        let fork = format!("fork-of-{name}");
        store.checkpoints().fork(&id, &fork).unwrap();
        assert_eq!(kind(store.run::<Blob2>(&fork)), ErrorKind::SchemaMismatch);
        let mut run = store
            .open_run::<Blob2>(&fork)
            .init(Blob2::default)
            .migrations(&migrations())
            .open()
            .unwrap();
        assert!(*run.state() == migrated);
        note(&mut run, 2, "forked").unwrap();
        assert!(store.checkpoints().load::<Blob>(&id).unwrap().words == words);
    }
    assert_sound(&store);
}

#[test]
fn a_state_that_breaks_the_users_rule_is_neither_saved_nor_handed_out() {
    let (_, store) = on_disk(&Options::new());
    let mut run = store.run::<Blob2>("run").unwrap();
    let batch =
        run.batch([(1, "bad"), (2, "good")].map(|(n, note)| (key_of(n), n, note)), |tx, note| {
            tx.state.note = note.into();
            tx.checkpoint(Labels::new())
        });
    assert_eq!(kind(batch), ErrorKind::Aborted, "a checkpoint that could not be loaded was saved");
    assert_eq!(store.checkpoints().latest("run").unwrap(), None);
    let mut careless = store.run::<Careless>("careless").unwrap();
    careless
        .step("k", 1, |tx| {
            tx.state.note = "bad".into();
            Ok(())
        })
        .unwrap();
    let id = store.checkpoints().save("careless", &Labels::new()).unwrap();
    assert_eq!(kind(store.checkpoints().load::<Blob2>(&id)), ErrorKind::Aborted);
    assert_eq!(store.checkpoints().load::<Careless>(&id).unwrap().note, "bad");
}

#[test]
fn a_large_state_in_json_is_cut_and_saved_like_any_other() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(15, "words", 0), 200_000);
    let mut run = store.run::<Loose>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state.words.clone_from(&words);
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    assert!(chunks_in(&disk.to_bytes()) > 10);
    assert_sound(&store);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert!(store.run::<Loose>("run").unwrap().state().words == words);
    let id = store.checkpoints().latest("run").unwrap().unwrap().id;
    assert!(store.checkpoints().load::<Loose>(&id).unwrap().words == words);
    let shown = store.inspect_run("run").unwrap().state_json;
    assert!(serde_json::from_str::<Loose>(&shown).unwrap().words == words);
}

/// Against: a state that is undone, or cut, in the codec of the one before it.
#[test]
fn a_large_state_goes_over_to_another_codec_in_a_batch_or_stays_as_it_was() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(16, "words", 0), 150_000);
    begin(&store, "run", &words);
    let migrations = Migrations::new().step(|old: Blob| Ok(Blob3 { words: old.words }));
    let mut run =
        store.open_run::<Blob3>("run").init(Blob3::default).migrations(&migrations).open().unwrap();
    let mut batch = |fails: bool| {
        let items = (2..6u64).map(|n| (key_of(n), n, n));
        run.batch(items, |tx, n| {
            tx.state.words[0] = n;
            if fails && n == 5 {
                return Err(Error::abort("no"));
            }
            tx.checkpoint(Labels::new())
        })
        .map(|_| run.state().words.clone())
        .map_err(|error| (error.kind(), run.state().words == words))
    };
    assert_eq!(batch(true), Err((ErrorKind::Aborted, true)));
    assert_sound(&store);
    let expected = [&[5], &words[1..]].concat();
    assert!(batch(false).unwrap() == expected);
    assert_sound(&store);
    let reopened = Options::new().open_on(killed(&disk)).unwrap();
    assert!(reopened.run::<Blob3>("run").unwrap().state().words == expected);
    let id = reopened.checkpoints().latest("run").unwrap().unwrap().id;
    assert!(reopened.checkpoints().load::<Blob3>(&id).unwrap().words == expected);
}
