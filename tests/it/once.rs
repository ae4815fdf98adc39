//! The whole life of a claim in one call.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

use milepost::testing::{Outside, crash_matrix};
use milepost::{Claimed, ErrorKind, Key, Options, Probe, Result, Sent, Store};

use crate::support::{clock, error, killed, kind, on_disk, second};

/// Asks for the call; `answer` is what becomes of it, and `probed` what a probe says.
fn once(store: &Store, answer: Sent<u64>, probed: Probe<u64>) -> (Result<u64>, bool, bool) {
    let (mut called, mut asked) = (false, false);
    let done = store.once(
        "pay",
        "p-1",
        &("Ada", 5u64),
        || {
            called = true;
            answer
        },
        |_| {
            asked = true;
            probed
        },
    );
    (done, called, asked)
}

#[track_caller]
fn unused(store: &Store, expected: u64) {
    let (done, called, asked) = once(store, Sent::Confirmed(0), Probe::NotApplied);
    assert_eq!((done.unwrap(), called, asked), (expected, false, false));
}

/// Leaves the call in doubt.
fn in_doubt(store: &Store) {
    let (done, ..) = once(store, Sent::Ambiguous("timeout".into()), Probe::Unknown);
    let error = error(done);
    assert_eq!(error.kind(), ErrorKind::InDoubt);
    assert!(error.to_string().contains("timeout"), "{error}");
}

/// Against: a call that is made twice because its answer was not kept.
#[test]
fn a_call_is_made_once_and_its_outcome_is_known_for_ever() {
    let (disk, store) = on_disk(&Options::new());
    let (done, called, asked) = once(&store, Sent::Confirmed(7), Probe::Unknown);
    assert_eq!((done.unwrap(), called, asked), (7, true, false));
    unused(&store, 7);
    unused(&Options::new().open_on(killed(&disk)).unwrap(), 7);
}

/// Against: a call in doubt that is made again without a question, or is never settled.
#[test]
fn what_is_in_doubt_is_made_again_only_if_the_probe_says_that_it_was_not_applied() {
    for again in [false, true] {
        let (disk, mut store) = on_disk(&Options::new());
        in_doubt(&store);
        if again {
            store = Options::new().open_on(killed(&disk)).unwrap();
        }
        for _ in 0..2 {
            let (done, called, asked) = once(&store, Sent::Confirmed(1), Probe::Unknown);
            assert_eq!((kind(done), called, asked), (ErrorKind::InDoubt, false, true));
        }
        let (done, called, asked) = once(&store, Sent::Confirmed(1), Probe::Applied(9));
        assert_eq!((done.unwrap(), called, asked), (9, false, true));
        unused(&store, 9);
        let store = Store::in_memory().unwrap();
        in_doubt(&store);
        let (done, called, asked) = once(&store, Sent::Confirmed(1), Probe::NotApplied);
        assert_eq!((done.unwrap(), called, asked), (1, true, true));
        unused(&store, 1);
    }
}

/// Against: a call that panicked, or whose outcome cannot be stored, and is taken for not made.
#[test]
fn a_call_that_ends_without_a_word_is_in_doubt() {
    let store = Store::in_memory().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        store.once::<u64>("pay", "p-1", &("Ada", 5u64), || panic!("a bug"), |_| Probe::Unknown)
    }));
    assert!(panicked.is_err());
    let (done, called, asked) = once(&store, Sent::Confirmed(1), Probe::Unknown);
    assert_eq!((kind(done), called, asked), (ErrorKind::InDoubt, false, true));
    let limits = milepost::Limits { value_bytes: 100, ..milepost::Limits::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    let long = || Sent::Confirmed("x".repeat(1_000));
    let done = store.once("pay", "p-1", "r", long, |_| Probe::Unknown);
    assert_eq!(kind(done), ErrorKind::LimitExceeded);
    let done = store.once::<String>("pay", "p-1", "r", || panic!("again"), |_| Probe::Unknown);
    assert_eq!(kind(done), ErrorKind::InDoubt);
}

/// Against: a key that a call which was certainly not applied blocks for ever.
#[test]
fn a_call_that_was_certainly_not_applied_leaves_the_key_free() {
    let store = Store::in_memory().unwrap();
    for (answer, said) in [
        (Sent::Rejected("no funds".into()), "no funds"),
        (Sent::NotSent("no route".into()), "no route"),
    ] {
        let (done, called, _) = once(&store, answer, Probe::Unknown);
        let error = error(done);
        assert_eq!((error.kind(), called), (ErrorKind::Aborted, true));
        assert!(error.to_string().contains(said), "{error}");
        assert!(store.recovery().unwrap().is_settled());
    }
    let (done, called, asked) = once(&store, Sent::Confirmed(3), Probe::Unknown);
    assert_eq!((done.unwrap(), called, asked), (3, true, false));
}

/// Against: the answer to another request, or a probe of one call that settles another.
#[test]
fn another_request_is_a_conflict_with_a_settled_call_and_never_with_one_in_doubt() {
    let store = Store::in_memory().unwrap();
    let other = || {
        let panics = || -> Sent<u64> { panic!("called") };
        store.once("pay", "p-1", &("Ada", 6u64), panics, |_| panic!("probed"))
    };
    in_doubt(&store);
    assert_eq!(kind(other()), ErrorKind::InDoubt);
    once(&store, Sent::Confirmed(1), Probe::Applied(1)).0.unwrap();
    assert_eq!(kind(other()), ErrorKind::Conflict);
    let wider = store.once(
        "pay",
        "p-1",
        &("Ada", 5u64, true),
        || Sent::Confirmed(1u64),
        |_| Probe::Unknown,
    );
    assert_eq!(kind(wider), ErrorKind::SchemaMismatch);
}

/// Against: a key that may have been forgotten and is taken for a new one.
#[test]
fn a_key_beyond_the_horizon_is_not_called() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let key = || Key::new("p").expires_after(second(10)).issued_at(crate::support::T0);
    let pay = |calls: &mut u32| {
        let call = || {
            *calls += 1;
            Sent::Confirmed(())
        };
        store.once("pay", key(), "r", call, |_| Probe::Unknown)
    };
    let mut calls = 0;
    pay(&mut calls).unwrap();
    clock.advance(second(60));
    assert_eq!(kind(pay(&mut calls)), ErrorKind::BeyondHorizon);
    assert_eq!(calls, 1);
}

/// Against: two threads that make one call, or one that waits for the other for ever.
#[test]
fn a_call_that_another_thread_is_making_is_in_flight() {
    let store = Store::in_memory().unwrap();
    let (begun, go_on) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let call = || {
                begun.wait();
                go_on.wait();
                Sent::Confirmed(1u64)
            };
            store.once("pay", "p-1", &("Ada", 5u64), call, |_| Probe::Unknown)
        });
        begun.wait();
        let (done, called, asked) = once(&store, Sent::Confirmed(2), Probe::NotApplied);
        let refused = error(done);
        assert_eq!((refused.kind(), called, asked), (ErrorKind::InFlight, false, false));
        assert!(refused.is_transient());
        go_on.wait();
        assert_eq!(first.join().unwrap().unwrap(), 1);
    });
    unused(&store, 1);
}

/// Pays what it is asked to pay, every time it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Bank {
    payments: BTreeMap<String, u64>,
}

fn pay_all(store: &Store, bank: &mut Outside<'_, Bank>) -> Result<()> {
    for key in ["p-1", "p-2", "p-3"] {
        let bank = std::cell::RefCell::new(&mut *bank);
        let receipt = store.once(
            "pay",
            key,
            &("Ada", key),
            || {
                bank.borrow_mut().effect("pay", |bank| {
                    *bank.payments.entry(key.into()).or_default() += 1;
                });
                Sent::Confirmed(format!("receipt of {key}"))
            },
            |_| {
                if bank.borrow().world().payments.contains_key(key) {
                    Probe::Applied(format!("receipt of {key}"))
                } else {
                    Probe::NotApplied
                }
            },
        )?;
        assert_eq!(receipt, format!("receipt of {key}"));
    }
    Ok(())
}

/// Against: a kill at any flush, or around the call, by which it is made twice or never.
#[test]
fn no_kill_makes_a_call_twice_or_loses_it() {
    let crashes =
        crash_matrix(Bank::default(), pay_all).again(2).check(|_, bank| bank.clone()).unwrap();
    assert_eq!((crashes.effects, crashes.before_effect, crashes.after_effect), (3, 6, 6));
    // Opening and closing; a claim and its outcome for each.
    assert!(crashes.kills_at_flush >= 2 + 2 * 3, "{crashes}");
}

/// Against: a matrix that would not see a second call.
#[test]
fn the_matrix_finds_a_probe_that_says_too_early_that_nothing_was_applied() {
    let careless = |store: &Store, bank: &mut Outside<'_, Bank>| -> Result<()> {
        let call = || {
            bank.effect("pay", |bank| *bank.payments.entry("p".into()).or_default() += 1);
            Sent::Confirmed(())
        };
        store.once("pay", "p", "r", call, |_| Probe::NotApplied)
    };
    let failure = crash_matrix(Bank::default(), careless).check(|_, bank| bank.clone());
    assert!(failure.unwrap_err().to_string().contains("\"p\": 2"));
}

/// Against: a claim of `once` that `claim` does not know, or the other way round.
#[test]
fn once_and_claim_share_their_keys() {
    let store = Store::in_memory().unwrap();
    let Claimed::Fresh(claim) = store.claim::<u64>("pay", "p-1", &("Ada", 5u64)).unwrap() else {
        panic!()
    };
    claim.complete(&4).unwrap();
    unused(&store, 4);
}
