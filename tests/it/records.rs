//! Any record of any table, shown as JSON by a program that knows none of the types in it.

use std::time::Duration;

use milepost::{
    AuditAction, Claimed, Delivery, Endpoint, ErrorKind, Key, Labels, MemoryDisk, Options,
    RepairOptions, Sent, Store, Topic, repair,
};
use serde::{Deserialize, Serialize};

use crate::support::{Counter, kind, on_disk, open_bytes, rows_of, with_row};

const ORDERS: Topic<Order, (String, u128)> = Topic::new("orders");

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    qty: u64,
    side: Side,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Side {
    Buy,
    Limit { at: f64 },
}

struct Exchange(u32);

impl Endpoint<Order, (String, u128)> for Exchange {
    fn call(&mut self, _: &Delivery<Order>) -> Sent<(String, u128)> {
        self.0 += 1;
        match self.0 {
            1 => Sent::Confirmed(("filled".into(), u128::MAX)),
            2 => Sent::Rejected("no funds".into()),
            _ => Sent::Ambiguous("timeout".into()),
        }
    }
}

/// A store with a record of every kind in every table.
fn furnished() -> Vec<u8> {
    let (disk, store) = on_disk(&Options::new());
    let mut run = store.run::<Counter>("run").unwrap();
    let order = Order { qty: 5, side: Side::Limit { at: 0.5 } };
    for n in 1..=3 {
        let key = Key::new(n.to_string()).expires_after(Duration::from_secs(3_600));
        run.step(key, n, |tx| {
            tx.put("row", &order)?;
            tx.emit(&ORDERS, &Order { qty: n, side: Side::Buy })?;
            tx.checkpoint(Labels::new())?;
            Ok(Some(order.clone()))
        })
        .unwrap();
    }
    store.relay(&ORDERS).deliver(&mut Exchange(0)).unwrap();
    let doubt = store.recovery().unwrap().intents_in_doubt.remove(0);
    store.intents().reject(&doubt, "anna: it is not there").unwrap();
    let Claimed::Fresh(claim) = store.claim::<Order>("calls", "done", &1).unwrap() else {
        panic!()
    };
    claim.complete(&order).unwrap();
    drop(store.claim::<Order>("calls", "open", &1).unwrap());
    drop((run, store));
    disk.to_bytes()
}

/// Against: a record that only the program that wrote it can show, so that nobody can look into a store
/// whose program is gone.
#[test]
fn every_record_of_every_table_is_shown_as_json() {
    let bytes = furnished();
    // A damaged row, so that there is a quarantine, and a large state for the chunks.
    let (key, mut row) = rows_of(&bytes, "rows").remove(0);
    *row.last_mut().unwrap() ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    std::fs::write(&path, with_row(&bytes, "rows", &key, Some(&row))).unwrap();
    repair(&path, &RepairOptions::new()).unwrap();
    let store = Store::open(&path).unwrap();
    let mut large = store.run::<Counter>("large").unwrap();
    large
        .step("k", 1, |tx| {
            tx.state.seen =
                (0..60_000).map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            tx.checkpoint(Labels::new())?;
            Ok(())
        })
        .unwrap();
    drop(large);
    for table in Store::tables() {
        let all = store.inspect_table(table, None, usize::MAX).unwrap();
        assert!(!all.is_empty(), "nothing in {table}");
        for record in &all {
            let json: serde_json::Value = serde_json::from_str(&record.json)
                .unwrap_or_else(|error| panic!("{table}: {error}: {}", record.json));
            assert!(json.is_object(), "{table}: {json}");
            assert!(json.to_string().find("cannot_be_shown").is_none(), "{table}: {json}");
            let one = store.inspect(table, &record.key).unwrap().unwrap();
            assert!(one == *record);
            assert!(!format!("{one:?}").contains("qty"), "a value was printed");
        }
        // By pages too.
        let mut paged = store.inspect_table(table, None, 1).unwrap();
        while let Some(next) = {
            let after = paged.last().map(|last| last.key.clone()).unwrap();
            store.inspect_table(table, Some(&after), 1).unwrap().pop()
        } {
            paged.push(next);
        }
        assert!(paged == all, "{table}");
        assert_eq!(store.inspect(table, b"\xff none").unwrap(), None);
    }
    assert_eq!(kind(store.inspect("tables", b"")), ErrorKind::Invalid);
    assert_eq!(store.intents().audit(9).unwrap()[0].action, AuditAction::Reject);
}

/// Against: values that are shown as something else, or only as bytes.
#[test]
fn payloads_answers_outcomes_and_rows_are_shown_by_their_fields() {
    let store = open_bytes(&furnished()).unwrap();
    let shown = |table: &str| {
        let all = store.inspect_table(table, None, usize::MAX).unwrap();
        all.into_iter().map(|record| record.json).collect::<Vec<_>>().join("\n")
    };
    let has = |table: &str, part: &str| {
        let json = shown(table);
        assert!(json.contains(part), "{table}: {part} is not in {json}");
    };
    let order = r#"{"qty":5,"side":{"Limit":{"at":0.5}}}"#;
    has("rows", &format!(r#"{{"run":"run","key":"row","value":{order}}}"#));
    has(
        "keys",
        &format!(r#""kind":"step","run":"run","key":"1","state":"done","outcome":{order}"#),
    );
    has(
        "keys",
        &format!(r#""kind":"claim","scope":"calls","key":"done","state":"done","outcome":{order}"#),
    );
    has("keys", r#""scope":"calls","key":"open","state":"in flight""#);
    has(
        "intents",
        r#""payload":{"qty":1,"side":"Buy"},"outcome":["filled",340282366920938463463374607431768211455],"by":"Reply""#,
    );
    has("intents", r#""why":"no funds""#);
    has("audit", r#""note":"anna: it is not there""#);
    has("runs", r#""run":"run","position":{"Index":3},"steps":3"#);
    has("schemas", r#""kind":"Payload","name":"orders","version":1"#);
    has("checkpoints", r#""steps":2"#);
}

/// Against: one value that cannot be shown, which hides all others.
#[test]
fn a_value_whose_schema_is_missing_says_so_and_shows_its_bytes() {
    let mut bytes = furnished();
    for (key, _) in rows_of(&bytes, "schemas").into_iter().skip(1) {
        bytes = with_row(&bytes, "schemas", &key, None);
    }
    let disk = std::sync::Arc::new(MemoryDisk::from_bytes(bytes));
    let store = Options::new().open_on(disk).unwrap();
    let rows = store.inspect_table("rows", None, 9).unwrap();
    assert!(rows[0].json.contains("cannot_be_shown") && rows[0].json.contains("is missing"));
    assert!(rows[0].json.contains(r#""begins":"05"#), "{}", rows[0].json);
    assert!(!store.inspect_table("intents", None, 9).unwrap().is_empty());
}
