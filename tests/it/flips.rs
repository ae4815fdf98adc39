//! Bytes of the file flipped: whatever byte it is, the store gives the same answers or says that it
//! is damaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use milepost::testing::Rng;
use milepost::{Claimed, Done, Durability, Error, ErrorKind, MemoryDisk, Options, Result, Store};

use crate::support::{Content, Counter, ORDERS, key_of, on_disk};

const KEYS: u64 = 2_000;
/// The last of them come in steps of their own, as the newest commits of the file.
const SINGLE: u64 = 5;

/// A store with some thousand keys, a state, rows, intents and claims; the bytes as they are while
/// it is open, and after it was closed in order.
fn full_store(durability: Durability) -> (Vec<u8>, Vec<u8>) {
    let (disk, store) = on_disk(&Options::new().durability(durability));
    for n in 0..40u64 {
        let Ok(Claimed::Fresh(claim)) = store.claim("s", n.to_string(), &n) else { panic!() };
        if n % 4 != 0 {
            claim.complete(&n).unwrap();
        }
    }
    let mut run = store.run::<Counter>("run").unwrap();
    let work = |tx: &mut milepost::Tx<'_, Counter>, n: u64| -> Result<u64> {
        tx.state.sum += n;
        if n.is_multiple_of(10) {
            tx.state.seen.push(n);
            tx.put(key_of(n), &n)?;
            tx.emit(&ORDERS, &n)?;
        }
        Ok(n)
    };
    for from in (0..KEYS - SINGLE).step_by(200) {
        let items = (from..(from + 200).min(KEYS - SINGLE)).map(|n| (key_of(n), n, n));
        run.batch(items, work).unwrap();
    }
    for n in KEYS - SINGLE..KEYS {
        run.step(key_of(n), n, |tx| work(tx, n)).unwrap();
    }
    let open = disk.to_bytes();
    drop((run, store));
    (open, disk.to_bytes())
}

/// What a store that opened came to.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    /// True, all of them; so many of the newest steps are missing, without a trace.
    True { missing: u64 },
    /// One was wrong.
    Wrong(String),
}

/// Asks for everything, and compares.
fn ask_everything(store: &Store) -> Result<Answers> {
    let mut run = store.run::<Counter>("run")?;
    let steps = run.steps();
    let mut wrong = Vec::new();
    let mut check = |right: bool, what: &str| {
        if !right {
            wrong.push(what.to_owned());
        }
    };
    check((KEYS - SINGLE..=KEYS).contains(&steps), "the number of steps");
    check(run.state().sum == (0..steps).sum::<u64>(), "the state");
    check(run.position().index() == Some(steps - 1), "the position");
    let items = (0..steps).map(|n| (key_of(n), u64::MAX, ()));
    match run.batch(items, |_, ()| -> Result<u64> { Err(Error::abort("it is new")) }) {
        Ok(known) => {
            let same = known.into_iter().zip(0..).all(|(done, n)| done == Done::Duplicate(n));
            check(same, "an outcome");
        }
        Err(error) if error.kind() == ErrorKind::Aborted => check(false, "a known key is new"),
        Err(error) => return Err(error),
    }
    for n in (0..steps).step_by(10) {
        check(run.get(key_of(n))? == Some(n), "a row");
    }
    drop(run);
    let content = Content::of(store, &[], "orders")?;
    check(content.intents.len() as u64 == steps.div_ceil(10), "the intents");
    for n in 0..40u64 {
        match store.claim::<u64>("s", n.to_string(), &n)? {
            Claimed::Done(outcome) => check(n % 4 != 0 && outcome == n, "a claim's outcome"),
            Claimed::InDoubt(_) => check(n % 4 == 0, "a claim in doubt"),
            _ => check(false, "a known claim is new"),
        }
    }
    wrong.dedup();
    Ok(if wrong.is_empty() {
        Answers::True { missing: KEYS.saturating_sub(steps) }
    } else {
        Answers::Wrong(wrong.join(", "))
    })
}

/// "Nothing of it was changed", says the error; this says otherwise.
const CHANGED: &str = "of the refused ones changed";

/// What flipping bytes came to: how often which.
type Tally = BTreeMap<String, u64>;

/// Flips a bit in `samples` bytes over the whole file, and in each third byte of redb's header.
fn flip(bytes: &[u8], options: &Options, samples: usize) -> Tally {
    let stride = (bytes.len() / samples) | 1;
    let mut rng = Rng::new(7);
    let mut tally = Tally::new();
    for at in (0..320).step_by(3).chain((320..bytes.len()).step_by(stride)) {
        let mut bad = bytes.to_vec();
        bad[at] ^= 1 << rng.below(8);
        let disk = Arc::new(MemoryDisk::from_bytes(bad.clone()));
        // A panic here would cross the API, and fail the test.
        let opened = options.open_on(disk.clone());
        let refused = opened.is_err();
        let came_to = match opened.and_then(|store| ask_everything(&store)) {
            Ok(Answers::True { missing: 0 }) => "whole".to_owned(),
            Ok(Answers::True { missing }) => format!("{missing} missing"),
            Ok(Answers::Wrong(what)) => format!("WRONG at byte {at}: {what}"),
            Err(error) => match error.kind() {
                ErrorKind::Damaged | ErrorKind::Invalid | ErrorKind::TooNew => "refused".to_owned(),
                kind => format!("WRONG at byte {at}: {kind:?} {error}"),
            },
        };
        if refused && disk.to_bytes() != bad {
            *tally.entry(CHANGED.to_owned()).or_default() += 1;
        }
        *tally.entry(came_to).or_default() += 1;
    }
    println!("{tally:#?}");
    tally
}

fn only(mut tally: Tally, expected: &[&str]) {
    let changed = tally.remove(CHANGED);
    assert!(tally.keys().all(|what| expected.contains(&what.as_str())), "{tally:#?}");
    // The sample is no good when it hits only empty pages, or nothing else.
    assert!(tally["whole"] > 20 && tally["refused"] > 20, "{tally:#?}");
    assert_eq!(changed, None, "files were changed by an open that refused them as damaged");
}

/// Against: a known order sent again, because one bit of the file has turned.
#[test]
fn a_flipped_byte_of_a_closed_store_gives_the_same_answers_or_is_damage() {
    let (_, closed) = full_store(Durability::OnePhase);
    only(flip(&closed, &Options::new(), 100), &["whole", "refused"]);
}

/// Against: the same after a crash. With one fsync a commit, damage to the newest commit cannot be
/// told from a commit cut short, so exactly that one may be gone, whole; anything older may not.
#[test]
fn a_flipped_byte_after_a_crash_costs_at_most_the_newest_commit() {
    let (open, _) = full_store(Durability::OnePhase);
    only(flip(&open, &Options::new(), 70), &["whole", "refused", "1 missing"]);
}

/// Against: the same with two fsyncs a commit, where even that is told.
#[test]
fn a_flipped_byte_after_a_crash_costs_nothing_with_two_phases() {
    let options = Options::new().durability(Durability::TwoPhase);
    let (open, _) = full_store(Durability::TwoPhase);
    only(flip(&open, &options, 70), &["whole", "refused"]);
}

/// Against: a panic that crosses the API when nothing was verified at the open. A damaged index page
/// can hide a key then, as the option says: how often is printed, and not held against anybody.
#[test]
fn without_verification_a_flipped_byte_never_panics() {
    let (_, closed) = full_store(Durability::OnePhase);
    let tally = flip(&closed, &Options::new().verify_on_open_bytes(0), 100);
    assert!(!tally.contains_key(CHANGED), "{tally:#?}");
    let hidden: u64 =
        tally.iter().filter(|(what, _)| what.starts_with("WRONG")).map(|(_, times)| times).sum();
    println!("wrong answers without verification: {hidden}");
}
