//! The crash matrix finds loops that cannot be killed, and passes those that can.

use std::collections::BTreeMap;

use milepost::testing::{Outside, crash_matrix};
use milepost::{
    Claimed, Delivery, Durability, Endpoint, Options, Probe, Result, Sent, Store, Topic,
};

use crate::support::{Counter, key_of};

const ORDERS: Topic<u64, u64> = Topic::new("orders");
const LETTERS: Topic<u64, u64> = Topic::new("letters");

/// Does what it is sent, every time it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Exchange {
    fills: BTreeMap<String, u64>,
}

impl Endpoint<u64, u64> for Exchange {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        *self.fills.entry(delivery.external_id.to_string()).or_default() += 1;
        Sent::Confirmed(delivery.payload * 2)
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        if self.fills.contains_key(delivery.external_id.as_str()) {
            Probe::Applied(delivery.payload * 2)
        } else {
            Probe::NotApplied
        }
    }
}

const INPUTS: u64 = 4;
const ORDERS_MADE: u64 = INPUTS / 2;

/// As a bot is written: pure steps, a relay behind each.
fn trade(store: &Store, exchange: &mut Outside<'_, Exchange>) -> Result<()> {
    let mut run = store.run::<Counter>("run")?;
    let relay = store.relay(&ORDERS);
    relay.deliver(exchange)?;
    for n in run.next_index().max(1)..=INPUTS {
        run.step(key_of(n), n, |tx| {
            tx.state.sum += n;
            tx.put("last", &n)?;
            if n % 2 == 0 {
                tx.emit(&ORDERS, &n)?;
            }
            Ok(tx.state.sum)
        })?;
        relay.deliver(exchange)?;
    }
    Ok(())
}

/// Against: points that are passed over, or counted without having been tried.
#[test]
fn a_loop_that_can_be_killed_is_killed_at_every_flush_and_around_every_effect() {
    for durability in [Durability::OnePhase, Durability::TwoPhase] {
        let crashes = crash_matrix(Exchange::default(), trade)
            .options(Options::new().durability(durability))
            .check(|_, exchange| exchange.clone())
            .unwrap();
        assert_eq!(crashes.effects, ORDERS_MADE);
        // Opening, picking the run up, closing; the steps; two commits for each order.
        assert!(crashes.flushes >= 3 + INPUTS + 2 * ORDERS_MADE, "{crashes}");
        assert_eq!(crashes.kills_at_flush, crashes.flushes);
        assert_eq!(crashes.power_cuts_at_flush, crashes.flushes);
        assert_eq!((crashes.before_effect, crashes.after_effect), (4, 4));
        assert_eq!(crashes.in_recovery, 0);
        assert_eq!(crashes.total(), 2 * crashes.flushes + 8);
    }
}

/// Against: recovery that works once, and not when it is cut short itself.
#[test]
fn a_loop_is_killed_again_while_it_recovers() {
    let crashes = crash_matrix(Exchange::default(), trade)
        .again(2)
        .check(|_, exchange| exchange.clone())
        .unwrap();
    assert!(crashes.in_recovery > 2 * crashes.kills_at_flush, "{crashes}");
}

/// Against: an effect inside a step, which is done before the step is durable.
#[test]
fn an_effect_inside_a_step_is_found_and_the_failure_says_how_to_see_it_again() {
    let work = |store: &Store, exchange: &mut Outside<'_, Exchange>| -> Result<()> {
        let mut run = store.run::<Counter>("run")?;
        for n in run.next_index().max(1)..=INPUTS {
            run.step(key_of(n), n, |tx| {
                exchange.effect("buy", |exchange| {
                    *exchange.fills.entry(key_of(n)).or_default() += 1;
                });
                tx.state.sum += n;
                Ok(())
            })?;
        }
        Ok(())
    };
    let fills = |_: &Store, exchange: &Exchange| exchange.fills.clone();
    let failure = crash_matrix(Exchange::default(), work).check(fills).unwrap_err();
    let crash = failure.crash().unwrap().to_owned();
    let told = failure.to_string();
    assert!(told.contains("effects") && told.contains("\"key-00001\": 2"), "{told}");
    assert!(told.contains("effect 1: buy"), "{told}");
    assert!(told.contains(&format!(".only(\"{crash}\")")), "{told}");
    let again = crash_matrix(Exchange::default(), work).only(&crash).check(fills);
    assert_eq!(again.unwrap_err(), failure);
    // A point at which this loop is right.
    let sound = crash_matrix(Exchange::default(), work).only("kill before effect 1").check(fills);
    assert_eq!(sound.unwrap().total(), 1);
}

/// Against: an effect that is taken for done because it was about to be.
#[test]
fn an_effect_that_is_lost_is_found() {
    let work = |store: &Store, exchange: &mut Outside<'_, Exchange>| -> Result<()> {
        for n in 1..=INPUTS {
            if let Claimed::Fresh(claim) = store.claim::<u64>("buy", key_of(n), &n)? {
                claim.complete(&n)?;
                exchange.effect("buy", |exchange| exchange.fills.insert(key_of(n), n));
            }
        }
        Ok(())
    };
    let failure =
        crash_matrix(Exchange::default(), work).check(|_, world| world.clone()).unwrap_err();
    assert!(failure.crash().unwrap().contains("flush"), "{failure}");
    assert!(failure.to_string().contains("effects"), "{failure}");
}

/// Against: doubt that is left standing, so that the loop ends with less than it should.
#[test]
fn a_claim_that_is_left_in_doubt_is_found() {
    let work = |settles: bool| {
        move |store: &Store, exchange: &mut Outside<'_, Exchange>| -> Result<()> {
            for n in 1..=INPUTS {
                loop {
                    match store.claim::<u64>("buy", key_of(n), &n)? {
                        Claimed::Fresh(claim) => {
                            exchange.effect("buy", |exchange| exchange.fills.insert(key_of(n), n));
                            claim.complete(&n)?;
                        }
                        Claimed::InDoubt(doubt) if settles => {
                            let done = exchange
                                .effect("ask", |world| world.fills.contains_key(&key_of(n)));
                            let settled = if done { doubt.confirm(&n) } else { doubt.release() };
                            settled?;
                            continue;
                        }
                        _ => {}
                    }
                    break;
                }
            }
            Ok(())
        }
    };
    let fills = |_: &Store, exchange: &Exchange| exchange.fills.clone();
    crash_matrix(Exchange::default(), work(true)).again(2).check(fills).unwrap();
    let failure = crash_matrix(Exchange::default(), work(false)).check(fills).unwrap_err();
    assert!(failure.to_string().contains("key \"key-00001\" of \"buy\""), "{failure}");
}

/// Against: a comparison that passes whatever it is shown.
#[test]
fn a_state_that_depends_on_the_crash_is_found_without_being_asked_for() {
    let work = |store: &Store, _: &mut Outside<'_, ()>| -> Result<()> {
        let epoch = store.epoch().get();
        let mut run = store.run::<Counter>("run")?;
        run.step("only", 1u64, |tx| {
            tx.state.sum = epoch;
            Ok(())
        })?;
        Ok(())
    };
    let failure = crash_matrix((), work).check(|_, ()| ()).unwrap_err();
    assert!(failure.to_string().contains("run \"run\""), "{failure}");
    assert!(failure.crash().is_some());
}

/// Against: a verdict on a loop that does something else every time.
#[test]
fn a_loop_that_does_not_do_the_same_twice_is_told_so() {
    let mut runs = 0u64;
    let work = |store: &Store, _: &mut Outside<'_, ()>| -> Result<()> {
        runs += 1;
        let mut run = store.run::<Counter>("run")?;
        run.step("only", 1u64, |_| Ok(runs))?;
        Ok(())
    };
    let failure = crash_matrix((), work).check(|_, ()| ()).unwrap_err();
    assert_eq!(failure.crash(), None);
    assert!(failure.to_string().contains("does not do the same twice"), "{failure}");
}

/// Against: a loop that fails by itself, and is held against its own failure.
#[test]
fn a_loop_that_fails_or_panics_without_a_crash_is_told_so() {
    let fails = |_: &Store, _: &mut Outside<'_, ()>| Err::<(), _>("no market today");
    let failure = crash_matrix((), fails).check(|_, ()| ()).unwrap_err();
    assert!(failure.to_string().contains("no market today"), "{failure}");
    let panics = |_: &Store, _: &mut Outside<'_, ()>| -> Result<()> {
        std::panic::resume_unwind(Box::new("a bug"))
    };
    let failure = crash_matrix((), panics).check(|_, ()| ()).unwrap_err();
    assert!(failure.to_string().contains("a bug"), "{failure}");
    assert_eq!(failure.crash(), None);
}

/// Against: a loop that works, and does not start again.
#[test]
fn a_loop_that_does_not_come_to_its_end_after_a_crash_is_found() {
    let work = |store: &Store, _: &mut Outside<'_, ()>| -> std::result::Result<(), String> {
        let mut run = store.run::<Counter>("run").map_err(|error| error.to_string())?;
        if run.steps() == 1 {
            return Err("half done, and nobody knows how".to_owned());
        }
        for n in 1..=2 {
            run.step(key_of(n), n, |_| Ok(())).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    let failure = crash_matrix((), work).check(|_, ()| ()).unwrap_err();
    assert!(failure.to_string().contains("half done"), "{failure}");
    assert!(failure.crash().is_some());
}

/// Against: a misspelt crash that tries nothing and passes.
#[test]
fn a_crash_that_is_not_there_does_not_pass() {
    let all = |_: &Store, exchange: &Exchange| exchange.clone();
    for crash in ["kill at dawn", "kill at flush 9999", "power cut after effect 77"] {
        let failure = crash_matrix(Exchange::default(), trade).only(crash).check(all).unwrap_err();
        assert_eq!(failure.crash(), None, "{failure}");
    }
}

/// Against: a long loop that nobody waits for.
#[test]
fn a_long_loop_is_killed_at_points_spread_over_it() {
    let crashes = crash_matrix(Exchange::default(), trade)
        .at_most(6)
        .check(|_, exchange| exchange.clone())
        .unwrap();
    assert_eq!(crashes.total(), 12);
    assert!(crashes.before_effect + crashes.after_effect > 0, "{crashes}");
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Town {
    exchange: Exchange,
    post: Exchange,
    prices: Vec<u64>,
}

/// Against: a world with more than one receiver, and one that is only read.
#[test]
fn a_loop_with_several_relays_reaches_each_part_of_the_world() {
    let town = Town { prices: vec![3, 5], ..Town::default() };
    let work = |store: &Store, town: &mut Outside<'_, Town>| -> Result<()> {
        let mut run = store.run::<Counter>("run")?;
        let (orders, letters) = (store.relay(&ORDERS), store.relay(&LETTERS));
        for (n, price) in (0u64..).zip(town.world().prices.clone()) {
            run.step(key_of(n), n, |tx| {
                tx.emit(&ORDERS, &price)?;
                tx.emit(&LETTERS, &n)
            })?;
        }
        orders.deliver(&mut town.part(|town| &mut town.exchange))?;
        letters.deliver(&mut town.part(|town| &mut town.post))?;
        Ok(())
    };
    let crashes = crash_matrix(town, work)
        .check(|_, town| (town.exchange.clone(), town.post.clone()))
        .unwrap();
    assert_eq!(crashes.effects, 4);
}
