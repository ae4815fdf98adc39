//! One version of a type becomes the next: on reading, or all at once, whatever happens meanwhile.

use std::sync::Arc;

use milepost::testing::{Image, SimDisk};
use milepost::{Error, ErrorKind, Migrations, Options, Position, Result, Run, Store, Versioned};
use serde::{Deserialize, Serialize};

use crate::support::{clock, error, key_of, killed, kind, on_disk, rows_of};

macro_rules! version {
    ($type:ident, $name:literal, $version:literal, { $($field:ident: $of:ty),* }) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $type { $($field: $of),* }
        impl Versioned for $type {
            const NAME: &'static str = $name;
            const VERSION: u32 = $version;
        }
    };
}

version!(V1, "account", 1, { dollars: u64 });
version!(V2, "account", 2, { cents: u64, fees: u64 });
version!(V3, "account", 3, { cents: u64, fees: u64, note: String });
version!(V4, "account", 4, { cents: u64 });
version!(OtherV1, "account", 1, { dollars: i64 });
version!(Renamed, "purse", 1, { cents: u64 });
version!(Unrelated, "unrelated", 1, { n: u64 });

#[expect(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "a migration's form")]
fn to_v2(old: V1) -> Result<V2> {
    Ok(V2 { cents: old.dollars * 100, fees: 1 })
}

#[expect(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "a migration's form")]
fn to_v3(old: V2) -> Result<V3> {
    Ok(V3 { cents: old.cents, fees: old.fees, note: "from 2".into() })
}

fn both() -> Migrations {
    Migrations::new().step(to_v2).step(to_v3)
}

fn migrated(dollars: u64) -> V3 {
    V3 { cents: dollars * 100, fees: 1, note: "from 2".into() }
}

fn begin(store: &Store, run: &str, dollars: u64) {
    let mut run = store.run::<V1>(run).unwrap();
    run.step(key_of(1), 1, |tx| {
        tx.state.dollars = dollars;
        tx.put("row", &dollars)?;
        Ok(dollars)
    })
    .unwrap();
}

fn version(store: &Store, run: &str) -> u32 {
    store.inspect_run(run).unwrap().version
}

/// Against: a state that is lost, or half of it, on its way through two versions.
#[test]
fn a_state_is_migrated_step_by_step_and_written_with_the_next_save() {
    let (disk, store) = on_disk(&Options::new());
    begin(&store, "run", 7);
    let mut run = store.open_run::<V3>("run").init(V3::default).migrations(&both()).open().unwrap();
    assert_eq!(run.state(), &migrated(7));
    assert_eq!((run.position(), run.steps()), (&Position::Index(1), 1));
    assert_eq!(run.get::<u64>("row").unwrap(), Some(7));
    assert_eq!(version(&store, "run"), 1, "it was written without a step");

    // A refused step leaves the migrated state, not an empty one.
    let failed = run.step(key_of(2), 2, |tx| -> Result<()> {
        tx.state.cents = 0;
        Err(Error::abort("no"))
    });
    assert_eq!(kind(failed), ErrorKind::Aborted);
    assert_eq!(run.state(), &migrated(7));

    // The program of before can still go on, and the new one again.
    drop(run);
    assert_eq!(store.run::<V1>("run").unwrap().state().dollars, 7);
    let mut run = store.open_run::<V3>("run").init(V3::default).migrations(&both()).open().unwrap();
    let again = run.step(key_of(1), 1, |_| -> Result<u64> { panic!("a key was forgotten") });
    assert_eq!(again.unwrap().into_outcome(), 7);
    assert_eq!(version(&store, "run"), 1, "a duplicate changes nothing");
    run.step(key_of(2), 2, |tx| {
        tx.state.cents += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!(version(&store, "run"), 3);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let run = store.run::<V3>("run").unwrap();
    assert_eq!((run.state().cents, run.steps()), (701, 2));
    assert_eq!(kind(store.run::<V1>("run")), ErrorKind::Conflict);
    drop(run);
    assert_eq!(kind(store.run::<V1>("run")), ErrorKind::TooNew);
}

/// Against: a rewind that writes a state under the schema of another.
#[test]
fn a_rewind_writes_the_migrated_state_with_its_version() {
    let (disk, store) = on_disk(&Options::new());
    begin(&store, "run", 7);
    let mut run = store.open_run::<V3>("run").init(V3::default).migrations(&both()).open().unwrap();
    run.rewind(0).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.run::<V3>("run").unwrap().state(), &migrated(7));
}

/// Against: a type that cannot be given another name.
#[test]
fn a_type_is_renamed_by_a_migration_like_any_other() {
    let store = Store::in_memory().unwrap();
    begin(&store, "run", 7);
    let renaming = Migrations::new().step(to_v2).step(|old: V2| Ok(Renamed { cents: old.cents }));
    assert_eq!(
        store
            .open_run::<Renamed>("run")
            .init(Renamed::default)
            .migrations(&renaming)
            .open()
            .unwrap()
            .state()
            .cents,
        700
    );
    assert_eq!(
        kind(
            store
                .open_run::<Unrelated>("run")
                .init(Unrelated::default)
                .migrations(&renaming)
                .open()
        ),
        ErrorKind::SchemaMismatch
    );
}

/// Against: "migrate it", and nobody says which step is missing.
#[test]
fn a_way_that_does_not_lead_there_is_refused_by_the_step_that_is_missing() {
    let (disk, store) = on_disk(&Options::new());
    begin(&store, "run", 7);
    let before = rows_of(&disk.to_bytes(), "runs");
    let refused = |migrations: Migrations, expected: ErrorKind, named: &[&str]| {
        let error =
            error(store.open_run::<V3>("run").init(V3::default).migrations(&migrations).open());
        assert_eq!(error.kind(), expected, "{error}");
        for named in named {
            assert!(format!("{error:#}").contains(named), "{named} is not named: {error:#}");
        }
    };
    let mismatch = ErrorKind::SchemaMismatch;
    refused(Migrations::new(), mismatch, &["\"run\"", "version 1", "migrations"]);
    refused(Migrations::new().step(to_v2), mismatch, &["from `account` version 2 is missing"]);
    refused(Migrations::new().step(to_v3), mismatch, &["from `account` version 1 is missing"]);
    refused(both().step(to_v2), ErrorKind::Invalid, &["branch", "`account` version 1"]);
    let circle = Migrations::new().step(to_v2).step(|_: V2| Ok(V1::default()));
    refused(circle, ErrorKind::Invalid, &["circle"]);
    // The program's old type is not what was stored under its version.
    let other = Migrations::new().step(|_: OtherV1| Ok(V3::default()));
    refused(other, mismatch, &["`account` version 1", "field `dollars` was u64 and is now i64"]);
    assert!(rows_of(&disk.to_bytes(), "runs") == before, "a refused opening changed a run");

    drop(
        store
            .open_run::<V4>("newer")
            .init(V4::default)
            .migrations(&Migrations::new())
            .open()
            .unwrap(),
    );
    assert_eq!(
        kind(store.open_run::<V3>("newer").init(V3::default).migrations(&both()).open()),
        ErrorKind::TooNew
    );
    assert_eq!(version(&store, "newer"), 4);
}

/// Against: a store that is half migrated, or a thread that dies, because a function fails.
#[test]
fn a_migration_that_fails_or_panics_is_an_error_and_changes_nothing() {
    let (disk, store) = on_disk(&Options::new());
    begin(&store, "run", 7);
    let before = rows_of(&disk.to_bytes(), "runs");
    let fails = || Migrations::new().step(|_: V1| -> Result<V2> { Err(Error::abort("too poor")) });
    let panics = || Migrations::new().step(|_: V1| -> Result<V2> { panic!("out of {}", "luck") });
    for (migrations, why) in [(fails(), "too poor"), (panics(), "out of luck")] {
        for error in [
            error(store.open_run::<V2>("run").init(V2::default).migrations(&migrations).open()),
            error(store.migrate(&migrations).run()),
            error(store.migrate(&migrations).dry_run()),
        ] {
            assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
            for named in ["\"run\"", "`account` version 1", "`account` version 2", why] {
                assert!(format!("{error:#}").contains(named), "{named} is not named: {error:#}");
            }
        }
    }
    assert!(rows_of(&disk.to_bytes(), "runs") == before, "a failed migration changed a run");
    assert_eq!(store.run::<V1>("run").unwrap().state().dollars, 7);
}

/// More than two slices of them.
const RUNS: u64 = 150;

fn name_of(n: u64) -> String {
    format!("run-{n:03}")
}

fn begin_all(store: &Store) {
    for n in 0..RUNS {
        begin(store, &name_of(n), n);
    }
}

/// Against: runs that are forgotten, or migrated that should not be.
#[test]
fn all_runs_are_migrated_at_once_and_the_others_are_left_alone() {
    let (disk, store) = on_disk(&Options::new());
    begin_all(&store);
    drop(store.run::<V4>("newer").unwrap());
    drop(store.run::<Unrelated>("unrelated").unwrap());
    drop(store.run::<V3>("already").unwrap());
    let before = [rows_of(&disk.to_bytes(), "runs"), rows_of(&disk.to_bytes(), "schemas")];
    let would = store.migrate(&both()).dry_run().unwrap();
    assert_eq!((would.runs, would.migrated), (RUNS + 3, RUNS));
    let after = [rows_of(&disk.to_bytes(), "runs"), rows_of(&disk.to_bytes(), "schemas")];
    assert!(before == after, "a dry run wrote");

    let mut told = Vec::new();
    let done = store.migrate(&both()).on_progress(|so_far| told.push(so_far.migrated)).run();
    assert_eq!(done.unwrap(), would);
    assert!(told.is_sorted() && told.len() >= 3 && told.last() == Some(&RUNS), "{told:?}");
    assert_eq!(would.newer.iter().map(milepost::RunName::as_str).collect::<Vec<_>>(), ["newer"]);
    for n in 0..RUNS {
        let mut run: Run<V3> = store.run(&name_of(n)).unwrap();
        assert_eq!((run.state(), run.steps()), (&migrated(n), 1));
        let again = run.step(key_of(1), 1, |_| -> Result<u64> { panic!("a key was forgotten") });
        assert_eq!(again.unwrap().into_outcome(), n);
    }
    assert_eq!((version(&store, "newer"), version(&store, "unrelated")), (4, 1));
    assert_eq!(store.migrate(&both()).run().unwrap().migrated, 0);
}

/// Against: a run that is migrated under the hands of whoever has it open, and written back as it was.
#[test]
fn a_run_that_is_open_is_not_migrated_under_anybodys_hands() {
    let store = Store::in_memory().unwrap();
    begin(&store, "open", 7);
    begin(&store, "a run before it", 7);
    let mut run = store.run::<V1>("open").unwrap();
    let conflict = error(store.migrate(&both()).run());
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert!(conflict.to_string().contains("\"open\""), "{conflict}");
    assert_eq!(version(&store, "a run before it"), 1, "half a slice was written");
    run.step(key_of(2), 2, |tx| {
        tx.state.dollars += 1;
        Ok(())
    })
    .unwrap();
    drop(run);
    assert_eq!(store.migrate(&both()).run().unwrap().migrated, 2);
    assert_eq!(store.run::<V3>("open").unwrap().state(), &migrated(8));
}

/// Against: one bad state that keeps all others from being migrated for ever.
#[test]
fn a_migration_that_failed_goes_on_where_it_was_once_it_is_mended() {
    let store = Store::in_memory().unwrap();
    begin_all(&store);
    let picky = Migrations::new().step(to_v2).step(|old: V2| {
        if old.cents == 13_000 { Err(Error::abort("unlucky")) } else { to_v3(old) }
    });
    let failed = error(store.migrate(&picky).run());
    assert!(failed.to_string().contains("\"run-130\""), "{failed}");
    let done = (0..RUNS).filter(|n| version(&store, &name_of(*n)) == 3).count();
    assert!(done > 0 && done < 130, "{done} were done: earlier slices stay, this one does not");
    let rest = store.migrate(&both()).run().unwrap();
    assert_eq!(rest.migrated, RUNS - done as u64);
    assert_eq!(store.run::<V3>("run-130").unwrap().state(), &migrated(130));
}

/// Against: a crash between or inside the commits of a migration that loses a run, or migrates one
/// twice. The power is cut at every operation, and what is left is migrated to its end.
#[test]
fn a_crash_at_any_moment_leaves_whole_runs_and_the_migration_goes_on() {
    let options = Options::new().clock(clock()).cache_bytes(1 << 20);
    let disk = Arc::new(SimDisk::new());
    let store = options.create_on(disk.clone()).unwrap();
    begin_all(&store);
    disk.record();
    assert_eq!(store.migrate(&both()).run().unwrap().migrated, RUNS);
    let trace = disk.trace();
    let mut seen_between = 0;
    for point in 0..trace.points() {
        for image in [Image::Nothing, Image::Everything, Image::Random { seed: point as u64 }] {
            let cut = Arc::new(SimDisk::of(trace.cut(point, &image)));
            let store = options.open_on(cut).unwrap();
            let new = (0..RUNS).filter(|n| version(&store, &name_of(*n)) == 3).count() as u64;
            seen_between += u64::from(new > 0 && new < RUNS);
            // In order: what is migrated is a beginning.
            assert!((0..new).all(|n| version(&store, &name_of(n)) == 3), "{point}: {image:?}");
            assert_eq!(store.migrate(&both()).run().unwrap().migrated, RUNS - new);
            for n in [0, new.saturating_sub(1), new.min(RUNS - 1), RUNS - 1] {
                assert_eq!(store.run::<V3>(&name_of(n)).unwrap().state(), &migrated(n));
            }
        }
    }
    assert!(seen_between > 0, "no crash fell between two slices");
}

/// A state with something that must always be true of it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Balanced {
    cash: i64,
    positions: i64,
    equity: i64,
}

impl Versioned for Balanced {
    const NAME: &'static str = "balanced";
    const VERSION: u32 = 1;

    fn validate(&self) -> std::result::Result<(), String> {
        let Self { cash, positions, equity } = self;
        if cash + positions == *equity { Ok(()) } else { Err(format!("{equity} is not the sum")) }
    }
}

/// The same without the rule: what a program without it has written.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Unchecked {
    cash: i64,
    positions: i64,
    equity: i64,
}

impl Versioned for Unchecked {
    const NAME: &'static str = "balanced";
    const VERSION: u32 = 1;
}

fn is_refused_by_name(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
    for named in ["\"run\"", "`balanced` version 1", "5 is not the sum"] {
        assert!(format!("{error:#}").contains(named), "{named} is not named: {error:#}");
    }
}

/// Against: a state that breaks the user's own rule, becomes durable, and can never be loaded again.
#[test]
fn a_step_that_breaks_the_users_rule_is_not_committed() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Balanced>("run").unwrap();
    let add = |state: &mut Balanced, to_equity| {
        state.cash += 3;
        state.equity += to_equity;
        Ok(())
    };
    run.step("sound", 1, |tx| add(&mut tx.state, 3)).unwrap();
    let before = run.state().clone();
    is_refused_by_name(&error(run.step("unsound", 2, |tx| add(&mut tx.state, 2))));
    // A batch is one commit: what is broken and mended inside it was never written.
    is_refused_by_name(&error(
        run.batch([("a", 2, 3), ("b", 3, -1)], |tx, n| add(&mut tx.state, n)),
    ));
    assert_eq!((run.state(), run.steps()), (&before, 1));
    run.batch([("a", 2, 2), ("b", 3, 4)], |tx, n| add(&mut tx.state, n)).unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.run::<Balanced>("run").unwrap().state().equity, 9);
}

/// Against: a state that was written before the rule was there, and is built on.
#[test]
fn a_stored_state_that_breaks_the_users_rule_is_not_handed_out() {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Unchecked>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.state.equity = 5;
        Ok(())
    })
    .unwrap();
    drop(run);
    let before = rows_of(&disk.to_bytes(), "runs");
    is_refused_by_name(&error(store.run::<Balanced>("run")));
    assert!(rows_of(&disk.to_bytes(), "runs") == before, "a refused opening changed a run");
    assert_eq!(store.run::<Unchecked>("run").unwrap().state().equity, 5);
}

/// Against: a migration that makes what `validate` would have refused.
#[test]
fn a_migration_into_what_breaks_the_users_rule_is_refused() {
    let store = Store::in_memory().unwrap();
    begin(&store, "run", 5);
    let careless = Migrations::new()
        .step(|old: V1| Ok(Balanced { equity: old.dollars.cast_signed(), ..Balanced::default() }));
    is_refused_by_name(&error(
        store.open_run::<Balanced>("run").init(Balanced::default).migrations(&careless).open(),
    ));
    is_refused_by_name(&error(store.migrate(&careless).run()));
    assert_eq!(version(&store, "run"), 1);
}
