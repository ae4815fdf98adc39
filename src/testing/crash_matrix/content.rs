//! What a store holds, without what a crash may change: no times, no epochs, no numbers of attempts,
//! and not who said that an effect was done.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::report::Difference;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ledger::{
    IntentRecord, KeyRecord, KeyState, RowRecord, RunRecord, SchemaRecord, Stage, intent_of_key,
};
use crate::record::{Payload, unnamed};
use crate::store::{Read, Store, Table};

/// The facts of a store: what each is called, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content(BTreeMap<String, String>);

impl Content {
    /// What is durable, as of `now`: whether a key that is over has been forgotten depends on how
    /// many commits there were since.
    pub(super) fn of(store: &Store, now: Timestamp) -> Result<Self> {
        let rows = store.read()?;
        let all = |table| rows.scan(table, &[], &[], usize::MAX);
        let mut facts = BTreeMap::new();
        let mut schemas = BTreeMap::new();
        for (key, row) in all(Table::Schemas)? {
            let schema: SchemaRecord = rows.parse(&key, &row)?;
            schemas.insert(key, format!("{} version {}", schema.name, schema.version));
        }
        for (key, row) in all(Table::Runs)? {
            let run: RunRecord = rows.parse(&key, &row)?;
            let schema = schemas.get(run.schema.to_be_bytes().as_slice());
            let schema = schema.map_or("an unknown type", String::as_str);
            let told = format!(
                "at {}, {} steps, {schema} {}",
                run.position,
                run.steps,
                bytes_of(&run.state)
            );
            facts.insert(format!("run {}", name_of(&key, 0)), told);
        }
        for (key, row) in all(Table::Keys)? {
            let record: KeyRecord = rows.parse(&key, &row)?;
            if record.deadline.is_none_or(|deadline| deadline > now) {
                facts.insert(format!("key {}", name_of(&key, 2)), of_key(&record));
            }
        }
        for (key, row) in all(Table::Rows)? {
            let told = match rows.parse(&key, &row)? {
                RowRecord::Value(value) => bytes_of(&value.payload),
                RowRecord::Lost { .. } => "damaged".to_owned(),
            };
            facts.insert(format!("row {}", name_of(&key, 0)), told);
        }
        for (key, row) in all(Table::Intents)? {
            let record: IntentRecord = rows.parse(&key, &row)?;
            let id = intent_of_key(&key).map_or_else(|| text_of(&key), |id| id.to_string());
            facts.insert(format!("intent {id}"), of_intent(&record));
        }
        Ok(Self(facts))
    }

    /// What differs from another store.
    pub(super) fn difference(&self, other: &Self) -> Difference {
        let mut difference = Difference::default();
        let missing = || "is not there".to_owned();
        for (name, fact) in &self.0 {
            let its = other.0.get(name).cloned().unwrap_or_else(missing);
            if its != *fact {
                difference.add(name, fact.clone(), its);
            }
        }
        for (name, fact) in other.0.iter().filter(|(name, _)| !self.0.contains_key(*name)) {
            difference.add(name, missing(), fact.clone());
        }
        difference
    }
}

fn of_key(record: &KeyRecord) -> String {
    let state = match &record.state {
        KeyState::Done { outcome } => format!("done, {}", bytes_of(&outcome.payload)),
        other => other.name().to_owned(),
    };
    match record.request {
        Some(request) => format!("{state}, of request {request:?}"),
        None => state,
    }
}

fn of_intent(record: &IntentRecord) -> String {
    let stage = match &record.stage {
        Stage::Confirmed { outcome: Some(outcome), .. } => {
            format!("confirmed, {}", bytes_of(&outcome.payload))
        }
        Stage::Confirmed { outcome: None, .. } => "confirmed without an outcome".to_owned(),
        Stage::Rejected { why, .. } => format!("rejected: {why}"),
        // Nobody is sending it any more.
        Stage::InFlight => "in doubt".to_owned(),
        other => other.name().to_owned(),
    };
    let payload = record.payload.as_ref();
    let payload = payload.map_or_else(|| "lost".to_owned(), |value| bytes_of(&value.payload));
    format!("{stage}; to be done: {payload}; external id {}", record.external_id)
}

/// The name and what stands under it, behind a prefix of our own.
fn name_of(key: &[u8], skip: usize) -> String {
    match unnamed(key, skip) {
        Some((name, [])) => format!("\"{name}\""),
        Some((name, rest)) => format!("\"{}\" of \"{name}\"", text_of(rest)),
        None => format!("\"{}\"", text_of(key)),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// A value by its encoded bytes: the store does not know the user's types.
fn bytes_of(payload: &Payload) -> String {
    const SHOWN: usize = 48;
    let bytes = payload.bytes();
    let mut told = format!("{} bytes ", bytes.len());
    for byte in bytes.iter().take(SHOWN) {
        // Writing to a string does not fail.
        let _ = write!(told, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        let _ = write!(
            told,
            "… (blake3 {})",
            blake3::hash(bytes).to_hex().get(..16).unwrap_or_default()
        );
    }
    told
}
