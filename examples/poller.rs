//! A poller: it asks a service what is there, and reports each change of each item once. What it saw
//! last is in rows of its own beside the state.
//!
//! `cargo run --example poller`; `tests/it/examples.rs` kills it at every flush and around every mail.

use std::collections::BTreeMap;

use milepost::{Delivery, Endpoint, Probe, Result, Sent, Store, Topic, Versioned};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Poller {
    pub(crate) changes: u64,
}

impl Versioned for Poller {
    const NAME: &'static str = "poller";
    const VERSION: u32 = 1;
}

/// The text of a mail. A mail server answers nothing.
const MAILS: Topic<String, ()> = Topic::new("mails");

/// What the service answers, poll by poll: items and their versions.
const POLLS: [&[(&str, u64)]; 3] =
    [&[("door", 1), ("lamp", 1)], &[("door", 2), ("lamp", 1)], &[("door", 2), ("lamp", 5)]];

pub(crate) fn poll(
    store: &Store,
    mail: &mut impl Endpoint<String, ()>,
) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut run = store.run::<Poller>("devices")?;
    let mails = store.relay(&MAILS);
    mails.deliver(mail)?; // what a kill has left
    for (nth, items) in (0u64..).zip(POLLS) {
        if nth < run.next_index() {
            continue;
        }
        run.step(nth, nth, |tx| {
            for (name, version) in items {
                let row = format!("item/{name}");
                let before = tx.get::<u64>(&row)?.unwrap_or(0);
                if *version > before {
                    tx.emit(&MAILS, &format!("{name}: {before} -> {version}"))?;
                    tx.put(&row, version)?;
                    tx.state.changes += 1;
                }
            }
            Ok(())
        })?;
        mails.deliver(mail)?;
    }
    run.rows::<u64>("item/").collect()
}

/// A mail server that knows what it has sent by message id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) sent: BTreeMap<String, Vec<String>>,
}

impl Endpoint<String, ()> for Mail {
    fn call(&mut self, mail: &Delivery<String>) -> Sent<()> {
        self.sent.entry(mail.external_id.to_string()).or_default().push(mail.payload.clone());
        Sent::Confirmed(())
    }

    fn probe(&mut self, mail: &Delivery<String>) -> Probe<()> {
        match self.sent.get(mail.external_id.as_str()) {
            Some(_) => Probe::Applied(()),
            None => Probe::NotApplied,
        }
    }
}

#[allow(dead_code, reason = "the test that kills it has a main of its own")]
fn main() -> Result<()> {
    let mut mail = Mail::default();
    let rows = poll(&Store::in_memory()?, &mut mail)?;
    println!("{} rows, {:?}", rows.len(), mail.sent.values().flatten().collect::<Vec<_>>());
    Ok(())
}
