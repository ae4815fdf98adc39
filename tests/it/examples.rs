//! The small programs under `examples/`, killed at every flush and around every call. Against: an
//! example that people copy, and that does something twice, or forgets it, when it is killed.

use std::cell::RefCell;

use milepost::testing::{Crashes, Outside, crash_matrix};
use milepost::{Probe, Result, Sent, Store};

#[path = "../../examples/import_job.rs"]
mod import_job;
#[path = "../../examples/payment_worker.rs"]
mod payment_worker;
#[path = "../../examples/poller.rs"]
mod poller;
#[path = "../../examples/trading_loop.rs"]
mod trading_loop;

use payment_worker::{Bank, Ledger};

fn assert_killed(crashes: &Crashes, effects: u64) {
    assert_eq!((crashes.effects, crashes.before_effect), (effects, effects * 2), "{crashes}");
    assert_eq!(crashes.kills_at_flush, crashes.flushes);
}

#[test]
fn the_trading_loop_places_each_order_once() {
    let trade = |store: &Store, exchange: &mut Outside<'_, trading_loop::Exchange>| -> Result<()> {
        let state = trading_loop::trade(store, exchange)?;
        assert_eq!((state.ordered, state.last_close), (2, 60_400));
        Ok(())
    };
    let crashes = crash_matrix(trading_loop::Exchange::default(), trade)
        .check(|_, exchange| exchange.fills.clone())
        .unwrap();
    assert_killed(&crashes, 2);
}

/// The bank behind what can be cut off on both sides.
struct Line<'a, 'o>(RefCell<&'a mut Outside<'o, Ledger>>);

impl Bank for Line<'_, '_> {
    fn pay(&self, invoice: &str, cents: u64) -> Sent<String> {
        self.0.borrow_mut().effect("pay", |ledger| ledger.pay(invoice, cents))
    }

    fn find(&self, invoice: &str) -> Probe<String> {
        self.0.borrow().world().find(invoice)
    }
}

#[test]
fn the_payment_worker_pays_each_invoice_once() {
    let pay = |store: &Store, ledger: &mut Outside<'_, Ledger>| -> Result<()> {
        let receipts = payment_worker::pay_all(store, &Line(RefCell::new(ledger)))?;
        assert_eq!(receipts.len(), 3);
        Ok(())
    };
    let crashes = crash_matrix(Ledger::default(), pay).check(|_, bank| bank.clone()).unwrap();
    assert_killed(&crashes, 3);
}

#[test]
fn the_import_job_counts_each_line_once() {
    let import = |store: &Store, _: &mut Outside<'_, ()>| -> Result<()> {
        let totals = import_job::import(store)?;
        assert_eq!(totals.lines, 8);
        assert_eq!(totals.cents.into_values().collect::<Vec<_>>(), [170, 266, 65]);
        Ok(())
    };
    let crashes = crash_matrix((), import).check(|_, ()| ()).unwrap();
    // Opening, picking up, closing; two commits of two partitions and one of the third.
    assert!(crashes.kills_at_flush >= 3 + 5, "{crashes}");
}

#[test]
fn the_poller_reports_each_change_once() {
    let poll = |store: &Store, mail: &mut Outside<'_, poller::Mail>| -> Result<()> {
        let rows = poller::poll(store, mail)?;
        assert_eq!(rows, [(b"item/door".to_vec(), 2), (b"item/lamp".to_vec(), 5)]);
        Ok(())
    };
    let crashes =
        crash_matrix(poller::Mail::default(), poll).check(|_, mail| mail.sent.clone()).unwrap();
    assert_killed(&crashes, 4);
}
