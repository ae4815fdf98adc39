//! Any record of any table as JSON, for programs that do not know the types of what is in it.

use std::fmt::{self, Write};

use serde::Serialize;

use super::inspect::shown;
use super::schema::schema_of;
use super::state;
use super::values::schema_of_value;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{
    AuditRecord, CheckpointRow, ClockSet, ContentRecord, ExpiryRecord, IntentRecord, KeyRecord,
    KeyState, META_CLOCK_SET, QuarantineRecord, RowRecord, RunEnd, RunRecord, SchemaRecord, Stage,
    expiry_due, intent_of_key, is_run_end, sequence_of_key,
};
use crate::record::{Maps, Payload, Typed, unnamed};
use crate::store::{Read, Store, Table, list_of, meta_json, row_name};

/// A record of a table, as JSON: see [`Store::inspect`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordView {
    /// Its key, as it is stored.
    pub key: Vec<u8>,
    /// What is in it, as one JSON object. Values of the user's (`state`, `payload`, `outcome`, `value`)
    /// are shown as in [`RunView::state_json`](crate::RunView::state_json); one that cannot be shown is
    /// an object that says why, and has its bytes in hexadecimal digits.
    pub json: String,
}

/// How many bytes of a value that cannot be shown are in its JSON.
const HEX_BYTES_MAX: usize = 64 << 10;

impl Store {
    /// The names of all tables, for [`inspect`](Store::inspect) and
    /// [`inspect_table`](Store::inspect_table).
    #[must_use]
    pub fn tables() -> Vec<&'static str> {
        Table::ALL.into_iter().map(Table::name).collect()
    }

    /// One record of a table as JSON, as it is durable now; `None` if there is none under that key.
    /// It takes no type of the program that wrote it. Changes nothing.
    ///
    /// # Errors
    /// `Invalid` for a table that does not exist; `Damaged` if the record is; `TooNew` if a newer
    /// program wrote it; `Poisoned`.
    pub fn inspect(&self, table: &str, key: &[u8]) -> Result<Option<RecordView>> {
        let table = table_of(table)?;
        let rows = self.read()?;
        match rows.get(table, key)? {
            Some(bytes) => view(&*rows, table, key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The records of a table in the order of their keys, those after the key `after` if one is given,
    /// at most `most`.
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Bot;
    /// # impl milepost::Versioned for Bot {
    /// #     const NAME: &'static str = "bot";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// # let mut run = store.run::<Bot>("spy-daily")?;
    /// run.step("bar-1", 1, |tx| tx.put("fees", &7u64))?;
    /// let rows = store.inspect_table("rows", None, 100)?;
    /// assert_eq!(rows[0].json, r#"{"run":"spy-daily","key":"fees","value":7}"#);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`inspect`](Store::inspect).
    pub fn inspect_table(
        &self,
        table: &str,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<RecordView>> {
        let table = table_of(table)?;
        let rows = self.read()?;
        let from = after.map_or_else(Vec::new, |after| [after, &[0]].concat());
        let listed = rows.scan(table, &[], &from, most)?;
        listed.iter().map(|(key, bytes)| view(&*rows, table, key, bytes)).collect()
    }
}

fn table_of(name: &str) -> Result<Table> {
    Table::ALL.into_iter().find(|table| table.name() == name).ok_or_else(|| {
        let names = Store::tables().join(", ");
        Error::invalid(format!("there is no table \"{name}\": there are {names}"))
    })
}

fn view(rows: &impl Read, table: Table, key: &[u8], bytes: &[u8]) -> Result<RecordView> {
    let json = match table {
        Table::Meta if is_run_end(key) => run_end_json(&rows.parse(key, bytes)?)?,
        Table::Meta if key == META_CLOCK_SET => {
            let set = rows.parse::<ClockSet>(key, bytes)?;
            Object::default().field("at_ms", &set.at.as_ms())?.end()
        }
        Table::Meta => meta_json(rows, key, bytes)?,
        Table::Schemas => schema_json(key, &rows.parse(key, bytes)?)?,
        Table::Runs => run_json(rows, key, &rows.parse(key, bytes)?)?,
        Table::Checkpoints => checkpoint_json(rows, key, rows.parse(key, bytes)?)?,
        Table::Contents => content_json(key, &rows.parse(key, bytes)?)?,
        Table::Keys => key_json(rows, key, &rows.parse(key, bytes)?)?,
        Table::Expiry => expiry_json(key, bytes)?,
        Table::Intents => intent_json(rows, key, &rows.parse(key, bytes)?)?,
        Table::Quarantine => quarantine_json(&rows.parse(key, bytes)?)?,
        Table::Rows => row_json(rows, key, &rows.parse(key, bytes)?)?,
        Table::Audit => audit_json(&rows.parse(key, bytes)?)?,
    };
    Ok(RecordView { key: key.to_vec(), json })
}

/// A JSON object in the making.
#[derive(Default)]
struct Object(String);

impl Object {
    /// A field whose value is JSON already.
    fn json(mut self, name: &str, json: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        // Writing to a string does not fail.
        let _ = write!(self.0, "\"{name}\":{json}");
        self
    }

    fn field(self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(self.json(name, &to_json(value)?))
    }

    fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

fn to_json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::invalid("a record cannot be shown as JSON").with_source(error))
}

/// Bytes that are most often a text.
fn text_of(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("0x{}", hex(bytes)), str::to_owned)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A stored value as JSON, or why it is none.
fn value_json(rows: &impl Read, value: &Typed) -> Result<String> {
    let what = || "the value".to_owned();
    let json = schema_of_value(rows, value.schema, &what)
        .and_then(|schema| shown(&value.payload, &schema, Maps::Pairs, &what));
    or_why(json, &value.payload)
}

fn or_why(json: Result<String>, payload: &Payload) -> Result<String> {
    match json {
        Err(error) if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::LimitExceeded) => {
            let bytes = payload.bytes();
            let begins = bytes.get(..HEX_BYTES_MAX).unwrap_or(bytes);
            let object = Object::default().field("cannot_be_shown", &error.to_string())?;
            Ok(object.field("bytes", &bytes.len())?.field("begins", &hex(begins))?.end())
        }
        json => json,
    }
}

fn schema_json(key: &[u8], schema: &SchemaRecord) -> Result<String> {
    let number = key.try_into().map(u32::from_be_bytes).ok();
    let object = Object::default()
        .field("schema", &number)?
        .field("kind", &schema.kind)?
        .field("name", &schema.name)?
        .field("version", &schema.version)?
        .field("first_seen_ms", &schema.first_seen.as_ms())?;
    Ok(match schema.form.shape() {
        Some(shape) => object.field("shape", shape)?,
        None => object.field("form", &schema.form)?,
    }
    .end())
}

fn run_end_json(end: &RunEnd) -> Result<String> {
    Ok(Object::default()
        .field("number", &end.number)?
        .field("at_ms", &end.at.as_ms())?
        .field("name_stays", &end.name_stays)?
        .end())
}

fn run_json(rows: &impl Read, key: &[u8], run: &RunRecord) -> Result<String> {
    let name = text_of(key);
    let schema = schema_of(rows, run.schema);
    let what = || format!("the state of the run \"{name}\"");
    let json = schema.and_then(|schema| {
        let stored = state::read(rows, run.state.clone(), &RunName::new(&name)?)?;
        shown(&stored.whole(), &schema, Maps::Pairs, &what)
    });
    Ok(Object::default()
        .field("run", &name)?
        .field("position", &run.position)?
        .field("steps", &run.steps)?
        .field("schema", &run.schema)?
        .field("epoch", &run.epoch.get())?
        .field("recovery_attempts", &run.recovery_attempts)?
        .field("created_ms", &run.created.as_ms())?
        .field("changed_ms", &run.changed.as_ms())?
        .json("state", &or_why(json, &run.state)?)
        .end())
}

fn checkpoint_json(rows: &impl Read, key: &[u8], row: CheckpointRow) -> Result<String> {
    let record = match row {
        CheckpointRow::Checkpoint(record) => record,
        CheckpointRow::History(history) => {
            let run = unnamed(key, 1).map(|(run, _)| run.to_owned());
            return Ok(Object::default()
                .field("run", &run)?
                .field("checkpoints", &history.count)?
                .field("bytes_of_states", &history.logical_bytes)?
                .end());
        }
        CheckpointRow::Id => {
            return Ok(Object::default().field("index_of", &hex(key))?.end());
        }
    };
    let place = sequence_of_key(key);
    let json = match &place {
        Some(place) => super::history::proven(rows, place, &record).and_then(|(schema, bytes)| {
            let state = Payload::from_parts(record.codec, bytes);
            shown(&state, &schema, Maps::Pairs, &|| format!("the checkpoint {}", record.id))
        }),
        None => Err(Error::damaged("its key is no checkpoint's")),
    };
    let nothing = Payload::from_parts(record.codec, Vec::new());
    Ok(Object::default()
        .field("id", &record.id.to_string())?
        .field("run", &place.as_ref().map(|place| place.run.to_string()))?
        .field("number", &place.map(|place| place.sequence))?
        .field("position", &record.position)?
        .field("steps", &record.steps)?
        .field("schema", &record.schema)?
        .field("identifying", &record.identifying)?
        .field("labels", &record.labels)?
        .field("at_ms", &record.at.as_ms())?
        .field("automatic", &record.automatic)?
        .field("pinned", &record.pinned)?
        .field("bytes", &record.len)?
        .json("state", &or_why(json, &nothing)?)
        .end())
}

fn content_json(key: &[u8], row: &ContentRecord) -> Result<String> {
    let id = hex(key.get(1..).unwrap_or_default());
    Ok(match row {
        ContentRecord::Chunk(_) => Object::default().field("chunk", &id)?.end(),
        ContentRecord::Count(count) => {
            Object::default().field("chunk", &id)?.field("referrers", count)?.end()
        }
    })
}

fn key_json(rows: &impl Read, key: &[u8], record: &KeyRecord) -> Result<String> {
    let kind = if key.get(1) == Some(&0) { "step" } else { "claim" };
    let (scope, bytes) = unnamed(key, 2).unwrap_or(("", key));
    let object = Object::default()
        .field("kind", kind)?
        .field(if kind == "step" { "run" } else { "scope" }, scope)?
        .field("key", &text_of(bytes))?
        .field("state", record.state.name())?;
    let object = match &record.state {
        KeyState::Done { outcome } => object.json("outcome", &value_json(rows, outcome)?),
        KeyState::InDoubt { why } => object.field("why", why)?,
        KeyState::Lost { quarantine } => object.field("quarantine", quarantine)?,
        KeyState::InFlight => object,
    };
    Ok(object
        .field("fingerprint", &record.request.map(|request| request.fingerprint.to_string()))?
        .field("epoch", &record.epoch.get())?
        .field("changed_ms", &record.changed.as_ms())?
        .field("ttl_ms", &record.ttl_ms)?
        .field("deadline_ms", &record.deadline.map(Timestamp::as_ms))?
        .end())
}

fn expiry_json(key: &[u8], bytes: &[u8]) -> Result<String> {
    let keys = list_of::<ExpiryRecord>(key, bytes)?.map(|listed| {
        let listed = listed.ok_or_else(|| {
            Error::damaged(format!("{} is cut short", row_name(Table::Expiry, key)))
        })?;
        let named = unnamed(&listed, 2);
        Ok(named
            .map_or_else(|| text_of(&listed), |(scope, key)| format!("{scope}/{}", text_of(key))))
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let due = expiry_due(key).map(Timestamp::as_ms);
    Ok(Object::default().field("due_ms", &due)?.field("keys", &keys)?.end())
}

fn intent_json(rows: &impl Read, key: &[u8], record: &IntentRecord) -> Result<String> {
    let payload = record.payload.as_ref().map(|payload| value_json(rows, payload)).transpose()?;
    let object = Object::default()
        .field("intent", &intent_of_key(key).map(|id| id.to_string()))?
        .field("external_id", &record.external_id.to_string())?
        .field("state", record.stage.name())?
        .json("payload", payload.as_deref().unwrap_or("null"));
    let object = match &record.stage {
        Stage::Confirmed { outcome, by } => {
            let outcome = outcome.as_ref().map(|outcome| value_json(rows, outcome)).transpose()?;
            object.json("outcome", outcome.as_deref().unwrap_or("null")).field("by", by)?
        }
        Stage::Rejected { why, by } => object.field("why", why)?.field("by", by)?,
        Stage::InDoubt { why } => object.field("why", why)?,
        Stage::Prepared | Stage::InFlight => object,
    };
    Ok(object
        .field("run", &record.run.as_ref().map(ToString::to_string))?
        .field("epoch", &record.epoch.get())?
        .field("created_ms", &record.created.as_ms())?
        .field("changed_ms", &record.changed.as_ms())?
        .field("attempts", &record.attempts)?
        .field("probed", &record.probed)?
        .end())
}

fn quarantine_json(record: &QuarantineRecord) -> Result<String> {
    let table = Table::from_id(record.table);
    let bytes = &record.bytes.0;
    Ok(Object::default()
        .field("table", &table.map_or_else(|| record.table.to_string(), |t| t.name().to_owned()))?
        .field("key", &text_of(&record.key.0))?
        .field("reason", &record.reason)?
        .field("at_ms", &record.at.as_ms())?
        .field("epoch", &record.epoch.get())?
        .field("bytes", &bytes.len())?
        .field("begins", &hex(bytes.get(..HEX_BYTES_MAX).unwrap_or(bytes)))?
        .end())
}

fn row_json(rows: &impl Read, key: &[u8], row: &RowRecord) -> Result<String> {
    let (run, bytes) = unnamed(key, 0).unwrap_or(("", key));
    let object = Object::default().field("run", run)?.field("key", &text_of(bytes))?;
    Ok(match row {
        RowRecord::Value(value) => object.json("value", &value_json(rows, value)?),
        RowRecord::Lost { quarantine } => object.field("quarantine", quarantine)?,
    }
    .end())
}

fn audit_json(record: &AuditRecord) -> Result<String> {
    let claim = record.claim.as_ref().map(|(scope, key)| format!("{scope}/{}", text_of(&key.0)));
    Ok(Object::default()
        .field("intent", &record.intent.as_ref().map(ToString::to_string))?
        .field("claim", &claim)?
        .field("action", &record.action)?
        .field("note", &record.note)?
        .field("at_ms", &record.at.as_ms())?
        .field("epoch", &record.epoch.get())?
        .end())
}

impl fmt::Debug for RecordView {
    /// The length of its JSON, which may hold values of the user's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordView")
            .field("key_bytes", &self.key.len())
            .field("json_bytes", &self.json.len())
            .finish()
    }
}
