//! What is over is not kept for ever: settled intents and the decisions of people. Against a file that
//! grows with every order for as long as the bot runs; and against a retention that lets go of what is
//! open or in doubt, gives an id out twice, or lets a store that is set back believe that it sent
//! nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{import_savepoint_bytes, savepoint_bytes};
use milepost::{
    AuditAction, Delivery, Endpoint, IntentState, Key, Labels, ManualClock, MemoryDisk, Options,
    SavepointOptions, Sent, SettledRetention, Store, Topic,
};

use crate::support::{Counter, T0, clock, days, killed, kind, on_disk, rows_of, second};

const ORDERS: Topic<Vec<u8>, u64> = Topic::new("orders");
const LATER: Topic<Vec<u8>, u64> = Topic::new("later");

/// A receiver that notes the id of all it gets, and answers as it is told.
#[derive(Default)]
struct Market {
    ids: Vec<String>,
    is_silent: bool,
}

impl Endpoint<Vec<u8>, u64> for Market {
    fn call(&mut self, order: &Delivery<Vec<u8>>) -> Sent<u64> {
        self.ids.push(order.external_id.to_string());
        if self.is_silent { Sent::Ambiguous("no answer".into()) } else { Sent::Confirmed(7) }
    }
}

/// One trade: a step that emits an order, and its delivery.
fn trade(store: &Store, topic: &Topic<Vec<u8>, u64>, n: u64, market: &mut Market) {
    let mut run = store.run::<Counter>("bot").unwrap();
    let key = Key::new(format!("{topic}-{n}")).expires_after(days(1));
    let position = run.next_index();
    run.step(key, position, |tx| tx.emit(topic, &vec![7u8; 500])).unwrap();
    drop(run);
    store.relay(topic).deliver(market).unwrap();
}

fn settled(store: &Store, topic: impl AsRef<str>) -> usize {
    store.intents().settled(topic, usize::MAX).unwrap().len()
}

/// A bot that trades for a year: how large its file was after a quarter, and at the end.
fn a_year(options: &Options, clock: &ManualClock) -> (Arc<MemoryDisk>, [usize; 2]) {
    const A_DAY: u64 = 6;
    let disk = Arc::new(MemoryDisk::new());
    let mut store = options.create_on(disk.clone()).unwrap();
    let mut market = Market::default();
    let mut quarter = 0;
    for n in 0..365 * A_DAY {
        trade(&store, &ORDERS, n, &mut market);
        clock.advance(Duration::from_secs(24 * 3_600 / A_DAY));
        if n == 90 * A_DAY {
            quarter = disk.to_bytes().len();
        }
        if n % 500 == 499 {
            store.close().unwrap();
            store = options.open_on(disk.clone()).unwrap();
        }
    }
    let ids: BTreeSet<_> = market.ids.iter().collect();
    assert_eq!(ids.len(), market.ids.len(), "an id was given out twice");
    assert!(store.verify().unwrap().is_sound());
    store.close().unwrap();
    let end = disk.to_bytes().len();
    (disk, [quarter, end])
}

/// Every settled intent was kept for ever: a bot that trades once a minute leaves half a million of
/// them in a year.
#[test]
fn a_year_of_trades_is_kept_for_a_month_and_the_file_stays_flat() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, [quarter, end]) = a_year(&options, &clock);
    assert!(end <= quarter + quarter / 4, "{quarter} bytes after a quarter, {end} after a year");
    let store = options.open_on(killed(&disk)).unwrap();
    let kept = settled(&store, "orders");
    assert!((29 * 6..=31 * 6).contains(&kept), "{kept} are kept");
    // The newest ones, each as it was.
    for intent in store.intents().settled("orders", usize::MAX).unwrap() {
        assert!(intent.changed.after(days(31)) > T0.after(days(365)), "{intent:?}");
    }
    assert!(store.verify().unwrap().is_sound());
}

#[test]
fn a_store_that_is_told_to_keeps_all_of_it() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let options = options.settled_retention(SettledRetention::keep_all());
    let (disk, _) = a_year(&options, &clock);
    assert_eq!(settled(&options.open_on(disk).unwrap(), "orders"), 365 * 6);
}

/// Against: thousands of orders a second, all of them younger than a month.
#[test]
fn of_many_young_ones_only_so_many_are_kept() {
    let retention = SettledRetention { intents_last: Some(50), ..SettledRetention::default() };
    let (disk, store) = on_disk(&Options::new().clock(clock()).settled_retention(retention));
    let mut market = Market::default();
    for n in 0..300 {
        trade(&store, &ORDERS, n, &mut market);
        assert!(settled(&store, "orders") <= 51, "{n}");
    }
    assert_eq!(market.ids.iter().collect::<BTreeSet<_>>().len(), 300);
    drop(store);
    assert!(Options::new().open_on(killed(&disk)).unwrap().verify().unwrap().is_sound());
}

/// Against: a store that kept everything, and is opened under a retention: one step that pays for all.
#[test]
fn a_long_past_goes_a_few_at_a_time() {
    let clock = clock();
    let all = Options::new().clock(clock.clone()).settled_retention(SettledRetention::keep_all());
    let (disk, store) = on_disk(&all);
    let mut market = Market::default();
    (0..100).for_each(|n| trade(&store, &ORDERS, n, &mut market));
    drop(store);
    clock.advance(days(60));
    let store = Options::new().clock(clock).open_on(killed(&disk)).unwrap();
    for n in 100..140 {
        let before = settled(&store, "orders");
        trade(&store, &ORDERS, n, &mut market);
        let gone = before + 1 - settled(&store, "orders");
        assert!(gone <= 4 && (gone > 0 || n > 124), "{n}: {gone} of {before} went");
    }
    assert_eq!(settled(&store, "orders"), 40);
}

/// Against: an effect in doubt that is forgotten, and one that was settled today because it is old.
#[test]
fn what_is_in_doubt_or_not_sent_stays_and_is_kept_from_when_it_was_settled() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut silent = Market { is_silent: true, ..Market::default() };
    trade(&store, &ORDERS, 0, &mut silent);
    let doubted = store.intents().outstanding("orders", 1).unwrap().pop().unwrap().id;
    let mut run = store.run::<Counter>("bot").unwrap();
    let unsent = run.step("unsent", 9, |tx| tx.emit(&LATER, &vec![1u8])).unwrap().into_outcome();
    drop(run);
    let mut market = Market::default();
    for n in 1..400 {
        clock.advance(days(1));
        trade(&store, &ORDERS, n, &mut market);
    }
    let state = |id| store.intent(&ORDERS, id).unwrap().map(|intent| intent.state);
    assert!(matches!(state(&doubted), Some(IntentState::InDoubt { .. })));
    assert!(matches!(
        store.intent(&LATER, &unsent).unwrap().map(|intent| intent.state),
        Some(IntentState::Prepared)
    ));
    assert!(settled(&store, "orders") <= 31);
    store.intents().confirm(&doubted, Some(&1u64), "anna: the exchange has it").unwrap();
    for n in 400..429 {
        clock.advance(days(1));
        trade(&store, &ORDERS, n, &mut market);
        assert!(matches!(state(&doubted), Some(IntentState::Confirmed { .. })), "{n}");
    }
    for n in 429..440 {
        clock.advance(days(1));
        trade(&store, &ORDERS, n, &mut market);
    }
    assert_eq!(state(&doubted), None);
    assert!(settled(&store, "orders") <= 31, "those behind it went too");
}

/// Against: a store that is set back to before an effect, does not know any more that it was sent, and
/// sends it again.
#[test]
fn what_was_forgotten_may_have_been_sent() {
    let clock = clock();
    let (_, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut market = Market::default();
    trade(&store, &ORDERS, 0, &mut market);
    let saved = store.checkpoints().save("bot", &Labels::new()).unwrap();
    store.checkpoints().pin(&saved).unwrap();
    let bytes = savepoint_bytes(&store.checkpoints(), &saved, false).unwrap();
    trade(&store, &ORDERS, 1, &mut market);
    // Another run's orders push it out.
    let mut other = store.run::<Counter>("other").unwrap();
    for n in 0..3 {
        clock.advance(days(31));
        other.step(format!("{n}"), n, |tx| tx.emit(&ORDERS, &vec![1u8])).unwrap();
        store.relay(&ORDERS).deliver(&mut market).unwrap();
    }
    assert_eq!(settled(&store, "orders"), 1);
    let options = SavepointOptions::new().replace();
    assert!(import_savepoint_bytes(&store, &bytes, &options).unwrap().must_reconcile);
    assert_eq!(kind(store.relay(&ORDERS).deliver(&mut market)), milepost::ErrorKind::Unreconciled);
}

#[test]
fn the_decisions_of_people_are_kept_for_a_year() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    for n in 0..30 {
        trade(&store, &ORDERS, n, &mut Market { is_silent: true, ..Market::default() });
        let id = store.intents().outstanding("orders", 1).unwrap().pop().unwrap().id;
        store.intents().reject(&id, "anna: not there").unwrap();
        clock.advance(days(30));
        clock.advance(second(1));
    }
    let audit = store.intents().audit(usize::MAX).unwrap();
    assert_eq!(audit.len(), 13, "of thirteen months");
    assert!(audit.iter().all(|entry| entry.action == AuditAction::Reject));
    assert_eq!(rows_of(&disk.to_bytes(), "audit").len(), 13);
    assert!(store.verify().unwrap().is_sound());
}
