//! The relay: every effect once, and nothing sent out of doubt before somebody has found out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use milepost::testing::{SimDisk, import_savepoint_bytes, savepoint_bytes};
use milepost::{
    AuditAction, Delivery, DeliveryReport, Disk, Endpoint, ErrorKind, IntentId, IntentState,
    Labels, Limits, OnUnknown, Options, Probe, Result, SavepointOptions, Sent, SettledBy, Store,
    Topic,
};

use crate::support::{Counter, ORDERS, count, error, key_of, killed, kind, on_disk, open_bytes};

const ORDERS_2: Topic<u64, u64> = Topic::new("orders2");
const ORDER_TOPIC: Topic<u64, u64> = Topic::new("order");
const TEXTS: Topic<String, String> = Topic::new("orders");
const MAILS: Topic<u64, u64> = Topic::new("mails");

/// A receiver that does what it is told, and notes what it was asked.
#[derive(Default)]
struct Exchange {
    /// What the next calls come to; confirmed when there is nothing left.
    replies: VecDeque<Reply>,
    /// What the next probes say; unknown when there is nothing left.
    probes: VecDeque<Probe<u64>>,
    sent: Vec<(String, u64, u32)>,
    probed: Vec<String>,
}

enum Reply {
    Says(Sent<u64>),
    Panics,
}

impl Exchange {
    fn replying(replies: impl IntoIterator<Item = Sent<u64>>) -> Self {
        Self { replies: replies.into_iter().map(Reply::Says).collect(), ..Self::default() }
    }

    fn knowing(probes: impl IntoIterator<Item = Probe<u64>>) -> Self {
        Self { probes: probes.into_iter().collect(), ..Self::default() }
    }
}

impl Endpoint<u64, u64> for Exchange {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        self.sent.push((delivery.external_id.to_string(), delivery.payload, delivery.attempt));
        match self.replies.pop_front() {
            None => Sent::Confirmed(delivery.payload * 10),
            Some(Reply::Says(sent)) => sent,
            Some(Reply::Panics) => panic!("the receiver"),
        }
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        self.probed.push(delivery.external_id.to_string());
        self.probes.pop_front().unwrap_or(Probe::Unknown)
    }
}

/// Emits these in one step.
fn emit(store: &Store, orders: &[u64]) -> Vec<IntentId> {
    let mut run = store.run::<Counter>("run").unwrap();
    let n = run.steps();
    run.step(key_of(n), n, |tx| {
        orders.iter().map(|order| tx.emit(&ORDERS, order)).collect::<Result<Vec<_>>>()
    })
    .unwrap()
    .into_outcome()
}

fn deliver(store: &Store, to: &mut Exchange) -> DeliveryReport {
    store.relay(&ORDERS).deliver(to).unwrap()
}

fn state(store: &Store, id: &IntentId) -> IntentState<u64> {
    store.intent(&ORDERS, id).unwrap().unwrap().state
}

fn in_doubt(state: &IntentState<u64>) -> bool {
    matches!(state, IntentState::InDoubt { .. })
}

/// Against: an order sent with every pass of the relay.
#[test]
fn what_is_prepared_is_delivered_once_and_in_order() {
    let (disk, store) = on_disk(&Options::new());
    let mut ids = emit(&store, &[1, 2]);
    ids.extend(emit(&store, &[3]));
    let mut exchange = Exchange::default();
    let delivered = deliver(&store, &mut exchange);
    assert_eq!((delivered.confirmed, delivered.in_doubt, delivered.settled_by_probe), (3, 0, 0));
    let payloads: Vec<_> = exchange.sent.iter().map(|sent| (sent.1, sent.2)).collect();
    assert_eq!(payloads, [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(deliver(&store, &mut exchange), DeliveryReport::default());
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert_eq!(deliver(&store, &mut exchange), DeliveryReport::default());
    assert_eq!(exchange.sent.len(), 3);
    assert!(exchange.probed.is_empty());
    for (id, order) in ids.iter().zip(1..) {
        let by = SettledBy::Reply;
        assert_eq!(state(&store, id), IntentState::Confirmed { outcome: Some(order * 10), by });
    }
    assert!(store.intents().outstanding("orders", 9).unwrap().is_empty());
    assert_eq!(store.intents().settled("orders", 9).unwrap().len(), 3);
}

/// Against: more intents than the relay reads at a time.
#[test]
fn a_long_queue_is_delivered_whole() {
    let store = Store::in_memory().unwrap();
    emit(&store, &(0..150).collect::<Vec<_>>());
    let replies = (0..150u64).map(|n| match n % 3 {
        0 => Sent::Confirmed(n),
        1 => Sent::NotSent("offline".into()),
        _ => Sent::Ambiguous("timeout".into()),
    });
    let mut exchange = Exchange::replying(replies);
    let delivered = deliver(&store, &mut exchange);
    assert_eq!((delivered.confirmed, delivered.not_sent, delivered.in_doubt), (50, 50, 50));
    assert_eq!(exchange.sent.len(), 150, "each of them once in a pass");
    assert_eq!(store.intents().outstanding("orders", 999).unwrap().len(), 100);
}

/// Looks into the store as a power cut would leave it, while the call is being made.
struct Peeping {
    disk: Arc<SimDisk>,
    seen: Vec<(IntentState<u64>, bool)>,
}

impl Endpoint<u64, u64> for Peeping {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        let store = open_bytes(&self.disk.durable().to_vec()).unwrap();
        let doubted = store.recovery().unwrap().intents_in_doubt.contains(&delivery.id);
        self.seen.push((state(&store, &delivery.id), doubted));
        Sent::Confirmed(1)
    }
}

/// Against: a crash in the call that is later taken for "not sent yet".
#[test]
fn that_it_is_being_sent_is_durable_before_the_call() {
    let disk = Arc::new(SimDisk::default());
    let store = Options::new().create_on(disk.clone()).unwrap();
    emit(&store, &[1, 2, 3]);
    let mut peeping = Peeping { disk, seen: Vec::new() };
    store.relay(&ORDERS).deliver(&mut peeping).unwrap();
    assert_eq!(peeping.seen.len(), 3);
    for (state, doubted) in peeping.seen {
        assert!(in_doubt(&state) && doubted, "{state:?}");
    }
}

/// A store as a crash in the call leaves it: the effect was perhaps done.
fn crashed_in_the_call(order: u64) -> (Store, IntentId, String) {
    let disk = Arc::new(SimDisk::default());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let id = emit(&store, &[order]).remove(0);
    let external_id = store.intent(&ORDERS, &id).unwrap().unwrap().external_id.to_string();
    let bytes = RefCell::new(Vec::new());
    struct Crashing<'a>(&'a SimDisk, &'a RefCell<Vec<u8>>);
    impl Endpoint<u64, u64> for Crashing<'_> {
        fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
            *self.1.borrow_mut() = self.0.durable().to_vec();
            Sent::Confirmed(1)
        }
    }
    store.relay(&ORDERS).deliver(&mut Crashing(&disk, &bytes)).unwrap();
    (open_bytes(&bytes.into_inner()).unwrap(), id, external_id)
}

/// Against: an order that was filled before the crash, and is sent again after it.
#[test]
fn an_effect_in_doubt_is_asked_about_and_never_just_sent() {
    let (store, id, external_id) = crashed_in_the_call(5);
    assert!(in_doubt(&state(&store, &id)));
    assert_eq!(store.recovery().unwrap().intents_in_doubt, std::slice::from_ref(&id));

    // Nobody knows: it is held, however often it is asked about.
    let mut exchange = Exchange::default();
    for _ in 0..3 {
        let delivered = deliver(&store, &mut exchange);
        assert_eq!((delivered.in_doubt, delivered.settled_by_probe), (1, 0));
        assert!(in_doubt(&state(&store, &id)));
    }
    assert!(exchange.sent.is_empty());
    assert_eq!(exchange.probed, vec![external_id; 3]);

    // It was filled.
    let mut exchange = Exchange::knowing([Probe::Applied(77)]);
    let delivered = deliver(&store, &mut exchange);
    assert_eq!((delivered.confirmed, delivered.settled_by_probe), (1, 1));
    assert!(exchange.sent.is_empty());
    let by = SettledBy::Probe;
    assert_eq!(state(&store, &id), IntentState::Confirmed { outcome: Some(77), by });
    assert_eq!(store.intent(&ORDERS, &id).unwrap().unwrap().probed, 1);
    assert!(store.recovery().unwrap().is_settled());
}

/// Against: an order that never arrived, and is never sent again.
#[test]
fn an_effect_that_was_not_applied_is_sent_again_under_the_same_id() {
    let (store, id, external_id) = crashed_in_the_call(5);
    let mut exchange = Exchange::knowing([Probe::NotApplied]);
    let delivered = deliver(&store, &mut exchange);
    assert_eq!((delivered.confirmed, delivered.settled_by_probe), (1, 1));
    assert_eq!(exchange.sent, [(external_id, 5, 2)]);
    let intent = store.intent(&ORDERS, &id).unwrap().unwrap();
    assert_eq!((intent.attempts, intent.probed), (2, 1));
}

/// Against: a store that is set back while a probe is on its way, and sends what the answer sets free
/// before anybody has found out what else was sent.
#[test]
fn an_answer_that_comes_when_the_store_was_set_back_is_kept_and_nothing_is_sent() {
    /// Says that it was not done; meanwhile somebody puts an older state in the place of another run.
    struct SettingBack(Store, Vec<u8>);
    impl Endpoint<u64, u64> for SettingBack {
        fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
            panic!("sent before anybody has reconciled")
        }

        fn probe(&mut self, _: &Delivery<u64>) -> Probe<u64> {
            let done = import_savepoint_bytes(&self.0, &self.1, &SavepointOptions::new()).unwrap();
            assert!(done.must_reconcile);
            Probe::NotApplied
        }
    }
    let other = Store::in_memory().unwrap();
    count(&mut other.run::<Counter>("desk").unwrap(), 1).unwrap();
    let saved = other.checkpoints().save("desk", &Labels::new()).unwrap();
    let savepoint = savepoint_bytes(&other.checkpoints(), &saved, false).unwrap();

    let (store, id, external_id) = crashed_in_the_call(5);
    let mut receiver = SettingBack(store.clone(), savepoint);
    let refused = error(store.relay(&ORDERS).deliver(&mut receiver));
    assert_eq!(refused.kind(), ErrorKind::Unreconciled, "{refused}");
    let intent = store.intent(&ORDERS, &id).unwrap().unwrap();
    assert_eq!((intent.state, intent.attempts, intent.probed), (IntentState::Prepared, 1, 1));
    store.reconcile("anna: the desk has none of ours").unwrap();
    let mut exchange = Exchange::default();
    assert_eq!(deliver(&store, &mut exchange).confirmed, 1);
    assert_eq!(exchange.sent, [(external_id, 5, 2)]);
}

/// Against: a policy that is not the one that was chosen.
#[test]
fn what_the_receiver_does_not_know_is_treated_as_the_policy_says() {
    let pass = |policy| {
        let (store, id, _) = crashed_in_the_call(5);
        let mut exchange = Exchange::default();
        let relay = store.relay(&ORDERS).on_unknown(policy);
        let delivered = relay.deliver(&mut exchange).unwrap();
        assert_eq!(delivered.settled_by_probe, 0);
        (state(&store, &id), exchange.sent.len())
    };
    let (held, sent) = pass(OnUnknown::Hold);
    assert!(in_doubt(&held) && sent == 0);
    let by = SettledBy::Presumption;
    assert_eq!(pass(OnUnknown::PresumeApplied), (IntentState::Confirmed { outcome: None, by }, 0));
    let by = SettledBy::Reply;
    assert_eq!(
        pass(OnUnknown::PresumeNotApplied),
        (IntentState::Confirmed { outcome: Some(50), by }, 1)
    );
}

/// Against: a store that calls itself settled while one thing is open, of whatever kind.
#[test]
fn one_thing_left_open_is_enough_for_a_store_not_to_be_settled() {
    let is_settled = |store: &Store| store.recovery().unwrap().is_settled();
    let store = Store::in_memory().unwrap();
    assert!(is_settled(&store));
    emit(&store, &[1]);
    assert!(!is_settled(&store), "one is prepared");
    let relay = store.relay(&ORDERS);
    relay.deliver(&mut Exchange::replying([Sent::Ambiguous("timeout".into())])).unwrap();
    assert!(!is_settled(&store), "one is in doubt");
    relay.deliver(&mut Exchange::knowing([Probe::Applied(1)])).unwrap();
    assert!(is_settled(&store));
    drop(store.claim::<u64>("s", "k", &1).unwrap());
    assert!(!is_settled(&store), "a claim is in doubt");
}

/// Against: an answer taken for another one.
#[test]
fn each_answer_leads_where_it_should() {
    let (disk, store) = on_disk(&Options::new());
    let ids = emit(&store, &[1, 2, 3, 4]);
    let mut exchange = Exchange::replying([
        Sent::Confirmed(9),
        Sent::Rejected("no funds".into()),
        Sent::NotSent("offline".into()),
        Sent::Ambiguous("timeout".into()),
    ]);
    let delivered = deliver(&store, &mut exchange);
    assert_eq!(
        (delivered.confirmed, delivered.rejected, delivered.not_sent, delivered.in_doubt),
        (1, 1, 1, 1)
    );
    for store in [store, Options::new().open_on(killed(&disk)).unwrap()] {
        let by = SettledBy::Reply;
        assert_eq!(state(&store, &ids[0]), IntentState::Confirmed { outcome: Some(9), by });
        assert_eq!(state(&store, &ids[1]), IntentState::Rejected { why: "no funds".into(), by });
        assert_eq!(state(&store, &ids[2]), IntentState::Prepared);
        assert_eq!(state(&store, &ids[3]), IntentState::InDoubt { why: "timeout".into() });
        let recovery = store.recovery().unwrap();
        assert_eq!(recovery.intents_prepared, [ids[2].clone()]);
        assert_eq!(recovery.intents_in_doubt, [ids[3].clone()]);
        // What was not sent goes out with the next pass; what is in doubt is asked about.
        let mut exchange = Exchange::default();
        deliver(&store, &mut exchange);
        assert_eq!(exchange.sent.len(), 1);
        assert_eq!((exchange.sent[0].1, exchange.sent[0].2), (3, 2));
        assert_eq!(exchange.probed.len(), 1);
    }
}

/// Against: two effects under one id, or an id an exchange does not take.
#[test]
fn external_ids_are_the_same_for_every_attempt_and_never_twice() {
    let (disk, store) = on_disk(&Options::new());
    emit(&store, &(0..20).collect::<Vec<_>>());
    let replies = || (0..20).map(|_| Sent::NotSent("offline".into()));
    let mut seen = BTreeMap::<u64, BTreeSet<String>>::new();
    let mut pass = |store: &Store| {
        let mut exchange = Exchange::replying(replies());
        deliver(store, &mut exchange);
        for (id, order, _) in exchange.sent {
            assert!(!id.is_empty() && id.len() <= 36, "{id}");
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{id}");
            seen.entry(order).or_default().insert(id);
        }
    };
    pass(&store);
    pass(&store);
    pass(&Options::new().open_on(killed(&disk)).unwrap());
    assert!(seen.values().all(|ids| ids.len() == 1));
    let distinct: BTreeSet<_> = seen.values().flatten().cloned().collect();
    assert_eq!(distinct.len(), 20);
    // The first intent of another store has another id.
    let other = Store::in_memory().unwrap();
    let id = emit(&other, &[0]).remove(0);
    let intent = other.intent(&ORDERS, &id).unwrap().unwrap();
    assert!(!distinct.contains(intent.external_id.as_str()));
}

/// Against: a number given out again after a restart, and with it an id the receiver knows already.
#[test]
fn intents_of_later_openings_have_numbers_and_ids_of_their_own() {
    let (mut disk, store) = on_disk(&Options::new());
    drop(store);
    let (mut numbers, mut ids) = (Vec::new(), BTreeSet::new());
    for round in 0..6 {
        let store = Options::new().open_on(disk.clone()).unwrap();
        for id in emit(&store, &[round, round + 100]) {
            let intent = store.intent(&ORDERS, &id).unwrap().unwrap();
            numbers.push(id.sequence());
            ids.insert(intent.external_id.to_string());
        }
        if round % 2 == 0 {
            deliver(&store, &mut Exchange::default());
            disk = killed(&disk);
        }
    }
    assert!(numbers.is_sorted_by(|one, two| one < two), "{numbers:?}");
    assert_eq!(ids.len(), 12);
    let store = Options::new().open_on(disk).unwrap();
    let intents = store.intents();
    let all = intents.outstanding("orders", 99).unwrap().len()
        + intents.settled("orders", 99).unwrap().len();
    assert_eq!(all, 12);
}

/// Against: a person's decision that is not kept, or that nobody can find again.
#[test]
fn what_people_decide_is_done_and_written_down() {
    let (disk, store) = on_disk(&Options::new());
    let ids = emit(&store, &[1, 2, 3, 4, 5]);
    let doubts = (0..5).map(|_| Sent::Ambiguous("timeout".into()));
    deliver(&store, &mut Exchange::replying(doubts));
    let intents = store.intents();
    intents.confirm(&ids[0], Some(&11u64), "anna: seen on the exchange").unwrap();
    intents.confirm::<u64>(&ids[1], None, "anna: no answer kept").unwrap();
    intents.reject(&ids[2], "anna: never arrived, no longer wanted").unwrap();
    intents.resend(&ids[3], "anna: never arrived").unwrap();
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let by = SettledBy::Person;
    assert_eq!(state(&store, &ids[0]), IntentState::Confirmed { outcome: Some(11), by });
    assert_eq!(state(&store, &ids[1]), IntentState::Confirmed { outcome: None, by });
    assert!(
        matches!(state(&store, &ids[2]), IntentState::Rejected { by, .. } if by == SettledBy::Person)
    );
    assert_eq!(state(&store, &ids[3]), IntentState::Prepared);
    assert!(in_doubt(&state(&store, &ids[4])), "nobody said anything of it");

    let audit = store.intents().audit(99).unwrap();
    let decided: Vec<_> =
        audit.iter().map(|row| (row.intent.clone().unwrap(), row.action)).collect();
    use AuditAction::{Confirm, Reject, Resend};
    let expected: Vec<_> = ids.iter().cloned().zip([Confirm, Confirm, Reject, Resend]).collect();
    assert_eq!(decided, expected);
    assert_eq!(audit[3].note, "anna: never arrived");

    let mut exchange = Exchange::default();
    deliver(&store, &mut exchange);
    assert_eq!(exchange.sent.iter().map(|sent| sent.1).collect::<Vec<_>>(), [4]);
    assert_eq!(exchange.probed.len(), 1, "only what is still in doubt is asked about");
}

/// Against: a decision about something that is not in doubt, by which an order is lost or doubled.
#[test]
fn what_is_settled_or_was_never_sent_cannot_be_decided_otherwise() {
    let store = Store::in_memory().unwrap();
    let ids = emit(&store, &[1, 2]);
    let intents = store.intents();
    assert_eq!(kind(intents.confirm(&ids[0], Some(&1u64), "x")), ErrorKind::Conflict, "not sent");
    assert_eq!(kind(intents.resend(&ids[0], "x")), ErrorKind::Conflict, "not sent");
    intents.reject(&ids[0], "not wanted any more").unwrap();
    deliver(&store, &mut Exchange::default());
    for id in &ids {
        let before = state(&store, id);
        assert_eq!(kind(intents.confirm(id, Some(&2u64), "x")), ErrorKind::Conflict);
        assert_eq!(kind(intents.reject(id, "x")), ErrorKind::Conflict);
        assert_eq!(kind(intents.resend(id, "x")), ErrorKind::Conflict);
        assert_eq!(state(&store, id), before);
    }
    assert_eq!(intents.audit(99).unwrap().len(), 1, "refused decisions leave no row");
    let other = emit(&Store::in_memory().unwrap(), &[0, 1, 2]).pop().unwrap();
    assert_eq!(kind(intents.reject(&other, "x")), ErrorKind::NotFound);
    assert!(store.intent(&ORDERS, &other).unwrap().is_none());
}

/// Against: a person who decides about an order while it is on its way.
#[test]
fn what_is_being_sent_cannot_be_decided_by_a_person() {
    struct Deciding(Store, Vec<ErrorKind>);
    impl Endpoint<u64, u64> for Deciding {
        fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
            let intents = self.0.intents();
            self.1.push(kind(intents.confirm(&delivery.id, Some(&1u64), "x")));
            self.1.push(kind(intents.reject(&delivery.id, "x")));
            self.1.push(kind(intents.resend(&delivery.id, "x")));
            assert_eq!(state(&self.0, &delivery.id), IntentState::InFlight);
            assert!(self.0.recovery().unwrap().intents_in_doubt.is_empty());
            Sent::Confirmed(1)
        }
    }
    let store = Store::in_memory().unwrap();
    emit(&store, &[1]);
    let mut deciding = Deciding(store.clone(), Vec::new());
    store.relay(&ORDERS).deliver(&mut deciding).unwrap();
    assert_eq!(deciding.1, [ErrorKind::Conflict; 3]);
}

/// A store in which the receiver panicked in the call.
fn panicked_in_the_call() -> (Arc<milepost::MemoryDisk>, Store, IntentId) {
    let (disk, store) = on_disk(&Options::new());
    let id = emit(&store, &[5]).remove(0);
    let mut exchange = Exchange::default();
    exchange.replies.push_back(Reply::Panics);
    let panicked = catch_unwind(AssertUnwindSafe(|| deliver(&store, &mut exchange)));
    assert!(panicked.is_err());
    (disk, store, id)
}

/// Against: a receiver that panics in the call, and an order that is then sent again.
#[test]
fn a_receiver_that_panics_leaves_its_effect_in_doubt() {
    let (disk, store, id) = panicked_in_the_call();
    assert!(in_doubt(&state(&store, &id)));
    assert_eq!(store.recovery().unwrap().intents_in_doubt, std::slice::from_ref(&id));
    let mut exchange = Exchange::default();
    assert_eq!(deliver(&store, &mut exchange).in_doubt, 1);
    assert!(exchange.sent.is_empty());
    assert_eq!(exchange.probed.len(), 1);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    assert!(in_doubt(&state(&store, &id)));
    deliver(&store, &mut Exchange::knowing([Probe::Applied(1)]));
    assert!(matches!(state(&store, &id), IntentState::Confirmed { .. }));
}

/// Against: doubt of this process that only another process can settle.
#[test]
fn what_a_panic_left_in_doubt_is_settled_in_the_same_process_by_any_answer() {
    let (_, store, id) = panicked_in_the_call();
    deliver(&store, &mut Exchange::knowing([Probe::Applied(1)]));
    assert!(matches!(state(&store, &id), IntentState::Confirmed { outcome: Some(1), .. }));

    let (_, store, id) = panicked_in_the_call();
    store.intents().resend(&id, "anna").unwrap();
    assert_eq!(state(&store, &id), IntentState::Prepared);

    let (_, store, _) = panicked_in_the_call();
    let mut exchange = Exchange::default();
    let policy = store.relay(&ORDERS).on_unknown(OnUnknown::PresumeApplied);
    assert_eq!(policy.deliver(&mut exchange).unwrap().confirmed, 1);
}

/// Against: the same for the answer "it was not done", by which it is sent again.
#[test]
fn what_a_panic_left_in_doubt_and_was_not_applied_is_sent_again_in_the_same_process() {
    let (_, store, id) = panicked_in_the_call();
    let mut exchange = Exchange::knowing([Probe::NotApplied]);
    assert_eq!(deliver(&store, &mut exchange).confirmed, 1);
    assert_eq!(exchange.sent.len(), 1);
    assert!(matches!(state(&store, &id), IntentState::Confirmed { .. }));

    let (_, store, _) = panicked_in_the_call();
    let policy = store.relay(&ORDERS).on_unknown(OnUnknown::PresumeNotApplied);
    assert_eq!(policy.deliver(&mut Exchange::default()).unwrap().confirmed, 1);
}

/// Against: an answer that cannot be stored, after which the order is sent again.
#[test]
fn an_answer_that_cannot_be_stored_leaves_the_effect_in_doubt() {
    struct Talking(u32);
    impl Endpoint<u64, String> for Talking {
        fn call(&mut self, _: &Delivery<u64>) -> Sent<String> {
            self.0 += 1;
            Sent::Confirmed("x".repeat(200))
        }
    }
    let limits = Limits { value_bytes: 100, ..Limits::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    const TALKS: Topic<u64, String> = Topic::new("orders");
    let mut run = store.run::<Counter>("run").unwrap();
    let id = run.step("k", 1, |tx| tx.emit(&TALKS, &1)).unwrap().into_outcome();
    let mut talking = Talking(0);
    let relay = store.relay(&TALKS);
    let delivered = relay.deliver(&mut talking).unwrap();
    assert_eq!((delivered.set_aside, delivered.in_doubt), (1, 1));
    assert_eq!(delivered.problems[0].kind, ErrorKind::LimitExceeded);
    assert!(in_doubt(&state(&store, &id)));
    relay.deliver(&mut talking).unwrap();
    assert_eq!(talking.0, 1);
    store.intents().confirm::<String>(&id, None, "anna: filled").unwrap();
}

/// Against: an order and its answer, each within the limit and both together not, so that it is done and
/// can never be said to be.
#[test]
fn an_answer_as_long_as_a_value_may_be_fits_beside_a_payload_as_long() {
    struct Thorough;
    impl Endpoint<String, String> for Thorough {
        fn call(&mut self, delivery: &Delivery<String>) -> Sent<String> {
            Sent::Confirmed(delivery.payload.clone())
        }
    }
    let limits = Limits { value_bytes: 200_000, ..Limits::default() };
    let store = Options::new().limits(limits).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let order = "x".repeat(199_990);
    let id = run.step("k", 1, |tx| tx.emit(&TEXTS, &order)).unwrap().into_outcome();
    assert_eq!(store.relay(&TEXTS).deliver(&mut Thorough).unwrap().confirmed, 1);
    let intent = store.intent(&TEXTS, &id).unwrap().unwrap();
    let by = SettledBy::Reply;
    assert_eq!(intent.state, IntentState::Confirmed { outcome: Some(order), by });
}

/// Against: bytes of one type sent to a receiver of another.
#[test]
fn a_payload_of_another_type_is_a_mismatch_and_nothing_is_sent() {
    struct Texts(u32);
    impl Endpoint<(String, Vec<u64>), u64> for Texts {
        fn call(&mut self, _: &Delivery<(String, Vec<u64>)>) -> Sent<u64> {
            self.0 += 1;
            Sent::Confirmed(1)
        }
    }
    let store = Store::in_memory().unwrap();
    let id = emit(&store, &[300]).remove(0);
    let mut texts = Texts(0);
    let refused =
        error(store.relay(&Topic::<(String, Vec<u64>), u64>::new("orders")).deliver(&mut texts));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch);
    assert!(refused.to_string().contains("\"orders\""), "{refused}");
    assert_eq!(texts.0, 0);
    assert_eq!(state(&store, &id), IntentState::Prepared);
    assert_eq!(deliver(&store, &mut Exchange::default()).confirmed, 1);
}

/// Against: two passes over one topic, each of which sends everything.
#[test]
fn a_relay_inside_a_relay_of_the_same_topic_is_a_conflict() {
    struct Nested(Store, Vec<ErrorKind>, u64);
    impl Endpoint<u64, u64> for Nested {
        fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
            let mut inner = Exchange::default();
            self.1.push(kind(self.0.relay(&ORDERS).deliver(&mut inner)));
            assert!(inner.sent.is_empty());
            // Another topic is free, and so is a step that emits into this one.
            self.0.relay(&MAILS).deliver(&mut inner).unwrap();
            if delivery.payload < 3 {
                emit(&self.0, &[delivery.payload + 1]);
            }
            self.2 += 1;
            Sent::Confirmed(1)
        }
    }
    let store = Store::in_memory().unwrap();
    emit(&store, &[1]);
    let mut nested = Nested(store.clone(), Vec::new(), 0);
    let delivered = store.relay(&ORDERS).deliver(&mut nested).unwrap();
    assert_eq!(nested.1, vec![ErrorKind::Conflict; 3]);
    assert_eq!((delivered.confirmed, nested.2), (3, 3));
    assert_eq!(deliver(&store, &mut Exchange::default()), DeliveryReport::default());
}

/// Against: two threads that deliver the same topic.
#[test]
fn of_many_threads_that_deliver_one_topic_nothing_is_sent_twice() {
    let store = Store::in_memory().unwrap();
    emit(&store, &(0..60).collect::<Vec<_>>());
    let all = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut exchange = Exchange::default();
                for _ in 0..4 {
                    match store.relay(&ORDERS).deliver(&mut exchange) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
                all.lock().unwrap().extend(exchange.sent.into_iter().map(|sent| sent.1));
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort_unstable();
    assert_eq!(all, (0..60).collect::<Vec<_>>());
}

/// Against: an intent of one topic delivered by the relay of another whose name begins alike.
#[test]
fn topics_are_delivered_each_for_itself() {
    let store = Store::in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("k", 1, |tx| {
        tx.emit(&ORDERS, &1u64)?;
        tx.emit(&ORDERS_2, &2u64)?;
        tx.emit(&ORDER_TOPIC, &3u64).map(drop)
    })
    .unwrap();
    let mut exchange = Exchange::default();
    deliver(&store, &mut exchange);
    assert_eq!(exchange.sent.iter().map(|sent| sent.1).collect::<Vec<_>>(), [1]);
}

/// Against: a disk that fails between the call and the writing down of its answer.
#[test]
fn when_the_answer_cannot_be_written_the_effect_is_in_doubt_after_reopening() {
    struct Breaking(Arc<SimDisk>);
    impl Endpoint<u64, u64> for Breaking {
        fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
            self.0.arm([milepost::testing::Fault::at(0)]);
            Sent::Confirmed(1)
        }
    }
    let disk = Arc::new(SimDisk::default());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let ids = emit(&store, &[1, 2]);
    let refused = error(store.relay(&ORDERS).deliver(&mut Breaking(disk.clone())));
    assert!(
        matches!(refused.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)),
        "{:?} {refused}",
        refused.kind()
    );
    drop(store);
    disk.arm(None);
    assert!(disk.len().unwrap() > 0);
    let store = Options::new().open_on(disk).unwrap();
    assert!(in_doubt(&state(&store, &ids[0])));
    assert_eq!(state(&store, &ids[1]), IntentState::Prepared, "the pass ended there");
}
