//! The bot's own strategy on its own market data, continued from checkpoints: nothing that follows may
//! tell that there was a break.

use milepost::testing::Rng;
use milepost::{
    CheckpointFilter, CheckpointId, Done, Labels, Options, Retention, Run, Store, Topic, Versioned,
};
use serde::{Deserialize, Serialize};

use crate::market::{Bar, bars};
use crate::strategy::{Fill, Order, Strategy, replay};
use crate::support::{killed, on_disk, open_bytes};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Books(Strategy);

impl Versioned for Books {
    const NAME: &'static str = "books";
    const VERSION: u32 = 1;

    /// What was paid for the shares and what is left are what there was.
    fn validate(&self) -> Result<(), String> {
        let Strategy { orders, fills, shares, .. } = &self.0;
        if orders == fills && *shares >= 0 { Ok(()) } else { Err("an order without a fill".into()) }
    }
}

const BARS: usize = 1_500;
const POSITIONS: usize = 20;
/// Bars in one commit.
const AT_ONCE: usize = 50;

/// Trades these bars, with a checkpoint at each of these positions; the orders.
fn trade(run: &mut Run<Books>, market: &[Bar], keep: &[u64]) -> Vec<Order> {
    let mut orders = Vec::new();
    for some in market.chunks(AT_ONCE) {
        let bars = some.iter().map(|bar| (bar.date, bar.index, bar));
        let done = run.batch(bars, |tx, bar| {
            let order = tx.state.0.on_bar(bar);
            if let Some(order) = &order {
                tx.emit(&Topic::<_, Fill>::new("orders"), order)?;
                tx.state.0.on_fill(&order.filled());
            }
            if keep.contains(&bar.index) {
                tx.checkpoint(Labels::new().with("kept", "yes"))?;
            }
            Ok(order)
        });
        orders.extend(done.unwrap().into_iter().filter_map(|done| match done {
            Done::Fresh(order) => order,
            Done::Duplicate(order) => panic!("done before: {order:?}"),
        }));
    }
    orders
}

fn end(store: &Store, run: &str) -> CheckpointId {
    store.checkpoints().save(run, &Labels::new()).unwrap()
}

/// Against: a checkpoint that leaves out, rounds or reorders something that only shows later.
#[test]
fn a_bot_that_goes_on_from_any_of_twenty_positions_ends_where_it_would_have() {
    let market = bars(Some(BARS)).unwrap();
    let mut rng = Rng::new(2026);
    let keep: Vec<u64> = (0..POSITIONS as u64).map(|nth| nth * 75 + rng.below(75)).collect();
    let (disk, store) = on_disk(&Options::new().retention(Retention::keep_all()));
    let mut run = store.run::<Books>("undisturbed").unwrap();
    let orders = trade(&mut run, &market, &keep);
    assert!(orders.len() > 100, "{} orders", orders.len());
    let whole = end(&store, "undisturbed");
    let (strategy, _) = replay(&market);
    assert_eq!(run.state().0, strategy);

    // As after a power cut: what is kept comes off the disk, not out of memory.
    drop((run, store));
    let store = open_bytes(&killed(&disk).to_bytes()).unwrap();
    let filter = CheckpointFilter::new().run("undisturbed").label("kept", "yes").page(100);
    let kept = store.checkpoints().list(&filter).unwrap().checkpoints;
    assert_eq!(kept.len(), POSITIONS);
    for checkpoint in kept {
        let at = checkpoint.position.index().unwrap();
        let name = format!("from-{at}");
        store.checkpoints().fork(&checkpoint.id, &name).unwrap();
        let mut run = store.run::<Books>(&name).unwrap();
        assert_eq!(run.steps(), at + 1);
        let rest = usize::try_from(at).unwrap() + 1;
        let expected: Vec<Order> =
            orders.iter().filter(|order| order.number > at).cloned().collect();
        assert_eq!(trade(&mut run, &market[rest..], &[]), expected, "from {at}");
        assert_eq!(end(&store, &name), whole, "from {at}");
    }
    assert!(store.verify().unwrap().is_sound());
}
