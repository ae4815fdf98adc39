//! Looking at a run without knowing its type.

use std::fmt;

use super::schema::schema_of;
use super::state;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::{RunRecord, SchemaRecord, run_key};
use crate::position::Position;
use crate::record::{Maps, Payload};
use crate::store::{Read, Store};

/// The longest state that is shown, in bytes of JSON.
const JSON_BYTES_MAX: usize = 256 << 20;

/// A run as the last durable step left it: see [`Store::inspect_run`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunView {
    /// The run's name.
    pub name: RunName,
    /// The name of the type of its state, as [`Versioned::NAME`](crate::Versioned::NAME) says it.
    pub schema: String,
    /// The version of that type.
    pub version: u32,
    /// How far it is in its input.
    pub position: Position,
    /// How many steps it has made, through all its life.
    pub steps: u64,
    /// When it was begun.
    pub created: Timestamp,
    /// When it made its last step.
    pub changed: Timestamp,
    /// The state, as `serde_json` would write it. Whole numbers are exact whatever their width:
    /// read them with something that keeps 64 bits. Numbers that JSON does not have are `"NaN"`,
    /// `"Infinity"` and `"-Infinity"`; a map whose keys are not strings is a list of pairs.
    pub state_json: String,
}

impl Store {
    /// A run with its state as JSON, for programs that do not know its type. Changes nothing.
    ///
    /// ```
    /// # #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// # struct Momentum { last_close: i64, orders: Vec<(String, f64)> }
    /// # impl milepost::Versioned for Momentum {
    /// #     const NAME: &'static str = "momentum";
    /// #     const VERSION: u32 = 1;
    /// # }
    /// # let store = milepost::Store::in_memory()?;
    /// # let mut run = store.run::<Momentum>("spy-daily")?;
    /// # run.step("bar-1", 1, |tx| {
    /// #     tx.state.last_close = 598_10;
    /// #     tx.state.orders.push(("buy".into(), 0.5));
    /// #     Ok(())
    /// # })?;
    /// let view = store.inspect_run("spy-daily")?;
    /// assert_eq!((view.schema.as_str(), view.version), ("momentum", 1));
    /// assert_eq!(
    ///     view.state_json,
    ///     r#"{"last_close":59810,"orders":[["buy",0.5]]}"#
    /// );
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such run; `Damaged` if its record or its schema is, or if the state
    /// does not fit its shape; `LimitExceeded` for a state that is too deep, or too long as JSON;
    /// `Invalid` for a bad name; `Poisoned`.
    pub fn inspect_run(&self, name: &str) -> Result<RunView> {
        let name = RunName::new(name)?;
        let rows = self.read()?;
        let record = rows.record::<RunRecord>(&run_key(&name))?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no run \"{name}\" in this store"))
        })?;
        let schema = schema_of(&*rows, record.schema)?;
        let stored = state::read(&*rows, record.state, &name)?;
        let what = || format!("the state of the run \"{name}\"");
        let state_json = shown(&stored.whole(), &schema, Maps::Pairs, &what)?;
        Ok(RunView {
            name,
            schema: schema.name,
            version: schema.version,
            position: record.position,
            steps: record.steps,
            created: record.created,
            changed: record.changed,
            state_json,
        })
    }
}

/// A state as JSON.
///
/// # Errors
/// `Damaged` if it does not fit its shape; `LimitExceeded` if it is too deep, or too long as JSON.
pub(super) fn shown(
    state: &Payload,
    schema: &SchemaRecord,
    maps: Maps,
    what: &dyn Fn() -> String,
) -> Result<String> {
    state.to_json(schema.form.shape(), maps, JSON_BYTES_MAX).map_err(|error| {
        let kind = if error.is_limit() { ErrorKind::LimitExceeded } else { ErrorKind::Damaged };
        Error::new(kind, format!("{} cannot be shown: {error}", what()))
    })
}

impl fmt::Debug for RunView {
    /// All but the state.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunView")
            .field("name", &self.name)
            .field("schema", &self.schema)
            .field("version", &self.version)
            .field("position", &self.position)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}
