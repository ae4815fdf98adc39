//! How a state is read: as the type it is asked for, after whatever lies between the two.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
use super::valid::read_valid;
use crate::error::{Error, Result};
use crate::ledger::{Form, SchemaRecord, TypeVersion, Versioned, check_form, schema_key};
use crate::record::Payload;
use crate::store::{Plan, Read, Table, row_name};

/// A state, and how it has to be written down with the next step if that is not how it was found.
pub(super) struct Loaded<S> {
    pub(super) state: S,
    pub(super) renewed: Option<Renewed>,
}

/// A migrated state, and the schema it has to be written under.
pub(super) struct Renewed {
    pub(super) schema: u32,
    pub(super) state: Payload,
}

/// Reads a state that was stored under a schema.
///
/// # Errors
/// `SchemaMismatch` if it is another type, or an older one without a way to this one; `TooNew`;
/// `Aborted` if a migration or `validate` refuses it; `Damaged` if its schema is missing.
pub(super) fn load<S>(
    plan: &mut Plan<'_>,
    (schema, stored): (u32, &Payload),
    migrations: &Migrations,
) -> Result<Loaded<S>>
where
    S: Versioned + Serialize + DeserializeOwned + 'static,
{
    let (state, migrated) = read_as(&schema_of(plan, schema)?, stored, migrations)?;
    let schema = schema_for(plan, &TypeVersion::of::<S>())?;
    Ok(Loaded { state, renewed: migrated.map(|state| Renewed { schema, state }) })
}

/// A stored state as this type, and what the migrations made of it if it was of another one.
///
/// # Errors
/// Those of [`load`].
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
    if schema.is_lost() {
        return Err(Error::damaged(
            "the record that names the type of the state was damaged, and is in quarantine: restore a \
             copy of the store, or begin another run. Nothing was changed",
        ));
    }
    Ok(schema)
}

/// The number of a schema, new if this type and version are.
pub(super) fn schema_for(plan: &mut Plan<'_>, of: &TypeVersion) -> Result<u32> {
    schema_of_form(plan, (of.name, of.version), of.form()?)
}

/// [`schema_for`] a type that this program need not have.
pub(super) fn schema_of_form(
    plan: &mut Plan<'_>,
    (name, version): (&str, u32),
    form: Form,
) -> Result<u32> {
    let mut free = 1;
    for (key, row) in plan.scan(Table::Schemas, &[], &[], usize::MAX)? {
        let damaged =
            |why: &str| Error::damaged(format!("{} {why}", row_name(Table::Schemas, &key)));
        let id: [u8; 4] =
            key.as_slice().try_into().map_err(|_| damaged("has no schema's number"))?;
        let schema = plan.parse::<SchemaRecord>(&key, &row)?;
        if (schema.name.as_str(), schema.version) == (name, version) {
            check_form(&format!("`{name}` version {version}"), &schema.form, &form)?;
            return Ok(u32::from_be_bytes(id));
        }
        let behind = u32::from_be_bytes(id).checked_add(1);
        free = free.max(behind.ok_or_else(|| damaged("has a number that no store reaches"))?);
    }
    let (name, first_seen) = (name.to_owned(), plan.now());
    plan.put(&schema_key(free), &SchemaRecord { name, version, first_seen, form })?;
    Ok(free)
}
