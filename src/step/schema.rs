//! How a state is read: as the type it is asked for, after whatever lies between the two.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::migrations::Migrations;
use super::valid::read_valid;
use crate::error::{Error, Result};
use crate::ledger::{Form, SchemaRecord, TypeVersion, Versioned, check_form, schema_key};
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
    if schema.is_lost() {
        return Err(Error::damaged(
            "the record that names the type of the state was damaged, and is in quarantine: restore a \
             copy of the store, or begin another run. Nothing was changed",
        ));
    }
    Ok(schema)
}

/// A type as it is looked up among the schemas, which may be of no type that this program has.
#[derive(Clone)]
pub(super) struct Known {
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
        Ok(Self { name: of.name.to_owned(), version: of.version, form: of.form()? })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn from_parts(name: &str, version: u32, form: Form) -> Self {
        Self { name: name.to_owned(), version, form }
    }
}

/// The number of a schema, new if this type and version are.
pub(super) fn schema_for(plan: &mut Plan<'_>, of: &Known) -> Result<u32> {
    let Known { name, version, form } = of;
    let mut free = 1;
    for (key, row) in plan.scan(Table::Schemas, &[], &[], usize::MAX)? {
        let damaged =
            |why: &str| Error::damaged(format!("{} {why}", row_name(Table::Schemas, &key)));
        let id: [u8; 4] =
            key.as_slice().try_into().map_err(|_| damaged("has no schema's number"))?;
        let schema = plan.parse::<SchemaRecord>(&key, &row)?;
        if (&schema.name, &schema.version) == (name, version) {
            check_form(&format!("`{name}` version {version}"), &schema.form, form)?;
            return Ok(u32::from_be_bytes(id));
        }
        let behind = u32::from_be_bytes(id).checked_add(1);
        free = free.max(behind.ok_or_else(|| damaged("has a number that no store reaches"))?);
    }
    let (name, version, form) = (name.clone(), *version, form.clone());
    let first_seen = plan.now();
    plan.put(&schema_key(free), &SchemaRecord { name, version, first_seen, form })?;
    Ok(free)
}
