//! Records that are not what was written, though redb's pages are: found by our own frames, at the
//! row they concern, and never taken for "new".

use std::collections::BTreeMap;
use std::sync::Arc;

use milepost::testing::Rng;
use milepost::{
    Claimed, Delivery, Endpoint, Error, ErrorKind, Key, MemoryDisk, Options, Result, Sent,
};
use redb::{ReadableTable, TableDefinition};

use crate::support::{
    Counter, ORDERS, T0, clock, count, days, error, key_of, kind, on_disk, open_bytes, reframed,
    rows_of, second, seen, tampered, with_row,
};

/// A store with a few records of every kind, closed in order.
pub fn furnished() -> Vec<u8> {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=6 {
        run.step(key_of(n), n, |tx| {
            tx.state.sum += n;
            tx.state.seen.push(n);
            tx.put(key_of(n), &n)?;
            tx.emit(&ORDERS, &n)?;
            Ok(tx.state.sum)
        })
        .unwrap();
    }
    store.relay(&ORDERS).deliver(&mut Half(0)).unwrap();
    let doubts = store.recovery().unwrap().intents_in_doubt;
    store.intents().confirm(&doubts[0], Some(&1u64), "anna").unwrap();
    for (key, complete) in [("done", true), ("open", false)] {
        let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", key, &1) else { panic!() };
        if complete {
            claim.complete(&5).unwrap();
        }
    }
    let mut other = store.run::<Counter>("other").unwrap();
    count(&mut other, 1).unwrap();
    drop((run, other, store));
    disk.to_bytes()
}

/// Confirms, refuses, doubts and does not send, in turn.
struct Half(u64);

impl Endpoint<u64, u64> for Half {
    fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
        self.0 += 1;
        match self.0 % 4 {
            0 => Sent::Rejected("no funds".into()),
            1 => Sent::Confirmed(self.0),
            2 => Sent::Ambiguous("timeout".into()),
            _ => Sent::NotSent("offline".into()),
        }
    }
}

type Answers = BTreeMap<String, Result<String, ErrorKind>>;

/// Asks a store everything it knows; what it answers, question by question.
fn ask_everything(bytes: &[u8]) -> Answers {
    let mut answers = Answers::new();
    let mut note = |question: String, answer: Result<String>| {
        answers.insert(question, answer.map_err(|error| error.kind()));
    };
    let store = match open_bytes(bytes) {
        Ok(store) => store,
        Err(error) => {
            note("open".into(), Err(error));
            return answers;
        }
    };
    for name in ["run", "other"] {
        match store.run::<Counter>(name) {
            Ok(mut run) => {
                let whole = format!("{:?} {:?} {}", run.state(), run.position(), run.steps());
                note(format!("{name} state"), Ok(whole));
                for key in (1..=6).map(key_of) {
                    let outcome = seen(&mut run, &key).map(|outcome| format!("{outcome:?}"));
                    note(format!("{name} key {key}"), outcome);
                    let row = run.get::<u64>(&key).map(|row| format!("{row:?}"));
                    note(format!("{name} row {key}"), row);
                }
            }
            Err(error) => note(format!("{name} state"), Err(error)),
        }
    }
    for key in ["done", "open"] {
        let claimed = store.claim::<u64>("s", key, &1).map(|claimed| match claimed {
            Claimed::Done(outcome) => format!("done {outcome}"),
            Claimed::InDoubt(doubt) => format!("in doubt: {}", doubt.why()),
            other => format!("{other:?}"),
        });
        note(format!("claim {key}"), claimed);
    }
    let intents = store.intents();
    note("outstanding".into(), intents.outstanding("orders", 99).map(|all| format!("{all:?}")));
    note("settled".into(), intents.settled("orders", 99).map(|all| format!("{all:?}")));
    note("audit".into(), intents.audit(99).map(|all| format!("{all:?}")));
    let recovery = store.recovery().map(|found| {
        format!(
            "{:?} {:?} {:?}",
            found.intents_in_doubt, found.intents_prepared, found.claims_in_doubt
        )
    });
    note("recovery".into(), recovery);
    answers
}

/// Every answer is the true one or a typed error; gives the questions that ended in one.
fn only_true_answers_or_errors(bytes: &[u8], truth: &Answers, what: &str) -> Vec<String> {
    let mut errors = Vec::new();
    for (question, answer) in ask_everything(bytes) {
        match answer {
            Err(ErrorKind::Damaged) => errors.push(question),
            Err(kind) => panic!("{what}: {question} ends with {kind:?}"),
            Ok(answer) => {
                let truth = truth[&question].as_ref().unwrap();
                assert_eq!(&answer, truth, "{what}: {question} is a lie");
            }
        }
    }
    errors
}

const TABLES: [(&str, u8); 7] = [
    ("schemas", 1),
    ("runs", 2),
    ("keys", 5),
    ("intents", 7),
    ("rows", 11),
    ("audit", 12),
    ("meta", 0),
];

/// Against: a flipped bit in a record that gives a wrong price, or makes a known key new.
#[test]
fn a_flipped_byte_of_a_stored_record_is_an_error_and_never_a_wrong_answer() {
    let bytes = furnished();
    let truth = ask_everything(&bytes);
    assert!(truth.values().all(Result::is_ok), "{truth:?}");
    let mut rng = Rng::new(1);
    let mut flips = 0;
    for (table, _) in TABLES {
        for (key, row) in rows_of(&bytes, table) {
            // One byte of the header and one of the payload of every row.
            for at in [rng.below(21), 21 + rng.below(row.len() as u64 - 21)] {
                let mut bad = row.clone();
                bad[usize::try_from(at).unwrap()] ^= 1 << rng.below(8);
                let what = format!("byte {at} of {table} {:?}", String::from_utf8_lossy(&key));
                let bad = with_row(&bytes, table, &key, Some(&bad));
                let errors = only_true_answers_or_errors(&bad, &truth, &what);
                assert!(!errors.is_empty(), "{what}: nobody noticed");
                flips += 1;
            }
        }
    }
    assert!(flips > 50, "{flips}");
}

/// Against: a record cut short, emptied, or with bytes behind it.
#[test]
fn a_record_of_another_length_is_an_error_and_never_a_wrong_answer() {
    let bytes = furnished();
    let truth = ask_everything(&bytes);
    for (table, _) in TABLES {
        let rows = rows_of(&bytes, table);
        let (key, row) = &rows[rows.len() / 2];
        let longer = [row.as_slice(), &[0]].concat();
        for bad in [&row[..0], &row[..20], &row[..21], &row[..row.len() - 1], &longer] {
            let what = format!("{table} with {} of {} bytes", bad.len(), row.len());
            let bad = with_row(&bytes, table, key, Some(bad));
            let errors = only_true_answers_or_errors(&bad, &truth, &what);
            assert!(!errors.is_empty(), "{what}: nobody noticed");
        }
    }
}

/// Against: sound records in each other's places: two outcomes, two orders, two balances.
#[test]
fn two_records_that_changed_places_are_both_found() {
    let bytes = furnished();
    let truth = ask_everything(&bytes);
    for (table, _) in TABLES {
        let rows = rows_of(&bytes, table);
        for pair in rows.windows(2) {
            let [(one, first), (two, second)] = pair else { panic!() };
            let swapped = with_row(&bytes, table, one, Some(second));
            let swapped = with_row(&swapped, table, two, Some(first));
            let errors = only_true_answers_or_errors(&swapped, &truth, table);
            assert!(!errors.is_empty(), "{table}: nobody noticed");
        }
    }
}

/// Against: an input that is done again because the record of its key was damaged.
#[test]
fn a_damaged_key_still_counts_as_seen() {
    let bytes = furnished();
    for (key, row) in rows_of(&bytes, "keys") {
        let mut bad = row.clone();
        *bad.last_mut().unwrap() ^= 0x40;
        let store = open_bytes(&with_row(&bytes, "keys", &key, Some(&bad))).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let mut other = store.run::<Counter>("other").unwrap();
        let mut results: Vec<Result<()>> = Vec::new();
        for key in (1..=6).map(key_of) {
            results.push(run.step(&*key, 99, |_| -> Result<u64> { panic!("ran again") }).map(drop));
        }
        let known = other.step(key_of(1), 99, |_| -> Result<u64> { panic!("ran again") });
        results.push(known.map(drop));
        for key in ["done", "open"] {
            results.push(match store.claim::<u64>("s", key, &1) {
                Ok(Claimed::Fresh(_)) => panic!("claimed again"),
                other => other.map(drop),
            });
        }
        let errors: Vec<&Error> = results.iter().filter_map(|r| r.as_ref().err()).collect();
        assert_eq!(errors.len(), 1, "only the damaged one");
        assert_eq!(errors[0].kind(), ErrorKind::Damaged);
        assert!(errors[0].to_string().contains("repair"), "{}", errors[0]);
        // The run goes on with other keys.
        assert_eq!(run.state().sum, 21);
        run.step("another", 99, |_| Ok(())).unwrap();
    }
}

/// Against: a batch that stops half way at a damaged key, or loses its state there.
#[test]
fn a_batch_that_meets_a_damaged_key_is_refused_whole() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "keys");
    let (key, row) = rows.iter().find(|(key, _)| key.ends_with(b"key-00003")).unwrap();
    let bad = with_row(&bytes, "keys", key, Some(&row[..row.len() - 1]));
    let store = open_bytes(&bad).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let items = [("new-1", 10u64), ("key-00003", 11), ("new-2", 12)];
    let refused = run.batch(items.map(|(key, at)| (key, at, ())), |tx, ()| {
        tx.state.sum = 0;
        Ok(0u64)
    });
    assert_eq!(kind(refused), ErrorKind::Damaged);
    assert_eq!((run.state().sum, run.steps()), (21, 6));
    assert_eq!(seen(&mut run, "new-1").unwrap(), None);
}

/// Against: a damaged row of the user's own that a step reads, and goes on with what it has done.
#[test]
fn a_step_that_reads_a_damaged_row_is_refused_and_leaves_no_trace() {
    let bytes = furnished();
    let (key, row) = rows_of(&bytes, "rows").remove(1);
    let bad = with_row(&bytes, "rows", &key, Some(&row[..row.len() - 1]));
    let store = open_bytes(&bad).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let refused = run.step("new", 10, |tx| {
        tx.state.sum = 0;
        tx.put("x", &1u64)?;
        tx.get::<u64>(key_of(2))
    });
    assert_eq!(kind(refused), ErrorKind::Damaged);
    assert_eq!((run.state().sum, run.steps()), (21, 6));
    assert_eq!(run.get::<u64>("x").unwrap(), None);
    // Written anew it is sound again.
    run.step("anew", 10, |tx| tx.put(key_of(2), &2u64)).unwrap();
    assert_eq!(run.get(key_of(2)).unwrap(), Some(2u64));
}

/// Against: a damaged intent that is skipped and forgotten, or sent as something else.
#[test]
fn a_relay_that_meets_a_damaged_intent_says_so_and_delivers_the_others() {
    let bytes = furnished();
    for (key, row) in rows_of(&bytes, "intents").into_iter().filter(|(key, _)| key[0] == 0) {
        let mut bad = row.clone();
        bad[30] ^= 1;
        let store = open_bytes(&with_row(&bytes, "intents", &key, Some(&bad))).unwrap();
        assert_eq!(kind(store.recovery()), ErrorKind::Damaged);
        let mut half = Half(0);
        let delivered = store.relay(&ORDERS).deliver(&mut half).unwrap();
        assert_eq!((delivered.set_aside, delivered.problems[0].kind), (1, ErrorKind::Damaged));
        assert!(key.ends_with(&delivered.problems[0].id.sequence().to_be_bytes()));
        // The damaged one is not sent, and the others are.
        assert_eq!(half.0, delivered.confirmed + delivered.rejected + delivered.not_sent);
        // Steps do not need it.
        count(&mut store.run::<Counter>("run").unwrap(), 50).unwrap();
    }
}

/// Against: a damaged state for which a fresh one is put in place.
#[test]
fn a_damaged_run_is_refused_and_never_started_afresh() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "runs");
    let (key, row) = rows.iter().find(|(key, _)| key == b"run").unwrap();
    let mut bad = row.clone();
    bad[25] ^= 1;
    let bad = with_row(&bytes, "runs", key, Some(&bad));
    let disk = Arc::new(MemoryDisk::from_bytes(bad.clone()));
    let store = Options::new().open_on(disk.clone()).unwrap();
    for _ in 0..2 {
        let refused = error(store.run::<Counter>("run"));
        assert_eq!(refused.kind(), ErrorKind::Damaged);
        assert!(refused.to_string().contains("run"), "{refused}");
    }
    count(&mut store.run::<Counter>("other").unwrap(), 2).unwrap();
    drop(store);
    assert!(rows_of(&disk.to_bytes(), "runs").iter().any(|row| row == &rows_of(&bad, "runs")[1]));
}

/// Against: a store without its own header, a table or a schema that is taken for a new one.
#[test]
fn what_is_missing_of_the_stores_own_is_damage_and_not_a_beginning() {
    let bytes = furnished();
    for key in [b"identity".as_slice(), b"head"] {
        let without = with_row(&bytes, "meta", key, None);
        assert_eq!(kind(open_bytes(&without)), ErrorKind::Damaged);
    }
    let schemas = rows_of(&bytes, "schemas");
    let without = with_row(&bytes, "schemas", &schemas[0].0, None);
    assert_eq!(kind(open_bytes(&without).unwrap().run::<Counter>("run")), ErrorKind::Damaged);
    for (table, _) in TABLES.into_iter().filter(|(table, _)| *table != "meta") {
        let without = tampered(&bytes, |txn| {
            let gone = TableDefinition::<&[u8], &[u8]>::new(table);
            assert!(txn.delete_table(gone).unwrap());
        });
        let truth = ask_everything(&bytes);
        let errors = only_true_answers_or_errors(&without, &truth, table);
        assert!(!errors.is_empty(), "without {table}: nobody noticed");
    }
}

/// Against: tables of other types under our names, which redb answers with a panic or a guess.
#[test]
fn a_table_of_another_type_is_damage_and_no_panic() {
    let bytes = furnished();
    let truth = ask_everything(&bytes);
    for (table, _) in TABLES.into_iter().filter(|(table, _)| *table != "meta") {
        let other = tampered(&bytes, |txn| {
            txn.delete_table(TableDefinition::<&[u8], &[u8]>::new(table)).unwrap();
            let mut rows = txn.open_table(TableDefinition::<u64, &str>::new(table)).unwrap();
            rows.insert(1, "x").unwrap();
            assert!(rows.first().unwrap().is_some());
        });
        let errors = only_true_answers_or_errors(&other, &truth, table);
        assert!(!errors.is_empty(), "{table}: nobody noticed");
    }
}

/// Against: a record of a newer program read as if it were of this one.
#[test]
fn a_record_with_a_newer_layout_is_too_new_and_not_damaged() {
    let bytes = furnished();
    let newer = |table: &'static str, number: u8, key: &[u8]| {
        let rows = rows_of(&bytes, table);
        let (key, row) = rows.iter().find(|(found, _)| found.ends_with(key)).unwrap();
        let row = reframed(number, key, row, |row| row[9] = 2);
        open_bytes(&with_row(&bytes, table, key, Some(&row)))
    };
    assert_eq!(kind(newer("meta", 0, b"head")), ErrorKind::TooNew);
    assert_eq!(kind(newer("meta", 0, b"identity")), ErrorKind::TooNew);
    let store = newer("runs", 2, b"run").unwrap();
    assert_eq!(kind(store.run::<Counter>("run")), ErrorKind::TooNew);
    let store = newer("keys", 5, b"key-00003").unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(kind(seen(&mut run, "key-00003")), ErrorKind::TooNew);
    let store = newer("keys", 5, b"done").unwrap();
    assert_eq!(kind(store.claim::<u64>("s", "done", &1)), ErrorKind::TooNew);
}

/// Against: a frame of a newer program called damaged, so that `repair` puts it away.
#[test]
fn a_record_in_a_newer_frame_is_too_new_and_not_damaged() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "runs");
    let (key, row) = rows.iter().find(|(key, _)| key == b"run").unwrap();
    let row = reframed(2, key, row, |row| row[2] = 2);
    let store = open_bytes(&with_row(&bytes, "runs", key, Some(&row))).unwrap();
    assert_eq!(kind(store.run::<Counter>("run")), ErrorKind::TooNew);
}

/// Against: a sound frame in a codec this program does not know, decoded as bincode.
#[test]
fn a_record_in_another_codec_is_an_error() {
    let bytes = furnished();
    let rows = rows_of(&bytes, "runs");
    let (key, row) = rows.iter().find(|(key, _)| key == b"run").unwrap();
    let row = reframed(2, key, row, |row| row[3] = 4);
    let store = open_bytes(&with_row(&bytes, "runs", key, Some(&row))).unwrap();
    let refused = kind(store.run::<Counter>("run"));
    assert!(matches!(refused, ErrorKind::Damaged | ErrorKind::TooNew), "{refused:?}");
}

/// Against: sound frames with bytes in them that are no record: wrong variants, lengths that go on
/// for ever.
#[test]
fn a_sound_frame_around_nonsense_is_an_error_and_never_a_wrong_answer() {
    let bytes = furnished();
    let truth = ask_everything(&bytes);
    let mut rng = Rng::new(3);
    for (table, number) in TABLES {
        let rows = rows_of(&bytes, table);
        let (key, row) = &rows[rows.len() / 2];
        for nonsense in [vec![], vec![255; 40], vec![253; 40], vec![0; 400]] {
            let row = reframed(number, key, row, |row| {
                row.truncate(21);
                row.extend_from_slice(&nonsense);
            });
            let bad = with_row(&bytes, table, key, Some(&row));
            let what = format!("{table} {:?}", nonsense.first());
            only_true_answers_or_errors_or_nonsense(&bad, &truth, &what);
        }
        // Also bytes that nearly are one.
        for _ in 0..4 {
            let at = 21 + usize::try_from(rng.below(row.len() as u64 - 21)).unwrap();
            let row = reframed(number, key, row, |row| row[at] = 252);
            let bad = with_row(&bytes, table, key, Some(&row));
            only_true_answers_or_errors_or_nonsense(&bad, &truth, table);
        }
    }
}

/// Whoever can make checksums hold can also lie; but no known key is new, and nothing panics.
fn only_true_answers_or_errors_or_nonsense(bytes: &[u8], truth: &Answers, what: &str) {
    for (question, answer) in ask_everything(bytes) {
        if let Ok(answer) = answer
            && (question.contains("key") || question.starts_with("claim"))
        {
            let was = truth[&question].as_ref().unwrap();
            let forgotten = answer == "None" || answer.starts_with("Fresh");
            assert!(!forgotten || &answer == was, "{what}: {question} is new: {answer}");
        }
    }
}

/// Against: a damaged calendar row that stops every step of the store once it is due.
#[test]
fn a_damaged_calendar_row_forgets_nothing_and_does_not_stop_the_bot() {
    let clock = clock();
    let options = Options::new().clock(clock.clone());
    let (disk, store) = on_disk(&options);
    let mut run = store.run::<Counter>("run").unwrap();
    run.step(Key::new("k").expires_after(second(10)), 1, |_| Ok(1u64)).unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let (key, row) = rows_of(&bytes, "expiry").remove(0);
    let mut bad = row.clone();
    *bad.last_mut().unwrap() ^= 1;
    let bad = with_row(&bytes, "expiry", &key, Some(&bad));
    clock.set(T0);
    clock.advance(days(0) + second(60));
    let store = options.open_on(Arc::new(MemoryDisk::from_bytes(bad))).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let again = run.step("k", 2, |_| -> Result<u64> { panic!("forgotten by a damaged row") });
    assert!(again.is_ok() || kind(again) == ErrorKind::Damaged);
    let other = run.step("other", 2, |_| Ok(1u64));
    assert!(other.is_ok(), "a damaged calendar row stops every step: {}", error(other));
}

/// Against: a store handle that a damaged record has made unusable for everything else.
#[test]
fn damage_in_one_record_poisons_nothing() {
    let bytes = furnished();
    let (key, row) = rows_of(&bytes, "keys").remove(1);
    let store = open_bytes(&with_row(&bytes, "keys", &key, Some(&row[..30]))).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    for n in 1..=6 {
        let _ = seen(&mut run, &key_of(n));
    }
    count(&mut run, 7).unwrap();
    assert_eq!(run.state().sum, 28);
    store.close().unwrap();
}
