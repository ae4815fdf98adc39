//! The same inputs give the same content, wherever it crashed on the way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use milepost::testing::{Call, Effect, Fault, Platter, Rng, SimDisk};
use milepost::{Delivery, Endpoint, ErrorKind, IntentState, Options, Probe, Result, Sent, Store};

use crate::support::{Content, Counter, ORDERS, key_of};

const INPUTS: u64 = 6;

/// Fills what it gets, and answers questions; a second copy of an order is a second fill.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Exchange {
    fills: BTreeMap<u64, u64>,
    ids: HashSet<String>,
}

impl Endpoint<u64, u64> for Exchange {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        *self.fills.entry(delivery.payload).or_default() += 1;
        self.ids.insert(delivery.external_id.to_string());
        Sent::Confirmed(delivery.payload * 2)
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        if self.ids.contains(delivery.external_id.as_str()) {
            Probe::Applied(delivery.payload * 2)
        } else {
            Probe::NotApplied
        }
    }
}

/// The bot: goes on behind its position, and delivers after every step.
fn work(store: &Store, exchange: &mut Exchange) -> Result<()> {
    let mut run = store.run::<Counter>("run")?;
    let relay = store.relay(&ORDERS);
    relay.deliver(exchange)?;
    for n in run.next_index().max(1)..=INPUTS {
        run.step(key_of(n), n, |tx| {
            tx.state.sum = tx.state.sum * 3 + n;
            tx.state.seen.push(n);
            tx.put("last", &tx.state.sum.clone())?;
            if n % 2 == 0 {
                tx.emit(&ORDERS, &n)?;
            }
            Ok(tx.state.sum)
        })?;
        relay.deliver(exchange)?;
    }
    Ok(())
}

/// What two stores must agree on: no times, and no ids that are drawn at creation.
fn digest(store: &Store) -> (Content, Option<u64>) {
    let keys: Vec<_> = (0..=INPUTS).map(key_of).collect();
    let mut content = Content::of(store, &keys, "orders").unwrap();
    // Who said that it was done is part of the story, not of the end.
    for (_, state) in content.intents.values_mut() {
        if matches!(state, IntentState::Confirmed { .. }) {
            *state = IntentState::Prepared;
        }
    }
    let last = store.run::<Counter>("run").unwrap().get("last").unwrap();
    (content, last)
}

/// Runs to the end, with a crash at each of these operations, counted from the open before.
fn run_with_crashes(
    base: &Platter,
    crashes: &[u64],
    rng: &mut Rng,
) -> ((Content, Option<u64>), Exchange) {
    let mut exchange = Exchange::default();
    let mut bytes = base.clone();
    for at in crashes {
        let disk = Arc::new(SimDisk::of(bytes));
        let effect = [Effect::Nothing, Effect::Half, Effect::All][(at % 3) as usize];
        disk.arm(Some(Fault { nth: *at, effect, ..Fault::at(0) }));
        let ended =
            Options::new().open_on(disk.clone()).and_then(|store| work(&store, &mut exchange));
        if let Err(error) = ended {
            assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)),
                "{:?} {error}",
                error.kind()
            );
        }
        bytes = if rng.one_in(2) { disk.live() } else { disk.cut_somehow(rng) };
    }
    let disk = Arc::new(SimDisk::of(bytes));
    let store = Options::new().open_on(disk).unwrap();
    work(&store, &mut exchange).unwrap();
    (digest(&store), exchange)
}

fn created() -> (Platter, u64) {
    let disk = Arc::new(SimDisk::default());
    drop(Options::new().create_on(disk.clone()).unwrap());
    let base = disk.live();
    disk.arm(None);
    work(&Options::new().open_on(disk.clone()).unwrap(), &mut Exchange::default()).unwrap();
    (base, disk.count(Call::Change))
}

/// Against: a state, an outcome or a fill that depends on where the program was killed.
#[test]
fn one_crash_at_any_operation_changes_nothing_of_the_end() {
    let (base, operations) = created();
    let mut rng = Rng::new(2);
    let undisturbed = run_with_crashes(&base, &[], &mut rng);
    assert_eq!(undisturbed.1.fills, [(2, 1), (4, 1), (6, 1)].into());
    assert_eq!(undisturbed.0.0.keys.len() as u64, INPUTS);
    for at in (0..operations).step_by(2) {
        let disturbed = run_with_crashes(&base, &[at], &mut rng);
        assert_eq!(disturbed, undisturbed, "crashed at operation {at} of {operations}");
    }
}

/// Against: the same after many crashes, some of them while the last one is being recovered from.
#[test]
fn many_crashes_change_nothing_of_the_end() {
    let (base, operations) = created();
    let mut rng = Rng::new(3);
    let undisturbed = run_with_crashes(&base, &[], &mut rng);
    for round in 0..25 {
        let crashes: Vec<_> = (0..6).map(|_| rng.below(operations / 2)).collect();
        let disturbed = run_with_crashes(&base, &crashes, &mut rng);
        assert_eq!(disturbed, undisturbed, "round {round}: crashed at {crashes:?}");
    }
}
