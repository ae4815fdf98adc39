//! Values that have no `Versioned` of their own: payloads, answers, outcomes and rows. Each is stored
//! with the number of its schema, as a state is, and no code of the user's sees one as another type
//! than it was written as.
//!
//! A value is encoded before its call joins ([`encode_value`], which calls the type's `Serialize` and
//! `Deserialize`). If its schema is new, the row of it is written when the call joins, in the commit of
//! the first value ([`Encoded::stored`], which calls nothing of the user's).

use std::any::{TypeId, type_name};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
pub(crate) use super::schema::Place;
use super::schema::{Known, find_schema, schema_for};
use super::unfit::{typed, unstorable};
use crate::error::{Error, ErrorKind, Result};
use crate::ledger::{Form, SchemaKind, SchemaRecord, schema_key};
use crate::record::{Payload, Typed};
use crate::store::{Options, Plan, Read, Schemas, Table, row_name};

/// The schema of a value before its call joins.
#[derive(Clone)]
pub(crate) enum Schema {
    Stored(u32),
    /// As far as was seen; another call may write it first.
    New(Arc<NewSchema>),
}

/// A schema that is written with the first value of it.
pub(crate) struct NewSchema {
    known: Known,
    /// Its number, once the call has joined.
    number: OnceLock<u32>,
}

/// The schema that values of a type are written under, which is durable.
#[derive(Clone, Copy)]
pub(super) struct Lasting {
    of: TypeId,
    number: u32,
}

impl Lasting {
    /// What [`schema_of_type`] gave for this type, if it will give that from now on.
    pub(super) fn of<T: 'static>(
        schema: &Schema,
        schemas: &Schemas,
        place: Place<'_>,
    ) -> Option<Self> {
        let of = TypeId::of::<T>();
        let Schema::Stored(number) = schema else { return None };
        let lasts = schemas.written(place.kind() as u8, of, place.name()) == Some(*number);
        lasts.then_some(Self { of, number: *number })
    }

    pub(super) fn of_type<T: 'static>(&self) -> Option<Schema> {
        (self.of == TypeId::of::<T>()).then_some(Schema::Stored(self.number))
    }
}

/// The new schemas of one call: each is looked up and written once.
#[derive(Default)]
pub(super) struct NewSchemas(Vec<(SchemaKind, String, TypeId, Schema)>);

impl NewSchemas {
    /// [`schema_of_type`], which is not asked again for a type that is new.
    pub(super) fn schema_of<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        rows: &impl Read,
        schemas: &Schemas,
        place: Place<'_>,
    ) -> Result<Schema> {
        let wanted = (place.kind(), place.name(), TypeId::of::<T>());
        let known = self.0.iter().find(|(kind, name, of, _)| (*kind, name.as_str(), *of) == wanted);
        if let Some((.., schema)) = known {
            return Ok(schema.clone());
        }
        let schema = schema_of_type::<T>(rows, schemas, place)?;
        if schema.is_new() {
            self.0.push((wanted.0, wanted.1.to_owned(), wanted.2, schema.clone()));
        }
        Ok(schema)
    }

    /// Writes those of outcomes of topics, which have no value yet to be written with.
    pub(super) fn write_answers(&self, plan: &mut Plan<'_>) -> Result<()> {
        let mut answers = self.0.iter().filter(|(kind, ..)| *kind == SchemaKind::Answer);
        answers.try_for_each(|(.., schema)| schema.write(plan))
    }
}

/// A value in bytes, before its call joins.
pub(crate) struct Encoded {
    schema: Schema,
    of: TypeId,
    payload: Payload,
}

impl Encoded {
    pub(super) fn bytes(&self) -> &[u8] {
        self.payload.bytes()
    }

    /// The value as its record holds it. A new schema is written with it.
    ///
    /// # Errors
    /// `SchemaMismatch` if another call has given the topic another type meanwhile; `Damaged`.
    pub(crate) fn stored(self, plan: &mut Plan<'_>) -> Result<Typed> {
        Ok(Typed { schema: self.schema.number(plan)?, payload: self.payload })
    }

    /// The value as this type, for a call that reads what it is about to write.
    ///
    /// # Errors
    /// `SchemaMismatch` if it is of another type.
    pub(super) fn value<T: Serialize + DeserializeOwned + 'static>(
        &self,
        rows: &impl Read,
        what: impl Fn() -> String,
    ) -> Result<T> {
        if self.of != TypeId::of::<T>() {
            match &self.schema {
                Schema::New(new) => check_same::<T>(new.known.form(), &what)?,
                Schema::Stored(schema) => {
                    check_same::<T>(&schema_of_value(rows, *schema, &what)?.form, &what)?;
                }
            }
        }
        typed(&self.payload, what)
    }
}

impl Schema {
    fn number(&self, plan: &mut Plan<'_>) -> Result<u32> {
        match self {
            Self::Stored(schema) => Ok(*schema),
            Self::New(new) => {
                if let Some(number) = new.number.get() {
                    return Ok(*number);
                }
                let number = schema_for(plan, &new.known)?;
                Ok(*new.number.get_or_init(|| number))
            }
        }
    }

    /// Writes it, if it is new.
    ///
    /// # Errors
    /// Those of [`Encoded::stored`].
    pub(crate) fn write(&self, plan: &mut Plan<'_>) -> Result<()> {
        self.number(plan).map(drop)
    }

    pub(crate) fn is_new(&self) -> bool {
        matches!(self, Self::New(_))
    }
}

/// A value of the user's as it is stored. Calls code of the user's.
///
/// # Errors
/// `Invalid` for one that cannot be stored, `LimitExceeded` for one that is too large;
/// `SchemaMismatch` if what is stored under the topic is of another type.
pub(crate) fn encode_value<T: Serialize + DeserializeOwned + 'static>(
    rows: &impl Read,
    schemas: &Schemas,
    place: Place<'_>,
    value: &T,
) -> Result<Encoded> {
    let schema = schema_of_type::<T>(rows, schemas, place)?;
    encode_under(rows, schema, value)
}

/// [`encode_value`] under a schema that was looked up before.
pub(crate) fn encode_under<T: Serialize + DeserializeOwned + 'static>(
    rows: &impl Read,
    schema: Schema,
    value: &T,
) -> Result<Encoded> {
    let payload = Payload::of(value).map_err(|error| unstorable(&error))?;
    rows.check_value(payload.bytes().len())?;
    Ok(Encoded { schema, of: TypeId::of::<T>(), payload })
}

/// The schema that values of a type are written under, and with it the check that they can be stored
/// there: made before a closure, a receiver or a call is told to go ahead. Calls code of the user's.
///
/// # Errors
/// `Invalid` if the type cannot be stored; `SchemaMismatch` if what is stored under the topic is of
/// another type.
pub(crate) fn schema_of_type<T: Serialize + DeserializeOwned + 'static>(
    rows: &impl Read,
    schemas: &Schemas,
    place: Place<'_>,
) -> Result<Schema> {
    let of = TypeId::of::<T>();
    let kind = place.kind() as u8;
    if let Some(schema) = schemas.written(kind, of, place.name()) {
        return Ok(Schema::Stored(schema));
    }
    let form = Form::of_value::<T>()?;
    let version = schemas.migrations::<Migrations>().map_or(1, |known| known.version_of(of));
    let known = Known::of_value(place, version, form);
    let Some(schema) = find_schema(rows, &known)?.number else {
        return Ok(Schema::New(Arc::new(NewSchema { known, number: OnceLock::new() })));
    };
    if rows.is_durable(Table::Schemas, &schema_key(schema))? {
        schemas.note_written(kind, of, place.name(), schema);
    }
    Ok(Schema::Stored(schema))
}

/// A stored value as this type, after the migrations that lead to it.
///
/// # Errors
/// `SchemaMismatch` if it was written as another type, or as an older version without a way to this
/// one; `TooNew`; `Aborted` if a migration refuses it; `Damaged` if its schema is missing or damaged.
pub(crate) fn read_value<T: Serialize + DeserializeOwned + 'static>(
    rows: &impl Read,
    schemas: &Schemas,
    stored: &Typed,
    what: impl Fn() -> String,
) -> Result<T> {
    let of = TypeId::of::<T>();
    if !schemas.is_read(stored.schema, of) {
        let schema = schema_of_value(rows, stored.schema, &what)?;
        let nothing = Migrations::new();
        let migrations = schemas.migrations().unwrap_or(&nothing);
        if let Some(migrated) = migrated::<T>(&schema, &stored.payload, migrations, &what)? {
            return typed(&migrated, what);
        }
        if rows.is_durable(Table::Schemas, &schema_key(stored.schema))? {
            schemas.note_read(stored.schema, of);
        }
    }
    typed(&stored.payload, what)
}

/// What the migrations make of a value; `None` if it is of this type already.
fn migrated<T: DeserializeOwned + 'static>(
    schema: &SchemaRecord,
    stored: &Payload,
    migrations: &Migrations,
    what: &impl Fn() -> String,
) -> Result<Option<Payload>> {
    let of = TypeId::of::<T>();
    let version = migrations.version_of(of);
    if schema.version > version {
        return Err(Error::new(
            ErrorKind::TooNew,
            format!(
                "{} was written as version {} of its type, this program has version {version}: \
                 upgrade the program. Nothing was changed",
                what(),
                schema.version
            ),
        ));
    }
    if schema.version == version {
        check_same::<T>(&schema.form, what)?;
        return Ok(None);
    }
    let way = migrations.way_of_value(schema, of).map_err(|error| error.context(what()))?;
    check_same::<T>(way.leads_to(schema)?.as_ref(), what)?;
    way.migrate(stored).map_err(|error| error.context(what()))
}

/// Refuses a value of another type, by its fields.
fn check_same<T: DeserializeOwned + 'static>(was: &Form, what: &impl Fn() -> String) -> Result<()> {
    let Some(named) = was.differ(&Form::of_value::<T>()?) else { return Ok(()) };
    Err(Error::new(
        ErrorKind::SchemaMismatch,
        format!(
            "{} was written as another type than `{}`: {named}. Read it as the type it is, or give \
             the type a new version and a migration: see `Options::value_migrations`. Nothing was \
             changed",
            what(),
            type_name::<T>()
        ),
    ))
}

/// The schema of a stored value.
///
/// # Errors
/// `Damaged` if it is missing or damaged, or is that of a state.
pub(super) fn schema_of_value(
    rows: &impl Read,
    schema: u32,
    what: &impl Fn() -> String,
) -> Result<SchemaRecord> {
    let key = schema_key(schema);
    let damaged = |why: &str| {
        Error::damaged(format!(
            "{} cannot be read: {}, which says what its bytes mean, {why}. Nothing was changed",
            what(),
            row_name(Table::Schemas, &key)
        ))
    };
    let record = rows.record::<SchemaRecord>(&key)?.ok_or_else(|| damaged("is missing"))?;
    if record.is_lost() {
        return Err(damaged("was damaged, and is in quarantine: restore a copy of the store"));
    }
    if record.kind == SchemaKind::State {
        return Err(damaged("is that of a state"));
    }
    Ok(record)
}

impl Options {
    /// How values other than states become newer versions of their types: payloads and answers of
    /// topics, outcomes of steps and claims, rows. A type among the steps is of its
    /// [`VERSION`](crate::Versioned::VERSION) wherever it is stored; all other types are version 1.
    ///
    /// A value of an older version is migrated each time it is read, before a receiver, a probe or a
    /// caller sees it; what is stored stays as it is. Give it each time you open the store.
    ///
    /// ```
    /// use milepost::{Done, Migrations, Options, Versioned};
    /// use serde::{Deserialize, Serialize};
    ///
    /// // What the release before stored as an outcome.
    /// #[derive(Serialize, Deserialize)]
    /// struct FillV1 { price: u64 }
    /// impl Versioned for FillV1 { const NAME: &'static str = "fill"; const VERSION: u32 = 1; }
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct Fill { price: u64, fee: u64 }
    /// impl Versioned for Fill { const NAME: &'static str = "fill"; const VERSION: u32 = 2; }
    ///
    /// # #[derive(Default, Serialize, Deserialize)]
    /// # struct Bot;
    /// # impl Versioned for Bot { const NAME: &'static str = "bot"; const VERSION: u32 = 1; }
    /// # let disk = std::sync::Arc::new(milepost::MemoryDisk::new());
    /// # let store = Options::new().create_on(disk.clone())?;
    /// # store.run::<Bot>("spy-daily")?.step("bar-1", 1, |_| Ok(FillV1 { price: 5 }))?;
    /// # store.close()?;
    /// let options = Options::new().value_migrations(
    ///     Migrations::new().step(|old: FillV1| Ok(Fill { price: old.price, fee: 0 })),
    /// );
    /// # let store = options.open_on(disk)?;
    /// # let mut run = store.run::<Bot>("spy-daily")?;
    /// let done = run.step("bar-1", 1, |_| Ok(Fill { price: 0, fee: 0 }))?;
    /// assert_eq!(done, Done::Duplicate(Fill { price: 5, fee: 0 }));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn value_migrations(mut self, migrations: Migrations) -> Self {
        self.set_values(Arc::new(migrations));
        self
    }
}
