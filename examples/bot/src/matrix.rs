//! The same bot under the crash matrix: in one process, on a disk in memory, killed at every flush and
//! on both sides of every message. This is all it takes; `worker.rs` knows nothing of it.

use std::collections::BTreeMap;
use std::error::Error;

use milepost::testing::{Crashes, Outside, crash_matrix};
use milepost::{Delivery, Endpoint, Probe, Sent, Store};
use serde_json::{Value, json};

use crate::market::Bar;
use crate::rng;
use crate::stage::Stage;
use crate::strategy::{self, Fill, Order};
use crate::worker;

/// Runs the whole matrix over these bars.
pub(crate) fn run(market: &[Bar], seed: u64) -> Result<Crashes, Box<dyn Error>> {
    let floor = Floor { seed, fills: BTreeMap::new(), sends: BTreeMap::new() };
    let (_, fills) = strategy::replay(market);
    let crashes = crash_matrix(floor, |store: &Store, floor: &mut Outside<'_, Floor>| {
        worker::trade_on(store, market, floor, Stage::empty())
    })
    .check(|_, floor| floor.fills.clone())?;
    if crashes.effects < fills.len() as u64 {
        return Err(format!("{} orders, but only {} effects", fills.len(), crashes.effects).into());
    }
    Ok(crashes)
}

pub(crate) fn json(crashes: &Crashes) -> Value {
    json!({
        "crashes": crashes.total(),
        "flushes": crashes.flushes,
        "effects": crashes.effects,
        "kills_at_flush": crashes.kills_at_flush,
        "power_cuts_at_flush": crashes.power_cuts_at_flush,
        "before_effect": crashes.before_effect,
        "after_effect": crashes.after_effect,
    })
}

/// The exchange of `exchange.rs` without its process: fills whatever it gets, a second copy too, and
/// loses requests and replies.
#[derive(Clone)]
struct Floor {
    seed: u64,
    /// By client id, as often as it was filled.
    fills: BTreeMap<String, Vec<Fill>>,
    sends: BTreeMap<u64, u64>,
}

impl Endpoint<Order, Fill> for Floor {
    fn call(&mut self, delivery: &Delivery<Order>) -> Sent<Fill> {
        let order = &delivery.payload;
        let sends = self.sends.entry(order.number).or_insert(0);
        *sends += 1;
        let loss = rng::hash(&[self.seed, order.number, *sends]) % 10;
        if loss == 0 {
            return Sent::Ambiguous("the request was lost".to_owned());
        }
        let fill = order.filled();
        self.fills.entry(delivery.external_id.to_string()).or_default().push(fill.clone());
        if loss == 1 {
            return Sent::Ambiguous("the reply was lost".to_owned());
        }
        Sent::Confirmed(fill)
    }

    fn probe(&mut self, delivery: &Delivery<Order>) -> Probe<Fill> {
        match self.fills.get(delivery.external_id.as_str()).and_then(|fills| fills.first()) {
            Some(fill) => Probe::Applied(fill.clone()),
            None => Probe::NotApplied,
        }
    }
}
