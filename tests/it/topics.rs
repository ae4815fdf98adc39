//! Topics and their two types. Against: an order that is delivered to an endpoint of another topic's
//! type, or whose answer nobody can read, because two parts of a program, or two releases of it, mean
//! different types by one name.

use milepost::{Delivery, Endpoint, ErrorKind, Options, Sent, Store, Topic, TopicName};
use serde::{Deserialize, Serialize};

use crate::support::{Counter, error, killed, kind, on_disk, rows_of};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    shares: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Letter {
    text: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fill {
    price: i64,
}

const ORDERS: Topic<Order, Fill> = Topic::new("orders");
const LETTERS: Topic<Letter, Fill> = Topic::new("orders");
const OTHER_ANSWERS: Topic<Order, Letter> = Topic::new("orders");

struct Desk(u32);

impl Endpoint<Order, Fill> for Desk {
    fn call(&mut self, order: &Delivery<Order>) -> Sent<Fill> {
        self.0 += 1;
        Sent::Confirmed(Fill { price: order.payload.shares * 10 })
    }
}

impl Endpoint<Order, Letter> for Desk {
    fn call(&mut self, _: &Delivery<Order>) -> Sent<Letter> {
        self.0 += 1;
        Sent::Confirmed(Letter { text: "done".into() })
    }
}

fn emit(store: &Store, n: u64) -> milepost::Result<milepost::IntentId> {
    let mut run = store.run::<Counter>("run")?;
    Ok(run.step(n.to_string(), n, |tx| tx.emit(&ORDERS, &Order { shares: 5 }))?.into_outcome())
}

#[test]
fn two_topics_of_one_name_in_one_program_are_refused_by_both_names() {
    let store = Store::in_memory().unwrap();
    emit(&store, 1).unwrap();
    let mut run = store.run::<Counter>("other").unwrap();
    let letter = Letter { text: "hello".into() };
    let refused = error(run.step("k", 1, |tx| tx.emit(&LETTERS, &letter).map(drop)));
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch, "{refused}");
    for name in ["topics::Order", "topics::Letter", "topics::Fill", "\"orders\""] {
        assert!(refused.to_string().contains(name), "{name} is not named: {refused}");
    }
    assert_eq!(run.steps(), 0);
    let mut desk = Desk(0);
    let refused = error(store.relay(&OTHER_ANSWERS).deliver(&mut desk));
    assert_eq!((refused.kind(), desk.0), (ErrorKind::SchemaMismatch, 0), "{refused}");
    assert!(refused.to_string().contains("topics::Fill") && refused.to_string().contains("Letter"));
    assert_eq!(store.relay(&ORDERS).deliver(&mut desk).unwrap().confirmed, 1);
}

/// Against: the outcome's type of a topic that is written down with the first answer alone, so that a
/// release with another one emits, and finds out when it sends.
#[test]
fn the_next_release_is_refused_by_what_is_stored_at_its_first_emit_and_before_it_sends() {
    let (disk, store) = on_disk(&Options::new());
    emit(&store, 1).unwrap();
    // The state, the outcome of the step, and both types of the topic, in the step's commit.
    drop(store);
    assert_eq!(rows_of(&killed(&disk).to_bytes(), "schemas").len(), 4);
    let store = Options::new().open_on(killed(&disk)).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let step = run.step("k", 2, |tx| tx.emit(&OTHER_ANSWERS, &Order { shares: 1 }).map(drop));
    let refused = error(step);
    assert_eq!(refused.kind(), ErrorKind::SchemaMismatch, "{refused}");
    for name in ["topics::Letter", "price", "\"orders\""] {
        assert!(refused.to_string().contains(name), "{name} is not named: {refused}");
    }
    let mut market = Desk(0);
    assert_eq!(kind(store.relay(&OTHER_ANSWERS).deliver(&mut market)), ErrorKind::SchemaMismatch);
    assert_eq!(market.0, 0, "nothing was sent");
    assert_eq!(store.relay(&ORDERS).deliver(&mut market).unwrap().confirmed, 1);
}

#[test]
fn an_intent_is_looked_up_by_the_topic_that_it_is_of() {
    let store = Store::in_memory().unwrap();
    let id = emit(&store, 1).unwrap();
    let made = Topic::<Order, Fill>::from(TopicName::new("orders").unwrap());
    assert_eq!(store.intent(&made, &id).unwrap().unwrap().payload, Order { shares: 5 });
    let others: Topic<Order, Fill> = Topic::new("others");
    let refused = error(store.intent(&others, &id));
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("others"), "{refused}");
}
