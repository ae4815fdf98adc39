//! How a state is read: as the type it is asked for, after whatever lies between the two.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
use super::valid::read_valid;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TopicName;
use crate::ledger::{
    Form, SchemaKind, SchemaRecord, TypeVersion, Versioned, check_form, schema_key,
};
use crate::record::Payload;
use crate::store::{Plan, Read, Table, row_name};

/// A migrated state, and the schema it has to be written under.
pub(super) struct Renewed {
    pub(super) schema: u32,
    pub(super) state: Payload,
}

/// A stored state as this type, and what the migrations made of it if it was of another one.
///
/// # Errors
/// `SchemaMismatch` if it is another type, or an older one without a way to this one; `TooNew`;
/// `Aborted` if a migration or `validate` refuses it; `Damaged` if its schema is missing.
pub(super) fn read_as<S>(
    schema: &SchemaRecord,
    stored: &Payload,
    migrations: &Migrations,
) -> Result<(S, Option<Payload>)>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    let wanted = TypeVersion::of::<S>();
    let way = migrations.way(schema, Some(&wanted))?;
    check_form(&wanted.to_string(), way.leads_to(schema)?.as_ref(), &wanted.form()?)?;
    let migrated = way.migrate(stored)?;
    let state = read_valid(migrated.as_ref().unwrap_or(stored))?;
    Ok((state, migrated))
}

pub(super) fn schema_of(rows: &impl Read, id: u32) -> Result<SchemaRecord> {
    let schema = rows.record::<SchemaRecord>(&schema_key(id))?.ok_or_else(|| {
        Error::damaged(format!(
            "{} is missing. Nothing was changed; close the store and run `verify` on it",
            row_name(Table::Schemas, &schema_key(id))
        ))
    })?;
    if schema.kind != SchemaKind::State {
        return Err(Error::damaged(format!(
            "{} is not that of a state. Nothing was changed; close the store and run `verify` on it",
            row_name(Table::Schemas, &schema_key(id))
        )));
    }
    if schema.is_lost() {
        return Err(Error::damaged(
            "the record that names the type of the state was damaged, and is in quarantine: restore a \
             copy of the store, or begin another run. Nothing was changed",
        ));
    }
    Ok(schema)
}

/// What a value is to the store.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Payload(&'a TopicName),
    Answer(&'a TopicName),
    Claim,
    Step,
    Row,
}

impl Place<'_> {
    pub(super) fn kind(self) -> SchemaKind {
        match self {
            Self::Payload(_) => SchemaKind::Payload,
            Self::Answer(_) => SchemaKind::Answer,
            Self::Claim => SchemaKind::Claim,
            Self::Step => SchemaKind::Step,
            Self::Row => SchemaKind::Row,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Payload(topic) | Self::Answer(topic) => topic.as_str(),
            Self::Claim | Self::Step | Self::Row => "",
        }
    }
}

/// A type as it is looked up among the schemas, which may be of no type that this program has.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    kind: SchemaKind,
    name: String,
    version: u32,
    form: Form,
}

impl Known {
    /// Asks the type, by calling code of the user's.
    ///
    /// # Errors
    /// `Invalid` if the type has no shape.
    pub(super) fn of(of: &TypeVersion) -> Result<Self> {
        Ok(Self {
            kind: SchemaKind::State,
            name: of.name.to_owned(),
            version: of.version,
            form: of.form()?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn from_parts(name: &str, version: u32, form: Form) -> Self {
        Self { kind: SchemaKind::State, name: name.to_owned(), version, form }
    }

    pub(super) fn of_value(place: Place<'_>, version: u32, form: Form) -> Self {
        Self { kind: place.kind(), name: place.name().to_owned(), version, form }
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Whether a stored schema is this one.
    ///
    /// # Errors
    /// `SchemaMismatch` if it is, by name and version, and has other fields.
    fn is(&self, stored: &SchemaRecord) -> Result<bool> {
        let Self { kind, name, version, form } = self;
        if (stored.kind, &stored.name, stored.version) != (*kind, name, *version) {
            return Ok(false);
        }
        if !kind.is_of_one_type() {
            return Ok(stored.form == *form);
        }
        let what = match kind {
            SchemaKind::Payload => "what is emitted",
            SchemaKind::Answer => "what is answered",
            _ => {
                check_form(&format!("`{name}` version {version}"), &stored.form, form)?;
                return Ok(true);
            }
        };
        let Some(named) = stored.form.differ(form) else { return Ok(true) };
        Err(Error::new(
            ErrorKind::SchemaMismatch,
            format!(
                "{what} under the topic \"{name}\", version {version}, is not of the type it was of \
                 when it was first stored: {named}. Give the type a new version and a migration (see \
                 `Options::value_migrations`), or use another topic. Nothing was written"
            ),
        ))
    }
}

/// What a look at all schemas came to.
pub(super) struct FoundSchema {
    /// The number of the schema that was looked for, if it is there.
    pub(super) number: Option<u32>,
    /// A number that no schema has.
    free: u32,
}

/// Looks a schema up among all of them.
///
/// # Errors
/// `SchemaMismatch` if it is there with other fields; `Damaged` if one of the schemas is.
pub(super) fn find_schema(rows: &impl Read, of: &Known) -> Result<FoundSchema> {
    let mut free = 1;
    for (key, row) in rows.scan(Table::Schemas, &[], &[], usize::MAX)? {
        let damaged =
            |why: &str| Error::damaged(format!("{} {why}", row_name(Table::Schemas, &key)));
        let id: [u8; 4] =
            key.as_slice().try_into().map_err(|_| damaged("has no schema's number"))?;
        let id = u32::from_be_bytes(id);
        if of.is(&rows.parse::<SchemaRecord>(&key, &row)?)? {
            return Ok(FoundSchema { number: Some(id), free });
        }
        let after = id.checked_add(1);
        free = free.max(after.ok_or_else(|| damaged("has a number that no store reaches"))?);
    }
    Ok(FoundSchema { number: None, free })
}

/// The number of a schema, new if this type and version are. Writes no row of the step's own.
pub(super) fn schema_for(plan: &mut Plan<'_>, of: &Known) -> Result<u32> {
    let FoundSchema { number, free } = find_schema(plan, of)?;
    if let Some(number) = number {
        return Ok(number);
    }
    let Known { kind, name, version, form } = of.clone();
    let first_seen = plan.now();
    plan.put_aside(&schema_key(free), &SchemaRecord { kind, name, version, first_seen, form })?;
    Ok(free)
}
