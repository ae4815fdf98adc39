//! What a step's closure is handed. It gathers what the step wants; nothing of it is planned before
//! the closure has returned, and no lock is held while it runs.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::labels::Labels;
use super::rows::{Rows, WrittenRows, row_value};
use super::topics::schemas_of_topic;
use super::values::{Encoded, NewSchemas, Place, encode_under};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{Fingerprint, IntentId, RunName};
use crate::ledger::{IntentRecord, RowRecord, Stage, intent_key, row_key};
use crate::seq::Epoch;
use crate::store::{Limits, Plan, Read, Table, View, row_name};
use crate::topic::Topic;

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
    /// Each with its payload, which the record gets when the call joins.
    intents: Vec<(IntentId, IntentRecord, Encoded)>,
    rows: WrittenRows,
    pub(super) schemas: NewSchemas,
    pub(super) checkpoint: Option<Labels>,
}

impl<S> Tx<'_, S> {
    /// Asks for an effect outside. The intent is written in the step's own commit, and a
    /// [`Relay`](crate::Relay) of the topic delivers it afterwards. Nothing is on disk when this
    /// returns: the intent is durable when the step is.
    ///
    /// # Errors
    /// `Invalid` if a type of the topic or this payload cannot be stored; `LimitExceeded` for a
    /// payload that is too large; `SchemaMismatch` if the topic has another type of payload or of
    /// outcome, in this program or in the store: a topic has one of each for each version.
    pub fn emit<P, O>(&mut self, topic: &Topic<P, O>, payload: &P) -> Result<IntentId>
    where
        P: Serialize + DeserializeOwned + 'static,
        O: Serialize + DeserializeOwned + 'static,
    {
        let topic = topic.name();
        let (view, new) = (self.view, &mut self.wants.schemas);
        let (schema, _) = schemas_of_topic::<P, O>(view, view.schemas(), new, &topic)?;
        let payload = encode_under(view, schema, payload)?;
        // Reserved under the run's name: a checkpoint that is saved meanwhile comes before it.
        let id = IntentId::new(topic, self.view.take_id_of(self.run.as_str().as_bytes())?);
        let now = self.view.now();
        let record = IntentRecord {
            stage: Stage::Prepared,
            fingerprint: Fingerprint::of_bytes(payload.bytes()),
            payload: None,
            external_id: self.view.external_id(&id),
            run: Some(self.run.clone()),
            epoch: self.view.epoch(),
            created: now,
            changed: now,
            attempts: 0,
            probed: 0,
        };
        self.wants.intents.push((id.clone(), record, payload));
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
    pub fn put<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<()> {
        check_key(self.view.limits(), key.as_ref())?;
        let value = self.encode(Place::Row, value)?;
        self.wants.rows.insert(row_key(self.run, key.as_ref()), Some(value));
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
    pub fn get<T>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let key = row_key(self.run, key.as_ref());
        if let Some(row) = self.wants.rows.get(&key) {
            let what = || row_name(Table::Rows, &key);
            return row.as_ref().map(|row| row.value(self.view, what)).transpose();
        }
        let row = self.view.record::<RowRecord>(&key)?;
        row.map(|row| row_value(self.view, self.view.schemas(), &row, &key)).transpose()
    }

    /// Rows of your own whose keys begin with `prefix`, in the order of their keys, as earlier steps and
    /// this one so far have left them. Reads 64 at a time, when they are asked for: `take` a few of
    /// many, and continue [`after`](Rows::after) the last one.
    ///
    /// # Example: what is open, and one less of it
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Desk;
    /// # impl milepost::Versioned for Desk {
    /// #     const NAME: &'static str = "desk";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// let mut run = store.run::<Desk>("desk")?;
    /// run.step("open", 0, |tx| {
    ///     tx.put("open/a-1", &100u64)?;
    ///     tx.put("open/a-2", &250u64)?;
    ///     tx.put("closed/a-0", &900u64)
    /// })?;
    /// run.step("close a-1", 1, |tx| {
    ///     tx.remove("open/a-1")?;
    ///     let open = tx.rows::<u64>("open/").collect::<milepost::Result<Vec<_>>>()?;
    ///     assert_eq!(open, [(b"open/a-2".to_vec(), 250)]);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// An item is `Damaged` or `SchemaMismatch` as in [`get`](Tx::get), and the next one is the row
    /// after it; a read that fails is the last item.
    pub fn rows<T>(&self, prefix: impl AsRef<[u8]>) -> Rows<'_, T>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        Rows::of_step(self.view, &self.wants.rows, self.run, prefix.as_ref())
    }

    fn encode<T>(&mut self, place: Place<'_>, value: &T) -> Result<Encoded>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let schema = self.wants.schemas.schema_of::<T>(self.view, self.view.schemas(), place)?;
        encode_under(self.view, schema, value)
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
        self.schemas.write_answers(plan)?;
        for (id, record, payload) in self.intents {
            let record = IntentRecord { payload: Some(payload.stored(plan)?), ..record };
            plan.put(&intent_key(&id, false), &record)?;
        }
        for (key, row) in self.rows {
            match row {
                Some(row) => {
                    let row = RowRecord::Value(row.stored(plan)?);
                    plan.put(&key, &row)?;
                }
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
