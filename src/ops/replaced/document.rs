//! What the kinds of documents have in common: a state that is the document itself, so that nothing of
//! it is lost, and held against the rules of its kind whenever it is read or written.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::{Found, Wrong};
use super::imported::Imported;
use super::json::Json;
use super::parse::Fault;
use super::source::{DOCUMENT_BYTES_MAX, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::id::RunName;
use crate::ledger::Versioned;
use crate::position::Position;
use crate::step::{Arrival, Brings, bring_run};
use crate::store::{Hold, HoldKind, Store};

pub(super) type Rules = fn(&Json) -> Result<Found, Wrong>;

pub(super) fn read(path: &Path, rules: Rules) -> Result<Json> {
    let source = Source::read(path, DOCUMENT_BYTES_MAX)?;
    let json = source.json()?;
    rules(&json).map_err(|wrong| source.wrong(wrong))?;
    Ok(json)
}

/// What is not as it should be, in words.
pub(super) fn validate(json: &Json, rules: Rules) -> Result<Found, String> {
    json.check(1)?;
    rules(json).map_err(|Wrong { path, why, .. }| Fault { byte: 0, path, why }.without_byte())
}

/// Keeps a run from being opened in this process while something is brought to it.
pub(super) fn hold_run(store: &Store, run: &RunName) -> Result<Hold> {
    store.hold(HoldKind::Run, run.as_str().as_bytes())?.ok_or_else(|| {
        Error::new(
            ErrorKind::Conflict,
            format!("the run \"{run}\" is open in this process: import before it is opened"),
        )
    })
}

/// Writes a document as the state of a run, in one commit.
pub(super) fn import<S>(store: &Store, run: &str, state: &S, found: Found) -> Result<Imported>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    let run = RunName::new(run)?;
    let _hold = hold_run(store, &run)?;
    let view = store.view()?;
    let state = Brings::of(&view, state)?;
    let (is_new, joined) = view.join(|plan| {
        let arrival = Arrival {
            run: &run,
            position: Position::Start,
            steps: found.steps,
            content: &[],
            beside: String::new(),
        };
        bring_run(plan, arrival, &state)
    })?;
    store.wait(joined)?;
    Ok(Imported::one(run, is_new, found.remarks))
}

/// A type of a state that is a document.
macro_rules! document {
    ($(#[$doc:meta])* $name:ident, $schema:literal, $rules:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name($crate::ops::replaced::json::Json);

        impl $name {
            /// A document of this kind.
            ///
            /// # Errors
            /// `Invalid` if it is none; the message has the field.
            pub fn new(json: Json) -> Result<Self> {
                document::validate(&json, $rules).map_err(Error::invalid)?;
                Ok(Self(json))
            }

            /// The state of a run of this type, as it is durable now. Changes nothing.
            ///
            /// # Errors
            /// `NotFound`; `SchemaMismatch` or `TooNew` if the run's state is another type;
            /// `Damaged`; `Invalid` for a bad name; `Poisoned`.
            pub fn of_run(store: &Store, run: &str) -> Result<Self> {
                state_now(store, &RunName::new(run)?)
            }

            /// The document, with every field it has.
            #[must_use]
            pub fn json(&self) -> &Json {
                &self.0
            }

            /// The document, to be changed. A step that leaves it in a form which the old program
            /// cannot read is refused.
            pub fn json_mut(&mut self) -> &mut Json {
                &mut self.0
            }
        }

        impl Versioned for $name {
            const NAME: &'static str = $schema;
            const VERSION: u32 = 1;
            const CODEC: Codec = Codec::Json;

            fn validate(&self) -> Result<(), String> {
                document::validate(&self.0, $rules).map(drop)
            }
        }

        impl fmt::Debug for $name {
            /// How large it is, never what it says.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}

pub(super) use document;
