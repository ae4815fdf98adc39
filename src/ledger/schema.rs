//! Schemas: the name, the version and the shape under which a type is stored.

use std::any::TypeId;
use std::cmp::Ordering;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Codec, Shape, Untraceable};
use crate::store::{Record, Table};

/// A type that is stored under a name and a version.
///
/// Raise the version whenever a field is added, removed, moved, renamed or given another type. The
/// store keeps the shape of each version, and refuses a type that was changed without a new one: the
/// error names the field. How the states that are there become the new version is said by
/// [`Migrations`](crate::Migrations). A new name of the type in the code, or of a type inside it, is
/// no change.
///
/// The shape is read off `Deserialize`, once in a process. A type that has none (serde's `untagged`,
/// `tag`, `flatten` and `alias`, or one that takes none of the values that are made up for it) is
/// refused by name; [`CODEC`](Self::CODEC) is the way out.
///
/// A value has at most 128 levels: each struct, enum, tuple, list, map and option is one, inside the one
/// that holds it. That goes for all that is stored, outcomes, payloads, rows and requests too: a type
/// that holds itself would otherwise be read as deep as damaged bytes say, down to the end of the
/// stack. A value of more levels is refused when it is written; keep a long chain as a list.
///
/// Each value is proven when it is written: it is read back, and gives the same bytes again. What does
/// not is `Invalid` at the step. A state of more than 64 KiB in [`Codec::Binary`] is proven when it
/// becomes so large, with the first save of each handle, when it is made of what was not proven before,
/// and with one save of 64. Maps and lists that keep an order keep it; hash maps and hash sets are
/// stored sorted. The guide `what-a-state-may-hold` has a table of types. A field under `#[serde(skip)]` is
/// its default after a restart, and after a step that failed.
///
/// ```
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Book {
///     cash: i64,
///     positions: i64,
///     equity: i64,
/// }
///
/// impl milepost::Versioned for Book {
///     const NAME: &'static str = "book";
///     const VERSION: u32 = 1;
///
///     fn validate(&self) -> Result<(), String> {
///         if self.cash + self.positions == self.equity {
///             Ok(())
///         } else {
///             Err(format!("{} + {} is not {}", self.cash, self.positions, self.equity))
///         }
///     }
/// }
///
/// let store = milepost::Store::in_memory()?;
/// let mut run = store.run::<Book>("spy-daily")?;
/// let error = run.step("bar-1", 1, |tx| Ok(tx.state.cash += 5)).unwrap_err();
/// assert_eq!(error.kind(), milepost::ErrorKind::Aborted);
/// assert_eq!(run.state().cash, 0);
/// # Ok::<(), milepost::Error>(())
/// ```
pub trait Versioned {
    /// The name of the type in the store: it may be moved and renamed in the code.
    const NAME: &'static str;
    /// The version of its fields, from 1.
    const VERSION: u32;
    /// How it is written. Changing it is a change of the type.
    const CODEC: Codec = Codec::Binary;

    /// What must always be true of a value, beyond what its types say: `Err` says what is not.
    ///
    /// Called whenever a state is loaded or migrated, and before each commit of one: so a state that
    /// could not be loaded again is never written. A step that ends in such a state is refused with
    /// [`Aborted`](crate::ErrorKind::Aborted), and nothing of it is written; a batch is one step
    /// here. It runs once in every step, so it should cost less than the step.
    ///
    /// # Errors
    /// What is wrong, in words for whoever reads the log.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// One version of one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SchemaRecord {
    pub(crate) kind: SchemaKind,
    /// The name of a state's type, or the topic; empty for the other kinds.
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) first_seen: Timestamp,
    pub(crate) form: Form,
}

/// What values of a schema are to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum SchemaKind {
    /// The state of a run.
    State,
    /// What the steps emit under a topic.
    Payload,
    /// What the receiver of a topic answers.
    Answer,
    /// The outcome of a claim.
    Claim,
    /// The outcome of a step.
    Step,
    /// A row of the user's own.
    Row,
}

impl SchemaKind {
    /// Whether a name has one type for each version. Steps, claims and rows have types of all sorts
    /// side by side: there each type has a schema of its own.
    pub(crate) fn is_of_one_type(self) -> bool {
        matches!(self, Self::State | Self::Payload | Self::Answer)
    }
}

/// What a version of a type looks like in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    Shape {
        fingerprint: [u8; 32],
        shape: Shape,
    },
    /// The bytes say it themselves.
    Json,
    /// Not known: the record was damaged, and this one keeps its number.
    Lost,
}

/// A type of this program: what it is stored under, and what it looks like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TypeVersion {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) type_id: TypeId,
    form: fn() -> Result<Form>,
}

impl TypeVersion {
    pub(crate) fn of<S: Versioned + DeserializeOwned + 'static>() -> Self {
        Self { name: S::NAME, version: S::VERSION, type_id: TypeId::of::<S>(), form: Form::of::<S> }
    }

    /// # Errors
    /// `Invalid` if the type has no shape.
    pub(crate) fn form(&self) -> Result<Form> {
        (self.form)()
    }

    pub(crate) fn is(&self, name: &str, version: u32) -> bool {
        self.name == name && self.version == version
    }
}

impl fmt::Display for TypeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` version {}", self.name, self.version)
    }
}

impl Form {
    fn of<S: Versioned + DeserializeOwned + 'static>() -> Result<Self> {
        match S::CODEC {
            Codec::Json => Ok(Self::Json),
            Codec::Binary => Ok(Self::of_shape(&*Shape::of::<S>().map_err(untraceable)?)),
        }
    }

    /// The form of a value that has no `Versioned`.
    ///
    /// # Errors
    /// `Invalid` if the type has no shape.
    pub(crate) fn of_value<T: DeserializeOwned + 'static>() -> Result<Self> {
        match Shape::of::<T>() {
            Ok(shape) => Ok(Self::of_shape(&shape)),
            Err(error) => Err(Error::invalid(format!(
                "{error}. Store a plain struct, a number or a text in its place. Nothing was written"
            ))),
        }
    }

    fn of_shape(shape: &Shape) -> Self {
        Self::Shape { fingerprint: shape.fingerprint(), shape: shape.clone() }
    }

    /// The shape, if there is one.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        if let Self::Shape { shape, .. } = self { Some(shape) } else { None }
    }

    /// The first fields that are not as they were, in words; `None` if all are.
    pub(crate) fn differ(&self, now: &Self) -> Option<String> {
        const NAMED: usize = 5;
        let differences = self.differences(now);
        let named = differences.get(..differences.len().min(NAMED)).filter(|d| !d.is_empty())?;
        let more = match differences.len() - named.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        Some(format!("{}{more}", named.join("; ")))
    }

    /// What is not as it was, in words.
    fn differences(&self, now: &Self) -> Vec<String> {
        match (self, now) {
            (Self::Lost, _) | (_, Self::Lost) | (Self::Json, Self::Json) => Vec::new(),
            (
                Self::Shape { fingerprint: old, shape: was },
                Self::Shape { fingerprint: new, shape: is },
            ) => {
                if old == new {
                    return Vec::new();
                }
                was.differences(is).iter().map(ToString::to_string).collect()
            }
            (Self::Shape { .. }, Self::Json) => vec!["its codec was binary and is now JSON".into()],
            (Self::Json, Self::Shape { .. }) => vec!["its codec was JSON and is now binary".into()],
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands on")]
fn untraceable(error: Untraceable) -> Error {
    Error::invalid(format!(
        "{error}. Change that, or have the type stored as JSON: `const CODEC: Codec = Codec::Json` \
         in its `Versioned`. Nothing was changed"
    ))
}

impl Record for SchemaRecord {
    const TABLE: Table = Table::Schemas;
}

impl SchemaRecord {
    /// What stands in for one that was damaged, so that its number is not given to another type.
    pub(crate) fn lost(now: Timestamp) -> Self {
        Self {
            kind: SchemaKind::State,
            name: String::new(),
            version: 0,
            first_seen: now,
            form: Form::Lost,
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.form == Form::Lost
    }
}

pub(crate) fn schema_key(id: u32) -> Vec<u8> {
    id.to_be_bytes().to_vec()
}

/// Refuses a stored type that is not, name and version, the one the program asks for.
///
/// # Errors
/// `TooNew` if a newer program wrote it, `SchemaMismatch` if it is older or another type.
pub(crate) fn check(stored: &SchemaRecord, name: &str, version: u32) -> Result<()> {
    if stored.name != name {
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "the state was written as `{}`, this program asks for `{name}`: open it as the \
                 type it is, or use another run. Nothing was changed",
                stored.name
            ),
        ));
    }
    match stored.version.cmp(&version) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "the state was written as `{name}` version {}, this program has version \
                 {version}: migrate it with `open_run(..).migrations(..)`. Nothing was changed",
                stored.version
            ),
        )),
        Ordering::Greater => Err(Error::new(
            ErrorKind::TooNew,
            format!(
                "the state was written as `{name}` version {}, this program has only version \
                 {version}: upgrade the program. Nothing was changed",
                stored.version
            ),
        )),
    }
}

/// Refuses a type that no longer looks as it did when its version was first seen.
///
/// # Errors
/// `SchemaMismatch`, with the first fields that differ.
pub(crate) fn check_form(of: &str, was: &Form, is: &Form) -> Result<()> {
    let Some(named) = was.differ(is) else { return Ok(()) };
    Err(Error::new(
        ErrorKind::SchemaMismatch,
        format!(
            "{of} is not what it was when it was first stored: {named}. Raise `VERSION` when a type \
             changes, and migrate what is stored. Nothing was changed"
        ),
    ))
}
