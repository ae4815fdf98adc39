//! A step that fails leaves the state from before it, or no way to go on; never a default.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use milepost::{Error, ErrorKind, Options, Result, Run, Store, Versioned};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::support::{killed, kind, on_disk};

thread_local! {
    /// What `Cents` do when they are read: the tests run on threads of their own.
    static WHEN_READ: Cell<Mood> = const { Cell::new(Mood::Reads) };
}

#[derive(Clone, Copy)]
enum Mood {
    Reads,
    Refuses,
    Panics,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize)]
struct Cents(u64);

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match WHEN_READ.get() {
            Mood::Reads => u64::deserialize(from).map(Self),
            Mood::Refuses => Err(D::Error::custom("the currencies are not loaded")),
            Mood::Panics => panic!("the currencies are not loaded"),
        }
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    cash: Cents,
    /// What makes it large, if there is any.
    ticks: Vec<u64>,
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 1;
}

const CASH: u64 = 1_000_000;

fn begin(ticks: u64) -> (std::sync::Arc<milepost::MemoryDisk>, Store, Run<Book>) {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Book>("spy").unwrap();
    run.step("begin", 1, |tx| {
        tx.state.cash.0 = CASH;
        tx.state.ticks = (0..ticks).map(|tick| tick << 40).collect();
        Ok(())
    })
    .unwrap();
    (disk, store, run)
}

/// A step that changes the state, and fails; `None` if it panicked.
fn failing_step(run: &mut Run<Book>) -> Option<ErrorKind> {
    let tick = catch_unwind(AssertUnwindSafe(|| {
        run.step("stale", 2, |tx| -> Result<()> {
            tx.state.cash.0 = 7;
            Err(Error::abort("the price feed is stale"))
        })
    }));
    tick.ok().map(|done| kind(done.map(drop)))
}

fn in_mood<T>(mood: Mood, work: impl FnOnce() -> T) -> T {
    WHEN_READ.set(mood);
    let done = work();
    WHEN_READ.set(Mood::Reads);
    done
}

fn cash_on_disk(disk: &milepost::MemoryDisk) -> u64 {
    let store = Options::new().open_on(killed(disk)).unwrap();
    store.run::<Book>("spy").unwrap().state().cash.0
}

/// Against: a bot that catches the panic of one tick and goes on with the next. `Deserialize` panicked
/// while the failed step was undone, the state was its type's default from then on, and the next step
/// saved that: a million in cash was five cents.
#[test]
fn a_deserialize_that_panics_during_undo_costs_nothing() {
    for mood in [Mood::Panics, Mood::Refuses] {
        let (disk, _store, mut run) = begin(3);
        let said = in_mood(mood, || failing_step(&mut run));
        assert_eq!(said, Some(ErrorKind::Aborted));
        assert_eq!(run.state().cash.0, CASH, "the step failed");
        run.step("next", 3, |tx| {
            tx.state.cash.0 += 5;
            Ok(())
        })
        .unwrap();
        assert_eq!(run.state().cash.0, CASH + 5);
        assert_eq!(cash_on_disk(&disk), CASH + 5);
    }
}

/// Against: the same in the first step after an opening, when the state was read only once.
#[test]
fn a_step_that_could_not_be_undone_is_refused_before_its_closure() {
    for mood in [Mood::Panics, Mood::Refuses] {
        let (disk, ..) = begin(3);
        let disk = killed(&disk);
        let store = Options::new().open_on(disk.clone()).unwrap();
        let mut run = store.run::<Book>("spy").unwrap();
        let refused = in_mood(mood, || run.step("k", 2, |_| -> Result<()> { panic!("called") }));
        assert_eq!(kind(refused.map(drop)), ErrorKind::Poisoned);
        assert_eq!(run.state().cash.0, CASH);
        // Once the type reads again, the run goes on from where it was.
        run.step("k", 2, |tx| {
            tx.state.cash.0 += 5;
            Ok(())
        })
        .unwrap();
        assert_eq!(cash_on_disk(&disk), CASH + 5);
    }
}

/// Against: the same with a state of which no second copy is kept. What the failed step made of it is
/// no state of the run: nothing may be written on top of it.
#[test]
fn a_large_state_that_does_not_come_back_poisons_its_run() {
    for mood in [Mood::Panics, Mood::Refuses] {
        let (disk, store, mut run) = begin(20_000);
        assert_eq!(in_mood(mood, || failing_step(&mut run)), Some(ErrorKind::Aborted));
        let poisoned = |result: Result<()>| assert_eq!(kind(result), ErrorKind::Poisoned);
        poisoned(run.step("a", 3, |_| -> Result<()> { panic!("called") }).map(drop));
        poisoned(run.submit("a", 3, |_| -> Result<()> { panic!("called") }).map(drop));
        let items = [("a", 3, ()), ("b", 4, ())];
        poisoned(run.batch(items, |_, ()| -> Result<()> { panic!("called") }).map(drop));
        poisoned(run.rewind(0));
        assert_eq!(cash_on_disk(&disk), CASH, "nothing was written");
        // The handle is what is lost, not the run.
        drop(run);
        assert_eq!(store.run::<Book>("spy").unwrap().state().cash.0, CASH);
    }
}

/// Against: a closure that panics with the state in its hands.
#[test]
fn a_closure_that_panics_leaves_the_state_from_before() {
    for ticks in [3, 20_000] {
        let (_disk, _store, mut run) = begin(ticks);
        let before = run.state().clone();
        for round in 0..3 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                run.step("k", 2, |tx| -> Result<()> {
                    tx.state.cash.0 = round;
                    tx.state.ticks.clear();
                    panic!("a bug in the strategy")
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(run.state(), &before);
        }
        run.step("k", 2, |tx| {
            tx.state.cash.0 += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(run.state().cash.0, CASH + 1);
    }
}

/// Against: steps of one batch that were undone as far as the last one of them.
#[test]
fn a_batch_that_fails_in_its_middle_is_undone_as_a_whole() {
    let (disk, _store, mut run) = begin(3);
    let items = (2..9u64).map(|n| (n.to_string(), n, n));
    let failed = run.batch(items, |tx, n| {
        tx.state.cash.0 += n;
        if n == 5 { Err(Error::abort("no")) } else { Ok(()) }
    });
    assert_eq!(kind(failed.map(drop)), ErrorKind::Aborted);
    assert_eq!(run.state().cash.0, CASH);
    assert_eq!(cash_on_disk(&disk), CASH);
}
