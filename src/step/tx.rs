//! What a step's closure is handed. It gathers what the step wants; nothing of it is planned before
//! the closure has returned, and no lock is held while it runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::labels::Labels;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Fingerprint, IntentId, RunName, Topic};
use crate::ledger::{IntentRecord, RowRecord, Stage, intent_key, row_key};
use crate::record::{DecodeError, EncodeError, Payload};
use crate::seq::Epoch;
use crate::store::{Limits, Plan, Read, Table, View, row_name};

/// A step in the making: the state to change, and what else is to become durable with it.
pub struct Tx<'a, S> {
    /// The run's state. What it is when the closure returns `Ok` is what will be durable.
    pub state: S,
    view: &'a View<'a>,
    run: &'a RunName,
    wants: Wants,
}

/// What the closures of a call asked for beside the new state.
#[derive(Default)]
pub(super) struct Wants {
    intents: Vec<(IntentId, IntentRecord)>,
    rows: BTreeMap<Vec<u8>, Option<RowRecord>>,
    pub(super) checkpoint: Option<Labels>,
}

impl<S> Tx<'_, S> {
    /// Asks for an effect outside: the intent is written in the step's own commit, and delivered by
    /// a relay of that topic afterwards.
    ///
    /// # Errors
    /// `Invalid` for a bad topic name or a payload that cannot be stored; `LimitExceeded` for one
    /// that is too large.
    pub fn emit<P: Serialize + DeserializeOwned>(
        &mut self,
        topic: &str,
        payload: &P,
    ) -> Result<IntentId> {
        let payload = store_value(self.view, payload)?;
        let topic = Topic::new(topic)?;
        // Reserved under the run's name: a checkpoint that is saved meanwhile comes before it.
        let id = IntentId::new(topic, self.view.take_id_of(self.run.as_str().as_bytes())?);
        let now = self.view.now();
        let record = IntentRecord {
            stage: Stage::Prepared,
            fingerprint: Fingerprint::of_bytes(payload.bytes()),
            payload: Some(payload),
            external_id: self.view.external_id(&id),
            run: Some(self.run.clone()),
            epoch: self.view.epoch(),
            created: now,
            changed: now,
            attempts: 0,
            probed: 0,
        };
        self.wants.intents.push((id.clone(), record));
        Ok(id)
    }

    /// Asks for a checkpoint of the run as this step leaves it: the state that is there when the
    /// closure returns, at the new position. It becomes durable with the step;
    /// [`Checkpoints::latest`](crate::Checkpoints::latest) tells its id.
    ///
    /// # Errors
    /// `Invalid` or `LimitExceeded` for bad labels.
    pub fn checkpoint(&mut self, labels: Labels) -> Result<()> {
        labels.check()?;
        self.wants.checkpoint = Some(labels);
        Ok(())
    }

    /// Writes a small row of your own beside the run, in the step's commit.
    ///
    /// # Errors
    /// `Invalid` for a value that cannot be stored; `LimitExceeded` for a key or a value that is too
    /// large.
    pub fn put<T: Serialize + DeserializeOwned>(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<()> {
        check_key(self.view.limits(), key.as_ref())?;
        let value = store_value(self.view, value)?;
        self.wants.rows.insert(row_key(self.run, key.as_ref()), Some(RowRecord::Value(value)));
        Ok(())
    }

    /// Removes a row of your own, if it is there.
    ///
    /// # Errors
    /// `LimitExceeded` for a key that is too large.
    pub fn remove(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        check_key(self.view.limits(), key.as_ref())?;
        self.wants.rows.insert(row_key(self.run, key.as_ref()), None);
        Ok(())
    }

    /// A row of your own, as earlier steps and this one so far have left it.
    ///
    /// # Errors
    /// `Damaged` if its bytes are not what was written; `SchemaMismatch` if it was written as
    /// another type.
    pub fn get<T: Serialize + DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let key = row_key(self.run, key.as_ref());
        let row = match self.wants.rows.get(&key) {
            Some(row) => row.clone(),
            None => self.view.record::<RowRecord>(&key)?,
        };
        row.map(|row| row_value(&row, &key)).transpose()
    }

    /// The time of this step, by the store's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.view.now()
    }

    /// Which opening of the store this is.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.view.epoch()
    }

    pub(super) fn into_parts(self) -> (S, Wants) {
        (self.state, self.wants)
    }
}

impl<'a, S> Tx<'a, S> {
    /// A step after those of the same call that wanted `wants`.
    pub(super) fn new(view: &'a View<'a>, run: &'a RunName, state: S, wants: Wants) -> Self {
        Self { state, view, run, wants }
    }
}

impl Wants {
    /// How many rows it takes.
    pub(super) fn rows(&self) -> usize {
        self.intents.len() + self.rows.len()
    }

    pub(super) fn write(self, plan: &mut Plan<'_>) -> Result<()> {
        for (id, record) in self.intents {
            plan.put(&intent_key(&id, false), &record)?;
        }
        for (key, row) in self.rows {
            match row {
                Some(row) => plan.put(&key, &row)?,
                None => plan.delete(Table::Rows, &key)?,
            }
        }
        Ok(())
    }
}

impl<S> fmt::Debug for Tx<'_, S> {
    /// The run's name, never its state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("run", &self.run).finish_non_exhaustive()
    }
}

/// A user's value as it is stored. Calls code of the user's.
///
/// # Errors
/// `Invalid` for one that cannot be, `LimitExceeded` for one that is too large.
pub(super) fn store_value<T: Serialize + DeserializeOwned>(
    rows: &impl Read,
    value: &T,
) -> Result<Payload> {
    let payload = Payload::of(value).map_err(|error| unstorable(&error))?;
    rows.check_value(payload.bytes().len())?;
    Ok(payload)
}

pub(super) fn unstorable(error: &EncodeError) -> Error {
    Error::invalid(format!("{error}. Nothing was written"))
}

/// A stored value whose type no schema names, read as the type asked for.
pub(super) fn typed<T: Serialize + DeserializeOwned>(
    payload: &Payload,
    what: impl FnOnce() -> String,
) -> Result<T> {
    payload.value_of_type().map_err(|error| {
        if error.is_newer() {
            return too_new(&what(), error);
        }
        Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "{} was written as another type: {error}. Read it as that one; nothing was changed",
                what()
            ),
        )
        .with_source(error)
    })
}

/// A stored value that only a newer program can read.
pub(super) fn too_new(what: &str, error: DecodeError) -> Error {
    Error::new(
        ErrorKind::TooNew,
        format!(
            "{what} was written by a newer program: {error}. Upgrade this one; nothing was changed"
        ),
    )
    .with_source(error)
}

/// The value of a row of the user's own.
pub(super) fn row_value<T: Serialize + DeserializeOwned>(row: &RowRecord, key: &[u8]) -> Result<T> {
    match row {
        RowRecord::Value(value) => typed(value, || row_name(Table::Rows, key)),
        RowRecord::Lost { quarantine } => Err(Error::damaged(format!(
            "{} was damaged, and is number {quarantine} in quarantine: write it again, or remove it",
            row_name(Table::Rows, key)
        ))),
    }
}

pub(super) fn check_key(limits: Limits, key: &[u8]) -> Result<()> {
    let limit = limits.key_bytes;
    if key.is_empty() {
        return Err(Error::invalid("an empty key names nothing"));
    }
    if key.len() > limit {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "a key of {} bytes is over the limit of {limit}: use a shorter one, or raise \
                 `Limits::key_bytes`. Nothing was written",
                key.len()
            ),
        ));
    }
    Ok(())
}
