//! Doubt: it can always be settled, by scope and key alone, by a person or by a newer release.

use milepost::{
    AuditAction, Claimed, Doubt, ErrorKind, Key, Options, RequestMatch, Store, Timestamp,
};
use serde::Serialize;

use crate::support::{Counter, T0, clock, error, killed, kind, on_disk, second};

/// What one release of a program pays.
#[derive(Serialize)]
#[serde(rename = "Payment")]
struct Payment {
    account: &'static str,
    cents: u64,
}

/// The same in the next release.
#[derive(Serialize)]
#[serde(rename = "Payment")]
struct PaymentWithMemo {
    account: &'static str,
    cents: u64,
    memo: Option<&'static str>,
}

const ASKED: Payment = Payment { account: "a", cents: 5 };

#[track_caller]
fn doubt(claimed: Claimed<String>) -> Doubt<String> {
    match claimed {
        Claimed::InDoubt(doubt) => doubt,
        other => panic!("{other:?}"),
    }
}

/// A store that a release was killed over, in the call of a claim.
fn left_in_doubt() -> Store {
    let (disk, store) = on_disk(&Options::new().clock(clock()));
    let claim = store.claim::<String>("pay", "p-1", &ASKED).unwrap();
    let store = Options::new().clock(clock()).open_on(killed(&disk)).unwrap();
    drop(claim);
    store
}

/// Against: a claim that one release left in doubt, and that is a conflict for ever in the next, whose
/// request type has one more field: nobody could settle it, for the old type is gone.
#[test]
fn doubt_outlives_the_type_of_its_request() {
    let store = left_in_doubt();
    let claim = |request: &PaymentWithMemo| store.claim::<String>("pay", "p-1", request).unwrap();
    let same = PaymentWithMemo { account: "a", cents: 5, memo: None };
    assert_eq!(doubt(claim(&same)).request(), RequestMatch::ShapeDiffers);
    doubt(claim(&same)).confirm(&"paid".to_owned()).unwrap();
    let Claimed::OtherShape(outcome) = claim(&same) else { panic!("{:?}", claim(&same)) };
    assert_eq!(outcome, "paid");
    // The request as it was gets its answer, another one of that shape is a conflict.
    let old = |cents| store.claim::<String>("pay", "p-1", &Payment { cents, ..ASKED });
    assert!(matches!(old(5).unwrap(), Claimed::Done(_)));
    assert_eq!(kind(old(6)), ErrorKind::Conflict);
}

/// Against: an operator, or a tool, who knows scope and key alone, and is told of a conflict.
#[test]
fn doubt_is_listed_and_settled_by_scope_and_key_with_an_audit_row() {
    let store = left_in_doubt();
    drop(store.claim::<String>("pay", "p-2", &ASKED).unwrap());
    let doubts = store.doubts().unwrap();
    let known = Key::new("p-1").request(&ASKED).unwrap().fingerprint();
    assert_eq!(doubts.len(), 2);
    let first = &doubts[0];
    assert_eq!((first.scope.as_str(), &*first.key), ("pay", b"p-1".as_slice()));
    assert_eq!((first.since, first.fingerprint), (T0, known));
    assert!(first.epoch < store.epoch() && !first.why.is_empty());
    let recovery = store.recovery().unwrap().claims_in_doubt;
    assert_eq!(recovery.len(), 2);
    assert_eq!(recovery[0], (first.scope.clone(), first.key.clone()));

    let paid = store.doubt::<String>("pay", "p-1").unwrap();
    assert_eq!((paid.request(), paid.fingerprint()), (RequestMatch::Unknown, known));
    assert_eq!((paid.since(), paid.why()), (T0, &*first.why));
    paid.confirm_with_note(&"paid".to_owned(), "Ada saw it at the bank").unwrap();
    let unpaid = store.doubt::<String>("pay", "p-2").unwrap();
    unpaid.release_with_note("Ada: no such payment").unwrap();

    assert!(store.doubts().unwrap().is_empty() && store.recovery().unwrap().is_settled());
    let audit = store.intents().audit(10).unwrap();
    let rows: Vec<_> = audit
        .iter()
        .map(|row| (row.action, row.claim.as_ref().unwrap().1.as_slice(), row.note.as_str()))
        .collect();
    assert_eq!(
        rows,
        [
            (AuditAction::Confirm, b"p-1".as_slice(), "Ada saw it at the bank"),
            (AuditAction::Release, b"p-2".as_slice(), "Ada: no such payment"),
        ]
    );
    assert!(audit.iter().all(|row| row.intent.is_none() && row.at == T0));
    assert!(matches!(store.claim::<String>("pay", "p-1", &ASKED).unwrap(), Claimed::Done(_)));
    assert!(matches!(store.claim::<String>("pay", "p-2", &ASKED).unwrap(), Claimed::Fresh(_)));
}

/// Against: a doubt that turns into a conflict, whatever it is asked with.
#[test]
fn what_is_in_doubt_is_never_a_conflict() {
    let store = left_in_doubt();
    let other = Payment { account: "b", cents: 5 };
    let ask = |request: &dyn erased::Request| doubt(request.claim(&store)).request();
    assert_eq!(ask(&ASKED), RequestMatch::Same);
    assert_eq!(ask(&other), RequestMatch::Differs);
    assert_eq!(ask(&()), RequestMatch::ShapeDiffers);
    assert_eq!(ask(&"?"), RequestMatch::ShapeDiffers);
    // Held, it is in flight, for each request.
    let held = doubt(store.claim("pay", "p-1", &ASKED).unwrap());
    assert!(matches!(
        store.claim::<String>("pay", "p-1", &other).unwrap(),
        Claimed::InFlight { .. }
    ));
    // Said again, with a reason, it is still no conflict.
    drop(held);
    assert_eq!(ask(&other), RequestMatch::Differs);
    doubt(store.claim("pay", "p-1", &other).unwrap()).release().unwrap();
    assert!(matches!(store.claim::<String>("pay", "p-1", &other).unwrap(), Claimed::Fresh(_)));
}

mod erased {
    use milepost::{Claimed, Store};
    use serde::Serialize;

    /// A request of whichever type.
    pub trait Request {
        fn claim(&self, store: &Store) -> Claimed<String>;
    }

    impl<T: Serialize> Request for T {
        fn claim(&self, store: &Store) -> Claimed<String> {
            store.claim("pay", "p-1", self).unwrap()
        }
    }
}

/// Against: a doubt that is handed to two, made up for a key that has none, or decided in silence.
#[test]
fn a_doubt_that_is_not_there_is_refused_with_its_reason() {
    let store = left_in_doubt();
    let ask = |key: &str| store.doubt::<String>("pay", key);
    assert_eq!(kind(ask("p-2")), ErrorKind::NotFound);
    assert_eq!(kind(store.doubt::<String>("other", "p-1")), ErrorKind::NotFound);
    assert_eq!(kind(ask("")), ErrorKind::Invalid);
    assert_eq!(kind(store.doubt::<String>("", "p-1")), ErrorKind::Invalid);
    let held = ask("p-1").unwrap();
    assert_eq!(kind(ask("p-1")), ErrorKind::Conflict);
    assert!(store.doubts().unwrap().is_empty(), "it is being looked into");
    assert_eq!(kind(held.release_with_note(" ")), ErrorKind::Invalid);
    assert_eq!(kind(ask("p-1").unwrap().confirm_with_note(&String::new(), "")), ErrorKind::Invalid);
    assert!(store.intents().audit(1).unwrap().is_empty());
    ask("p-1").unwrap().confirm(&"paid".into()).unwrap();
    let settled = error(ask("p-1"));
    assert_eq!(settled.kind(), ErrorKind::Conflict);
    assert!(settled.to_string().contains("settled"), "{settled}");
}

/// Against: an audit row without its decision, or a decision without its audit row.
#[test]
fn a_decision_and_its_audit_row_are_one_commit() {
    let limits = milepost::Limits { value_bytes: 100, ..milepost::Limits::default() };
    let (disk, store) = on_disk(&Options::new().limits(limits));
    drop(store.claim::<String>("pay", "p-1", &ASKED).unwrap());
    let ask = |store: &Store| store.doubt::<String>("pay", "p-1").unwrap();
    let refused = ask(&store).confirm_with_note(&"x".repeat(200), "Ada");
    assert_eq!(kind(refused), ErrorKind::LimitExceeded);
    assert!(store.intents().audit(1).unwrap().is_empty());
    ask(&store).confirm_with_note(&"paid".into(), "Ada").unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(store.intents().audit(9).unwrap().len(), 1);
    assert!(matches!(store.claim::<String>("pay", "p-1", &ASKED).unwrap(), Claimed::Done(_)));
}

/// Against: the same for the key of a step: a repeat by a newer release is called another request.
#[test]
fn a_step_tells_a_request_of_another_shape_from_another_request() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || Key::new("k");
    let mut step = |key: Key| run.step(key, 1, |_| Ok(()));
    step(key().request(&ASKED).unwrap()).unwrap();
    let other = Payment { account: "b", cents: 5 };
    assert_eq!(kind(step(key().request(&other).unwrap())), ErrorKind::Conflict);
    let newer = PaymentWithMemo { account: "a", cents: 5, memo: None };
    assert_eq!(kind(step(key().request(&newer).unwrap())), ErrorKind::SchemaMismatch);
    assert!(!step(key()).unwrap().is_fresh(), "without a request it is a repeat");
}

/// Against: `{"qty": -1}` that gets the stored answer of `{"qty": 1}`: sold where it was bought, in
/// the books alone.
#[test]
fn two_json_requests_that_differ_are_never_one() {
    let store = Store::in_memory().unwrap();
    let pairs = [
        (serde_json::json!({"qty": 1}), serde_json::json!({"qty": -1})),
        (serde_json::json!({"qty": 99}), serde_json::json!({"qty": -50})),
        (serde_json::json!([]), serde_json::json!({})),
        (serde_json::json!([1, [2]]), serde_json::json!([[1], 2])),
        (serde_json::json!(null), serde_json::json!(false)),
        (serde_json::json!("1"), serde_json::json!(1)),
        (serde_json::json!(1), serde_json::json!(1.0)),
    ];
    for (nth, (one, other)) in pairs.iter().enumerate() {
        let claim = |request| store.claim::<String>("api", nth.to_string(), request);
        let Ok(Claimed::Fresh(claimed)) = claim(one) else { panic!("{one}") };
        claimed.complete(&one.to_string()).unwrap();
        assert_eq!(kind(claim(other)), ErrorKind::Conflict, "{other} is taken for {one}");
        assert!(matches!(claim(one), Ok(Claimed::Done(_))), "{one}");
    }
    // Another order of the entries is no other request.
    let (one, other) = (r#"{"a": 1, "b": [2]}"#, r#"{"b": [2], "a": 1}"#);
    let of =
        |text| Key::new("k").request(&serde_json::from_str::<serde_json::Value>(text).unwrap());
    assert_eq!(of(one).unwrap().fingerprint(), of(other).unwrap().fingerprint());
}

fn complete(claimed: Claimed<u64>) {
    let Claimed::Fresh(claim) = claimed else { panic!("{claimed:?}") };
    claim.complete(&7).unwrap();
}

/// Against: a request that is given twice, of which the store takes one without a word.
#[test]
fn a_request_that_is_given_twice_has_to_be_the_same_twice() {
    let store = Store::in_memory().unwrap();
    let claim = |key: Key, request: &str| store.claim::<u64>("s", key, request);
    let both = |in_key: &str| Key::new("both").request(in_key).unwrap();
    assert_eq!(kind(claim(both("A"), "B")), ErrorKind::Invalid);
    assert!(store.recovery().unwrap().is_settled(), "nothing was written");
    complete(claim(both("B"), "B").unwrap());
    assert!(matches!(claim(Key::new("both"), "B").unwrap(), Claimed::Done(7)));
    assert_eq!(kind(claim(Key::new("both"), "X")), ErrorKind::Conflict);
    assert_eq!(kind(claim(both("X"), "B")), ErrorKind::Invalid);
    assert_eq!(kind(store.submit_claim::<u64>("s", both("X"), "B")), ErrorKind::Invalid);
}

/// Against: a field that was widened by a release, and makes each repeat another request.
#[test]
fn the_width_of_an_integer_is_no_part_of_a_request() {
    let store = Store::in_memory().unwrap();
    complete(store.claim("pay", "p", &(100u32, "EUR")).unwrap());
    let again = |claimed: milepost::Result<Claimed<u64>>| claimed.unwrap();
    assert!(matches!(again(store.claim("pay", "p", &(100u64, "EUR"))), Claimed::Done(7)));
    assert!(matches!(again(store.claim("pay", "p", &(100i64, "EUR"))), Claimed::Done(7)));
    let other = store.claim::<u64>("pay", "p", &(-100i64, "EUR"));
    assert_eq!(kind(other), ErrorKind::Conflict);
    assert!(matches!(again(store.claim("pay", "p", &(100.0, "EUR"))), Claimed::OtherShape(7)));
}

/// Against: a claim that is free again because its `Pending` was dropped: a caller may have read it.
#[test]
fn a_pending_claim_that_is_dropped_is_in_doubt() {
    let store = Store::in_memory().unwrap();
    for flushes in [true, false] {
        let key = format!("dropped-{flushes}");
        drop(store.submit_claim::<u64>("s", key.as_str(), "r").unwrap());
        if flushes {
            store.flush().unwrap();
        }
        let again = store.claim::<u64>("s", key.as_str(), "r").unwrap();
        let Claimed::InDoubt(doubt) = again else { panic!("{again:?}") };
        doubt.release().unwrap();
    }
    assert!(store.recovery().unwrap().is_settled());
}

/// Against: a claim or a doubt that was leaked, and is handed out a second time while the first may
/// still be at work; and one that stays out of reach after that.
#[test]
fn a_claim_or_a_doubt_that_is_leaked_is_in_flight_until_the_store_is_opened_again() {
    let (disk, store) = on_disk(&Options::new());
    let ask = |store: &Store| store.claim::<u64>("s", "leaked", "r").unwrap();
    std::mem::forget(ask(&store));
    assert!(matches!(ask(&store), Claimed::InFlight { .. }));
    assert!(store.doubts().unwrap().is_empty());
    assert_eq!(kind(store.doubt::<u64>("s", "leaked")), ErrorKind::Conflict);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    std::mem::forget(ask(&store));
    assert!(matches!(ask(&store), Claimed::InFlight { .. }));
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert!(matches!(ask(&store), Claimed::InDoubt(_)));
}

/// Against: two who both look into one doubt, and settle it twice.
#[test]
fn of_two_who_ask_for_a_doubt_the_second_waits_for_the_first() {
    let store = Store::in_memory().unwrap();
    let ask = || store.claim::<u64>("s", "twice", "r").unwrap();
    drop(ask());
    let first = ask();
    assert!(matches!(first, Claimed::InDoubt(_)));
    let second = ask();
    assert!(matches!(second, Claimed::InFlight { .. }));
    drop((first, second));
    assert!(matches!(ask(), Claimed::InDoubt(_)));
}

/// Against: a key that protects nothing: it was forgotten in the moment in which it was settled, and
/// its call made again.
#[test]
fn a_key_lives_as_long_as_it_says_and_none_may_live_no_time() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let key = |ttl: std::time::Duration| Key::new(format!("{ttl:?}")).expires_after(ttl);
    let claim = |ttl| store.claim::<u64>("ttl", key(ttl), "r");
    let (none, short, max) = (second(0), second(1) / 1000, std::time::Duration::MAX);
    for ttl in [none, std::time::Duration::from_nanos(999_999)] {
        assert_eq!(kind(claim(ttl)), ErrorKind::Invalid);
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(kind(run.step(key(ttl), 1, |_| Ok(()))), ErrorKind::Invalid);
    }
    for ttl in [short, max] {
        complete(claim(ttl).unwrap());
        assert!(matches!(claim(ttl).unwrap(), Claimed::Done(7)), "{ttl:?}");
    }
    clock.advance(second(1));
    assert!(matches!(claim(max).unwrap(), Claimed::Done(7)));
    let Claimed::Fresh(again) = claim(short).unwrap() else { panic!("a key that is over is new") };
    again.release().unwrap();
    // What is in doubt does not expire.
    drop(claim(short).unwrap());
    clock.advance(second(60));
    assert!(matches!(claim(short).unwrap(), Claimed::InDoubt(_)));
}

/// Against: a key that may have been forgotten and is taken for a new one, though it said when it was
/// asked for.
#[test]
fn a_key_that_may_have_been_forgotten_is_beyond_the_horizon() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let expiring = |name: &str| Key::new(name).expires_after(second(10));
    let claim = |key: Key| store.claim::<u64>("h", key, "r");
    complete(claim(expiring("seen").issued_at(T0)).unwrap());
    clock.advance(second(60));
    let later = |seconds: u64| Timestamp::from_ms(T0.as_ms() + seconds * 1000);
    let refused = |key| kind(claim(key)) == ErrorKind::BeyondHorizon;
    let fresh = |key| matches!(claim(key), Ok(Claimed::Fresh(_)));
    assert!(refused(expiring("seen").issued_at(T0)));
    assert!(refused(expiring("never seen").issued_at(T0)), "that cannot be known");
    assert!(fresh(Key::new("without a life").issued_at(T0)), "it is never forgotten");
    assert!(fresh(expiring("in the future").issued_at(later(99_999))));
    assert!(fresh(expiring("seen")), "a key that does not say when it was asked for");
}

/// Against: names that are cut, mixed up, or refused for what they are.
#[test]
fn scopes_and_keys_are_bytes_within_limits_and_anything_else_is_refused() {
    let store = Store::in_memory().unwrap();
    let claim = |scope: &str, key: Vec<u8>| store.claim::<u64>(scope, key, "r");
    let key = |len| vec![b'k'; len];
    for scope in ["", "a\0b", "a\nb", &"x".repeat(201)] {
        assert_eq!(kind(claim(scope, key(1))), ErrorKind::Invalid, "{scope:?}");
    }
    assert_eq!(kind(claim("s", key(0))), ErrorKind::Invalid);
    assert_eq!(kind(claim("s", key(1025))), ErrorKind::LimitExceeded);
    assert!(store.recovery().unwrap().is_settled(), "nothing was written");
    drop(claim(&"x".repeat(200), key(1024)).unwrap());
    drop(claim("s", vec![0xff, 0, 0xfe]).unwrap());
    let doubts = store.doubts().unwrap();
    let found: Vec<_> =
        doubts.iter().map(|doubt| (doubt.scope.as_str().len(), &*doubt.key)).collect();
    assert_eq!(found, [(1, [0xff, 0, 0xfe].as_slice()), (200, &*key(1024))]);
    drop(store.doubt::<u64>("s", [0xff, 0, 0xfe]).unwrap());
}
