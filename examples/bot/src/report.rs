//! The judgement: what the killed run did, beside what the undisturbed one did.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::Engine;
use crate::exchange::Row;
use crate::strategy::{Fill, Strategy};
use crate::supervisor::Played;

/// What `--json` prints, field by field.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) engine: &'static str,
    pub(crate) bars: usize,
    pub(crate) kills: usize,
    /// Orders the bot decided to place, each once.
    pub(crate) intents: u64,
    /// Fills in the exchange's ledger.
    pub(crate) orders_at_exchange: usize,
    /// Fills beyond the one that each order of the undisturbed run got.
    pub(crate) duplicates: usize,
    /// Orders of the undisturbed run that were never filled.
    pub(crate) lost: usize,
    pub(crate) in_doubt_settled_by_probe: usize,
    pub(crate) final_state_matches: bool,
    pub(crate) digest: String,
}

impl Verdict {
    pub(crate) fn judge(
        engine: Engine,
        bars: usize,
        calm: &Played,
        killed: &Played,
    ) -> serde_json::Result<Self> {
        let (wanted, got) = (calm.fills(), killed.fills());
        let (wanted, got) = (by_order(&wanted), by_order(&got));
        let fills = |of: &BTreeMap<u64, usize>, order| of.get(order).copied().unwrap_or(0);
        Ok(Self {
            engine: engine.name(),
            bars,
            kills: killed.kills.len(),
            intents: killed.intents,
            orders_at_exchange: got.values().sum(),
            duplicates: got.iter().map(|(order, n)| n.saturating_sub(fills(&wanted, order))).sum(),
            lost: wanted.keys().filter(|order| fills(&got, order) == 0).count(),
            in_doubt_settled_by_probe: settled_by_probe(&killed.ledger),
            final_state_matches: serde_json::to_vec(&calm.strategy)?
                == serde_json::to_vec(&killed.strategy)?,
            digest: digest(killed)?,
        })
    }

    /// Whether nothing was done twice, nothing was forgotten, and the bot knows it.
    pub(crate) fn holds(&self) -> bool {
        self.duplicates == 0 && self.lost == 0 && self.final_state_matches
    }
}

/// How many doubts the exchange's answer ended. An order is asked about only while it is in
/// doubt, and its attempt is counted durably before it is sent; so each (order, attempt, requests
/// that had arrived) in the exchange's own synced ledger is one doubt, however many lives it took
/// to write the answer down. The worker's memory, which dies with it, is not asked.
pub(crate) fn settled_by_probe(ledger: &[Row]) -> usize {
    let doubts: HashSet<_> = ledger
        .iter()
        .filter_map(|row| match row {
            Row::Asked { order, attempt, sends, .. } => Some((order, attempt, sends)),
            _ => None,
        })
        .collect();
    doubts.len()
}

fn by_order(fills: &[Fill]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for fill in fills {
        *counts.entry(fill.order).or_default() += 1;
    }
    counts
}

/// Of what was done, not of when: the final state, and the fills sorted by order, without ids or
/// times. The same seed gives the same digest, wherever the kills fell.
pub(crate) fn digest(played: &Played) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Logical<'a> {
        state: &'a Strategy,
        fills: &'a [Fill],
    }
    let logical = Logical { state: &played.strategy, fills: &played.fills() };
    Ok(blake3::hash(&serde_json::to_vec(&logical)?).to_hex().to_string())
}
