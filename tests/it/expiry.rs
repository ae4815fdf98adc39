//! Keys with a time to live: seen until they are due, forgotten after, and never because of a wrong
//! clock.

use std::sync::Arc;
use std::time::Duration;

use milepost::{
    Claimed, Done, ErrorKind, Key, Limits, ManualClock, MemoryDisk, Options, Result, Run, Store,
    Timestamp,
};

use crate::support::{
    Counter, T0, clock, days, killed, kind, on_disk, reframed, rows_of, second, with_row,
};

fn ms(by: u64) -> Duration {
    Duration::from_millis(by)
}

fn at(ms: u64) -> Timestamp {
    T0.after(Duration::from_millis(ms))
}

fn ten_seconds(key: &str) -> Key {
    Key::new(key).expires_after(second(10))
}

/// A step that says whether its key was new.
fn is_new(run: &mut Run<Counter>, key: impl Into<Key>) -> bool {
    let position = run.position().index().unwrap_or(0);
    run.step(key, position, |_| Ok(0u64)).unwrap().is_fresh()
}

/// How many keys stand in the table, expired ones that are not forgotten yet among them.
fn keys_on(disk: &MemoryDisk) -> usize {
    rows_of(&disk.to_bytes(), "keys").len()
}

/// Against: a key that is forgotten before its time, or kept for ever.
#[test]
fn a_key_is_seen_until_it_is_due_and_forgotten_after() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, ten_seconds("a")));
    assert!(is_new(&mut run, "for ever"));
    clock.advance(second(9));
    assert!(!is_new(&mut run, ten_seconds("a")));
    clock.advance(ms(999));
    assert!(!is_new(&mut run, "a"), "its life was given to it the first time");
    clock.advance(ms(1_001));
    assert!(is_new(&mut run, ten_seconds("a")), "due");
    assert!(!is_new(&mut run, ten_seconds("a")), "and seen again");
    clock.advance(days(1));
    assert!(!is_new(&mut run, "for ever"));
    // Whatever comes in next forgets it, and its row of the calendar.
    assert_eq!(keys_on(&disk), 1);
    assert!(rows_of(&disk.to_bytes(), "expiry").is_empty());
}

/// Against: a key whose second life is ended by the deadline of its first.
#[test]
fn a_key_that_was_forgotten_and_done_again_lives_its_whole_new_life() {
    let clock = clock();
    let (_disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, ten_seconds("a")));
    clock.advance(second(11));
    assert!(is_new(&mut run, Key::new("a").expires_after(second(100))));
    for _ in 0..9 {
        clock.advance(second(11));
        assert!(!is_new(&mut run, "a"));
    }
    clock.advance(second(2));
    assert!(is_new(&mut run, "a"));
}

/// Against: a life that starts when the claim is made and not when it is settled.
#[test]
fn the_life_of_a_claim_starts_when_it_is_settled() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let Ok(Claimed::Fresh(claim)) = store.claim("s", ten_seconds("k"), &1) else { panic!() };
    clock.advance(second(60));
    claim.complete(&7u64).unwrap();
    clock.advance(second(9));
    assert!(matches!(store.claim("s", ten_seconds("k"), &1).unwrap(), Claimed::Done(7u64)));
    clock.advance(second(2));
    let again = store.claim::<u64>("s", ten_seconds("k"), &1).unwrap();
    assert!(matches!(again, Claimed::Fresh(_)));
}

/// Against: an old request that comes again after its key was forgotten, and is done twice.
#[test]
fn an_old_request_whose_key_was_forgotten_is_beyond_the_horizon() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let ask = |issued: Timestamp| store.claim::<u64>("s", ten_seconds("k").issued_at(issued), &1);
    let Ok(Claimed::Fresh(claim)) = ask(at(0)) else { panic!() };
    claim.complete(&7).unwrap();
    clock.advance(second(9));
    assert!(matches!(ask(at(0)), Ok(Claimed::Done(7))));
    clock.advance(second(30));
    assert_eq!(kind(ask(at(0))), ErrorKind::BeyondHorizon);
    // Asked for behind the horizon: it cannot have been done and forgotten.
    assert!(matches!(ask(at(30_000)), Ok(Claimed::Fresh(_))));
}

/// Against: the same in a step, where `issued_at` is taken and not looked at.
#[test]
fn an_old_input_whose_key_was_forgotten_is_not_taken_for_a_new_one() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || ten_seconds("k").issued_at(at(0));
    assert!(is_new(&mut run, key()));
    clock.advance(second(60));
    let again = run.step(key(), 0, |_| Ok(0u64));
    assert!(!matches!(again, Ok(Done::Fresh(_))), "a forgotten key is taken for a new one");
}

/// Against: an input with a clock of its own, on a machine whose clock stands back: done, forgotten as
/// soon as the clock is put right, and new again under the very time it was asked for.
#[test]
fn what_was_asked_for_ahead_of_the_machines_clock_is_not_done_twice() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let asked = T0.after(second(3_600));
    let key = || ten_seconds("k").issued_at(asked);
    assert!(is_new(&mut run, key()));
    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", key(), &1) else { panic!() };
    claim.complete(&7).unwrap();
    clock.set(asked.after(second(1)));
    assert!(!is_new(&mut run, key()));
    assert!(matches!(store.claim::<u64>("s", key(), &1).unwrap(), Claimed::Done(7)));
    clock.advance(second(60));
    assert_eq!(kind(run.step(key(), 0, |_| Ok(0u64))), ErrorKind::BeyondHorizon);
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
}

/// Against: doubt that goes away by itself.
#[test]
fn what_is_in_doubt_or_in_flight_never_expires() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let claim = |store: &Store, key: &str| store.claim::<u64>("s", ten_seconds(key), &1).unwrap();
    drop(claim(&store, "dropped"));
    let Claimed::Fresh(said) = claim(&store, "said") else { panic!() };
    said.doubt("timeout").unwrap();
    let held = claim(&store, "held");
    for _ in 0..40 {
        clock.advance(days(1));
        let Claimed::Fresh(other) = claim(&store, "other") else { panic!() };
        other.complete(&1).unwrap();
    }
    assert!(matches!(claim(&store, "dropped"), Claimed::InDoubt(_)));
    assert!(matches!(claim(&store, "said"), Claimed::InDoubt(doubt) if doubt.why() == "timeout"));
    assert!(matches!(claim(&store, "held"), Claimed::InFlight { .. }));
    let store = options.open_on(killed(&disk)).unwrap();
    assert!(matches!(claim(&store, "held"), Claimed::InDoubt(_)));
    drop(held);
}

/// Against: a clock set back, by which old requests look young and forgotten keys look new.
#[test]
fn a_clock_that_goes_back_revives_nothing() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let key = || ten_seconds("k").issued_at(at(0));
    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", key(), &1) else { panic!() };
    claim.complete(&1).unwrap();
    clock.advance(second(60));
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
    // What was refused has written nothing: the next commit forgets the key.
    drop(store.claim::<u64>("s", "another", &1).unwrap());
    clock.set(at(1_000));
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
    drop(store);
    let store = options.open_on(killed(&disk)).unwrap();
    assert_eq!(kind(store.claim::<u64>("s", key(), &1)), ErrorKind::BeyondHorizon);
}

/// Against: a key settled while the clock stands too early, and forgotten when it is put right.
#[test]
fn a_key_settled_while_the_clock_stands_back_lives_its_whole_life() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, "first"));
    clock.set(Timestamp::from_ms(T0.as_ms() - 3_600_000));
    assert!(is_new(&mut run, ten_seconds("k")));
    clock.set(at(9_000));
    assert!(!is_new(&mut run, "k"));
    clock.advance(second(2));
    assert!(is_new(&mut run, "k"));
}

fn hours(n: u64) -> Duration {
    second(n * 3_600)
}

/// The moment so long before the tests begin.
fn before(by: Duration) -> Timestamp {
    Timestamp::from_ms(T0.as_ms() - u64::try_from(by.as_millis()).unwrap())
}

fn lives(key: &str, life: Duration) -> Key {
    Key::new(key).expires_after(life)
}

/// Against: a clock that is wrong by hours, which costs its keys more than the hours it is wrong by.
#[test]
fn a_clock_that_stood_back_from_the_beginning_costs_a_key_no_more_than_its_error() {
    let clock = clock();
    clock.set(before(hours(6)));
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, lives("k", hours(10))));
    // Put right: a leap of less than a day, which is believed at once.
    clock.set(T0);
    assert!(!is_new(&mut run, "k"));
    assert_eq!(store.clock_suspect().unwrap(), None);
    clock.advance(second(4 * 3_600 - 2));
    assert!(!is_new(&mut run, "k"), "it lost more than six hours");
    clock.advance(second(4));
    assert!(is_new(&mut run, "k"), "a leap of six hours was not believed");
}

/// Against: the same, by more than a day, on the word of nobody.
#[test]
fn a_clock_that_stood_back_by_days_costs_a_key_nothing_before_somebody_agrees() {
    let clock = clock();
    clock.set(before(days(30)));
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, lives("k", hours(10))));
    clock.set(T0);
    for n in 0..3 {
        assert!(is_new(&mut run, format!("other {n}")));
        assert!(!is_new(&mut run, "k"));
        assert_eq!(store.clock_suspect().unwrap(), Some(T0));
    }
    drop((run, store));
    let store = options.open_on(disk).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None, "a second opening agrees");
    assert!(is_new(&mut store.run::<Counter>("run").unwrap(), "k"));
}

/// Against: a clock that is set back under a running bot and put right after days, in which its own
/// clock went on: the leap is believed, and all keys of these days were given too early a deadline.
#[test]
fn a_key_settled_while_the_clock_stands_back_for_days_lives_as_long_as_it_should() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, "first"));
    clock.set(before(days(30)));
    clock.advance(days(9));
    assert!(is_new(&mut run, lives("k", days(5))));
    clock.advance(days(1));
    clock.set(T0.after(days(10)));
    assert!(!is_new(&mut run, "k"), "forgotten after one day of five");
    assert_eq!(store.clock_suspect().unwrap(), None);
    clock.advance(second(4 * 86_400 - 2));
    assert!(!is_new(&mut run, "k"));
    clock.advance(second(4));
    assert!(is_new(&mut run, "k"));
}

/// Against: a clock that was ahead for a while and is put right, after which the store stays ahead of
/// it for ever: it forgets too early, and takes what the right clock issues for too old.
#[test]
fn after_a_clock_that_was_ahead_is_put_right_the_store_comes_back_to_it() {
    let clock = clock();
    clock.set(T0.after(hours(6)));
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, "first"));
    clock.set(T0);
    clock.advance(hours(5));
    assert!(is_new(&mut run, lives("soon over", second(1))));
    // By now the right clock has caught up.
    clock.advance(hours(4));
    assert!(is_new(&mut run, "second"));
    let now = T0.after(hours(9));
    assert!(is_new(&mut run, lives("k", hours(1)).issued_at(now)), "issued now, and too old");
    assert!(!is_new(&mut run, "soon over"), "kept for longer, if anything");
    clock.advance(hours(3));
    assert!(is_new(&mut run, "soon over"));
}

/// A store with one key that lives ten seconds, closed in order.
fn one_key_that_expires() -> (Arc<MemoryDisk>, ManualClock, Options) {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, ten_seconds("k")));
    drop((run, store));
    (disk, clock, options)
}

fn k_is_new(store: &Store) -> bool {
    is_new(&mut store.run::<Counter>("run").unwrap(), ten_seconds("k"))
}

/// Against: a machine that starts with a clock years ahead, and forgets every key at once.
#[test]
fn a_leap_ahead_between_two_opens_suspends_expiry() {
    let (disk, clock, options) = one_key_that_expires();
    clock.set(T0.after(days(400)));
    let store = options.open_on(disk.clone()).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), Some(T0.after(days(400))));
    for _ in 0..5 {
        assert!(!k_is_new(&store), "forgotten by a clock that nobody has confirmed");
        clock.advance(second(30));
    }
    drop(store);
    // The clock is right again: the leap never was.
    clock.set(at(5_000));
    let store = options.open_on(disk).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
    assert!(!k_is_new(&store));
    clock.advance(second(6));
    assert!(k_is_new(&store));
}

/// Against: expiry that never starts again after a machine was off for a week.
#[test]
fn a_leap_ahead_is_believed_when_a_second_open_agrees() {
    let (disk, clock, options) = one_key_that_expires();
    clock.set(T0.after(days(7)));
    let store = options.open_on(disk.clone()).unwrap();
    assert!(store.clock_suspect().unwrap().is_some());
    assert!(!k_is_new(&store));
    drop(store);
    clock.advance(second(60));
    let store = options.open_on(killed(&disk)).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
    assert!(k_is_new(&store));
}

/// Against: a person who has looked at another clock, and is not believed, or not for long.
#[test]
fn a_leap_ahead_is_believed_when_a_person_confirms_it() {
    let (disk, clock, options) = one_key_that_expires();
    clock.set(T0.after(days(400)));
    let store = options.open_on(disk.clone()).unwrap();
    assert!(!k_is_new(&store));
    store.trust_clock().unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
    assert!(k_is_new(&store));
    let store = options.open_on(killed(&disk)).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None, "durable with the commit behind it");
}

/// Against: a time server that moves the clock of a running bot by years.
#[test]
fn a_leap_ahead_in_a_running_process_is_believed_as_far_as_its_own_clock_went() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    assert!(k_is_new(&store));
    clock.set(T0.after(days(300)));
    assert!(!k_is_new(&store));
    assert!(store.clock_suspect().unwrap().is_some());
    clock.set(at(5_000));
    assert!(!k_is_new(&store));
    assert_eq!(store.clock_suspect().unwrap(), None);
    // Three days on which nothing happened, by both clocks: those are real.
    clock.advance(days(3));
    assert!(k_is_new(&store));
    assert_eq!(store.clock_suspect().unwrap(), None);
}

/// Against: a lone step after a long pause that pays for forgetting a million keys.
#[test]
fn many_expired_keys_are_forgotten_a_few_with_every_commit() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    for batch in 0..3u64 {
        let items = (0..300u64).map(|n| (ten_seconds(&format!("{batch}-{n}")), batch, ()));
        run.batch(items, |_, ()| Ok(0u64)).unwrap();
    }
    // So that the commit before the pause has brought in one key.
    assert!(is_new(&mut run, "one"));
    assert_eq!(keys_on(&disk), 901);
    clock.advance(second(60));
    let mut before = 901;
    let mut commits = 0;
    while before > 1 {
        // A repeat of "one", which writes nothing of its own.
        is_new(&mut run, "one");
        let left = keys_on(&disk);
        assert!(left <= before && before - left <= 64 + 2 * 8, "{before} to {left}");
        before = left;
        commits += 1;
        assert!(commits < 40, "never done: {left} are left");
    }
    assert!(rows_of(&disk.to_bytes(), "expiry").is_empty());
}

/// Against: batches that bring in more than their commits forget, so that the file grows for ever.
#[test]
fn forgetting_keeps_up_with_what_batches_bring_in() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    for batch in 0..40u64 {
        let items = (0..200u64).map(|n| (ten_seconds(&format!("{batch}-{n}")), batch, ()));
        run.batch(items, |_, ()| Ok(())).unwrap();
        clock.advance(second(1));
    }
    let left = keys_on(&disk);
    assert!(left < 4_000, "{left} keys, of which 2,200 are alive");
}

/// Against: a calendar row longer than a value may be, at which every step fails once it is due.
#[test]
fn keys_that_fall_due_together_are_forgotten_also_under_a_small_value_limit() {
    let clock = clock();
    let limits = Limits { value_bytes: 200, ..Limits::default() };
    let store = Options::new().clock(clock.clone()).limits(limits).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let items = (0..500u64).map(|n| (ten_seconds(&format!("a key of some length {n}")), 1u64, ()));
    run.batch(items, |_, ()| Ok(())).unwrap();
    clock.advance(second(60));
    run.step("next", 1, |_| Ok(())).unwrap();
}

/// Against: the same after the limit was lowered.
#[test]
fn keys_that_fall_due_are_forgotten_also_after_the_value_limit_was_lowered() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    let items = (0..500u64).map(|n| (ten_seconds(&format!("a key of some length {n}")), 1u64, ()));
    run.batch(items, |_, ()| Ok(())).unwrap();
    drop((run, store));
    clock.advance(second(60));
    let limits = Limits { value_bytes: 200, ..Limits::default() };
    let store = options.limits(limits).open_on(disk).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("next", 1, |_| Ok(())).unwrap();
}

/// Against: keys longer than a calendar entry can say, which are listed wrong and never forgotten.
#[test]
fn the_longest_keys_expire_like_others_or_are_refused() {
    let clock = clock();
    let limits = Limits { key_bytes: 1 << 20, ..Limits::default() };
    let Ok(store) = Options::new().clock(clock.clone()).limits(limits).in_memory() else { return };
    let mut run = store.run::<Counter>("run").unwrap();
    let long = "k".repeat(70_000);
    let step = |run: &mut Run<Counter>, key: &str| -> Result<bool> {
        run.step(ten_seconds(key), 1, |_| Ok(())).map(|done| done.is_fresh())
    };
    match step(&mut run, &long) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded),
        Ok(fresh) => {
            assert!(fresh);
            assert!(step(&mut run, "short").unwrap());
            clock.advance(second(60));
            assert!(step(&mut run, "short").unwrap(), "the short one beside it");
            assert!(step(&mut run, &long).unwrap(), "the long one");
        }
    }
}

/// Against: lives so long, or so short, that the sum of time and life goes wrong.
#[test]
fn the_longest_and_the_shortest_life_work() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let key = |key: &str, ttl| Key::new(key).expires_after(ttl);
    assert!(is_new(&mut run, key("long", Duration::MAX)));
    assert!(is_new(&mut run, key("short", Duration::from_millis(1))));
    // One that is over as soon as it begins protects nothing, and is refused.
    for none in [Duration::ZERO, Duration::from_nanos(1)] {
        assert_eq!(kind(run.step(key("none", none), 0, |_| Ok(()))), ErrorKind::Invalid);
    }
    clock.advance(second(2));
    assert!(!is_new(&mut run, "long"));
    assert!(is_new(&mut run, "short"));
    let ancient =
        Key::new("x").expires_after(Duration::MAX).issued_at(Timestamp::from_ms(u64::MAX));
    assert!(matches!(store.claim::<u64>("s", ancient, &1).unwrap(), Claimed::Fresh(_)));
}

/// Against: a step that fails, and has forgotten keys all the same, or lost the horizon.
#[test]
fn a_refused_step_forgets_nothing() {
    let clock = clock();
    let (disk, store) = on_disk(&Options::new().clock(clock.clone()));
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, ten_seconds("k")));
    clock.advance(second(60));
    let refused = run.step("x", 0, |_| -> Result<()> { Err(milepost::Error::abort("no")) });
    assert_eq!(kind(refused), ErrorKind::Aborted);
    assert_eq!(keys_on(&disk), 1);
    assert!(is_new(&mut run, ten_seconds("k")));
}

/// Against: no limit at all on the rows of a step, to which what is forgotten on the side is added: the
/// sum wraps, and every step is over its limit.
#[test]
fn keys_are_forgotten_also_when_a_step_may_write_any_number_of_rows() {
    let clock = clock();
    let limits = Limits { rows_per_step: usize::MAX, ..Limits::default() };
    let store = Options::new().clock(clock.clone()).limits(limits).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, ten_seconds("k")));
    clock.advance(second(60));
    assert!(is_new(&mut run, ten_seconds("k")));
}

/// The store with a row of `keys` changed, a minute later.
fn with_key_changed(
    change: impl FnOnce(&[u8], &mut Vec<u8>),
) -> (Arc<MemoryDisk>, ManualClock, Store) {
    let (disk, clock, options) = one_key_that_expires();
    let bytes = disk.to_bytes();
    let (key, mut row) = rows_of(&bytes, "keys").remove(0);
    change(&key, &mut row);
    clock.advance(second(60));
    let disk = Arc::new(MemoryDisk::from_bytes(with_row(&bytes, "keys", &key, Some(&row))));
    let store = options.open_on(disk.clone()).unwrap();
    (disk, clock, store)
}

/// Against: one damaged key that stops every step of the store once it is due, or is forgotten and
/// done again.
#[test]
fn a_key_that_cannot_be_read_when_it_is_due_stays_and_stops_no_step() {
    type Change = fn(&[u8], &mut Vec<u8>);
    let damaged: Change = |_, row| *row.last_mut().unwrap() ^= 1;
    let newer: Change = |key, row| *row = reframed(5, key, row, |row| row[4] = 4);
    for (change, wanted) in [(damaged, ErrorKind::Damaged), (newer, ErrorKind::TooNew)] {
        let mut row = Vec::new();
        let (disk, _, store) = with_key_changed(|key, bad| {
            change(key, bad);
            row.clone_from(bad);
        });
        let mut run = store.run::<Counter>("run").unwrap();
        for n in 0..3 {
            assert!(is_new(&mut run, format!("other {n}")));
        }
        assert!(rows_of(&disk.to_bytes(), "keys").iter().any(|(_, found)| *found == row));
        assert_eq!(kind(run.step("k", 0, |_| Ok(0u64))), wanted);
    }
}

/// Against: a limit that was lowered, and an old key over it that stops every step once it is due, or is
/// never forgotten.
#[test]
fn a_key_that_is_over_the_limit_when_it_is_due_stops_no_step_and_goes_once_the_limit_is_raised() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    run.step(ten_seconds("k"), 0, |_| Ok(vec![7u8; 300_000])).unwrap();
    drop((run, store));
    clock.advance(second(60));
    let low = options.clone().limits(Limits { value_bytes: 1_000, ..Limits::default() });
    let store = low.open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert!(is_new(&mut run, "other"));
    assert_eq!(keys_on(&disk), 2);
    drop((run, store));
    let store = options.open_on(disk.clone()).unwrap();
    assert!(is_new(&mut store.run::<Counter>("run").unwrap(), "and one"));
    assert!(store.verify().unwrap().is_sound());
    assert_eq!(keys_on(&disk), 2);
}

/// Against: a key of a newer program that is passed over when it is due, and is gone from the calendar
/// when that program comes back: it never expires, and the store is called damaged.
#[test]
fn a_key_of_a_newer_program_is_forgotten_when_that_program_comes_back() {
    let newer = |key: &[u8], row: &mut Vec<u8>| *row = reframed(5, key, row, |row| row[4] = 4);
    let (disk, clock, store) = with_key_changed(newer);
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 0..3 {
        assert!(is_new(&mut run, ten_seconds(&format!("other {n}"))));
    }
    clock.advance(second(60));
    // Those of its own it forgets all the same.
    assert!(is_new(&mut run, "last"));
    assert_eq!(keys_on(&disk), 2);
    drop((run, store));
    let bytes = disk.to_bytes();
    let (key, row) =
        rows_of(&bytes, "keys").into_iter().find(|(key, _)| key.ends_with(b"k")).unwrap();
    let read = reframed(5, &key, &row, |row| row[4] = 0);
    let disk = Arc::new(MemoryDisk::from_bytes(with_row(&bytes, "keys", &key, Some(&read))));
    let store = Options::new().clock(clock).open_on(disk.clone()).unwrap();
    let found = store.verify().unwrap();
    assert!(found.indexes.is_empty(), "{found}");
    assert!(is_new(&mut store.run::<Counter>("run").unwrap(), "and one"));
    assert_eq!(keys_on(&disk), 2);
}
