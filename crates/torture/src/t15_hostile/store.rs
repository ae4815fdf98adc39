//! A small store with a record of every kind, hostile rows in its place, and the questions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::hostile::Spot;
use milepost::testing::{Rng, Tape};
use milepost::{
    Claimed, Delivery, Endpoint, Error, ErrorKind, Key, ManualClock, MemoryDisk, Options, Result,
    Sent, Store, Timestamp, Topic,
};

use super::{Outcome, disturb, place_in, refuses_bytes};

const ORDERS: Topic<u64, u64> = Topic::new("orders");
const KEYS: u64 = 12;
const CLAIMS: u64 = 6;

/// What a store answered, by question.
type Answers = BTreeMap<String, Result<String, ErrorKind>>;

/// The store, and where its rows stand.
pub(super) struct Planted {
    image: Vec<u8>,
    rows: Vec<Spot>,
    truth: Answers,
}

impl Planted {
    pub(super) fn new() -> Result<Self, String> {
        let image = image().map_err(|error| format!("making a store: {error}"))?;
        let truth = ask(&open(&image).map_err(|error| error.to_string())?);
        let mut rows = Spot::all(&image);
        // Older versions of rows stand on pages that are free by now: nobody asks for those.
        rows.retain(|spot| {
            let mut bad = image.clone();
            if let Some(byte) = bad.get_mut(spot.at.start) {
                *byte ^= 1;
            }
            open(&bad).map_or(true, |store| ask(&store) != truth)
        });
        if rows.len() < 20 {
            return Err(format!("only {} rows of the store were found in its bytes", rows.len()));
        }
        Ok(Self { image, rows, truth })
    }

    /// Table, key and bytes of a row.
    pub(super) fn row(&self, rng: &mut Rng) -> (u8, &[u8], &[u8]) {
        let spot = self.spot(rng);
        (spot.table, &spot.key, self.image.get(spot.at.clone()).unwrap_or_default())
    }

    /// Where a row stands.
    pub(super) fn place_of(&self, row: &[u8]) -> (u8, &[u8]) {
        let here = |spot: &&Spot| self.image.get(spot.at.clone()) == Some(row);
        self.rows.iter().find(here).map_or((u8::MAX, &[]), |spot| (spot.table, &spot.key))
    }

    fn spot(&self, rng: &mut Rng) -> &Spot {
        static NOWHERE: Spot = Spot { table: 0, key: Vec::new(), at: 0..0 };
        let nth = usize::try_from(rng.below(self.rows.len() as u64)).unwrap_or(0);
        self.rows.get(nth).unwrap_or(&NOWHERE)
    }

    /// Bytes of rows that are not what was written, on pages that nobody verifies: every answer is
    /// the true one, or an error.
    pub(super) fn damaged(&self, rng: &mut Rng) -> Outcome {
        let mut image = self.image.clone();
        for _ in 0..=rng.below(3) {
            let spot = self.spot(rng);
            let Some(row) = image.get_mut(spot.at.clone()) else { continue };
            let at = place_in(rng, row);
            if let Some(byte) = row.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        self.judge(&image, |_, truth, answer| truth == answer)
    }

    /// Payloads that nobody encoded, under checksums that hold: whoever can do that can lie, also about
    /// the time; but no known key is new that was not to expire.
    pub(super) fn forged(&self, rng: &mut Rng) -> Outcome {
        let mut image = self.image.clone();
        self.spot(rng).reseal(&mut image, |payload| disturb(rng, payload));
        self.judge(&image, |question, truth, answer| {
            answer != NEW || truth == NEW || question.starts_with(EXPIRING)
        })
    }

    fn judge(&self, image: &[u8], right: impl Fn(&str, &str, &str) -> bool) -> Outcome {
        let said = match open(image) {
            Ok(store) => ask(&store),
            Err(error) if refuses_bytes(error.kind()) => return Outcome::TypedError,
            Err(error) => return Outcome::Violation(format!("I7: {:?} {error}", error.kind())),
        };
        let mut outcome = Outcome::Same;
        for (question, answer) in &said {
            match (self.truth.get(question), answer) {
                (_, Err(kind)) if refuses_bytes(*kind) => outcome = Outcome::TypedError,
                (_, Err(kind)) => return Outcome::Violation(format!("I7: {question}: {kind:?}")),
                (Some(Ok(truth)), Ok(answer)) if right(question, truth, answer) => {}
                (truth, Ok(answer)) => {
                    return Outcome::Wrong(format!("{question}: {answer}, not {truth:?}"));
                }
            }
        }
        outcome
    }
}

/// The answer for a key that was never seen.
const NEW: &str = "new";
/// What the questions for keys that expire begin with.
const EXPIRING: &str = "expiring";

fn options() -> Options {
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    // Nobody verifies the pages: what is found is found by the rows' own frames.
    Options::new().clock(clock).cache_bytes(1 << 20).verify_on_open_bytes(0)
}

fn open(image: &[u8]) -> Result<Store> {
    options().open_on(Arc::new(MemoryDisk::from_bytes(image.to_vec())))
}

fn image() -> Result<Vec<u8>> {
    let disk = Arc::new(MemoryDisk::new());
    let store = options().create_on(disk.clone())?;
    let mut run = store.run::<Tape>("run")?;
    run.batch((0..KEYS).map(|n| (key_of(n), n, n)), |tx, n| {
        tx.state.sum += n;
        if n.is_multiple_of(4) {
            tx.put(name_of(n), &n)?;
            tx.emit(&ORDERS, &n)?;
        }
        Ok(n)
    })?;
    store.relay(&ORDERS).deliver(&mut InTurn(0))?;
    for n in 0..CLAIMS {
        if let Claimed::Fresh(claim) = store.claim::<u64>("calls", n.to_string(), &n)?
            && n.is_multiple_of(2)
        {
            claim.complete(&n)?;
        }
    }
    drop(run);
    store.close()?;
    Ok(disk.to_bytes())
}

fn name_of(n: u64) -> String {
    format!("key-{n:04}")
}

fn expires(n: u64) -> bool {
    n.is_multiple_of(3)
}

fn key_of(n: u64) -> Key {
    let key = Key::new(name_of(n));
    if expires(n) { key.expires_after(Duration::from_secs(60)) } else { key }
}

/// Confirms, doubts, does not send, in turn.
struct InTurn(u64);

impl Endpoint<u64, u64> for InTurn {
    fn call(&mut self, _: &Delivery<u64>) -> Sent<u64> {
        self.0 += 1;
        match self.0 % 3 {
            1 => Sent::Confirmed(self.0),
            2 => Sent::Ambiguous("timeout".into()),
            _ => Sent::NotSent("offline".into()),
        }
    }
}

/// Asks everything. What is new is claimed by it, which the answer says.
fn ask(store: &Store) -> Answers {
    let mut said = Answers::new();
    let mut note = |question: String, answer: Result<String>| {
        said.insert(question, answer.map_err(|error| error.kind()));
    };
    match store.run::<Tape>("run") {
        Err(error) => note("the run".into(), Err(error)),
        Ok(mut run) => {
            let now = format!("{:?} {:?} {}", run.state(), run.position(), run.steps());
            note("the run".into(), Ok(now));
            for n in 0..KEYS {
                let row = run.get::<u64>(name_of(n)).map(|row| format!("{row:?}"));
                note(format!("row {n}"), row);
                let done = run.step(name_of(n), u64::MAX, |_| -> Result<u64> {
                    Err(Error::abort("it is new"))
                });
                let done = match done {
                    Err(error) if error.kind() == ErrorKind::Aborted => Ok(NEW.to_owned()),
                    done => done.map(|done| done.into_outcome().to_string()),
                };
                let expiring = if expires(n) { EXPIRING } else { "lasting" };
                note(format!("{expiring} key {n}"), done);
            }
        }
    }
    let intents = store.intents();
    let list = [intents.outstanding("orders", usize::MAX), intents.settled("orders", usize::MAX)];
    for (name, list) in ["outstanding", "settled"].into_iter().zip(list) {
        note(name.into(), list.map(|list| format!("{list:?}")));
    }
    let open = store.recovery().map(|found| format!("{:?}", found.claims_in_doubt));
    note("open claims".into(), open);
    for n in 0..CLAIMS {
        let claimed = store.claim::<u64>("calls", n.to_string(), &n);
        let answer = match claimed {
            Ok(Claimed::Fresh(_)) => Ok(NEW.to_owned()),
            Ok(known) => Ok(format!("{known:?}")),
            // What the row says, as it says that the call was made.
            Err(error)
                if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::BeyondHorizon) =>
            {
                Ok(format!("{:?}", error.kind()))
            }
            Err(error) => Err(error),
        };
        note(format!("claim {n}"), answer);
    }
    said
}
