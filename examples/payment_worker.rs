//! A payment worker: each invoice is paid once, wherever it is killed, because the bank can be asked.
//!
//! `cargo run --example payment_worker`; `tests/it/examples.rs` kills it at every flush and around
//! every payment.

use std::cell::RefCell;
use std::collections::BTreeMap;

use milepost::{Probe, Result, Sent, Store};

/// The bank, as an HTTP client would be.
pub(crate) trait Bank {
    /// Pays, and says what is known of it: a timeout is `Sent::Ambiguous`.
    fn pay(&self, invoice: &str, cents: u64) -> Sent<String>;
    /// Finds a payment by the invoice that it names.
    fn find(&self, invoice: &str) -> Probe<String>;
}

const INVOICES: [(&str, u64); 3] = [("2026-117", 25_000), ("2026-118", 8_000), ("2026-119", 1_500)];

/// The receipts of all invoices, paid now or before.
pub(crate) fn pay_all(store: &Store, bank: &impl Bank) -> Result<Vec<String>> {
    let pay_one = |&(invoice, cents): &(&str, u64)| {
        store.once(
            "payments",
            invoice,
            &(invoice, cents),
            || bank.pay(invoice, cents),
            |_| bank.find(invoice),
        )
    };
    INVOICES.iter().map(pay_one).collect()
}

/// A bank that pays as often as it is told to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) payments: BTreeMap<String, u64>,
}

impl Ledger {
    pub(crate) fn pay(&mut self, invoice: &str, cents: u64) -> Sent<String> {
        *self.payments.entry(invoice.to_owned()).or_default() += cents;
        Sent::Confirmed(format!("receipt of {invoice}"))
    }

    pub(crate) fn find(&self, invoice: &str) -> Probe<String> {
        match self.payments.get(invoice) {
            Some(_) => Probe::Applied(format!("receipt of {invoice}")),
            None => Probe::NotApplied,
        }
    }
}

impl Bank for RefCell<Ledger> {
    fn pay(&self, invoice: &str, cents: u64) -> Sent<String> {
        self.borrow_mut().pay(invoice, cents)
    }

    fn find(&self, invoice: &str) -> Probe<String> {
        self.borrow().find(invoice)
    }
}

#[allow(dead_code, reason = "the test that kills it has a main of its own")]
fn main() -> Result<()> {
    let bank = RefCell::new(Ledger::default());
    let store = Store::in_memory()?;
    for receipt in pay_all(&store, &bank)? {
        println!("{receipt}");
    }
    pay_all(&store, &bank)?; // pays nothing again
    println!("{:?}", bank.into_inner());
    Ok(())
}
