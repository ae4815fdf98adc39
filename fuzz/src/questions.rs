//! A small store with a record of every kind, and every question that can be asked of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use milepost::{
    Claimed, Delivery, Endpoint, Error, ErrorKind, Key, ManualClock, MemoryDisk, Options, Result,
    Sent, Store, Timestamp, Topic, Versioned,
};
use serde::{Deserialize, Serialize};

const ORDERS: Topic<u64, u64> = Topic::new("orders");
const KEYS: u64 = 60;
const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// A state of a few hundred bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    sum: u64,
    by_name: BTreeMap<String, i64>,
    closes: Vec<u64>,
}

impl Versioned for Book {
    const NAME: &'static str = "book";
    const VERSION: u32 = 1;
}

/// With a clock that stands still, so that nothing expires while a fuzzer runs.
pub fn options() -> Options {
    Options::new().clock(ManualClock::new(NOW)).cache_bytes(1 << 20)
}

/// The bytes of the store, closed in order.
pub fn sample() -> Vec<u8> {
    let disk = Arc::new(MemoryDisk::new());
    let store = options().create_on(disk.clone()).unwrap();
    fill(&store).unwrap();
    store.close().unwrap();
    disk.to_bytes()
}

fn fill(store: &Store) -> Result<()> {
    let mut run = store.run::<Book>("run")?;
    for from in (0..KEYS).step_by(20) {
        let items = (from..from + 20).map(|n| (key_of(n), n, n));
        run.batch(items, |tx, n| {
            tx.state.sum += n;
            tx.state.by_name.insert(format!("name-{}", n % 7), 3 - n.cast_signed());
            tx.state.closes.push(59_000 + n);
            if n.is_multiple_of(10) {
                tx.put(name_of(n), &(n, "row".to_owned()))?;
                tx.emit(&ORDERS, &n)?;
            }
            Ok(n)
        })?;
    }
    let (orders, mut receiver) = (store.relay(&ORDERS), InTurn(0));
    orders.deliver(&mut receiver)?;
    let doubts = store.recovery()?.intents_in_doubt;
    store.intents().confirm(&doubts[0], Some(&1u64), "by hand")?;
    for n in 0..9u64 {
        if let Claimed::Fresh(claim) = store.claim::<u64>("calls", n.to_string(), &n)?
            && !n.is_multiple_of(3)
        {
            claim.complete(&n)?;
        }
    }
    Ok(())
}

fn name_of(n: u64) -> String {
    format!("key-{n:04}")
}

fn key_of(n: u64) -> Key {
    let key = Key::new(name_of(n));
    if n.is_multiple_of(4) { key.expires_after(Duration::from_secs(60)) } else { key }
}

/// Confirms, doubts, does not send and refuses, in turn.
struct InTurn(u64);

impl Endpoint<u64, u64> for InTurn {
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

/// What a store answered, by question.
pub type Answers = BTreeMap<String, Result<String, ErrorKind>>;

/// Asks everything, and changes nothing that could be asked for.
pub fn ask(store: &Store) -> Answers {
    let mut said = Answers::new();
    let mut note = |question: String, answer: Result<String>| {
        said.insert(question, answer.map_err(|error| error.kind()));
    };
    match store.run::<Book>("run") {
        Err(error) => note("the run".into(), Err(error)),
        Ok(mut run) => {
            let now = format!("{:?} {:?} {}", run.state(), run.position(), run.steps());
            note("the run".into(), Ok(now));
            for n in 0..KEYS + 2 {
                let key = name_of(n);
                note(
                    format!("row {n}"),
                    run.get::<(u64, String)>(&key).map(|row| format!("{row:?}")),
                );
                let done = run.step(key, u64::MAX, |_| -> Result<u64> { Err(Error::abort("new")) });
                let done = match done {
                    Err(error) if error.kind() == ErrorKind::Aborted => Ok("new".to_owned()),
                    done => done.map(|done| done.into_outcome().to_string()),
                };
                note(format!("key {n}"), done);
            }
        }
    }
    let intents = store.intents();
    let list = [intents.outstanding("orders", usize::MAX), intents.settled("orders", usize::MAX)];
    for (name, list) in ["outstanding", "settled"].into_iter().zip(list) {
        if let Ok(list) = &list {
            for intent in list {
                let whole = store.intent(&ORDERS, &intent.id);
                note(format!("intent {}", intent.id), whole.map(|intent| format!("{intent:?}")));
            }
        }
        note(name.into(), list.map(|list| format!("{list:?}")));
    }
    note("audit".into(), intents.audit(usize::MAX).map(|audit| format!("{audit:?}")));
    note(
        "open claims".into(),
        store.recovery().map(|found| format!("{:?}", found.claims_in_doubt)),
    );
    for n in 0..9u64 {
        // Those that are not known would be claimed, which is an answer too, and a wrong one.
        let claimed = store.claim::<u64>("calls", n.to_string(), &n);
        let answer = match claimed {
            // What the row says, right or wrong: no error of the store's.
            Err(error)
                if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::BeyondHorizon) =>
            {
                Ok(format!("{:?}", error.kind()))
            }
            claimed => claimed.map(|claimed| format!("{claimed:?}")),
        };
        note(format!("claim {n}"), answer);
    }
    note("quarantine".into(), store.quarantine().list().map(|list| format!("{list:?}")));
    said
}

/// The first answer that is neither the true one nor an error that says why there is none.
pub fn first_wrong(truth: &Answers, said: &Answers) -> Option<String> {
    said.iter().find_map(|(question, answer)| {
        let wrong = match (truth.get(question), answer) {
            (_, Err(kind)) => !is_honest(*kind),
            (Some(Ok(truth)), Ok(answer)) => truth != answer,
            // An intent that is not in the list of the truth, say.
            _ => true,
        };
        wrong.then(|| format!("{question}: {answer:?}, not {:?}", truth.get(question)))
    })
}

/// Whether an error says that something is wrong with the bytes.
pub fn is_honest(kind: ErrorKind) -> bool {
    use ErrorKind::{Damaged, Invalid, LimitExceeded, Poisoned, SchemaMismatch, TooNew};
    matches!(kind, Damaged | Invalid | LimitExceeded | Poisoned | SchemaMismatch | TooNew)
        || matches!(kind, ErrorKind::Uncertain(_) | ErrorKind::Io)
}
