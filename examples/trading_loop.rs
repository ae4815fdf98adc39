//! A trading loop: each bar counts once, and each order is placed once, wherever it is killed.
//!
//! `cargo run --example trading_loop`; `tests/it/examples.rs` kills it at every flush and around every
//! call of the exchange.

use std::collections::BTreeMap;

use milepost::{Delivery, Endpoint, Probe, Result, Sent, Store, Topic, Versioned};
use serde::{Deserialize, Serialize};

/// All that the bot has to remember.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Momentum {
    pub(crate) last_close: i64,
    pub(crate) ordered: i64,
}

impl Versioned for Momentum {
    const NAME: &'static str = "momentum";
    const VERSION: u32 = 1;
}

/// Shares to buy, and the price in cents at which they were bought.
const ORDERS: Topic<i64, i64> = Topic::new("orders");

const BARS: [(&str, i64); 4] =
    [("02-16", 59_810), ("02-17", 60_125), ("02-18", 60_040), ("02-19", 60_400)];

pub(crate) fn trade(store: &Store, exchange: &mut impl Endpoint<i64, i64>) -> Result<Momentum> {
    let mut run = store.run::<Momentum>("spy-daily")?;
    let orders = store.relay(&ORDERS);
    orders.deliver(exchange)?; // what a kill has left
    for (index, (date, close)) in (0u64..).zip(BARS) {
        if index < run.next_index() {
            continue;
        }
        run.step(date, index, |tx| {
            if tx.state.last_close > 0 && close > tx.state.last_close {
                tx.state.ordered += 1;
                tx.emit(&ORDERS, &1)?;
            }
            tx.state.last_close = close;
            Ok(())
        })?;
        orders.deliver(exchange)?;
    }
    Ok(run.state().clone())
}

/// An exchange that is asked by client order id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) fills: BTreeMap<String, u32>,
}

impl Endpoint<i64, i64> for Exchange {
    fn call(&mut self, order: &Delivery<i64>) -> Sent<i64> {
        *self.fills.entry(order.external_id.to_string()).or_default() += 1;
        Sent::Confirmed(60_130 * order.payload)
    }

    fn probe(&mut self, order: &Delivery<i64>) -> Probe<i64> {
        match self.fills.get(order.external_id.as_str()) {
            Some(_) => Probe::Applied(60_130 * order.payload),
            None => Probe::NotApplied,
        }
    }
}

#[allow(dead_code, reason = "the test that kills it has a main of its own")]
fn main() -> Result<()> {
    let mut exchange = Exchange::default();
    let state = trade(&Store::in_memory()?, &mut exchange)?;
    println!("{state:?}, {} orders at the exchange", exchange.fills.len());
    Ok(())
}
