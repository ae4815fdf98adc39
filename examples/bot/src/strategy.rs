//! The strategy: long while the mean of the last 2 closes is above the mean of the last 10, else
//! flat. It knows nothing of stores, sockets or crashes. Integer arithmetic only, so that the
//! same bars and fills always end in the same bytes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::market::Bar;

/// What the bot would lose by forgetting, and double by repeating.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strategy {
    /// The last `SLOW` closes, in cents, oldest first.
    closes: VecDeque<i64>,
    pub(crate) cash_cents: i64,
    pub(crate) shares: i64,
    /// Orders decided.
    pub(crate) orders: u64,
    /// Orders whose fill is in the books.
    pub(crate) fills: u64,
}

/// A market order; `number` is the index of the bar it was decided on: one bar, one order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    pub(crate) side: Side,
    pub(crate) shares: i64,
    /// The close it was decided on. The fake exchange fills at this price, so that what an order
    /// costs depends on the order alone and never on when it got there.
    pub(crate) price_cents: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Side {
    Buy,
    Sell,
}

/// What the exchange did about an order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Fill {
    pub(crate) order: u64,
    pub(crate) side: Side,
    pub(crate) shares: i64,
    pub(crate) price_cents: i64,
}

const FAST: usize = 2;
const SLOW: usize = 10;
/// So that two means can be compared without dividing.
const SLOW_OVER_FAST: i64 = 5;

impl Default for Strategy {
    fn default() -> Self {
        Self { closes: VecDeque::new(), cash_cents: 10_000_000, shares: 0, orders: 0, fills: 0 }
    }
}

impl Strategy {
    /// Takes in a bar and decides. An order changes nothing but its count until it is filled.
    pub(crate) fn on_bar(&mut self, bar: &Bar) -> Option<Order> {
        self.closes.push_back(bar.close_cents);
        if self.closes.len() > SLOW {
            self.closes.pop_front();
        }
        let (side, shares) = self.signal(bar.close_cents)?;
        self.orders += 1;
        Some(Order { number: bar.index, side, shares, price_cents: bar.close_cents })
    }

    /// Books a fill. Booking one twice, or never, is the loss this example is about.
    pub(crate) fn on_fill(&mut self, fill: &Fill) {
        let signed = fill.signed_shares();
        self.shares += signed;
        self.cash_cents -= signed * fill.price_cents;
        self.fills += 1;
    }

    fn signal(&self, close_cents: i64) -> Option<(Side, i64)> {
        if self.closes.len() < SLOW {
            return None;
        }
        let fast = self.closes.iter().rev().take(FAST).sum::<i64>() * SLOW_OVER_FAST;
        let slow = self.closes.iter().sum::<i64>();
        let affordable = self.cash_cents / 10 * 9 / close_cents;
        match self.shares {
            0 if fast > slow && affordable > 0 => Some((Side::Buy, affordable)),
            held if held > 0 && fast < slow => Some((Side::Sell, held)),
            _ => None,
        }
    }
}

impl Order {
    /// The fill a market order gets: all of it, at once, at its price.
    pub(crate) fn filled(&self) -> Fill {
        let Self { number, side, shares, price_cents } = *self;
        Fill { order: number, side, shares, price_cents }
    }
}

impl Fill {
    pub(crate) fn signed_shares(&self) -> i64 {
        match self.side {
            Side::Buy => self.shares,
            Side::Sell => -self.shares,
        }
    }
}

/// The whole story in memory, with no process, file or socket that could go wrong: what every
/// run must end with, and what the undisturbed runs are checked against.
pub(crate) fn replay(market: &[Bar]) -> (Strategy, Vec<Fill>) {
    let mut strategy = Strategy::default();
    let mut fills = Vec::new();
    for bar in market {
        if let Some(order) = strategy.on_bar(bar) {
            let fill = order.filled();
            strategy.on_fill(&fill);
            fills.push(fill);
        }
    }
    (strategy, fills)
}
