//! A small store with something of every kind in it, and what is known of it: to be damaged, or to be
//! kept as a golden one.

use std::sync::Arc;

use milepost::{Claimed, Error, ManualClock, MemoryDisk, Options, Timestamp};

use super::judge::{Call, Known, Order};
use super::past;
use super::work::{RUN, SCOPE, TOPIC, Tour, call_key, call_outcome, take_step};

const STEPS: u64 = 40;
const CALLS: u64 = 6;
/// Long ago, so that the machine's clock agrees that it is later.
const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// A store with something of every kind, closed in order, and what is known of it.
pub(crate) fn sound_store() -> Result<(Vec<u8>, Known), Error> {
    sound_stores().map(|(_, closed, known)| (closed, known))
}

/// The same store as a kill would leave it, and closed in order. As small as it can be.
pub(crate) fn sound_stores() -> Result<(Vec<u8>, Vec<u8>, Known), Error> {
    let disk = Arc::new(MemoryDisk::new());
    let store = Options::new().clock(ManualClock::new(NOW)).create_on(disk.clone())?;
    let mut known = known_of("");
    let mut run = store.run::<Tour>(RUN)?;
    for _ in 0..STEPS {
        if take_step(&mut run)? == STEPS / 2 {
            store.relay(&TOPIC).deliver(&mut known)?;
        }
    }
    for n in 1..=CALLS {
        let Claimed::Fresh(claim) = store.claim::<u64>(SCOPE, call_key(n), &n)? else {
            return Err(Error::abort("a call of a new store is not new"));
        };
        if is_complete(n) {
            claim.complete(&call_outcome(n))?;
        }
    }
    drop(run);
    past::leave(&store)?;
    let killed = disk.to_bytes();
    store.close()?;
    known.orders.values_mut().for_each(|order| order.acknowledged = true);
    Ok((killed, disk.to_bytes(), known))
}

/// Of the calls, the others were begun and nobody knows what became of them.
fn is_complete(call: u64) -> bool {
    !call.is_multiple_of(3)
}

/// What is known of the sound store, which sent these orders.
pub(crate) fn known_of(orders: &str) -> Known {
    let call = |n| {
        let complete = is_complete(n);
        (n, Call { effects: u32::from(complete), acknowledged: complete })
    };
    let order = |line: &str| {
        let (external, payload) = line.split_once(' ')?;
        let payload = payload.parse().ok()?;
        Some((external.to_owned(), Order { payload, effects: 1, acknowledged: true }))
    };
    Known {
        acknowledged: STEPS,
        begun: STEPS,
        calls: (1..=CALLS).map(call).collect(),
        orders: orders.lines().filter_map(order).collect(),
        epoch: 0,
    }
}

/// The external ids are the store's own, and another process draws others.
pub(crate) fn orders_of(known: &Known) -> String {
    let line = |(external, order): (&String, &Order)| format!("{external} {}\n", order.payload);
    known.orders.iter().map(line).collect()
}
