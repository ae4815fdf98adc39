//! The claim: a call outside, made at most once on its own.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier, Mutex};

use milepost::testing::SimDisk;
use milepost::{Claim, Claimed, Doubt, ErrorKind, Key, Options, Store};

use serde::{Deserialize, Serialize};

use crate::support::{clock, error, killed, kind, on_disk, second};

fn ask(store: &Store, key: &str) -> Claimed<u64> {
    store.claim("orders", key, &("BTC", 1u8)).unwrap()
}

fn fresh(store: &Store, key: &str) -> Claim<u64> {
    match ask(store, key) {
        Claimed::Fresh(claim) => claim,
        other => panic!("{other:?}"),
    }
}

fn doubt(store: &Store, key: &str) -> Doubt<u64> {
    match ask(store, key) {
        Claimed::InDoubt(doubt) => doubt,
        other => panic!("{other:?}"),
    }
}

/// Against: a call made twice because its answer was not kept.
#[test]
fn a_completed_claim_gives_its_outcome_for_ever() {
    let (disk, store) = on_disk(&Options::new());
    fresh(&store, "k").complete(&42).unwrap();
    assert!(matches!(ask(&store, "k"), Claimed::Done(42)));
    for disk in [killed(&disk), killed(&disk)] {
        let store = Options::new().open_on(disk).unwrap();
        assert!(matches!(ask(&store, "k"), Claimed::Done(42)));
        assert!(store.recovery().unwrap().is_settled());
    }
    assert_eq!(
        kind(store.claim::<String>("orders", "k", &("BTC", 1u8))),
        ErrorKind::SchemaMismatch
    );
}

/// Against: a claim that is not on disk when its holder makes the call.
#[test]
fn a_claim_is_durable_before_its_holder_may_go_ahead() {
    let (disk, store) = on_disk(&Options::new());
    let claim = fresh(&store, "k");
    let after_crash = Options::new().open_on(killed(&disk)).unwrap();
    drop(doubt(&after_crash, "k"));
    let recovery = after_crash.recovery().unwrap();
    assert_eq!(recovery.claims_in_doubt.len(), 1);
    let (scope, key) = &recovery.claims_in_doubt[0];
    assert_eq!((scope.as_str(), key.as_slice()), ("orders", b"k".as_slice()));
    claim.complete(&1).unwrap();
}

/// Against: a person sent to find out about a call whose answer was handed in, and is only not durable
/// yet. Whoever submits an answer lets go of the claim before that; `recovery` read what was durable,
/// found an open claim that nobody held, and called it in doubt.
#[test]
fn a_claim_whose_answer_is_on_its_way_to_the_disk_is_not_in_doubt() {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let (answered, dropped) = (fresh(&store, "answered"), fresh(&store, "dropped"));
    drop(dropped);
    disk.hold_syncs();
    let pending = answered.submit_complete(&7).unwrap();
    assert!(disk.wait_for_held_sync());
    let in_doubt = store.recovery().unwrap().claims_in_doubt;
    disk.release_syncs();
    assert_eq!(in_doubt.len(), 1, "{in_doubt:?}");
    assert_eq!(in_doubt[0].1, b"dropped");
    pending.wait().unwrap();
    assert_eq!(store.recovery().unwrap().claims_in_doubt, in_doubt);
    assert!(matches!(ask(&store, "answered"), Claimed::Done(7)));
}

/// Against: a key that is free again because its holder went away.
#[test]
fn a_claim_that_is_dropped_is_in_doubt_and_not_free() {
    let (disk, store) = on_disk(&Options::new());
    drop(fresh(&store, "dropped"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _claim = fresh(&store, "panicked");
        panic!("the call");
    }));
    assert!(panicked.is_err());
    assert_eq!(store.recovery().unwrap().claims_in_doubt.len(), 2);
    for store in [&store, &Options::new().open_on(killed(&disk)).unwrap()] {
        for key in ["dropped", "panicked"] {
            let doubt = doubt(store, key);
            assert!(!doubt.why().is_empty());
            // While somebody looks into it, nobody else may.
            assert!(matches!(ask(store, key), Claimed::InFlight { .. }));
            drop(doubt);
            drop(self::doubt(store, key)); // and looking alone settles nothing
        }
    }
}

/// Against: two callers that both hold the right to make the call.
#[test]
fn a_claim_that_is_held_is_in_flight_for_everybody_else() {
    let store = Store::in_memory().unwrap();
    let claim = fresh(&store, "k");
    match ask(&store.clone(), "k") {
        Claimed::InFlight { epoch } => assert_eq!(epoch, store.epoch()),
        other => panic!("{other:?}"),
    }
    assert!(store.recovery().unwrap().claims_in_doubt.is_empty(), "it is being worked on");
    claim.complete(&1).unwrap();
    assert!(matches!(ask(&store, "k"), Claimed::Done(1)));
}

/// Against: a call that was certainly not made, and blocks its key all the same.
#[test]
fn a_released_claim_is_free_again() {
    let (disk, store) = on_disk(&Options::new());
    fresh(&store, "k").release().unwrap();
    let after_crash = Options::new().open_on(killed(&disk)).unwrap();
    drop(fresh(&after_crash, "k"));
    // Free for another request too: nothing is known of the first.
    let other = store.claim::<u64>("orders", "k", &"another").unwrap();
    assert!(matches!(other, Claimed::Fresh(_)));
}

/// Against: the reason for a doubt, lost before a person reads it.
#[test]
fn doubt_is_kept_with_its_reason_until_it_is_settled() {
    let (disk, store) = on_disk(&Options::new());
    fresh(&store, "yes").doubt("timeout after 5 s").unwrap();
    fresh(&store, "no").doubt("connection lost").unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(doubt(&store, "yes").why(), "timeout after 5 s");
    doubt(&store, "yes").confirm(&7).unwrap();
    assert!(matches!(ask(&store, "yes"), Claimed::Done(7)));
    doubt(&store, "no").release().unwrap();
    drop(fresh(&store, "no"));
    assert_eq!(store.recovery().unwrap().claims_in_doubt.len(), 1);
}

/// Against: another request under the key that gets the answer of the first, or a call of its own.
#[test]
fn another_request_under_the_key_is_a_conflict_once_it_is_settled_and_never_fresh() {
    let store = Store::in_memory().unwrap();
    let other = |key: &str| store.claim::<u64>("orders", key, &("BTC", 2u8));
    let held = fresh(&store, "held");
    drop(fresh(&store, "dropped"));
    fresh(&store, "done").complete(&1).unwrap();
    assert_eq!(kind(other("done")), ErrorKind::Conflict);
    assert!(matches!(other("held"), Ok(Claimed::InFlight { .. })));
    assert!(matches!(other("dropped"), Ok(Claimed::InDoubt(_))), "what is in doubt is no conflict");
    held.complete(&1).unwrap();
    // Asking took nothing and changed nothing.
    drop(doubt(&store, "dropped"));
}

/// A price that reads every number but 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
struct Price(u64);

impl From<Price> for u64 {
    fn from(price: Price) -> Self {
        price.0
    }
}

impl TryFrom<u64> for Price {
    type Error = &'static str;

    fn try_from(n: u64) -> Result<Self, &'static str> {
        if n > 0 { Ok(Self(n)) } else { Err("a price is above 0") }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fill {
    qty: u64,
    price: Price,
}

const fn fill(price: u64) -> Fill {
    Fill { qty: 3, price: Price(price) }
}

/// Against: a payment that was made, and is in doubt because one field of the answer cannot be stored:
/// whoever made it knows what became of it, and can say so in other words.
#[test]
fn an_outcome_whose_value_cannot_be_stored_is_named_and_leaves_the_claim_open() {
    type Try = fn(&Claim<Fill>, &Fill) -> milepost::Result<()>;
    let ways: [Try; 2] = [Claim::complete, |claim, fill| claim.submit_complete(fill)?.wait()];
    for complete in ways {
        let store = Store::in_memory().unwrap();
        let claimed = || store.claim::<Fill>("s", "k", &1).unwrap();
        let Claimed::Fresh(claim) = claimed() else { panic!() };
        for _ in 0..2 {
            let refused = error(complete(&claim, &fill(0)));
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let said = refused.to_string();
            assert!(said.contains("`price`: a price is above 0"), "{said}");
            assert!(said.contains("Nothing was written"), "{said}");
        }
        assert!(matches!(claimed(), Claimed::InFlight { .. }), "it is open");
        assert!(store.doubts().unwrap().is_empty(), "it is not in doubt");
        complete(&claim, &fill(5)).unwrap();
        // Settled, whether its holder is there or not.
        assert!(matches!(claimed(), Claimed::Done(done) if done == fill(5)));
        assert_eq!(kind(complete(&claim, &fill(6))), ErrorKind::Conflict);
        assert_eq!(kind(claim.release()), ErrorKind::Conflict);
        assert!(matches!(claimed(), Claimed::Done(done) if done == fill(5)));
    }
}

/// Against: a claim that was completed, whose holder keeps it until the key has expired and is claimed by
/// another one: it neither keeps the key nor settles what is not its own.
#[test]
fn a_claim_that_was_completed_has_no_power_over_the_next_one_of_its_key() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let claimed = || {
        let key = Key::new("k").expires_after(second(10));
        let Claimed::Fresh(claim) = store.claim::<u64>("s", key, &1).unwrap() else { panic!() };
        claim
    };
    let old = [claimed()];
    old[0].complete(&7).unwrap();
    clock.advance(second(60));
    drop(store.claim::<u64>("s", "other", &1).unwrap());
    let new = claimed();
    assert_eq!(kind(old[0].complete(&8)), ErrorKind::Conflict);
    for old in old {
        assert_eq!(kind(old.release()), ErrorKind::Conflict);
    }
    new.complete(&9).unwrap();
    assert!(matches!(store.claim::<u64>("s", "k", &1).unwrap(), Claimed::Done(9)));
}

/// Against: the same of a doubt, whose holder has found out what became of the call.
#[test]
fn a_doubt_that_is_confirmed_with_a_value_that_cannot_be_stored_is_as_it_was() {
    let store = Store::in_memory().unwrap();
    drop(store.claim::<Fill>("s", "k", &1).unwrap());
    for _ in 0..2 {
        let refused = error(store.doubt::<Fill>("s", "k").unwrap().confirm(&fill(0)));
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("`price`"), "{refused}");
        let noted = store.doubt::<Fill>("s", "k").unwrap().confirm_with_note(&fill(0), "Ada");
        assert_eq!(kind(noted), ErrorKind::Invalid);
        assert_eq!(store.doubts().unwrap().len(), 1);
    }
    store.doubt::<Fill>("s", "k").unwrap().confirm(&fill(5)).unwrap();
    let Claimed::Done(done) = store.claim::<Fill>("s", "k", &1).unwrap() else { panic!() };
    assert_eq!(done, fill(5));
}

/// Against: an answer that cannot be stored, after the call was made: it must not become "free".
#[test]
fn an_outcome_that_cannot_be_stored_leaves_the_claim_in_doubt() {
    let limits = milepost::Limits { value_bytes: 100, ..milepost::Limits::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    let Ok(Claimed::Fresh(claim)) = store.claim::<String>("s", "k", &1) else { panic!() };
    assert_eq!(kind(claim.complete(&"x".repeat(200))), ErrorKind::LimitExceeded);
    drop(claim);
    let again = store.claim::<String>("s", "k", &1).unwrap();
    let Claimed::InDoubt(doubt) = again else { panic!("{again:?}") };
    doubt.confirm(&"short".to_owned()).unwrap();
}

/// Against: keys of one scope found in another, or in a run.
#[test]
fn scopes_and_runs_do_not_share_keys() {
    let store = Store::in_memory().unwrap();
    let claim = |scope: &str, key: &str| store.claim::<u64>(scope, key, &1).unwrap();
    let Claimed::Fresh(first) = claim("ab", "c") else { panic!() };
    first.complete(&1).unwrap();
    assert!(matches!(claim("a", "bc"), Claimed::Fresh(_)));
    assert!(matches!(claim("abc", "c"), Claimed::Fresh(_)));
    let mut run = store.run::<crate::support::Counter>("ab").unwrap();
    assert!(run.step("c", 1, |_| Ok(5u64)).unwrap().is_fresh());
    assert!(matches!(claim("ab", "c"), Claimed::Done(1)));
}

/// Against: two threads that both get the right to make one call.
#[test]
fn of_two_threads_that_ask_at_once_exactly_one_is_fresh() {
    let store = Store::in_memory().unwrap();
    for round in 0..200 {
        let key = format!("k{round}");
        let start = Barrier::new(2);
        let claim = || {
            start.wait();
            ask(&store, &key)
        };
        let (one, two) = std::thread::scope(|scope| {
            let (one, two) = (scope.spawn(claim), scope.spawn(claim));
            (one.join().unwrap(), two.join().unwrap())
        });
        // Both results are held until here: the other must see it in flight.
        match (one, two) {
            (Claimed::Fresh(claim), Claimed::InFlight { .. })
            | (Claimed::InFlight { .. }, Claimed::Fresh(claim)) => claim.complete(&round).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

/// Against: the same with many threads and many keys, some of them dropped or released: a call is
/// made again only after a release, and an answer once given is the answer for all.
#[test]
fn sixteen_threads_over_many_keys_make_every_call_once() {
    const KEYS: u64 = 40;
    let (disk, store) = on_disk(&Options::new());
    let calls = Mutex::new(BTreeMap::<u64, u64>::new());
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (store, calls) = (&store, &calls);
            scope.spawn(move || {
                for turn in 0..KEYS {
                    let n = (turn * 7 + thread * 3) % KEYS;
                    match ask(store, &n.to_string()) {
                        Claimed::Fresh(claim) if (thread + turn) % 5 == 0 => {
                            claim.release().unwrap();
                        }
                        Claimed::Fresh(claim) => {
                            *calls.lock().unwrap().entry(n).or_default() += 1;
                            if !n.is_multiple_of(4) {
                                claim.complete(&(n * 10)).unwrap();
                            }
                        }
                        Claimed::Done(outcome) => assert_eq!(outcome, n * 10),
                        Claimed::InFlight { .. } => {}
                        Claimed::InDoubt(doubt) => {
                            assert_eq!(n % 4, 0, "dropped were every fourth alone");
                            assert!(calls.lock().unwrap().contains_key(&n));
                            drop(doubt);
                        }
                        other @ Claimed::OtherShape(_) => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    let calls = calls.into_inner().unwrap();
    assert!(calls.values().all(|made| *made == 1), "{calls:?}");
    let store = Options::new().open_on(killed(&disk)).unwrap();
    for (n, _) in calls {
        match ask(&store, &n.to_string()) {
            Claimed::Done(outcome) => assert_eq!(outcome, n * 10),
            Claimed::InDoubt(_) => assert_eq!(n % 4, 0),
            other => panic!("{n}: {other:?}"),
        }
    }
}
