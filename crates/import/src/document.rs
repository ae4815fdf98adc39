//! What the kinds of documents have in common: a state that is the document itself, so that nothing of
//! it is lost, and held against the rules of its kind whenever it is read or written.

use std::path::Path;

use milepost::{Result, RunName, Store, Versioned};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::check::{Found, Wrong};
use crate::json::Json;
use crate::parse::Fault;
use crate::report::ImportReport;
use crate::source::{DOCUMENT_BYTES_MAX, Source};

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

/// Writes a document as the state of a run, in one commit.
pub(super) fn import<S>(store: &Store, run: &str, state: &S, found: Found) -> Result<ImportReport>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    let is_new = store.import_run(run, state).steps(found.steps).commit()?;
    Ok(ImportReport::one(RunName::new(run)?, is_new, found.remarks))
}

/// A type of a state that is a document.
macro_rules! document {
    ($(#[$doc:meta])* $name:ident, $schema:literal, $rules:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name(crate::json::Json);

        impl $name {
            /// A document of this kind.
            ///
            /// # Errors
            /// `Invalid` if it is none; the message has the field.
            pub fn new(json: Json) -> milepost::Result<Self> {
                crate::document::validate(&json, $rules).map_err(crate::error::invalid)?;
                Ok(Self(json))
            }

            /// The state of a run of this type, as it is durable now. Changes nothing.
            ///
            /// # Errors
            /// `NotFound`; `SchemaMismatch` or `TooNew` if the run's state is another type;
            /// `Damaged`; `Invalid` for a bad name; `Poisoned`.
            pub fn of_run(store: &milepost::Store, run: &str) -> milepost::Result<Self> {
                store.export_run(run)?.state()
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

        impl milepost::Versioned for $name {
            const NAME: &'static str = $schema;
            const VERSION: u32 = 1;
            const CODEC: milepost::Codec = milepost::Codec::Json;

            fn validate(&self) -> Result<(), String> {
                crate::document::validate(&self.0, $rules).map(drop)
            }
        }

        impl std::fmt::Debug for $name {
            /// How large it is, never what it says.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.0).finish()
            }
        }
    };
}

pub(super) use document;
