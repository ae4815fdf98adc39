//! The bot on Milepost. This is the file to read for how such a program is written; the `stage`
//! lines alone are scaffolding, there for the supervisor to kill it in the worst places.
//!
//! 1. A step is pure: it changes the state and emits an intent. It never calls the exchange.
//! 2. The relay delivers what steps emitted, and asks before it sends anything again.
//! 3. A second step books what the exchange answered, under the order's own id.
//!
//! A crash between any two lines costs nothing: the next life settles what it finds first, then
//! goes on behind the run's position. There is no recovery code beside the code that runs anyway.

use std::error::Error;
use std::path::Path;

use milepost::{
    Delivery, Done, Endpoint, Intent, IntentId, IntentState, Probe, Relay, Run, Sent, Store, Topic,
    Versioned,
};
use serde::{Deserialize, Serialize};

use crate::market::Bar;
use crate::stage::{Stage, Window};
use crate::strategy::{Fill, Order, Strategy};
use crate::wire::{Call, Desk, Reply};

/// Trades the whole market, from wherever the last life got to.
pub(crate) fn trade(
    dir: &Path,
    market: &[Bar],
    mut desk: Desk,
    stage: Stage,
) -> Result<(), Box<dyn Error>> {
    let store = Store::open_or_create(dir.join(STORE))?;
    trade_on(&store, market, &mut desk, stage)?;
    Ok(store.close()?)
}

/// The bot itself, with whatever fills its orders.
pub(crate) fn trade_on(
    store: &Store,
    market: &[Bar],
    desk: &mut impl Endpoint<Order, Fill>,
    stage: Stage,
) -> Result<(), Box<dyn Error>> {
    let mut bot = Bot::open(store, desk, stage)?;
    stage.at(Window::Recovering, bot.next_bar());
    bot.settle()?;
    let next = bot.next_bar();
    for bar in market.iter().skip_while(|bar| bar.index < next) {
        bot.on_bar(bar)?;
        bot.settle()?;
    }
    Ok(())
}

/// Everything the bot must not forget. It is saved whole in every step's commit, together with
/// the step's key, the position and the intents: they cannot disagree after a crash.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    strategy: Strategy,
    /// Orders whose answer is not in the books yet.
    awaiting: Vec<IntentId>,
}

impl Versioned for State {
    const NAME: &'static str = "momentum";
    const VERSION: u32 = 1;
}

struct Bot<'a, D> {
    store: &'a Store,
    run: Run<State>,
    relay: Relay<Order, Fill>,
    desk: &'a mut D,
    stage: Stage,
}

const STORE: &str = "bot.milepost";
const RUN: &str = "sp500-daily";
const ORDERS: Topic<Order, Fill> = Topic::new("orders");
/// A round settles an order unless a message is lost; this many in a row are not bad luck.
const ROUNDS_MAX: u32 = 100;

impl<'a, D: Endpoint<Order, Fill>> Bot<'a, D> {
    fn open(store: &'a Store, desk: &'a mut D, stage: Stage) -> Result<Self, Box<dyn Error>> {
        let run = store.run(RUN)?;
        let relay = store.relay(&ORDERS);
        Ok(Self { store, run, relay, desk, stage })
    }

    fn next_bar(&self) -> u64 {
        self.run.next_index()
    }

    /// One bar, one step: durable as a whole when it returns, or not at all.
    fn on_bar(&mut self, bar: &Bar) -> Result<(), Box<dyn Error>> {
        let stage = self.stage;
        stage.bar(bar.index);
        let done = self.run.step(bar.date, bar.index, |tx| {
            let Some(order) = tx.state.strategy.on_bar(bar) else { return Ok(false) };
            let id = tx.emit(&ORDERS, &order)?;
            tx.state.awaiting.push(id);
            stage.at(Window::BeforeIntentCommit, bar.index);
            Ok(true)
        })?;
        if let Done::Fresh(true) = done {
            stage.at(Window::AfterIntentCommit, bar.index);
        }
        Ok(())
    }

    /// Delivers and books until no order is open or in doubt. Live work and recovery both come
    /// through here, and need nothing but what is in the store.
    fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        let mut rounds = 0;
        while !self.run.state().awaiting.is_empty() {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                let open = &self.run.state().awaiting;
                return Err(format!("not settled after {ROUNDS_MAX} rounds: {open:?}").into());
            }
            self.relay.deliver(self.desk)?;
            for id in self.run.state().awaiting.clone() {
                self.book(&id)?;
            }
        }
        Ok(())
    }

    /// Takes an order's answer into the books, once: its external id is the step's key.
    fn book(&mut self, id: &IntentId) -> Result<(), Box<dyn Error>> {
        let intent: Intent<Order, Fill> = self
            .store
            .intent(&ORDERS, id)?
            .ok_or_else(|| format!("intent {id:?} is not in the store"))?;
        let fill = match intent.state {
            IntentState::Prepared | IntentState::InFlight | IntentState::InDoubt { .. } => {
                return Ok(());
            }
            IntentState::Confirmed { outcome: Some(fill), .. } => Some(fill),
            IntentState::Rejected { .. } => None,
            IntentState::Confirmed { outcome: None, .. } => {
                return Err(format!("{id:?} was confirmed by hand, without its fill").into());
            }
        };
        self.stage.at(Window::AfterOutcomeCommit, intent.payload.number);
        let position = self.run.position().clone();
        self.run.step(intent.external_id.as_str(), position, |tx| {
            tx.state.awaiting.retain(|awaited| awaited != id);
            if let Some(fill) = &fill {
                tx.state.strategy.on_fill(fill);
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The exchange as the relay sees it. The whole duty of a receiver is to say what is known, and
/// no more: what cannot be known is `Ambiguous`, and is asked about before it is ever sent again.
impl Endpoint<Order, Fill> for Desk {
    fn call(&mut self, delivery: &Delivery<Order>) -> Sent<Fill> {
        let sent = match self.place(delivery.external_id.as_str(), &delivery.payload) {
            Call::Answered(Reply::Filled(fill)) => Sent::Confirmed(fill),
            Call::Answered(Reply::Rejected(why)) => Sent::Rejected(why),
            Call::Answered(Reply::Unknown) => Sent::Ambiguous("a strange answer".to_owned()),
            Call::NotSent(why) => Sent::NotSent(why),
            Call::NoAnswer(why) => Sent::Ambiguous(why),
        };
        self.stage().at(Window::BeforeOutcomeCommit, delivery.payload.number);
        sent
    }

    /// "I do not know that order" is `NotApplied` only because it is final: see `wire.rs`.
    fn probe(&mut self, delivery: &Delivery<Order>) -> Probe<Fill> {
        let id = delivery.external_id.as_str();
        let probe = match self.ask(id, delivery.payload.number, delivery.attempt) {
            Call::Answered(Reply::Filled(fill)) => Probe::Applied(fill),
            Call::Answered(Reply::Unknown) => Probe::NotApplied,
            _ => Probe::Unknown,
        };
        self.stage().at(Window::AfterProbe, delivery.payload.number);
        probe
    }
}

/// What a finished bot left in its store: its strategy, and how many intents it emitted.
pub(crate) fn left_behind(dir: &Path) -> Result<(Strategy, u64), Box<dyn Error>> {
    let store = Store::open(dir.join(STORE))?;
    let run: Run<State> = store.run(RUN)?;
    let State { strategy, awaiting } = run.state();
    if !awaiting.is_empty() {
        return Err(format!("the bot ended with orders unsettled: {awaiting:?}").into());
    }
    let recovery = store.recovery()?;
    if !recovery.is_settled() {
        return Err(format!("the store is not settled: {recovery:?}").into());
    }
    let intents = store.intents().settled(&ORDERS, usize::MAX)?;
    Ok((strategy.clone(), intents.len() as u64))
}
